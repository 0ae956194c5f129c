//! The state of the simulated world: stored data, processes, and events to come.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use exports_domain::error::ErrorKind;
use exports_domain::export::Export;
use exports_domain::export_type::ExportType;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::lifecycle::transition::Transition;
use exports_domain::testing::{MemoryFiles, MemoryStore, start};
use exports_domain::time::Timestamp;

use crate::broken::Broken;
use crate::call::{Call, Failure, InFlight};
use crate::choices::Choices;
use crate::clients::Operations;
use crate::judge::Judge;
use crate::processes::Launch;
use crate::report::Coverage;
use crate::rows::{Millis, Table};
use crate::scenario::{Action, Config};

/// The tenants.
pub(crate) const TENANTS: [&str; 2] = ["acme", "globex"];

/// The longest difference between a process's clock and the true time.
pub(crate) const MAX_SKEW: Millis = 5000;

/// How long a call of an SDK client takes at most, with its retries.
const CALL_TIMEOUT: Millis = 6000;

pub(crate) const MINUTE: Millis = 60_000;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Sets the world of this thread. Returns the one before.
pub(crate) fn replace(world: Option<World>) -> Option<World> {
    WORLD.replace(world)
}

/// Reads or changes the world of this thread.
pub(crate) fn with<T>(change: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| change(world.as_mut().unwrap()))
}

/// What happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call takes effect.
    Effect(usize),
    /// A call returns.
    Respond(usize, Option<ErrorKind>),
    /// The process ends, whatever it is doing.
    Kill(usize),
    /// A suspended process resumes.
    Resume(usize),
    /// A job message becomes visible.
    Deliver(usize),
    /// A client, the schedule or the environment does something.
    Act(Action),
}

struct Scheduled {
    at: Millis,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// An invocation of a function.
#[derive(Debug)]
pub(crate) struct Process {
    pub name: &'static str,
    /// Its clock minus the true time, in milliseconds.
    pub skew: i64,
    pub is_alive: bool,
    /// It is suspended until then.
    pub frozen_until: Millis,
    /// The export that it is about.
    pub subject: Option<ExportId>,
    /// The export that it changed last.
    pub export: Option<ExportId>,
    /// Whether it has read an earlier state.
    pub is_excused: bool,
    /// The operation of a client that it handles.
    pub operation: Option<usize>,
}

/// A job message.
#[derive(Debug)]
pub(crate) struct Message {
    pub tenant: TenantId,
    pub id: ExportId,
    pub version: u32,
    pub receives: u32,
    pub is_deleted: bool,
}

struct StartedCall {
    process: usize,
    failure: Option<Failure>,
    pending: Option<Box<dyn InFlight>>,
}

/// The simulated world.
pub(crate) struct World {
    pub choices: Choices,
    pub config: Config,
    pub broken: Option<Broken>,
    /// The true time since [`start`].
    pub now: Millis,
    /// Whether failures happen.
    pub has_failures: bool,
    events: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    calls: Vec<StartedCall>,
    /// The calls whose callers gave up and that have not taken effect.
    late: Vec<usize>,
    pub processes: Vec<Process>,
    /// The process that is running.
    pub current: usize,
    /// What happens to the call that takes effect.
    pub current_failure: Option<Failure>,
    pub store: MemoryStore,
    pub files: MemoryFiles,
    pub tables: BTreeMap<(usize, usize), Table>,
    pub messages: Vec<Message>,
    pub ids: u64,
    /// Exports whose record this build cannot read.
    pub corrupted: Vec<(TenantId, ExportId)>,
    pub is_removal_scheduled: bool,
    pub is_repetition_scheduled: bool,
    /// The launches that clients requested, each with its operation.
    pub launches: Vec<(usize, Launch)>,
    /// The version of each export before its last write; none if it did not exist.
    pub earlier: BTreeMap<ExportId, Option<Export>>,
    /// Exports whose checkpoint another build wrote, in a form that this one does not know.
    pub unknown_checkpoints: BTreeSet<ExportId>,
    pub judge: Judge,
    pub operations: Operations,
    pub trace: Trace,
    pub coverage: Coverage,
}

impl World {
    pub(crate) fn new(mut choices: Choices, broken: Option<Broken>, is_traced: bool) -> Self {
        let config = Config::choose(&mut choices);
        let tables = (0..TENANTS.len()).flat_map(|tenant| {
            let table = move |(index, export_type)| ((tenant, index), Table::new(export_type));
            ExportType::ALL.into_iter().enumerate().map(table)
        });
        Self {
            choices,
            broken,
            now: 0,
            has_failures: true,
            events: BinaryHeap::new(),
            order: 0,
            calls: Vec::new(),
            late: Vec::new(),
            processes: Vec::new(),
            current: 0,
            current_failure: None,
            store: MemoryStore::default(),
            files: MemoryFiles::with_min_part_size(config.part_size),
            tables: tables.collect(),
            messages: Vec::new(),
            ids: 0,
            corrupted: Vec::new(),
            is_removal_scheduled: false,
            is_repetition_scheduled: false,
            launches: Vec::new(),
            earlier: BTreeMap::new(),
            unknown_checkpoints: BTreeSet::new(),
            judge: Judge::default(),
            operations: Operations::default(),
            trace: Trace { lines: is_traced.then(Vec::new), digest: 0 },
            coverage: Coverage::default(),
            config,
        }
    }

