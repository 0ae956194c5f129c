//! Runs a history: one thread, virtual time, and a scheduler that polls a process only when something happened to it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use exports_domain::export::Export;
use exports_domain::ports::FileStore as _;
use exports_domain::testing::block_on;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::broken::Broken;
use crate::choices::Choices;
use crate::judge;
use crate::processes::{GENERATOR, Work, end_instances, issue_keys};
use crate::report::Coverage;
use crate::rows::Millis;
use crate::scenario::{self, Action};
use crate::world::{self, Event, MINUTE, World, with};

/// How long after the deadline, or after failures ended, an export may be PENDING: the last invocation and two sweeps.
const GRACE: Duration = Duration::from_secs(600);

/// The outcome of a history.
pub struct Outcome {
    /// The violations; empty if there are none.
    pub violations: Vec<String>,
    /// The choices that make it.
    pub choices: Vec<u32>,
    /// A digest of everything that happened.
    pub digest: u64,
    /// What happened, if that was requested.
    pub lines: Vec<String>,
    /// How often each failure hit each call.
    pub coverage: Coverage,
}

/// Runs the history that these choices make, with a safeguard missing if one is given.
#[must_use]
pub fn run(choices: Choices, broken: Option<Broken>, is_traced: bool) -> Outcome {
    let world = World::new(choices, broken, is_traced);
    let before = world::replace(Some(world));
    debug_assert!(before.is_none());
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One thread for all that blocks, in turn.
    let runtime = runtime.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    runtime.block_on(tokio::task::unconstrained(history()));
    drop(runtime);
    end_instances();
    let mut world = world::replace(None).unwrap();
    if world.judge.violations.is_empty() {
        world.judge.violations.extend(world.operations.inconsistency());
    }
    let choices = std::mem::replace(&mut world.choices, Choices::of(Vec::new()));
    Outcome {
        violations: std::mem::take(&mut world.judge.violations),
        choices: choices.into_made(),
        digest: world.trace.digest,
        lines: world.trace.lines.take().unwrap_or_default(),
        coverage: world.coverage,
    }
}

/// Wakes a process, and with it the scheduler.
struct Flag {
    is_woken: AtomicBool,
    scheduler: Waker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            self.scheduler.wake_by_ref();
        }
    }
}

struct Running {
    number: usize,
    work: Work,
    flag: Arc<Flag>,
}

#[derive(Default)]
struct Scheduler {
    /// The processes that are alive, in the order in which they started.
    running: Vec<Running>,
    /// When the next sweep starts, once failures have ended.
    next_sweep: Option<Millis>,
    /// Ends after everything that runs in the thread for blocking work.
    blocking: Option<JoinHandle<()>>,
}

