use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use exports_aws::dynamodb::inspection::{self, StoredItem};
use exports_domain::export::{Export, Status};
use exports_domain::failure::{Failure, FailureCode};
use exports_domain::file::{InvalidRowsFile, invalid_rows_key, object_key};
use exports_domain::filter::RowFilter;
use exports_domain::id::ExportId;
use exports_domain::lifecycle::{self, CancelError, RetryPolicy, Step};
use exports_domain::options::ExportOptions;
use exports_domain::ports::{FileStore as _, System};
use exports_domain::row::Value;
use exports_domain::testing::{
    FakeSystem, MailService, MemoryFiles, MemoryMailbox, MemoryQueue, MemoryRows, MemoryStore, block_on, export,
    export_of_version_1, operator, payout, ready_export, row_status, start, state, with_value, with_work,
};
use lambda_runtime::{Context, LambdaEvent};

use super::*;
use crate::limits::{FileLimits, Limits};

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
                readers: 3,
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

    /// What the queue does: a new invocation, with five minutes of time.
    async fn deliver(&self, request_id: &str) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.system.now().plus(5 * MINUTE) };
        self.generator().run(&export().tenant, &export().id, &invocation).await.unwrap();
    }
}

/// The same with parts of this size, which its bucket insists on.
fn with_parts_of(part_size: usize, world: World) -> World {
    let file = FileLimits { part_size, ..world.limits.file };
    let limits = Limits { file, ..world.limits.clone() };
    World { limits, files: MemoryFiles::with_min_part_size(part_size), ..world }
}

#[tokio::test]
async fn generator_writes_the_file_mails_it_and_frees_the_lock() {
    let world = world(5);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.rows_written), (Status::Ready, 5));
    assert!(world.lock_is_free());
    let file = record.file().cloned().unwrap();
    let stored = world.files.files();
    let stored = &stored[&file.key];
    assert_eq!(file.key, object_key(&export().tenant, &export().id, 1));
    assert_eq!((stored.bytes.len() as u64, stored.bytes.iter().filter(|b| **b == b'\n').count()), (file.bytes, 6));
    assert_eq!(file.expires_at, start().plus(export().settings.file_retention));
    let mails = world.mail.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].recipients, export().recipients);
    let link_expiry = start().plus(export().settings.link_lifetime);
    assert_eq!(record.link_expires_at(), Some(link_expiry));
    assert!(mails[0].text.contains(&format!("until={link_expiry}")));
}

