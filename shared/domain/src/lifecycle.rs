//! Every change of an export's record: the one state machine.
//!
//! | from | to | who |
//! |---|---|---|
//! | – | PENDING | create-export ([`Export::accept`]) |
//! | PENDING | PENDING | generate-export ([`take`], [`progress`], [`advance`], [`hand_over`], [`give_up`], [`record_file`]), sweep-exports ([`ring`]) |
//! | PENDING | READY | generate-export ([`ready`]) |
//! | PENDING | FAILED | generate-export, sweep-exports, end-export ([`fail`]); the latter two also unread ([`fail_unread`]) |
//! | READY | EXPIRED | sweep-exports ([`expire`]) |
//! | READY, EXPIRED, FAILED with a file | the same | resend-email ([`count_resend`]) |
//! | READY, EXPIRED, FAILED with a file | READY | resend-email ([`resent`]) |
//!
//! A transition is decided on a record as it was read, and carried out on the record as it is: so each yields a
//! [`Step`], which says what must still hold ([`Guard`]) and what is then written ([`Change`]). A store carries a step
//! out in one conditional write. [`Step::apply`] says what that write means; stores without conditional writes, and
//! models of the system, call it directly.
//!
//! **Fence and lease.** Who takes the work raises the fence and holds a lease. Whatever an owner writes is guarded by
//! its fence, so that one who lost the work without knowing (a stall, a lost answer) can change nothing any more.
//!
//! **Tries** count the times the work was taken since it last got further. After a **permanent error** there is one more
//! attempt, [`Tries::permanent_wait`] later at the earliest. **The deadline** ends the export whoever holds a lease, so
//! that a tenant is never locked out for longer than that and one sweep.

use std::time::Duration;

use crate::email::Recipients;
use crate::export::{Export, Failure, Lease, Resends, Status};
use crate::file::ExportFile;
use crate::ports::ErrorKind;
use crate::time::Timestamp;

/// What must hold of the record for a step to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The status is this one.
    StatusIs(Status),
    /// The work is over.
    NotPending,
    /// Nobody has taken the work since.
    FenceIs(u64),
    /// There is no lease, or it is over at this time.
    LeaseOverAt(Timestamp),
    /// The work was taken less often than this without getting further.
    TriesBelow(u32),
    /// The work was taken this often or more without getting further.
    TriesAtLeast(u32),
    /// The deadline is later than this time.
    DeadlineAfter(Timestamp),
    /// The deadline is this time or earlier.
    DeadlinePassedAt(Timestamp),
    /// The file is recorded.
    FileRecorded,
    /// No file is recorded.
    NoFileRecorded,
    /// The newest link ends at this time.
    LinkEndIs(Timestamp),
    /// There is no link, or the newest one ends before this time.
    LinkEndBefore(Timestamp),
    /// The mail was sent again this often, and not since.
    ResendsAre(Option<Resends>),
    /// The sweeper is to look at this time.
    DueIs(Timestamp),
    /// The last permanent error that is known was met at this time, or none is known.
    PermanentErrorIs(Option<Timestamp>),
}

/// What a step writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The status.
    Status(Status),
    /// The time of the change.
    UpdatedAt(Timestamp),
    /// The fence.
    Fence(u64),
    /// The tries.
    Tries(u32),
    /// The lease, or that there is none.
    Lease(Option<Lease>),
    /// The sweeper looks next at this time, among the exports of this status, which is the one after the step.
    Due {
        /// The status by which the sweeper finds it.
        status: Status,
        /// When it looks.
        at: Timestamp,
    },
    /// The sweeper need not look any more.
    NotDue,
    /// How many payouts are written.
    Rows(u64),
    /// The file, which also tells how many payouts are written.
    File(ExportFile),
    /// When the newest link ends.
    LinkEnd(Timestamp),
    /// Why it failed, or that it did not.
    Failure(Option<Failure>),
    /// Who gets the mail.
    Recipients(Recipients),
    /// How often the mail was sent again.
    Resends(Resends),
    /// When an attempt ended in a permanent error, or that none has since the checkpoint advanced.
    PermanentError(Option<Timestamp>),
}

