//! The calls that handlers make to the outside, and what can happen to each.

use exports_domain::error::{DependencyError, ErrorKind};
use tokio::sync::oneshot;

use crate::world::{self, World};
use exports_domain::lifecycle::transition::Transition;

/// A call of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    FindApiKey,
    StoreApiKey,
    RecordApiKeyUse,
    ListApiKeys,
    RevokeApiKey,
    Accept,
    Apply(Transition),
    FindExport,
    ListExports,
    FindCheckpoint,
    ScheduledChecks,
    Enqueue,
    ReadRows,
    PutFile,
    StartUpload,
    UploadPart,
    ListParts,
    CompleteUpload,
    AbortUpload,
    PutUnfinished,
    GetUnfinished,
    DeleteUnfinished,
    DeleteFile,
    FindFile,
    SignLink,
    SendMail,
}

impl Call {
    /// Whether the SDK repeats the call, and AWS may carry it out twice.
    pub(crate) const fn can_take_effect_twice(self) -> bool {
        match self {
            // A transaction has a token, by which AWS recognizes a repetition. Mails are sent without retries.
            Self::Accept | Self::SendMail => false,
            Self::Apply(transition) => !is_transaction(transition),
            _ => true,
        }
    }

    /// Whether most depends on it, so that it fails more often.
    pub(crate) const fn is_decisive(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::PutFile
                | Self::CompleteUpload
                | Self::SendMail
                | Self::Apply(Transition::RecordFile | Transition::Ready)
        )
    }

    /// Whether AWS may return an earlier state.
    pub(crate) const fn can_be_stale(self) -> bool {
        matches!(self, Self::ScheduledChecks | Self::ListApiKeys)
    }

    /// Whether it is a DynamoDB write, which another transaction can conflict with.
    pub(crate) const fn can_conflict(self) -> bool {
        matches!(self, Self::Accept | Self::Apply(_))
    }
}

/// Whether the store applies it in a transaction, and not in an update of one item.
const fn is_transaction(transition: Transition) -> bool {
    matches!(
        transition,
        Transition::AdvanceCheckpoint
            | Transition::ContinueLater
            | Transition::Ready
            | Transition::FailByOwner
            | Transition::FailAttemptsUsedUp
            | Transition::FailAtDeadline
            | Transition::FailByAdministrator
            | Transition::Cancel
    )
}

/// What happens to a call other than a response in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub(crate) enum Failure {
    /// It fails without effect.
    NoEffect,
    /// It is throttled.
    Throttled,
    /// A transaction conflicts with it, again and again.
    Conflict,
    /// A permanent error: access denied.
    Denied,
    /// It takes effect, and the response is lost.
    ResponseLost,
    /// It takes effect after the caller gave up.
    Late,
    /// It takes effect, the response is lost, and the SDK repeats it; or the repetition takes effect first.
    Repeated,
    /// Its response comes after a minute or more.
    Slow,
    /// It never returns.
    Hangs,
    /// It returns an earlier state.
    Stale,
    /// The process dies.
    Kill,
    /// The process is suspended for minutes.
    Stall,
}

/// A call in flight.
pub(crate) trait InFlight {
    /// Carries it out.
    fn take_effect(&mut self, world: &mut World);
    /// Returns its result, or an error of this kind in its place.
    fn respond(&mut self, error: Option<ErrorKind>);
}

struct Pending<T, E, F> {
    effect: F,
    result: Option<Result<T, E>>,
    sender: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E: From<DependencyError>, F: FnMut(&mut World) -> Result<T, E>> InFlight for Pending<T, E, F> {
    fn take_effect(&mut self, world: &mut World) {
        self.result = Some((self.effect)(world));
    }

    fn respond(&mut self, error: Option<ErrorKind>) {
        let Some(sender) = self.sender.take() else { return };
        let failed = |kind| Err(DependencyError::of_kind(kind, "call", "simulated").into());
        let result = error.map(failed).or_else(|| self.result.take());
        // The caller may be dead.
        let _ = sender.send(result.unwrap_or_else(|| failed(ErrorKind::Transient)));
    }
}

/// Makes a call whose effect is `effect`.
pub(crate) async fn call<T, E>(
    call: Call,
    effect: impl FnMut(&mut World) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DependencyError> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    world::with(|world| world.start_call(call, Box::new(Pending { effect, result: None, sender: Some(sender) })));
    match receiver.await {
        Ok(result) => result,
        // The call hangs.
        Err(_) => std::future::pending().await,
    }
}