    pub(crate) fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// The true time.
    pub(crate) fn time(&self) -> Timestamp {
        time(self.now)
    }

    /// The time by the clock of the process that is running.
    pub(crate) fn own_time(&self) -> Timestamp {
        let skew = self.processes.get(self.current).map_or(0, |process| process.skew);
        Timestamp::from_millis(self.time().millis() + skew)
    }

    /// Makes something happen after so many milliseconds.
    pub(crate) fn schedule(&mut self, after: Millis, event: Event) {
        self.order += 1;
        self.events.push(Reverse(Scheduled { at: self.now + after, order: self.order, event }));
    }

    /// When the next event happens.
    pub(crate) fn next_event_at(&self) -> Option<Millis> {
        self.events.peek().map(|Reverse(next)| next.at)
    }

    /// Takes the next event, if it is due.
    pub(crate) fn due_event(&mut self) -> Option<Event> {
        if self.next_event_at()? > self.now {
            return None;
        }
        self.events.pop().map(|Reverse(next)| next.event)
    }

    /// A short random time.
    pub(crate) fn latency(&mut self) -> Millis {
        let base = self.choices.pick(self.config.latencies);
        base + Millis::from(self.choices.below(8)) * base / 4
    }

    /// Starts a call of the current process, and chooses what happens to it.
    pub(crate) fn start_call(&mut self, call: Call, pending: Box<dyn InFlight>) {
        let (index, process) = (self.calls.len(), self.current);
        let failure = self.failure(call);
        self.calls.push(StartedCall { process, failure, pending: Some(pending) });
        self.coverage.count(call, failure);
        if failure.is_some() {
            self.judge.on_failure(&self.processes[process], call, failure);
        }
        self.interfere(process, call);
        let mut there = self.latency();
        if call == Call::ReadRows {
            there += self.config.read_takes;
        }
        let back = there + self.latency();
        let (mut effects, mut respond) = (vec![there], Some((back, None)));
        match failure {
            None => {}
            Some(Failure::Stale) => self.processes[process].is_excused = true,
            Some(Failure::NoEffect | Failure::Throttled | Failure::Conflict) => {
                (effects, respond) = (vec![], Some((back, Some(ErrorKind::Transient))));
            }
            Some(Failure::Denied) => (effects, respond) = (vec![], Some((back, Some(ErrorKind::Permanent)))),
            Some(Failure::ResponseLost) => respond = Some((back, Some(ErrorKind::Transient))),
            Some(Failure::Late) => {
                effects = vec![CALL_TIMEOUT + self.delay()];
                respond = Some((CALL_TIMEOUT, Some(ErrorKind::Transient)));
                self.late.push(index);
            }
            Some(Failure::Repeated) => {
                // An attempt without a response and its retry: both are on their way, or the first comes long after the
                // response to the second.
                if self.choices.chance(500) {
                    let again = back + self.latency();
                    effects.push(again);
                    respond = Some((again + self.latency(), None));
                } else {
                    effects.push(CALL_TIMEOUT + self.delay());
                }
            }
            Some(Failure::Slow) => {
                let at = MINUTE / 2 + self.delay();
                effects = vec![self.choices.pick(&[there, at])];
                respond = Some((at, None));
            }
            Some(Failure::Hangs) => respond = None,
            Some(Failure::Kill) => {
                let at = self.choices.pick(&[there / 2, back]);
                self.schedule(at, Event::Kill(process));
            }
            Some(Failure::Stall) => {
                let until =
                    back + self.choices.pick(&[MINUTE / 2, MINUTE, 2 * MINUTE, 5 * MINUTE]) + self.latency() * 100;
                self.processes[process].frozen_until = self.now + until;
                self.schedule(until, Event::Resume(process));
            }
        }
        if self.trace.lines.is_some() && (failure.is_some() || call != Call::ScheduledChecks) {
            let failure = failure.map_or_else(String::new, |failure| format!(": {failure:?}"));
            self.note(process, format_args!("{call:?}{failure}"));
        }
        self.trace.add(&[process as u64, self.now, there, back, failure.map_or(0, |failure| 1 + failure as u64)]);
        for at in effects {
            self.schedule(at, Event::Effect(index));
        }
        if let Some((at, error)) = respond {
            self.schedule(at, Event::Respond(index, error));
        }
    }