/// A transition, ready to be carried out in one conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// All of these must hold.
    pub guards: Vec<Guard>,
    /// All of these are then written.
    pub changes: Vec<Change>,
    /// Whether the work on the export is over: the tenant's lock, if it names this export, and the checkpoint go in the
    /// same write.
    pub ends_work: bool,
}

impl Guard {
    /// Whether it holds of `export`.
    #[must_use]
    pub fn holds(&self, export: &Export) -> bool {
        match self {
            Self::StatusIs(status) => export.status == *status,
            Self::NotPending => export.status != Status::Pending,
            Self::FenceIs(fence) => export.fence == *fence,
            Self::LeaseOverAt(now) => export.lease.as_ref().is_none_or(|lease| lease.until <= *now),
            Self::TriesBelow(most) => export.tries < *most,
            Self::TriesAtLeast(most) => export.tries >= *most,
            Self::DeadlineAfter(now) => export.deadline > *now,
            Self::DeadlinePassedAt(now) => export.deadline <= *now,
            Self::FileRecorded => export.file.is_some(),
            Self::NoFileRecorded => export.file.is_none(),
            Self::LinkEndIs(end) => export.link_expires_at == Some(*end),
            Self::LinkEndBefore(end) => export.link_expires_at.is_none_or(|known| known < *end),
            Self::ResendsAre(resends) => export.resends == *resends,
            Self::DueIs(due) => export.due_at == Some(*due),
            Self::PermanentErrorIs(at) => export.permanent_error_at == *at,
        }
    }
}

impl Step {
    /// The record after the step, or `None` if a guard does not hold.
    #[must_use]
    pub fn apply(&self, export: &Export) -> Option<Export> {
        self.guards.iter().all(|guard| guard.holds(export)).then(|| self.changed(export))
    }

    /// The record with the changes made, whatever the guards say.
    #[must_use]
    pub fn changed(&self, export: &Export) -> Export {
        let mut export = export.clone();
        for change in &self.changes {
            match change.clone() {
                Change::Status(status) => export.status = status,
                Change::UpdatedAt(now) => export.updated_at = now,
                Change::Fence(fence) => export.fence = fence,
                Change::Tries(tries) => export.tries = tries,
                Change::Lease(lease) => export.lease = lease,
                Change::Due { at, .. } => export.due_at = Some(at),
                Change::NotDue => export.due_at = None,
                Change::Rows(rows) => export.rows_written = rows,
                Change::File(file) => {
                    export.rows_written = file.rows;
                    export.file = Some(file);
                }
                Change::LinkEnd(end) => export.link_expires_at = Some(end),
                Change::Failure(failure) => export.failure = failure,
                Change::Recipients(recipients) => export.recipients = recipients,
                Change::Resends(resends) => export.resends = Some(resends),
                Change::PermanentError(at) => export.permanent_error_at = at,
            }
        }
        export
    }
}

/// How often, and how soon again, the work on one export is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tries {
    /// How often it may be taken without getting further.
    pub most: u32,
    /// How long to wait after the first, second, … try; the last one holds for all further tries.
    pub backoff: Vec<Duration>,
    /// How long to wait after a permanent error before the one more attempt that there is.
    pub permanent_wait: Duration,
}

/// How long a bell may take to have an effect before the sweeper rings again.
pub const RING_AFTER: Duration = Duration::from_secs(60);

impl Tries {
    /// How often, unless a setting says otherwise.
    pub const MOST: u32 = 5;
    /// How soon again, unless a setting says otherwise.
    pub const BACKOFF: [Duration; 4] =
        [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(240), Duration::from_secs(600)];
    /// How long after a permanent error, unless a setting says otherwise: a new permission takes minutes to be in force
    /// everywhere.
    pub const PERMANENT_WAIT: Duration = Duration::from_secs(300);

