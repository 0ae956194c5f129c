//! The typed cells of a worksheet, before they are written.
//!
//! Amounts and counts are numbers if a spreadsheet keeps them exactly: it calculates with 15 significant digits. Longer
//! ones are text. So are times before March 1900, on whose dates spreadsheets disagree.

use crate::money::{Money, append_whole_number};
use crate::row_encoder::Cell;
use crate::time::Timestamp;

/// The most characters of a cell, in UTF-16 code units (Microsoft, "Excel specifications and limits").
pub const MAX_CELL_CHARS: usize = 32_767;

/// The numbers below this, with or without decimals, have 15 digits at most.
const TEN_TO_15: u64 = 1_000_000_000_000_000;

/// The days from 30 December 1899, the day 0 of spreadsheets, to the epoch.
const EPOCH_DAY: f64 = 25_569.0;

/// 1 March 1900 in seconds since the epoch. Excel has a 29 February in that year.
const MARCH_1900: i64 = -2_203_891_200;

/// A cell of a worksheet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SheetCell<'a> {
    /// No value.
    Empty,
    /// Text.
    Text(&'a str),
    /// A number that is shown with this many decimals.
    Number {
        /// The number.
        value: f64,
        /// The number of decimals.
        decimals: u8,
    },
    /// A time in UTC, as spreadsheets store it: in days.
    Time(f64),
}

/// The cells of rows, each row with one cell for each column of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetRows {
    cells: Vec<StoredCell>,
    /// The texts of all cells, one after another.
    text: String,
    /// The number of cells, and of bytes of text, up to the last complete row.
    complete: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredCell {
    Empty,
    /// The next so many bytes of [`SheetRows::text`].
    Text(usize),
    Number {
        minor: i64,
        decimals: u8,
    },
    /// Seconds since the epoch.
    Time(i64),
}

impl SheetRows {
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        let cell = match cell {
            Cell::Empty => StoredCell::Empty,
            Cell::Text(text) | Cell::Known(text) => self.store_text(text),
            Cell::Time(text) => match text.parse::<Timestamp>() {
                Ok(time) if time.seconds() >= MARCH_1900 => StoredCell::Time(time.seconds()),
                Ok(time) => self.store_text(&time.to_seconds_text()),
                Err(_) => self.store_text(text),
            },
            Cell::Count(count) => exact_number(count, 0).unwrap_or_else(|| {
                let mut text = String::new();
                append_whole_number(count, &mut text);
                self.store_text(&text)
            }),
            Cell::Amount(Money { minor, currency }) => exact_number(minor, currency.exponent())
                .unwrap_or_else(|| self.store_text(&Money { minor, currency }.to_string())),
        };
        self.cells.push(cell);
    }

    fn store_text(&mut self, text: &str) -> StoredCell {
        self.text.push_str(text);
        StoredCell::Text(text.len())
    }

    pub(crate) fn end_row(&mut self) {
        self.complete = (self.cells.len(), self.text.len());
    }

    pub(crate) fn discard_row(&mut self) {
        let (cells, text) = self.complete;
        self.cells.truncate(cells);
        self.text.truncate(text);
    }

    /// The cells of all rows, row by row.
    pub fn cells(&self) -> impl Iterator<Item = SheetCell<'_>> {
        let mut texts = self.text.as_str();
        self.cells.iter().map(move |cell| match *cell {
            StoredCell::Empty => SheetCell::Empty,
            StoredCell::Text(bytes) => {
                let (text, rest) = texts.split_at_checked(bytes).unwrap_or_default();
                texts = rest;
                SheetCell::Text(text)
            }
            StoredCell::Number { minor, decimals } => SheetCell::number(minor, decimals),
            StoredCell::Time(seconds) => SheetCell::time(seconds),
        })
    }
}

