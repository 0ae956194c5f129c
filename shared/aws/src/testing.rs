//! AWS as a function in the test's own process: no network, and time is tokio's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;

type Response = dyn Fn(&HttpRequest) -> HttpResponse + Send + Sync;

/// Responses every request by a function, and counts them.
#[derive(Clone)]
pub(crate) struct FakeAws {
    response: Arc<Response>,
    requests: Arc<AtomicU32>,
}

impl fmt::Debug for FakeAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeAws").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl FakeAws {
    pub(crate) fn new(response: impl Fn(&HttpRequest) -> HttpResponse + Send + Sync + 'static) -> Self {
        Self { response: Arc::new(response), requests: Arc::default() }
    }

    /// A configuration whose clients are answered here.
    pub(crate) fn config(&self) -> SdkConfig {
        crate::config::local("http://aws.example".to_owned()).into_builder().http_client(self.clone()).build()
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) fn response(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), body.into())
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.fetch_add(1, Ordering::SeqCst);
        HttpConnectorFuture::ready(Ok((self.response)(&request)))
    }
}

impl HttpClient for FakeAws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
