//! The state machine: every change of an export's record.
//!
//! | from | to | by |
//! |---|---|---|
//! | – | PENDING | create-export ([`Export::accept`]) |
//! | PENDING | PENDING | generate-export ([`acquire_first`], [`acquire`], [`record_progress`], [`advance_checkpoint`], [`continue_later`], [`release`], [`record_file`]), sweep-exports ([`re_enqueue`]) |
//! | PENDING | READY | generate-export ([`ready`]) |
//! | PENDING | FAILED | generate-export, sweep-exports, fail-export ([`fail`]); sweep-exports and fail-export also if the record is corrupt ([`fail_corrupt`]); cancel-export ([`cancel`]) |
//! | READY | EXPIRED | sweep-exports ([`expire`]) |
//! | READY, EXPIRED, FAILED with a file | unchanged | resend-email ([`count_resend`]) |
//! | READY, EXPIRED, FAILED with a file | READY | resend-email ([`resent`]) |
//!
//! Each transition is decided on the record as it was read and returns a [`Step`]: the conditions that must still hold
//! ([`Guard`]) and what to write ([`Change`]). A store applies a step in one conditional write.
//! [`Step::apply`] defines what that write does; in-memory stores call it directly.
//!
//! - **Fencing token and lease.** Acquiring the lease increments the fencing token. Every later write of the owner is
//!   guarded by its token, so an owner that lost the lease without noticing cannot change anything.
//! - **Attempts** count how often the lease was acquired since the checkpoint last advanced.
//! - **Back-off.** After an error, no attempt starts before the delay of the [`RetryPolicy`] is over, even if another
//!   message of the export is delivered earlier.
//! - **Permanent errors** get one more attempt, [`RetryPolicy::permanent_wait`] later at the earliest.
//! - **Deadline.** After it, the sweeper fails the export even if a lease is held. A tenant is blocked for at most the
//!   time limit plus one sweep.

use std::time::Duration;

use crate::email::Recipients;
use crate::error::ErrorKind;
use crate::export::{Export, Lease, Pending, Progress, State, Status};
use crate::failure::Failure;
use crate::file::ExportFile;
use crate::time::Timestamp;

#[cfg(feature = "testing")]
pub mod transition;

/// A condition that the current record must meet for a step to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The status is this.
    StatusIs(Status),
    /// The status is not PENDING.
    NotPending,
    /// The fencing token is this: the lease has not been acquired since.
    FencingTokenIs(u64),
    /// There is a lease, expired or not.
    Leased,
    /// There is no lease, or it has expired at this time.
    LeaseExpiredAt(Timestamp),
    /// Fewer attempts than this were made.
    AttemptsBelow(u32),
    /// At least this many attempts were made.
    AttemptsAtLeast(u32),
    /// At most this many rows were read.
    RowsReadAtMost(u64),
    /// The deadline is after this time.
    DeadlineAfter(Timestamp),
    /// The deadline has passed at this time.
    DeadlinePassedAt(Timestamp),
    /// A file is recorded.
    FileRecorded,
    /// No file is recorded.
    NoFileRecorded,
    /// The link expiry is this time.
    LinkExpiryIs(Timestamp),
    /// There is no link, or it expires before this time.
    LinkExpiryBefore(Timestamp),
    /// The e-mail was resent less often than this on the day that starts at `day` (UTC).
    ResendsBelow {
        /// The start of the day.
        day: Timestamp,
        /// The limit.
        limit: u32,
    },
    /// The next check time is this.
    NextCheckIs(Timestamp),
    /// The earliest time of the next attempt is this.
    RetryAtIs(Option<Timestamp>),
}