#[tokio::test]
async fn file_in_parts_has_the_same_bytes_as_one_written_at_once() {
    let at_once = world(9);
    at_once.deliver("r1").await;
    let in_parts = with_parts_of(300, world(9));
    in_parts.deliver("r1").await;
    let (whole, parts) = (at_once.record().file().cloned().unwrap(), in_parts.record().file().cloned().unwrap());
    assert_eq!(whole, parts);
    let stored = |world: &World| world.files.files()[&whole.key].clone();
    assert_eq!(stored(&at_once).bytes, stored(&in_parts).bytes);
    assert!(stored(&in_parts).parts.len() > 2);
    assert_eq!(in_parts.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn tenant_without_payouts_gets_the_header_alone() {
    let world = world(0);
    world.deliver("r1").await;
    let file = world.record().file().cloned().unwrap();
    assert_eq!(
        world.files.files()[&file.key].bytes,
        exports_domain::csv_encoder::csv_header(export().columns, false).as_bytes()
    );
    assert_eq!(file.rows, 0);
}

/// [`world`] whose export has this filter.
fn filtered(rows: u64, filter: RowFilter) -> World {
    let world = world(rows);
    world.exports.put_export(Export { options: ExportOptions { filter, ..ExportOptions::default() }, ..export() });
    world
}

fn lines(world: &World) -> Vec<String> {
    let text = String::from_utf8(stored(world)).unwrap();
    text.lines().skip(1).map(|line| line.split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn period_of_a_month_reads_the_pages_of_a_month() {
    // A row an hour for two years, in pages of two.
    let hours = 24 * 365 * 2;
    let (from, to) = (start_less(60 * 24 * 400), start_less(60 * 24 * 370));
    let filter = RowFilter { created_at_from: Some(from), created_at_to: Some(to), ..RowFilter::default() };
    let rows = (0..hours).map(|hour| payout(&format!("po_{hour:06}"), start_less(60 * (hours - hour))));
    let rows = MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2);
    let world = World { rows, ..filtered(0, filter) };
    world.deliver("r1").await;
    let file = world.record().file().cloned().unwrap();
    assert_eq!(file.rows, 24 * 30 + 1, "both bounds are inclusive");
    assert_eq!(world.record().rows_read, file.rows);
    let pages = file.rows / 2;
    assert!(world.rows.reads() < pages + pages / 4, "{} reads for {pages} pages", world.rows.reads());
}

#[tokio::test]
async fn empty_period_reads_nothing_and_writes_the_header() {
    let millisecond = |millis: i64| Some(Timestamp::from_millis(start_less(2).millis() + millis));
    for (from, to) in [(millisecond(1), millisecond(0)), (Some(start().plus(MINUTE)), None)] {
        let filter = RowFilter { created_at_from: from, created_at_to: to, ..RowFilter::default() };
        let world = filtered(5, filter);
        world.deliver("r1").await;
        assert_eq!((world.record().status(), world.rows.reads()), (Status::Ready, 0));
        assert_eq!(lines(&world), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn period_ends_with_the_acceptance_at_the_latest() {
    let filter = RowFilter { created_at_to: Some(start().plus(60 * MINUTE)), ..RowFilter::default() };
    let rows = [payout("po_1", start()), payout("po_2", start().plus(Duration::from_millis(1)))];
    let world = World { rows: MemoryRows::new(&operator("acme").tenant, rows), ..filtered(0, filter) };
    world.deliver("r1").await;
    assert_eq!(lines(&world), ["po_1"]);
}

#[tokio::test]
async fn filter_leaves_out_rows_and_counts_what_is_in_the_file() {
    let rows = (0..6).map(|i| {
        let row = payout(&format!("po_{i}"), start_less(10 - i));
        if i % 3 == 0 { row } else { with_value(row, "status", Value::Text("FAILED")) }
    });
    let filter = RowFilter { statuses: ["SETTLED"].map(row_status).into(), ..RowFilter::default() };
    let rows = MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2);
    let world = World { rows, ..filtered(0, filter) };
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!(lines(&world), ["po_0", "po_3"]);
    assert_eq!((record.rows_read, record.rows_written), (6, 2));
    let file = record.file().cloned().unwrap();
    assert_eq!((file.rows, file.totals.by_currency()[0].1.count), (2, 2));
}

#[tokio::test]
async fn filter_that_matches_nothing_writes_the_header() {
    let filter = RowFilter { currencies: ["JPY".parse().unwrap()].into(), ..RowFilter::default() };
    let world = filtered(5, filter);
    world.deliver("r1").await;
    let file = world.record().file().cloned().unwrap();
    assert_eq!((file.rows, world.record().rows_read, file.totals.iter().count()), (0, 5, 0));
    assert_eq!(stored(&world), exports_domain::csv_encoder::csv_header(export().columns, false).as_bytes());
}

#[tokio::test]
async fn row_whose_deciding_value_is_invalid_fails_the_export() {
    let rows = [
        with_value(payout("po_1", start_less(2)), "currency", Value::Text("XXX")),
        with_value(
            with_value(payout("po_2", start_less(1)), "currency", Value::Text("JPY")),
            "reference",
            Value::Missing,
        ),
    ];
    let filter = RowFilter { currencies: ["EUR".parse().unwrap()].into(), ..RowFilter::default() };
    let world = World { rows: MemoryRows::new(&operator("acme").tenant, rows), ..filtered(0, filter) };
    world.deliver("r1").await;
    let failure = world.record().failure().cloned().unwrap();
    assert_eq!(failure.message, "1 payout cannot be written: \"po_1\" (currency unknown).");
}

#[tokio::test]
async fn filtered_file_continues_from_its_checkpoint() {
    let filter = || RowFilter {
        created_at_from: Some(start_less(35)),
        statuses: ["SETTLED"].map(row_status).into(),
        ..RowFilter::default()
    };
    let rows = || {
        let rows = (0..40).map(|i| {
            let row = payout(&format!("po_{i}"), start_less(40 - i));
            if i % 2 == 0 { row } else { with_value(row, "status", Value::Text("FAILED")) }
        });
        MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2)
    };
    let whole = World { rows: rows(), ..filtered(0, filter()) };
    whole.deliver("r1").await;
    let world = with_parts_of(400, World { rows: rows(), ..filtered(0, filter()) });
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    let checkpoint = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
    assert!(checkpoint.rows_written > 0 && checkpoint.rows_read > checkpoint.rows_written, "{checkpoint:?}");
    let before = world.record();
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(stored(&world), stored(&whole));
    let record = world.record();
    assert_eq!((record.rows_read, record.rows_written), (35, 17));
    assert!(before.rows_read <= record.rows_read && before.rows_written <= record.rows_written);
}

#[tokio::test]
async fn second_delivery_of_a_finished_export_does_nothing() {
    let world = world(1);
    world.deliver("r1").await;
    let record = world.record();
    world.deliver("r2").await;
    assert_eq!(world.record(), record);
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test]
async fn delivery_while_another_works_does_nothing() {
    let world = world(1);
    let lease = exports_domain::export::Lease { owner: "other".into(), until: start().plus(MINUTE) };
    let leased = with_work(export(), |pending| pending.lease = Some(lease));
    world.exports.put_export(Export { fencing_token: 1, attempts: 1, ..leased });
    let record = world.record();
    world.deliver("r2").await;
    assert_eq!(world.record(), record);
    world.system.advance(MINUTE);
    world.deliver("r3").await;
    assert_eq!((world.record().status(), world.record().fencing_token), (Status::Ready, 2));
}

/// [`world`] with so many rows, of which every third has an unknown currency, from the third on.
fn invalid_world(rows: u64) -> World {
    let row = |i: u64| {
        let row = payout(&format!("po_{i}"), start_less(rows + 3 - i));
        if i % 3 == 2 { with_value(row, "currency", Value::Text("=XXX")) } else { row }
    };
    let rows = MemoryRows::new(&operator("acme").tenant, (0..rows).map(row)).in_pages_of(2);
    World { rows, ..world(0) }
}

/// The file of invalid rows that the record names, which must be the only object.
fn invalid_rows_of(world: &World) -> (InvalidRowsFile, String) {
    let failure = world.record().failure().cloned().unwrap();
    assert_eq!((world.record().status(), failure.code), (Status::Failed, FailureCode::InvalidRows));
    let file = failure.invalid_rows.unwrap();
    let objects = world.files.files();
    assert_eq!(objects.keys().collect::<Vec<_>>(), [&file.key]);
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (0, 0));
    assert!(world.lock_is_free());
    let stored = &objects[&file.key];
    assert_eq!(stored.download_name, "marketplace-payouts-invalid-rows-acme-20261008T083000Z.csv");
    (file, String::from_utf8(stored.bytes.clone()).unwrap())
}

/// The file of invalid rows of [`invalid_world`].
fn invalid_lines(rows: u64) -> String {
    let lines = (0..rows).filter(|i| i % 3 == 2).map(|i| format!("po_{i};currency;unknown;'=XXX\n"));
    format!("id;column;problem;value\n{}", lines.collect::<String>())
}

#[tokio::test]
async fn payouts_that_cannot_be_written_fail_the_export_and_leave_their_file_alone() {
    let world = with_parts_of(100, invalid_world(7));
    world.deliver("r1").await;
    let (file, lines) = invalid_rows_of(&world);
    assert_eq!((file.count, file.is_complete, lines), (2, true, invalid_lines(7)));
    assert_eq!(file.key, invalid_rows_key(&export().tenant, &export().id, 1));
    assert_eq!(file.expires_at, start().plus(export().settings.file_retention));
    assert_eq!(
        world.record().failure().cloned().unwrap().message,
        "2 payouts cannot be written: \"po_2\" (currency unknown), \"po_5\" (currency unknown)."
    );
    let mails = world.mail.mails();
    assert_eq!((mails.len(), mails[0].recipients.cc().len()), (1, 0));
    assert!(!format!("{:?} {mails:?}", world.record()).contains("=XXX"), "values are in the file only");
}

#[tokio::test]
async fn no_part_is_written_after_the_first_invalid_row() {
    let world = with_parts_of(100, invalid_world(40));
    world.deliver("r1").await;
    let (file, lines) = invalid_rows_of(&world);
    assert_eq!((file.count, lines), (13, invalid_lines(40)));
    assert!(world.record().rows_written <= 4, "{}", world.record().rows_written);
    assert!(world.record().rows_read > 30, "{}", world.record().rows_read);
}

#[tokio::test]
async fn invalid_rows_of_many_invocations_are_in_one_file() {
    for rows in [60, 300] {
        let world = hopping_world(invalid_world(rows));
        let mut hops = 0;
        while world.record().status() == Status::Pending {
            hops += 1;
            assert!(hops < 100, "{:?}", world.record());
            world.deliver_for(&format!("hop {hops}"), Duration::from_secs(9)).await;
            assert!(world.record().attempts <= 1, "a hop that advances costs no attempt");
        }
        assert!(hops > 3, "{hops}");
        let (file, lines) = invalid_rows_of(&world);
        assert_eq!((file.count, file.is_complete, lines), (rows / 3, true, invalid_lines(rows)));
        let failure = world.record().failure().cloned().unwrap();
        assert!(failure.message.starts_with(&format!("{} payouts cannot be written: \"po_2\"", rows / 3)));
        assert_eq!(failure.message.matches("currency unknown").count(), 20, "{}", failure.message);
    }
}

#[tokio::test]
async fn invalid_rows_found_before_the_last_attempt_fails_are_named() {
    let world = with_parts_of(100, invalid_world(40));
    world.rows.failures.inject_after(12);
    for _ in 0..3 {
        assert_eq!(world.record().status(), Status::Pending);
        world.deliver("r").await;
        world.rows.failures.inject_after(12);
        world.system.advance(6 * MINUTE);
    }
    let (file, lines) = invalid_rows_of(&world);
    assert!(!file.is_complete && (1..13).contains(&file.count), "{file:?}");
    assert!(invalid_lines(40).starts_with(&lines));
    assert!(world.record().failure().cloned().unwrap().message.starts_with("At least "));
}

#[tokio::test]
async fn failure_at_any_call_to_the_bucket_leaves_one_file_of_invalid_rows() {
    for calls in 0..100 {
        let world = with_parts_of(100, invalid_world(20));
        world.files.failures.inject_after(calls);
        world.deliver("r1").await;
        let disturbed = world.record().status() == Status::Pending;
        world.files.failures.stop();
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Failed, "{calls} calls");
        let file = world.record().failure().cloned().unwrap().invalid_rows.unwrap();
        let stored = world.files.files()[&file.key].clone();
        assert_eq!(String::from_utf8(stored.bytes).unwrap(), invalid_lines(20), "{calls} calls");
        if !disturbed && calls > 3 {
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn export_with_invalid_rows_cancelled_at_any_write_leaves_nothing() {
    for write in 0..100 {
        let world = with_parts_of(100, invalid_world(20));
        let outcome = cancel_at(write, &world);
        world.deliver("r1").await;
        let Some(outcome) = *outcome.lock().unwrap() else {
            assert!(write > 3, "{write}");
            return;
        };
        assert_eq!(outcome, Ok(()));
        assert!(world.record().is_cancelled(), "write {write}: {:?}", world.record());
        assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0), "write {write}");
    }
    panic!("the export never ends");
}

#[tokio::test]
async fn fault_that_may_pass_gives_the_lease_up_and_rings_with_a_delay() {
    let world = world(3);
    world.rows.failures.inject_after(1);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.lease(), record.attempts), (Status::Pending, None, 1));
    assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(record.next_check_at(), Some(start().plus(2 * MINUTE)), "the sweeper comes after the queue");
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Ready);
}

