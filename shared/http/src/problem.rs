//! Everything that can go wrong with a request, as its caller sees it: the one table of statuses, codes and wordings.

use std::error::Error;
use std::time::Duration;

use domain::id::ExportId;
use domain::ports::{ErrorKind, NotRead, NotSent, Outage};
use lambda_http::http::header::{ALLOW, LOCATION};
use serde::Serialize;

use crate::answer::{Headers, retry_after};
use crate::fault::Fault;
use crate::routes;

/// How long a client should wait before it asks again whether a pending export is done.
pub const POLL_AFTER: Duration = Duration::from_secs(5);

/// How long a client should wait after an outage.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The status of a problem: there is none below 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProblemStatus {
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

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Problem {
    /// No valid API key.
    Unauthenticated,
    /// A valid key, but not an operator's call.
    Forbidden,
    /// No such export for this tenant.
    NoSuchExport,
    /// Nothing is at this path.
    NoSuchRoute,
    /// What is at this path takes other methods: these.
    MethodNotAllowed(String),
    /// What is wrong with the request; at least one fault.
    BadRequest(Vec<Fault>),
    /// The body has more than this many bytes.
    BodyTooLarge(usize),
    /// The body is of another type than JSON.
    NotJson,
    /// This export has to end first.
    ExportAlreadyPending(ExportId),
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The export has no mail yet that could be sent again.
    NotYetMailed,
    /// The export failed before there was a file.
    NoFile,
    /// The file's retention is over, or the file was deleted.
    FileGone,
    /// The mail was sent again as often as a day allows; how long the day still lasts.
    TooManyResends(Duration),
    /// The mail was not sent, or it is unknown whether it was.
    EmailNotSent(NotSent),
    /// The mail was sent, but the record does not say so.
    EmailSentNotRecorded(Box<dyn Error + Send + Sync>),
    /// Something that the answer needs is not there now.
    Unavailable(Outage),
    /// A fault of ours.
    Internal(Box<dyn Error + Send + Sync>),
    /// A fault of ours that has been logged already.
    Panic,
}

/// No such export for this tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such export")]
pub struct NoSuchExport;

/// The body of an answer that tells a problem.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemBody<'a> {
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

