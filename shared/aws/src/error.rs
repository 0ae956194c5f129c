//! Whether retrying a failed call to AWS can help: decided here, from the error's code and status, and nowhere else.
//!
//! Without an response, or with one that cannot be read, it can. With an error as the response, the codes below decide, and
//! for all other codes the status: 500 and more and 429 are transient, anything else is permanent. The SDK's own retries
//! go by a part of the same rules (status 500, 502, 503 and 504, throttling and time-outs), so what is permanent here is
//! sent once.
//!
//! | service | permanent by its status | source |
//! |---|---|---|
//! | any | AccessDenied, AccessDeniedException, IncompleteSignature, InvalidSignatureException, MissingAuthenticationToken, OptInRequired, ValidationException (400, 403) | API references, "Common Errors" |
//! | DynamoDB | ResourceNotFoundException, ValidationException, AccessDeniedException (also when the table's KMS key is disabled or denied) (400) | Developer Guide, "Error handling with DynamoDB" |
//! | S3 | AccessDenied (403; HEAD has no code), NoSuchBucket (404), KMS.DisabledException, KMS.NotFoundException, InvalidArgument (400), PermanentRedirect (301) | API Reference, "Error responses" |
//! | SQS | AWS.SimpleQueueService.NonExistentQueue, KMS.AccessDeniedException, KMS.DisabledException, KMS.InvalidStateException, KMS.NotFoundException, InvalidAddress, InvalidSecurity (400, 403) | API Reference, SendMessage |
//! | Secrets Manager | ResourceNotFoundException, DecryptionFailure, InvalidRequestException (the secret is to be deleted), InvalidParameterException (400) | API Reference, GetSecretValue |

use std::error::Error;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use exports_domain::error::{DependencyError, ErrorKind};

/// Codes of errors that retrying can help against, though their status is another's invalid, beside those that the SDK
/// retries.
const TRANSIENT: [&str; 20] = [
    // DynamoDB: "OK to retry" in "Error handling with DynamoDB", and what a transaction is cancelled for (API Reference,
    // TransactWriteItems).
    "ProvisionedThroughputExceeded",
    "ReplicatedWriteConflictException",
    "ThrottlingError",
    "TransactionConflict",
    "TransactionConflictException",
    "UnrecognizedClientException",
    // SQS (API Reference, SendMessage), and S3 with a key in KMS.
    "KMS.ThrottlingException",
    "KmsThrottled",
    // The process has credentials or a clock that another will not have.
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    // S3: a body that was changed or cut on its way, or another request for the same object (API Reference, "Error
    // responses").
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    // The next attempt begins another upload.
    "NoSuchUpload",
];

/// The error of a call that was to `attempt` something.
pub(crate) fn dependency_error<E>(attempt: &'static str, error: SdkError<E, HttpResponse>) -> DependencyError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = match &error {
        // The request itself is wrong: nothing was sent.
        SdkError::ConstructionFailure(_) => ErrorKind::Permanent,
        SdkError::ServiceError(response) => kind_of(response.err().code(), response.raw().status().as_u16()),
        _ => ErrorKind::Transient,
    };
    DependencyError::of_kind(kind, attempt, error)
}

/// The kind of an error that a service answered with.
pub(crate) fn kind_of(code: Option<&str>, status: u16) -> ErrorKind {
    let is_transient = code.is_some_and(|code| {
        [THROTTLING_ERRORS, TRANSIENT_ERRORS, &TRANSIENT].iter().any(|codes| codes.contains(&code))
    });
    match status {
        _ if is_transient => ErrorKind::Transient,
        // An error in an response that began as a success is S3's, which fails while it completes a file.
        200..300 | 408 | 429 | 500.. => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests;
