//! A query whose response is not read by the SDK.
//!
//! An interceptor puts another deserializer into the operation's configuration. All else of the call, the signature,
//! retries and time-outs, stays the SDK's; for the retries' sake an error keeps its code.

use std::fmt::Debug;
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

/// Reads one query's responses by a function: all attempts write here, the last one stays.
#[derive(Debug)]
pub(super) struct ResponseReader<T>(Arc<Responses<T>>);

// Derived, it would ask it of the response, too.
impl<T> Clone for ResponseReader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Responses<T> {
    read: fn(&[u8]) -> Result<T, BoxError>,
    response: Mutex<Option<T>>,
    throttled: AtomicBool,
}

impl<T> ResponseReader<T> {
    /// One that reads bodies by `read`.
    pub(super) fn new(read: fn(&[u8]) -> Result<T, BoxError>) -> Self {
        Self(Arc::new(Responses { read, response: Mutex::default(), throttled: AtomicBool::default() }))
    }

    /// What was read of the response.
    ///
    /// # Errors
    /// If the response did not come this way.
    pub(super) fn response(&self) -> Result<T, &'static str> {
        let response = self.0.response.lock().unwrap_or_else(PoisonError::into_inner).take();
        response.ok_or("the response was read by another")
    }

    /// Whether an attempt was refused for the table's sake.
    pub(super) fn throttled(&self) -> bool {
        self.0.throttled.load(Ordering::Relaxed)
    }
}

#[dyn_dispatch_hint]
impl<T: Debug + Send + 'static> Intercept for ResponseReader<T> {
    fn name(&self) -> &'static str {
        "ResponseReader"
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

impl<T: Debug + Send + 'static> DeserializeResponse for ResponseReader<T> {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, _: &ConfigBag) -> OutputOrError {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            let error = refusal(body);
            if error.code().is_some_and(|code| code.contains("Throttl") || code.contains("Throughput")) {
                self.0.throttled.store(true, Ordering::Relaxed);
            }
            return Err(OrchestratorError::operation(Error::erase(QueryError::generic(error))));
        }
        let response = (self.0.read)(body).map_err(OrchestratorError::response)?;
        *self.0.response.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

/// The body of an response that refuses.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

fn refusal(body: &[u8]) -> ErrorMetadata {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    // `com.amazonaws.dynamodb.v20120810#ThrottlingException`, perhaps with a URL behind a colon.
    let code = refusal.kind.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
    ErrorMetadata::builder().code(code).message(refusal.message).build()
}
