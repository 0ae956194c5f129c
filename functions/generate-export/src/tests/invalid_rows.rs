//! Rows that cannot be written.

use super::recovery::begun_by_an_earlier_build;
use super::*;

/// [`world`] with so many rows, of which every third has an unknown currency, from the third on.
fn invalid_world(rows: u64) -> World {
    let row = |i: u64| {
        let row = payout(&format!("po_{i}"), start_less(rows - i));
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
async fn invalid_rows_fail_the_export_and_leave_only_their_file() {
    let world = with_parts_of(100, invalid_world(7));
    world.deliver("r1").await;
    let (file, lines) = invalid_rows_of(&world);
    assert_eq!((file.count, file.is_complete, lines), (2, true, invalid_lines(7)));
    assert_eq!(file.key, NewFile::invalid_rows(&Export { fencing_token: 1, ..export() }).key);
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
        let world = with_short_invocations(invalid_world(rows));
        let mut invocations = 0;
        while world.record().status() == Status::Pending {
            invocations += 1;
            assert!(invocations < 100, "{:?}", world.record());
            world.deliver_for(&format!("r{invocations}"), Duration::from_secs(9)).await;
            assert!(world.record().attempts <= 1, "an invocation that advances costs no attempt");
        }
        assert!(invocations > 3, "{invocations}");
        let (file, lines) = invalid_rows_of(&world);
        assert_eq!((file.count, file.is_complete, lines), (rows / 3, true, invalid_lines(rows)));
        let failure = world.record().failure().cloned().unwrap();
        assert!(failure.message.starts_with(&format!("{} payouts cannot be written: \"po_2\"", rows / 3)));
        assert_eq!(failure.message.matches("currency unknown").count(), 20, "{}", failure.message);
    }
}

#[tokio::test]
async fn failed_last_attempt_names_the_invalid_rows_found() {
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
async fn bucket_error_at_any_call_leaves_one_file_of_invalid_rows() {
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
async fn file_of_invalid_rows_started_by_an_earlier_build_is_finished() {
    let at_once = invalid_world(6);
    at_once.exports.put_export(export_of_version_1());
    at_once.deliver("r").await;
    let whole = invalid_lines(6);
    let name = "checkpoint-with-invalid-rows";
    let world = begun_by_an_earlier_build(invalid_world(6), name, whole.as_bytes()).await;
    world.deliver("r").await;
    let (file, lines) = invalid_rows_of(&world);
    assert_eq!((file.count, file.is_complete, lines), (2, true, whole));
    assert_eq!(world.record().failure().unwrap().message, at_once.record().failure().unwrap().message);
    assert!(world.rows.reads() < at_once.rows.reads(), "the first rows are read again");
}
