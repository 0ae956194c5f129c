//! Looks at every export that is due: rings for a pending one again or ends it, expires a ready one.
//!
//! The record is the outbox. Whatever breaks between two writes, the export stays in the index of what is due, and a
//! sweep finds it: a bell that was never rung, a generator that died, a link that ended. Two sweeps at once do no harm,
//! because each change is conditional on what was read.
//!
//! A record that cannot be read (it was changed by hand, or a newer version wrote it that was rolled back) is an error of
//! each sweep, so that somebody mends it; at its deadline it ends all the same, because its tenant is locked out till then.

use std::ops::AddAssign;
use std::time::Duration;

use domain::back_office::BackOfficeUrl;
use domain::ending::end_as_failed;
use domain::export::{Export, Failure, Status};
use domain::id::ExportId;
use domain::lifecycle::{self, Authority, UnreadAuthority};
use domain::ports::{
    ApplyStep, Clock, Doorbell, Due, DueExports, DuePlace, FindExport, NotApplied, NotRead, Outage, SendMail,
    Unreadable,
};
use domain::time::Timestamp;
use futures_util::future::{join, join_all};
use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use telemetry::{Chain, Metric};
use tokio::time::timeout;
use tracing::{Instrument, error, info, warn};

/// How many due exports of one shard are read at once.
const PAGE: u32 = 100;

/// How many pending exports of one shard are read at once to find the oldest: the usual number fits into one page.
const PENDING_PAGE: u32 = 2000;

/// Longer than any deadline may be: what is not due before then is not pending.
const BEYOND_DEADLINES: Duration = Duration::from_secs(8 * 86_400);

/// A sweep reads no further page when less than this is left of its time.
const TIME_TO_FINISH: Duration = Duration::from_secs(10);

/// The longest wait before a pending export is rung for again.
const LONGEST_RING_AFTER: Duration = Duration::from_secs(600);

/// Looks at what is due.
#[derive(Clone, Debug)]
pub struct Sweeper<S, B, M, C> {
    /// The records.
    pub exports: S,
    /// The queue.
    pub bell: B,
    /// Tells requesters of failures.
    pub mailer: M,
    /// Where mails lead, if that is known.
    pub back_office: Option<BackOfficeUrl>,
    /// Tells the time.
    pub clock: C,
    /// How often an export may be taken without getting further.
    pub most_tries: u32,
    /// How long a bell may take to have an effect.
    pub ring_after: Duration,
}

/// The scheduler's event; nothing in it matters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Tick {}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Pending exports that the generator was rung for.
    pub rung: u64,
    /// Pending exports ended as failed.
    pub failed: u64,
    /// Ready exports whose link has ended.
    pub expired: u64,
    /// Due exports that somebody else dealt with meanwhile.
    pub unchanged: u64,
    /// Due exports that could not be dealt with; the next sweep tries again.
    pub errors: u64,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, more: Self) {
        self.rung += more.rung;
        self.failed += more.failed;
        self.expired += more.expired;
        self.unchanged += more.unchanged;
        self.errors += more.errors;
    }
}

/// What was done for one due export.
enum Outcome {
    Rung,
    Failed,
    Expired,
    Unchanged,
}

/// One sweep.
///
/// # Errors
/// [`Outage`] if a shard could not be read, after all others were swept.
pub async fn handle<S, B, M, C>(sweeper: &Sweeper<S, B, M, C>, event: LambdaEvent<Tick>) -> Result<Swept, Outage>
where
    S: DueExports + FindExport + ApplyStep,
    B: Doorbell,
    M: SendMail,
    C: Clock,
{
    let ends_at = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    sweeper.sweep(ends_at).instrument(telemetry::request(&event.context.request_id)).await
}

