//! Encodes rows for a file: checks each row, and passes its values as typed cells to the file's format.

use crate::csv_encoder::CsvLines;
use crate::export_type::{CREATED_AT, Column, ColumnKind, Definition, RowStatus};
use crate::invalid_rows::{InvalidRows, InvalidValue, SORT_KEY, ValueProblem};
use crate::money::{Currency, Money, parse_whole_number};
use crate::options::FileFormat;
use crate::row::{ID, Value, requires};
use crate::row_selection::{RowConditions, RowSelection};
use crate::sheet::SheetRows;
use crate::time::is_timestamp;
use crate::totals::{RunningTotals, Totals};

/// A valid value of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// No value.
    Empty,
    /// Text of any kind.
    Text(&'a str),
    /// One of the known values of its column.
    Known(&'a str),
    /// A time, as the table has it: `2026-10-08T00:00:01.000Z`.
    Time(&'a str),
    /// An integer.
    Count(i128),
    /// An amount.
    Amount(Money),
}

/// Encoded rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    /// The cells.
    pub cells: EncodedCells,
    /// The number of rows in them.
    pub rows: u64,
    /// The number of rows that the filter excluded.
    pub excluded: u64,
    /// The totals of the rows.
    pub totals: Totals,
    /// The rows that could not be encoded.
    pub invalid_rows: InvalidRows,
}

/// The cells of rows, in the form that their file needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodedCells {
    /// Lines of CSV.
    Csv(Vec<u8>),
    /// The typed cells of a worksheet.
    Xlsx(SheetRows),
}

impl Default for EncodedCells {
    fn default() -> Self {
        Self::Csv(Vec::new())
    }
}

impl EncodedCells {
    /// The lines of CSV; none in another format.
    #[must_use]
    pub fn csv(&self) -> &[u8] {
        match self {
            Self::Csv(lines) => lines,
            Self::Xlsx(_) => &[],
        }
    }
}

impl EncodedRows {
    /// The number of rows read: written, excluded or invalid.
    #[must_use]
    pub const fn rows_read(&self) -> u64 {
        self.rows + self.excluded + self.invalid_rows.count
    }
}

/// Where the cells of a format go. A row ends with `end_row`, or with `discard_row` if it is invalid.
#[derive(Debug)]
enum Output {
    Csv(CsvLines),
    Xlsx(SheetRows),
}

impl Output {
    #[inline]
    fn push(&mut self, cell: Cell<'_>) {
        match self {
            Self::Csv(lines) => lines.push(cell),
            Self::Xlsx(rows) => rows.push(cell),
        }
    }

    fn end_row(&mut self) {
        match self {
            Self::Csv(lines) => lines.end_row(),
            Self::Xlsx(rows) => rows.end_row(),
        }
    }

    fn discard_row(&mut self) {
        match self {
            Self::Csv(lines) => lines.discard_row(),
            Self::Xlsx(rows) => rows.discard_row(),
        }
    }
}

/// Encodes the rows of one file.
///
/// ```
/// use exports_domain::export_type::{ExportType, FileColumns};
/// use exports_domain::row::Value;
/// use exports_domain::row_encoder::RowEncoder;
/// use exports_domain::row_selection::RowSelection;
/// use exports_domain::testing::{payout, sort_key, start, with_value};
///
/// let export_type = ExportType::MarketplacePayouts;
/// let valid = payout("po_1", start());
/// let invalid = with_value(payout("po_2", start()), "currency", Value::Text("XXX"));
/// let mut encoder = RowEncoder::new(&RowSelection::all(FileColumns::current(export_type)), 0);
/// for row in [valid, invalid] {
///     encoder.push(&row, &sort_key(export_type, &row));
/// }
/// let encoded = encoder.finish();
/// assert!(encoded.cells.csv().starts_with(b"po_1;REF-1;SETTLED;41.15;EUR;"));
/// assert_eq!((encoded.rows, encoded.invalid_rows.count), (1, 1));
/// assert_eq!(encoded.invalid_rows.first, ["\"po_2\" (currency unknown)"]);
/// ```
#[derive(Debug)]
pub struct RowEncoder {
    definition: &'static Definition,
    columns: &'static [Column],
    /// The index of the currency's column.
    currency: usize,
    /// The index of the creation time's column.
    created_at: usize,
    output: Output,
    conditions: RowConditions,
    rows: u64,
    excluded: u64,
    totals: RunningTotals,
    invalid_rows: InvalidRows,
}

