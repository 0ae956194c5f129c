//! Classifies errors of AWS calls as transient or permanent, by code and status. Two modules treat some errors before:
//! `mail` those that reject an e-mail, `bucket` those of a lost upload or object.
//!
//! No response, or one that cannot be read, is transient. For an error response, the codes in [`TRANSIENT`] and the
//! SDK's lists are transient. For any other code the status decides: 408, 429 and 500 or more are transient, the rest
//! is permanent. The SDK retries a subset (status 500, 502, 503 and 504, throttling and time-outs), so a call that
//! fails with a permanent error is sent once.
//!
//! | service | examples of permanent errors | source |
//! |---|---|---|
//! | any | AccessDenied, AccessDeniedException, IncompleteSignature, InvalidSignatureException, MissingAuthenticationToken, OptInRequired, ValidationException (400, 403) | API references, "Common Errors" |
//! | DynamoDB | ResourceNotFoundException, ValidationException, AccessDeniedException (also when the table's KMS key is disabled or denied) (400) | Developer Guide, "Error handling with DynamoDB" |
//! | S3 | AccessDenied (403; HEAD has no code), NoSuchBucket (404), KMS.DisabledException, KMS.NotFoundException, InvalidArgument (400), PermanentRedirect (301) | API Reference, "Error responses" |
//! | SQS | AWS.SimpleQueueService.NonExistentQueue, KMS.AccessDeniedException, KMS.DisabledException, KMS.InvalidStateException, KMS.NotFoundException, InvalidAddress, InvalidSecurity (400, 403) | API Reference, SendMessage |
//! | Secrets Manager | ResourceNotFoundException, DecryptionFailure, InvalidRequestException (the secret is scheduled for deletion), InvalidParameterException (400) | API Reference, GetSecretValue |

use std::error::Error;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use exports_domain::error::{DependencyError, ErrorKind};

/// Transient errors with a 4xx status that the SDK does not retry.
const TRANSIENT: [&str; 20] = [
    // DynamoDB: "OK to retry" in "Error handling with DynamoDB", and reasons for cancelled transactions (API Reference,
    // TransactWriteItems).
    "ProvisionedThroughputExceeded",
    "ReplicatedWriteConflictException",
    "ThrottlingError",
    "TransactionConflict",
    "TransactionConflictException",
    "UnrecognizedClientException",
    // SQS (API Reference, SendMessage), and S3 with a KMS key.
    "KMS.ThrottlingException",
    "KmsThrottled",
    // Another process will have fresh credentials or a correct clock.
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    // S3: a body that was altered or truncated in transit, or a concurrent request for the same object (API Reference,
    // "Error responses").
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    // The next attempt starts another upload.
    "NoSuchUpload",
];

/// The error of a failed call. `action` completes "could not …".
pub(crate) fn dependency_error<E>(action: &'static str, error: SdkError<E, HttpResponse>) -> DependencyError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = match &error {
        // The request is invalid and was not sent.
        SdkError::ConstructionFailure(_) => ErrorKind::Permanent,
        SdkError::ServiceError(response) => kind_of(response.err().code(), response.raw().status().as_u16()),
        _ => ErrorKind::Transient,
    };
    DependencyError::of_kind(kind, action, error)
}

/// The kind of an error response.
pub(crate) fn kind_of(code: Option<&str>, status: u16) -> ErrorKind {
    let is_transient = code.is_some_and(|code| {
        [THROTTLING_ERRORS, TRANSIENT_ERRORS, &TRANSIENT].iter().any(|codes| codes.contains(&code))
    });
    match status {
        _ if is_transient => ErrorKind::Transient,
        // S3 reports an error of CompleteMultipartUpload in a response with status 200.
        200..300 | 408 | 429 | 500.. => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests;
