//! Rows that cannot be written: how many there are, the first of them with their problems, and the file that lists them.

use std::fmt::{self, Write as _};

use crate::control_chars::is_control_or_bidi;
use crate::csv_encoder::{BYTE_ORDER_MARK, csv_writer, guarded};
use crate::export_type::{Column, Definition};
use crate::row::{ID, Value};

/// How many invalid rows are named.
pub const NAMED_INVALID_ROWS: usize = 20;

/// How many characters of a row's id a message shows.
const SHOWN_ID: usize = 64;

/// How many rows the file of invalid rows holds.
const MAX_ROWS: u64 = 10_000;

/// A file of invalid rows that is so large takes no further row. It is kept in memory.
const MAX_BYTES: usize = 4 << 20;

/// How many characters of a value or an id the file of invalid rows holds. An attribute can have 400 KB.
const MAX_CELL: usize = 1000;

/// The name of a row's sort key, beside those of the columns.
pub(crate) const SORT_KEY: &str = "sort_key";

/// An invalid value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// The column's name in the file's header, or `sort_key`.
    pub column: &'static str,
    /// The problem with it.
    pub problem: ValueProblem,
}

/// A problem with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum ValueProblem {
    /// Required, but absent, NULL or empty.
    Missing,
    /// Of the wrong type, or not in the form that is needed.
    Malformed,
    /// In the right form, but not one of the known values.
    Unknown,
    /// Valid, but not the value in the row's sort key.
    #[strum(serialize = "differs from the sort key")]
    DiffersFromSortKey,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.column, self.problem)
    }
}

/// The rows that cannot be written: their number, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRows {
    /// The number of invalid rows found.
    pub count: u64,
    /// Whether every row was checked. Not so if reading stopped before the last row.
    pub are_all: bool,
    /// The first [`NAMED_INVALID_ROWS`] as a message names them: each with its id, or its sort key if it has no id, and
    /// all that is wrong with it, in column order.
    pub first: Vec<String>,
    /// Their lines of the [file of invalid rows](invalid_rows_header). Empty once they are in the file.
    pub lines: Vec<u8>,
    /// Where the lines of each row end.
    pub ends: Vec<usize>,
}

impl Default for InvalidRows {
    fn default() -> Self {
        Self { count: 0, are_all: true, first: Vec::new(), lines: Vec::new(), ends: Vec::new() }
    }
}

