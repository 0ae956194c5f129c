//! What clients saw, and whether a sequence of the operations explains it: the histories are linearizable.

use std::collections::BTreeMap;
use std::time::Duration;

use exports_domain::id::ExportId;
use exports_domain::time::Timestamp;
use serde_json::Value;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::rows::Options;

/// The exports of one tenant and type, which operations concern: the tenant's and the type's index.
pub(crate) type Scope = (usize, usize);

/// How long a launch is repeated by its idempotency key.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How many operations of a checked scope may have no response. Each may have happened at any time since, or never, so that
/// the search for an order takes up to twice as long with each. One scope in a thousand has more, and is not checked.
const MOST_WITHOUT_RESPONSE: usize = 6;

/// The number of a launch, which names its export.
type Launch = usize;

/// What a launch requests: the options, and whether there is a CC recipient.
pub(crate) type Form = (Options, bool);

/// An operation of a client, or a change that no client requested, at the moment of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Launch {
        launch: Launch,
        key: Option<(usize, u32)>,
        form: Form,
        /// By the clock of its process.
        at: Option<Timestamp>,
    },
    Get(Launch),
    List,
    Cancel(Launch),
    Resend(Launch),
    RecordFile(Launch),
    End(Launch, Phase),
    Remove(Launch),
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Accepted(Launch),
    AlreadyPending(Launch),
    KeyReused,
    Status(Option<Shown>),
    History(Vec<(Launch, Shown)>),
    Cancelled,
    NotCancellable,
    Resent,
    NotResendable,
    Done,
}

/// The phase of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending {
        has_file: bool,
    },
    /// READY or EXPIRED: which of them depends on the clock.
    Ready,
    Failed {
        has_file: bool,
    },
    Cancelled,
}

/// A phase as responses show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shown {
    Pending,
    Ready,
    Failed,
    Cancelled,
}

impl Phase {
    const fn shown(self) -> Shown {
        match self {
            Self::Pending { .. } => Shown::Pending,
            Self::Ready => Shown::Ready,
            Self::Failed { .. } => Shown::Failed,
            Self::Cancelled => Shown::Cancelled,
        }
    }
}

/// The exports of one tenant and type, one operation after another.
#[derive(Clone, Debug, Default)]
struct Exports {
    phases: BTreeMap<Launch, Phase>,
    keys: BTreeMap<(usize, u32), (Launch, Form, Option<Timestamp>)>,
}

impl SequentialSpec for Exports {
    type Op = Op;
    type Ret = Seen;

    fn invoke(&mut self, op: &Op) -> Seen {
        let phase = |launch: &Launch| self.phases.get(launch).copied();
        match op {
            Op::Launch { launch, key, form, at } => {
                if let Some((known, known_form, known_at)) = key.and_then(|key| self.keys.get(&key))
                    && at.zip(*known_at).is_none_or(|(at, known_at)| at < known_at.plus(KEPT))
                {
                    return if known_form == form { Seen::Accepted(*known) } else { Seen::KeyReused };
                }
                if let Some((pending, _)) = self.phases.iter().find(|(_, phase)| phase.shown() == Shown::Pending) {
                    return Seen::AlreadyPending(*pending);
                }
                if let Some(key) = key {
                    self.keys.insert(*key, (*launch, *form, *at));
                }
                self.phases.insert(*launch, Phase::Pending { has_file: false });
                Seen::Accepted(*launch)
            }
            Op::Get(launch) => Seen::Status(phase(launch).map(Phase::shown)),
            Op::List => Seen::History(self.phases.iter().map(|(launch, phase)| (*launch, phase.shown())).collect()),
            Op::Cancel(launch) | Op::Resend(launch) if phase(launch).is_none() => Seen::Status(None),
            Op::Cancel(launch) => match phase(launch) {
                Some(Phase::Pending { has_file: false } | Phase::Cancelled) => {
                    self.phases.insert(*launch, Phase::Cancelled);
                    Seen::Cancelled
                }
                _ => Seen::NotCancellable,
            },
            Op::Resend(launch) => match phase(launch) {
                Some(Phase::Ready | Phase::Failed { has_file: true }) => {
                    self.phases.insert(*launch, Phase::Ready);
                    Seen::Resent
                }
                _ => Seen::NotResendable,
            },
            Op::RecordFile(launch) => {
                self.phases.insert(*launch, Phase::Pending { has_file: true });
                Seen::Done
            }
            Op::Remove(launch) => {
                self.phases.remove(launch);
                Seen::Done
            }
            Op::End(launch, phase) => {
                self.phases.insert(*launch, *phase);
                Seen::Done
            }
        }
    }
}