#[tokio::test]
async fn last_try_that_fails_ends_the_export() {
    let world = world(3);
    world.files.failures.inject();
    for request in ["r1", "r2", "r3"] {
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
    assert_eq!(world.queue.enqueued().len(), 2);
}

#[tokio::test]
async fn file_that_cannot_be_completed_again_and_again_uses_up_the_tries() {
    let undisturbed = with_parts_of(300, world(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let world = with_parts_of(300, world(9));
    // The upload is begun and its parts are written; completing it fails.
    world.files.failures.inject_after(1 + parts);
    world.deliver("r1").await;
    assert_eq!((world.record().attempts, world.record().fencing_token), (0, 1), "the first try got further");
    for request in ["r2", "r3", "r4"] {
        assert_eq!(world.record().status(), Status::Pending);
        // The parts are listed; completing fails.
        world.files.failures.inject_after(1);
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
}

#[tokio::test]
async fn upload_whose_completion_failed_is_completed_by_the_next_without_reading() {
    let whole = undisturbed(9).await;
    let undisturbed = with_parts_of(300, world(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let world = with_parts_of(300, world(9));
    world.files.failures.inject_after(1 + parts);
    world.deliver("r1").await;
    assert!(world.exports.checkpoint(&export().tenant, &export().id).unwrap().is_complete);
    world.files.failures.stop();
    let reads = world.rows.reads();
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.rows.reads()), (Status::Ready, reads));
    assert_eq!(stored(&world), whole);
}

#[tokio::test]
async fn file_is_completed_by_the_next_invocation_if_there_is_too_little_time_for_it() {
    let whole = undisturbed(9).await;
    // The time is looked at some ten times before the file is whole: nearly all of it is left then, or a third.
    for (tick, is_left_to_the_next) in [(1, false), (18, true)] {
        let world = with_parts_of(300, world(9));
        world.system.tick(Duration::from_secs(tick));
        world.deliver("r1").await;
        assert_eq!(world.record().status() == Status::Pending, is_left_to_the_next, "{tick} s");
        assert_eq!(world.files.completion_limits().is_empty(), is_left_to_the_next);
        if is_left_to_the_next {
            let record = world.record();
            assert_eq!((record.lease(), record.attempts), (None, 0), "that costs no try");
            assert_eq!(world.queue.enqueued(), [(record.tenant, record.id, Duration::ZERO)]);
            let reads = world.rows.reads();
            // However little time it has for that, the next one completes it.
            world.system.tick(Duration::from_secs(55));
            world.deliver("r2").await;
            assert_eq!(world.rows.reads(), reads);
        }
        assert_eq!((world.record().status(), world.files.completion_limits().len()), (Status::Ready, 1));
        assert!(world.files.completion_limits()[0] <= 5 * MINUTE - Duration::from_secs(10));
        assert_eq!(stored(&world), whole);
    }
}

/// What a invalid does to a world.
type Break = fn(&World);

#[tokio::test]
async fn permanent_error_fails_the_export_at_the_second_attempt_five_minutes_later() {
    let breaks: [(&str, Break); 3] = [
        ("payouts", |world| world.rows.failures.deny()),
        ("files", |world| world.files.failures.deny()),
        ("links", |world| world.files.link_failures.deny()),
    ];
    for (name, break_it) in breaks {
        let world = with_parts_of(300, world(9));
        break_it(&world);
        world.deliver("r1").await;
        let record = world.record();
        assert_eq!((record.status(), record.lease()), (Status::Pending, None), "{name}");
        assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, 5 * MINUTE)], "{name}");
        assert_eq!(record.next_check_at(), Some(start().plus(6 * MINUTE)), "{name}: the sweeper comes after the queue");
        // A message that comes too early, as a doubled one may, does nothing.
        world.system.advance(5 * MINUTE - Duration::from_millis(1));
        world.deliver("early").await;
        assert_eq!(world.record().fencing_token, 1, "{name}");
        world.system.advance(Duration::from_millis(1));
        break_it(&world);
        world.deliver("r2").await;
        let record = world.record();
        let failure = record.failure().cloned().unwrap();
        assert_eq!((record.status(), failure.code), (Status::Failed, FailureCode::InternalError), "{name}");
        assert!(!failure.code.is_retryable());
        assert!(failure.message.contains("permission") && !failure.message.contains("denied"), "{failure:?}");
        assert_eq!((record.fencing_token, world.mail.mails().len()), (2, 1), "{name}");
        assert!(world.lock_is_free(), "{name}");
    }
}

#[tokio::test]
async fn permission_that_is_there_at_the_second_attempt_makes_the_export_ready() {
    let world = world(3);
    world.files.link_failures.deny();
    world.deliver("r1").await;
    world.files.link_failures.stop();
    world.system.advance(5 * MINUTE);
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.files.files().len()), (Status::Ready, 1));
}