    /// Late effects, and processes that stood still, do most harm in the middle of what another process does with the same
    /// export.
    fn interfere(&mut self, process: usize, call: Call) {
        let is_worst = matches!(call, Call::CompleteUpload | Call::Apply(Transition::Acquire));
        let in_a_thousand = self.config.interferes_in_a_thousand * if is_worst { 3 } else { 1 };
        let subject = self.processes[process].subject;
        let is_other = |other: usize| other != process && self.processes[other].subject == subject;
        let late: Vec<usize> = self.late.iter().copied().filter(|late| is_other(self.calls[*late].process)).collect();
        let frozen: Vec<usize> =
            (0..process).filter(|other| is_other(*other) && self.processes[*other].frozen_until > self.now).collect();
        if !late.is_empty() && self.choices.chance(in_a_thousand) {
            let (late, after) = (self.choices.pick(&late), self.latency());
            self.schedule(after, Event::Effect(late));
        }
        if !frozen.is_empty() && self.choices.chance(in_a_thousand / 2) {
            let (frozen, after) = (self.choices.pick(&frozen), self.latency());
            self.processes[frozen].frozen_until = self.now + after;
            self.schedule(after, Event::Resume(frozen));
        }
    }

    /// A time between seconds and hours.
    pub(crate) fn delay(&mut self) -> Millis {
        let base = self.choices.pick(&[1000, 10_000, MINUTE, 10 * MINUTE]);
        base * Millis::from(1 + self.choices.below(6))
    }

    fn failure(&mut self, call: Call) -> Option<Failure> {
        let weight = if call.is_decisive() { 3 } else { 1 };
        if !self.has_failures || !self.choices.chance(weight * self.config.failures_in_a_thousand) {
            return None;
        }
        let failures = self.config.failures.clone();
        if failures.is_empty() {
            return None;
        }
        let failure = self.choices.pick(&failures);
        let is_possible = match failure {
            Failure::Stale => call.can_be_stale(),
            Failure::Repeated => call.can_take_effect_twice(),
            Failure::Conflict => call.can_conflict(),
            _ => true,
        };
        is_possible.then_some(failure)
    }

    /// Carries a call out.
    pub(crate) fn take_effect(&mut self, index: usize) {
        let StartedCall { process, failure, pending } = &mut self.calls[index];
        if *failure == Some(Failure::Late) {
            let Some(position) = self.late.iter().position(|late| *late == index) else { return };
            self.late.remove(position);
        }
        self.current_failure = *failure;
        // The call's own process is the current one, also if it is dead by now.
        let (mut taken, before) = (pending.take(), std::mem::replace(&mut self.current, *process));
        if let Some(pending) = &mut taken {
            pending.take_effect(self);
        }
        (self.current, self.current_failure) = (before, None);
        self.calls[index].pending = taken;
    }

    /// Whether the call that takes effect returns an earlier state.
    pub(crate) fn is_stale(&self) -> bool {
        self.current_failure == Some(Failure::Stale)
    }

    /// Returns the result of a call.
    pub(crate) fn respond(&mut self, index: usize, error: Option<ErrorKind>) {
        if let Some(pending) = &mut self.calls[index].pending {
            pending.respond(error);
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, process: usize, text: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.trace.lines {
            let name = self.processes.get(process).map_or_else(String::new, |of| format!("{} {process}: ", of.name));
            let at = Duration::from_millis(self.now);
            lines.push(format!("{:>9.3} s  {name}{text}", at.as_secs_f64()));
        }
    }
}

static START: LazyLock<Timestamp> = LazyLock::new(start);

/// The time after so many milliseconds of the history.
pub(crate) fn time(at: Millis) -> Timestamp {
    START.plus(Duration::from_millis(at))
}

/// What happened: a digest, and on request lines for people.
#[derive(Debug)]
pub(crate) struct Trace {
    pub lines: Option<Vec<String>>,
    pub digest: u64,
}

impl Trace {
    /// Adds numbers to the digest (FNV-1a).
    pub(crate) fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
    }
}
