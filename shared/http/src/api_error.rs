//! The one error that handlers return, and its conversion to an HTTP response: status, code, message and headers.

use std::error::Error;
use std::time::Duration;

use exports_domain::error::{DependencyError, ErrorKind};
use exports_domain::id::ExportId;
use exports_domain::lifecycle::CancelError;
use exports_domain::ports::{ReadError, SendError};
use lambda_http::http::header::{ALLOW, LOCATION};
use serde::Serialize;

use crate::response::{Headers, retry_after};
use crate::routes;
use crate::validation::ValidationError;

/// How long a client should wait before it polls a PENDING export again.
pub const POLL_AFTER: Duration = Duration::from_secs(5);

/// How long a client should wait after a transient error.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The status of an error response: never below 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorStatus {
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    Conflict = 409,
    Gone = 410,
    ContentTooLarge = 413,
    UnsupportedMediaType = 415,
    UnprocessableContent = 422,
    TooManyRequests = 429,
    InternalServerError = 500,
    ServiceUnavailable = 503,
}

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// The API key is missing, unknown, expired or revoked.
    Unauthenticated,
    /// The key or `dj-client` is not an operator's.
    Forbidden,
    /// The tenant has no export with this id.
    ExportNotFound,
    /// No route matches the path.
    RouteNotFound,
    /// The path does not support the method. Contains the value of `Allow`.
    MethodNotAllowed(String),
    /// The request is invalid: at least one validation error.
    BadRequest(Vec<ValidationError>),
    /// The body is larger than this number of bytes.
    BodyTooLarge(usize),
    /// The body's media type is not JSON.
    UnsupportedMediaType,
    /// The tenant already has this PENDING export.
    ExportAlreadyPending(ExportId),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The export is PENDING, so its first mail has not been sent.
    NotYetMailed,
    /// The export failed before its file was written.
    NoFile,
    /// The file is complete, or the export has ended, so it cannot be cancelled.
    NotCancellable(CancelError),
    /// The file has expired or was deleted.
    FileGone,
    /// The daily resend limit is reached. Contains the time until it resets.
    TooManyResends(Duration),
    /// The mail was not sent, or it is unknown whether it was.
    EmailNotSent(SendError),
    /// The mail was sent, but the record could not be updated.
    EmailSentNotRecorded(Box<dyn Error + Send + Sync>),
    /// A dependency has a transient error.
    Unavailable(DependencyError),
    /// An internal error.
    Internal(Box<dyn Error + Send + Sync>),
    /// A panic, which the panic hook has logged.
    Panic,
}

/// No such export for this tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such export")]
pub struct ExportNotFound;

/// The body of an error response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody<'a> {
    errors: Vec<Entry>,
    request_id: &'a str,
}

