//! Replaces the SDK's deserializer of Query responses.
//!
//! An interceptor puts another deserializer into the operation's configuration. Signature, retries and time-outs remain
//! the SDK's. Errors keep their code, which the retries depend on.

use std::fmt::{self, Debug};
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

/// Deserializes the response of one Query call with a function, and stores the output. Use one instance per call.
pub(super) struct DeserializerOverride<T>(Arc<Inner<T>>);

impl<T> Debug for DeserializerOverride<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeserializerOverride")
    }
}

// Not derived: that would require `T: Clone`.
impl<T> Clone for DeserializerOverride<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

type Read<T> = Box<dyn Fn(&[u8]) -> Result<T, BoxError> + Send + Sync>;

struct Inner<T> {
    read: Read<T>,
    output: Mutex<Option<T>>,
    throttled: AtomicBool,
}

impl<T> DeserializerOverride<T> {
    /// An override that reads response bodies with `read`.
    pub(super) fn new(read: impl Fn(&[u8]) -> Result<T, BoxError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { read: Box::new(read), output: Mutex::default(), throttled: AtomicBool::default() }))
    }

    /// Takes the output of the successful response.
    ///
    /// # Errors
    /// If this deserializer has read no successful response.
    pub(super) fn output(&self) -> Result<T, &'static str> {
        let output = self.0.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        output.ok_or("the response was not read by this deserializer")
    }

    /// Whether an attempt was throttled.
    pub(super) fn throttled(&self) -> bool {
        self.0.throttled.load(Ordering::Relaxed)
    }
}

#[dyn_dispatch_hint]
impl<T: Debug + Send + 'static> Intercept for DeserializerOverride<T> {
    fn name(&self) -> &'static str {
        "DeserializerOverride"
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

impl<T: Debug + Send + 'static> DeserializeResponse for DeserializerOverride<T> {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, _: &ConfigBag) -> OutputOrError {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            let error = error_metadata(body);
            if error.code().is_some_and(|code| code.contains("Throttl") || code.contains("Throughput")) {
                self.0.throttled.store(true, Ordering::Relaxed);
            }
            return Err(OrchestratorError::operation(Error::erase(QueryError::generic(error))));
        }
        let output = (self.0.read)(body).map_err(OrchestratorError::response)?;
        *self.0.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

/// The body of an error response.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

fn error_metadata(body: &[u8]) -> ErrorMetadata {
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    // `com.amazonaws.dynamodb.v20120810#ThrottlingException`, in some services followed by a colon and a URL.
    let code = error.kind.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
    ErrorMetadata::builder().code(code).message(error.message).build()
}
