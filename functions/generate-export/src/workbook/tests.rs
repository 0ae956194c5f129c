//! Workbooks, as a reader library reads them.

use std::io::Cursor;

use calamine::{Data, Reader as _, Xlsx};
use exports_domain::options::{ExportOptions, FileFormat};
use exports_domain::row::Value;
use exports_domain::row_encoder::{EncodedCells, EncodedRows, RowEncoder};
use exports_domain::testing::{export, payout, sort_key, start, with_value};
use tokio::sync::mpsc::channel;

use super::*;

fn to_xlsx() -> Export {
    Export { options: ExportOptions { format: FileFormat::Xlsx, ..ExportOptions::default() }, ..export() }
}

fn encoded(rows: &[Vec<Value<'_>>]) -> EncodedRows {
    let mut encoder = RowEncoder::new(&to_xlsx().row_selection(), 0);
    for row in rows {
        encoder.push(row, &sort_key(export().id.export_type(), row));
    }
    encoder.finish()
}

/// The archive of a workbook with these rows.
async fn archive(rows: &[Vec<Value<'_>>]) -> Vec<u8> {
    let (export, encoded) = (to_xlsx(), encoded(rows));
    let mut statistics = FileStatistics::default();
    statistics.add(&encoded).unwrap();
    let mut workbook = Workbook::new(&export).unwrap();
    let EncodedCells::Xlsx(cells) = &encoded.cells else { panic!("{encoded:?}") };
    workbook.add(cells).unwrap();
    let read = ReadInterval { from: start(), to: start().plus(std::time::Duration::from_secs(60)) };
    workbook.summarize(&export, &statistics, Some(read)).unwrap();
    let (sender, mut chunks) = channel(1);
    let saving = tokio::task::spawn_blocking(move || workbook.save(1000, sender));
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend(chunk);
    }
    saving.await.unwrap().unwrap();
    bytes
}

/// The cells of a sheet.
pub(crate) fn cells(archive: &[u8], sheet: &str) -> Vec<Vec<Data>> {
    let mut book = Xlsx::new(Cursor::new(archive)).unwrap();
    for name in book.sheet_names() {
        assert!(book.worksheet_formula(&name).unwrap().is_empty(), "{name} has formulas");
    }
    book.worksheet_range(sheet).unwrap().rows().map(<[_]>::to_vec).collect()
}

fn text(text: &str) -> Data {
    Data::String(text.to_owned())
}

#[tokio::test]
async fn cells_are_typed_and_texts_are_kept() {
    let row = with_value(payout("007", start()), "amountMinor", Value::Number("-123450"));
    let row = with_value(row, "reference", Value::Text("=1+1"));
    let row = with_value(row, "failureReason", Value::Text(" <a>\n\u{1}&_x0041_ "));
    let rows = cells(&archive(&[row]).await, "Marketplace payouts");
    let column = |name: &str| rows[0].iter().position(|header| *header == text(name)).unwrap();
    let cell = |name: &str| &rows[1][column(name)];
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].len(), export().columns.list().len());
    assert_eq!(cell("payout_id"), &text("007"));
    assert_eq!(cell("reference"), &text("=1+1"));
    assert_eq!(cell("amount"), &Data::Float(-1234.5));
    assert_eq!(cell("currency"), &text("EUR"));
    assert_eq!(cell("psp_reference"), &Data::Empty);
    let Data::DateTime(created_at) = cell("created_at (UTC)") else { panic!("{rows:?}") };
    assert_eq!(created_at.to_ymd_hms_milli(), (2026, 10, 8, 8, 30, 0, 0));
}

#[tokio::test]
async fn sheet_of_totals_has_the_totals_and_what_was_exported() {
    let paid = |id, amount: &'static str| with_value(payout(id, start()), "amountMinor", Value::Number(amount));
    let yen = with_value(paid("po_3", "7"), "currency", Value::Text("JPY"));
    let huge = with_value(paid("po_4", "9999999999999999"), "currency", Value::Text("USD"));
    let rows = cells(&archive(&[paid("po_1", "100"), paid("po_2", "-1"), yen, huge]).await, "Totals");
    let facts = [
        ("Export", export().id.to_string()),
        ("Includes", "payouts created up to 8 October 2026, 08:30:00 UTC".to_owned()),
        (
            "Read",
            "amounts and statuses as read between 8 October 2026, 08:30:00 UTC and 8 October 2026, 08:31:00 UTC"
                .to_owned(),
        ),
        ("Rows", "4".to_owned()),
        ("Note", "amounts of more than 15 digits, stored as text: 1".to_owned()),
    ];
    for (row, (name, value)) in rows.iter().zip(facts) {
        assert_eq!(row[..2], [text(name), text(&value)]);
    }
    let total = |currency, count: f64, amount| vec![text(currency), text("SETTLED"), Data::Float(count), amount];
    assert_eq!(rows[6], ["Currency", "Status", "Count", "Amount"].map(text));
    assert_eq!(rows[7], total("EUR", 2.0, Data::Float(0.99)));
    assert_eq!(rows[8], total("JPY", 1.0, Data::Float(7.0)));
    assert_eq!(rows[9], total("USD", 1.0, text("99999999999999.99")));
    assert_eq!(rows.len(), 10);
}

#[tokio::test]
async fn workbook_without_rows_has_the_header() {
    let archive = archive(&[]).await;
    assert_eq!(cells(&archive, "Marketplace payouts").len(), 1);
    assert_eq!(cells(&archive, "Totals").len(), 6);
}

#[test]
fn text_that_is_too_long_for_a_cell_is_rejected() {
    let add = |text: &str| {
        let encoded = encoded(&[with_value(payout("po_1", start()), "reference", Value::Text(text.to_owned().leak()))]);
        let EncodedCells::Xlsx(cells) = encoded.cells else { panic!() };
        Workbook::new(&to_xlsx()).unwrap().add(&cells)
    };
    assert!(add(&"é".repeat(32_767)).is_ok());
    for text in ["é".repeat(32_768), "\u{10000}".repeat(16_384)] {
        let Err(WorkbookError::TextTooLong { id, column }) = add(&text) else { panic!("accepted") };
        assert_eq!((id.as_str(), column), ("po_1", "reference"));
    }
}

#[tokio::test]
async fn saving_stops_when_nobody_receives() {
    let workbook = Workbook::new(&to_xlsx()).unwrap();
    let (sender, chunks) = channel(1);
    drop(chunks);
    assert!(tokio::task::spawn_blocking(move || workbook.save(1000, sender)).await.unwrap().is_err());
}