/// A change that a step makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the time of the last change.
    UpdatedAt(Timestamp),
    /// Sets the fencing token.
    FencingToken(u64),
    /// Sets the number of attempts.
    Attempts(u32),
    /// Sets the number of rows read.
    RowsRead(u64),
    /// Sets the number of rows written.
    RowsWritten(u64),
    /// Counts a resent e-mail on the day that starts at this time (UTC).
    AddResend(Timestamp),
    /// Removes the count of the day that starts at this time (UTC).
    ForgetResends(Timestamp),
    /// Sets or removes the lease of a pending export.
    Lease(Option<Lease>),
    /// Sets the next check time of a pending export.
    NextCheck(Timestamp),
    /// Sets the earliest time of the next attempt of a pending export.
    RetryAt(Timestamp),
    /// Sets or removes the time of the permanent error of a pending export.
    PermanentError(Option<Timestamp>),
    /// Sets the file of a pending export and, from it, the number of rows written.
    File(ExportFile),
    /// PENDING with a file → READY.
    Ready {
        /// The link expiry, which is the next check time.
        link_expires_at: Timestamp,
    },
    /// PENDING → FAILED.
    Failed(Failure),
    /// READY → EXPIRED.
    Expired,
    /// READY, EXPIRED or FAILED with a file → READY.
    Resent {
        /// The recipients of the e-mail.
        recipients: Recipients,
        /// The link expiry, which is the next check time.
        link_expires_at: Timestamp,
    },
}

/// A transition, to be applied in one conditional write.
///
/// ```
/// use std::time::Duration;
///
/// use exports_domain::export::Lease;
/// use exports_domain::lifecycle::{acquire_first, record_file};
/// use exports_domain::testing::{export, file, start};
///
/// let lease = Lease { owner: "request-id".to_owned(), until: start().plus(Duration::from_secs(315)) };
/// let acquire = acquire_first(start(), lease);
/// let owned = acquire.apply(&export()).ok_or("the lease is free")?;
/// assert_eq!((owned.fencing_token, owned.attempts), (1, 1));
/// assert_eq!(acquire.apply(&owned), None, "only one owner acquires it");
///
/// let record = record_file(&owned, start(), file(), 3);
/// assert!(record.apply(&owned).is_some_and(|export| export.file() == Some(&file())));
/// assert_eq!(record.apply(&export()), None, "the fencing token is not the owner's");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The conditions, all of which must hold.
    pub guards: Vec<Guard>,
    /// The changes to write.
    pub changes: Vec<Change>,
}

impl Guard {
    /// Whether `export` meets it.
    #[must_use]
    pub fn holds(&self, export: &Export) -> bool {
        match self {
            Self::StatusIs(status) => export.status() == *status,
            Self::NotPending => export.status() != Status::Pending,
            Self::FencingTokenIs(fencing_token) => export.fencing_token == *fencing_token,
            Self::Leased => export.lease().is_some(),
            Self::LeaseExpiredAt(now) => export.lease().is_none_or(|lease| lease.until <= *now),
            Self::AttemptsBelow(max) => export.attempts < *max,
            Self::AttemptsAtLeast(min) => export.attempts >= *min,
            Self::RowsReadAtMost(rows) => export.rows_read <= *rows,
            Self::DeadlineAfter(now) => export.deadline > *now,
            Self::DeadlinePassedAt(now) => export.deadline <= *now,
            Self::FileRecorded => export.file().is_some(),
            Self::NoFileRecorded => export.file().is_none(),
            Self::LinkExpiryIs(expiry) => export.link_expires_at() == Some(*expiry),
            Self::LinkExpiryBefore(limit) => export.link_expires_at().is_none_or(|expiry| expiry < *limit),
            Self::ResendsBelow { day, limit } => export.resends.get(day).copied().unwrap_or_default() < *limit,
            Self::NextCheckIs(at) => export.next_check_at() == Some(*at),
            Self::RetryAtIs(at) => export.pending().is_some_and(|pending| pending.retry_at == *at),
        }
    }
}

impl Step {
    /// The record after the step, or `None` if a guard does not hold.
    #[must_use]
    pub fn apply(&self, export: &Export) -> Option<Export> {
        self.guards.iter().all(|guard| guard.holds(export)).then(|| self.changed(export))
    }

    /// The record with the changes applied, provided that the guards hold.
    #[must_use]
    pub fn changed(&self, export: &Export) -> Export {
        let mut export = export.clone();
        for change in &self.changes {
            change.apply(&mut export);
        }
        export
    }

    /// Whether the export leaves PENDING. If so, the same write deletes its checkpoint, and the tenant's lock if that
    /// names this export.
    #[must_use]
    pub fn leaves_pending(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Ready { .. } | Change::Failed(_)))
    }
}

