//! Writes the cells of rows as CSV.
//!
//! UTF-8, `;` between fields, `\n` after each line, RFC 4180 quoting, a header first. Amounts are decimals with the
//! currency's exponent, times are UTC to the second. Text that a spreadsheet could run as a formula starts with `'`;
//! numbers and times never do, so that sums work.

use std::borrow::Cow;

use crate::export_type::FileColumns;
use crate::money::append_whole_number;
use crate::row_encoder::Cell;

/// The byte-order mark, by which older versions of Excel recognise UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The start of a cell that a spreadsheet runs as a formula. Those in ASCII are from
/// <https://owasp.org/www-community/attacks/CSV_Injection>. The full-width forms are from WSTG-INPV-21, "Testing for CSV
/// Injection", in <https://github.com/OWASP/www-project-web-security-testing-guide>: Excel runs them in Japanese
/// (<https://github.com/OWASP/www-community/issues/1088>).
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// What LibreOffice Calc 7.4.7 drops in front of a formula when it opens a CSV file: NUL always, spaces if "Trim spaces" is
/// chosen. After these it runs `=`, and none of the other starts. It runs no formula after any other control, format or
/// separator character of Unicode, or after combinations of these (`tests/libreoffice` opens them all).
const DROPPED_BY_LIBREOFFICE: [char; 2] = ['\0', ' '];

/// Lines of CSV.
#[derive(Debug)]
pub(crate) struct CsvLines {
    csv: csv::Writer<Vec<u8>>,
    line: csv::ByteRecord,
    scratch: String,
}

impl CsvLines {
    /// No lines, with room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { csv: csv_writer(capacity), line: csv::ByteRecord::new(), scratch: String::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        self.scratch.clear();
        match cell {
            Cell::Empty => {}
            Cell::Text(text) if runs_as_formula(text) => {
                self.scratch.push('\'');
                self.scratch.push_str(text);
            }
            Cell::Text(text) | Cell::Known(text) => return self.line.push_field(text.as_bytes()),
            Cell::Time(time) => return self.line.push_field(&to_the_second(time)),
            Cell::Count(number) => append_whole_number(number, &mut self.scratch),
            Cell::Amount(amount) => amount.append_to(&mut self.scratch),
        }
        self.line.push_field(self.scratch.as_bytes());
    }

    pub(crate) fn end_row(&mut self) {
        // The writer reports records of unequal length and errors of its output. The record has a field for each column,
        // and the output is in memory.
        let _ = self.csv.write_byte_record(&self.line);
        self.line.clear();
    }

    pub(crate) fn discard_row(&mut self) {
        self.line.clear();
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.csv.into_inner().unwrap_or_default()
    }
}

/// `2026-10-08T00:00:01.000Z` without its milliseconds.
fn to_the_second(time: &str) -> [u8; 20] {
    let mut cell = *b"0000-00-00T00:00:00Z";
    for (place, byte) in cell.iter_mut().zip(time.as_bytes().iter().take(19)) {
        *place = *byte;
    }
    cell
}

/// A writer with the separator, line end and quoting of all CSV files, and room for so many bytes.
pub(crate) fn csv_writer(capacity: usize) -> csv::Writer<Vec<u8>> {
    let mut builder = csv::WriterBuilder::new();
    builder.delimiter(b';').terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::with_capacity(capacity))
}

/// The text as a cell that no spreadsheet runs as a formula.
pub(crate) fn guarded(text: &str) -> Cow<'_, str> {
    if runs_as_formula(text) { format!("'{text}").into() } else { text.into() }
}

pub(crate) fn runs_as_formula(text: &str) -> bool {
    text.starts_with(FORMULA_STARTS) || text.trim_start_matches(DROPPED_BY_LIBREOFFICE).starts_with('=')
}

/// The first line of a file, after the byte-order mark if it has one.
#[must_use]
pub fn csv_header(columns: FileColumns, byte_order_mark: bool) -> String {
    let headers: Vec<_> = columns.list().iter().map(|column| column.header).collect();
    format!("{}{}\n", if byte_order_mark { BYTE_ORDER_MARK } else { "" }, headers.join(";"))
}