impl InvalidRows {
    /// Adds a row with this sort key, given as the values of `columns`.
    pub(crate) fn add(&mut self, columns: &[Column], row: &[Value<'_>], key: &str, problems: &[InvalidValue]) {
        let id = match row.get(ID) {
            Some(Value::Text(id)) if !id.is_empty() => id,
            _ => key,
        };
        if self.first.len() < NAMED_INVALID_ROWS {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            self.first.push(format!("{} ({})", shown(id), problems.join(", ")));
        }
        if has_room(self.count, self.lines.len()) {
            let value = |invalid: &InvalidValue| {
                let column = columns.iter().position(|column| column.header == invalid.column);
                match column.and_then(|index| row.get(index)) {
                    Some(Value::Text(text)) => text_cell(text),
                    Some(Value::Number(number)) => (*number).to_owned(),
                    Some(Value::Missing | Value::Other) => String::new(),
                    None => text_cell(key),
                }
            };
            self.lines.extend(lines(id, problems.iter().map(|invalid| (invalid, value(invalid)))));
            self.ends.push(self.lines.len());
        }
        self.count += 1;
    }

    /// Appends those that were found after these, and their lines to `file`, which has the lines of these.
    pub fn append(&mut self, later: Self, file: &mut Vec<u8>) {
        let mut start = 0;
        for (end, rows) in later.ends.into_iter().zip(self.count..) {
            if has_room(rows, file.len()) {
                file.extend_from_slice(later.lines.get(start..end).unwrap_or_default());
            }
            start = end;
        }
        self.count += later.count;
        self.are_all &= later.are_all;
        let room = NAMED_INVALID_ROWS.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
    }

    /// One line for people: how many, which, and why. Its length is bounded.
    #[must_use]
    pub fn describe(&self, definition: &Definition) -> String {
        let noun = if self.count == 1 { definition.singular } else { definition.plural };
        let least = if self.are_all { "" } else { "At least " };
        let mut text = format!("{least}{} {noun} cannot be written: {}", self.count, self.first.join(", "));
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

/// Whether a file of invalid rows with so many rows and bytes takes one more row.
const fn has_room(rows: u64, bytes: usize) -> bool {
    rows < MAX_ROWS && bytes < MAX_BYTES
}

/// The first line of the file of invalid rows, after the byte-order mark if it has one. The file has one line for each
/// problem of a row, in the format of the exports' CSV files. It holds at most 10,000 rows.
#[must_use]
pub fn invalid_rows_header(byte_order_mark: bool) -> String {
    format!("{}id;column;problem;value\n", if byte_order_mark { BYTE_ORDER_MARK } else { "" })
}

/// A row's lines of the file of invalid rows.
fn lines<'a>(id: &str, problems: impl Iterator<Item = (&'a InvalidValue, String)>) -> Vec<u8> {
    let mut csv = csv_writer();
    let id = text_cell(id);
    for (InvalidValue { column, problem }, value) in problems {
        // Writing to memory cannot fail.
        let _ = csv.write_record([&id, *column, &problem.to_string(), &value]);
    }
    csv.into_inner().unwrap_or_default()
}

/// A text as a cell of the file of invalid rows.
fn text_cell(text: &str) -> String {
    let cell = guarded(text);
    match cell.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", cell.get(..end).unwrap_or_default()),
        None => cell.into_owned(),
    }
}