impl Change {
    /// Changes the record. A change that the record has no place for is left out: guards exclude it.
    fn apply(&self, export: &mut Export) {
        match (self, &mut export.state) {
            (Self::UpdatedAt(now), _) => export.updated_at = *now,
            (Self::FencingToken(fencing_token), _) => export.fencing_token = *fencing_token,
            (Self::Attempts(attempts), _) => export.attempts = *attempts,
            (Self::RowsRead(rows), _) => export.rows_read = *rows,
            (Self::RowsWritten(rows), _) => export.rows_written = *rows,
            (Self::AddResend(day), _) => *export.resends.entry(*day).or_default() += 1,
            (Self::ForgetResends(day), _) => {
                export.resends.remove(day);
            }
            (Self::Lease(lease), State::Pending(pending)) => pending.lease.clone_from(lease),
            (Self::NextCheck(at), State::Pending(pending)) => pending.next_check_at = *at,
            (Self::RetryAt(at), State::Pending(pending)) => pending.retry_at = Some(*at),
            (Self::PermanentError(at), State::Pending(pending)) => pending.permanent_error_at = *at,
            (Self::File(file), State::Pending(pending)) => {
                export.rows_written = file.rows;
                pending.file = Some(file.clone());
            }
            (Self::Ready { link_expires_at }, _) => export.set_ready(*link_expires_at),
            (Self::Resent { recipients, link_expires_at }, _) => {
                export.recipients = recipients.clone();
                export.set_ready(*link_expires_at);
            }
            (Self::Failed(failure), _) => {
                export.state = State::Failed { failure: failure.clone(), file: export.file().cloned() };
            }
            (Self::Expired, State::Ready { file, link_expires_at }) => {
                export.state = State::Expired { file: file.clone(), link_expires_at: *link_expires_at };
            }
            (
                Self::Lease(_)
                | Self::NextCheck(_)
                | Self::RetryAt(_)
                | Self::PermanentError(_)
                | Self::File(_)
                | Self::Expired,
                _,
            ) => {}
        }
    }
}

impl Export {
    fn set_ready(&mut self, link_expires_at: Timestamp) {
        if let Some(file) = self.file().cloned() {
            self.state = State::Ready { file, link_expires_at };
        }
    }
}

/// How often an export is attempted, and the delays between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts without progress.
    pub max_attempts: u32,
    /// The delays after the first, second, … attempt. The last one applies to all further attempts.
    pub backoff: Vec<Duration>,
    /// The delay between a permanent error and the one attempt that follows it.
    pub permanent_wait: Duration,
}

/// How long after its job was enqueued the sweeper re-enqueues an export whose lease was not acquired.
pub const RE_ENQUEUE_AFTER: Duration = Duration::from_secs(60);

impl RetryPolicy {
    /// The default of [`max_attempts`](Self::max_attempts).
    pub const MAX_ATTEMPTS: u32 = 5;
    /// The default of [`backoff`](Self::backoff).
    pub const BACKOFF: [Duration; 4] =
        [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(240), Duration::from_secs(600)];
    /// The default of [`permanent_wait`](Self::permanent_wait): a new IAM permission takes minutes to take effect
    /// everywhere.
    pub const PERMANENT_WAIT: Duration = Duration::from_secs(300);

    /// The delay after this many attempts.
    #[must_use]
    pub fn wait_after(&self, attempts: u32) -> Duration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(index).or(self.backoff.last()).copied().unwrap_or_default()
    }

    /// The delay after an attempt on `export` met an error of this kind at `now`; `None` if it was the last attempt. A
    /// permanent error counts only once it is recorded: if the attempt dies before that, the next permanent error is
    /// treated as the first.
    #[must_use]
    pub fn wait_after_error(&self, export: &Export, now: Timestamp, kind: ErrorKind) -> Option<Duration> {
        if export.attempts >= self.max_attempts {
            return None;
        }
        match kind {
            ErrorKind::Transient => Some(self.wait_after(export.attempts)),
            ErrorKind::Permanent => {
                let is_first = export.pending().is_none_or(|pending| pending.permanent_error_at.is_none());
                (is_first && now.plus(self.permanent_wait) < export.deadline).then_some(self.permanent_wait)
            }
        }
    }
}

/// Why the lease cannot be acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireError {
    /// The export is not pending.
    Ended,
    /// Another owner holds the lease.
    Leased,
    /// All attempts are used up.
    AttemptsUsedUp,
    /// The deadline has passed.
    DeadlinePassed,
    /// The delay after an error is not over.
    TooSoon,
}

