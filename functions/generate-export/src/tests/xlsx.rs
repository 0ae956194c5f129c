//! Exports to XLSX.

use calamine::Data;
use exports_domain::options::FileFormat;

use super::*;
use crate::workbook::tests::cells;

/// A pending export of so many rows to XLSX.
fn xlsx_world(rows: u64) -> World {
    let world = world(rows);
    let options = ExportOptions { format: FileFormat::Xlsx, ..ExportOptions::default() };
    world.exports.put_export(Export { options, ..export() });
    world
}

fn with_max_rows(max_xlsx_rows: u64, world: World) -> World {
    let file = FileLimits { max_xlsx_rows, ..world.limits.file };
    World { limits: Limits { file, ..world.limits.clone() }, ..world }
}

/// The ids in the file.
fn ids(world: &World) -> Vec<String> {
    let rows = cells(&stored(world), "Marketplace payouts");
    rows[1..].iter().map(|row| row[0].to_string()).collect()
}

fn numbered(rows: u64) -> Vec<String> {
    (0..rows).map(|number| format!("po_{number}")).collect()
}

/// Asserts that the export failed in its first attempt as too large for XLSX, and that nothing is left.
fn assert_too_large(world: &World, message: &str) {
    let record = world.record();
    let failure = record.failure().unwrap_or_else(|| panic!("{record:?}"));
    assert_eq!((failure.code, record.attempts), (FailureCode::XlsxTooLarge, 1));
    assert!(failure.message.starts_with(message), "{}", failure.message);
    assert_leaves_nothing(world);
}

fn assert_leaves_nothing(world: &World) {
    let record = world.record();
    assert!(world.lock_is_free());
    assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None);
    assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0));
    assert!(world.files.unfinished().is_empty() && world.queue.enqueued().is_empty());
}

#[tokio::test]
async fn export_becomes_ready_with_a_workbook() {
    let world = xlsx_world(5);
    world.deliver("r1").await;
    let record = world.record();
    let file = record.file().cloned().unwrap();
    assert_eq!((record.status(), file.rows, record.rows_read), (Status::Ready, 5, 5));
    assert_eq!(ids(&world), numbered(5));
    let stored = world.files.files()[&file.key].clone();
    assert_eq!((stored.format, stored.download_name), (FileFormat::Xlsx, file.name.clone()));
    assert!(file.key.ends_with("/1.xlsx") && file.name.ends_with(".xlsx"), "{file:?}");
    let mut statistics = statistics::FileStatistics::default();
    statistics.add_bytes(&stored.bytes);
    assert_eq!(file.sha256, statistics.sha256());
    let totals = cells(&stored.bytes, "Totals");
    let total = totals.last().unwrap();
    let (_, _, expected) = file.totals.iter().next().unwrap();
    assert_eq!(total[2], Data::Float(expected.count as f64));
    assert_eq!(total[3], Data::Float(expected.minor as f64 / 100.0));
}

#[tokio::test]
async fn workbook_and_mail_show_the_same_read_times() {
    let world = xlsx_world(40);
    world.system.tick(Duration::from_secs(1));
    world.deliver("r1").await;
    let totals = cells(&stored(&world), "Totals");
    let shown = totals.iter().find(|row| row[0] == "Read").unwrap()[1].to_string();
    let mail = &world.mail.mails()[0].text;
    assert!(mail.contains(&format!("  Read       {shown}\n")), "{shown}: {mail}");
}

#[tokio::test]
async fn workbook_in_parts_has_the_same_rows() {
    let world = with_parts_of(500, xlsx_world(9));
    world.deliver("r1").await;
    assert_eq!(ids(&world), numbered(9));
    let key = world.record().file().cloned().unwrap().key;
    assert!(world.files.files()[&key].parts.len() > 2);
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn more_rows_than_allowed_fail_as_soon_as_they_are_read() {
    let world = with_max_rows(4, xlsx_world(400));
    world.deliver("r1").await;
    assert_too_large(&world, "An Excel file can have at most 4 rows.");
    assert!(world.rows.reads() < 100, "{} reads", world.rows.reads());
    let as_many = with_max_rows(4, xlsx_world(4));
    as_many.deliver("r1").await;
    assert_eq!(as_many.record().status(), Status::Ready);
}

#[tokio::test]
async fn attempt_without_time_left_fails_at_once() {
    let world = xlsx_world(40);
    world.system.tick(Duration::from_secs(1));
    world.deliver_for("r1", Duration::from_secs(9)).await;
    assert_too_large(&world, "The Excel file could not be written in the available time.");
}

#[tokio::test]
async fn interrupted_attempt_starts_over_and_costs_an_attempt() {
    let world = xlsx_world(40);
    for attempt in 1..=2 {
        world.rows.failures.inject_after(12);
        world.deliver(&format!("r{attempt}")).await;
        let record = world.record();
        assert_eq!((record.status(), record.attempts), (Status::Pending, attempt));
        assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None);
        assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0));
    }
    world.rows.failures.inject_after(u64::MAX);
    world.deliver("r3").await;
    assert_eq!(ids(&world), numbered(40));
}

#[tokio::test]
async fn attempts_are_used_up_whatever_the_progress() {
    let world = xlsx_world(40);
    for attempt in 1..=3 {
        world.rows.failures.inject_after(12 + attempt);
        world.deliver(&format!("r{attempt}")).await;
    }
    let record = world.record();
    assert_eq!(record.failure().map(|failure| failure.code), Some(FailureCode::GenerationFailed));
    assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0));
}

#[tokio::test]
async fn failure_at_any_call_of_the_bucket_is_recovered() {
    for call in 0..20 {
        let world = with_parts_of(500, xlsx_world(9));
        world.files.failures.inject_after(call);
        world.deliver("r1").await;
        world.files.failures.inject_after(u64::MAX);
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Ready, "call {call}");
        assert_eq!(ids(&world), numbered(9), "call {call}");
        assert_eq!(world.files.files().len(), 1, "call {call}");
    }
}

#[tokio::test]
async fn export_cancelled_at_any_write_leaves_nothing() {
    for parts_of in [500, 1 << 20] {
        let mut cancelled = 0;
        for write in 0..100 {
            let world = with_parts_of(parts_of, xlsx_world(20));
            let outcome = cancel_at(write, &world);
            world.deliver("r1").await;
            let Some(outcome) = *outcome.lock().unwrap() else { break };
            if outcome.is_ok() {
                cancelled += 1;
                assert!(world.record().is_cancelled(), "write {write}");
                assert_leaves_nothing(&world);
            }
        }
        assert!(cancelled > 5, "{cancelled}");
    }
}

#[tokio::test]
async fn invalid_rows_are_listed_in_csv() {
    let rows = (0..9).map(|number| {
        let row = payout(&format!("po_{number}"), start_less(20 - number));
        if number == 4 { with_value(row, "status", Value::Text("LOST")) } else { row }
    });
    let world = World { rows: MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2), ..xlsx_world(0) };
    world.deliver("r1").await;
    let failure = world.record().failure().cloned().unwrap();
    assert_eq!(failure.code, FailureCode::InvalidRows);
    let file = &world.files.files()[&failure.invalid_rows.unwrap().key];
    assert_eq!((file.format, world.files.files().len()), (FileFormat::Csv, 1));
    assert!(file.bytes.starts_with(b"id;column;problem;value\npo_4;status;unknown;LOST\n"), "{file:?}");
}
