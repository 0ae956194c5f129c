//! The CSV file: payouts to lines, and what is known of a file once it is whole.
//!
//! UTF-8, `;` between fields, `\n` after each line, quoting by RFC 4180, a header first. Amounts are decimals by the
//! currency's exponent, times are UTC to the second. Text that a spreadsheet could run as a formula gets a leading `'`;
//! numbers and times never do, so that sums work.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::control_chars::is_control_or_bidi;
use crate::id::{ExportId, TenantId};
use crate::money::{Currency, Money, append_whole_number, parse_whole_number};
use crate::payout::{COLUMNS, ColumnKind, InvalidValue, PayoutStatus, Row, Value, ValueProblem};
use crate::time::{Timestamp, is_timestamp};

/// The media type of every file.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// What a file with a byte-order mark begins with: older versions of Excel take it as the sign for UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// How many of the payouts that cannot be written are named.
pub const NAMED_INVALID_ROWS: usize = 20;

/// Count and sum of the payouts of one currency and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many payouts.
    pub count: u64,
    /// The sum of their amounts in minor units.
    pub minor: i128,
}

/// The control totals of a file, by currency and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<(Currency, PayoutStatus), Total>);

impl Totals {
    /// Counts `more` in; `false`, and nothing changed, if the sum is beyond what can be held.
    #[must_use]
    pub fn add(&mut self, currency: Currency, status: PayoutStatus, more: Total) -> bool {
        let total = self.0.entry((currency, status)).or_default();
        let (Some(count), Some(minor)) = (total.count.checked_add(more.count), total.minor.checked_add(more.minor))
        else {
            return false;
        };
        *total = Total { count, minor };
        true
    }

    /// The totals, by currency's code, then status.
    pub fn iter(&self) -> impl Iterator<Item = (Currency, PayoutStatus, Total)> + '_ {
        self.0.iter().map(|((currency, status), total)| (*currency, *status, *total))
    }

    /// Counts all of `more` in; `false` if a sum is beyond what can be held.
    #[must_use]
    pub fn add_all(&mut self, more: &Self) -> bool {
        more.iter().all(|(currency, status, total)| self.add(currency, status, total))
    }

    /// Count and sum by currency, all statuses together.
    #[must_use]
    pub fn by_currency(&self) -> Vec<(Currency, Total)> {
        let mut sums: BTreeMap<Currency, Total> = BTreeMap::new();
        for ((currency, _), total) in &self.0 {
            let sum = sums.entry(*currency).or_default();
            sum.count += total.count;
            sum.minor = sum.minor.saturating_add(total.minor);
        }
        sums.into_iter().collect()
    }
}

/// The payouts that cannot be written: how many, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRows {
    /// How many there are.
    pub count: u64,
    /// Whether they are all there are: not so if the time did not suffice to look at every payout.
    pub are_all: bool,
    /// The first [`NAMED_INVALID_ROWS`]: the payout's id, or its key where the id itself is missing, and what is wrong.
    pub first: Vec<(String, InvalidValue)>,
}

impl Default for InvalidRows {
    fn default() -> Self {
        Self { count: 0, are_all: true, first: Vec::new() }
    }
}

impl InvalidRows {
    /// Adds those that were found after these.
    pub fn append(&mut self, later: Self) {
        self.count += later.count;
        self.are_all &= later.are_all;
        let room = NAMED_INVALID_ROWS.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
    }