    /// How long to wait once `tries` were made.
    #[must_use]
    pub fn wait_after(&self, tries: u32) -> Duration {
        let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(index).or(self.backoff.last()).copied().unwrap_or_default()
    }

    /// How long to wait after an attempt on `export` met an error of this kind at `now`, or `None` if it was the last
    /// one. An attempt that dies before its permanent error is on the record counts as any other: the next one that
    /// meets the error is then the first that is known.
    #[must_use]
    pub fn wait_after_error(&self, export: &Export, now: Timestamp, kind: ErrorKind) -> Option<Duration> {
        if export.tries >= self.most {
            return None;
        }
        match kind {
            ErrorKind::Transient => Some(self.wait_after(export.tries)),
            ErrorKind::Permanent => (export.permanent_error_at.is_none()
                && now.plus(self.permanent_wait) < export.deadline)
                .then_some(self.permanent_wait),
        }
    }
}

/// Why the work cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The export is pending no more.
    Finished,
    /// Somebody works on it.
    Leased,
    /// It was tried as often as it may be.
    TriesUsedUp,
    /// Its time is over.
    DeadlinePassed,
    /// The last attempt ended in a permanent error, too short a time ago.
    TooSoon,
}

/// Takes the work: raises the fence, counts a try, and holds `lease`.
///
/// # Errors
/// [`NotTaken`] if the record as read forbids it.
pub fn take(export: &Export, now: Timestamp, lease: Lease, tries: &Tries) -> Result<Step, NotTaken> {
    if export.status != Status::Pending {
        return Err(NotTaken::Finished);
    }
    if export.deadline <= now {
        return Err(NotTaken::DeadlinePassed);
    }
    if export.lease.as_ref().is_some_and(|lease| lease.until > now) {
        return Err(NotTaken::Leased);
    }
    if export.tries >= tries.most {
        return Err(NotTaken::TriesUsedUp);
    }
    if export.permanent_error_at.is_some_and(|at| now < at.plus(tries.permanent_wait)) {
        return Err(NotTaken::TooSoon);
    }
    let mut guards = vec![
        Guard::StatusIs(Status::Pending),
        Guard::FenceIs(export.fence),
        Guard::LeaseOverAt(now),
        Guard::TriesBelow(tries.most),
        Guard::DeadlineAfter(now),
        // The owner before may be late, and record its error or the file between the look and this write, which its fence
        // allows: the new owner would not know of it.
        Guard::PermanentErrorIs(export.permanent_error_at),
    ];
    if export.file.is_none() {
        guards.push(Guard::NoFileRecorded);
    }
    Ok(Step {
        guards,
        changes: vec![
            Change::Fence(export.fence + 1),
            Change::Tries(export.tries + 1),
            due_pending(export, lease.until),
            Change::Lease(Some(lease)),
            Change::UpdatedAt(now),
        ],
        ends_work: false,
    })
}

/// Gives the lease up after an error of this kind, to be tried again at `retry_at`. A permanent one is remembered in the
/// same write, so that the next attempt knows of it whatever happens in between.
#[must_use]
pub fn give_up(export: &Export, now: Timestamp, kind: ErrorKind, retry_at: Timestamp) -> Step {
    let mut changes = vec![Change::Lease(None), due_pending(export, retry_at), Change::UpdatedAt(now)];
    if kind == ErrorKind::Permanent {
        changes.push(Change::PermanentError(Some(now)));
    }
    Step { guards: owner(export), changes, ends_work: false }
}

/// Tells how many payouts are written so far.
#[must_use]
pub fn progress(export: &Export, now: Timestamp, rows: u64) -> Step {
    Step { guards: owner(export), changes: vec![Change::Rows(rows), Change::UpdatedAt(now)], ends_work: false }
}

