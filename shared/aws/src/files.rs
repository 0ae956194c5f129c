//! Whether an export's file is still in the bucket.
//!
//! The lifecycle rule deletes files, and so may an administrator; no record says so.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::ports::System as _;

use crate::config::{MAX_WARM_UP, behavior_version};
use crate::error::dependency_error;
use crate::presign::{HEAD_OBJECT, Place};
use crate::system::LambdaSystem;

/// Longer than all attempts together take.
const SIGNATURE_LIFE: Duration = Duration::from_secs(60);

/// The files of one bucket, for whoever only asks whether one is there.
#[derive(Debug)]
pub(crate) struct StoredFiles {
    place: Place,
    credentials: Option<SharedCredentialsProvider>,
    head: Operation<String, bool, ErrorMetadata>,
}

impl StoredFiles {
    /// The files of `bucket`, seen with this function's own credentials.
    pub(crate) fn new(config: &SdkConfig, bucket: &str) -> Self {
        // A caller waits, and S3 responds to a HEAD within milliseconds.
        let time_outs = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(3))
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
        let place = Place::new(config, bucket);
        let mut head = Operation::builder()
            .service_name("s3")
            .operation_name("HeadObject")
            .behavior_version(behavior_version())
            .endpoint_url(&place.url)
            .no_auth()
            .with_connection_poisoning()
            .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .standard_retry(&retries)
            .timeout_config(time_outs);
        if let Some(http_client) = config.http_client() {
            head = head.http_client(http_client);
        }
        let head = head
            .serializer(|target: String| {
                let mut request = HttpRequest::new(SdkBody::empty());
                request.set_method(HEAD_OBJECT.method)?;
                request.set_uri(target)?;
                Ok(request)
            })
            .deserializer(|response: &HttpResponse| match response.status().as_u16() {
                200 => Ok(true),
                404 => Ok(false),
                // S3 does not say whether the file is there. What it says has no body.
                status => {
                    let message = format!("S3 responded with status {status}");
                    Err(OrchestratorError::operation(ErrorMetadata::builder().message(message).build()))
                }
            })
            .build();
        Self { place, credentials: config.credentials_provider(), head }
    }

    /// Connects to S3 while the function starts, when it has a CPU to itself. Whether that succeeds does not matter.
    pub(crate) async fn warm_up(&self) {
        let _ = tokio::time::timeout(MAX_WARM_UP, self.exists("exports/")).await;
    }

    /// Whether the object with this key exists.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, DependencyError> {
        let permanent = |source: Box<dyn Error + Send + Sync>| DependencyError::permanent("look for the file", source);
        let credentials = self.credentials.as_ref().ok_or_else(|| permanent("no credentials".into()))?;
        let credentials = credentials.provide_credentials().await.map_err(|error| permanent(error.into()))?;
        let signer = credentials.into();
        let target = self.place.presigned(HEAD_OBJECT, key, &signer, LambdaSystem.now(), SIGNATURE_LIFE);
        self.head.invoke(target.map_err(permanent)?).await.map_err(|error| dependency_error("look for the file", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local;
    use crate::server::{IdleConnection, Server};
    use exports_domain::testing::file;

    const FOUND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\r\n";
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\n\r\n";
    const BROKEN: &str = "HTTP/1.1 503 Slow Down\r\n\r\n";

    async fn lookup(responses: &'static [&'static str]) -> (Result<bool, String>, Vec<String>) {
        let service = Server::start(responses, IdleConnection::Closed).await;
        let files = StoredFiles::new(&local(service.url.clone()), "exports");
        let found = files.exists(&file().key).await;
        (found.map_err(|error| format!("{:?}", error.source().unwrap())), service.requests())
    }

    #[tokio::test]
    async fn file_is_looked_for_with_a_signed_head() {
        let (found, requests) = lookup(&[FOUND]).await;
        assert_eq!(found, Ok(true));
        let [request] = &requests[..] else { panic!("one request") };
        assert!(request.starts_with(&format!("HEAD /exports/{}?X-Amz-Algorithm=AWS4-HMAC-SHA256&", file().key)));
        assert!(request.contains("&X-Amz-Expires=60&"), "{request}");
    }

    #[tokio::test]
    async fn only_a_404_means_that_the_file_does_not_exist() {
        assert_eq!(lookup(&[NOT_FOUND]).await.0, Ok(false));
        for (responses, status, attempts) in [(&[FORBIDDEN], 403, 1), (&[BROKEN], 503, 3)] {
            let (found, requests) = lookup(responses).await;
            assert!(found.unwrap_err().contains(&format!("status {status}")));
            assert_eq!(requests.len(), attempts);
        }
        assert_eq!(lookup(&[BROKEN, NOT_FOUND]).await.0, Ok(false));
    }

    #[tokio::test]
    async fn lookup_after_a_freeze_succeeds_on_another_connection() {
        let service = Server::start(&[FOUND], IdleConnection::Gone).await;
        let files = StoredFiles::new(&local(service.url.clone()), "exports");
        for _ in 0..2 {
            assert!(files.exists(&file().key).await.unwrap());
        }
    }
}
