//! The record of an export.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::caller::{Caller, Person};
use crate::email::Recipients;
use crate::file::{ExportFile, Faults};
use crate::id::{ExportId, TenantId};
use crate::layout::is_layout;
use crate::payout::COLUMNS_VERSION;
use crate::time::Timestamp;

/// Where an export stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted, and being worked on.
    Pending,
    /// The file is generated **and** the e-mail was accepted.
    Ready,
    /// Generating or mailing failed for good.
    Failed,
    /// The link's end has passed.
    Expired,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Ready, Self::Failed, Self::Expired];

    /// The name in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// The text names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an export status: PENDING, READY, FAILED or EXPIRED")]
pub struct NotAStatus;

impl FromStr for Status {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(NotAStatus)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an export is accepted with. Frozen on its record, so that a deploy in the middle changes nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which [`COLUMNS`](crate::payout::COLUMNS) there were. A deploy that adds one is the one thing that changes files
    /// that are not whole yet: they begin anew, with the new columns.
    pub columns_version: u32,
    /// Whether the file begins with a byte-order mark.
    pub byte_order_mark: bool,
    /// How long a mailed link lives; seven days at most, which is what a presigned URL can.
    pub link_life: Duration,
    /// How long the file is kept after it was written.
    pub file_retention: Duration,
    /// How long the export may be pending.
    pub time_limit: Duration,
    /// How long the record is kept after the acceptance; for ever, if there is none.
    pub history_retention: Option<Duration>,
}

impl Terms {
    /// A presigned URL's longest life (AWS, Signature Version 4).
    pub const LONGEST_LINK_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

    /// The terms of exports accepted from now on; `link_life` is cut to [`Self::LONGEST_LINK_LIFE`].
    #[must_use]
    pub fn new(link_life: Duration, file_retention: Duration, time_limit: Duration, byte_order_mark: bool) -> Self {
        let link_life = link_life.min(Self::LONGEST_LINK_LIFE);
        Self {
            columns_version: COLUMNS_VERSION,
            byte_order_mark,
            link_life,
            file_retention,
            time_limit,
            history_retention: None,
        }
    }

    /// The same with records, and the addresses on them, that are not kept for ever.
    #[must_use]
    pub const fn with_history_retention(self, history_retention: Option<Duration>) -> Self {
        Self { history_retention, ..self }
    }
}

/// The right to work on an export until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who has it: an invocation's request id.
    pub holder: String,
    /// When it is over, whether its holder has noticed or not.
    pub until: Timestamp,
}

/// How often the mail was sent again on the last day that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resends {
    /// The start of that day, UTC.
    pub day: Timestamp,
    /// How often.
    pub count: u32,
}

/// Why an export failed, for a person to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub code: FailureCode,
    /// What happened, in a sentence or two.
    pub message: String,
}

impl Failure {
    /// Some payouts cannot be written.
    #[must_use]
    pub fn payouts_not_writable(faults: &Faults) -> Self {
        let message = format!("{}.", faults.describe());
        Self { code: FailureCode::PayoutsNotWritable, message }
    }

    /// The file would have more than `most` bytes.
    #[must_use]
    pub fn file_too_large(most: u64) -> Self {
        let gibibytes = most >> 30;
        let message = format!("The file would be larger than {gibibytes} GiB, the most that one export can have.");
        Self { code: FailureCode::FileTooLarge, message }
    }

    /// The mail service refuses the mail, for this `reason`. The file is there.
    #[must_use]
    pub fn email_not_sent(reason: &str) -> Self {
        let message = format!("The file was written, but the mail service refused the mail: {reason}");
        Self { code: FailureCode::EmailNotSent, message }
    }

    /// All `tries` were used up.
    #[must_use]
    pub fn tries_used_up(tries: u32) -> Self {
        let tries = if tries == 1 { "one try".to_owned() } else { format!("{tries} tries") };
        let message = format!("The export could not be finished in {tries}.");
        Self { code: FailureCode::GenerationFailed, message }
    }