#[tokio::test]
async fn permanent_error_is_remembered_over_an_attempt_that_died() {
    let world = world(3);
    world.rows.failures.deny();
    world.deliver("r1").await;
    // The second attempt holds the lease, and is never heard of again.
    let taken = exports_domain::export::Lease { owner: "r2".into(), until: start().plus(10 * MINUTE) };
    let leased = with_work(world.record(), |pending| pending.lease = Some(taken));
    world.exports.put_export(Export { fencing_token: 2, attempts: 2, ..leased });
    world.system.advance(10 * MINUTE);
    world.deliver("r3").await;
    assert_eq!(world.record().status(), Status::Failed);
    assert!(world.record().failure().cloned().unwrap().message.contains("permission"));
}

#[tokio::test]
async fn attempt_that_died_before_its_permanent_error_was_recorded_is_one_of_the_tries() {
    let world = world(3);
    world.rows.failures.deny();
    // The lease is taken; giving it up is not recorded.
    world.exports.failures.inject_after(2);
    world.deliver("r1").await;
    world.exports.failures.stop();
    assert_eq!((world.record().attempts, world.record().pending().unwrap().permanent_error_at), (1, None));
    world.system.advance(6 * MINUTE);
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Pending, "the first that is known");
    world.system.advance(5 * MINUTE);
    world.deliver("r3").await;
    assert_eq!(world.record().status(), Status::Failed);
}

#[tokio::test]
async fn finished_upload_that_may_not_be_looked_at_is_neither_thrown_away_nor_written_again() {
    let whole = undisturbed(9).await;
    let world = with_parts_of(300, world(9));
    world.files.link_failures.inject();
    world.deliver("r1").await;
    world.files.link_failures.stop();
    // As if recording the file had failed: the file is there, and so is its checkpoint.
    let record = world.record();
    let file = record.file().cloned().unwrap();
    world.exports.put_export(with_work(record, |pending| pending.file = None));
    // The upload is gone, and a look at its file is denied.
    world.files.failures.deny_after(1);
    world.system.advance(MINUTE);
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.files.files().len()), (Status::Pending, 1));
    world.files.failures.stop();
    world.system.advance(5 * MINUTE);
    let reads = world.rows.reads();
    world.deliver("r3").await;
    assert_eq!((world.record().status(), world.rows.reads()), (Status::Ready, reads));
    assert_eq!((world.record().file().cloned().unwrap().key, stored(&world)), (file.key, whole));
}