struct Operation {
    scope: Scope,
    op: Op,
    thread: usize,
    options: Options,
    /// What the client saw; an operation without a response may or may not have taken effect, now or later.
    seen: Option<Seen>,
    /// Whether it certainly had no effect, and shows nothing.
    is_void: bool,
}

/// All operations, in the order of their beginnings and ends.
#[derive(Default)]
pub(crate) struct Operations {
    all: Vec<Operation>,
    /// The operation, and whether it begins.
    log: Vec<(usize, bool)>,
    names: BTreeMap<ExportId, Launch>,
    /// For each thread, whether it is busy.
    threads: Vec<bool>,
}

impl Operations {
    /// Begins an operation. Returns its number, which is also that of the launch.
    pub(crate) fn begin(&mut self, scope: Scope, options: Options, op: impl FnOnce(Launch) -> Op) -> usize {
        let number = self.all.len();
        let thread = self.threads.iter().position(|is_busy| !is_busy).unwrap_or_else(|| {
            self.threads.push(true);
            self.threads.len() - 1
        });
        self.threads[thread] = true;
        self.all.push(Operation { scope, op: op(number), thread, options, seen: None, is_void: false });
        self.log.push((number, true));
        number
    }

    /// Ends an operation with what the client saw.
    pub(crate) fn end(&mut self, number: usize, seen: Seen) {
        let operation = &mut self.all[number];
        operation.seen = Some(seen);
        self.threads[operation.thread] = false;
        self.log.push((number, false));
    }

    /// Marks an operation that certainly had no effect.
    pub(crate) fn void(&mut self, number: usize) {
        self.all[number].is_void = true;
    }

    /// A change of the export of this launch that no client requested.
    pub(crate) fn add(&mut self, launch: Launch, op: impl FnOnce(Launch) -> Op) {
        let number = self.begin(self.all[launch].scope, Options::default(), |_| op(launch));
        self.end(number, Seen::Done);
    }

    /// Names the export of a launch.
    pub(crate) fn name(&mut self, operation: Option<usize>, id: ExportId) {
        if let Some(launch) = operation {
            self.names.insert(id, launch);
            if let Op::Launch { at, .. } = &mut self.all[launch].op {
                *at = Some(id.created_at());
            }
        }
    }

    /// When the export of this launch was accepted, if it was.
    pub(crate) fn accepted_at(&self, launch: usize) -> Option<Timestamp> {
        match &self.all[launch] {
            Operation { op: Op::Launch { at, .. }, seen: Some(Seen::Accepted(accepted)), .. }
                if *accepted == launch =>
            {
                *at
            }
            _ => None,
        }
    }

    pub(crate) fn launch_of(&self, id: &ExportId) -> Option<Launch> {
        self.names.get(id).copied()
    }

    /// The exports that were launched, with their launches, in their order.
    pub(crate) fn launched(&self, scope: Scope) -> Vec<(ExportId, Launch)> {
        let of_scope = self.names.iter().filter(|(_, launch)| self.all[**launch].scope == scope);
        of_scope.map(|(id, launch)| (*id, *launch)).collect()
    }

    /// The scope and the options of a launch.
    pub(crate) fn launched_with(&self, launch: Launch) -> (Scope, Options) {
        (self.all[launch].scope, self.all[launch].options)
    }

