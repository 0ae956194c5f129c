//! The transitions of the state machine by name: recognized by their steps, or by the records before and after.

use super::{
    Change, FailedBy, Guard, RetryPolicy, Step, acquire, acquire_first, advance_checkpoint, cancel, continue_later,
    count_resend, expire, fail, re_enqueue, ready, record_file, record_progress, release, resent,
};
use crate::error::ErrorKind;
use crate::export::{Export, Progress};
use crate::failure::{Failure, FailureCode};

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the functions of the state machine")]
pub enum Transition {
    Acquire,
    RecordProgress,
    AdvanceCheckpoint,
    ContinueLater,
    Release,
    RecordFile,
    Ready,
    FailByOwner,
    FailAttemptsUsedUp,
    FailAtDeadline,
    FailByAdministrator,
    Cancel,
    ReEnqueue,
    Expire,
    CountResend,
    Resend,
}

impl Transition {
    /// The transition of a step.
    #[must_use]
    pub fn of(step: &Step) -> Self {
        let guards = |is: fn(&Guard) -> bool| step.guards.iter().any(is);
        let changes = |is: fn(&Change) -> bool| step.changes.iter().any(is);
        let owner = guards(|guard| matches!(guard, Guard::FencingTokenIs(_)));
        for change in &step.changes {
            return match change {
                Change::FencingToken(_) => Self::Acquire,
                Change::Failed(Failure { code: FailureCode::Cancelled, .. }) => Self::Cancel,
                Change::Failed(_) if guards(|guard| matches!(guard, Guard::AttemptsAtLeast(_))) => {
                    Self::FailAttemptsUsedUp
                }
                Change::Failed(_) if owner => Self::FailByOwner,
                Change::Failed(_) if guards(|guard| matches!(guard, Guard::DeadlinePassedAt(_))) => {
                    Self::FailAtDeadline
                }
                Change::Failed(_) => Self::FailByAdministrator,
                Change::File(_) => Self::RecordFile,
                Change::Ready { .. } => Self::Ready,
                Change::Resent { .. } => Self::Resend,
                Change::AddResend(_) => Self::CountResend,
                Change::Expired => Self::Expire,
                _ => continue,
            };
        }
        if guards(|guard| matches!(guard, Guard::NextCheckIs(_))) {
            return Self::ReEnqueue;
        }
        let records_progress = changes(|change| matches!(change, Change::RowsRead(_)));
        match (changes(|change| matches!(change, Change::Lease(_))), records_progress) {
            (true, true) => Self::ContinueLater,
            (true, false) => Self::Release,
            _ if changes(|change| matches!(change, Change::Attempts(_))) => Self::AdvanceCheckpoint,
            _ => Self::RecordProgress,
        }
    }

    /// The transition that leads from one record to the next, with all its guards, if there is one. The limits
    /// are those that the functions had.
    #[must_use]
    pub fn between(before: &Export, after: &Export, retry: &RetryPolicy, max_resends_a_day: u32) -> Option<Self> {
        let (now, next) = (after.updated_at, after.next_check_at().unwrap_or(after.updated_at));
        let progress = Progress { rows_read: after.rows_read, rows_written: after.rows_written };
        let mut steps = vec![
            record_progress(before, now, progress),
            advance_checkpoint(before, now, progress),
            continue_later(before, now, progress, false, next),
            continue_later(before, now, progress, true, next),
        ];
        if let Some(at) = after.pending().and_then(|pending| pending.retry_at) {
            steps.extend([ErrorKind::Transient, ErrorKind::Permanent].map(|kind| release(before, now, kind, at, next)));
        }
        if let Some(lease) = after.lease() {
            steps.push(acquire_first(now, lease.clone()));
            steps.extend(acquire(before, now, lease.clone(), retry));
        }
        steps.extend(before.next_check_at().map(|at| re_enqueue(before, at, next)));
        steps.extend(after.file().map(|file| record_file(before, now, file.clone(), after.rows_read)));
        if let Some(expiry) = after.link_expires_at() {
            steps.extend([
                ready(before, now, expiry),
                expire(now, expiry),
                resent(now, after.recipients.clone(), expiry),
            ]);
        }
        if let Some(failure) = after.failure() {
            steps.extend(failed(before, failure, after, retry));
        }
        let counted = after.resends.iter().find(|(day, count)| before.resends.get(day) != Some(count));
        steps.extend(counted.and_then(|(day, _)| count_resend(before, *day, max_resends_a_day).ok()));
        steps.into_iter().find(|step| step.apply(before).as_ref() == Some(after)).map(|step| Self::of(&step))
    }
}

/// The steps that fail an export for this reason.
fn failed(before: &Export, failure: &Failure, after: &Export, retry: &RetryPolicy) -> Vec<Step> {
    let now = after.updated_at;
    let by = |failed_by| fail(before, now, failed_by, failure.clone());
    match failure.code {
        FailureCode::Cancelled => cancel(before, now, failure.clone()).into_iter().collect(),
        FailureCode::DeadlinePassed => vec![by(FailedBy::DeadlinePassed)],
        FailureCode::FailedByAdministrator => vec![by(FailedBy::Administrator)],
        FailureCode::GenerationFailed => {
            vec![by(FailedBy::AttemptsUsedUp { max: retry.max_attempts }), by(FailedBy::Owner)]
        }
        FailureCode::InvalidRows
        | FailureCode::FileTooLarge
        | FailureCode::XlsxTooLarge
        | FailureCode::EmailNotSent
        | FailureCode::InternalError => vec![by(FailedBy::Owner)],
    }
}