#[tokio::test]
async fn upload_that_is_lost_again_and_again_uses_up_the_tries() {
    // A bucket that refuses parts of this size when it comes to completing them.
    let world = World { files: MemoryFiles::with_min_part_size(10_000), ..with_parts_of(300, world(9)) };
    for request in ["r1", "r2", "r3", "r4"] {
        assert_eq!(world.record().status(), Status::Pending);
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn mail_that_may_pass_later_is_tried_again_without_writing_the_file_again() {
    let world = world(3);
    world.mail.behave(MailService::IsDown);
    world.deliver("r1").await;
    let record = world.record();
    assert!(record.status() == Status::Pending && record.file().is_some());
    world.mail.behave(MailService::Accepts);
    world.rows.failures.inject();
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Ready);
    assert_eq!((world.files.files().len(), world.mail.mails().len()), (1, 1));
}

#[tokio::test]
async fn refused_mail_fails_the_export_with_its_file() {
    let world = world(3);
    world.mail.behave(MailService::Rejects);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.failure().cloned().unwrap().code), (Status::Failed, FailureCode::EmailNotSent));
    assert!(record.file().is_some() && world.lock_is_free());
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

#[tokio::test]
async fn export_cancelled_at_any_write_leaves_nothing() {
    for parts_of in [400, 1 << 20] {
        // Undisturbed, and with a transient error in the middle.
        for reads in [u64::MAX, 12] {
            let mut outcomes = Vec::new();
            for write in 0..100 {
                let world = with_parts_of(parts_of, world(40));
                world.rows.failures.inject_after(reads);
                let outcome = cancel_at(write, &world);
                world.deliver("r1").await;
                let Some(outcome) = *outcome.lock().unwrap() else { break };
                let (record, case) = (world.record(), format!("parts of {parts_of}, write {write}"));
                match outcome {
                    Ok(()) => {
                        assert!(record.is_cancelled() && record.file().is_none(), "{case}: {record:?}");
                        assert!(world.lock_is_free(), "{case}");
                        assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None, "{case}");
                        assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0), "{case}");
                        assert_eq!((world.mail.mails().len(), world.queue.enqueued().len()), (0, 0), "{case}");
                        // A leftover job message changes nothing.
                        world.deliver("r2").await;
                        assert_eq!(world.record(), record, "{case}");
                    }
                    Err(error) => {
                        assert_eq!((error, record.status()), (CancelError::FileRecorded, Status::Ready), "{case}");
                    }
                }
                outcomes.push(outcome.is_ok());
            }
            // Only READY is written once the file is recorded.
            let cancellable = outcomes.iter().filter(|is_ok| **is_ok).count();
            assert!(cancellable > 5 || parts_of > 400, "{outcomes:?}");
            assert_eq!(outcomes.len() - cancellable, usize::from(reads == u64::MAX), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn owner_stops_at_the_next_checkpoint_after_a_cancellation() {
    let undisturbed = with_parts_of(400, world(40));
    undisturbed.deliver("r").await;
    let world = with_parts_of(400, world(40));
    let _ = cancel_at(1, &world);
    world.deliver("r").await;
    assert!(world.record().is_cancelled());
    assert!(world.rows.reads() < undisturbed.rows.reads() / 2, "{} reads", world.rows.reads());
}

#[tokio::test]
async fn next_export_keeps_its_files_when_the_cancelled_one_stops() {
    let world = with_parts_of(400, world(40));
    let next = Export { id: ExportId::new(export().id.export_type(), start(), &[9; 10]), ..export() };
    let accepted = next.clone();
    world.exports.before_apply(move |number, store| {
        if number == 3 {
            let record = store.export(&export().tenant, &export().id).unwrap();
            let step = lifecycle::cancel(&record, start(), Failure::cancelled(operator("acme").user)).unwrap();
            block_on(store.apply_step(&record.tenant, &record.id, &step)).unwrap();
            block_on(store.accept_export(&accepted, None)).unwrap();
        }
    });
    world.deliver("r1").await;
    assert!(world.record().is_cancelled());
    let invocation = Invocation { request_id: "r2".into(), ends_at: start().plus(5 * MINUTE) };
    world.generator().run(&next.tenant, &next.id, &invocation).await.unwrap();
    let record = world.exports.export(&next.tenant, &next.id).unwrap();
    assert_eq!(record.status(), Status::Ready);
    assert_eq!(world.files.files().keys().collect::<Vec<_>>(), [&record.file().cloned().unwrap().key]);
    assert_eq!(world.files.unfinished_uploads(), 0);
}

fn event(bodies: &[&str]) -> LambdaEvent<SqsEvent> {
    let record = |(index, body): (usize, &&str)| serde_json::json!({ "messageId": format!("m{index}"), "body": body });
    let records: Vec<_> = bodies.iter().enumerate().map(record).collect();
    let mut context = Context::default();
    context.request_id = "r1".into();
    context.deadline = u64::try_from(start().plus(5 * MINUTE).millis()).unwrap();
    LambdaEvent::new(serde_json::from_value(serde_json::json!({ "Records": records })).unwrap(), context)
}

#[tokio::test]
async fn batch_with_bad_messages_fails_those_alone() {
    let world = world(1);
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let unknown = r#"{"version":1,"tenantId":"acme","exportId":"mpo_01a11f3a-7000-7abc-8def-0123456789ab"}"#;
    let response = handle(&world.generator(), event(&["ring", unknown, &good, "{}"])).await;
    let failed: Vec<_> = response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m0", "m3"]);
    assert_eq!(world.record().status(), Status::Ready);
}

#[tokio::test]
async fn message_is_left_to_the_queue_while_the_record_cannot_be_read() {
    let world = world(1);
    world.exports.failures.inject();
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let response = handle(&world.generator(), event(&[&good])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
}

#[tokio::test]
async fn message_for_a_record_that_is_spoilt_is_left_to_the_queue_and_the_record_to_the_sweeper() {
    let world = world(1);
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let response = handle(&world.generator(), event(&[&message])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(world.record(), export());
}

#[tokio::test]
async fn message_for_a_record_that_is_spoilt_and_has_ended_is_done() {
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        let world = world(1);
        let ended = Export { state: state(status), ..ready_export() };
        world.exports.put_export(ended.clone());
        world.exports.corrupt(&ended.tenant, &ended.id, "recipientTo");
        let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, ended.id);
        let response = handle(&world.generator(), event(&[&message])).await;
        assert_eq!(response.batch_item_failures.len(), 0, "{status}");
        assert_eq!((world.record(), world.mail.mails().len()), (ended, 0));
    }
}

/// A world that has five seconds an invocation and spends one on each page: some four pages a hop.
fn hopping(payouts: u64) -> World {
    hopping_world(world(payouts))
}

fn hopping_world(world: World) -> World {
    let world = with_parts_of(250, world);
    let file = FileLimits { continue_before: Duration::from_secs(1), ..world.limits.file };
    let limits = Limits { file, ..world.limits.clone() };
    let system = FakeSystem::default();
    system.tick(Duration::from_secs(1));
    World { limits, system, ..world }
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

impl World {
    async fn deliver_for(&self, request_id: &str, time: Duration) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.system.now().plus(time) };
        self.generator().run(&export().tenant, &export().id, &invocation).await.unwrap();
    }

    /// Short invocations until one ends between parts. Some end with a part.
    async fn leave_unfinished_part(&self) {
        while self.files.unfinished().is_empty() {
            assert_eq!(self.record().status(), Status::Pending);
            self.deliver_for("r", Duration::from_secs(9)).await;
        }
    }
}

