//! One export, from its lease to its end.

use std::time::Duration;

use domain::back_office::BackOfficeUrl;
use domain::ending::end_as_failed;
use domain::export::{Export, Failure, Lease, Status};
use domain::file::ExportFile;
use domain::id::{ExportId, TenantId};
use domain::lifecycle::{self, Authority, NotTaken, Step, Tries};
use domain::mail::Mail;
use domain::ports::{
    ApplyStep, Checkpoints, Clock, Doorbell, ErrorKind, FindExport, NotApplied, NotRead, NotSent, Outage, ReadPayouts,
    SendMail, SignLink, StoreFile, Unreadable,
};
use telemetry::{Chain, Metric};
use tracing::{error, info, warn};

use crate::Invocation;
use crate::write_file::{FileLimits, FileWriter, NotWritten};

/// Numbers the work goes by.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often, and how soon again, an export is tried.
    pub tries: Tries,
    /// For how long after its invocation's end a lease still holds.
    pub lease_grace: Duration,
    /// How long the sweeper waits for a bell's effect before it rings again.
    pub ring_after: Duration,
    /// Those that a file is written by.
    pub file: FileLimits,
}

/// Brings exports to their end.
#[derive(Clone, Debug)]
pub struct Generator<S, B, P, F, L, M, C> {
    /// The records.
    pub exports: S,
    /// The queue.
    pub bell: B,
    /// What is exported.
    pub payouts: P,
    /// Where files are kept.
    pub files: F,
    /// Makes the mail's link.
    pub links: L,
    /// Sends the mail.
    pub mailer: M,
    /// Where mails lead, if that is known.
    pub back_office: Option<BackOfficeUrl>,
    /// Tells the time.
    pub clock: C,
    /// Numbers the work goes by.
    pub limits: Limits,
}

/// Why the work did not come to READY.
enum Stopped {
    /// The work is somebody else's now, or over.
    Lost,
    /// It will not succeed however often it is tried.
    ForGood(Failure),
    /// The invocation's time is over; the lease is given up.
    OutOfTime {
        /// Whether the work got further than the checkpoint that it began with.
        has_advanced: bool,
    },
    /// Trying again may help.
    ForNow(Outage),
}

impl From<Outage> for Stopped {
    fn from(outage: Outage) -> Self {
        Self::ForNow(outage)
    }
}

impl From<NotApplied> for Stopped {
    fn from(not_applied: NotApplied) -> Self {
        match not_applied {
            NotApplied::Refused(_) => Self::Lost,
            NotApplied::Outage(outage) => Self::ForNow(outage),
        }
    }
}

impl From<NotWritten> for Stopped {
    fn from(not_written: NotWritten) -> Self {
        match not_written {
            NotWritten::Faults(faults) => Self::ForGood(Failure::payouts_not_writable(&faults)),
            NotWritten::TooLarge(most) => Self::ForGood(Failure::file_too_large(most)),
            NotWritten::OutOfTime { has_advanced } => Self::OutOfTime { has_advanced },
            NotWritten::NotApplied(not_applied) => not_applied.into(),
            NotWritten::Outage(outage) => Self::ForNow(outage),
        }
    }
}

impl From<NotSent> for Stopped {
    fn from(not_sent: NotSent) -> Self {
        match not_sent {
            NotSent::Refused(reason) => Self::ForGood(Failure::email_not_sent(&reason)),
            NotSent::Outage(outage) => Self::ForNow(outage),
        }
    }
}