/// Acquires `lease` as the first owner, without reading the record before. A record whose lease was never acquired has no
/// attempt, permanent error or file. The deadline must be after the lease, so that the next check is at the lease's end.
#[must_use]
pub fn acquire_first(now: Timestamp, lease: Lease) -> Step {
    Step {
        guards: vec![Guard::StatusIs(Status::Pending), Guard::FencingTokenIs(0), Guard::DeadlineAfter(lease.until)],
        changes: vec![
            Change::FencingToken(1),
            Change::Attempts(1),
            Change::NextCheck(lease.until),
            Change::Lease(Some(lease)),
            Change::UpdatedAt(now),
        ],
    }
}

/// Acquires `lease`: increments the fencing token and counts an attempt.
///
/// # Errors
/// [`AcquireError`] if the record as read does not allow it.
pub fn acquire(export: &Export, now: Timestamp, lease: Lease, retry: &RetryPolicy) -> Result<Step, AcquireError> {
    let State::Pending(pending) = &export.state else { return Err(AcquireError::Ended) };
    if export.deadline <= now {
        return Err(AcquireError::DeadlinePassed);
    }
    if pending.is_leased_at(now) {
        return Err(AcquireError::Leased);
    }
    if export.attempts >= retry.max_attempts {
        return Err(AcquireError::AttemptsUsedUp);
    }
    if pending.retry_at.is_some_and(|at| now < at) {
        return Err(AcquireError::TooSoon);
    }
    let guards = vec![
        Guard::StatusIs(Status::Pending),
        Guard::FencingTokenIs(export.fencing_token),
        Guard::LeaseExpiredAt(now),
        Guard::AttemptsBelow(retry.max_attempts),
        // A checkpoint of the previous owner that takes effect late resets the attempts. This write would undo that.
        Guard::AttemptsAtLeast(export.attempts),
        Guard::DeadlineAfter(now),
        // The previous owner can still release the lease between the read and this write, because the token is still its
        // own. The new owner would not wait.
        Guard::RetryAtIs(pending.retry_at),
    ];
    Ok(Step {
        guards,
        changes: vec![
            Change::FencingToken(export.fencing_token + 1),
            Change::Attempts(export.attempts + 1),
            next_check_of_pending(export, lease.until),
            Change::Lease(Some(lease)),
            Change::UpdatedAt(now),
        ],
    })
}

/// Releases the lease after an error of this kind, for the next attempt at `retry_at` or later. The same write records a
/// permanent error, so that the next attempt always knows of it.
#[must_use]
pub fn release(
    export: &Export,
    now: Timestamp,
    kind: ErrorKind,
    retry_at: Timestamp,
    next_check_at: Timestamp,
) -> Step {
    let mut changes = vec![
        Change::Lease(None),
        Change::RetryAt(retry_at),
        next_check_of_pending(export, next_check_at),
        Change::UpdatedAt(now),
    ];
    if kind == ErrorKind::Permanent {
        changes.push(Change::PermanentError(Some(now)));
    }
    Step { guards: owner(export), changes }
}

/// Records the progress, which never goes backwards: neither if the file restarts, nor if an earlier write of the same
/// owner takes effect late.
#[must_use]
pub fn record_progress(export: &Export, now: Timestamp, progress: Progress) -> Step {
    let rows_read = progress.rows_read.max(export.rows_read);
    let mut guards = owner(export);
    guards.push(Guard::RowsReadAtMost(rows_read));
    let rows_written = Change::RowsWritten(progress.rows_written.max(export.rows_written));
    Step { guards, changes: vec![Change::UpdatedAt(now), Change::RowsRead(rows_read), rows_written] }
}

/// Advances the checkpoint, which resets the attempts.
#[must_use]
pub fn advance_checkpoint(export: &Export, now: Timestamp, progress: Progress) -> Step {
    let mut step = record_progress(export, now, progress);
    step.changes.extend(reset_attempts());
    step
}

const fn reset_attempts() -> [Change; 2] {
    [Change::Attempts(0), Change::PermanentError(None)]
}