#[tokio::test]
async fn chain_of_more_than_twenty_hops_writes_the_same_file() {
    let world = hopping(300);
    let mut hops = 0;
    let (mut ended_with_a_part, mut ended_between_parts) = (false, false);
    while world.record().status() == Status::Pending {
        hops += 1;
        assert!(hops < 100, "{:?}", world.record());
        world.deliver_for(&format!("hop {hops}"), Duration::from_secs(9)).await;
        let record = world.record();
        assert!(record.attempts <= 1, "a hop that gets further costs no try");
        if let Some(checkpoint) = world.exports.checkpoint(&record.tenant, &record.id) {
            let has_unfinished_part = checkpoint.unfinished.is_some();
            assert_eq!(world.files.unfinished().len(), usize::from(has_unfinished_part));
            ended_with_a_part |= !has_unfinished_part;
            ended_between_parts |= has_unfinished_part;
        }
    }
    assert!(ended_with_a_part && ended_between_parts, "both are covered");
    assert!(hops > 20, "{hops}");
    assert_eq!(world.record().status(), Status::Ready);
    assert_eq!(stored(&world), undisturbed(300).await);
    assert_eq!((world.mail.mails().len(), world.files.unfinished_uploads()), (1, 0));
    assert_eq!(world.files.unfinished().len(), 0);
    assert_eq!(world.queue.enqueued().len(), hops - 1);
    assert_eq!(world.exports.checkpoint(&export().tenant, &export().id), None);
}

/// [`hopping`] with parts that no invocation fills.
fn hopping_without_parts(payouts: u64) -> World {
    with_part_size(1 << 20, hopping(payouts))
}

fn with_part_size(part_size: usize, world: World) -> World {
    let file = FileLimits { part_size, ..world.limits.file };
    World { limits: Limits { file, ..world.limits.clone() }, ..world }
}

#[tokio::test]
async fn filter_that_matches_three_rows_advances_in_every_short_invocation() {
    let filter = || RowFilter { statuses: ["FAILED"].map(row_status).into(), ..RowFilter::default() };
    let rows = || {
        let rows = (0..300).map(|i| {
            let row = payout(&format!("po_{i:03}"), start_less(300 - i));
            if [7, 150, 299].contains(&i) { with_value(row, "status", Value::Text("FAILED")) } else { row }
        });
        MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2)
    };
    let whole = World { rows: rows(), ..filtered(0, filter()) };
    whole.deliver("r1").await;
    let world = hopping_without_parts(0);
    let world = World { rows: rows(), exports: filtered(0, filter()).exports, ..world };
    let mut rows_read = Vec::new();
    while world.record().status() == Status::Pending {
        assert!(rows_read.len() < 100, "{:?}", world.record());
        world.deliver_for(&format!("hop {}", rows_read.len()), Duration::from_secs(9)).await;
        rows_read.push(world.record().rows_read);
        if world.record().status() == Status::Pending {
            assert_eq!((world.record().attempts, world.record().lease().cloned()), (0, None));
            let checkpoint = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
            assert_eq!(
                (checkpoint.upload, checkpoint.parts, checkpoint.rows_read),
                (None, 0, *rows_read.last().unwrap())
            );
            let part = checkpoint.unfinished.unwrap();
            assert_eq!(world.files.unfinished().keys().collect::<Vec<_>>(), [&part.key], "earlier ones are deleted");
        }
    }
    assert!(rows_read.len() > 20 && rows_read.is_sorted_by(|a, b| a < b), "{rows_read:?}");
    assert_eq!((world.record().status(), world.record().rows_read), (Status::Ready, 300));
    assert_eq!(lines(&world), ["po_007", "po_150", "po_299"]);
    assert_eq!(stored(&world), stored(&whole));
    assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
}

