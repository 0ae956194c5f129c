//! What a history is about: its settings, and what clients, the schedule and the environment do.

use std::time::Duration;

use exports_domain::export::{Export, ExportSettings};
use exports_domain::lifecycle::RetryPolicy;
use exports_domain::lifecycle::transition::Transition;
use generate_export::limits::{FileLimits, Limits};
use strum::VariantArray;

use crate::call::Failure;
use crate::choices::Choices;
use crate::processes::Launch;
use crate::rows::{Millis, OLD_ROWS, ROWS};
use crate::world::{Event, MINUTE, TENANTS, World};

/// The settings of a history. Sizes and times are small, so that a dozen rows make several parts and invocations.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub tenants: usize,
    /// The indexes of the types.
    pub types: Vec<usize>,
    pub page_size: usize,
    pub part_size: usize,
    pub max_parts: u32,
    pub readers: usize,
    pub read_takes: Millis,
    pub latencies: &'static [Millis],
    pub checkpoint_every: Duration,
    pub invocation: Millis,
    pub time_limit: Duration,
    pub link_lifetime: Duration,
    pub max_attempts: u32,
    pub max_resends_a_day: u32,
    pub failures: Vec<Failure>,
    pub failures_in_a_thousand: u32,
    /// How often a late effect, or a process that stood still, interferes with another process.
    pub interferes_in_a_thousand: u32,
    pub repeats_in_a_thousand: u32,
    /// When the second operator's keys expire.
    pub key_expiry: Option<Millis>,
    /// Whether some exports are XLSX files. They take time.
    pub has_workbooks: bool,
    pub max_workbook_rows: u64,
    pub rejections_in_a_thousand: u32,
    /// Whether each transition is also recognized by the records before and after it. It takes time.
    pub compares_records: bool,
    /// How long clients act and failures happen.
    pub active: Millis,
}

/// How long the sweeper waits for a sent job to start.
pub(crate) const RE_ENQUEUE_AFTER: Duration = Duration::from_secs(60);

impl Config {
    pub(crate) fn choose(choices: &mut Choices) -> Self {
        let seconds = Duration::from_secs;
        let mut types = vec![choices.below(3) as usize];
        if choices.chance(200) {
            types.push((types[0] + 1) % 3);
        }
        // Each history has some kinds of failures only, because many at once hide each other.
        let mut failures = Vec::new();
        if choices.chance(600) {
            failures.push(choices.pick(Failure::VARIANTS));
        } else {
            failures.extend(Failure::VARIANTS.iter().filter(|_| choices.chance(350)));
        }
        let has_workbooks = choices.chance(60);
        Self {
            tenants: choices.pick(&[1, 1, 1, 2]),
            types,
            page_size: choices.pick(&[3, 1, 2, 20]),
            part_size: choices.pick(if has_workbooks { &[20_000, 5000] } else { &[5000, 150, 400, 800] }),
            max_parts: choices.pick(&[10_000, 10_000, 10_000, 3]),
            readers: choices.pick(&[1, 2, 3]),
            read_takes: choices.pick(&[10, 10, 300, 4000, 9000]),
            latencies: choices.pick(&[&[4], &[4, 30], &[4, 30, 400], &[4, 100, 2000]]),
            checkpoint_every: choices.pick(&[seconds(5), Duration::ZERO, seconds(1)]),
            invocation: choices.pick(&[60_000, 30_000]),
            time_limit: choices.pick(&[seconds(1800), seconds(600), seconds(240)]),
            link_lifetime: choices.pick(&[seconds(3600), seconds(900), seconds(200)]),
            max_attempts: choices.pick(&[3, 2]),
            max_resends_a_day: choices.pick(&[2, 1, 10]),
            failures,
            failures_in_a_thousand: choices.pick(&[0, 15, 40, 100, 250]),
            interferes_in_a_thousand: choices.pick(&[30, 100, 300]),
            repeats_in_a_thousand: choices.pick(&[0, 0, 100, 400]),
            rejections_in_a_thousand: choices.pick(&[0, 0, 0, 300]),
            key_expiry: choices.pick(&[None, None, None, Some(MINUTE / 2), Some(5 * MINUTE)]),
            has_workbooks,
            max_workbook_rows: choices.pick(&[1000, 1000, 1000, 5]),
            compares_records: choices.chance(100),
            active: choices.pick(&[3, 8, 15]) * MINUTE,
        }
    }

    /// The generator's limits.
    pub(crate) fn limits(&self) -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            retry: RetryPolicy {
                max_attempts: self.max_attempts,
                backoff: vec![seconds(5), seconds(20)],
                permanent_wait: seconds(30),
            },
            lease_grace: seconds(15),
            re_enqueue_after: RE_ENQUEUE_AFTER,
            file: FileLimits {
                part_size: self.part_size,
                max_parts: self.max_parts,
                readers: self.readers,
                max_xlsx_rows: self.max_workbook_rows,
                bytes_per_second: u64::MAX,
                checkpoint_every: self.checkpoint_every,
                continue_before: seconds(12),
                completion_takes: seconds(20),
            },
        }
    }

    /// The settings that exports are accepted with.
    pub(crate) fn settings(&self) -> ExportSettings {
        ExportSettings::new(self.link_lifetime, 2 * self.link_lifetime, self.time_limit, false)
            .with_history_retention(Some(Duration::from_secs(1)))
    }
}