impl RowEncoder {
    /// An encoder of the selected rows, with room for so many bytes of CSV.
    #[must_use]
    pub fn new(selection: &RowSelection, capacity: usize) -> Self {
        let (definition, columns) = (selection.columns.export_type.definition(), selection.columns.list());
        let position = |is: &dyn Fn(&Column) -> bool| columns.iter().position(is).unwrap_or_default();
        Self {
            definition,
            columns,
            currency: position(&|column| column.kind == ColumnKind::Currency),
            created_at: position(&|column| column.attribute == CREATED_AT),
            output: match selection.format {
                FileFormat::Csv => Output::Csv(CsvLines::new(capacity)),
                FileFormat::Xlsx => Output::Xlsx(SheetRows::default()),
            },
            conditions: selection.conditions.clone(),
            rows: 0,
            excluded: 0,
            totals: RunningTotals::new(definition),
            invalid_rows: InvalidRows::default(),
        }
    }

    /// Encodes a row, given as one value for each of the file's columns and its sort key. An invalid row is counted and
    /// named by its id, or by `key` if its id is missing.
    pub fn push(&mut self, row: &[Value<'_>], key: &str) {
        if self.conditions.excludes(row) {
            self.excluded += 1;
            return;
        }
        let problems = self.encode(row, key);
        if problems.is_empty() {
            self.output.end_row();
            self.rows += 1;
        } else {
            self.output.discard_row();
            self.invalid_rows.add(self.columns, row, key, &problems);
        }
    }

    /// Pushes the row's cells, or returns all problems with the row.
    fn encode(&mut self, row: &[Value<'_>], key: &str) -> Vec<InvalidValue> {
        // Amounts precede their currency.
        let mut money = RowMoney {
            currency: text_at(row, self.currency).and_then(|code| self.totals.find(code)),
            status: None,
            amount: None,
        };
        let mut problems = Vec::new();
        for (column, value) in self.columns.iter().zip(row) {
            let is_missing = matches!(value, Value::Missing | Value::Text(""));
            let cell = match is_missing {
                true if requires(column, self.columns, row) == Some(true) => Err(ValueProblem::Missing),
                true => Ok(Cell::Empty),
                false => self.cell(column, *value, &mut money),
            };
            match cell {
                Ok(cell) => self.output.push(cell),
                Err(problem) => problems.push(InvalidValue { column: column.header, problem }),
            }
        }
        let (created_at, id) = (text_at(row, self.created_at), text_at(row, ID));
        if !problems.is_empty() || !is_key_of(key, created_at.unwrap_or_default(), id.unwrap_or_default()) {
            self.compare_with_key(row, key, &mut problems);
            return problems;
        }
        // Every type has these three as required columns, so that they are present here.
        if let RowMoney { currency: Some((currency, _)), status: Some(status), amount: Some((minor, column)) } = money
            && !self.totals.add(currency, status, minor)
        {
            return vec![InvalidValue { column, problem: ValueProblem::Malformed }];
        }
        problems
    }

    /// The cell of a value that is not missing.
    #[inline]
    fn cell<'a>(&self, column: &Column, value: Value<'a>, money: &mut RowMoney) -> Result<Cell<'a>, ValueProblem> {
        match (column.kind, value) {
            (ColumnKind::Text, Value::Text(text)) => Ok(Cell::Text(text)),
            (ColumnKind::Time, Value::Text(text)) if is_timestamp(text) => Ok(Cell::Time(text)),
            (ColumnKind::Status | ColumnKind::Currency | ColumnKind::OneOf(_), Value::Text(text)) => {
                let is_known = match column.kind {
                    ColumnKind::OneOf(values) => values.contains(&text),
                    ColumnKind::Currency => money.currency.is_some(),
                    _ => {
                        money.status = self.definition.status(text);
                        money.status.is_some()
                    }
                };
                if is_known { Ok(Cell::Known(text)) } else { Err(ValueProblem::Unknown) }
            }
            (ColumnKind::Amount | ColumnKind::OtherAmount | ColumnKind::Count, Value::Number(number)) => {
                let whole = parse_whole_number(number).ok_or(ValueProblem::Malformed)?;
                if column.kind == ColumnKind::Amount {
                    money.amount = Some((whole, column.header));
                }
                Ok(match (column.kind, money.currency) {
                    (ColumnKind::Count, _) => Cell::Count(whole),
                    (_, Some((_, currency))) => Cell::Amount(Money { minor: whole, currency }),
                    // The row is invalid.
                    (_, None) => Cell::Empty,
                })
            }
            (_, Value::Missing | Value::Text(_) | Value::Number(_) | Value::Other) => Err(ValueProblem::Malformed),
        }
    }

