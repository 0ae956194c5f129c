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
///
/// Written by hand, as is the page reader, for one bar: the generator's rows per CPU second (BENCHMARKS.md). The writer of
/// the `csv` crate copies each row twice, and looks for characters to quote in cells that cannot have any.
#[derive(Debug)]
pub(crate) struct CsvLines {
    lines: String,
    /// The start of the line that is not complete.
    start: usize,
}

impl CsvLines {
    /// No lines, with room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { lines: String::with_capacity(capacity), start: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Empty => {}
            Cell::Text(text) => self.push_text(text),
            // Codes of letters and underscores.
            Cell::Known(text) => self.lines.push_str(text),
            // Without the milliseconds.
            Cell::Time(time) => {
                self.lines.push_str(time.get(..19).unwrap_or_default());
                self.lines.push('Z');
            }
            Cell::Count(number) => append_whole_number(number, &mut self.lines),
            Cell::Amount(amount) => amount.append_to(&mut self.lines),
        }
        self.lines.push(';');
    }

    #[inline]
    fn push_text(&mut self, text: &str) {
        let guard = if runs_as_formula(text) { "'" } else { "" };
        // Without an early return the compiler vectorises the loop.
        let is_quoted =
            text.bytes().fold(false, |is_quoted, byte| is_quoted | matches!(byte, b';' | b'"' | b'\n' | b'\r'));
        if is_quoted {
            self.lines.extend(["\"", guard, &text.replace('"', "\"\""), "\""]);
        } else {
            self.lines.push_str(guard);
            self.lines.push_str(text);
        }
    }

    pub(crate) fn end_row(&mut self) {
        // The separator after the last cell.
        self.lines.pop();
        self.lines.push('\n');
        self.start = self.lines.len();
    }

    pub(crate) fn discard_row(&mut self) {
        self.lines.truncate(self.start);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.lines.into_bytes()
    }
}

/// A writer with the separator, line end and quoting of all CSV files.
pub(crate) fn csv_writer() -> csv::Writer<Vec<u8>> {
    let mut builder = csv::WriterBuilder::new();
    builder.delimiter(b';').terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new())
}

/// The text as a cell that no spreadsheet runs as a formula.
pub(crate) fn guarded(text: &str) -> Cow<'_, str> {
    if runs_as_formula(text) { format!("'{text}").into() } else { text.into() }
}

#[inline]
pub(crate) fn runs_as_formula(text: &str) -> bool {
    // Most texts start with a letter or a digit.
    !text.as_bytes().first().is_none_or(u8::is_ascii_alphanumeric) && has_formula_start(text)
}

fn has_formula_start(text: &str) -> bool {
    text.starts_with(FORMULA_STARTS) || text.trim_start_matches(DROPPED_BY_LIBREOFFICE).starts_with('=')
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_equal_those_of_the_csv_crate(rows in prop::collection::vec(["[ -~\\n\\r;\"é=]{0,12}", "\\PC{0,5}"], 1..5)) {
            let (mut lines, mut csv) = (CsvLines::new(0), csv_writer());
            for row in &rows {
                for text in row {
                    lines.push(Cell::Text(text));
                }
                lines.end_row();
                lines.push(Cell::Text("discarded"));
                lines.discard_row();
                csv.write_record(row.iter().map(|text| guarded(text).into_owned())).unwrap();
            }
            prop_assert_eq!(lines.finish(), csv.into_inner().unwrap());
        }
    }
}