impl SheetCell<'_> {
    /// The cell of a number of rows, of which no file has so many that a spreadsheet would round it.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::number(i64::try_from(count).unwrap_or(i64::MAX), 0)
    }

    /// The cell of an amount, unless it has more than 15 digits.
    #[must_use]
    pub fn amount(amount: Money) -> Option<Self> {
        match exact_number(amount.minor, amount.currency.exponent())? {
            StoredCell::Number { minor, decimals } => Some(Self::number(minor, decimals)),
            _ => None,
        }
    }

    /// The quotient of two integers that a double holds exactly is the double nearest to the decimal, so that it is read
    /// back as the same decimal.
    fn number(minor: i64, decimals: u8) -> Self {
        Self::Number { value: minor as f64 / 10_f64.powi(decimals.into()), decimals }
    }

    fn time(seconds: i64) -> Self {
        Self::Time(EPOCH_DAY + seconds as f64 / 86_400.0)
    }
}

/// The number, if it has at most 15 digits.
fn exact_number(number: i128, decimals: u8) -> Option<StoredCell> {
    let minor = i64::try_from(number).ok().filter(|minor| minor.unsigned_abs() < TEN_TO_15)?;
    Some(StoredCell::Number { minor, decimals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cells of one row.
    fn row(cells: &[Cell<'_>]) -> SheetRows {
        let mut rows = SheetRows::default();
        cells.iter().for_each(|cell| rows.push(*cell));
        rows.end_row();
        rows
    }

    fn amount(minor: i128, code: &str) -> Cell<'static> {
        Cell::Amount(Money { minor, currency: code.parse().unwrap() })
    }

    #[test]
    fn values_become_typed_cells_and_keep_their_order() {
        let rows = row(&[
            Cell::Text("007"),
            Cell::Empty,
            Cell::Text("=1+1"),
            Cell::Known("SETTLED"),
            amount(-123_450, "EUR"),
            amount(7, "JPY"),
            amount(1, "KWD"),
            Cell::Count(42),
            Cell::Time("2026-10-08T12:00:00.999Z"),
            Cell::Time("1900-03-01T00:00:00.000Z"),
            Cell::Text("Müller"),
        ]);
        let number = |value, decimals| SheetCell::Number { value, decimals };
        assert_eq!(
            rows.cells().collect::<Vec<_>>(),
            [
                SheetCell::Text("007"),
                SheetCell::Empty,
                SheetCell::Text("=1+1"),
                SheetCell::Text("SETTLED"),
                number(-1234.5, 2),
                number(7.0, 0),
                number(0.001, 3),
                number(42.0, 0),
                SheetCell::Time(46_303.5),
                SheetCell::Time(61.0),
                SheetCell::Text("Müller"),
            ]
        );
    }

    #[test]
    fn value_that_a_spreadsheet_would_change_is_text() {
        for (cell, text) in [
            (amount(1_000_000_000_000_000, "EUR"), "10000000000000.00"),
            (amount(-1_000_000_000_000_000, "JPY"), "-1000000000000000"),
            (amount(i128::MAX, "KWD"), "170141183460469231731687303715884105.727"),
            (Cell::Count(1_000_000_000_000_000), "1000000000000000"),
            (Cell::Time("1900-02-28T23:59:59.999Z"), "1900-02-28T23:59:59Z"),
        ] {
            assert_eq!(row(&[cell]).cells().collect::<Vec<_>>(), [SheetCell::Text(text)]);
        }
        let largest = row(&[amount(999_999_999_999_999, "EUR")]);
        assert_eq!(largest.cells().next(), Some(SheetCell::Number { value: 9_999_999_999_999.99, decimals: 2 }));
    }

    #[test]
    fn discarded_row_leaves_nothing() {
        let mut rows = row(&[Cell::Text("a")]);
        rows.push(Cell::Text("b"));
        rows.push(Cell::Count(1));
        rows.discard_row();
        assert_eq!(rows, row(&[Cell::Text("a")]));
    }

    proptest! {
        #[test]
        fn number_is_read_back_as_the_same_decimal(minor in -999_999_999_999_999_i64..1_000_000_000_000_000) {
            for code in ["JPY", "EUR", "KWD", "CLF"] {
                let money = Money { minor: minor.into(), currency: code.parse().unwrap() };
                let Some(SheetCell::Number { value, decimals }) = SheetCell::amount(money) else { panic!("{money}") };
                prop_assert_eq!(format!("{value:.*}", usize::from(decimals)), money.to_string());
                let shortest: f64 = value.to_string().parse().unwrap();
                prop_assert_eq!(shortest.to_bits(), value.to_bits());
            }
        }
    }
}
