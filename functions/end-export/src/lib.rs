//! Ends an export that is stuck as FAILED, by an administrator's word. Has no route: only those whom IAM lets invoke the
//! function reach it.
//!
//! | request | answer |
//! |---|---|
//! | `{"tenantId": "acme", "exportId": "mpo_…", "reason": "…"}`; `reason` may be missing, and its requester reads it | the export as it ended, and whether its requester was told |
//!
//! The export's tenant can launch the next one at once. Whoever works on the export finds out with the next write that
//! the work is over. A file that was recorded stays, so that its mail can be sent again. The parts of a file that was not
//! whole are left to the bucket's lifecycle, as when the sweeper ends an export: the one who writes them may be at it
//! still, and only an upload's owner may abort it.
//!
//! One whose record cannot be read is ended, too, if it is PENDING: the answer names the attribute at fault, and its
//! requester is not told, because who that is cannot be relied on either.
//!
//! A bad request fails the invocation, and its message names every field that is wrong.

use domain::back_office::BackOfficeUrl;
use domain::ending::end_as_failed;
use domain::export::{Failure, Status};
use domain::id::{ExportId, TenantId};
use domain::lifecycle::{self, Authority, UnreadAuthority};
use domain::ports::{ApplyStep, Clock, FindExport, NotApplied, NotRead, Outage, SendMail, Unreadable};
use domain::time::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use telemetry::{Chain, Metric};
use tracing::{Instrument, error, info, warn};

mod request;

use request::Request;

/// Ends exports.
#[derive(Debug)]
pub struct EndExport<S, M, C> {
    /// The records.
    pub exports: S,
    /// Tells requesters.
    pub mailer: M,
    /// Where mails lead, if that is known.
    pub back_office: Option<BackOfficeUrl>,
    /// Tells the time.
    pub clock: C,
}

/// An export that was ended.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    tenant_id: String,
    export_id: String,
    status: &'static str,
    created_at: String,
    updated_at: String,
    failure: Told,
    /// Whether the mail about the failure was accepted.
    requester_told: bool,
    /// Why no mail was sent, if the record could not be read: its attribute at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable_attribute: Option<&'static str>,
}

/// Why it failed, as its requester is told.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Told {
    code: &'static str,
    message: String,
    retryable: bool,
}

/// Why an export was not ended.
#[derive(Debug, thiserror::Error)]
pub enum NotEnded {
    /// What is wrong with the request, each with the field it is about.
    #[error("bad request: {}", .0.join("; "))]
    BadRequest(Vec<String>),
    /// The tenant has no export with this id.
    #[error("bad request: exportId: the tenant has no such export")]
    NoSuchExport,
    /// It has ended already.
    #[error("bad request: exportId: the export is {0}, and only one that is PENDING can be ended")]
    NotPending(Status),
    /// It could not be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// It could not be written. It may have been ended all the same: ask again.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<NotEnded> for Diagnostic {
    fn from(error: NotEnded) -> Self {
        let error_type = match &error {
            NotEnded::BadRequest(_) | NotEnded::NoSuchExport | NotEnded::NotPending(_) => "BadRequest",
            NotEnded::NotRead(NotRead::Outage(outage)) | NotEnded::Outage(outage) if !outage.is_permanent() => "Outage",
            NotEnded::NotRead(_) | NotEnded::Outage(_) => "PermanentError",
        };
        Self { error_type: error_type.to_owned(), error_message: Chain(&error).to_string() }
    }
}

impl<S, M, C> EndExport<S, M, C>
where
    S: FindExport + ApplyStep,
    M: SendMail,
    C: Clock,
{
    /// Carries out one request.
    ///
    /// # Errors
    /// [`NotEnded`]; nothing has been changed then, unless an outage hid that it was.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Ended, NotEnded> {
        self.end(event.payload).instrument(telemetry::request(&event.context.request_id)).await
    }

    async fn end(&self, event: Value) -> Result<Ended, NotEnded> {
        let Request { tenant, id, reason } = request::parse(event).map_err(NotEnded::BadRequest)?;
        telemetry::note_tenant(&tenant);
        telemetry::note_export(&id);
        let now = self.clock.now();
        let failure = Failure::ended_by_administrator(reason.as_ref());
        let export = match self.exports.find_export(&tenant, &id).await {
            Err(NotRead::Unreadable(unreadable)) => return self.end_unread(tenant, id, unreadable, now, failure).await,
            found => found?.ok_or(NotEnded::NoSuchExport)?,
        };
        if export.status != Status::Pending {
            return Err(NotEnded::NotPending(export.status_at(now)));
        }

        let (exports, mailer, authority) = (&self.exports, &self.mailer, Authority::Administrator);
        let back_office = self.back_office.as_ref();
        let told = end_as_failed(exports, mailer, back_office, &export, now, authority, failure.clone())
            .await
            .map_err(|not_applied| not_ended(not_applied, now))?;
        info!("export ended by an administrator");
        telemetry::measure(Metric::Failed { code: failure.code.as_str() });
        if let Err(not_sent) = &told {
            warn!(error = %Chain(not_sent), "the requester was not told of the failure");
        }
        Ok(Ended { requester_told: told.is_ok(), ..Ended::untold(&tenant, &id, now, failure) })
    }

    /// Ends an export whose record cannot be read.
    async fn end_unread(
        &self,
        tenant: TenantId,
        id: ExportId,
        unreadable: Unreadable,
        now: Timestamp,
        failure: Failure,
    ) -> Result<Ended, NotEnded> {
        match unreadable.status {
            Some(Status::Pending) => {}
            Some(status) => return Err(NotEnded::NotPending(status)),
            None => return Err(NotRead::from(unreadable).into()),
        }
        let step = lifecycle::fail_unread(now, UnreadAuthority::Administrator, failure.clone());
        self.exports.apply_step(&tenant, &id, &step).await.map_err(|not_applied| not_ended(not_applied, now))?;
        let attribute = unreadable.attribute;
        error!(
            attribute,
            "export ended by an administrator, and its requester was not told: its record cannot be read"
        );
        telemetry::measure(Metric::Failed { code: failure.code.as_str() });
        Ok(Ended { unreadable_attribute: Some(attribute), ..Ended::untold(&tenant, &id, now, failure) })
    }
}

/// Why the step that ends an export was not carried out.
fn not_ended(not_applied: NotApplied, now: Timestamp) -> NotEnded {
    match not_applied {
        // It ended between our look and our write.
        NotApplied::Refused(Some(changed)) => NotEnded::NotPending(changed.status_at(now)),
        NotApplied::Refused(None) => NotEnded::NoSuchExport,
        NotApplied::Outage(outage) => outage.into(),
    }
}

impl Ended {
    /// An export that was ended at `now`, before its requester is told.
    fn untold(tenant: &TenantId, id: &ExportId, now: Timestamp, failure: Failure) -> Self {
        let Failure { code, message } = failure;
        Self {
            tenant_id: tenant.to_string(),
            export_id: id.to_string(),
            status: Status::Failed.as_str(),
            created_at: id.created_at().to_string(),
            updated_at: now.to_string(),
            failure: Told { code: code.as_str(), message, retryable: code.is_retryable() },
            requester_told: false,
            unreadable_attribute: None,
        }
    }
}

#[cfg(test)]
mod tests;