/// An id as a message shows it: `"po_1"`, or `"po_1"…` if it is shortened. It is quoted, and quotes in it are escaped, so
/// that two ids cannot be read as one. Control and bidirectional characters are replaced.
pub(crate) fn shown(id: &str) -> String {
    let mut text = String::from("\"");
    for c in id.chars().take(SHOWN_ID) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(if is_control_or_bidi(c) { char::REPLACEMENT_CHARACTER } else { c });
    }
    text.push('"');
    if id.chars().nth(SHOWN_ID).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export_type::ExportType;

    fn rows(ids: &[&'static str]) -> InvalidRows {
        let mut rows = InvalidRows::default();
        for id in ids {
            let problem = InvalidValue { column: "currency", problem: ValueProblem::Unknown };
            rows.add(columns(), &[Value::Text(id)], "key", &[problem]);
        }
        rows
    }

    fn columns() -> &'static [Column] {
        ExportType::MarketplacePayouts.definition().columns
    }

    fn describe(rows: &InvalidRows) -> String {
        rows.describe(ExportType::MarketplacePayouts.definition())
    }

    #[test]
    fn first_twenty_rows_are_named_and_the_others_counted() {
        let mut all = rows(&["po_1"; 15]);
        all.append(rows(&["po_2"; 15]), &mut Vec::new());
        assert_eq!((all.count, all.first.len()), (30, 20));
        let text = describe(&all);
        assert!(text.starts_with("30 payouts cannot be written: \"po_1\" (currency unknown), \"po_1\""), "{text}");
        assert!(text.ends_with("\"po_2\" (currency unknown) and 10 more"), "{text}");
        all.are_all = false;
        assert!(describe(&all).starts_with("At least 30 payouts cannot be written: "));
        assert_eq!(rows(&["po_1"; 30]).first.len(), 20);
    }

    #[test]
    fn file_of_invalid_rows_is_full_at_its_limits() {
        assert!(has_room(MAX_ROWS - 1, 0) && !has_room(MAX_ROWS, 0));
        assert!(has_room(0, MAX_BYTES - 1) && !has_room(0, MAX_BYTES));
    }

    #[test]
    fn all_problems_of_a_row_are_named() {
        let mut all = InvalidRows::default();
        let problem = |column, problem| InvalidValue { column, problem };
        let problems = vec![
            problem("payout_id", ValueProblem::DiffersFromSortKey),
            problem("status", ValueProblem::Missing),
            problem("amount", ValueProblem::Malformed),
        ];
        all.add(columns(), &[Value::Text("po_1")], "key", &problems);
        let text = "1 payout cannot be written: \"po_1\" (payout_id differs from the sort key, status missing, amount \
                    malformed)";
        assert_eq!(describe(&all), text);
    }

    #[test]
    fn two_ids_cannot_be_read_as_one() {
        for [one, a, b] in [
            ["a (currency unknown), b", "a", "b"],
            ["a\" (currency unknown), \"b", "a", "b"],
            ["a\\\" (currency unknown), \\\"b", "a\\", "\\b"],
        ] {
            assert_ne!(
                describe(&rows(&[one])).split_once(':').unwrap().1,
                describe(&rows(&[a, b])).split_once(':').unwrap().1
            );
        }
    }

    #[test]
    fn shown_id_is_bounded_marked_and_printable() {
        let long = "x".repeat(SHOWN_ID);
        assert_eq!(shown("po_1"), "\"po_1\"");
        assert_eq!(shown("a\r\u{202e}b\"\\"), "\"a\u{fffd}\u{fffd}b\\\"\\\\\"");
        assert_eq!(shown(&long), format!("\"{long}\""));
        assert_eq!(shown(&format!("{long}y")), format!("\"{long}\"…"));
        assert_eq!(shown(&format!("{long}…")), format!("\"{long}\"…"));
    }

    #[test]
    fn file_has_a_line_for_each_problem_with_guarded_values() {
        let mut all = InvalidRows::default();
        let problem = |column, problem| InvalidValue { column, problem };
        let row = [Value::Text("=po;1"), Value::Text(" =1+1"), Value::Missing, Value::Number("-1.5"), Value::Other];
        let problems = [
            problem("payout_id", ValueProblem::DiffersFromSortKey),
            problem("reference", ValueProblem::Malformed),
            problem("status", ValueProblem::Missing),
            problem("amount", ValueProblem::Malformed),
            problem("currency", ValueProblem::Malformed),
            problem(SORT_KEY, ValueProblem::Malformed),
        ];
        all.add(columns(), &row, "@key", &problems);
        let mut file = Vec::new();
        InvalidRows::default().append(all, &mut file);
        let expected = "\"'=po;1\";payout_id;differs from the sort key;\"'=po;1\"\n\
                        \"'=po;1\";reference;malformed;' =1+1\n\
                        \"'=po;1\";status;missing;\n\
                        \"'=po;1\";amount;malformed;-1.5\n\
                        \"'=po;1\";currency;malformed;\n\
                        \"'=po;1\";sort_key;malformed;'@key\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
        assert_eq!(invalid_rows_header(true), "\u{feff}id;column;problem;value\n");
    }

    #[test]
    fn file_holds_the_first_ten_thousand_rows() {
        let mut all = InvalidRows::default();
        let mut file = Vec::new();
        for _ in 0..3 {
            all.append(rows(&["po_1"; 4000]), &mut file);
        }
        assert_eq!((all.count, all.lines.len(), all.ends.len()), (12_000, 0, 0));
        assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 10_000);
        assert_eq!(rows(&["po_1"; 10_001]).ends.len(), 10_000);
    }

    #[test]
    fn file_is_bounded_whatever_the_values() {
        let long: &'static str = "x".repeat(400_000).leak();
        assert_eq!(text_cell(long), format!("{}…", "x".repeat(MAX_CELL)));
        assert_eq!(text_cell(&long[..MAX_CELL]), long[..MAX_CELL]);
        let page = rows(&[long; 5000]);
        let size = page.lines.len();
        assert!((MAX_BYTES..MAX_BYTES + 2 * MAX_CELL).contains(&size), "{size}");
        let (mut all, mut file) = (InvalidRows::default(), Vec::new());
        all.append(page.clone(), &mut file);
        all.append(page, &mut file);
        assert_eq!((all.count, file.len()), (10_000, size));
    }
}