    /// Adds the problems with the row's sort key, which must be `<createdAt>#<id>`, in column order.
    #[cold]
    fn compare_with_key(&self, row: &[Value<'_>], key: &str, problems: &mut Vec<InvalidValue>) {
        let Some((created_at, id)) = parse_key(key) else {
            problems.push(InvalidValue { column: SORT_KEY, problem: ValueProblem::Malformed });
            return;
        };
        for (index, expected) in [(ID, id), (self.created_at, created_at)] {
            let (Some(column), Some(value)) = (self.columns.get(index), row.get(index)) else { continue };
            // An invalid value is already among the problems.
            if *value != Value::Text(expected) && problems.iter().all(|problem| problem.column != column.header) {
                problems.push(InvalidValue { column: column.header, problem: ValueProblem::DiffersFromSortKey });
            }
        }
        let position = |header| self.columns.iter().position(|column| column.header == header);
        problems.sort_by_key(|problem| position(problem.column));
    }

    /// The encoded rows.
    #[must_use]
    pub fn finish(self) -> EncodedRows {
        EncodedRows {
            cells: match self.output {
                Output::Csv(lines) => EncodedCells::Csv(lines.finish()),
                Output::Xlsx(rows) => EncodedCells::Xlsx(rows),
            },
            rows: self.rows,
            excluded: self.excluded,
            totals: self.totals.finish(),
            invalid_rows: self.invalid_rows,
        }
    }
}

/// The contribution of a row to the totals, as far as its values are valid.
struct RowMoney {
    /// Its index in the totals, and the currency.
    currency: Option<(usize, Currency)>,
    status: Option<RowStatus>,
    /// The amount and the header of its column.
    amount: Option<(i128, &'static str)>,
}

fn text_at<'a>(row: &[Value<'a>], index: usize) -> Option<&'a str> {
    if let Some(Value::Text(text)) = row.get(index) { Some(text) } else { None }
}

/// Whether `key` is `<createdAt>#<id>`, the sort key of a row with these values.
fn is_key_of(key: &str, created_at: &str, id: &str) -> bool {
    key.strip_prefix(created_at).and_then(|rest| rest.strip_prefix('#')) == Some(id)
}