    /// One line for people: how many, which, and why.
    #[must_use]
    pub fn describe(&self) -> String {
        let payouts = if self.count == 1 { "1 payout".to_owned() } else { format!("{} payouts", self.count) };
        let least = if self.are_all { "" } else { "At least " };
        let mut text = format!("{least}{payouts} cannot be written: ");
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

/// A stretch of a file: some payouts as lines, with what is to be counted of them.
#[derive(Debug)]
pub struct CsvEncoder {
    csv: csv::Writer<Vec<u8>>,
    /// The line that is being made.
    record: csv::ByteRecord,
    scratch: String,
    rows: u64,
    totals: RunningTotals,
    invalid_rows: InvalidRows,
}

/// Totals while they are counted: few currencies, found by looking at each.
#[derive(Debug, Default)]
struct RunningTotals(Vec<(Currency, [Total; PayoutStatus::ALL.len()])>);

impl RunningTotals {
    /// The currency of this code, and its place here; known ones are found without asking the list of all.
    fn find(&mut self, code: &str) -> Option<usize> {
        let known = self.0.iter().position(|(currency, _)| currency.code() == code);
        known.or_else(|| {
            self.0.push((code.parse().ok()?, Default::default()));
            Some(self.0.len() - 1)
        })
    }

    fn currency(&self, place: usize) -> Option<Currency> {
        self.0.get(place).map(|(currency, _)| *currency)
    }

    /// Counts one payout; `false`, and nothing changed, if the sum is beyond what can be held.
    fn add(&mut self, place: usize, status: PayoutStatus, minor: i128) -> bool {
        let total = self.0.get_mut(place).and_then(|(_, totals)| totals.get_mut(status as usize));
        let Some(total) = total else { return false };
        let Some(sum) = total.minor.checked_add(minor) else { return false };
        *total = Total { count: total.count + 1, minor: sum };
        true
    }

    fn finish(self) -> Totals {
        let mut totals = Totals::default();
        for (currency, sums) in self.0 {
            for (status, total) in PayoutStatus::ALL.into_iter().zip(sums).filter(|(_, total)| total.count > 0) {
                // There is one sum for each: none is added to another.
                let _ = totals.add(currency, status, total);
            }
        }
        totals
    }
}

/// A finished stretch of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    /// The lines.
    pub csv: Vec<u8>,
    /// How many payouts they hold.
    pub rows: u64,
    /// Their totals.
    pub totals: Totals,
    /// Those that could not be written.
    pub invalid_rows: InvalidRows,
}

impl Default for CsvEncoder {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl CsvEncoder {
    /// No line yet, and room for so many bytes of them.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let csv = csv::WriterBuilder::new()
            .delimiter(b';')
            .terminator(csv::Terminator::Any(b'\n'))
            .from_writer(Vec::with_capacity(bytes));
        let (record, totals, invalid_rows) = (csv::ByteRecord::new(), RunningTotals::default(), InvalidRows::default());
        Self { csv, record, scratch: String::new(), rows: 0, totals, invalid_rows }
    }