/// Releases the lease before the invocation times out, to continue in the next invocation. This costs an attempt only
/// if the checkpoint has not advanced in this invocation.
#[must_use]
pub fn continue_later(
    export: &Export,
    now: Timestamp,
    progress: Progress,
    has_advanced: bool,
    next_check_at: Timestamp,
) -> Step {
    let mut step = record_progress(export, now, progress);
    step.changes.extend([Change::Lease(None), next_check_of_pending(export, next_check_at)]);
    if has_advanced {
        step.changes.extend(reset_attempts());
    }
    step
}

/// Records the complete file, for which so many rows were read. Later attempts only send the e-mail.
#[must_use]
pub fn record_file(export: &Export, now: Timestamp, file: ExportFile, rows_read: u64) -> Step {
    let rows_read = Change::RowsRead(rows_read.max(export.rows_read));
    let changes = vec![Change::File(file), rows_read, Change::UpdatedAt(now)];
    Step { guards: owner(export), changes }
}

/// Records READY, once the e-mail with a link until `link_expiry` was accepted.
#[must_use]
pub fn ready(export: &Export, now: Timestamp, link_expiry: Timestamp) -> Step {
    let mut guards = owner(export);
    guards.push(Guard::FileRecorded);
    Step { guards, changes: vec![Change::Ready { link_expires_at: link_expiry }, Change::UpdatedAt(now)] }
}

/// Why an export fails, which determines the guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedBy {
    /// The owner of the lease fails it.
    Owner,
    /// Its attempts are used up and its lease has expired.
    AttemptsUsedUp {
        /// The most attempts.
        max: u32,
    },
    /// Its deadline has passed, whether or not a lease is held.
    DeadlinePassed,
    /// An administrator fails it, whether or not a lease is held.
    Administrator,
}

/// Fails the export.
#[must_use]
pub fn fail(export: &Export, now: Timestamp, failed_by: FailedBy, failure: Failure) -> Step {
    let pending = Guard::StatusIs(Status::Pending);
    let guards = match failed_by {
        FailedBy::Owner => owner(export),
        FailedBy::AttemptsUsedUp { max } => {
            vec![
                pending,
                Guard::FencingTokenIs(export.fencing_token),
                Guard::AttemptsAtLeast(max),
                Guard::LeaseExpiredAt(now),
            ]
        }
        FailedBy::DeadlinePassed => vec![pending, Guard::DeadlinePassedAt(now)],
        FailedBy::Administrator => vec![pending],
    };
    failed(guards, now, failure)
}

/// Why an export with a corrupt record fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorruptFailedBy {
    /// Its recorded deadline has passed.
    DeadlinePassed,
    /// Its recorded deadline is corrupt, but it was accepted so long ago that any deadline has passed.
    AnyDeadlinePassed,
    /// An administrator fails it.
    Administrator,
}

/// Fails an export with a corrupt record, so that its tenant is not blocked for ever. The guards need only the status
/// and the deadline, which the store compares as stored.
#[must_use]
pub fn fail_corrupt(now: Timestamp, failed_by: CorruptFailedBy, failure: Failure) -> Step {
    let pending = Guard::StatusIs(Status::Pending);
    let guards = match failed_by {
        CorruptFailedBy::DeadlinePassed => vec![pending, Guard::DeadlinePassedAt(now)],
        CorruptFailedBy::AnyDeadlinePassed | CorruptFailedBy::Administrator => vec![pending],
    };
    failed(guards, now, failure)
}

/// Why an export cannot be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// It was cancelled before.
    #[error("the export was cancelled before")]
    AlreadyCancelled,
    /// It is pending, but its file is recorded: only the e-mail is left to send.
    #[error("the file of the export is complete")]
    FileRecorded,
    /// It has ended in another way.
    #[error("the export has ended")]
    Ended,
}

/// Cancels the export with this `failure`, whether or not a lease is held. It keeps the fencing token, so that its owner
/// recognizes the rejection of its next write and deletes what it wrote. A cancelled export never has a file: the guards
/// of this step and of [`record_file`] exclude each other. If a lease is live at `now`, its owner must still hold it: after
/// a release, no owner deletes what it wrote.
///
/// # Errors
/// [`CancelError`] if the record as read does not allow it.
pub fn cancel(export: &Export, now: Timestamp, failure: Failure) -> Result<Step, CancelError> {
    let mut guards = owner(export);
    guards.push(Guard::NoFileRecorded);
    match &export.state {
        State::Pending(pending @ Pending { file: None, .. }) => {
            guards.extend(pending.is_leased_at(now).then_some(Guard::Leased));
        }
        State::Pending(_) => return Err(CancelError::FileRecorded),
        _ if export.is_cancelled() => return Err(CancelError::AlreadyCancelled),
        _ => return Err(CancelError::Ended),
    }
    Ok(failed(guards, now, failure))
}