/// The checkpoint moves forward: the tries begin anew.
#[must_use]
pub fn advance(export: &Export, now: Timestamp, rows: u64) -> Step {
    let mut changes = vec![Change::Rows(rows), Change::UpdatedAt(now)];
    changes.extend(begin_anew());
    Step { guards: owner(export), changes, ends_work: false }
}

/// What is forgotten once the checkpoint has advanced.
const fn begin_anew() -> [Change; 2] {
    [Change::Tries(0), Change::PermanentError(None)]
}

/// Gives the lease up because the invocation's time is over, for the next one to go on. Whoever did not get further
/// than the checkpoint it began with has spent a try.
#[must_use]
pub fn hand_over(export: &Export, now: Timestamp, rows: u64, has_advanced: bool, ring_at: Timestamp) -> Step {
    let mut changes =
        vec![Change::Rows(rows), Change::Lease(None), due_pending(export, ring_at), Change::UpdatedAt(now)];
    if has_advanced {
        changes.extend(begin_anew());
    }
    Step { guards: owner(export), changes, ends_work: false }
}

/// Records the whole file: later tries only mail.
#[must_use]
pub fn record_file(export: &Export, now: Timestamp, file: ExportFile) -> Step {
    Step { guards: owner(export), changes: vec![Change::File(file), Change::UpdatedAt(now)], ends_work: false }
}

/// The file is recorded and the mail, whose link ends at `link_end`, was accepted.
#[must_use]
pub fn ready(export: &Export, now: Timestamp, link_end: Timestamp) -> Step {
    let mut guards = owner(export);
    guards.push(Guard::FileRecorded);
    Step {
        guards,
        changes: vec![
            Change::Status(Status::Ready),
            Change::LinkEnd(link_end),
            Change::Due { status: Status::Ready, at: link_end },
            Change::Lease(None),
            Change::UpdatedAt(now),
        ],
        ends_work: true,
    }
}

/// By what right an export is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The one who holds the work.
    Owner,
    /// The rule that bounds the tries, once nobody works on it any more.
    TriesUsedUp {
        /// That bound.
        most: u32,
    },
    /// The rule that bounds the time, whoever works on it.
    DeadlinePassed,
    /// An administrator's word, whoever works on it.
    Administrator,
}

/// Ends the export as failed.
#[must_use]
pub fn fail(export: &Export, now: Timestamp, authority: Authority, failure: Failure) -> Step {
    let pending = Guard::StatusIs(Status::Pending);
    let guards = match authority {
        Authority::Owner => owner(export),
        Authority::TriesUsedUp { most } => {
            vec![pending, Guard::FenceIs(export.fence), Guard::TriesAtLeast(most), Guard::LeaseOverAt(now)]
        }
        Authority::DeadlinePassed => vec![pending, Guard::DeadlinePassedAt(now)],
        Authority::Administrator => vec![pending],
    };
    failed(guards, now, failure)
}

/// By what right an export is ended whose record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadAuthority {
    /// The rule that bounds the time, by the deadline on the record.
    DeadlinePassed,
    /// The rule that bounds the time, where the deadline is what cannot be read: the export was accepted so long ago
    /// that any deadline would have passed.
    AnyDeadlinePassed,
    /// An administrator's word.
    Administrator,
}

/// Ends as failed an export whose record cannot be read, so that its tenant is not locked out for ever: nothing but the
/// status and the deadline is asked of it, which the store compares as they are.
#[must_use]
pub fn fail_unread(now: Timestamp, authority: UnreadAuthority, failure: Failure) -> Step {
    let pending = Guard::StatusIs(Status::Pending);
    let guards = match authority {
        UnreadAuthority::DeadlinePassed => vec![pending, Guard::DeadlinePassedAt(now)],
        UnreadAuthority::AnyDeadlinePassed | UnreadAuthority::Administrator => vec![pending],
    };
    failed(guards, now, failure)
}

