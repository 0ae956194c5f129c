//! Encodes rows as CSV.
//!
//! UTF-8, `;` between fields, `\n` after each line, RFC 4180 quoting, a header first. Amounts are decimals with the
//! currency's exponent, times are UTC to the second. Text that a spreadsheet could run as a formula starts with `'`;
//! numbers and times never do, so that sums work.

use std::fmt::Write as _;

use crate::control_chars::is_control_or_bidi;
use crate::export_type::{Column, ColumnKind, Definition, FileColumns};
use crate::money::{Money, append_whole_number, parse_whole_number};
use crate::row::{InvalidValue, Value, ValueProblem, requires};
use crate::row_selection::RowConditions;
use crate::time::is_timestamp;
use crate::totals::{RunningTotals, Totals};

/// The byte-order mark, by which older versions of Excel recognise UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// How many invalid rows are named.
pub const NAMED_INVALID_ROWS: usize = 20;

/// How many characters of a row's id are shown.
const SHOWN_ID: usize = 64;

/// The start of a cell that a spreadsheet runs as a formula (OWASP, CSV injection). Programs set to an East Asian language
/// treat the full-width forms like the plain ones.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The rows that cannot be encoded: their number, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRows {
    /// The number of invalid rows found.
    pub count: u64,
    /// Whether every row was checked. Not so if the invocation ran out of time.
    pub are_all: bool,
    /// The first [`NAMED_INVALID_ROWS`]: the row's id, or its key if the id itself is missing, and what is wrong.
    pub first: Vec<(String, InvalidValue)>,
}

impl Default for InvalidRows {
    fn default() -> Self {
        Self { count: 0, are_all: true, first: Vec::new() }
    }
}

impl InvalidRows {
    /// Appends those that were found after these.
    pub fn append(&mut self, later: Self) {
        self.count += later.count;
        self.are_all &= later.are_all;
        let room = NAMED_INVALID_ROWS.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
    }

    /// One line for people: how many, which, and why.
    #[must_use]
    pub fn describe(&self, definition: &Definition) -> String {
        let noun = if self.count == 1 { definition.singular } else { definition.plural };
        let least = if self.are_all { "" } else { "At least " };
        let mut text = format!("{least}{} {noun} cannot be written: ", self.count);
        for (index, (id, invalid)) in self.first.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{separator}{id} ({invalid})");
        }
        let named = u64::try_from(self.first.len()).unwrap_or(u64::MAX);
        match self.count.saturating_sub(named) {
            0 => {}
            more => {
                let _ = write!(text, " and {more} more");
            }
        }
        text
    }
}

/// Encoded rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    /// The lines.
    pub csv: Vec<u8>,
    /// The number of rows in them.
    pub rows: u64,
    /// The number of rows that the filter excluded.
    pub excluded: u64,
    /// The totals of the rows in the lines.
    pub totals: Totals,
    /// The rows that could not be encoded.
    pub invalid_rows: InvalidRows,
}

impl EncodedRows {
    /// The number of rows read: written, excluded or invalid.
    #[must_use]
    pub const fn rows_read(&self) -> u64 {
        self.rows + self.excluded + self.invalid_rows.count
    }
}

/// Encodes the rows of one file.
#[derive(Debug)]
pub struct CsvEncoder {
    definition: &'static Definition,
    columns: &'static [Column],
    /// The index of the currency's column.
    currency: usize,
    csv: csv::Writer<Vec<u8>>,
    /// The current line.
    record: csv::ByteRecord,
    scratch: String,
    conditions: RowConditions,
    rows: u64,
    excluded: u64,
    totals: RunningTotals,
    invalid_rows: InvalidRows,
}

impl CsvEncoder {
    /// An encoder with room for so many bytes.
    #[must_use]
    pub fn new(columns: FileColumns, capacity: usize) -> Self {
        let (definition, columns) = (columns.export_type.definition(), columns.list());
        let csv = csv::WriterBuilder::new()
            .delimiter(b';')
            .terminator(csv::Terminator::Any(b'\n'))
            .from_writer(Vec::with_capacity(capacity));
        Self {
            definition,
            columns,
            currency: columns.iter().position(|column| column.kind == ColumnKind::Currency).unwrap_or_default(),
            csv,
            record: csv::ByteRecord::new(),
            scratch: String::new(),
            conditions: RowConditions::default(),
            rows: 0,
            excluded: 0,
            totals: RunningTotals::new(definition),
            invalid_rows: InvalidRows::default(),
        }
    }

