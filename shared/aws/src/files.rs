//! Checks whether an export's file is still in the bucket.
//!
//! The lifecycle rule or an administrator may have deleted it. The export's record does not show that.

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
use crate::presign::{BucketUrl, HEAD_OBJECT};
use crate::system::LambdaSystem;

/// The action that errors name.
const ACTION: &str = "check whether the file exists";

/// Longer than all attempts together.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(60);

/// Checks whether objects of one bucket exist, without the SDK's S3 client (see [`presign`](crate::presign)).
#[derive(Debug)]
pub(crate) struct StoredFiles {
    bucket: BucketUrl,
    credentials: Option<SharedCredentialsProvider>,
    head: Operation<String, bool, ErrorMetadata>,
}

impl StoredFiles {
    /// A client of `bucket` with the function's own credentials.
    pub(crate) fn new(config: &SdkConfig, bucket: &str) -> Self {
        // Short, because a caller waits, and S3 responds to a HEAD within milliseconds.
        let time_outs = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(3))
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
        let bucket = BucketUrl::new(config, bucket);
        let mut head = Operation::builder()
            .service_name("s3")
            .operation_name("HeadObject")
            .behavior_version(behavior_version())
            .endpoint_url(&bucket.url)
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
                // Whether the file exists is unknown. A response to HEAD has no body with an error code.
                status => {
                    let message = format!("S3 responded with status {status}");
                    Err(OrchestratorError::operation(ErrorMetadata::builder().message(message).build()))
                }
            })
            .build();
        Self { bucket, credentials: config.credentials_provider(), head }
    }

    /// Connects to S3 during initialization, when Lambda provides a full CPU. Errors are ignored.
    pub(crate) async fn warm_up(&self) {
        let _ = tokio::time::timeout(MAX_WARM_UP, self.exists("exports/")).await;
    }

    /// Whether the object with this key exists.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, DependencyError> {
        let permanent = |source: Box<dyn Error + Send + Sync>| DependencyError::permanent(ACTION, source);
        let credentials = self.credentials.as_ref().ok_or_else(|| permanent("no credentials".into()))?;
        let credentials = credentials.provide_credentials().await.map_err(|error| permanent(error.into()))?;
        let signer = credentials.into();
        let target = self.bucket.presign(HEAD_OBJECT, key, &signer, LambdaSystem.now(), SIGNATURE_LIFETIME);
        self.head.invoke(target.map_err(permanent)?).await.map_err(|error| dependency_error(ACTION, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local;
    use crate::server::{IdleConnection, LocalServer};
    use exports_domain::error::ErrorKind;
    use exports_domain::testing::file;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\r\n";
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\n\r\n";
    const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\n\r\n";

    /// The result of a lookup, and the requests it sent.
    async fn lookup(responses: &'static [&'static str]) -> (Result<bool, DependencyError>, Vec<String>) {
        let service = LocalServer::start(responses, IdleConnection::Closed).await;
        let files = StoredFiles::new(&local(service.url.clone()), "exports");
        let found = files.exists(&file().key).await;
        (found, service.requests())
    }

    #[tokio::test]
    async fn exists_sends_one_presigned_head() {
        let (found, requests) = lookup(&[OK]).await;
        assert!(found.unwrap());
        let [request] = &requests[..] else { panic!("one request") };
        assert!(request.starts_with(&format!("HEAD /exports/{}?X-Amz-Algorithm=AWS4-HMAC-SHA256&", file().key)));
        assert!(request.contains("&X-Amz-Expires=60&"), "{request}");
    }

    #[tokio::test]
    async fn exists_is_false_on_404_only() {
        assert!(!lookup(&[NOT_FOUND]).await.0.unwrap());
        for (responses, status, kind, attempts) in
            [(&[FORBIDDEN], 403, ErrorKind::Permanent, 1), (&[SLOW_DOWN], 503, ErrorKind::Transient, 3)]
        {
            let (found, requests) = lookup(responses).await;
            let error = found.unwrap_err();
            assert_eq!((error.kind(), requests.len()), (kind, attempts), "{status}");
            let source = format!("{:?}", error.source().unwrap());
            assert!(source.contains(&format!("status {status}")), "{source}");
        }
        assert!(!lookup(&[SLOW_DOWN, NOT_FOUND]).await.0.unwrap());
    }

    #[tokio::test]
    async fn exists_after_a_freeze_uses_a_new_connection() {
        let service = LocalServer::start(&[OK], IdleConnection::Lost).await;
        let files = StoredFiles::new(&local(service.url.clone()), "exports");
        for _ in 0..2 {
            assert!(files.exists(&file().key).await.unwrap());
        }
    }
}
