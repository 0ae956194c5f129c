//! Checks whether objects of the exports bucket exist, and deletes them, without the SDK's S3 client (see
//! [`presign`](crate::presign)).
//!
//! The lifecycle rule or an administrator may have deleted an export's file. The export's record does not show that.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::request_id::apply_request_id;
use exports_domain::error::DependencyError;
use exports_domain::ports::{System as _, Upload};

use crate::config::{CONNECT_TIMEOUT, MAX_WARM_UP, behavior_version};
use crate::error::dependency_error;
use crate::presign::{BucketUrl, DELETE_OBJECT, HEAD_OBJECT, ObjectOperation, abort_multipart_upload};
use crate::system::LambdaSystem;

/// Longer than all attempts together.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(60);

/// Method and target of a presigned request, or why it could not be signed.
type Presigned = Result<(&'static str, String), Box<dyn Error + Send + Sync>>;
type PresignedOperation = Operation<Presigned, (), ErrorMetadata>;

/// The objects of one bucket.
#[derive(Debug)]
pub(crate) struct StoredFiles {
    bucket: BucketUrl,
    credentials: Option<SharedCredentialsProvider>,
    lookup: PresignedOperation,
    deletion: PresignedOperation,
}

impl StoredFiles {
    /// A client of `bucket` with the function's own credentials.
    pub(crate) fn new(config: &SdkConfig, bucket: &str) -> Self {
        // Short, because a caller waits, and S3 responds to a HEAD within milliseconds.
        let time_outs = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_secs(3))
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
        let lookup = config.to_builder().timeout_config(time_outs).retry_config(retries).build();
        let bucket = BucketUrl::new(config, bucket);
        Self {
            lookup: operation(&lookup, &bucket.url),
            deletion: operation(config, &bucket.url),
            credentials: config.credentials_provider(),
            bucket,
        }
    }

    /// Connects to S3 during initialization, when Lambda provides a full CPU. Errors are ignored.
    pub(crate) async fn warm_up(&self) {
        let _ = tokio::time::timeout(MAX_WARM_UP, self.exists("exports/")).await;
    }

    /// Whether the object with this key exists.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, DependencyError> {
        match self.lookup.invoke(self.presigned(&HEAD_OBJECT, key).await).await {
            Ok(()) => Ok(true),
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 404) => Ok(false),
            Err(error) => Err(dependency_error("check whether the file exists", error)),
        }
    }

    /// Deletes the object with this key, if it exists.
    pub(crate) async fn delete(&self, action: &'static str, key: &str) -> Result<(), DependencyError> {
        let deleted = self.deletion.invoke(self.presigned(&DELETE_OBJECT, key).await).await;
        deleted.map_err(|error| dependency_error(action, error))
    }

    /// Aborts the upload, if it exists.
    pub(crate) async fn abort(&self, upload: &Upload) -> Result<(), DependencyError> {
        match self.deletion.invoke(self.presigned(&abort_multipart_upload(&upload.id), &upload.key).await).await {
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            aborted => aborted.map_err(|error| dependency_error("abort the upload", error)),
        }
    }

    async fn presigned(&self, operation: &ObjectOperation, key: &str) -> Presigned {
        let credentials = self.credentials.as_ref().ok_or("no credentials")?.provide_credentials().await?;
        let now = LambdaSystem.now();
        let target = self.bucket.presign(operation, key, &credentials.into(), now, SIGNATURE_LIFETIME)?;
        Ok((operation.method, target))
    }
}

/// An operation with the time-outs and retries of `config`. It retries what the SDK's S3 client retries.
fn operation(config: &SdkConfig, url: &str) -> PresignedOperation {
    let mut operation = Operation::builder()
        .service_name("s3")
        .operation_name("presigned request")
        .behavior_version(behavior_version())
        .endpoint_url(url)
        .no_auth()
        .with_connection_poisoning()
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .standard_retry(config.retry_config().unwrap_or(&RetryConfig::standard()))
        .timeout_config(config.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled));
    if let Some(http_client) = config.http_client() {
        operation = operation.http_client(http_client);
    }
    let operation = operation.serializer(|presigned: Presigned| {
        let (method, target) = presigned?;
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method)?;
        request.set_uri(target)?;
        Ok(request)
    });
    operation.deserializer(result).build()
}

