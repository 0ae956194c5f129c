//! The network of the SDK's clients. It records each request and responds as the test says.

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

/// A response that a test has prepared.
#[derive(Clone, Debug)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

impl Response {
    /// A response with this status and body.
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with one more header.
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

/// How the network responds.
#[derive(Debug)]
pub(super) enum Mode {
    /// These responses, one after the other.
    Responses(VecDeque<Response>),
    /// The same response each time.
    Always(Response),
    /// Nothing.
    Silence,
}

/// A recorded request.
#[derive(Debug)]
pub(super) struct Sent {
    /// The files and lines of this crate that sent it, innermost first.
    pub from: Vec<(String, usize)>,
    /// The parts that matter.
    pub request: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    mode: Mode,
    sent: Vec<Sent>,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    /// How long a client waited for each response that never came.
    waits: Vec<Duration>,
}

impl Network {
    pub(super) fn new(mode: Mode) -> Self {
        let state = State { mode, sent: Vec::new(), connect_timeout: None, read_timeout: None, waits: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.lock().unwrap().sent)
    }

    /// How many prepared responses are unused.
    pub(super) fn responses_left(&self) -> usize {
        match &self.0.lock().unwrap().mode {
            Mode::Responses(responses) => responses.len(),
            Mode::Always(_) | Mode::Silence => 0,
        }
    }

    /// How long a connection may take, the first byte of a response, and how long the first attempt waited.
    pub(super) fn time_outs(&self) -> [Option<Duration>; 3] {
        let state = self.0.lock().unwrap();
        [state.connect_timeout, state.read_timeout, state.waits.first().copied()]
    }
}

impl HttpClient for Network {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let mut state = self.0.lock().unwrap();
        (state.connect_timeout, state.read_timeout) = (settings.connect_timeout(), settings.read_timeout());
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let from = frames(&Backtrace::force_capture().to_string());
        let mut state = self.0.lock().unwrap();
        state.sent.push(Sent { from, request: described(&request) });
        let response = match &mut state.mode {
            Mode::Responses(responses) => responses.pop_front().expect("more requests than responses"),
            Mode::Always(response) => response.clone(),
            Mode::Silence => {
                let wait = Wait { began: Instant::now(), network: self.clone() };
                return HttpConnectorFuture::new(async move {
                    let _wait = wait;
                    std::future::pending().await
                });
            }
        };
        HttpConnectorFuture::ready(Ok(response.build()))
    }
}

/// A wait for a response that never comes. It ends when the client gives up and drops it.
struct Wait {
    began: Instant,
    network: Network,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.network.0.lock().unwrap().waits.push(self.began.elapsed());
    }
}

/// The files and lines of this crate in a backtrace. The SDK polls the connection inside the future of its caller, so the
/// caller is on the stack.
fn frames(backtrace: &str) -> Vec<(String, usize)> {
    let frame = |line: &str| {
        // Relative to the crate, which tests run in.
        let place = line.trim().strip_prefix("at ./src/")?;
        let mut parts = place.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    };
    backtrace.lines().filter_map(frame).filter(|(file, _)| !file.starts_with("wire")).collect()
}

/// Headers that change with each request, or are the same in all.
const LEFT_OUT: [&str; 6] =
    ["amz-sdk-invocation-id", "authorization", "content-length", "user-agent", "x-amz-date", "x-amz-user-agent"];

fn described(request: &HttpRequest) -> Map<String, Value> {
    let bytes = request.body().bytes().expect("a body from memory");
    let headers = request.headers().iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    let headers = headers.map(|(name, value)| {
        let is_hash = name == "x-amz-content-sha256" && value.len() == 64;
        (name.to_owned(), json!(if is_hash { "(SHA-256 of the body)" } else { value }))
    });
    let text = str::from_utf8(bytes).expect("a body of text");
    let mut body = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    if let Some(token) = body.get_mut("ClientRequestToken") {
        // The SDK makes a new one for each call, and sends it again with each attempt.
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
    let shown = |part: &str| match part.split_once('=') {
        Some((name @ ("X-Amz-Credential" | "X-Amz-Date" | "X-Amz-Signature"), _)) => format!("{name}=(changes)"),
        _ => part.to_owned(),
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let query = query.split('&').map(shown).collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
