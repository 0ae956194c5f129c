//! One export, from its lease to its end.

use std::time::Duration;

use exports_domain::back_office::BackOfficeUrl;
use exports_domain::error::{DependencyError, ErrorKind};
use exports_domain::export::{Export, Lease, Status};
use exports_domain::failure::Failure;
use exports_domain::failure_mail::mail_failure;
use exports_domain::file::ExportFile;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::lifecycle::{self, AcquireError, FailedBy, Step};
use exports_domain::mail::Mail;
use exports_domain::ports::{
    ApplyError, CorruptRecord, ExportStore, FileStore, JobQueue, MailSender, ReadError, RowSource, SendError, System,
    TriedStep,
};
use exports_domain::time::Timestamp;
use exports_domain::unfinished_file::UnfinishedFile;
use exports_telemetry::{Chain, Metric};
use tracing::{error, info, warn};

use crate::Invocation;
use crate::file_writer::{FileWriter, WrittenFile};
use crate::limits::Limits;
use crate::stopped::{Stopped, Unrecorded};
use crate::unfinished_file::discard;

/// Processes exports, one job at a time.
pub struct Generator<'a, S> {
    /// Where exports are kept.
    pub exports: &'a S,
    /// Where jobs are sent.
    pub queue: &'a dyn JobQueue,
    /// The rows to export.
    pub rows: &'a dyn RowSource,
    /// Where files are written and linked.
    pub files: &'a dyn FileStore,
    /// Sends the mail.
    pub mail: &'a dyn MailSender,
    /// The back office that mails link to, if known.
    pub back_office: Option<BackOfficeUrl>,
    /// The clock.
    pub system: &'a dyn System,
    /// The limits.
    pub limits: Limits,
}

