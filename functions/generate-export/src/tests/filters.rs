//! Filters and periods.

use super::*;

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
