//! A stub of AWS for unit tests, without network and with tokio's time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use aws_types::sdk_config::TimeSource;
use tokio::time::Instant;

type Response = dyn Fn(&HttpRequest) -> HttpResponse + Send + Sync;

/// An HTTP client that responds with a function and counts the requests.
#[derive(Clone)]
pub(crate) struct StubHttpClient {
    response: Arc<Response>,
    requests: Arc<AtomicU32>,
}

impl fmt::Debug for StubHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubHttpClient").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl StubHttpClient {
    pub(crate) fn new(response: impl Fn(&HttpRequest) -> HttpResponse + Send + Sync + 'static) -> Self {
        Self { response: Arc::new(response), requests: Arc::default() }
    }

    /// A configuration whose AWS clients use this HTTP client, and tokio's clock, which tests pause.
    pub(crate) fn config(&self) -> SdkConfig {
        let local = crate::config::local("http://aws.example".to_owned()).into_builder();
        local.http_client(self.clone()).time_source(TokioClock(Instant::now())).build()
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A fixed time, and since the clock was made tokio's.
#[derive(Debug)]
struct TokioClock(Instant);

impl TimeSource for TokioClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + self.0.elapsed()
    }
}

pub(crate) fn response(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), body.into())
}

impl HttpConnector for StubHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.fetch_add(1, Ordering::SeqCst);
        HttpConnectorFuture::ready(Ok((self.response)(&request)))
    }
}

impl HttpClient for StubHttpClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
