//! An HTTP client that records requests and returns prepared responses.

use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// A prepared response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl Response {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn build(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status.try_into().unwrap(), SdkBody::from(self.body.clone()));
        for (name, value) in &self.headers {
            response.headers_mut().insert(*name, *value);
        }
        response
    }
}

/// How the client responds.
#[derive(Debug)]
pub(super) enum Mode {
    /// These responses, in order.
    Responses(VecDeque<Response>),
    /// The same response to every request.
    Always(Response),
    /// It never responds.
    NoResponse,
}

/// A recorded request.
#[derive(Debug)]
pub(super) struct SentRequest {
    /// The files and lines of this crate that sent it, innermost first.
    pub from: Vec<(String, usize)>,
    /// Method, URL, headers and body, without the parts that change.
    pub request: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub(super) struct RecordingHttpClient(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    mode: Mode,
    sent: Vec<SentRequest>,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    /// How long the SDK waited for each response that never came.
    waits: Vec<Duration>,
}

impl RecordingHttpClient {
    pub(super) fn new(mode: Mode) -> Self {
        let state = State { mode, sent: Vec::new(), connect_timeout: None, read_timeout: None, waits: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn take_sent(&self) -> Vec<SentRequest> {
        std::mem::take(&mut self.0.lock().unwrap().sent)
    }

    /// The number of unused prepared responses.
    pub(super) fn responses_left(&self) -> usize {
        match &self.0.lock().unwrap().mode {
            Mode::Responses(responses) => responses.len(),
            Mode::Always(_) | Mode::NoResponse => 0,
        }
    }

    /// The connect time-out, the read time-out, and how long the first attempt waited.
    pub(super) fn time_outs(&self) -> [Option<Duration>; 3] {
        let state = self.0.lock().unwrap();
        [state.connect_timeout, state.read_timeout, state.waits.first().copied()]
    }
}

impl HttpClient for RecordingHttpClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let mut state = self.0.lock().unwrap();
        (state.connect_timeout, state.read_timeout) = (settings.connect_timeout(), settings.read_timeout());
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for RecordingHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let from = frames(&Backtrace::force_capture().to_string());
        let mut state = self.0.lock().unwrap();
        state.sent.push(SentRequest { from, request: describe(&request) });
        let response = match &mut state.mode {
            Mode::Responses(responses) => responses.pop_front().expect("more requests than responses"),
            Mode::Always(response) => response.clone(),
            Mode::NoResponse => {
                let wait = PendingWait { started: Instant::now(), client: self.clone() };
                return HttpConnectorFuture::new(async move {
                    let _wait = wait;
                    std::future::pending().await
                });
            }
        };
        HttpConnectorFuture::ready(Ok(response.build()))
    }
}

/// Measures how long the SDK waits for a response that never comes, until it drops the future.
struct PendingWait {
    started: Instant,
    client: RecordingHttpClient,
}

impl Drop for PendingWait {
    fn drop(&mut self) {
        self.client.0.lock().unwrap().waits.push(self.started.elapsed());
    }
}

/// The files and lines of this crate in a backtrace. The SDK polls the connection within its caller's future, so the
/// caller is on the stack.
fn frames(backtrace: &str) -> Vec<(String, usize)> {
    let frame = |line: &str| {
        // Relative to the crate, the working directory of its tests.
        let location = line.trim().strip_prefix("at ./src/")?;
        let mut parts = location.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    };
    backtrace.lines().filter_map(frame).filter(|(file, _)| !file.starts_with("wire")).collect()
}

/// Headers that differ between runs, or are the same in all requests.
const OMITTED_HEADERS: [&str; 6] =
    ["amz-sdk-invocation-id", "authorization", "content-length", "user-agent", "x-amz-date", "x-amz-user-agent"];

fn describe(request: &HttpRequest) -> Map<String, Value> {
    let bytes = request.body().bytes().expect("a body from memory");
    let headers = request.headers().iter().filter(|(name, _)| !OMITTED_HEADERS.contains(name));
    let headers = headers.map(|(name, value)| {
        let is_hash = name == "x-amz-content-sha256" && value.len() == 64;
        (name.to_owned(), json!(if is_hash { "(SHA-256 of the body)" } else { value }))
    });
    let text = str::from_utf8(bytes).expect("a body of text");
    let mut body = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    if let Some(token) = body.get_mut("ClientRequestToken") {
        // The SDK generates one per call.
        *token = json!("(token)");
    }
    let mut described = Map::from_iter([
        ("method".to_owned(), json!(request.method())),
        ("url".to_owned(), json!(without_signature(request.uri()))),
        ("headers".to_owned(), headers.collect::<Map<_, _>>().into()),
    ]);
    if !text.is_empty() {
        described.insert("body".to_owned(), body);
    }
    described
}

/// A presigned URL without the parts that change with time.
pub(super) fn without_signature(url: &str) -> String {
    let redact = |part: &str| match part.split_once('=') {
        Some((name @ ("X-Amz-Credential" | "X-Amz-Date" | "X-Amz-Signature"), _)) => format!("{name}=(changes)"),
        _ => part.to_owned(),
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let query = query.split('&').map(redact).collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
