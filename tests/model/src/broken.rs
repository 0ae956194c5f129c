//! Safeguards that can be taken away.

use exports_domain::export::Status;
use exports_domain::lifecycle::{Change, Guard, Step};

/// A safeguard that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Steps are carried out whoever owns the work by now.
    FenceGuard,
    /// Steps that end the work are carried out on exports that have ended.
    PendingGuard,
    /// A lease is acquired while another one is live, and an export is failed during its last attempt.
    LeaseGuard,
    /// An export is accepted whatever the lock names.
    LockCheck,
    /// The lock stays when the work ends.
    LockRelease,
    /// The checkpoint is stored whether its step is carried out or not.
    CheckpointTransaction,
    /// READY is recorded before the mail is sent.
    MailBeforeReady,
    /// A resend records its link's end whatever end is recorded.
    LinkEndOnlyForward,
    /// A link is expired though a later one was made.
    LinkEndGuard,
    /// Every owner writes to the same object.
    KeyPerFence,
    /// The next look of the sweeper may be after the deadline.
    LookByDeadline,
    /// The sweeper does not end what is past its deadline.
    Deadline,
    /// A lease is acquired after all attempts are used up.
    TriesGuard,
    /// An export is cancelled although its file is recorded.
    CancelFileGuard,
    /// Every owner stores its unfinished part in the same object, and nobody checks what is in it.
    UnfinishedPart,
}

impl Broken {
    /// The step without what is missing.
    pub(crate) fn weaken(self, step: &mut Step) {
        match self {
            Self::FenceGuard => step.guards.retain(|guard| !matches!(guard, Guard::FencingTokenIs(_))),
            Self::PendingGuard => step.guards.retain(|guard| *guard != Guard::StatusIs(Status::Pending)),
            Self::LeaseGuard => step.guards.retain(|guard| !matches!(guard, Guard::LeaseExpiredAt(_))),
            Self::CancelFileGuard if step.leaves_pending() => {
                step.guards.retain(|guard| *guard != Guard::NoFileRecorded);
            }
            Self::LinkEndOnlyForward => step.guards.retain(|guard| !matches!(guard, Guard::LinkExpiryBefore(_))),
            Self::LinkEndGuard => step.guards.retain(|guard| !matches!(guard, Guard::LinkExpiryIs(_))),
            Self::LookByDeadline => {
                for change in &mut step.changes {
                    if let Change::NextCheck(at) = change {
                        *at = at.plus(std::time::Duration::from_secs(3600));
                    }
                }
            }
            Self::LockCheck
            | Self::LockRelease
            | Self::CheckpointTransaction
            | Self::MailBeforeReady
            | Self::KeyPerFence
            | Self::Deadline
            | Self::CancelFileGuard
            | Self::UnfinishedPart
            | Self::TriesGuard => {}
        }
    }
}