#[tokio::test]
async fn part_that_spans_invocations_is_written_once_and_no_row_is_read_twice() {
    let (world, at_once) = (hopping_without_parts(100), world(100));
    at_once.deliver("r").await;
    // Two or three parts in all, and dozens of invocations.
    let world = with_part_size(5000, World { files: MemoryFiles::with_min_part_size(5000), ..world });
    let mut hops = 0;
    while world.record().status() == Status::Pending {
        hops += 1;
        assert!(hops < 100, "{:?}", world.record());
        world.deliver_for("r", Duration::from_secs(9)).await;
    }
    let file = world.record().file().unwrap().clone();
    assert!(hops > 10 && (2..5).contains(&world.files.files()[&file.key].parts.len()), "{hops} invocations");
    assert_eq!(stored(&world), stored(&at_once));
    assert_eq!(world.record().rows_read, 100);
    // A page that was read ahead may be read again by the next invocation.
    let readers = u64::try_from(world.limits.file.readers).unwrap();
    let most = at_once.rows.reads() + hops * readers * 4;
    assert!(world.rows.reads() <= most, "{} reads, at most {most}", world.rows.reads());
    assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
}

/// A change of the unfinished parts.
type Corrupt = fn(&MemoryFiles);

const CORRUPTIONS: [(&str, Corrupt); 3] = [
    ("deleted", MemoryFiles::forget_unfinished),
    ("another size", |files| files.replace_unfinished(b"x")),
    ("another content", |files| {
        let mut bytes = files.unfinished().into_values().next().unwrap_or_default();
        bytes.reverse();
        files.replace_unfinished(&bytes);
    }),
];

#[tokio::test]
async fn unfinished_part_that_is_not_the_one_stored_restarts_the_file() {
    for part_size in [250, 1 << 20] {
        for (name, corrupt) in CORRUPTIONS {
            let world = with_part_size(part_size, hopping(40));
            world.leave_unfinished_part().await;
            let before = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
            assert_eq!(before.upload.is_some(), part_size == 250);
            corrupt(&world.files);
            world.deliver("r").await;
            assert_eq!((world.record().status(), world.record().file().unwrap().rows), (Status::Ready, 40), "{name}");
            assert_eq!(stored(&world), undisturbed(40).await, "{name}");
            assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0), "{name}");
        }
    }
}

#[tokio::test]
async fn unfinished_part_that_is_lost_again_and_again_uses_up_the_attempts() {
    let world = hopping_without_parts(200);
    for attempts in [0, 1, 2, 3] {
        world.deliver_for("r", Duration::from_secs(9)).await;
        assert_eq!(world.record().attempts, attempts, "only the first invocation gets further");
        world.files.forget_unfinished();
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
}

#[tokio::test(start_paused = true)]
async fn unfinished_part_that_is_not_stored_in_time_costs_an_attempt() {
    let world = hopping_without_parts(100);
    world.files.hang_unfinished();
    world.deliver_for("r", Duration::from_secs(9)).await;
    let record = world.record();
    assert_eq!((record.status(), record.lease(), record.attempts), (Status::Pending, None, 1));
    assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None);
}

#[tokio::test]
async fn last_attempt_deletes_the_unfinished_part() {
    for part_size in [250, 1 << 20] {
        let world = with_part_size(part_size, hopping(100));
        world.leave_unfinished_part().await;
        world.rows.failures.inject();
        for _ in 0..3 {
            assert_eq!(world.record().status(), Status::Pending);
            world.deliver("r").await;
        }
        assert_eq!((world.record().status(), world.files.unfinished().len()), (Status::Failed, 0));
        assert_eq!(world.files.unfinished_uploads(), 0);
    }
}

#[tokio::test]
async fn owner_that_lost_its_lease_keeps_what_its_successor_continues() {
    let world = hopping(100);
    world.leave_unfinished_part().await;
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (1, 1));
    // The owner stalls between reading the checkpoint and its unfinished part. Another one continues in between, and
    // deletes the part that it replaced.
    world.files.forget_unfinished();
    world.exports.before_apply(|number, store| {
        if number == 1 {
            let record = store.export(&export().tenant, &export().id).unwrap();
            store.put_export(Export { fencing_token: record.fencing_token + 1, ..record });
        }
    });
    world.deliver_for("stalled", Duration::from_secs(9)).await;
    assert_eq!(world.record().status(), Status::Pending);
    assert_eq!(world.files.unfinished_uploads(), 1, "its own upload is aborted, and the successor's is not");
    assert_eq!(world.files.unfinished().len(), 0, "no checkpoint names its own unfinished part");
}

#[tokio::test]
async fn continued_export_cancelled_at_any_write_leaves_nothing() {
    for part_size in [250, 1 << 20] {
        let mut cancelled = 0;
        // The first write acquires the lease.
        for write in 1..100 {
            let world = with_part_size(part_size, hopping(100));
            world.leave_unfinished_part().await;
            let outcome = cancel_at(write, &world);
            world.deliver_for("r", Duration::from_secs(9)).await;
            if outcome.lock().unwrap().is_none() {
                break;
            }
            cancelled += 1;
            let case = format!("parts of {part_size}, write {write}");
            assert!(world.record().is_cancelled(), "{case}");
            assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0), "{case}");
            assert_eq!(world.files.unfinished().len(), 0, "{case}");
        }
        assert!(cancelled > 2, "{cancelled} writes");
    }
}

#[tokio::test]
async fn failure_at_any_call_of_an_invocation_that_continues_ends_with_the_same_file() {
    let whole = undisturbed(100).await;
    for part_size in [250, 1 << 20] {
        for is_bucket in [true, false] {
            for calls in 0..100 {
                let world = with_part_size(part_size, hopping(100));
                world.deliver_for("r1", Duration::from_secs(9)).await;
                let failures = if is_bucket { &world.files.failures } else { &world.exports.failures };
                failures.inject_after(calls);
                let invocation = Invocation {
                    request_id: "r2".to_owned(),
                    ends_at: world.system.now().plus(Duration::from_secs(9)),
                };
                let _ = world.generator().run(&export().tenant, &export().id, &invocation).await;
                failures.stop();
                let disturbed = world.record().attempts > 0 || world.record().fencing_token < 2;
                world.system.advance(6 * MINUTE);
                for _ in 0..100 {
                    world.deliver_for("r", Duration::from_secs(9)).await;
                }
                let case = format!("parts of {part_size}, bucket {is_bucket}, {calls} calls");
                assert_eq!(world.record().status(), Status::Ready, "{case}");
                assert_eq!(stored(&world), whole, "{case}");
                assert_eq!(world.files.unfinished_uploads(), 0, "{case}");
                if !disturbed && calls > 10 {
                    break;
                }
                assert!(calls < 99, "{case}: never undisturbed");
            }
        }
    }
}