async fn history() {
    let began = Instant::now();
    with(|world| {
        issue_keys(world);
        scenario::schedule(world);
    });
    let mut scheduler = Scheduler::default();
    let mut sleep = pin!(sleep_until(began));
    poll_fn(|context| {
        loop {
            let now = u64::try_from(began.elapsed().as_millis()).unwrap();
            with(|world| world.now = now);
            if scheduler.poll_processes() {
                continue;
            }
            // A workbook is compressed in another thread. Nothing else happens until it has sent a piece or has ended, so
            // that the seed determines the history.
            if let Some(blocking) = &mut scheduler.blocking {
                ready!(Pin::new(blocking).poll(context)).unwrap();
                scheduler.blocking = None;
                continue;
            }
            if with(|world| !world.judge.violations.is_empty()) {
                return Poll::Ready(());
            }
            if let Some(event) = with(World::due_event) {
                scheduler.handle(event, context);
                scheduler.wind_down();
                with(|world| judge::check(world, false));
                continue;
            }
            let Some(at) = with(|world| world.next_event_at()) else {
                with(|world| judge::check(world, true));
                return Poll::Ready(());
            };
            sleep.as_mut().reset(began + Duration::from_millis(at));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

impl Scheduler {
    /// Polls the processes that were woken and are not suspended. Returns whether there was one.
    fn poll_processes(&mut self) -> bool {
        let is_ready = |running: &Running| {
            let is_frozen = with(|world| world.processes[running.number].frozen_until > world.now);
            !is_frozen && running.flag.is_woken.swap(false, Ordering::Relaxed)
        };
        let Some(index) = self.running.iter().position(is_ready) else { return false };
        let Running { number, work, flag } = &mut self.running[index];
        with(|world| world.current = *number);
        let waker = Waker::from(Arc::clone(flag));
        let may_block = with(|world| world.config.has_workbooks && world.processes[*number].name == GENERATOR);
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let ended = self.running.remove(index);
            with(|world| world.processes[ended.number].is_alive = false);
        } else if may_block {
            self.blocking = Some(spawn_blocking(|| ()));
        }
        true
    }

    fn start(&mut self, started: Option<(usize, Work)>, context: &Context<'_>) {
        if let Some((number, work)) = started {
            let flag = Flag { is_woken: AtomicBool::new(true), scheduler: context.waker().clone() };
            self.running.push(Running { number, work, flag: Arc::new(flag) });
        }
    }

    fn handle(&mut self, event: Event, context: &Context<'_>) {
        match event {
            Event::Effect(call) => with(|world| world.take_effect(call)),
            Event::Respond(call, error) => with(|world| world.respond(call, error)),
            Event::Kill(number) => self.kill(number),
            Event::Resume(number) => {
                if let Some(running) = self.running.iter().find(|running| running.number == number) {
                    running.flag.is_woken.store(true, Ordering::Relaxed);
                }
            }
            Event::Deliver(message) => {
                let started = with(|world| world.deliver(message));
                self.start(started, context);
            }
            Event::Act(action) => {
                let started = with(|world| world.act(action));
                self.start(started, context);
                self.change_environment(action);
            }
        }
    }

    /// Kills a process, unless it is suspended: then it runs for some time after it resumes.
    fn kill(&mut self, number: usize) {
        let frozen_until = with(|world| world.processes[number].frozen_until.saturating_sub(world.now));
        if frozen_until > 0 {
            return with(|world| {
                let more = world.choices.pick(&[1000, 100, 10_000, 40_000]);
                world.schedule(frozen_until + more, Event::Kill(number));
            });
        }
        let Some(index) = self.running.iter().position(|running| running.number == number) else { return };
        self.running.remove(index);
        with(|world| {
            world.note(number, format_args!("dies"));
            world.processes[number].is_alive = false;
            world.judge.on_kill(&world.processes[number]);
        });
    }

    fn change_environment(&mut self, action: Action) {
        with(|world| match action {
            Action::ChangeRow { tenant, of, row, version } => {
                let now = world.now;
                world.note(usize::MAX, format_args!("commits version {version} of the row id_{row:03}"));
                world.tables.get_mut(&(tenant, of)).unwrap().put(row, version, now);
            }
            Action::ForgetCheckpoint => {
                if let Some((_, id)) = world.pending_export() {
                    world.note(usize::MAX, format_args!("the checkpoint of {id} is of another version"));
                    world.unknown_checkpoints.insert(id);
                    world.judge.checkpoint_unknown(&id);
                }
            }
            Action::ExpireUploads => {
                world.files.forget_uploads();
                world.files.forget_unfinished();
            }
            Action::DeleteFile => {
                let exports = world.store.exports();
                // The judge keeps its contents, because the product is not to blame.
                if let Some(file) = exports.iter().filter_map(Export::file).next() {
                    world.note(usize::MAX, format_args!("somebody deletes {}", file.key));
                    let _ = block_on(world.files.delete_file(&file.key));
                }
            }
            Action::RemoveRecords => world.remove_records(),
            Action::CorruptRecord => {
                if let Some((tenant, id)) = world.pending_export() {
                    world.note(usize::MAX, format_args!("the record of {id} is of another version"));
                    world.store.corrupt(&tenant, &id, "options");
                    world.corrupted.push((tenant, id));
                    let until = world.delay();
                    world.schedule(until, Event::Act(Action::RepairRecord));
                }
            }
            Action::RepairRecord => {
                for (tenant, id) in std::mem::take(&mut world.corrupted) {
                    if let Some(export) = world.store.export(&tenant, &id) {
                        world.store.put_export(export);
                    }
                }
            }
            Action::CalmDown => {
                world.has_failures = false;
                world.note(usize::MAX, format_args!("no more failures"));
            }
            _ => {}
        });
        if matches!(action, Action::CalmDown | Action::Sweep) {
            self.next_sweep = None;
        }
    }

    /// Once failures have ended: sweeps until every export has ended and every link has expired.
    fn wind_down(&mut self) {
        let next_sweep = self.next_sweep;
        self.next_sweep = with(|world| {
            if world.has_failures || (next_sweep.is_some() && !world.judge.is_changed) {
                return next_sweep;
            }
            let exports = world.store.exports();
            let calm = world::time(world.config.active);
            for export in &exports {
                // The last invocation may have stood still until its write.
                let (accepted_at, changed_at) = world.judge.times(&export.id).unwrap_or_default();
                let (check, since) = match (export.pending(), export.next_check_at()) {
                    (Some(_), _) => (export.deadline, accepted_at),
                    (None, Some(check)) => (check, changed_at),
                    (None, None) => continue,
                };
                if check.max(calm).max(world::time(since)).plus(GRACE) < world.time() {
                    world.judge.violations.push(format!("{} is {} long after {check}", export.id, export.status()));
                }
            }
            let Some(next_check) = exports.iter().filter_map(Export::next_check_at).min() else {
                world.schedule_repetition();
                world.schedule_removal(&exports);
                return next_sweep;
            };
            // A sweep that finds nothing is left out.
            let wait = u64::try_from(next_check.since(world.time()).as_millis()).unwrap();
            let wait = wait.saturating_sub(world::MAX_SKEW).div_ceil(MINUTE).max(1) * MINUTE;
            if next_sweep.is_some_and(|at| at <= world.now + wait) {
                return next_sweep;
            }
            world.schedule(wait, Event::Act(Action::Sweep));
            Some(world.now + wait)
        });
    }
}
