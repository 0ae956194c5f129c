//! Safeguards that can be taken away, each in the store, the bucket, the queue, the clock or the mail service, so that
//! product code has no switch.

use std::time::Duration;

use exports_domain::export::Status;
use exports_domain::lifecycle::{Change, Guard, Step};

use exports_domain::lifecycle::transition::Transition;

/// A safeguard that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::VariantArray)]
pub enum Broken {
    /// Steps are applied whatever the fencing token is.
    FencingTokenGuard,
    /// The fencing token is not incremented.
    FencingTokenIncrement,
    /// Steps of pending exports are applied to exports that have ended.
    PendingGuard,
    /// The lease is not recorded.
    Lease,
    /// An export is accepted whatever the lock names.
    LockCheck,
    /// The lock stays when the export ends.
    LockRelease,
    /// The lock is written, and the export in a write of its own.
    AcceptTransaction,
    /// A checkpoint is stored whether its step is applied or not.
    CheckpointTransaction,
    /// The checkpoint stays when the export ends.
    CheckpointDeletion,
    /// A resend records its link expiry whatever is recorded.
    LinkExpiryOnlyForward,
    /// An export expires although a later link was sent.
    LinkExpiryGuard,
    /// An export is cancelled although its file is recorded.
    CancelFileGuard,
    /// Progress that takes effect late is recorded.
    ProgressGuard,
    /// Attempts are not counted.
    AttemptCount,
    /// The earliest time of the next attempt is not recorded.
    RetryTime,
    /// A lease is acquired although its export was released since the record was read.
    RetryTimeGuard,
    /// The next check may be after the deadline.
    NextCheckByDeadline,
    /// The deadline is not enforced.
    Deadline,
    /// Re-enqueuing does not move the next check.
    NextCheckMove,
    /// Two sweeps re-enqueue the same check.
    NextCheckGuard,
    /// Pending exports are not in the index of scheduled checks.
    PendingIndex,
    /// Ready exports are not in the index of scheduled checks.
    ReadyIndex,
    /// The idempotency record is not written.
    IdempotencyRecord,
    /// An idempotency record is never void.
    IdempotencyWindow,
    /// The fingerprint of the request is not compared.
    IdempotencyFingerprint,
    /// The daily limit of resends is not enforced.
    ResendLimit,
    /// An export is read with eventual consistency.
    ConsistentRead,
    /// The history is read with eventual consistency.
    ConsistentList,
    /// Rows are read with eventual consistency.
    ConsistentRows,
    /// Reading continues with the last row read, and not after it.
    ExclusiveStart,
    /// Rows are read beyond the end of the range.
    RangeEnd,
    /// All owners write to the same object.
    KeyPerOwner,
    /// A completion takes the parts as they are: neither their receipts nor the checksum of the file are compared.
    PartIntegrity,
    /// Completing an upload that does not exist succeeds.
    LostUpload,
    /// Aborting an upload has no effect.
    UploadAbort,
    /// Links are signed with the credentials of a role, which live for minutes.
    LongLivedSigner,
    /// A mail whose response was lost counts as accepted.
    MailResponse,
    /// A mail counts as accepted although it was rejected.
    MailRejection,
    /// Revoking a key has no effect.
    KeyRevocation,
    /// Keys never expire.
    KeyExpiry,
    /// The use of a key is not recorded.
    KeyUse,
}

impl Broken {
    /// All safeguards.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The safeguard with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The step without the missing safeguard.
    pub(crate) fn weaken(self, step: &mut Step) {
        let transition = Transition::of(step);
        let (guards, changes) = (&mut step.guards, &mut step.changes);
        match self {
            Self::FencingTokenGuard => guards.retain(|guard| !matches!(guard, Guard::FencingTokenIs(_))),
            Self::FencingTokenIncrement => changes.retain(|change| !matches!(change, Change::FencingToken(_))),
            Self::PendingGuard => guards.retain(|guard| *guard != Guard::StatusIs(Status::Pending)),
            Self::Lease => changes.retain(|change| !matches!(change, Change::Lease(_))),
            Self::LinkExpiryOnlyForward => guards.retain(|guard| !matches!(guard, Guard::LinkExpiryBefore(_))),
            Self::LinkExpiryGuard => guards.retain(|guard| !matches!(guard, Guard::LinkExpiryIs(_))),
            Self::ProgressGuard => guards.retain(|guard| !matches!(guard, Guard::RowsReadAtMost(_))),
            Self::CancelFileGuard if transition == Transition::Cancel => {
                guards.retain(|guard| *guard != Guard::NoFileRecorded);
            }
            Self::AttemptCount if transition == Transition::Acquire => {
                changes.retain(|change| !matches!(change, Change::Attempts(_)));
            }
            Self::RetryTime => changes.retain(|change| !matches!(change, Change::RetryAt(_))),
            Self::RetryTimeGuard => guards.retain(|guard| !matches!(guard, Guard::RetryAtIs(_))),
            Self::NextCheckByDeadline => {
                for change in changes {
                    if let Change::NextCheck(at) = change {
                        *at = at.plus(Duration::from_secs(3600));
                    }
                }
            }
            Self::NextCheckMove if transition == Transition::ReEnqueue => changes.clear(),
            Self::NextCheckGuard => guards.retain(|guard| !matches!(guard, Guard::NextCheckIs(_))),
            Self::ResendLimit => guards.retain(|guard| !matches!(guard, Guard::ResendsBelow { .. })),
            _ => {}
        }
    }
}