    /// Two attempts met an error that retrying does not fix. What it was is in the log only: it may name what is inside.
    #[must_use]
    pub fn permanent_error() -> Self {
        let message = "The export could not be generated because of an error that retrying does not fix, such as a missing \
                       permission. An administrator finds the cause in the log by the export ID. Launch the export again \
                       once it is corrected.";
        Self { code: FailureCode::GenerationFailed, message: message.to_owned() }
    }

    /// An administrator ended it, for this `reason` if one was given.
    #[must_use]
    pub fn ended_by_administrator(reason: Option<&Reason>) -> Self {
        let message = match reason {
            Some(reason) => format!("An administrator ended the export: {}", reason.0),
            None => "An administrator ended the export.".to_owned(),
        };
        Self { code: FailureCode::EndedByAdministrator, message }
    }

    /// The time was over; how long it was is on the record, which could not be read.
    #[must_use]
    pub fn deadline_passed_unread() -> Self {
        let message = "The export was not finished within the time that it may take: its record could not be read.";
        Self { code: FailureCode::DeadlinePassed, message: message.to_owned() }
    }

    /// The time was over.
    #[must_use]
    pub fn deadline_passed(time_limit: Duration) -> Self {
        let seconds = time_limit.as_secs();
        let (number, unit) = match seconds {
            0 => (0, "second"),
            _ if seconds.is_multiple_of(3600) => (seconds / 3600, "hour"),
            _ if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
            _ => (seconds, "second"),
        };
        let limit = format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
        let message = format!("The export was not finished within the {limit} that it may take.");
        Self { code: FailureCode::DeadlinePassed, message }
    }
}

/// Why an administrator ends an export, in words for its requester: 1 to 200 characters, none of them a control
/// character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// The text is not a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason has 1 to 200 characters, no control characters, and is not blank")]
pub struct NotAReason;

impl FromStr for Reason {
    type Err = NotAReason;

    fn from_str(text: &str) -> Result<Self, NotAReason> {
        let reason = text.trim();
        if (1..=200).contains(&reason.chars().count()) && !reason.chars().any(is_layout) {
            Ok(Self(reason.to_owned()))
        } else {
            Err(NotAReason)
        }
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCode {
    /// Some payouts have values that cannot be written.
    PayoutsNotWritable,
    /// There are more payouts than one file can hold.
    FileTooLarge,
    /// The file is there, but the mail service refuses the mail.
    EmailNotSent,
    /// The work was tried as often as allowed and never ended, or met an error that retrying does not fix.
    GenerationFailed,
    /// The export was pending for longer than it may be.
    DeadlinePassed,
    /// An administrator ended it while it was pending.
    EndedByAdministrator,
}

impl FailureCode {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::PayoutsNotWritable,
        Self::FileTooLarge,
        Self::EmailNotSent,
        Self::GenerationFailed,
        Self::DeadlinePassed,
        Self::EndedByAdministrator,
    ];

    /// The name in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PayoutsNotWritable => "PAYOUTS_NOT_WRITABLE",
            Self::FileTooLarge => "FILE_TOO_LARGE",
            Self::EmailNotSent => "EMAIL_NOT_SENT",
            Self::GenerationFailed => "GENERATION_FAILED",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::EndedByAdministrator => "ENDED_BY_ADMINISTRATOR",
        }
    }

    /// Whether launching the export again may succeed with nothing else changed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::PayoutsNotWritable | Self::FileTooLarge | Self::EmailNotSent => false,
            Self::GenerationFailed | Self::DeadlinePassed | Self::EndedByAdministrator => true,
        }
    }
}

/// The text names no kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a failure code")]
pub struct NotAFailureCode;

impl FromStr for FailureCode {
    type Err = NotAFailureCode;

    fn from_str(text: &str) -> Result<Self, NotAFailureCode> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(NotAFailureCode)
    }
}