/// The result that a response reports. The elements of S3's error document have no attributes (API Reference, "Error
/// responses"). A response to HEAD has no body.
fn result(response: &HttpResponse) -> Result<(), OrchestratorError<ErrorMetadata>> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.body().bytes().and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
    let element = |name: &str| Some(body.split_once(&format!("<{name}>"))?.1.split_once("</")?.0.to_owned());
    let message = element("Message").unwrap_or_else(|| format!("S3 responded with status {}", status.as_u16()));
    let mut error = apply_request_id(ErrorMetadata::builder().message(message), response.headers());
    if let Some(code) = element("Code") {
        error = error.code(code);
    }
    Err(OrchestratorError::operation(error.build()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local;
    use crate::server::{IdleConnection, LocalServer};
    use exports_domain::error::ErrorKind;
    use exports_domain::testing::file;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\r\n";
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\n\r\n";
    const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\n\r\n";

    /// The result of a call, and the requests it sent.
    async fn call<T>(
        responses: &'static [&'static str],
        call: impl AsyncFnOnce(StoredFiles) -> Result<T, DependencyError>,
    ) -> (Result<T, DependencyError>, Vec<String>) {
        let service = LocalServer::start(responses, IdleConnection::Closed).await;
        let result = call(StoredFiles::new(&local(service.url.clone()), "exports")).await;
        (result, service.requests())
    }

    async fn lookup(responses: &'static [&'static str]) -> (Result<bool, DependencyError>, Vec<String>) {
        call(responses, async |files| files.exists(&file().key).await).await
    }

    #[tokio::test]
    async fn each_call_sends_one_presigned_request() {
        let upload = Upload { key: file().key, id: "1+/=&?%".to_owned() };
        let (found, head) = lookup(&[OK]).await;
        assert!(found.unwrap());
        let (deleted, delete) = call(&[NO_CONTENT], async |files| files.delete("delete", &file().key).await).await;
        let (aborted, abort) = call(&[NO_CONTENT], async |files| files.abort(&upload).await).await;
        deleted.and(aborted).unwrap();
        for (requests, method, query) in [
            (head, "HEAD", ""),
            (delete, "DELETE", "x-id=DeleteObject&"),
            (abort, "DELETE", "x-id=AbortMultipartUpload&uploadId=1%2B%2F%3D%26%3F%25&"),
        ] {
            let [request] = &requests[..] else { panic!("one request") };
            let target = format!("{method} /exports/{}?{query}X-Amz-Algorithm=AWS4-HMAC-SHA256&", file().key);
            assert!(request.starts_with(&target), "{request}");
            assert!(request.contains("&X-Amz-Expires=60&"), "{request}");
        }
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
    async fn retry_after_a_transient_response_has_a_new_connection() {
        // Otherwise the second attempt would fail on the connection of the first, and the third be the last.
        let service = LocalServer::start(&[SLOW_DOWN, SLOW_DOWN, NOT_FOUND], IdleConnection::Lost).await;
        let files = StoredFiles::new(&local(service.url.clone()), "exports");
        assert!(!files.exists(&file().key).await.unwrap());
        assert_eq!(service.requests().len(), 3);
    }

    #[tokio::test]
    async fn error_has_the_code_the_message_and_the_id_of_the_response() {
        const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nx-amz-request-id: 4442587FB7D0A2F9\r\ncontent-length: 78\r\n\r\n\
            <Error><Code>AccessDenied</Code><Message>no policy allows it</Message></Error>";
        let (deleted, _) = call(&[DENIED], async |files| files.delete("delete it", "k").await).await;
        let error = deleted.unwrap_err();
        let source = error.source().and_then(Error::source).unwrap().to_string();
        let expected =
            r#"Error { code: "AccessDenied", message: "no policy allows it", aws_request_id: "4442587FB7D0A2F9" }"#;
        assert_eq!((error.to_string().as_str(), source.as_str()), ("could not delete it", expected));
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
