//! Fails a stuck export at an administrator's request. It has no route: only IAM principals may invoke it.
//!
//! | request | response |
//! |---|---|
//! | `{"tenantId": "acme", "exportId": "mpo_…", "reason": "…"}`; the optional `reason` is shown to the requester | the failed export, and whether its requester was mailed |
//!
//! The tenant can launch the next export at once. The owner's next write is rejected, and the owner deletes what it
//! wrote. A recorded file is kept, so the mail can be resent. Without an owner, an unfinished upload is left to the
//! bucket's lifecycle rule.
//!
//! A PENDING export with a corrupt record can be failed too. The response then names the corrupt attribute. The
//! requester is not mailed, because the recorded address may be wrong.
//!
//! An invalid request fails the invocation with a message that names every invalid field.

use exports_domain::back_office::BackOfficeUrl;
use exports_domain::error::DependencyError;
use exports_domain::export::Status;
use exports_domain::failure::Failure;
use exports_domain::failure_mail::mail_failure;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::lifecycle::{self, CorruptFailedBy, FailedBy};
use exports_domain::ports::{ApplyError, CorruptRecord, ExportStore, MailSender, ReadError, System};
use exports_domain::time::Timestamp;
use exports_telemetry::{Chain, Metric};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use tracing::{Instrument, error, info, warn};

mod request;

use request::Request;

/// Fails stuck exports.
pub struct FailExport<'a, S> {
    /// Where exports are kept.
    pub exports: &'a S,
    /// Mails the requesters.
    pub mail: &'a dyn MailSender,
    /// The back office that mails link to, if known.
    pub back_office: Option<BackOfficeUrl>,
    /// The clock.
    pub system: &'a dyn System,
}

/// A failed export.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedExport {
    tenant_id: String,
    export_id: String,
    status: &'static str,
    created_at: String,
    updated_at: String,
    failure: FailureView,
    /// Whether the failure mail was accepted.
    requester_mailed: bool,
    /// The attribute that makes the record corrupt, which is why no mail was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    corrupt_attribute: Option<&'static str>,
}

/// The failure, as the requester sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FailureView {
    code: &'static str,
    message: String,
    retryable: bool,
}

/// Why an export was not failed.
#[derive(Debug, thiserror::Error)]
pub enum FailExportError {
    /// The validation errors of the request.
    #[error("bad request: {}", .0.join("; "))]
    BadRequest(Vec<String>),
    /// The tenant has no export with this id.
    #[error("bad request: exportId: the tenant has no export with this ID")]
    NotFound,
    /// Its status is not PENDING.
    #[error("bad request: exportId: the export is {0}; only a PENDING export can be failed")]
    NotPending(Status),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be written, or the response to the write was lost.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

impl From<FailExportError> for Diagnostic {
    fn from(error: FailExportError) -> Self {
        let error_type = match &error {
            FailExportError::BadRequest(_) | FailExportError::NotFound | FailExportError::NotPending(_) => "BadRequest",
            FailExportError::Read(ReadError::Dependency(error)) | FailExportError::Dependency(error)
                if !error.is_permanent() =>
            {
                "TransientError"
            }
            FailExportError::Read(_) | FailExportError::Dependency(_) => "PermanentError",
        };
        Self { error_type: error_type.to_owned(), error_message: Chain(&error).to_string() }
    }
}

impl<S: ExportStore> FailExport<'_, S> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`FailExportError`]. Nothing was changed, unless the error is a lost response to the write.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<FailedExport, FailExportError> {
        self.fail(event.payload).instrument(exports_telemetry::request(&event.context.request_id)).await
    }

    async fn fail(&self, event: Value) -> Result<FailedExport, FailExportError> {
        let Request { tenant, id, reason } = request::parse(event).map_err(FailExportError::BadRequest)?;
        exports_telemetry::record_tenant(&tenant);
        exports_telemetry::record_export(&id);
        let failure = Failure::failed_by_administrator(reason.as_ref());
        let found = self.exports.find_export(&tenant, &id).await;
        let now = self.system.now();
        let export = match found {
            Err(ReadError::Corrupt(corrupt)) => return self.fail_corrupt(tenant, id, corrupt, now, failure).await,
            found => found?.ok_or(FailExportError::NotFound)?,
        };
        exports_telemetry::record_launch(export.launch_request_id.as_deref());
        if export.status() != Status::Pending {
            return Err(FailExportError::NotPending(export.status_at(now)));
        }

        let step = lifecycle::fail(&export, now, FailedBy::Administrator, failure.clone());
        self.exports.apply_step(&tenant, &id, &step).await.map_err(|error| apply_error(error, now))?;
        let code = failure.code.as_str();
        info!(code, "an administrator failed the export");
        exports_telemetry::emit(Metric::Failed { export_type: id.export_type().slug(), code });
        let mailed = mail_failure(self.mail, self.back_office.as_ref(), &export, &failure).await;
        if let Err(error) = &mailed {
            warn!(error = %Chain(error), "the failure mail was not sent");
        }
        Ok(FailedExport { requester_mailed: mailed.is_ok(), ..FailedExport::unmailed(&tenant, &id, now, failure) })
    }

    async fn fail_corrupt(
        &self,
        tenant: TenantId,
        id: ExportId,
        corrupt: CorruptRecord,
        now: Timestamp,
        failure: Failure,
    ) -> Result<FailedExport, FailExportError> {
        match corrupt.status {
            Some(Status::Pending) => {}
            Some(status) => return Err(FailExportError::NotPending(status)),
            None => return Err(ReadError::from(corrupt).into()),
        }
        let step = lifecycle::fail_corrupt(now, CorruptFailedBy::Administrator, failure.clone());
        self.exports.apply_step(&tenant, &id, &step).await.map_err(|error| apply_error(error, now))?;
        let (attribute, code) = (corrupt.attribute, failure.code.as_str());
        error!(attribute, code, "an administrator failed the export; no mail was sent because its record is corrupt");
        exports_telemetry::emit(Metric::Failed { export_type: id.export_type().slug(), code });
        Ok(FailedExport { corrupt_attribute: Some(attribute), ..FailedExport::unmailed(&tenant, &id, now, failure) })
    }
}

fn apply_error(error: ApplyError, now: Timestamp) -> FailExportError {
    match error {
        // Its status changed between the read and the write.
        ApplyError::Conflict(Some(changed)) => FailExportError::NotPending(changed.status_at(now)),
        ApplyError::Conflict(None) => FailExportError::NotFound,
        ApplyError::Dependency(error) => error.into(),
    }
}

impl FailedExport {
    fn unmailed(tenant: &TenantId, id: &ExportId, now: Timestamp, failure: Failure) -> Self {
        let Failure { code, message, .. } = failure;
        Self {
            tenant_id: tenant.to_string(),
            export_id: id.to_string(),
            status: Status::Failed.as_str(),
            created_at: id.created_at().to_string(),
            updated_at: now.to_string(),
            failure: FailureView { code: code.as_str(), message, retryable: code.is_retryable() },
            requester_mailed: false,
            corrupt_attribute: None,
        }
    }
}

#[cfg(test)]
mod tests;
