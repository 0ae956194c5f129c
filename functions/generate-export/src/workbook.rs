//! Writes rows as an Excel workbook: a sheet of typed cells, and a sheet of totals.
//!
//! A workbook is a compressed archive whose table of contents comes last. rust_xlsxwriter keeps the first sheet in a
//! temporary file without a name, which the system deletes with the process at the latest, and compresses it when all
//! rows are known. So memory stays flat, and the archive is passed on while it is written.

use std::io::{self, Write};

use exports_domain::export::Export;
use exports_domain::export_type::{Column, ColumnKind};
use exports_domain::file::ReadInterval;
use exports_domain::money::Money;
use exports_domain::sheet::{MAX_CELL_CHARS, SheetCell, SheetRows};
use exports_domain::summary::{conditions, period};
use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format, FormatAlign, IgnoreError, Workbook as Book, Worksheet, XlsxError,
};
use tokio::sync::mpsc::Sender;

use crate::statistics::FileStatistics;

/// Why rows were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkbookError {
    /// A text is too long for a cell.
    #[error("a text is too long for a cell")]
    TextTooLong {
        /// The id of the row.
        id: String,
        /// The column's header.
        column: &'static str,
    },
    /// The workbook could not be written.
    #[error(transparent)]
    Library(#[from] XlsxError),
}

/// A workbook whose first sheet is being written.
pub(crate) struct Workbook {
    book: Book,
    columns: &'static [Column],
    formats: Formats,
    /// The last row written, from the header, which is row 0.
    row: u32,
    amounts_as_text: u64,
}

/// How cells are shown. Text cells have the text format, so that a value that is edited stays text.
struct Formats {
    bold: Format,
    text: Format,
    time: Format,
    /// By number of decimals.
    numbers: [Format; 5],
}

impl Formats {
    fn new() -> Self {
        let number = |decimals| {
            let fraction = if decimals == 0 { String::new() } else { format!(".{}", "0".repeat(decimals)) };
            Format::new().set_num_format(format!("#,##0{fraction}"))
        };
        Self {
            bold: Format::new().set_bold(),
            text: Format::new().set_num_format("@"),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            numbers: [0, 1, 2, 3, 4].map(number),
        }
    }

    fn number(&self, decimals: u8) -> &Format {
        self.numbers.get(usize::from(decimals)).unwrap_or(&self.text)
    }
}

impl Workbook {
    /// A workbook without rows for an export.
    pub(crate) fn new(export: &Export) -> Result<Self, WorkbookError> {
        let (mut book, formats, columns) = (Book::new(), Formats::new(), export.columns.list());
        let sheet = book.add_worksheet_with_constant_memory()?;
        sheet.set_name(export.id.export_type().definition().title)?.set_freeze_panes(1, 0)?;
        for (index, column) in (0..).zip(columns) {
            let header = header(column);
            sheet.set_column_width(index, width(column.kind).max(header.len() + 4) as f64)?;
            sheet.write_string_with_format(0, index, header, &formats.bold)?;
        }
        Ok(Self { book, columns, formats, row: 0, amounts_as_text: 0 })
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &SheetRows) -> Result<(), WorkbookError> {
        let sheet = self.book.worksheet_from_index(0)?;
        let mut cells = rows.cells();
        while let Some(id) = cells.next() {
            self.row += 1;
            for (index, column) in (0..).zip(self.columns) {
                let cell = if index == 0 { Some(id) } else { cells.next() };
                let Some(cell) = cell else { break };
                if let SheetCell::Text(text) = cell {
                    if text.len() > MAX_CELL_CHARS && text.encode_utf16().count() > MAX_CELL_CHARS {
                        let id = if let SheetCell::Text(id) = id { id } else { "" };
                        return Err(WorkbookError::TextTooLong { id: id.to_owned(), column: column.header });
                    }
                    let is_amount = matches!(column.kind, ColumnKind::Amount | ColumnKind::OtherAmount);
                    self.amounts_as_text += u64::from(is_amount);
                }
                write(sheet, (self.row, index), cell, &self.formats)?;
            }
        }
        Ok(())
    }