/// The time and the id of a sort key, if it has this form.
fn parse_key(key: &str) -> Option<(&str, &str)> {
    let (time, id) = key.split_once('#')?;
    (is_timestamp(time) && !id.is_empty()).then_some((time, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv_encoder::{csv_header, runs_as_formula};
    use crate::export_type::Required;
    use crate::export_type::{ExportType, FileColumns};
    use crate::filter::RowFilter;
    use crate::options::ExportOptions;
    use crate::testing::{Row, payout, row_status, sort_key, with_value};
    use crate::totals::Total;
    use proptest::prelude::*;

    const TYPE: ExportType = ExportType::MarketplacePayouts;

    fn good_row() -> Row {
        let payout = payout("po_1", "2026-10-08T00:00:01.000Z".parse().unwrap());
        with_value(payout, "amountMinor", Value::Number("-123450"))
    }

    fn with(column: &str, value: Value<'static>) -> Row {
        with_value(good_row(), column, value)
    }

    fn written(row: &[Value<'_>]) -> EncodedRows {
        written_as(TYPE, row)
    }

    fn written_as(export_type: ExportType, row: &[Value<'_>]) -> EncodedRows {
        written_at(export_type, row, &sort_key(export_type, row))
    }

    fn written_at(export_type: ExportType, row: &[Value<'_>], key: &str) -> EncodedRows {
        let mut lines = RowEncoder::new(&RowSelection::all(FileColumns::current(export_type)), 0);
        lines.push(row, key);
        lines.finish()
    }

    /// The problems with the only row.
    fn problems(encoded: &EncodedRows) -> String {
        assert_eq!((text(encoded), encoded.rows, &encoded.totals), ("", 0, &Totals::default()));
        let [row] = &encoded.invalid_rows.first[..] else { panic!("{encoded:?}") };
        let (_, problems) = row.rsplit_once(" (").unwrap();
        problems.strip_suffix(')').unwrap().to_owned()
    }

    /// The same, as expected.
    fn named(problems: &[(&str, ValueProblem)]) -> String {
        let problems: Vec<_> = problems.iter().map(|(column, problem)| format!("{column} {problem}")).collect();
        problems.join(", ")
    }

    fn text(encoded: &EncodedRows) -> &str {
        str::from_utf8(encoded.cells.csv()).unwrap()
    }

    #[test]
    fn header_names_the_columns_after_any_byte_order_mark() {
        let header = csv_header(FileColumns::current(TYPE), false);
        assert!(header.starts_with("payout_id;reference;status;amount;") && header.ends_with('\n'), "{header}");
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
    fn row_with(export_type: ExportType, values: &[(&str, Value<'static>)]) -> Row {
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
                    assert!(problems(&encoded).starts_with(&named(&[(column.header, problem)])), "{column:?}");
                }
            }
        }
    }

    #[test]
    fn supplier_payout_has_all_amounts_in_its_currency() {
        const TYPE: ExportType = ExportType::SupplierPayouts;
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
        for (of, attribute, header) in [
            ("sourceBalanceAccountType", "sourceSupplierId", "source_supplier_id"),
            ("targetBalanceAccountType", "targetSupplierId", "target_supplier_id"),
        ] {
            for id in [Value::Missing, Value::Text("")] {
                let supplier = row_with(TYPE, &[(of, Value::Text("SUPPLIER")), (attribute, id)]);
                assert_eq!(problems(&written_as(TYPE, &supplier)), named(&[(header, ValueProblem::Missing)]));
                let marketplace = row_with(TYPE, &[(of, Value::Text("MARKETPLACE")), (attribute, id)]);
                assert_eq!(written_as(TYPE, &marketplace).rows, 1);
            }
            let marketplace = row_with(TYPE, &[(of, Value::Text("MARKETPLACE")), (attribute, Value::Text("s"))]);
            assert_eq!(written_as(TYPE, &marketplace).rows, 1);
        }
    }

    #[test]
    fn text_that_could_run_as_a_formula_is_guarded() {
        for start in [
            "=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "\0=", "\0\0=", " =", "   =", "\0 =", " \0 =",
        ] {
            let value: &'static str = format!("{start}1+1").leak();
            let encoded = written(&with("reference", Value::Text(value)));
            assert!(text(&encoded).contains(&format!("'{value}")), "{start:?}");
        }
        for value in ["a=1", " -1", " +1", "\0@1", "\u{a0}=1", "\u{200b}=1", "\u{feff}=1", "\u{b}=1", " \u{200b}=1"] {
            let encoded = written(&with("reference", Value::Text(value)));
            assert!(text(&encoded).contains(&format!(";{value};")), "{value:?}");
        }
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
        for (attribute, value, column, problem) in [
            ("reference", Value::Text(""), "reference", Missing),
            ("reference", Value::Number("1"), "reference", Malformed),
            ("status", Value::Text("PAID"), "status", Unknown),
            ("currency", Value::Text("XXX"), "currency", Unknown),
            ("currency", Value::Other, "currency", Malformed),
            ("amountMinor", Value::Number("1.5"), "amount", Malformed),
            ("amountMinor", Value::Text("1"), "amount", Malformed),
            ("orderCount", Value::Missing, "order_count", Missing),
            ("pspReference", Value::Other, "psp_reference", Malformed),
        ] {
            let encoded = written(&with(attribute, value));
            assert_eq!(problems(&encoded), named(&[(column, problem)]));
            assert!(encoded.invalid_rows.count == 1 && encoded.invalid_rows.first[0].starts_with("\"po_1\" ("));
        }
    }

    #[test]
    fn row_whose_sort_key_is_not_its_time_and_id_is_invalid() {
        use ValueProblem::*;
        let (time, later) = ("2026-10-08T00:00:01.000Z", "2026-10-08T00:00:01.001Z");
        let key = format!("{time}#po_1");
        let changed = |attribute, value| with(attribute, value);
        for (row, key, expected) in [
            (good_row(), key.clone(), vec![]),
            (changed("payoutId", Value::Text("a#b")), format!("{time}#a#b"), vec![]),
            (good_row(), format!("{later}#po_1"), vec![("created_at", DiffersFromSortKey)]),
            (good_row(), format!("{time}#po_2"), vec![("payout_id", DiffersFromSortKey)]),
            (
                good_row(),
                format!("{later}#po_2"),
                vec![("payout_id", DiffersFromSortKey), ("created_at", DiffersFromSortKey)],
            ),
            (
                changed("amountMinor", Value::Missing),
                format!("{later}#po_2"),
                vec![("payout_id", DiffersFromSortKey), ("amount", Missing), ("created_at", DiffersFromSortKey)],
            ),
            // An invalid value is not compared.
            (changed("createdAt", Value::Text("2026-10-08")), key.clone(), vec![("created_at", Malformed)]),
            (changed("createdAt", Value::Missing), key.clone(), vec![("created_at", Missing)]),
            (changed("payoutId", Value::Missing), key.clone(), vec![("payout_id", Missing)]),
            (changed("payoutId", Value::Missing), "#".into(), vec![("payout_id", Missing), ("sort_key", Malformed)]),
            (
                changed("createdAt", Value::Text("2026-10-08")),
                "2026-10-08#po_1".into(),
                vec![("created_at", Malformed), ("sort_key", Malformed)],
            ),
            (
                changed("createdAt", Value::Text("")),
                "#po_1".into(),
                vec![("created_at", Missing), ("sort_key", Malformed)],
            ),
        ] {
            let encoded = written_at(TYPE, &row, &key);
            if expected.is_empty() {
                assert_eq!(encoded.rows, 1, "{key}");
            } else {
                assert_eq!(problems(&encoded), named(&expected), "{key}");
            }
        }
        for key in
            ["", "po_1", time, &format!("{time}#"), &format!("{time}po_1"), &format!(" {key}"), "2026-10-08#po_1"]
        {
            assert_eq!(problems(&written_at(TYPE, &good_row(), key)), "sort_key malformed", "{key}");
        }
        for (id, shown) in [(Value::Missing, "\"k\""), (Value::Text(""), "\"k\""), (Value::Text("po_1"), "\"po_1\"")] {
            let encoded = written_at(TYPE, &with("payoutId", id), "k");
            assert!(encoded.invalid_rows.first[0].starts_with(shown), "the key names a row without an id");
        }
    }

    #[test]
    fn all_invalid_values_of_a_row_are_named_in_column_order() {
        for export_type in ExportType::ALL {
            let columns = export_type.definition().columns;
            let all: Vec<_> = columns.iter().map(|column| (column.header, ValueProblem::Malformed)).collect();
            let row = vec![Value::Other; columns.len()];
            let expected: Vec<_> = all.iter().copied().chain([(SORT_KEY, ValueProblem::Malformed)]).collect();
            assert_eq!(problems(&written_at(export_type, &row, "k")), named(&expected));
        }
    }

    #[test]
    fn excluded_row_is_counted_and_not_checked() {
        let filter = RowFilter { statuses: ["FAILED"].map(row_status).into(), ..RowFilter::default() };
        let options = ExportOptions { filter, ..ExportOptions::default() };
        let mut lines = RowEncoder::new(&RowSelection::of(FileColumns::current(TYPE), &options), 0);
        let key = sort_key(TYPE, &good_row());
        lines.push(&with("status", Value::Text("FAILED")), &key);
        lines.push(&with("reference", Value::Missing), "another key");
        lines.push(&with("status", Value::Text("PAID")), &key);
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.excluded, encoded.invalid_rows.count, encoded.rows_read()), (1, 1, 1, 3));
        assert_eq!(encoded.totals.iter().count(), 1);
        assert_eq!(encoded.invalid_rows.first, ["\"po_1\" (status unknown)"]);
    }

    #[test]
    fn row_that_overflows_the_totals_is_invalid() {
        let mut lines = RowEncoder::new(&RowSelection::all(FileColumns::current(TYPE)), 0);
        let huge: &'static str = "9".repeat(38).leak();
        let key = sort_key(TYPE, &good_row());
        (0..3).for_each(|_| lines.push(&with("amountMinor", Value::Number(huge)), &key));
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.invalid_rows.count), (1, 2));
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_by_a_csv_reader(value in "\\PC{1,40}|[;\"\r\n=+@\t＝＋－＠\\x00 -]{1,10}") {
            let mut row = good_row();
            row[1] = Value::Text(&value);
            let encoded = written(&row);
            let mut reader =
                csv::ReaderBuilder::new().delimiter(b';').has_headers(false).from_reader(encoded.cells.csv());
            let record = reader.records().next().unwrap().unwrap();
            let cell = record.get(1).unwrap();
            prop_assert_eq!(cell.strip_prefix('\'').filter(|_| runs_as_formula(&value)).unwrap_or(cell), value.as_str());
            prop_assert!(!runs_as_formula(cell));
            prop_assert_eq!(record.len(), TYPE.definition().columns.len());
        }
    }
}