fn failed(guards: Vec<Guard>, now: Timestamp, failure: Failure) -> Step {
    Step {
        guards,
        changes: vec![
            Change::Status(Status::Failed),
            Change::Failure(Some(failure)),
            Change::Lease(None),
            Change::NotDue,
            Change::UpdatedAt(now),
        ],
        ends_work: true,
    }
}

/// Moves the sweeper's next look to `next`, before it rings: two sweeps at once ring once.
#[must_use]
pub fn ring(export: &Export, due_at: Timestamp, next: Timestamp) -> Step {
    Step {
        guards: vec![Guard::StatusIs(Status::Pending), Guard::DueIs(due_at)],
        changes: vec![due_pending(export, next)],
        ends_work: false,
    }
}

/// The link whose end is `link_end` has ended, and no later one was made.
#[must_use]
pub fn expire(now: Timestamp, link_end: Timestamp) -> Step {
    Step {
        guards: vec![Guard::StatusIs(Status::Ready), Guard::LinkEndIs(link_end)],
        changes: vec![Change::Status(Status::Expired), Change::NotDue, Change::UpdatedAt(now)],
        ends_work: false,
    }
}

/// Why the mail cannot be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResendable {
    /// The first mail is still to come.
    Pending,
    /// It failed before there was a file.
    NoFile,
    /// The file's retention is over, or the file was deleted.
    FileGone,
    /// It was sent again as often as a day allows.
    TooOften,
}

/// Counts one more mail of the day at `now`, before it is sent: those who send at once are counted one by one.
///
/// # Errors
/// [`NotResendable`] if the record as read forbids another mail.
pub fn count_resend(export: &Export, now: Timestamp, most_a_day: u32) -> Result<Step, NotResendable> {
    if export.status == Status::Pending {
        return Err(NotResendable::Pending);
    }
    let file = export.file.as_ref().ok_or(NotResendable::NoFile)?;
    if file.expires_at <= now {
        return Err(NotResendable::FileGone);
    }
    let day = now.start_of_day();
    let count = export.resends.filter(|resends| resends.day == day).map_or(0, |resends| resends.count);
    if count >= most_a_day {
        return Err(NotResendable::TooOften);
    }
    Ok(Step {
        guards: vec![Guard::NotPending, Guard::FileRecorded, Guard::ResendsAre(export.resends)],
        changes: vec![Change::Resends(Resends { day, count: count + 1 })],
        ends_work: false,
    })
}

/// The mail was accepted again, to `recipients`, with a link that ends at `link_end`. The newest link's end only ever
/// moves forward: of two at once the later end stays, and of two that end together the one recorded last.
#[must_use]
pub fn resent(now: Timestamp, recipients: Recipients, link_end: Timestamp) -> Step {
    // Two links may well end together: with the second they were sent in, or with the file.
    let just_after = link_end.plus(Duration::from_millis(1));
    Step {
        guards: vec![Guard::NotPending, Guard::FileRecorded, Guard::LinkEndBefore(just_after)],
        changes: vec![
            Change::Status(Status::Ready),
            Change::Recipients(recipients),
            Change::LinkEnd(link_end),
            Change::Due { status: Status::Ready, at: link_end },
            Change::Failure(None),
            Change::UpdatedAt(now),
        ],
        ends_work: false,
    }
}

/// The sweeper looks at a pending export at its deadline at the latest.
fn due_pending(export: &Export, at: Timestamp) -> Change {
    Change::Due { status: Status::Pending, at: at.min(export.deadline) }
}

/// What every write of the work's owner is guarded by.
fn owner(export: &Export) -> Vec<Guard> {
    vec![Guard::StatusIs(Status::Pending), Guard::FenceIs(export.fence)]
}

#[cfg(test)]
pub(crate) mod tests;