    /// What the client of this operation saw in the response, and whether it certainly had no effect.
    pub(crate) fn read(&self, number: usize, status: i64, body: &Value) -> (Option<Seen>, bool) {
        let launch = |text: &Value| self.launch_of(&text.as_str()?.parse().ok()?);
        let code = body.pointer("/errors/0/code").and_then(Value::as_str).unwrap_or_default();
        let detail = body.pointer("/errors/0/detail").and_then(Value::as_str).unwrap_or_default();
        let seen = match (&self.all[number].op, status, code) {
            (Op::Launch { .. }, 202, _) => launch(&body["exportId"]).map(Seen::Accepted),
            (Op::Launch { .. }, 409, "EXPORT_ALREADY_PENDING") => {
                let named = detail.split(' ').find_map(|word| self.launch_of(&word.parse().ok()?));
                named.map(Seen::AlreadyPending)
            }
            (Op::Launch { .. }, 422, _) => Some(Seen::KeyReused),
            (Op::Get(_), 200, _) => Some(Seen::Status(shown(body))),
            (Op::Get(_), 404, _) => Some(Seen::Status(None)),
            (Op::List, 200, _) => body["content"].as_array().map(|exports| {
                let of = |export: &Value| Some((launch(&export["exportId"])?, shown(export)?));
                let mut history: Vec<_> = exports.iter().filter_map(of).collect();
                history.sort_unstable();
                Seen::History(history)
            }),
            (Op::Cancel(_) | Op::Resend(_), 404, _) => Some(Seen::Status(None)),
            (Op::Cancel(_), 200, _) => Some(Seen::Cancelled),
            (Op::Cancel(_), 409, _) => Some(Seen::NotCancellable),
            (Op::Resend(_), 200, _) => Some(Seen::Resent),
            (Op::Resend(_), 409, _) => Some(Seen::NotResendable),
            _ => None,
        };
        let is_read = matches!(self.all[number].op, Op::Get(_) | Op::List);
        // The file is gone, the limit is reached, the mail was not sent: nothing changed, whatever the phase.
        let had_no_effect = (400..500).contains(&status) || code == "EMAIL_NOT_SENT" || is_read;
        let is_void = seen.is_none() && had_no_effect;
        (seen, is_void)
    }

    /// The scope of the first history that no sequence of the operations explains, with that history.
    pub(crate) fn inconsistency(&self) -> Option<String> {
        let mut scopes: Vec<Scope> = self.all.iter().map(|operation| operation.scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes.retain(|scope| {
            let begun = self.of_scope(*scope).filter(|(_, begins, operation)| *begins && operation.seen.is_none());
            begun.count() <= MOST_WITHOUT_RESPONSE
        });
        scopes.into_iter().find_map(|scope| {
            let mut tester = LinearizabilityTester::new(Exports::default());
            for (_, begins, operation) in self.of_scope(scope) {
                match &operation.seen {
                    _ if begins => _ = tester.on_invoke(operation.thread, operation.op.clone()).unwrap(),
                    Some(seen) => _ = tester.on_return(operation.thread, seen.clone()).unwrap(),
                    None => {}
                }
            }
            (!tester.is_consistent()).then(|| self.explained(scope))
        })
    }

    /// The beginnings and ends of the operations of a scope that may have had an effect.
    fn of_scope(&self, scope: Scope) -> impl Iterator<Item = (usize, bool, &Operation)> {
        let all = self.log.iter().map(|(number, begins)| (*number, *begins, &self.all[*number]));
        all.filter(move |(_, _, operation)| operation.scope == scope && !operation.is_void)
    }

    /// The history of a scope, for people.
    fn explained(&self, scope: Scope) -> String {
        let mut history = "no order of these operations explains what was seen:".to_owned();
        for (number, begins, operation) in self.of_scope(scope) {
            match &operation.seen {
                _ if begins => history += &format!("\n  {number} begins: {:?}", operation.op),
                Some(seen) => history += &format!("\n  {number} ends: {seen:?}"),
                None => {}
            }
        }
        history
    }
}

fn shown(export: &Value) -> Option<Shown> {
    match export["status"].as_str()? {
        "PENDING" => Some(Shown::Pending),
        "READY" | "EXPIRED" => Some(Shown::Ready),
        _ if export["failure"]["code"] == "CANCELLED" => Some(Shown::Cancelled),
        _ => Some(Shown::Failed),
    }
}