fn failed(guards: Vec<Guard>, now: Timestamp, failure: Failure) -> Step {
    Step { guards, changes: vec![Change::Failed(failure), Change::UpdatedAt(now)] }
}

/// Moves the next check time from `next_check_at` to `next`. The sweeper applies this before it enqueues the job, so
/// that concurrent sweeps enqueue it once.
#[must_use]
pub fn re_enqueue(export: &Export, next_check_at: Timestamp, next: Timestamp) -> Step {
    Step {
        guards: vec![Guard::StatusIs(Status::Pending), Guard::NextCheckIs(next_check_at)],
        changes: vec![next_check_of_pending(export, next)],
    }
}

/// Records EXPIRED, unless the link expiry is no longer `link_expiry`.
#[must_use]
pub fn expire(now: Timestamp, link_expiry: Timestamp) -> Step {
    Step {
        guards: vec![Guard::StatusIs(Status::Ready), Guard::LinkExpiryIs(link_expiry)],
        changes: vec![Change::Expired, Change::UpdatedAt(now)],
    }
}

/// Why the e-mail cannot be resent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendError {
    /// The export is pending: the first e-mail has not been sent.
    Pending,
    /// The export failed without a file.
    NoFile,
    /// The file's retention is over, or the file was deleted.
    FileGone,
    /// The daily limit is reached.
    TooOften,
}

/// Counts a resent e-mail against the daily limit (UTC). It is applied before the e-mail is sent, so that concurrent
/// requests cannot exceed the limit. Each day has its own count: neither concurrent requests nor the next day's make the
/// step fail, only the limit does. Older counts are removed, so that the record stays small. The count of the day before is
/// kept, because its limit still holds for requests that started before midnight.
///
/// # Errors
/// [`ResendError`] if the record as read does not allow another e-mail.
pub fn count_resend(export: &Export, now: Timestamp, max_a_day: u32) -> Result<Step, ResendError> {
    if export.status() == Status::Pending {
        return Err(ResendError::Pending);
    }
    let file = export.file().ok_or(ResendError::NoFile)?;
    if file.expires_at <= now {
        return Err(ResendError::FileGone);
    }
    let day = now.start_of_day();
    let below_limit = Guard::ResendsBelow { day, limit: max_a_day };
    if !below_limit.holds(export) {
        return Err(ResendError::TooOften);
    }
    let day_before = day.minus(Duration::from_secs(24 * 60 * 60));
    let older = export.resends.range(..day_before).map(|(day, _)| Change::ForgetResends(*day));
    Ok(Step {
        guards: vec![Guard::NotPending, Guard::FileRecorded, below_limit],
        changes: [Change::AddResend(day)].into_iter().chain(older).collect(),
    })
}

/// Records READY after a resent e-mail to `recipients` was accepted, with a link until `link_expiry`. The link expiry
/// only moves forward: the later of two concurrent ones wins, and of two equal ones the one recorded last.
#[must_use]
pub fn resent(now: Timestamp, recipients: Recipients, link_expiry: Timestamp) -> Step {
    // Two links can have the same expiry: if signed in the same second, or if both expire with the file.
    let just_after = link_expiry.plus(Duration::from_millis(1));
    Step {
        guards: vec![Guard::NotPending, Guard::FileRecorded, Guard::LinkExpiryBefore(just_after)],
        changes: vec![Change::Resent { recipients, link_expires_at: link_expiry }, Change::UpdatedAt(now)],
    }
}

/// The next check of a pending export, at its deadline at the latest.
fn next_check_of_pending(export: &Export, at: Timestamp) -> Change {
    Change::NextCheck(at.min(export.deadline))
}

/// The guards of every write by the owner.
fn owner(export: &Export) -> Vec<Guard> {
    vec![Guard::StatusIs(Status::Pending), Guard::FencingTokenIs(export.fencing_token)]
}

#[cfg(test)]
pub(crate) mod tests;