    /// Adds the sheet of totals, after the last row.
    pub(crate) fn summarize(
        &mut self,
        export: &Export,
        statistics: &FileStatistics,
        read: Option<ReadInterval>,
    ) -> Result<(), WorkbookError> {
        if let Some(read) = read {
            // The library would take the time of the system's clock.
            let created_at = ExcelDateTime::from_timestamp(read.to.seconds())?;
            self.book.set_properties(&DocProperties::new().set_creation_datetime(&created_at));
        }
        let last_column = u16::try_from(self.columns.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let rows = self.book.worksheet_from_index(0)?;
        rows.autofilter(0, 0, self.row, last_column)?;
        rows.ignore_error_range(0, 0, self.row, last_column, IgnoreError::NumberStoredAsText)?;

        let definition = export.id.export_type().definition();
        let mut facts =
            vec![("Export", export.id.to_string()), ("Includes", format!("{} {}", definition.plural, period(export)))];
        facts.extend(conditions(export, read));
        facts.push(("Rows", statistics.rows_written.to_string()));
        if self.amounts_as_text > 0 {
            let note = format!("amounts of more than 15 digits, stored as text: {}", self.amounts_as_text);
            facts.push(("Note", note));
        }
        let (sheet, formats) = (self.book.add_worksheet(), &self.formats);
        sheet.set_name("Totals")?;
        for (column, width) in [(0, 12), (1, 22), (2, 12), (3, 24)] {
            sheet.set_column_width(column, width)?;
        }
        let mut row = 0;
        for (name, value) in &facts {
            sheet.write_string_with_format(row, 0, *name, &formats.bold)?;
            sheet.write_string_with_format(row, 1, value, &formats.text)?;
            row += 1;
        }
        row += 1;
        let right = formats.bold.clone().set_align(FormatAlign::Right);
        for (column, header) in [(0, "Currency"), (1, "Status"), (2, "Count"), (3, "Amount")] {
            sheet.write_string_with_format(row, column, header, if column < 2 { &formats.bold } else { &right })?;
        }
        for (currency, status, total) in statistics.totals.iter() {
            row += 1;
            let amount = Money { minor: total.minor, currency };
            let text = amount.to_string();
            let cells = [
                SheetCell::Text(currency.code()),
                SheetCell::Text(status.name()),
                SheetCell::count(total.count),
                SheetCell::amount(amount).unwrap_or(SheetCell::Text(&text)),
            ];
            for (column, cell) in (0..).zip(cells) {
                write(sheet, (row, column), cell, formats)?;
            }
        }
        Ok(())
    }

    /// Sends the archive in pieces of about this size. Takes as long as it takes to compress all rows.
    ///
    /// # Errors
    /// [`WorkbookError`] if nobody receives them.
    pub(crate) fn save(mut self, size: usize, chunks: Sender<Vec<u8>>) -> Result<(), WorkbookError> {
        let mut chunks = Chunks { size, chunks, next: Vec::new() };
        self.book.save_to_writer(&mut chunks)?;
        Ok(chunks.flush().map_err(XlsxError::from)?)
    }
}

/// The header of a column. Cells of times have no time zone, so the header has it.
fn header(column: &Column) -> String {
    match column.kind {
        ColumnKind::Time => format!("{} (UTC)", column.header),
        _ => column.header.to_owned(),
    }
}

/// The width of a column in characters.
const fn width(kind: ColumnKind) -> usize {
    match kind {
        ColumnKind::Text => 26,
        ColumnKind::Status | ColumnKind::OneOf(_) | ColumnKind::Time => 20,
        ColumnKind::Amount | ColumnKind::OtherAmount => 16,
        ColumnKind::Count | ColumnKind::Currency => 10,
    }
}

fn write(
    sheet: &mut Worksheet,
    (row, column): (u32, u16),
    cell: SheetCell<'_>,
    formats: &Formats,
) -> Result<(), XlsxError> {
    match cell {
        SheetCell::Empty => return Ok(()),
        SheetCell::Text(text) => sheet.write_string_with_format(row, column, text, &formats.text)?,
        SheetCell::Number { value, decimals } => {
            sheet.write_number_with_format(row, column, value, formats.number(decimals))?
        }
        SheetCell::Time(days) => sheet.write_number_with_format(row, column, days, &formats.time)?,
    };
    Ok(())
}

/// Collects the archive's bytes into pieces and sends them.
struct Chunks {
    size: usize,
    chunks: Sender<Vec<u8>>,
    next: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.next.extend_from_slice(bytes);
        if self.next.len() >= self.size {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.chunks.blocking_send(std::mem::take(&mut self.next)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