impl<S, B, M, C> Sweeper<S, B, M, C>
where
    S: DueExports + FindExport + ApplyStep,
    B: Doorbell,
    M: SendMail,
    C: Clock,
{
    /// Deals with all that is due, until a little before `ends_at`; what is left is the next sweep's.
    ///
    /// # Errors
    /// [`Outage`] if a shard could not be read, after all others were swept.
    pub async fn sweep(&self, ends_at: Timestamp) -> Result<Swept, Outage> {
        let shards = [Status::Pending, Status::Ready]
            .into_iter()
            .flat_map(|status| (0..ExportId::SHARDS).map(move |n| (status, n)));
        // All at once: one whose exports cannot be dealt with, which takes time, keeps no other waiting.
        let sweeps = shards.map(|(status, shard)| async move {
            let (swept, unread) = self.sweep_shard(status, shard, ends_at).await;
            if let Some(outage) = &unread {
                error!(error = %Chain(outage), shard, status = %status, "a shard was not swept to its end");
            }
            (swept, unread)
        });
        let (mut swept, mut unread) = (Swept::default(), None);
        // Beside the sweeps, and told with them: the age matters most when there is no time for all that is due.
        let (oldest_pending, sweeps) = join(self.oldest_pending_before(ends_at), join_all(sweeps)).await;
        for (shard, outage) in sweeps {
            swept += shard;
            unread = outage.or(unread);
        }
        info!(
            rung = swept.rung,
            failed = swept.failed,
            expired = swept.expired,
            unchanged = swept.unchanged,
            errors = swept.errors,
            "swept"
        );
        telemetry::measure(Metric::Swept {
            oldest_pending,
            rung: swept.rung,
            expired: swept.expired,
            errors: swept.errors,
        });
        unread.map_or(Ok(swept), Err)
    }

    /// What was done in one shard, and why not all of it was read, if so.
    async fn sweep_shard(&self, status: Status, shard: u8, ends_at: Timestamp) -> (Swept, Option<Outage>) {
        let mut swept = Swept::default();
        let now = self.clock.now();
        let is_time_left = || ends_at.since(self.clock.now()) > TIME_TO_FINISH;
        // Page behind page, so that what cannot be dealt with, and stays due, keeps nothing behind it waiting.
        let mut after: Option<DuePlace> = None;
        while is_time_left() {
            let page = match self.exports.due_exports(status, shard, now, after.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(outage) => return (swept, Some(outage)),
            };
            if page.unreadable > 0 {
                swept.errors += page.unreadable;
                error!(number = page.unreadable, shard, status = %status, "entries of what is due name no export");
            }
            for due in &page.due {
                if !is_time_left() {
                    break;
                }
                match self.look_at(due, status).await {
                    Ok(Outcome::Rung) => swept.rung += 1,
                    Ok(Outcome::Failed) => swept.failed += 1,
                    Ok(Outcome::Expired) => swept.expired += 1,
                    Ok(Outcome::Unchanged) => swept.unchanged += 1,
                    Err(why) => {
                        swept.errors += 1;
                        let attribute = match &why {
                            NotRead::Unreadable(unreadable) => Some(unreadable.attribute),
                            NotRead::Outage(_) => None,
                        };
                        error!(
                            error = %Chain(&why), tenantId = %due.tenant, exportId = %due.id, attribute,
                            "a due export was not dealt with"
                        );
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        (swept, None)
    }

    /// The age of the oldest pending export, as far as it can be found a little before `ends_at`. None, which the alarm on
    /// missing sweeps looks at, and not the age of another one, if it cannot.
    async fn oldest_pending_before(&self, ends_at: Timestamp) -> Option<Duration> {
        let limit = ends_at.since(self.clock.now()).saturating_sub(TIME_TO_FINISH);
        let found = timeout(limit, self.oldest_pending()).await;
        found.unwrap_or_else(|_| {
            error!("the age of the oldest pending export is not known: there was no time to read them all");
            None
        })
    }

    /// The age of the oldest pending export, due or in work; zero if there is none. None if that cannot be told.
    ///
    /// The index is in the order of the next look, which says nothing of the age: all keys are read.
    async fn oldest_pending(&self) -> Option<Duration> {
        let now = self.clock.now();
        let due_by = now.plus(BEYOND_DEADLINES);
        let shards = (0..ExportId::SHARDS).map(async |shard| {
            let (mut oldest, mut after) = (Duration::ZERO, None);
            loop {
                match self.exports.due_exports(Status::Pending, shard, due_by, after.as_ref(), PENDING_PAGE).await {
                    Ok(page) => {
                        let ages = page.due.iter().map(|due| now.since(due.id.created_at()));
                        oldest = ages.fold(oldest, Duration::max);
                        after = page.next;
                    }
                    Err(outage) => {
                        error!(error = %Chain(&outage), shard, "the age of the oldest pending export is not known");
                        return None;
                    }
                }
                if after.is_none() {
                    return Some(oldest);
                }
            }
        });
        let shards: Option<Vec<Duration>> = join_all(shards).await.into_iter().collect();
        shards?.into_iter().max()
    }

    async fn look_at(&self, due: &Due, status: Status) -> Result<Outcome, NotRead> {
        if status == Status::Ready {
            let step = lifecycle::expire(self.clock.now(), due.due_at);
            return Ok(unless_changed(self.exports.apply_step(&due.tenant, &due.id, &step).await, Outcome::Expired)?);
        }
        // The index may be behind: the record decides.
        let export = match self.exports.find_export(&due.tenant, &due.id).await {
            Ok(Some(export)) => export,
            Ok(None) => return Ok(Outcome::Unchanged),
            Err(NotRead::Unreadable(unreadable)) => return self.end_unread(due, unreadable).await,
            Err(NotRead::Outage(outage)) => return Err(outage.into()),
        };
        let now = self.clock.now();
        if export.status != Status::Pending || export.due_at.is_none_or(|due| due > now) {
            return Ok(Outcome::Unchanged);
        }
        if export.deadline <= now {
            let failure = Failure::deadline_passed(export.terms.time_limit);
            return Ok(self.end(&export, now, Authority::DeadlinePassed, failure).await?);
        }
        if export.tries >= self.most_tries {
            let authority = Authority::TriesUsedUp { most: self.most_tries };
            return Ok(self.end(&export, now, authority, Failure::tries_used_up(export.tries)).await?);
        }
        Ok(self.ring(&export, now).await?)
    }

    async fn end(
        &self,
        export: &Export,
        now: Timestamp,
        authority: Authority,
        failure: Failure,
    ) -> Result<Outcome, Outage> {
        let code = failure.code.as_str();
        let ended =
            end_as_failed(&self.exports, &self.mailer, self.back_office.as_ref(), export, now, authority, failure)
                .await;
        let ended = ended.map(|told| {
            warn!(tenantId = %export.tenant, exportId = %export.id, code, "export failed");
            telemetry::measure(Metric::Failed { code });
            if let Err(not_sent) = told {
                warn!(error = %Chain(&not_sent), exportId = %export.id, "the requester was not told of the failure");
            }
        });
        unless_changed(ended, Outcome::Failed)
    }

    /// Ends an export whose record cannot be read, if its time is over. Its requester is not told: who that is cannot be
    /// relied on either.
    async fn end_unread(&self, due: &Due, unreadable: Unreadable) -> Result<Outcome, NotRead> {
        let now = self.clock.now();
        let authority = match (unreadable.status, unreadable.deadline) {
            (Some(Status::Ready | Status::Failed | Status::Expired), _) => return Ok(Outcome::Unchanged),
            (Some(Status::Pending), Some(deadline)) if deadline <= now => UnreadAuthority::DeadlinePassed,
            (Some(Status::Pending), None) if due.id.created_at().plus(BEYOND_DEADLINES) <= now => {
                UnreadAuthority::AnyDeadlinePassed
            }
            (Some(Status::Pending) | None, _) => return Err(unreadable.into()),
        };
        let failure = Failure::deadline_passed_unread();
        let code = failure.code.as_str();
        let step = lifecycle::fail_unread(now, authority, failure);
        let ended = self.exports.apply_step(&due.tenant, &due.id, &step).await.map(|()| {
            let attribute = unreadable.attribute;
            error!(
                tenantId = %due.tenant, exportId = %due.id, attribute, code,
                "export failed, and its requester was not told: its record could not be read"
            );
            telemetry::measure(Metric::Failed { code });
        });
        Ok(unless_changed(ended, Outcome::Failed)?)
    }

    /// Moves the next look forward, then rings: of two sweeps at once only one rings, and a sweep that dies in between
    /// costs one wait.
    async fn ring(&self, export: &Export, now: Timestamp) -> Result<Outcome, Outage> {
        let Some(due_at) = export.due_at else { return Ok(Outcome::Unchanged) };
        // The older the export, the longer the wait: a queue that is behind is not flooded.
        let wait = (now.since(export.created_at()) / 4).clamp(self.ring_after, LONGEST_RING_AFTER.max(self.ring_after));
        let step = lifecycle::ring(export, due_at, now.plus(wait));
        match unless_changed(self.exports.apply_step(&export.tenant, &export.id, &step).await, Outcome::Rung)? {
            Outcome::Rung => {}
            outcome => return Ok(outcome),
        }
        self.bell.ring(&export.tenant, &export.id, Duration::ZERO).await?;
        info!(tenantId = %export.tenant, exportId = %export.id, "rung again");
        Ok(Outcome::Rung)
    }
}

/// A refusal means that somebody else dealt with the export: nothing to do.
fn unless_changed<T>(applied: Result<T, NotApplied>, outcome: Outcome) -> Result<Outcome, Outage> {
    match applied {
        Ok(_) => Ok(outcome),
        Err(NotApplied::Refused(_)) => Ok(Outcome::Unchanged),
        Err(NotApplied::Outage(outage)) => Err(outage),
    }
}

#[cfg(test)]
mod tests;