impl Problem {
    /// The status, and what is told: never anything of the inside.
    fn told(&self) -> (ProblemStatus, Vec<Entry>) {
        let (status, entry) = match self {
            Self::BadRequest(faults) => {
                let entry = |fault: &Fault| Entry {
                    field: fault.field.clone(),
                    ..Entry::new(fault.code.as_str(), fault.code.message(), fault.detail.clone())
                };
                return (ProblemStatus::BadRequest, faults.iter().map(entry).collect());
            }
            Self::Unauthenticated => {
                let detail = "The header dj-api-key must hold an API key that was issued and not revoked.";
                (ProblemStatus::Unauthorized, Entry::new("UNAUTHENTICATED", "Not authenticated", detail))
            }
            Self::Forbidden => {
                let detail =
                    "Exports are for operators: the header dj-client must be OPERATOR, and the key an operator's.";
                (ProblemStatus::Forbidden, Entry::new("FORBIDDEN", "Not allowed", detail))
            }
            Self::NoSuchExport => {
                let detail = "There is no export with this id.";
                (ProblemStatus::NotFound, Entry::new("F-E-002", "Reference does not exist", detail))
            }
            Self::NoSuchRoute => {
                let detail = "Nothing is at this path. GET /v1/openapi.json tells what is where.";
                (ProblemStatus::NotFound, Entry::new("F-E-002", "Reference does not exist", detail))
            }
            Self::MethodNotAllowed(allowed) => {
                let detail = format!("This path takes {allowed} only.");
                (ProblemStatus::MethodNotAllowed, Entry::new("METHOD_NOT_ALLOWED", "Method not allowed", detail))
            }
            Self::BodyTooLarge(most) => {
                let detail = format!("The body may have {most} bytes at most.");
                (ProblemStatus::ContentTooLarge, Entry::new("PAYLOAD_TOO_LARGE", "Body too large", detail))
            }
            Self::NotJson => {
                let detail = "A body must be JSON in UTF-8, sent with Content-Type: application/json.";
                let entry = Entry::new("UNSUPPORTED_MEDIA_TYPE", "Unsupported media type", detail);
                (ProblemStatus::UnsupportedMediaType, entry)
            }
            Self::ExportAlreadyPending(id) => {
                let detail =
                    format!("The export {id} is pending: a tenant can have one at a time. Wait until it ends.");
                (ProblemStatus::Conflict, Entry::new("EXPORT_ALREADY_PENDING", "An export is pending already", detail))
            }
            Self::IdempotencyKeyReused => {
                let detail = "This Idempotency-Key came with another request in the last 24 hours. Use a new one.";
                let entry = Entry::new("IDEMPOTENCY_KEY_REUSED", "Idempotency key reused", detail);
                (ProblemStatus::UnprocessableContent, entry)
            }
            Self::NotYetMailed => {
                let detail = "The export is pending: its mail is still to come.";
                (ProblemStatus::Conflict, Entry::new("EXPORT_NOT_RESENDABLE", "Export not resendable", detail))
            }
            Self::NoFile => {
                let detail = "The export failed before it had a file. Launch a new one.";
                (ProblemStatus::Conflict, Entry::new("EXPORT_NOT_RESENDABLE", "Export not resendable", detail))
            }
            Self::FileGone => {
                let detail = "The file was deleted. Launch a new export.";
                (ProblemStatus::Gone, Entry::new("EXPORT_FILE_GONE", "Export file gone", detail))
            }
            Self::TooManyResends(_) => {
                let detail = "The mail of this export was sent again as often as a day (UTC) allows.";
                (ProblemStatus::TooManyRequests, Entry::new("TOO_MANY_RESENDS", "Too many resends", detail))
            }
            Self::EmailNotSent(not_sent) => {
                let detail = match not_sent {
                    NotSent::Refused(_) => "The mail service refuses the mail. The export is as it was.",
                    NotSent::Outage(_) => {
                        "The mail service did not confirm that it took the mail. The export is as it was."
                    }
                };
                (ProblemStatus::ServiceUnavailable, Entry::new("EMAIL_NOT_SENT", "E-mail not sent", detail))
            }
            Self::EmailSentNotRecorded(_) => {
                let detail = "The mail went out and its link works, but the export could not be updated and may show \
                              its earlier status and recipients.";
                let entry = Entry::new("EMAIL_SENT_NOT_RECORDED", "E-mail sent, but not recorded", detail);
                (ProblemStatus::InternalServerError, entry)
            }
            Self::Unavailable(_) => {
                let detail = "Something this request needs does not answer. Try again after the time in Retry-After.";
                (ProblemStatus::ServiceUnavailable, Entry::new("SERVICE_UNAVAILABLE", "Service unavailable", detail))
            }
            Self::Internal(_) | Self::Panic => {
                let detail = "The request met a fault of this service. Tell support the request id.";
                (ProblemStatus::InternalServerError, Entry::new("INTERNAL", "Internal error", detail))
            }
        };
        (status, vec![entry])
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.told().0 as u16
    }

    /// The code of the first error, for the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.told().1.first().map_or("", |entry| entry.code)
    }

    /// What a failure of ours came from, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(outage) => Some(outage),
            Self::EmailNotSent(not_sent) => Some(not_sent),
            Self::Internal(error) | Self::EmailSentNotRecorded(error) => Some(error.as_ref()),
            _ => None,
        }
    }

    pub(crate) fn body<'a>(&self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody { errors: self.told().1, request_id }
    }

    pub(crate) fn headers(&self) -> Headers {
        match self {
            Self::ExportAlreadyPending(id) => vec![(LOCATION, routes::export(id)), retry_after(POLL_AFTER)],
            Self::MethodNotAllowed(allowed) => vec![(ALLOW, allowed.clone())],
            Self::NotYetMailed => vec![retry_after(POLL_AFTER)],
            Self::TooManyResends(wait) => vec![retry_after(*wait)],
            Self::EmailNotSent(NotSent::Outage(_)) | Self::Unavailable(_) => vec![retry_after(TRY_AGAIN_AFTER)],
            _ => Vec::new(),
        }
    }
}

impl From<NoSuchExport> for Problem {
    fn from(_: NoSuchExport) -> Self {
        Self::NoSuchExport
    }
}

impl From<Outage> for Problem {
    fn from(outage: Outage) -> Self {
        match outage.kind() {
            ErrorKind::Transient => Self::Unavailable(outage),
            ErrorKind::Permanent => Self::Internal(outage.into()),
        }
    }
}

impl From<NotRead> for Problem {
    fn from(not_read: NotRead) -> Self {
        match not_read {
            NotRead::Unreadable(unreadable) => Self::Internal(unreadable.into()),
            NotRead::Outage(outage) => outage.into(),
        }
    }
}
