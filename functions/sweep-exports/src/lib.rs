//! Looks at every export whose next check time has come: enqueues or fails a PENDING one, expires a READY one.
//!
//! The record is the source of truth. Whatever is lost between two writes, the export stays in the index of scheduled
//! checks, and a sweep finds it: a job that was never sent, a generator that died, a link that has expired. Concurrent
//! sweeps do no harm, because each change is conditional on the record that was read.
//!
//! A corrupt record is an error in every sweep, so that somebody repairs it. It is failed at its deadline, because it
//! blocks its tenant until then.

use std::ops::AddAssign;
use std::time::Duration;

use exports_domain::back_office::BackOfficeUrl;
use exports_domain::error::DependencyError;
use exports_domain::export::{Export, Status};
use exports_domain::failure::Failure;
use exports_domain::failure_mail::mail_failure;
use exports_domain::lifecycle::{self, CorruptFailedBy, FailedBy};
use exports_domain::ports::{
    ApplyError, CorruptRecord, ExportStore, JobQueue, MailSender, ReadError, ScheduledCheck, System,
};
use exports_domain::time::Timestamp;
use exports_telemetry::{Chain, Metric};
use futures_util::future::{join, join_all};
use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::{Instrument, error, info, warn};

/// How many scheduled checks of one sequence are read at once.
const PAGE: u32 = 100;

/// How many PENDING exports of one sequence are read at once to find the oldest. Usually all fit in one page.
const PENDING_PAGE: u32 = 2000;

/// Longer than any deadline: every PENDING export is checked before then.
const BEYOND_DEADLINES: Duration = Duration::from_secs(8 * 86_400);

/// A sweep stops reading when less than this is left of its time.
const TIME_TO_FINISH: Duration = Duration::from_secs(10);

/// The longest wait before a PENDING export is enqueued again.
const MAX_RE_ENQUEUE_AFTER: Duration = Duration::from_secs(600);

/// Re-enqueues, fails and expires exports.
pub struct Sweeper<'a, S> {
    /// Where exports are kept.
    pub exports: &'a S,
    /// Where jobs are sent.
    pub queue: &'a dyn JobQueue,
    /// Sends failure mails.
    pub mail: &'a dyn MailSender,
    /// The back office that mails link to, if known.
    pub back_office: Option<BackOfficeUrl>,
    /// The clock.
    pub system: &'a dyn System,
    /// How many attempts an export has without progress.
    pub max_attempts: u32,
    /// How long to wait for a sent job to start before it is sent again.
    pub re_enqueue_after: Duration,
}

/// The scheduler's event. Its content is ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Tick {}

/// The results of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// PENDING exports that were enqueued again.
    pub re_enqueued: u64,
    /// PENDING exports that were failed.
    pub failed: u64,
    /// READY exports whose link has expired.
    pub expired: u64,
    /// Exports that something else changed first.
    pub unchanged: u64,
    /// Exports that could not be handled. The next sweep looks at them again.
    pub errors: u64,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, more: Self) {
        self.re_enqueued += more.re_enqueued;
        self.failed += more.failed;
        self.expired += more.expired;
        self.unchanged += more.unchanged;
        self.errors += more.errors;
    }
}

/// The outcome of one check.
enum Outcome {
    ReEnqueued,
    Failed,
    Expired,
    Unchanged,
}

/// One sweep.
///
/// # Errors
/// [`DependencyError`] if a sequence of checks could not be read, after all others were swept.
pub async fn handle<S: ExportStore>(
    sweeper: &Sweeper<'_, S>,
    event: LambdaEvent<Tick>,
) -> Result<Swept, DependencyError> {
    let ends_at = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    sweeper.sweep(ends_at).instrument(exports_telemetry::request(&event.context.request_id)).await
}