impl<S: ExportStore> Generator<'_, S> {
    /// Acquires the lease of an export, if it is free, and processes the export as far as possible.
    ///
    /// # Errors
    /// [`ReadError`] if the record is corrupt, or it is unknown whether the lease was acquired. Later errors are on the
    /// record.
    pub async fn run(&self, tenant: &TenantId, id: &ExportId, invocation: &Invocation) -> Result<(), ReadError> {
        let Some(mut export) = self.acquire(tenant, id, invocation).await? else { return Ok(()) };
        match self.process(&mut export, invocation).await {
            Ok(()) => {}
            Err(Stopped::Conflict(Some(record))) if record.status() != Status::Pending => {
                info!("stopped: the export has ended");
            }
            Err(Stopped::Conflict(_)) => warn!(fencing_token = export.fencing_token, "lost the lease"),
            Err(Stopped::Failed(failure)) => self.fail(&export, failure, None).await,
            Err(Stopped::OutOfTime { has_advanced, obsolete }) => {
                self.enqueue_next(&export, has_advanced).await;
                discard(&obsolete, self.files).await;
            }
            Err(Stopped::Error { error, unrecorded, obsolete }) => {
                self.retry_later(&export, error, unrecorded).await;
                discard(&obsolete, self.files).await;
            }
        }
        Ok(())
    }

    /// The export with this invocation as its owner, or `None` if there is nothing to do. The first owner acquires the
    /// lease in one call; otherwise its rejection returns the record, which decides.
    async fn acquire(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        invocation: &Invocation,
    ) -> Result<Option<Export>, ReadError> {
        let lease =
            Lease { owner: invocation.request_id.clone(), until: invocation.ends_at.plus(self.limits.lease_grace) };
        let now = self.system.now();
        let first = lifecycle::acquire_first(now, lease.clone());
        match self.exports.try_step(tenant, id, &first).await {
            Ok(TriedStep::Applied(export)) => {
                exports_telemetry::record_launch(export.launch_request_id.as_deref());
                info!(fencing_token = export.fencing_token, attempts = export.attempts, "acquired the lease");
                Ok(Some(*export))
            }
            Ok(TriedStep::Rejected(Some(read))) => self.acquire_again(*read, now, lease).await,
            Ok(TriedStep::Rejected(None)) => {
                warn!("dropped a message for an export that does not exist");
                Ok(None)
            }
            Err(ReadError::Corrupt(CorruptRecord { attribute, status: Some(status), .. }))
                if status != Status::Pending =>
            {
                info!(%status, attribute, "nothing to do: the export has ended; its record is corrupt");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Acquires the lease of an export that had an owner before, if it is free.
    async fn acquire_again(&self, read: Export, now: Timestamp, lease: Lease) -> Result<Option<Export>, ReadError> {
        exports_telemetry::record_launch(read.launch_request_id.as_deref());
        // The response to our own write may have been lost, and the SDK's retry rejected: the lease is ours then.
        if read.lease() == Some(&lease) {
            return Ok(Some(read));
        }
        let step = match lifecycle::acquire(&read, now, lease.clone(), &self.limits.retry) {
            Ok(step) => step,
            Err(AcquireError::Ended | AcquireError::Leased) => {
                info!(status = %read.status(), "nothing to do: the export has ended, or another invocation owns it");
                return Ok(None);
            }
            Err(AcquireError::TooSoon) => {
                info!(attempts = read.attempts, "nothing to do: too soon after an error");
                return Ok(None);
            }
            Err(AcquireError::AttemptsUsedUp | AcquireError::DeadlinePassed) => {
                info!(attempts = read.attempts, "nothing to do: the sweeper fails this export");
                return Ok(None);
            }
        };
        match self.exports.try_step(&read.tenant, &read.id, &step).await? {
            // The record as it is now: the previous owner may have recorded progress since it was read.
            TriedStep::Applied(export) => {
                info!(fencing_token = export.fencing_token, attempts = export.attempts, "acquired the lease");
                Ok(Some(*export))
            }
            // A lost response, as above.
            TriedStep::Rejected(Some(now)) if now.lease() == Some(&lease) => Ok(Some(*now)),
            TriedStep::Rejected(_) => {
                info!("nothing to do: another invocation acquired the lease");
                Ok(None)
            }
        }
    }

    /// Writes the file, mails it and marks the export READY. `export` follows the record.
    async fn process(&self, export: &mut Export, invocation: &Invocation) -> Result<(), Stopped> {
        let (file, left_over) = match export.file() {
            Some(file) => (file.clone(), self.left_over(export).await),
            None => (self.write_file(export, invocation).await?, UnfinishedFile::default()),
        };
        let now = self.system.now();
        let link_expiry = file.link_expiry(now, export.settings.link_lifetime);
        if link_expiry <= now {
            error!("permanent error: the file has expired before it was mailed");
            return Err(Stopped::Failed(Failure::permanent_error()));
        }
        let link = self.files.sign_link(&file.key, now, link_expiry).await?;
        let mail = Mail::ready(export, &file, &link, link_expiry, self.back_office.as_ref())
            .map_err(|error| DependencyError::permanent("write the mail", error))?;
        match self.mail.send_mail(&mail).await {
            Ok(()) => {}
            Err(SendError::Rejected(reason)) => return Err(Stopped::Failed(Failure::email_not_sent(&reason))),
            Err(SendError::Dependency(error)) => return Err(error.into()),
        }
        let now = self.system.now();
        self.apply(export, &lifecycle::ready(export, now, link_expiry)).await?;
        info!(recipients = 1 + export.recipients.cc().len(), "export is READY");
        exports_telemetry::emit(Metric::Ready {
            export_type: export.id.export_type().slug(),
            took: now.since(export.created_at()),
            rows: file.rows,
        });
        // Last, because a process that always dies here must not keep the e-mail from being sent.
        discard(&left_over, self.files).await;
        Ok(())
    }

    /// What the owner who recorded the file did not delete, because it died or did not learn that the file is recorded.
    async fn left_over(&self, export: &Export) -> UnfinishedFile {
        match self.exports.find_checkpoint(&export.tenant, &export.id).await {
            Ok(checkpoint) => checkpoint.as_ref().map(UnfinishedFile::of).unwrap_or_default(),
            Err(error) => {
                warn!(error = %Chain(&error), "unknown whether there is an unfinished file");
                UnfinishedFile::default()
            }
        }
    }

    /// Writes the file and records it.
    async fn write_file(&self, export: &mut Export, invocation: &Invocation) -> Result<ExportFile, Stopped> {
        let writer = FileWriter {
            exports: self.exports,
            rows: self.rows,
            files: self.files,
            system: self.system,
            limits: &self.limits,
            ends_at: invocation.ends_at,
        };
        let WrittenFile { file, rows_read, checkpoint_objects } = writer.write(export).await?;
        let step = lifecycle::record_file(export, self.system.now(), file.clone(), rows_read);
        if let Err(error) = self.apply(export, &step).await {
            let unrecorded = Unrecorded { key: file.key, checkpoint_objects };
            return Err(match error {
                ApplyError::Dependency(error) => {
                    Stopped::Error { error, unrecorded: Some(unrecorded), obsolete: UnfinishedFile::default() }
                }
                ApplyError::Conflict(record) => {
                    self.discard_if_ended(export, record.as_deref(), unrecorded).await;
                    Stopped::Conflict(record)
                }
            });
        }
        *export = step.changed(export);
        info!(rows_read, rows = file.rows, bytes = file.bytes, "file recorded");
        discard(&checkpoint_objects, self.files).await;
        Ok(file)
    }

    /// Deletes this owner's file if, as the record shows, the export has ended without it: nobody else will.
    async fn discard_if_ended(&self, export: &Export, record: Option<&Export>, unrecorded: Unrecorded) {
        if !record.is_some_and(|record| record.ended_without_file_under(export.fencing_token)) {
            return;
        }
        discard(&unrecorded.checkpoint_objects, self.files).await;
        // A complete upload is a file. If this fails, the bucket's lifecycle rule deletes it.
        if let Err(error) = self.files.delete_file(&unrecorded.key).await {
            warn!(key = unrecorded.key, error = %Chain(&error), "the file was not deleted");
        }
    }

    async fn apply(&self, export: &Export, step: &Step) -> Result<(), ApplyError> {
        self.exports.apply_step(&export.tenant, &export.id, step).await
    }

    async fn fail(&self, export: &Export, failure: Failure, unrecorded: Option<Unrecorded>) {
        let (now, code) = (self.system.now(), failure.code.as_str());
        warn!(code, "export failed");
        let step = lifecycle::fail(export, now, FailedBy::Owner, failure.clone());
        match self.apply(export, &step).await {
            Ok(()) => {}
            // The response to our own write was lost, and the retry was rejected.
            Err(ApplyError::Conflict(Some(record)))
                if record.updated_at == now && record.failure() == Some(&failure) => {}
            // The lease expires, and the sweeper enqueues the export again.
            Err(error) => {
                warn!(error = %Chain(&error), "the failure was not recorded");
                if let ApplyError::Conflict(record) = error {
                    let invalid_rows = failure.invalid_rows.map(|file| Unrecorded::only(file.key));
                    for unrecorded in invalid_rows.into_iter().chain(unrecorded) {
                        self.discard_if_ended(export, record.as_deref(), unrecorded).await;
                    }
                }
                return;
            }
        }
        exports_telemetry::emit(Metric::Failed { export_type: export.id.export_type().slug(), code });
        if let Err(error) = mail_failure(self.mail, self.back_office.as_ref(), export, &failure).await {
            warn!(error = %Chain(&error), "the failure mail was not sent");
        }
        if let Some(unrecorded) = unrecorded {
            // The file is recorded if only the response to that write was lost.
            match self.exports.find_export(&export.tenant, &export.id).await {
                Ok(record) => self.discard_if_ended(export, record.as_ref(), unrecorded).await,
                Err(error) => {
                    warn!(key = unrecorded.key, error = %Chain(&error), "unknown whether the file is recorded")
                }
            }
        }
    }

    /// Enqueues the export for the next invocation, unless the attempts are used up.
    async fn enqueue_next(&self, export: &Export, has_advanced: bool) {
        if !has_advanced && export.attempts >= self.limits.retry.max_attempts {
            return self.fail(export, Failure::attempts_used_up(export.attempts), None).await;
        }
        self.enqueue(export, Duration::ZERO).await;
    }

    async fn enqueue(&self, export: &Export, delay: Duration) {
        match self.queue.enqueue(export, delay).await {
            Ok(()) => {}
            Err(error) if error.is_permanent() => error!(error = %Chain(&error), "jobs cannot be sent"),
            Err(error) => warn!(error = %Chain(&error), "job not sent"),
        }
    }

    /// Releases the lease and enqueues the export with a delay, if another attempt is left. If this fails, the sweeper
    /// enqueues it: when the lease expires, or shortly after the job should have started.
    async fn retry_later(&self, export: &Export, error: DependencyError, unrecorded: Option<Unrecorded>) {
        let (now, kind) = (self.system.now(), error.kind());
        let failure = match kind {
            ErrorKind::Transient => {
                warn!(error = %Chain(&error), attempts = export.attempts, "transient error");
                Failure::attempts_used_up(export.attempts)
            }
            ErrorKind::Permanent => {
                error!(error = %Chain(&error), attempts = export.attempts, "permanent error");
                Failure::permanent_error()
            }
        };
        let Some(wait) = self.limits.retry.wait_after_error(export, now, kind) else {
            return self.fail(export, failure, unrecorded).await;
        };
        let retry_at = now.plus(wait);
        let step = lifecycle::release(export, now, kind, retry_at, retry_at.plus(self.limits.re_enqueue_after));
        if let Err(error) = self.apply(export, &step).await {
            warn!(error = %Chain(&error), "the lease was not released");
            if let (ApplyError::Conflict(record), Some(unrecorded)) = (error, unrecorded) {
                self.discard_if_ended(export, record.as_deref(), unrecorded).await;
            }
            return;
        }
        self.enqueue(export, wait).await;
    }
}