#[tokio::test]
async fn work_that_stops_at_any_call_to_the_bucket_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 0..100 {
        let world = with_parts_of(400, world(40));
        world.files.failures.inject_after(calls);
        world.deliver("r1").await;
        let disturbed = world.record().status() == Status::Pending;
        world.files.failures.stop();
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Ready, "{calls} calls");
        assert_eq!(stored(&world), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls: the file is in parts");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn work_that_stops_at_any_call_to_the_tables_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 1..100 {
        let world = with_parts_of(400, world(40));
        world.exports.failures.inject_after(calls);
        let invocation = Invocation { request_id: "r1".into(), ends_at: start().plus(5 * MINUTE) };
        let _ = world.generator().run(&export().tenant, &export().id, &invocation).await;
        let disturbed = world.record().status() == Status::Pending;
        world.exports.failures.stop();
        world.system.advance(6 * MINUTE);
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Ready, "{calls} calls");
        assert_eq!(stored(&world), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn crash_repeats_only_the_work_since_the_last_checkpoint() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    let checkpoint = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
    assert!(checkpoint.rows_written > 0 && checkpoint.rows_written < 40, "{}", checkpoint.rows_written);
    world.rows.failures.stop();
    let before = world.rows.reads();
    world.deliver("r2").await;
    let left = (40 - checkpoint.rows_written) / 2;
    let reads = world.rows.reads() - before;
    assert!(reads <= left + 8, "{reads} reads for {left} pages that were left");
    assert_eq!(stored(&world), undisturbed(40).await);
    assert_eq!(world.record().file().cloned().unwrap().key, object_key(&export().tenant, &export().id, 1));
}

/// An item of the golden stored forms, as earlier builds wrote it.
fn stored_item(name: &str) -> StoredItem {
    let path = format!("{}/../../shared/aws/golden/stored/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    inspection::read(&inspection::item_from_json(json).unwrap()).unwrap()
}

#[tokio::test]
async fn file_that_an_earlier_build_began_is_finished() {
    let at_once = world(6);
    at_once.exports.put_export(export_of_version_1());
    at_once.deliver("r").await;
    let (whole, reads_at_once) = (stored(&at_once), at_once.rows.reads());
    for name in
        ["checkpoint-with-unfinished-part", "checkpoint-with-upload", "checkpoint-with-upload-and-unfinished-part"]
    {
        let world = world(6);
        let StoredItem::Export(record) = stored_item("export-continued") else { panic!("not a record") };
        world.exports.put_export(*record);
        let StoredItem::Checkpoint(tenant, id, Some(checkpoint)) = stored_item(name) else { panic!("{name}") };
        let bytes = &whole[..usize::try_from(checkpoint.bytes).unwrap()];
        let unfinished = checkpoint.unfinished.as_ref().map_or(0, |part| part.bytes);
        let (part, unfinished) = bytes.split_at(bytes.len() - usize::try_from(unfinished).unwrap());
        if let Some(upload) = &checkpoint.upload {
            assert_eq!(&world.files.start_upload(&upload.key, "file.csv").await.unwrap(), upload, "{name}");
            world.files.upload_part(upload, 1, part.to_vec()).await.unwrap();
        }
        if let Some(stored) = &checkpoint.unfinished {
            world.files.put_unfinished(&stored.key, unfinished.to_vec()).await.unwrap();
        }
        let step = Step { guards: Vec::new(), changes: Vec::new() };
        world.exports.apply_with_checkpoint(&tenant, &id, &step, &checkpoint).await.unwrap();

        world.system.advance(MINUTE);
        world.deliver("r").await;
        assert_eq!((world.record().status(), stored(&world)), (Status::Ready, whole.clone()), "{name}");
        let (record, at_once) = (world.record(), at_once.record());
        let (file, at_once) = (record.file().unwrap(), at_once.file().unwrap());
        assert_eq!((&file.sha256, &file.totals, file.rows), (&at_once.sha256, &at_once.totals, at_once.rows), "{name}");
        assert_eq!(world.record().rows_read, 6);
        assert!(world.rows.reads() < reads_at_once, "{name}: the first rows are read again");
        assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn last_try_that_fails_throws_the_upload_away() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    for _ in 0..4 {
        assert_eq!(world.record().status(), Status::Pending);
        world.deliver("r").await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(record.rows_written > 0, "there was a checkpoint");
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn part_that_a_stalled_owner_replaced_is_noticed_and_the_file_begins_anew() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    world.files.corrupt_part(1);
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(stored(&world), undisturbed(40).await);
    assert_eq!(world.record().file().cloned().unwrap().key, object_key(&export().tenant, &export().id, 2));
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn upload_that_is_gone_begins_anew() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    world.files.forget_uploads();
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(stored(&world), undisturbed(40).await);
}

#[tokio::test]
async fn file_of_more_parts_than_there_may_be_fails_with_its_bound_and_leaves_nothing() {
    let world = with_parts_of(400, world(40));
    let file = FileLimits { max_parts: 3, ..world.limits.file };
    let world = World { limits: Limits { file, ..world.limits.clone() }, ..world };
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.failure().cloned().unwrap().code), (Status::Failed, FailureCode::FileTooLarge));
    assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0));
}

#[tokio::test]
async fn progress_is_on_the_record_while_the_work_goes_on() {
    let world = with_parts_of(1 << 20, world(40));
    world.rows.failures.inject_after(9);
    world.deliver("r1").await;
    let record = world.record();
    assert!(record.rows_written > 0 && record.rows_written < 40, "{}", record.rows_written);
}