impl<S, B, P, F, L, M, C> Generator<S, B, P, F, L, M, C>
where
    S: FindExport + ApplyStep + Checkpoints,
    B: Doorbell,
    P: ReadPayouts,
    F: StoreFile,
    L: SignLink,
    M: SendMail,
    C: Clock,
{
    /// Takes the work on an export, if it is there to take, and brings it as far as it goes.
    ///
    /// # Errors
    /// [`NotRead`] if it is unknown whether the work could be taken, or if it could not because the record cannot be
    /// read. Once it is taken, what goes wrong is on the record.
    pub async fn run(&self, tenant: &TenantId, id: &ExportId, invocation: &Invocation) -> Result<(), NotRead> {
        let read = match self.exports.find_export(tenant, id).await {
            Ok(Some(read)) => read,
            Ok(None) => {
                warn!("dropped a message for an export that does not exist");
                return Ok(());
            }
            Err(NotRead::Unreadable(Unreadable { attribute, status: Some(status), .. }))
                if status != Status::Pending =>
            {
                info!(%status, attribute, "nothing to do: finished, though its record cannot be read");
                return Ok(());
            }
            Err(not_read) => return Err(not_read),
        };
        let Some(mut export) = self.take(read, invocation).await? else { return Ok(()) };
        match self.work(&mut export, invocation).await {
            Ok(()) => {}
            Err(Stopped::Lost) => warn!(fence = export.fence, "the work was taken over"),
            Err(Stopped::ForGood(failure)) => self.end(&export, failure).await,
            Err(Stopped::OutOfTime { has_advanced }) => self.go_on(&export, has_advanced).await,
            Err(Stopped::ForNow(outage)) => self.try_again_later(&export, outage).await,
        }
        Ok(())
    }

    /// The export with this invocation as its owner, or `None` if there is nothing to do for it.
    async fn take(&self, read: Export, invocation: &Invocation) -> Result<Option<Export>, Outage> {
        let until = invocation.ends_at.plus(self.limits.lease_grace);
        let lease = Lease { holder: invocation.request_id.clone(), until };
        let step = match lifecycle::take(&read, self.clock.now(), lease.clone(), &self.limits.tries) {
            Ok(step) => step,
            Err(NotTaken::Finished | NotTaken::Leased) => {
                info!(status = %read.status, "nothing to do: finished, or in work elsewhere");
                return Ok(None);
            }
            Err(NotTaken::TooSoon) => {
                info!(tries = read.tries, "nothing to do: too soon after a permanent error");
                return Ok(None);
            }
            Err(NotTaken::TriesUsedUp | NotTaken::DeadlinePassed) => {
                info!(tries = read.tries, "nothing to do: the sweeper ends this export");
                return Ok(None);
            }
        };
        match self.exports.apply_step(&read.tenant, &read.id, &step).await {
            Ok(()) => {
                let export = step.changed(&read);
                info!(fence = export.fence, tries = export.tries, "took the work");
                Ok(Some(export))
            }
            // The answer to our own write may have been lost, and the SDK's second try refused: the work is ours then.
            Err(NotApplied::Refused(Some(now))) if now.lease.as_ref() == Some(&lease) => Ok(Some(*now)),
            Err(NotApplied::Refused(_)) => {
                info!("nothing to do: somebody else took the work");
                Ok(None)
            }
            Err(NotApplied::Outage(outage)) => Err(outage),
        }
    }

    /// File, mail, READY. `export` is kept as the record is.
    async fn work(&self, export: &mut Export, invocation: &Invocation) -> Result<(), Stopped> {
        let file = match &export.file {
            Some(file) => file.clone(),
            None => self.write(export, invocation).await?,
        };
        let now = self.clock.now();
        let link_end = file.link_end(now, export.terms.link_life);
        let link = self.links.sign_link(&file, now, link_end).await?;
        let mail = Mail::ready(export, &file, &link, link_end, self.back_office.as_ref())
            .map_err(|error| Outage::permanent("write the mail", error))?;
        self.mailer.send_mail(&mail).await?;
        let now = self.clock.now();
        self.apply(export, &lifecycle::ready(export, now, link_end)).await?;
        info!(recipients = 1 + export.recipients.cc().len(), "export is ready");
        telemetry::measure(Metric::Ready { took: now.since(export.created_at()), rows: file.rows });
        Ok(())
    }

    async fn write(&self, export: &mut Export, invocation: &Invocation) -> Result<ExportFile, Stopped> {
        let writer = FileWriter {
            exports: &self.exports,
            payouts: &self.payouts,
            files: &self.files,
            clock: &self.clock,
            limits: &self.limits.file,
            tries: &self.limits.tries,
            ring_after: self.limits.ring_after,
            ends_at: invocation.ends_at,
        };
        let file = writer.write(export).await?;
        let step = lifecycle::record_file(export, self.clock.now(), file.clone());
        self.apply(export, &step).await?;
        *export = step.changed(export);
        info!(rows = file.rows, bytes = file.bytes, "file is written");
        Ok(file)
    }

    async fn apply(&self, export: &Export, step: &Step) -> Result<(), NotApplied> {
        self.exports.apply_step(&export.tenant, &export.id, step).await
    }

    async fn end(&self, export: &Export, failure: Failure) {
        let (now, code) = (self.clock.now(), failure.code.as_str());
        warn!(code, "export failed");
        let ended = end_as_failed(
            &self.exports,
            &self.mailer,
            self.back_office.as_ref(),
            export,
            now,
            Authority::Owner,
            failure,
        )
        .await;
        if ended.is_ok() {
            telemetry::measure(Metric::Failed { code });
        }
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(not_sent)) => warn!(error = %Chain(&not_sent), "the requester was not told of the failure"),
            // The lease runs out, and the sweeper sees to it that it is tried again.
            Err(not_applied) => warn!(error = %Chain(&not_applied), "the failure was not recorded"),
        }
    }

    /// Rings for the next invocation to go on at once, unless the tries are used up.
    async fn go_on(&self, export: &Export, has_advanced: bool) {
        if !has_advanced && export.tries >= self.limits.tries.most {
            return self.end(export, Failure::tries_used_up(export.tries)).await;
        }
        self.ring(export, Duration::ZERO).await;
    }

    async fn ring(&self, export: &Export, delay: Duration) {
        match self.bell.ring(&export.tenant, &export.id, delay).await {
            Ok(()) => {}
            Err(outage) if outage.is_permanent() => error!(error = %Chain(&outage), "the bell cannot be rung"),
            Err(outage) => warn!(error = %Chain(&outage), "the bell was not rung"),
        }
    }

    /// Gives the lease up, if there is another attempt, then rings with a delay. Whatever of this fails, the sweeper
    /// rings: when the lease is over, or a little after the bell should have come.
    async fn try_again_later(&self, export: &Export, outage: Outage) {
        let (now, kind) = (self.clock.now(), outage.kind());
        let failure = match kind {
            ErrorKind::Transient => {
                warn!(error = %Chain(&outage), tries = export.tries, "the export stopped for now");
                Failure::tries_used_up(export.tries)
            }
            ErrorKind::Permanent => {
                error!(error = %Chain(&outage), tries = export.tries, "the export met a permanent error");
                Failure::permanent_error()
            }
        };
        let Some(wait) = self.limits.tries.wait_after_error(export, now, kind) else {
            return self.end(export, failure).await;
        };
        let step = lifecycle::give_up(export, now, kind, now.plus(wait + self.limits.ring_after));
        if let Err(not_applied) = self.apply(export, &step).await {
            warn!(error = %Chain(&not_applied), "the lease was not given up");
            return;
        }
        self.ring(export, wait).await;
    }
}
