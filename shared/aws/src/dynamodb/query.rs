//! A query whose answer [`read_page`] reads instead of the SDK.
//!
//! An interceptor puts another deserializer into the operation's configuration. All else of the call, the signature,
//! retries and time-outs, stays the SDK's; for the retries' sake an error keeps its code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept};
use aws_sdk_dynamodb::error::{BoxError, ErrorMetadata};
use aws_sdk_dynamodb::operation::query::{QueryError, QueryOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output, OutputOrError};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use serde::Deserialize;

use super::page::{Page, read_page};

/// What one query's answers bring: all attempts write here, the last one stays.
#[derive(Clone, Debug, Default)]
pub(super) struct PageReader(Arc<Answers>);

#[derive(Debug, Default)]
struct Answers {
    page: Mutex<Option<Page>>,
    throttled: AtomicBool,
}

impl PageReader {
    /// The page of the query that was answered; `None` if the answer did not come this way.
    pub(super) fn page(&self) -> Option<Page> {
        self.0.page.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether an attempt was refused for the table's sake.
    pub(super) fn throttled(&self) -> bool {
        self.0.throttled.load(Ordering::Relaxed)
    }
}

#[dyn_dispatch_hint]
impl Intercept for PageReader {
    fn name(&self) -> &'static str {
        "PageReader"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        Ok(())
    }
}

impl DeserializeResponse for PageReader {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, _: &ConfigBag) -> OutputOrError {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            let error = refusal(body);
            if error.meta().code().is_some_and(|code| code.contains("Throttl") || code.contains("Throughput")) {
                self.0.throttled.store(true, Ordering::Relaxed);
            }
            return Err(OrchestratorError::operation(Error::erase(error)));
        }
        let page = read_page(body).map_err(|error| OrchestratorError::response(error.into()))?;
        *self.0.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

/// The body of an answer that refuses.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

fn refusal(body: &[u8]) -> QueryError {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    // `com.amazonaws.dynamodb.v20120810#ThrottlingException`, perhaps with a URL behind a colon.
    let code = refusal.kind.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
    QueryError::generic(ErrorMetadata::builder().code(code).message(refusal.message).build())
}