/// What somebody does. Which export it concerns is chosen when it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Launch,
    /// A client repeats the request of a launch.
    Repeat(Launch),
    Get,
    List,
    Resend,
    Cancel,
    Fail,
    ManageKeys,
    /// The schedule starts a sweep.
    Sweep,
    /// The payments service inserts or changes a row.
    ChangeRow {
        tenant: usize,
        of: usize,
        row: usize,
        version: usize,
    },
    /// Another build stores a checkpoint whose form this one does not know.
    ForgetCheckpoint,
    /// The bucket's lifecycle rule deletes unfinished uploads and parts.
    ExpireUploads,
    /// Somebody deletes the file of an export.
    DeleteFile,
    /// Records whose retention is over are removed.
    RemoveRecords,
    /// Another build stores a record that this one cannot read, for a while.
    CorruptRecord,
    RepairRecord,
    /// Failures end.
    CalmDown,
}

/// Fills the tables, and schedules what happens.
pub(crate) fn schedule(world: &mut World) {
    let config = world.config.clone();
    for tenant in 0..config.tenants {
        for of in &config.types {
            let rows = world.choices.below(1 + OLD_ROWS as u32) as usize;
            for row in 0..rows {
                world.tables.get_mut(&(tenant, *of)).unwrap().put(row, 0, 0);
            }
            for _ in 0..world.choices.pick(&[0, 0, 2, 6, 12]) {
                let row = world.choices.below(ROWS as u32) as usize;
                let version = world.choices.pick(&[0, 1, 1, 2]);
                let at = world.moment();
                world.schedule(at, Event::Act(Action::ChangeRow { tenant, of: *of, row, version }));
            }
        }
    }
    let actions = 1 + world.choices.below(10);
    world.schedule(10, Event::Act(Action::Launch));
    for _ in 1..actions {
        let action = world.choices.pick(&[
            Action::Get,
            Action::Get,
            Action::List,
            Action::Launch,
            Action::Launch,
            Action::Launch,
            Action::Resend,
            Action::Resend,
            Action::Cancel,
            Action::Fail,
            Action::ManageKeys,
            Action::ForgetCheckpoint,
            Action::ExpireUploads,
            Action::DeleteFile,
            Action::CorruptRecord,
        ]);
        let at = world.moment();
        world.schedule(at, Event::Act(action));
        // Several at once.
        if world.choices.chance(250) {
            let after = world.latency();
            world.schedule(at + after, Event::Act(action));
        }
    }
    let mut sweep = world.choices.below(60_000).into();
    while sweep < config.active {
        world.schedule(sweep, Event::Act(Action::Sweep));
        sweep += MINUTE;
    }
    world.schedule(config.active, Event::Act(Action::CalmDown));
    debug_assert!(config.tenants <= TENANTS.len());
}

impl World {
    /// A moment while clients act: mostly early.
    fn moment(&mut self) -> Millis {
        let end = self.choices.pick(&[3000, 20_000, 90_000, self.config.active]);
        self.choices.below(u32::try_from(end).unwrap()).into()
    }

    /// Sometimes makes something happen at the worst time.
    pub(crate) fn provoke(&mut self, transition: Transition, (tenant, of): (usize, usize), export: &Export) {
        let soon = |world: &mut Self| world.latency() * Millis::from(world.choices.below(20));
        match (transition, export.link_expires_at()) {
            (Transition::Ready, Some(link_expiry)) if self.choices.chance(200) => {
                // The link is about to expire, and a sweep runs.
                let wait = u64::try_from(link_expiry.since(self.time()).as_millis()).unwrap();
                for action in [Action::Resend, Action::Sweep] {
                    let at = wait + Millis::from(self.choices.below(8000));
                    self.schedule(at.saturating_sub(4000), Event::Act(action));
                }
            }
            _ if !self.has_failures => {}
            (Transition::Acquire, _) if self.choices.chance(80) => {
                let at = soon(self);
                self.schedule(at, Event::Act(Action::Cancel));
            }
            (Transition::Acquire | Transition::ContinueLater | Transition::Release, _) if self.choices.chance(200) => {
                let (at, row) = (soon(self), self.choices.below(OLD_ROWS as u32) as usize);
                self.schedule(at, Event::Act(Action::ChangeRow { tenant, of, row, version: 1 }));
            }
            (Transition::AdvanceCheckpoint | Transition::ContinueLater, _) if self.choices.chance(60) => {
                let at = soon(self);
                self.schedule(at, Event::Act(Action::ExpireUploads));
            }
            _ => {}
        }
    }
}
