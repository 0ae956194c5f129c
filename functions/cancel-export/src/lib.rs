//! `POST /v1/exports/{exportId}/cancel`: cancels a pending export.
//!
//! A cancelled export is FAILED with CANCELLED and never has a file. Either the owner records the file or the caller
//! cancels the export: the guards of the two writes exclude each other. The tenant can launch the next export at once.
//! Cancelling an export that was cancelled before changes nothing and returns it.
//!
//! An owner with a live lease notices the cancellation at its next write, and deletes what it wrote. If no lease is
//! live, this function deletes the unfinished file. The requester is mailed unless they cancelled the export themselves.
//! Neither an unfinished file that is not deleted nor a mail that is not sent fails the request: the bucket's lifecycle
//! rules delete the file, and the history shows the export as cancelled.

use std::time::Duration;

use exports_domain::back_office::BackOfficeUrl;
use exports_domain::caller::Person;
use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::failure::Failure;
use exports_domain::failure_mail::mail_failure;
use exports_domain::lifecycle::{self, CancelError};
use exports_domain::ports::{ApiKeyStore, ApplyError, ExportStore, FileStore, MailSender, System};
use exports_domain::time::Timestamp;
use exports_domain::unfinished_file::UnfinishedFile;
use exports_http::auth::Authenticator;
use exports_http::view::ExportView;
use exports_http::{ApiError, Request, Success};
use exports_telemetry::{Chain, Metric};
use tracing::{info, warn};

/// How often the write is attempted if the lease is acquired or released between the read and the write.
const ATTEMPTS: u32 = 3;

/// How long the caller waits for the unfinished file to be deleted and the mail to be sent, once the export is cancelled.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(8);

/// Cancels pending exports.
pub struct CancelExport<'a, K, S, F> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// Where exports are kept.
    pub exports: &'a S,
    /// The unfinished files of exports without an owner.
    pub files: &'a F,
    /// Mails the requesters.
    pub mail: &'a dyn MailSender,
    /// The back office that mails link to, if known.
    pub back_office: Option<BackOfficeUrl>,
    /// The clock.
    pub system: &'a dyn System,
}

impl<K: ApiKeyStore, S: ExportStore, F: FileStore> CancelExport<'_, K, S, F> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ApiError`]. The export is unchanged, unless the response to the write was lost.
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let caller = self.callers.operator(request, self.system.now()).await?;
        let id = request.export_id()?;
        exports_telemetry::record_export(&id);
        let mut export = self.exports.find_export(&caller.tenant, &id).await?.ok_or(ApiError::ExportNotFound)?;
        exports_telemetry::record_launch(export.launch_request_id.as_deref());

        let failure = Failure::cancelled(caller.user.clone());
        for _ in 0..ATTEMPTS {
            let now = self.system.now();
            let step = match lifecycle::cancel(&export, now, failure.clone()) {
                Ok(step) => step,
                Err(error) => return not_cancelled(error, &export, now),
            };
            // Read before the step deletes the checkpoint.
            let checkpoint = self.checkpoint_without_owner(&export, now).await;
            match self.exports.apply_step(&export.tenant, &export.id, &step).await {
                Ok(()) => {
                    self.after_cancellation(&export, &failure, &caller.user, checkpoint).await;
                    return Ok(Success::ok(&ExportView::new(&step.changed(&export), now)));
                }
                Err(ApplyError::Conflict(Some(changed))) => export = *changed,
                Err(ApplyError::Conflict(None)) => return Err(ApiError::ExportNotFound),
                Err(ApplyError::Dependency(error)) => return Err(error.into()),
            }
        }
        Err(DependencyError::transient("cancel the export", "its owner changed at each attempt").into())
    }

    /// Counts the cancellation, deletes the unfinished file, and mails the requester.
    async fn after_cancellation(
        &self,
        export: &Export,
        failure: &Failure,
        cancelled_by: &Person,
        checkpoint: Option<Checkpoint>,
    ) {
        let (export_type, code) = (export.id.export_type().slug(), failure.code.as_str());
        info!(code, "export cancelled");
        exports_telemetry::emit(Metric::Failed { export_type, code });
        let clean_up = async { tokio::join!(self.discard(checkpoint), self.notify(export, failure, cancelled_by)) };
        if tokio::time::timeout(CLEAN_UP_TIMEOUT, clean_up).await.is_err() {
            warn!("the unfinished file was not deleted or the mail was not sent in time");
        }
    }

    /// The checkpoint of a file that no owner will delete, because no lease is live.
    async fn checkpoint_without_owner(&self, export: &Export, now: Timestamp) -> Option<Checkpoint> {
        if export.pending().is_none_or(|pending| pending.is_leased_at(now)) || export.fencing_token == 0 {
            return None;
        }
        match self.exports.find_checkpoint(&export.tenant, &export.id).await {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                warn!(error = %Chain(&error), "unknown whether there is an unfinished file");
                None
            }
        }
    }

    /// Deletes the upload and the object that the checkpoint names.
    async fn discard(&self, checkpoint: Option<Checkpoint>) {
        let Some(checkpoint) = checkpoint else { return };
        for (key, error) in UnfinishedFile::of(&checkpoint).delete(self.files).await {
            warn!(key, error = %Chain(&error), "the unfinished file was not deleted");
        }
    }

    /// Mails the requester, unless `cancelled_by` is the requester.
    async fn notify(&self, export: &Export, failure: &Failure, cancelled_by: &Person) {
        if export.requested_by.email.is_same_mailbox(&cancelled_by.email) {
            return;
        }
        if let Err(error) = mail_failure(self.mail, self.back_office.as_ref(), export, failure).await {
            warn!(error = %Chain(&error), "the requester was not mailed");
        }
    }
}

/// The response if the export, as read at `now`, cannot be cancelled.
fn not_cancelled(error: CancelError, export: &Export, now: Timestamp) -> Result<Success, ApiError> {
    match error {
        CancelError::AlreadyCancelled => Ok(Success::ok(&ExportView::new(export, now))),
        CancelError::FileRecorded | CancelError::Ended => Err(ApiError::NotCancellable(error)),
    }
}

#[cfg(test)]
mod tests;