impl<S: ExportStore> Sweeper<'_, S> {
    /// Handles every scheduled check until shortly before `ends_at`. The next sweep handles the rest.
    ///
    /// # Errors
    /// [`DependencyError`] if a sequence of checks could not be read, after all others were swept.
    pub async fn sweep(&self, ends_at: Timestamp) -> Result<Swept, DependencyError> {
        let cursors = [Status::Pending, Status::Ready]
            .into_iter()
            .flat_map(|status| self.exports.check_cursors(status).into_iter().map(move |cursor| (status, cursor)));
        // In parallel, so that slow exports do not delay those of other sequences.
        let sweeps = cursors.map(|(status, cursor)| self.sweep_from(status, cursor, ends_at));
        let (mut swept, mut unread) = (Swept::default(), None);
        // In parallel with the sweeps: the age matters most when there is no time for every check.
        let (oldest_pending, sweeps) = join(self.oldest_pending_before(ends_at), join_all(sweeps)).await;
        for (in_sequence, error) in sweeps {
            swept += in_sequence;
            unread = error.or(unread);
        }
        info!(
            re_enqueued = swept.re_enqueued,
            failed = swept.failed,
            expired = swept.expired,
            unchanged = swept.unchanged,
            errors = swept.errors,
            "swept"
        );
        exports_telemetry::emit(Metric::Swept {
            oldest_pending,
            re_enqueued: swept.re_enqueued,
            expired: swept.expired,
            errors: swept.errors,
        });
        unread.map_or(Ok(swept), Err)
    }

    /// The outcomes of one sequence of checks, and the error if it could not be read to its end.
    async fn sweep_from(
        &self,
        status: Status,
        mut cursor: S::CheckCursor,
        ends_at: Timestamp,
    ) -> (Swept, Option<DependencyError>) {
        let mut swept = Swept::default();
        let now = self.system.now();
        let is_time_left = || ends_at.since(self.system.now()) > TIME_TO_FINISH;
        // Page after page, so that exports with errors, which stay in the index, do not hide those behind them.
        while is_time_left() {
            let page = match self.exports.scheduled_checks(&cursor, now, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    error!(error = %Chain(&error), ?cursor, status = %status, "checks were not read to their end");
                    return (swept, Some(error));
                }
            };
            if page.corrupt > 0 {
                swept.errors += page.corrupt;
                error!(number = page.corrupt, ?cursor, status = %status, "scheduled checks do not name an export");
            }
            for check in &page.checks {
                if !is_time_left() {
                    break;
                }
                let span = exports_telemetry::export(&check.tenant, &check.id);
                match self.check_and_log(check, status).instrument(span).await {
                    Ok(Outcome::ReEnqueued) => swept.re_enqueued += 1,
                    Ok(Outcome::Failed) => swept.failed += 1,
                    Ok(Outcome::Expired) => swept.expired += 1,
                    Ok(Outcome::Unchanged) => swept.unchanged += 1,
                    Err(_) => swept.errors += 1,
                }
            }
            let Some(next) = page.next else { break };
            cursor = next;
        }
        (swept, None)
    }

    /// The age of the oldest PENDING export, or `None` if it cannot be found shortly before `ends_at`. The alarm on
    /// missing sweeps watches for missing values.
    async fn oldest_pending_before(&self, ends_at: Timestamp) -> Option<Duration> {
        let limit = ends_at.since(self.system.now()).saturating_sub(TIME_TO_FINISH);
        let found = timeout(limit, self.oldest_pending()).await;
        found.unwrap_or_else(|_| {
            error!("the age of the oldest pending export is unknown: there was no time to read them all");
            None
        })
    }

    /// The age of the oldest PENDING export; zero without one, `None` if it cannot be read.
    ///
    /// The index is sorted by next check time, not by age, so all its keys are read.
    async fn oldest_pending(&self) -> Option<Duration> {
        let now = self.system.now();
        let until = now.plus(BEYOND_DEADLINES);
        let sequences = self.exports.check_cursors(Status::Pending).into_iter().map(async |mut cursor| {
            let mut oldest = Duration::ZERO;
            loop {
                let page = match self.exports.scheduled_checks(&cursor, until, PENDING_PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        error!(error = %Chain(&error), ?cursor, "the age of the oldest pending export is unknown");
                        return None;
                    }
                };
                let ages = page.checks.iter().map(|check| now.since(check.id.created_at()));
                oldest = ages.fold(oldest, Duration::max);
                let Some(next) = page.next else { return Some(oldest) };
                cursor = next;
            }
        });
        let ages: Option<Vec<Duration>> = join_all(sequences).await.into_iter().collect();
        ages?.into_iter().max()
    }

    async fn check_and_log(&self, check: &ScheduledCheck, status: Status) -> Result<Outcome, ReadError> {
        let checked = self.check(check, status).await;
        if let Err(error) = &checked {
            let attribute = match error {
                ReadError::Corrupt(corrupt) => Some(corrupt.attribute),
                ReadError::Dependency(_) => None,
            };
            error!(error = %Chain(error), attribute, "an export could not be checked");
        }
        checked
    }

    async fn check(&self, check: &ScheduledCheck, status: Status) -> Result<Outcome, ReadError> {
        if status == Status::Ready {
            let step = lifecycle::expire(self.system.now(), check.at);
            let applied = self.exports.apply_step(&check.tenant, &check.id, &step).await;
            return Ok(unless_changed(applied, Outcome::Expired)?);
        }
        // The index is eventually consistent: the record decides.
        let export = match self.exports.find_export(&check.tenant, &check.id).await {
            Ok(Some(export)) => export,
            Ok(None) => return Ok(Outcome::Unchanged),
            Err(ReadError::Corrupt(corrupt)) => return self.fail_corrupt(check, corrupt).await,
            Err(ReadError::Dependency(error)) => return Err(error.into()),
        };
        exports_telemetry::record_launch(export.launch_request_id.as_deref());
        let now = self.system.now();
        let Some(next_check_at) = export.pending().map(|pending| pending.next_check_at).filter(|at| *at <= now) else {
            return Ok(Outcome::Unchanged);
        };
        if export.deadline <= now {
            let failure = Failure::deadline_passed(export.settings.time_limit);
            return Ok(self.fail(&export, now, FailedBy::DeadlinePassed, failure).await?);
        }
        if export.attempts >= self.max_attempts {
            let failed_by = FailedBy::AttemptsUsedUp { max: self.max_attempts };
            return Ok(self.fail(&export, now, failed_by, Failure::attempts_used_up(export.attempts)).await?);
        }
        Ok(self.re_enqueue(&export, next_check_at, now).await?)
    }

    async fn fail(
        &self,
        export: &Export,
        now: Timestamp,
        failed_by: FailedBy,
        failure: Failure,
    ) -> Result<Outcome, DependencyError> {
        let code = failure.code.as_str();
        let step = lifecycle::fail(export, now, failed_by, failure.clone());
        let applied = self.exports.apply_step(&export.tenant, &export.id, &step).await;
        if applied.is_ok() {
            warn!(code, "export failed");
            exports_telemetry::emit(Metric::Failed { export_type: export.id.export_type().slug(), code });
            if let Err(error) = mail_failure(self.mail, self.back_office.as_ref(), export, &failure).await {
                warn!(error = %Chain(&error), "the failure mail was not sent");
            }
        }
        unless_changed(applied, Outcome::Failed)
    }

    /// Fails an export with a corrupt record after its deadline. No mail is sent: the address cannot be trusted.
    async fn fail_corrupt(&self, check: &ScheduledCheck, corrupt: CorruptRecord) -> Result<Outcome, ReadError> {
        let now = self.system.now();
        let failed_by = match (corrupt.status, corrupt.deadline) {
            (Some(Status::Ready | Status::Failed | Status::Expired), _) => return Ok(Outcome::Unchanged),
            (Some(Status::Pending), Some(deadline)) if deadline <= now => CorruptFailedBy::DeadlinePassed,
            (Some(Status::Pending), None) if check.id.created_at().plus(BEYOND_DEADLINES) <= now => {
                CorruptFailedBy::AnyDeadlinePassed
            }
            (Some(Status::Pending) | None, _) => return Err(corrupt.into()),
        };
        let failure = Failure::deadline_passed_corrupt();
        let code = failure.code.as_str();
        let step = lifecycle::fail_corrupt(now, failed_by, failure);
        let failed = self.exports.apply_step(&check.tenant, &check.id, &step).await.map(|()| {
            let attribute = corrupt.attribute;
            error!(attribute, code, "export failed; no mail was sent because its record is corrupt");
            exports_telemetry::emit(Metric::Failed { export_type: check.id.export_type().slug(), code });
        });
        Ok(unless_changed(failed, Outcome::Failed)?)
    }

    /// Moves the next check forward, then sends the job: of two concurrent sweeps only one sends it, and a sweep that dies
    /// in between costs one wait.
    async fn re_enqueue(
        &self,
        export: &Export,
        next_check_at: Timestamp,
        now: Timestamp,
    ) -> Result<Outcome, DependencyError> {
        // The older the export, the longer the wait, so that a backlog does not flood the queue.
        let longest = MAX_RE_ENQUEUE_AFTER.max(self.re_enqueue_after);
        let wait = (now.since(export.created_at()) / 4).clamp(self.re_enqueue_after, longest);
        let step = lifecycle::re_enqueue(export, next_check_at, now.plus(wait));
        match unless_changed(self.exports.apply_step(&export.tenant, &export.id, &step).await, Outcome::ReEnqueued)? {
            Outcome::ReEnqueued => {}
            outcome => return Ok(outcome),
        }
        self.queue.enqueue(export, Duration::ZERO).await?;
        info!("export enqueued again");
        Ok(Outcome::ReEnqueued)
    }
}

/// A conflict means that something else changed the export first.
fn unless_changed<T>(applied: Result<T, ApplyError>, outcome: Outcome) -> Result<Outcome, DependencyError> {
    match applied {
        Ok(_) => Ok(outcome),
        Err(ApplyError::Conflict(_)) => Ok(Outcome::Unchanged),
        Err(ApplyError::Dependency(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