/// An export: what was asked for, how far it is, and what came of it.
///
/// The fields are open to read and to build records from; they change only by the steps of
/// [`lifecycle`](crate::lifecycle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Which export; its time of acceptance is in it.
    pub id: ExportId,
    /// Whose payouts.
    pub tenant: TenantId,
    /// Who asked for it.
    pub requested_by: Person,
    /// Who gets the mail.
    pub recipients: Recipients,
    /// What it was accepted with.
    pub terms: Terms,
    /// Where it stands in the record. What a reader is told is [`status_at`](Self::status_at).
    pub status: Status,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// When it fails if it is still pending.
    pub deadline: Timestamp,
    /// How often the work was taken: the number of its newest owner.
    pub fence: u64,
    /// How often the work was taken without getting further.
    pub tries: u32,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// When the sweeper has to look: pending, to ring again or end it; ready, to expire it.
    pub due_at: Option<Timestamp>,
    /// How many payouts are written so far.
    pub rows_written: u64,
    /// The file, once it is whole.
    pub file: Option<ExportFile>,
    /// When the newest link ends.
    pub link_expires_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How often the mail was sent again.
    pub resends: Option<Resends>,
    /// When an attempt ended in a permanent error since the checkpoint last advanced.
    pub permanent_error_at: Option<Timestamp>,
}

impl Export {
    /// A new export, pending, that the sweeper looks at from `ring_after` on.
    #[must_use]
    pub fn accept(id: ExportId, caller: &Caller, recipients: Recipients, terms: Terms, ring_after: Duration) -> Self {
        let now = id.created_at();
        let deadline = now.plus(terms.time_limit);
        Self {
            id,
            tenant: caller.tenant.clone(),
            requested_by: caller.user.clone(),
            recipients,
            terms,
            status: Status::Pending,
            updated_at: now,
            deadline,
            fence: 0,
            tries: 0,
            lease: None,
            due_at: Some(now.plus(ring_after).min(deadline)),
            rows_written: 0,
            file: None,
            link_expires_at: None,
            failure: None,
            resends: None,
            permanent_error_at: None,
        }
    }

    /// When it was accepted.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }

    /// Until when the record is kept once it is no longer pending, if not for ever: for its retention, and longer than
    /// the file whenever that is written. A file that is written at the deadline, by an owner whose lease outlives it,
    /// is the last that can be.
    #[must_use]
    pub fn keep_until(&self) -> Option<Timestamp> {
        const DAY: Duration = Duration::from_secs(86_400);
        let file_is_gone = self.deadline.plus(self.terms.file_retention).plus(DAY);
        self.terms.history_retention.map(|retention| self.created_at().plus(retention).max(file_is_gone))
    }

    /// Up to when payouts are included: those created later are left out.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        self.id.created_at()
    }

    /// Where it stands at `now`: a ready export whose link's end has come is expired at once, swept or not.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> Status {
        match (self.status, self.link_expires_at) {
            (Status::Ready, Some(end)) if end <= now => Status::Expired,
            (status, _) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_reason_is_bounded_and_on_one_line() {
        let longest = "x".repeat(200);
        for text in ["stuck since noon", " stuck since noon ", "é", &longest] {
            assert!(text.parse::<Reason>().is_ok(), "{text}");
        }
        for text in ["", "  ", "a\nb", "a\u{202e}b", &format!("{longest}x")] {
            assert_eq!(text.parse::<Reason>(), Err(NotAReason), "{text:?}");
        }
        let reason = " stuck ".parse().unwrap();
        let message = |reason| Failure::ended_by_administrator(reason).message;
        assert_eq!(message(Some(&reason)), "An administrator ended the export: stuck");
        assert_eq!(message(None), "An administrator ended the export.");
    }

    #[test]
    fn deadlines_failure_names_the_limit_as_it_is() {
        let message = |seconds| Failure::deadline_passed(Duration::from_secs(seconds)).message;
        for (seconds, limit) in
            [(30, "30 seconds"), (61, "61 seconds"), (60, "1 minute"), (9000, "150 minutes"), (21_600, "6 hours")]
        {
            assert!(message(seconds).contains(&format!("within the {limit} that")), "{}", message(seconds));
        }
    }
}