#[derive(Debug, Serialize)]
struct Entry {
    code: &'static str,
    message: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Entry {
    fn new(code: &'static str, message: &'static str, detail: impl Into<String>) -> Self {
        Self { code, message, detail: detail.into(), field: None }
    }
}

impl ApiError {
    /// The status and the entries of the body. They reveal nothing internal.
    fn status_and_entries(&self) -> (ErrorStatus, Vec<Entry>) {
        let (status, entry) = match self {
            Self::BadRequest(errors) => {
                let entry = |error: &ValidationError| Entry {
                    field: error.field.clone(),
                    ..Entry::new(error.code.as_str(), error.code.message(), error.detail.clone())
                };
                return (ErrorStatus::BadRequest, errors.iter().map(entry).collect());
            }
            Self::Unauthenticated => {
                let detail = "The header dj-api-key must contain a valid API key.";
                (ErrorStatus::Unauthorized, Entry::new("UNAUTHENTICATED", "Not authenticated", detail))
            }
            Self::Forbidden => {
                let detail = "Only operators can use exports. dj-client must be OPERATOR, and the API key must be an operator's.";
                (ErrorStatus::Forbidden, Entry::new("FORBIDDEN", "Not allowed", detail))
            }
            Self::ExportNotFound => {
                let detail = "Export not found.";
                (ErrorStatus::NotFound, Entry::new("F-E-002", "Reference does not exist", detail))
            }
            Self::RouteNotFound => {
                let detail = "No route matches this path. See GET /v1/openapi.json.";
                (ErrorStatus::NotFound, Entry::new("F-E-002", "Reference does not exist", detail))
            }
            Self::MethodNotAllowed(allowed) => {
                let detail = format!("This path supports {allowed} only.");
                (ErrorStatus::MethodNotAllowed, Entry::new("METHOD_NOT_ALLOWED", "Method not allowed", detail))
            }
            Self::BodyTooLarge(most) => {
                let detail = format!("The body must not exceed {most} bytes.");
                (ErrorStatus::ContentTooLarge, Entry::new("PAYLOAD_TOO_LARGE", "Body too large", detail))
            }
            Self::UnsupportedMediaType => {
                let detail = "The body must be UTF-8 JSON with Content-Type: application/json.";
                let entry = Entry::new("UNSUPPORTED_MEDIA_TYPE", "Unsupported media type", detail);
                (ErrorStatus::UnsupportedMediaType, entry)
            }
            Self::ExportAlreadyPending(id) => {
                let detail = format!("The export {id} is PENDING. Only one export of a type can be PENDING at a time.");
                (ErrorStatus::Conflict, Entry::new("EXPORT_ALREADY_PENDING", "An export is already pending", detail))
            }
            Self::IdempotencyKeyReused => {
                let detail = "This Idempotency-Key was used for another request within 24 hours. Use a new key.";
                let entry = Entry::new("IDEMPOTENCY_KEY_REUSED", "Idempotency key reused", detail);
                (ErrorStatus::UnprocessableContent, entry)
            }
            Self::NotYetMailed => {
                let detail = "The export is PENDING. Its e-mail has not been sent yet.";
                (ErrorStatus::Conflict, Entry::new("EXPORT_NOT_RESENDABLE", "Export not resendable", detail))
            }
            Self::NoFile => {
                let detail = "The export failed before its file was written. Launch a new export.";
                (ErrorStatus::Conflict, Entry::new("EXPORT_NOT_RESENDABLE", "Export not resendable", detail))
            }
            Self::NotCancellable(error) => {
                let detail = match error {
                    CancelError::FileRecorded => {
                        "The export is PENDING, but its file is complete. Its e-mail is being sent."
                    }
                    CancelError::AlreadyCancelled | CancelError::Ended => {
                        "The export has ended. Only a PENDING export can be cancelled."
                    }
                };
                let entry = Entry::new("EXPORT_NOT_CANCELLABLE", "Export not cancellable", detail);
                (ErrorStatus::Conflict, entry)
            }
            Self::FileGone => {
                let detail = "The file no longer exists. Launch a new export.";
                (ErrorStatus::Gone, Entry::new("EXPORT_FILE_GONE", "Export file gone", detail))
            }
            Self::TooManyResends(_) => {
                let detail = "The daily limit of resends for this export is reached. It resets at midnight UTC.";
                (ErrorStatus::TooManyRequests, Entry::new("TOO_MANY_RESENDS", "Too many resends", detail))
            }
            Self::EmailNotSent(error) => {
                let detail = match error {
                    SendError::Rejected(_) => "The e-mail service rejected the e-mail. The export is unchanged.",
                    SendError::Dependency(_) => {
                        "The e-mail service did not confirm the e-mail. The export is unchanged."
                    }
                };
                (ErrorStatus::ServiceUnavailable, Entry::new("EMAIL_NOT_SENT", "E-mail not sent", detail))
            }
            Self::EmailSentNotRecorded(_) => {
                let detail = "The e-mail was sent and its link works, but the export could not be updated. It may show its \
                              previous status and recipients.";
                let entry = Entry::new("EMAIL_SENT_NOT_RECORDED", "E-mail sent, but not recorded", detail);
                (ErrorStatus::InternalServerError, entry)
            }
            Self::Unavailable(_) => {
                let detail = "A dependency is temporarily unavailable. Retry after the time in Retry-After.";
                (ErrorStatus::ServiceUnavailable, Entry::new("SERVICE_UNAVAILABLE", "Service unavailable", detail))
            }
            Self::Internal(_) | Self::Panic => {
                let detail = "Internal error. Quote the request ID to support.";
                (ErrorStatus::InternalServerError, Entry::new("INTERNAL", "Internal error", detail))
            }
        };
        (status, vec![entry])
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_and_entries().0 as u16
    }

    /// The code of the first error, for the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.status_and_entries().1.first().map_or("", |entry| entry.code)
    }

    /// The source of a server error, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(error),
            Self::EmailNotSent(error) => Some(error),
            Self::Internal(error) | Self::EmailSentNotRecorded(error) => Some(error.as_ref()),
            _ => None,
        }
    }

    pub(crate) fn body<'a>(&self, request_id: &'a str) -> ErrorBody<'a> {
        ErrorBody { errors: self.status_and_entries().1, request_id }
    }

    pub(crate) fn headers(&self) -> Headers {
        match self {
            Self::ExportAlreadyPending(id) => vec![(LOCATION, routes::export(id)), retry_after(POLL_AFTER)],
            Self::MethodNotAllowed(allowed) => vec![(ALLOW, allowed.clone())],
            Self::NotYetMailed => vec![retry_after(POLL_AFTER)],
            Self::TooManyResends(wait) => vec![retry_after(*wait)],
            Self::EmailNotSent(SendError::Dependency(_)) | Self::Unavailable(_) => vec![retry_after(TRY_AGAIN_AFTER)],
            _ => Vec::new(),
        }
    }
}

impl From<ExportNotFound> for ApiError {
    fn from(_: ExportNotFound) -> Self {
        Self::ExportNotFound
    }
}

impl From<DependencyError> for ApiError {
    fn from(error: DependencyError) -> Self {
        match error.kind() {
            ErrorKind::Transient => Self::Unavailable(error),
            ErrorKind::Permanent => Self::Internal(error.into()),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Corrupt(corrupt) => Self::Internal(corrupt.into()),
            ReadError::Dependency(error) => error.into(),
        }
    }
}
