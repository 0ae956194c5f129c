//! XLSX files, as a reader library reads them.

use std::io::Cursor;

use calamine::{Data, Reader as _, Xlsx};
use exports_domain::export_type::ExportType;

use crate::rows::{EXPONENTS, SEPARATOR, headers, is_amount, is_time};

/// An XLSX file as text.
pub(crate) struct Sheets {
    /// The first sheet, in the form of the independent writer.
    pub rows: String,
    /// The rows of the sheet of totals: currency, status, count, amount.
    pub totals: Vec<String>,
    /// The number of rows, as the sheet of totals states it.
    pub row_count: String,
}

/// Reads an XLSX file.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read(export_type: ExportType, bytes: &[u8]) -> Result<Sheets, String> {
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(|error| format!("is no workbook: {error}"))?;
    let mut sheet = |index| match book.worksheet_range_at(index) {
        Some(Ok(range)) => Ok(range.rows().map(<[Data]>::to_vec).collect::<Vec<_>>()),
        _ => Err(format!("has no sheet {index}")),
    };
    let (rows, totals) = (sheet(0)?, sheet(1)?);
    let names: Vec<_> = headers(export_type).collect();
    let currency = names.iter().position(|name| *name == "currency").unwrap();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let decimals = decimals(&row[currency]);
        let typed = |(name, cell): (&&str, &Data)| if index == 0 { plain(cell) } else { typed(name, cell, decimals) };
        let cells: Vec<_> = names.iter().zip(row).map(typed).collect();
        text += &format!("{}\n", cells.join(SEPARATOR));
    }
    // The exported rows, an empty row, and the totals below their header.
    let header = totals.iter().position(|row| plain(&row[3]) == "Amount").ok_or("has no totals")?;
    let (facts, totals) = totals.split_at(header);
    let row_count = facts.iter().filter(|row| plain(&row[0]) == "Rows").map(|row| plain(&row[1])).collect();
    let totals = totals[1..].iter().map(|row| {
        [plain(&row[0]), plain(&row[1]), plain(&row[2]), typed("amount", &row[3], decimals(&row[0]))].join(SEPARATOR)
    });
    Ok(Sheets { rows: text, totals: totals.collect(), row_count })
}

fn plain(cell: &Data) -> String {
    cell.to_string()
}

/// The decimals of amounts in this currency.
fn decimals(currency: &Data) -> usize {
    EXPONENTS
        .iter()
        .find(|(code, _)| *currency == Data::String((*code).to_owned()))
        .map_or(0, |(_, decimals)| *decimals)
}

/// The text of a cell in this column; a cell of the wrong type is shown with its type.
fn typed(header: &str, cell: &Data, decimals: usize) -> String {
    match cell {
        Data::Empty => String::new(),
        Data::Float(amount) if is_amount(header) => format!("{amount:.decimals$}"),
        Data::Float(count) if header == "order_count" => count.to_string(),
        Data::DateTime(days) if is_time(header) => {
            let (year, month, day, hour, minute, second, _) = days.to_ymd_hms_milli();
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
        }
        Data::String(text) if !is_amount(header) && !is_time(header) && header != "order_count" => text.clone(),
        other => format!("{other:?}"),
    }
}