    /// Leaves out the rows that do not meet these conditions.
    #[must_use]
    pub fn with_conditions(self, conditions: RowConditions) -> Self {
        Self { conditions, ..self }
    }

    /// Encodes a row, given as the values of the file's columns. An invalid row is counted and named by its id, or by
    /// `key` if its id is missing.
    pub fn push(&mut self, row: &[Value<'_>], key: &str) {
        if self.conditions.exclude(row) {
            self.excluded += 1;
            return;
        }
        match self.encode(row) {
            Ok(()) => self.rows += 1,
            Err(invalid) => {
                self.invalid_rows.count += 1;
                if self.invalid_rows.first.len() < NAMED_INVALID_ROWS {
                    let id = match row.first() {
                        Some(Value::Text(id)) if !id.is_empty() => id,
                        _ => key,
                    };
                    self.invalid_rows.first.push((printable(id), invalid));
                }
            }
        }
    }

    /// Writes the row's line, or nothing.
    fn encode(&mut self, row: &[Value<'_>]) -> Result<(), InvalidValue> {
        self.record.clear();
        // Amounts precede their currency.
        let currency = match row.get(self.currency) {
            Some(Value::Text(code)) => self.totals.find(code),
            _ => None,
        };
        let (mut status, mut amount) = (None, None);
        for (column, value) in self.columns.iter().zip(row) {
            let invalid = |problem| InvalidValue { attribute: column.attribute, problem };
            match (column.kind, *value) {
                (_, Value::Missing | Value::Text("")) => {
                    if requires(column, self.columns, row) {
                        return Err(invalid(ValueProblem::Missing));
                    }
                    self.record.push_field(b"");
                }
                (ColumnKind::Text, Value::Text(text)) if runs_as_formula(text) => {
                    self.scratch.clear();
                    self.scratch.push('\'');
                    self.scratch.push_str(text);
                    self.record.push_field(self.scratch.as_bytes());
                }
                (ColumnKind::Text, Value::Text(text)) => self.record.push_field(text.as_bytes()),
                (ColumnKind::Time, Value::Text(text)) if is_timestamp(text) => {
                    // `2026-10-08T00:00:01.000Z` without its milliseconds.
                    let mut time = *b"0000-00-00T00:00:00Z";
                    for (place, byte) in time.iter_mut().zip(text.as_bytes().iter().take(19)) {
                        *place = *byte;
                    }
                    self.record.push_field(&time);
                }
                (ColumnKind::Status, Value::Text(text)) => {
                    let known = self.definition.status(text).ok_or(invalid(ValueProblem::Unknown))?;
                    status = Some(known);
                    self.record.push_field(text.as_bytes());
                }
                (ColumnKind::Currency, Value::Text(text)) => {
                    if currency.is_none() {
                        return Err(invalid(ValueProblem::Unknown));
                    }
                    self.record.push_field(text.as_bytes());
                }
                (ColumnKind::OneOf(values), Value::Text(text)) => {
                    if !values.contains(&text) {
                        return Err(invalid(ValueProblem::Unknown));
                    }
                    self.record.push_field(text.as_bytes());
                }
                (kind @ (ColumnKind::Amount | ColumnKind::OtherAmount), Value::Number(number)) => {
                    let minor = parse_whole_number(number).ok_or(invalid(ValueProblem::Malformed))?;
                    if kind == ColumnKind::Amount {
                        amount = Some((minor, column));
                    }
                    self.scratch.clear();
                    if let Some((_, currency)) = currency {
                        Money { minor, currency }.append_to(&mut self.scratch);
                    }
                    self.record.push_field(self.scratch.as_bytes());
                }
                (ColumnKind::Count, Value::Number(number)) => {
                    let count = parse_whole_number(number).ok_or(invalid(ValueProblem::Malformed))?;
                    self.scratch.clear();
                    append_whole_number(count, &mut self.scratch);
                    self.record.push_field(self.scratch.as_bytes());
                }
                (_, Value::Text(_) | Value::Number(_) | Value::Other) => return Err(invalid(ValueProblem::Malformed)),
            }
        }
        // Every type has these three as required columns, so that they are present here.
        if let (Some(status), Some((currency, _)), Some((minor, column))) = (status, currency, amount)
            && !self.totals.add(currency, status, minor)
        {
            return Err(InvalidValue { attribute: column.attribute, problem: ValueProblem::Malformed });
        }
        // Writing to memory cannot fail.
        let _ = self.csv.write_byte_record(&self.record);
        Ok(())
    }

    /// The encoded rows.
    #[must_use]
    pub fn finish(self) -> EncodedRows {
        let csv = self.csv.into_inner().unwrap_or_default();
        EncodedRows {
            csv,
            rows: self.rows,
            excluded: self.excluded,
            totals: self.totals.finish(),
            invalid_rows: self.invalid_rows,
        }
    }
}

/// An id as a message shows it: of bounded length, without control and bidirectional characters.
fn printable(id: &str) -> String {
    id.chars().take(SHOWN_ID).map(|c| if is_control_or_bidi(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn runs_as_formula(text: &str) -> bool {
    text.starts_with(FORMULA_STARTS)
}

/// The first line of a file, after the byte-order mark if it has one.
#[must_use]
pub fn csv_header(columns: FileColumns, byte_order_mark: bool) -> String {
    let headers: Vec<_> = columns.list().iter().map(|column| column.header).collect();
    format!("{}{}\n", if byte_order_mark { BYTE_ORDER_MARK } else { "" }, headers.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export_type::ExportType;
    use crate::export_type::Required;
    use crate::filter::RowFilter;
    use crate::testing::row_status;
    use crate::totals::Total;
    use proptest::prelude::*;

    const TYPE: ExportType = ExportType::MarketplacePayouts;

    fn good_row() -> Vec<Value<'static>> {
        let time = Value::Text("2026-10-08T00:00:01.000Z");
        vec![
            Value::Text("po_1"),
            Value::Text("REF-1"),
            Value::Text("SETTLED"),
            Value::Number("-123450"),
            Value::Text("EUR"),
            time,
            time,
            Value::Number("7"),
            Value::Text("BA_MKP"),
            Value::Missing,
            Value::Missing,
            time,
            Value::Missing,
            Value::Missing,
            time,
        ]
    }

    fn with(column: &str, value: Value<'static>) -> Vec<Value<'static>> {
        let mut row = good_row();
        row[TYPE.definition().columns.iter().position(|c| c.attribute == column).unwrap()] = value;
        row
    }

    fn written(row: &[Value<'_>]) -> EncodedRows {
        written_as(TYPE, row)
    }

    fn written_as(export_type: ExportType, row: &[Value<'_>]) -> EncodedRows {
        let mut lines = CsvEncoder::new(FileColumns::current(export_type), 0);
        lines.push(row, "key");
        lines.finish()
    }

    fn text(encoded: &EncodedRows) -> &str {
        str::from_utf8(&encoded.csv).unwrap()
    }

    #[test]
    fn header_matches_the_published_one() {
        let header = "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;\
                      psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n";
        assert_eq!(csv_header(FileColumns::current(TYPE), false), header);
        assert_eq!(csv_header(FileColumns::current(TYPE), true), format!("\u{feff}{header}"));
    }

    #[test]
    fn row_is_one_line_in_column_order() {
        let encoded = written(&good_row());
        let time = "2026-10-08T00:00:01Z";
        let line = format!("po_1;REF-1;SETTLED;-1234.50;EUR;{time};{time};7;BA_MKP;;;{time};;;{time}\n");
        assert_eq!(text(&encoded), line);
        assert_eq!(encoded.rows, 1);
        let total = Total { count: 1, minor: -123_450 };
        let totals: Vec<_> = encoded.totals.iter().collect();
        assert_eq!(totals, [("EUR".parse().unwrap(), TYPE.definition().status("SETTLED").unwrap(), total)]);
    }

    /// A row of any type with these values.
    fn row_with(export_type: ExportType, values: &[(&str, Value<'static>)]) -> Vec<Value<'static>> {
        let mut row = crate::testing::row(export_type, "id_1", crate::testing::start());
        for (attribute, value) in values {
            let column = export_type.definition().columns.iter().position(|column| column.attribute == *attribute);
            row[column.unwrap()] = *value;
        }
        row
    }

    #[test]
    fn row_of_any_type_is_one_line_and_its_amount_in_the_totals() {
        for export_type in ExportType::ALL {
            let encoded = written_as(export_type, &row_with(export_type, &[("currency", Value::Text("KWD"))]));
            let cells: Vec<_> = text(&encoded).trim_end().split(';').collect();
            let columns = export_type.definition().columns;
            assert_eq!(cells.len(), columns.len());
            for (cell, column) in cells.into_iter().zip(columns) {
                let expected = match column.kind {
                    ColumnKind::Amount => Some("4.115"),
                    ColumnKind::OtherAmount => Some("0.100"),
                    _ if column.required != Required::Always => Some(""),
                    ColumnKind::Time => Some("2026-10-08T08:30:00Z"),
                    _ => None,
                };
                assert!(expected.is_none_or(|expected| cell == expected), "{column:?}: {cell}");
            }
            let status = export_type.definition().row_statuses().next().unwrap();
            let total = ("KWD".parse().unwrap(), status, Total { count: 1, minor: 4115 });
            assert_eq!(encoded.totals.iter().collect::<Vec<_>>(), [total], "{export_type:?}");
        }
    }

    #[test]
    fn empty_string_in_an_optional_column_is_no_value() {
        for export_type in ExportType::ALL {
            for column in export_type.definition().columns {
                let with_empty =
                    written_as(export_type, &row_with(export_type, &[(column.attribute, Value::Text(""))]));
                let without = written_as(export_type, &row_with(export_type, &[(column.attribute, Value::Missing)]));
                assert_eq!(with_empty, without, "{column:?}");
                assert_eq!(without.rows, u64::from(column.required != Required::Always), "{column:?}");
            }
        }
    }

    #[test]
    fn any_column_of_any_type_rejects_another_kind_of_value() {
        for export_type in ExportType::ALL {
            for column in export_type.definition().columns {
                let (wrong, problem) = match column.kind {
                    ColumnKind::Text => (Value::Number("1"), ValueProblem::Malformed),
                    ColumnKind::Time => (Value::Text("today"), ValueProblem::Malformed),
                    ColumnKind::Amount | ColumnKind::OtherAmount | ColumnKind::Count => {
                        (Value::Number("1.5"), ValueProblem::Malformed)
                    }
                    ColumnKind::Status | ColumnKind::OneOf(_) | ColumnKind::Currency => {
                        (Value::Text("OTHER"), ValueProblem::Unknown)
                    }
                };
                for (value, problem) in [(wrong, problem), (Value::Other, ValueProblem::Malformed)] {
                    let encoded = written_as(export_type, &row_with(export_type, &[(column.attribute, value)]));
                    let invalid = InvalidValue { attribute: column.attribute, problem };
                    assert_eq!(encoded.invalid_rows.first.first().map(|(_, first)| *first), Some(invalid));
                    assert_eq!((encoded.rows, text(&encoded)), (0, ""));
                }
            }
        }
    }

    #[test]
    fn supplier_payout_has_all_amounts_in_its_currency() {
        const TYPE: ExportType = ExportType::SupplierPayouts;
        let header = "payout_id;reference;status;supplier_id;supplier_name;amount;captured_amount;commission_amount;\
                      platform_fee_amount;interchange_fee_amount;refunded_amount;currency;period_start;period_end;\
                      order_count;balance_account;psp_reference;failure_reason;created_at;executed_at;settled_at;\
                      updated_at\n";
        assert_eq!(csv_header(FileColumns::current(TYPE), false), header);
        let row = row_with(
            TYPE,
            &[
                ("status", Value::Text("SKIPPED")),
                ("supplierName", Value::Text("=Marché")),
                ("amountMinor", Value::Number("0")),
                ("capturedAmountMinor", Value::Number("1000")),
                ("refundedAmountMinor", Value::Number("-1000")),
                ("currency", Value::Text("JPY")),
            ],
        );
        let time = "2026-10-08T08:30:00Z";
        let line = format!(
            "id_1;reference;SKIPPED;supplier_id;'=Marché;0;1000;100;100;100;-1000;JPY;{time};{time};7;\
             balance_account;;;{time};;;{time}\n"
        );
        assert_eq!(text(&written_as(TYPE, &row)), line);
    }

    #[test]
    fn funding_transfer_is_one_line_in_column_order() {
        const TYPE: ExportType = ExportType::FundingTransfers;
        let header = "transfer_id;reference;status;amount;currency;source_balance_account;source_balance_account_type;\
                      source_supplier_id;target_balance_account;target_balance_account_type;target_supplier_id;\
                      related_entity_type;related_entity_id;psp_reference;failure_reason;created_at;completed_at;\
                      updated_at\n";
        assert_eq!(csv_header(FileColumns::current(TYPE), false), header);
        let row = row_with(
            TYPE,
            &[
                ("targetBalanceAccountType", Value::Text("SUPPLIER")),
                ("targetSupplierId", Value::Text("007")),
                ("relatedEntityType", Value::Text("REFUND")),
            ],
        );
        let time = "2026-10-08T08:30:00Z";
        let line = format!(
            "id_1;reference;PENDING;41.15;EUR;source_balance_account;MARKETPLACE;;target_balance_account;SUPPLIER;007;\
             REFUND;related_entity_id;;;{time};;{time}\n"
        );
        assert_eq!(text(&written_as(TYPE, &row)), line);
    }

    #[test]
    fn account_of_a_supplier_without_a_supplier_id_is_invalid() {
        const TYPE: ExportType = ExportType::FundingTransfers;
        for (of, attribute) in
            [("sourceBalanceAccountType", "sourceSupplierId"), ("targetBalanceAccountType", "targetSupplierId")]
        {
            for id in [Value::Missing, Value::Text("")] {
                let supplier = row_with(TYPE, &[(of, Value::Text("SUPPLIER")), (attribute, id)]);
                let invalid = InvalidValue { attribute, problem: ValueProblem::Missing };
                assert_eq!(written_as(TYPE, &supplier).invalid_rows.first, [("id_1".to_owned(), invalid)]);
                let marketplace = row_with(TYPE, &[(of, Value::Text("MARKETPLACE")), (attribute, id)]);
                assert_eq!(written_as(TYPE, &marketplace).rows, 1);
            }
            let marketplace = row_with(TYPE, &[(of, Value::Text("MARKETPLACE")), (attribute, Value::Text("s"))]);
            assert_eq!(written_as(TYPE, &marketplace).rows, 1);
        }
    }

    #[test]
    fn text_that_could_run_as_a_formula_is_guarded() {
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"] {
            let value: &'static str = format!("{start}1+1").leak();
            let encoded = written(&with("reference", Value::Text(value)));
            assert!(text(&encoded).contains(&format!("'{value}")), "{start:?}");
        }
        assert!(text(&written(&with("reference", Value::Text("a=1")))).contains(";a=1;"));
        assert!(text(&written(&good_row())).contains(";-1234.50;"));
    }

    #[test]
    fn fields_are_quoted_only_if_necessary() {
        for (value, field) in
            [("a;b", "\"a;b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\""), ("a,b", "a,b"), ("é😀", "é😀")]
        {
            assert!(text(&written(&with("reference", Value::Text(value)))).contains(&format!(";{field};")), "{value}");
        }
    }

    #[test]
    fn invalid_row_is_counted_and_not_written() {
        use ValueProblem::*;
        for (attribute, value, problem) in [
            ("payoutId", Value::Missing, Missing),
            ("reference", Value::Text(""), Missing),
            ("reference", Value::Number("1"), Malformed),
            ("status", Value::Text("PAID"), Unknown),
            ("currency", Value::Text("XXX"), Unknown),
            ("currency", Value::Other, Malformed),
            ("amountMinor", Value::Number("1.5"), Malformed),
            ("amountMinor", Value::Text("1"), Malformed),
            ("orderCount", Value::Missing, Missing),
            ("createdAt", Value::Text("2026-10-08"), Malformed),
            ("pspReference", Value::Other, Malformed),
        ] {
            let encoded = written(&with(attribute, value));
            let id = if attribute == "payoutId" { "key" } else { "po_1" };
            assert_eq!(
                encoded.invalid_rows,
                InvalidRows { count: 1, are_all: true, first: vec![(id.into(), InvalidValue { attribute, problem })] }
            );
            assert_eq!((text(&encoded), encoded.rows, &encoded.totals), ("", 0, &Totals::default()), "{attribute}");
        }
    }

    #[test]
    fn excluded_row_is_counted_and_not_checked() {
        let filter = RowFilter { statuses: ["FAILED"].map(row_status).into(), ..RowFilter::default() };
        let conditions = RowConditions::new(&filter, FileColumns::current(TYPE));
        let mut lines = CsvEncoder::new(FileColumns::current(TYPE), 0).with_conditions(conditions);
        lines.push(&with("status", Value::Text("FAILED")), "key");
        lines.push(&with("reference", Value::Missing), "key");
        lines.push(&with("status", Value::Text("PAID")), "key");
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.excluded, encoded.invalid_rows.count, encoded.rows_read()), (1, 1, 1, 3));
        assert_eq!(encoded.totals.iter().count(), 1);
        assert_eq!(encoded.invalid_rows.first[0].1.attribute, "status");
    }

    #[test]
    fn only_the_first_twenty_invalid_rows_are_named() {
        let mut lines = CsvEncoder::new(FileColumns::current(TYPE), 0);
        (0..15).for_each(|_| lines.push(&with("currency", Value::Text("XXX")), "key"));
        let encoded = lines.finish();
        let mut invalid_rows = encoded.invalid_rows.clone();
        invalid_rows.append(encoded.invalid_rows);
        assert_eq!((invalid_rows.count, invalid_rows.first.len()), (30, 20));
        let text = invalid_rows.describe(TYPE.definition());
        assert!(text.starts_with("30 payouts cannot be written: po_1 (currency unknown), po_1"), "{text}");
        assert!(text.ends_with(" and 10 more"), "{text}");
        invalid_rows.are_all = false;
        assert!(invalid_rows.describe(TYPE.definition()).starts_with("At least 30 payouts cannot be written: "));
    }

    #[test]
    fn invalid_rows_id_is_shortened_and_printable() {
        let mut row = with("currency", Value::Text("XXX"));
        let id: &'static str = format!("a\r\u{202e}b{}", "x".repeat(100)).leak();
        row[0] = Value::Text(id);
        let invalid_rows = written(&row).invalid_rows;
        assert_eq!(invalid_rows.first[0].0, format!("a\u{fffd}\u{fffd}b{}", "x".repeat(60)));
    }

    #[test]
    fn row_that_overflows_the_totals_is_invalid() {
        let mut lines = CsvEncoder::new(FileColumns::current(TYPE), 0);
        let huge: &'static str = "9".repeat(38).leak();
        (0..3).for_each(|_| lines.push(&with("amountMinor", Value::Number(huge)), "key"));
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.invalid_rows.count), (1, 2));
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_by_a_csv_reader(value in "\\PC{1,40}|[;\"\r\n=+@\t＝＋－＠-]{1,10}") {
            let mut row = good_row();
            row[1] = Value::Text(&value);
            let encoded = written(&row);
            let mut reader =
                csv::ReaderBuilder::new().delimiter(b';').has_headers(false).from_reader(encoded.csv.as_slice());
            let record = reader.records().next().unwrap().unwrap();
            let cell = record.get(1).unwrap();
            prop_assert_eq!(cell.strip_prefix('\'').filter(|_| runs_as_formula(&value)).unwrap_or(cell), value.as_str());
            prop_assert!(!cell.starts_with(FORMULA_STARTS));
            prop_assert_eq!(record.len(), TYPE.definition().columns.len());
        }
    }
}