    /// Writes one payout, or counts it among those that cannot be written; `key` names it if its id cannot.
    pub fn push(&mut self, row: &Row<'_>, key: &str) {
        match self.check_and_write(row) {
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

    /// Writes the row's line, which is there whole or not at all.
    fn check_and_write(&mut self, row: &Row<'_>) -> Result<(), InvalidValue> {
        self.record.clear();
        // The amount stands before its currency, and cannot be written without it.
        let place = match row.get(CURRENCY) {
            Some(Value::Text(code)) => self.totals.find(code),
            _ => None,
        };
        let currency = place.and_then(|place| self.totals.currency(place));
        let (mut status, mut minor) = (None, None);
        for (column, value) in COLUMNS.iter().zip(row) {
            let invalid = |problem| InvalidValue { attribute: column.attribute, problem };
            match (column.kind, *value) {
                (_, Value::Missing | Value::Text("")) if column.required => return Err(invalid(ValueProblem::Missing)),
                (_, Value::Missing) => self.record.push_field(b""),
                (ColumnKind::Text, Value::Text(text)) if runs_as_formula(text) => {
                    self.scratch.clear();
                    self.scratch.push('\'');
                    self.scratch.push_str(text);
                    self.record.push_field(self.scratch.as_bytes());
                }
                (ColumnKind::Text, Value::Text(text)) => self.record.push_field(text.as_bytes()),
                // An optional time that is there has to be one, so an empty text is no absence to it.
                (ColumnKind::Time, Value::Text(text)) if is_timestamp(text) => {
                    // `2026-10-08T00:00:01.000Z`: the file's form is that without the milliseconds.
                    let mut time = *b"0000-00-00T00:00:00Z";
                    for (place, byte) in time.iter_mut().zip(text.as_bytes().iter().take(19)) {
                        *place = *byte;
                    }
                    self.record.push_field(&time);
                }
                (ColumnKind::Status, Value::Text(text)) => {
                    status = Some(text.parse::<PayoutStatus>().map_err(|_| invalid(ValueProblem::Unknown))?);
                    self.record.push_field(text.as_bytes());
                }
                (ColumnKind::Currency, Value::Text(text)) => {
                    if currency.is_none() {
                        return Err(invalid(ValueProblem::Unknown));
                    }
                    self.record.push_field(text.as_bytes());
                }
                (ColumnKind::Amount, Value::Number(number)) => {
                    let amount = parse_whole_number(number).ok_or(invalid(ValueProblem::Malformed))?;
                    minor = Some(amount);
                    self.scratch.clear();
                    if let Some(currency) = currency {
                        Money { minor: amount, currency }.append_to(&mut self.scratch);
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
        let (Some(status), Some(place), Some(minor)) = (status, place, minor) else {
            // COLUMNS has the three as required columns, so the row was refused above.
            return Err(InvalidValue { attribute: "status", problem: ValueProblem::Missing });
        };
        if !self.totals.add(place, status, minor) {
            return Err(InvalidValue { attribute: "amountMinor", problem: ValueProblem::Malformed });
        }
        // Writing to memory cannot fail.
        let _ = self.csv.write_byte_record(&self.record);
        Ok(())
    }

    /// The stretch as it stands.
    #[must_use]
    pub fn finish(self) -> EncodedRows {
        let csv = self.csv.into_inner().unwrap_or_default();
        EncodedRows { csv, rows: self.rows, totals: self.totals.finish(), invalid_rows: self.invalid_rows }
    }
}

/// Where in a row the currency stands.
#[expect(clippy::indexing_slicing, reason = "what is out of bounds does not compile")]
const CURRENCY: usize = {
    let mut index = 0;
    while index < COLUMNS.len() && !matches!(COLUMNS[index].kind, ColumnKind::Currency) {
        index += 1;
    }
    index
};

/// An id as a message may show it: ids come from outside, so their length is bounded and layout is not kept.
fn printable(id: &str) -> String {
    id.chars().take(64).map(|c| if is_control_or_bidi(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What a cell that a spreadsheet takes for a formula begins with (OWASP, CSV injection). Programs set to an East Asian
/// language take the full-width forms for the plain ones.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

fn runs_as_formula(text: &str) -> bool {
    text.starts_with(FORMULA_STARTS)
}

/// What stands before the first payout: the mark, if the export has one, and the header.
#[must_use]
pub fn csv_header(byte_order_mark: bool) -> String {
    let mut text = if byte_order_mark { BYTE_ORDER_MARK.to_owned() } else { String::new() };
    for (index, column) in COLUMNS.iter().enumerate() {
        if index > 0 {
            text.push(';');
        }
        text.push_str(column.header);
    }
    text.push('\n');
    text
}

/// Where a file is kept: a key of its own for every upload, so that a late write of a stalled one spoils no other.
#[must_use]
pub fn object_key(tenant: &TenantId, export: &ExportId, fencing_token: u64) -> String {
    format!("exports/{tenant}/{export}/{fencing_token}.csv")
}

/// The name that a downloaded file gets.
#[must_use]
pub fn download_name(tenant: &TenantId, export: &ExportId, as_of: Timestamp) -> String {
    format!("{}-{tenant}-{}.csv", export.export_type().slug(), as_of.to_compact_text())
}

/// A whole file, as it is recorded on its export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// The object's key in the exports bucket.
    pub key: String,
    /// The name that a download gets.
    pub name: String,
    /// How many payouts it holds.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Count and sum by currency and status.
    pub totals: Totals,
    /// When its retention is over. No link lives longer.
    pub expires_at: Timestamp,
}

impl ExportFile {
    /// When a link made at `now` to this file ends: after `life`, or with the file; a whole second, as links have it.
    #[must_use]
    pub fn link_expiry(&self, now: Timestamp, life: Duration) -> Timestamp {
        Timestamp::from_millis(now.plus(life).min(self.expires_at).seconds() * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good_row() -> Row<'static> {
        let time = Value::Text("2026-10-08T00:00:01.000Z");
        [
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

    fn with(column: &str, value: Value<'static>) -> Row<'static> {
        let mut row = good_row();
        row[COLUMNS.iter().position(|c| c.attribute == column).unwrap()] = value;
        row
    }

    fn written(row: &Row<'_>) -> EncodedRows {
        let mut lines = CsvEncoder::default();
        lines.push(row, "key");
        lines.finish()
    }

    fn text(encoded: &EncodedRows) -> &str {
        str::from_utf8(&encoded.csv).unwrap()
    }

    #[test]
    fn header_is_the_published_one() {
        let header = "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;\
                      psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n";
        assert_eq!(csv_header(false), header);
        assert_eq!(csv_header(true), format!("\u{feff}{header}"));
    }

    #[test]
    fn payout_is_one_line_in_the_columns_order() {
        let encoded = written(&good_row());
        let time = "2026-10-08T00:00:01Z";
        let line = format!("po_1;REF-1;SETTLED;-1234.50;EUR;{time};{time};7;BA_MKP;;;{time};;;{time}\n");
        assert_eq!(text(&encoded), line);
        assert_eq!(encoded.rows, 1);
        let total = Total { count: 1, minor: -123_450 };
        let totals: Vec<_> = encoded.totals.iter().collect();
        assert_eq!(totals, [("EUR".parse().unwrap(), PayoutStatus::Settled, total)]);
    }

    #[test]
    fn text_that_could_run_is_guarded_and_numbers_are_not() {
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"] {
            let value: &'static str = format!("{start}1+1").leak();
            let encoded = written(&with("reference", Value::Text(value)));
            assert!(text(&encoded).contains(&format!("'{value}")), "{start:?}");
        }
        assert!(text(&written(&with("reference", Value::Text("a=1")))).contains(";a=1;"));
        assert!(text(&written(&good_row())).contains(";-1234.50;"));
    }

    #[test]
    fn fields_are_quoted_only_where_they_must_be() {
        for (value, field) in
            [("a;b", "\"a;b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\""), ("a,b", "a,b"), ("é😀", "é😀")]
        {
            assert!(text(&written(&with("reference", Value::Text(value)))).contains(&format!(";{field};")), "{value}");
        }
    }

    #[test]
    fn payout_that_cannot_be_written_is_counted_and_leaves_no_trace() {
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
            ("settledAt", Value::Text(""), Malformed),
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
    fn faults_beyond_the_first_twenty_are_only_counted() {
        let mut lines = CsvEncoder::default();
        (0..15).for_each(|_| lines.push(&with("currency", Value::Text("XXX")), "key"));
        let encoded = lines.finish();
        let mut invalid_rows = encoded.invalid_rows.clone();
        invalid_rows.append(encoded.invalid_rows);
        assert_eq!((invalid_rows.count, invalid_rows.first.len()), (30, 20));
        let text = invalid_rows.describe();
        assert!(text.starts_with("30 payouts cannot be written: po_1 (currency unknown), po_1"), "{text}");
        assert!(text.ends_with(" and 10 more"), "{text}");
        invalid_rows.are_all = false;
        assert!(invalid_rows.describe().starts_with("At least 30 payouts cannot be written: "));
    }

    #[test]
    fn faulty_payouts_id_is_shown_bounded_and_without_layout() {
        let mut row = with("currency", Value::Text("XXX"));
        let id: &'static str = format!("a\r\u{202e}b{}", "x".repeat(100)).leak();
        row[0] = Value::Text(id);
        let invalid_rows = written(&row).invalid_rows;
        assert_eq!(invalid_rows.first[0].0, format!("a\u{fffd}\u{fffd}b{}", "x".repeat(60)));
    }

    #[test]
    fn totals_beyond_38_digits_fail_the_row() {
        let mut lines = CsvEncoder::default();
        let huge: &'static str = "9".repeat(38).leak();
        (0..3).for_each(|_| lines.push(&with("amountMinor", Value::Number(huge)), "key"));
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.invalid_rows.count), (1, 2));
    }

    #[test]
    fn link_ends_with_its_life_or_with_the_file() {
        let now = Timestamp::from_millis(1_000_000);
        let file = ExportFile {
            key: String::new(),
            name: String::new(),
            rows: 0,
            bytes: 0,
            sha256: String::new(),
            totals: Totals::default(),
            expires_at: now.plus(Duration::from_secs(100)),
        };
        assert_eq!(file.link_expiry(now, Duration::from_secs(60)), now.plus(Duration::from_secs(60)));
        assert_eq!(file.link_expiry(now, Duration::from_secs(600)), file.expires_at);
    }

    proptest! {
        #[test]
        fn any_text_reads_back_through_a_csv_reader(value in "\\PC{1,40}|[;\"\r\n=+@\t＝＋－＠-]{1,10}") {
            let mut row = good_row();
            row[1] = Value::Text(&value);
            let encoded = written(&row);
            let mut reader =
                csv::ReaderBuilder::new().delimiter(b';').has_headers(false).from_reader(encoded.csv.as_slice());
            let record = reader.records().next().unwrap().unwrap();
            let cell = record.get(1).unwrap();
            prop_assert_eq!(cell.strip_prefix('\'').filter(|_| runs_as_formula(&value)).unwrap_or(cell), value.as_str());
            prop_assert!(!cell.starts_with(FORMULA_STARTS));
            prop_assert_eq!(record.len(), COLUMNS.len());
        }
    }
}
