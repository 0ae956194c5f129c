use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use exports_aws::dynamodb::inspection::{self, StoredItem};
use exports_domain::export::{Export, Status};
use exports_domain::failure::{Failure, FailureCode};
use exports_domain::file::{ExportFile, InvalidRowsFile, NewFile};
use exports_domain::filter::RowFilter;
use exports_domain::id::ExportId;
use exports_domain::lifecycle::{self, CancelError, FailedBy, RetryPolicy, Step};
use exports_domain::options::ExportOptions;
use exports_domain::ports::{FileStore as _, System};
use exports_domain::row::Value;
use exports_domain::testing::{
    FakeSystem, MailService, MemoryFiles, MemoryMailbox, MemoryQueue, MemoryRows, MemoryStore, block_on, export,
    export_of_version_1, file, new_file, operator, payout, ready_export, row_status, start, state, with_value,
    with_work,
};
use exports_telemetry::testing::Log;
use lambda_runtime::{Context, LambdaEvent};

use super::*;
use crate::limits::{FileLimits, Limits};

mod cancellation;
mod completion;
mod continuation;
mod errors;
mod file;
mod filters;
mod invalid_rows;
mod mailing;
mod messages;
mod recovery;
mod unfinished_part;
mod xlsx;

struct World {
    exports: MemoryStore,
    queue: MemoryQueue,
    rows: MemoryRows,
    files: MemoryFiles,
    mail: MemoryMailbox,
    system: FakeSystem,
    limits: Limits,
}

const MINUTE: Duration = Duration::from_secs(60);

/// A tenant with so many rows, in pages of two, and its pending export.
fn world(rows: u64) -> World {
    let exports = MemoryStore::default();
    exports.put_export(export());
    let rows = (0..rows).map(|i| payout(&format!("po_{i}"), start_less(rows - i)));
    World {
        exports,
        queue: MemoryQueue::default(),
        rows: MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2),
        files: MemoryFiles::default(),
        mail: MemoryMailbox::default(),
        system: FakeSystem::default(),
        limits: Limits {
            retry: RetryPolicy { max_attempts: 3, backoff: vec![MINUTE], permanent_wait: 5 * MINUTE },
            lease_grace: Duration::from_secs(15),
            re_enqueue_after: MINUTE,
            file: FileLimits {
                part_size: 1 << 20,
                max_parts: 10_000,
                max_xlsx_rows: 1_000_000,
                readers: 3,
                bytes_per_second: u64::MAX,
                checkpoint_every: Duration::ZERO,
                continue_before: Duration::from_secs(45),
                completion_takes: 3 * MINUTE,
            },
        },
    }
}

fn start_less(minutes: u64) -> Timestamp {
    Timestamp::from_millis(start().millis() - i64::try_from(minutes * 60_000).unwrap())
}

impl World {
    fn generator(&self) -> Generator<'_, MemoryStore> {
        Generator {
            exports: &self.exports,
            queue: &self.queue,
            rows: &self.rows,
            files: &self.files,
            mail: &self.mail,
            back_office: None,
            system: &self.system,
            limits: self.limits.clone(),
        }
    }

    fn record(&self) -> Export {
        self.exports.export(&export().tenant, &export().id).unwrap()
    }

    fn lock_is_free(&self) -> bool {
        self.exports.locked_by(&export().tenant, export().id.export_type()).is_none()
    }

    /// A new invocation with five minutes of time, as the queue starts it: after an error, once the delay is over.
    async fn deliver(&self, request_id: &str) {
        let record = self.exports.export(&export().tenant, &export().id);
        if let Some(at) = record.and_then(|record| record.pending()?.retry_at) {
            self.system.advance(at.since(self.system.now()));
        }
        self.deliver_for(request_id, 5 * MINUTE).await;
    }

    async fn deliver_for(&self, request_id: &str, time: Duration) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.system.now().plus(time) };
        self.generator().run(&export().tenant, &export().id, &invocation).await.unwrap();
    }

    /// Invocations until one ends between parts; some end with a part.
    async fn leave_unfinished_part(&self) {
        while self.files.unfinished().is_empty() {
            assert_eq!(self.record().status(), Status::Pending);
            self.deliver_for("r", Duration::from_secs(9)).await;
        }
    }
}

/// [`world`] whose export has this filter.
fn filtered(rows: u64, filter: RowFilter) -> World {
    let world = world(rows);
    world.exports.put_export(Export { options: ExportOptions { filter, ..ExportOptions::default() }, ..export() });
    world
}

/// `world` with parts of this size, the smallest that its bucket accepts.
fn with_parts_of(part_size: usize, world: World) -> World {
    let file = FileLimits { part_size, ..world.limits.file };
    let limits = Limits { file, ..world.limits.clone() };
    World { limits, files: MemoryFiles::with_min_part_size(part_size), ..world }
}

fn with_part_size(part_size: usize, world: World) -> World {
    let file = FileLimits { part_size, ..world.limits.file };
    World { limits: Limits { file, ..world.limits.clone() }, ..world }
}

/// [`world`] that spends a second on each page: an invocation of nine seconds reads some four pages.
fn in_short_invocations(payouts: u64) -> World {
    with_short_invocations(world(payouts))
}

fn with_short_invocations(world: World) -> World {
    let world = with_parts_of(250, world);
    let file = FileLimits { continue_before: Duration::from_secs(1), ..world.limits.file };
    let limits = Limits { file, ..world.limits.clone() };
    let system = FakeSystem::default();
    system.tick(Duration::from_secs(1));
    World { limits, system, ..world }
}

/// [`in_short_invocations`] with parts that no invocation fills.
fn in_short_invocations_without_parts(payouts: u64) -> World {
    with_part_size(1 << 20, in_short_invocations(payouts))
}

/// Cancels the export at this number of the tables' writes. Returns the outcome of the request, once it was sent.
fn cancel_at(write: u64, world: &World) -> Arc<Mutex<Option<Result<(), CancelError>>>> {
    let outcome = Arc::new(Mutex::new(None));
    let response = outcome.clone();
    world.exports.before_apply(move |number, store| {
        if number != write {
            return;
        }
        let record = store.export(&export().tenant, &export().id).unwrap();
        let step = lifecycle::cancel(&record, start(), Failure::cancelled(operator("acme").user));
        let cancelled = step.map(|step| block_on(store.apply_step(&record.tenant, &record.id, &step)).unwrap());
        *response.lock().unwrap() = Some(cancelled);
    });
    outcome
}

/// The object keys in the log.
fn keys_in(log: &Log) -> Vec<String> {
    log.events().iter().filter_map(|line| line["key"].as_str().map(str::to_owned)).collect()
}

/// The bytes that an undisturbed run writes.
async fn undisturbed(payouts: u64) -> Vec<u8> {
    let world = world(payouts);
    world.deliver("r1").await;
    let file = world.record().file().cloned().unwrap();
    world.files.files()[&file.key].bytes.clone()
}

fn stored(world: &World) -> Vec<u8> {
    let file = world.record().file().cloned().unwrap();
    let stored = world.files.files()[&file.key].clone();
    assert_eq!(stored.bytes.len() as u64, file.bytes);
    stored.bytes
}

fn lines(world: &World) -> Vec<String> {
    let text = String::from_utf8(stored(world)).unwrap();
    text.lines().skip(1).map(|line| line.split(';').next().unwrap().to_owned()).collect()
}
