//! `POST /v1/payments/{type}/export`: accepts an export.
//!
//! The export and its lock are written in one transaction, then the job is enqueued. The record is the source of truth:
//! if enqueueing fails, the response is still 202 and the sweeper enqueues the export.
//!
//! Repeating a request with the same `Idempotency-Key` within 24 hours returns the same export: the key is part of the
//! transaction, so only one of several concurrent requests is accepted.

use std::time::Duration;

use exports_domain::caller::ApiKeyRecord;
use exports_domain::email::{AllowedDomains, EmailAddress, Recipients};
use exports_domain::error::DependencyError;
use exports_domain::export::{Export, ExportSettings, Status};
use exports_domain::export_type::ExportType;
use exports_domain::idempotency::Idempotency;
use exports_domain::options::ExportOptions;
use exports_domain::ports::{AcceptError, ApiKeyStore, ExportStore, JobQueue, System};
use exports_http::api_error::POLL_AFTER;
use exports_http::auth::Authenticator;
use exports_http::body::{self, BodyError, Launch};
use exports_http::validation::ValidationErrors;
use exports_http::view::ExportView;
use exports_http::{ApiError, Request, Success, idempotency, options, routes};
use exports_telemetry::{Chain, Metric};
use serde_json::{Value, json};
use tracing::{error, info, warn};

/// How long to wait for the queue, because the caller waits too.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// Accepts exports.
pub struct CreateExport<'a, K, S> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// Where exports are written.
    pub exports: &'a S,
    /// Where jobs are sent.
    pub queue: &'a dyn JobQueue,
    /// The clock, and new ids.
    pub system: &'a dyn System,
    /// The settings that an export is accepted with.
    pub settings: ExportSettings,
    /// How long the sweeper waits for a sent job to start before it enqueues the export again.
    pub re_enqueue_after: Duration,
    /// The domains that CC recipients may have.
    pub allowed: AllowedDomains,
}

impl<K: ApiKeyStore, S: ExportStore> CreateExport<'_, K, S> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ApiError`]. Nothing was written, unless the error is a lost response to the write.
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let now = self.system.now();
        let export_type = request.export_type()?;
        let ApiKeyRecord { hash, caller, .. } = self.callers.operator_key(request, now).await?;
        let command = parse(request, export_type, &caller.user.email, &self.allowed)?;
        let idempotency = command
            .idempotency_key
            .map(|key| idempotency::record(key, &hash, &routes::exports(export_type), &command.normal_form()));

        let id = self.system.new_export_id(export_type, now)?;
        let Launch { recipients, options } = command.launch;
        let export = Export::accept(id, &caller, recipients, options, self.settings, self.re_enqueue_after);
        let export = Export { launch_request_id: Some(request.id().to_owned()), ..export };
        let export = self.accept(export, idempotency.as_ref()).await?;

        let response = Success::accepted(&ExportView::new(&export, now)).location(routes::export(&export.id));
        Ok(match export.status_at(now) {
            Status::Pending => response.retry_after(POLL_AFTER),
            Status::Ready | Status::Failed | Status::Expired => response,
        })
    }

    /// Accepts a new export, or returns the one already accepted for the same request.
    async fn accept(&self, export: Export, idempotency: Option<&Idempotency>) -> Result<Export, ApiError> {
        let export_type = export.id.export_type();
        match self.exports.accept_export(&export, idempotency).await {
            Ok(()) => {
                exports_telemetry::record_export(&export.id);
                exports_telemetry::record_launch(export.launch_request_id.as_deref());
                info!(cc = export.recipients.cc().len(), "export accepted");
                exports_telemetry::emit(Metric::Created { export_type: export_type.slug() });
                self.enqueue(&export).await;
                Ok(export)
            }
            Err(AcceptError::AlreadyAccepted(id)) => {
                exports_telemetry::record_export(&id);
                let found = self.exports.find_export(&export.tenant, &id).await?;
                let found =
                    found.ok_or_else(|| DependencyError::permanent("read the accepted export", "it does not exist"))?;
                exports_telemetry::record_launch(found.launch_request_id.as_deref());
                info!("the request was already accepted");
                Ok(found)
            }
            Err(AcceptError::AlreadyPending(id)) => Err(ApiError::ExportAlreadyPending(id)),
            Err(AcceptError::KeyReused) => Err(ApiError::IdempotencyKeyReused),
            Err(AcceptError::Dependency(error)) => Err(error.into()),
        }
    }

    async fn enqueue(&self, export: &Export) {
        let sent = self.queue.enqueue(export, Duration::ZERO);
        match tokio::time::timeout(ENQUEUE_TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_permanent() => {
                error!(error = %Chain(&error), "permanent error of the jobs queue: the sweeper will enqueue the export");
            }
            Ok(Err(error)) => warn!(error = %Chain(&error), "job not sent: the sweeper will enqueue the export"),
            Err(_) => warn!(
                seconds = ENQUEUE_TIMEOUT.as_secs(),
                "no response from the jobs queue: the sweeper will enqueue the export"
            ),
        }
    }
}

/// A parsed request.
struct Command<'a> {
    launch: Launch,
    idempotency_key: Option<&'a str>,
}

impl Command<'_> {
    /// The normal form that the fingerprint covers. An option with its default value is omitted.
    fn normal_form(&self) -> Value {
        // No `..`, so that a new field does not compile until it is handled here.
        let Self { launch: Launch { recipients, options }, idempotency_key: _ } = self;
        let cc: Vec<_> = recipients.cc().iter().map(EmailAddress::as_str).collect();
        let mut form = options::normal_form(options);
        form.insert("cc".to_owned(), json!(cc));
        form.insert("to".to_owned(), json!(recipients.to().as_str()));
        Value::Object(form)
    }
}

/// Parses the request, or returns all its validation errors.
fn parse<'a>(
    request: &'a Request,
    export_type: ExportType,
    caller: &EmailAddress,
    allowed: &AllowedDomains,
) -> Result<Command<'a>, BodyError> {
    let mut errors = ValidationErrors::default();
    let idempotency_key = idempotency::key(request).unwrap_or_else(|error| {
        errors.extend(vec![error]);
        None
    });
    let launch = match body::launch(request, export_type.definition(), caller, allowed) {
        Ok(launch) => launch,
        Err(BodyError::ValidationErrors(body_errors)) => {
            errors.extend(body_errors);
            Launch { recipients: Recipients::only(caller.clone()), options: ExportOptions::default() }
        }
        Err(error @ (BodyError::TooLarge | BodyError::UnsupportedMediaType)) => return Err(error),
    };
    errors.into_result(Command { launch, idempotency_key }).map_err(BodyError::ValidationErrors)
}

#[cfg(test)]
mod tests;
