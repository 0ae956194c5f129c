//! The data: computed rows of the source table of any export type.
//!
//! Row `i` is computed from `i` alone, so ten million rows need no memory and any range can be served. For speed, rows
//! are copies of 64 templates in which only fields of fixed width are replaced. The templates are made of the type's
//! columns by kind of value. The expected CSV file is computed in the same way, without the product's encoder.

use std::io::{self, Write};

use exports_domain::export_type::{Column, ColumnKind, ExportType, FileColumns, Required, RowStatus};
use exports_domain::filter::{FilterKind, RowFilter};
use exports_domain::hex;
use exports_domain::money::Currency;
use exports_domain::time::Timestamp;
use exports_domain::totals::{Total, Totals};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Error;

/// The tenant of all rows.
pub const TENANT: &str = "bench-marketplace";

/// The creation time of the first row: 2022-01-01T00:00:00Z.
const FIRST: i64 = 1_640_995_200_000;
/// The time from the first row to the last: three years.
const SPAN: i64 = 3 * 365 * DAY;
const MIDDLE: i64 = FIRST + SPAN / 2 / DAY * DAY;
/// July 2023.
const MONTH: std::ops::Range<i64> = FIRST + 546 * DAY..FIRST + 577 * DAY;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000;

/// The number of row templates.
const VARIANTS: u64 = 64;

/// The distribution of the rows over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Spread {
    /// Evenly over three years.
    Even,
    /// In one day, except the first and last row.
    Day,
    /// 99 % in one hour, the others evenly over three years.
    Hour,
    /// All in the same millisecond.
    Millisecond,
}

/// The filter of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display, strum::EnumString, strum::VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Filter {
    /// None: all rows.
    Off,
    /// One status and one currency, which is one row in eight.
    Values,
    /// The creation times of one month, which is one row in 35 if they are even.
    Month,
}

/// A data set.
#[derive(Clone, Debug)]
pub struct SourceRows {
    export_type: ExportType,
    filter: RowFilter,
    rows: u64,
    spread: Spread,
    variants: Vec<Variant>,
}

/// The expected CSV file of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Number of rows that the filter includes.
    pub rows: u64,
    /// Number of rows that must be read: those of the filter's period.
    pub rows_read: u64,
    /// The control totals.
    pub totals: Totals,
}

/// The rows that [`SourceRows::write_items`] has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenRows {
    /// Number of rows.
    pub count: u64,
    /// Their size in bytes as DynamoDB counts it.
    pub size: u64,
    /// The last row.
    pub last: Option<u64>,
    /// Whether a limit was reached.
    pub full: bool,
}

impl SourceRows {
    /// A data set of `rows` rows.
    ///
    /// # Errors
    /// If the type has no statuses.
    pub fn new(export_type: ExportType, kind: Filter, rows: u64, spread: Spread) -> Result<Self, Error> {
        let mut variants: Vec<_> =
            (0..VARIANTS).map(|index| Variant::new(export_type, index)).collect::<Result<_, _>>()?;
        let mut filter = RowFilter::default();
        match kind {
            Filter::Off => {}
            Filter::Values => {
                let first = variants.first().ok_or("no variants")?;
                filter.statuses.insert(first.status);
                filter.currencies.insert(first.currency);
                for variant in &mut variants {
                    variant.is_included =
                        filter.statuses.contains(&variant.status) && filter.currencies.contains(&variant.currency);
                }
            }
            Filter::Month => {
                filter.created_at_from = Some(Timestamp::from_millis(MONTH.start));
                filter.created_at_to = Some(Timestamp::from_millis(MONTH.end - 1));
            }
        }
        Ok(Self { export_type, filter, rows, spread, variants })
    }

    /// The export type.
    #[must_use]
    pub const fn export_type(&self) -> ExportType {
        self.export_type
    }

    /// The filter of the export.
    #[must_use]
    pub const fn filter(&self) -> &RowFilter {
        &self.filter
    }

    /// The bounds of the sort keys of the filter's period, both inclusive.
    #[must_use]
    pub fn period(&self) -> [String; 2] {
        let from = self.filter.created_at_from.map_or_else(|| "0".to_owned(), |from| from.to_string());
        // After all sort keys with this time, which continue with `#`.
        let to = self.filter.created_at_to.map_or_else(|| "9".to_owned(), |to| format!("{to}$"));
        [from, to]
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The creation time of row `row`, in milliseconds since 1970.
    fn millis(&self, row: u64) -> i64 {
        let part = |span: i64| {
            let part = u128::from(row) * u128::from(span.unsigned_abs()) / u128::from(self.rows.max(1));
            i64::try_from(part).unwrap_or(span)
        };
        match self.spread {
            Spread::Even => FIRST + part(SPAN),
            Spread::Day if row == 0 => FIRST,
            Spread::Day if row + 1 == self.rows => FIRST + SPAN,
            Spread::Day => MIDDLE + part(DAY),
            Spread::Hour => {
                let few = self.rows / 200;
                match row {
                    _ if row < few || row >= self.rows - few => FIRST + part(SPAN),
                    _ => MIDDLE + part(HOUR),
                }
            }
            Spread::Millisecond => MIDDLE,
        }
    }

    /// The sort key of row `row`: `<createdAt>#<id>`.
    #[must_use]
    pub fn sort_key(&self, row: u64) -> String {
        let mut values = Values::default();
        self.write_key(row, &mut values);
        String::from_utf8_lossy(values.get(KEY)).into_owned()
    }

    /// The first row whose sort key is at or after `key`, or the number of rows.
    #[must_use]
    pub fn first_from(&self, key: &str) -> u64 {
        self.partition(|sort| sort < key.as_bytes())
    }

    /// The first row whose sort key is after `key`, or the number of rows.
    #[must_use]
    pub fn first_after(&self, key: &str) -> u64 {
        self.partition(|sort| sort <= key.as_bytes())
    }

    fn partition(&self, is_before: impl Fn(&[u8]) -> bool) -> u64 {
        let mut values = Values::default();
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low.midpoint(high);
            self.write_key(middle, &mut values);
            if is_before(values.get(KEY)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Writes the items of `rows`, separated by commas, up to `max_size` bytes and `max_rows` rows. Starts at the end
    /// of the range if `backward`.
    pub fn write_items(
        &self,
        rows: std::ops::Range<u64>,
        backward: bool,
        max_size: u64,
        max_rows: u64,
        out: &mut Vec<u8>,
    ) -> WrittenRows {
        let mut values = Values::default();
        let mut written = WrittenRows::default();
        let length = rows.end.saturating_sub(rows.start);
        for step in 0..length {
            let row = if backward { rows.end - 1 - step } else { rows.start + step };
            let Some(variant) = self.fill(row, &mut values) else { break };
            if written.count == max_rows || (written.count > 0 && written.size + variant.size > max_size) {
                written.full = true;
                break;
            }
            if written.count > 0 {
                out.push(b',');
            }
            variant.item.write(&values, out);
            written.count += 1;
            written.size += variant.size;
            written.last = Some(row);
        }
        // DynamoDB stops at a limit without checking for more rows, so a page with `max_rows` rows is never the last.
        written.full |= written.count == max_rows;
        written
    }

    /// Writes the whole CSV file.
    ///
    /// # Errors
    /// If writing to `file` fails.
    pub fn write_csv(&self, file: &mut impl Write) -> io::Result<Expected> {
        let mut hash = Sha256::new();
        let mut expected = Expected::default();
        let mut values = Values::default();
        let headers: Vec<_> = columns(self.export_type).iter().map(|column| column.header).collect();
        let mut lines = format!("{}\n", headers.join(";")).into_bytes();
        let mut flush = |lines: &mut Vec<u8>| {
            hash.update(&lines);
            expected.bytes += lines.len() as u64;
            file.write_all(lines)?;
            lines.clear();
            io::Result::Ok(())
        };
        let [from, to] = self.period();
        let period = self.first_from(&from)..self.first_after(&to);
        expected.rows_read = period.end - period.start;
        for row in period {
            if let Some(variant) = self.fill(row, &mut values).filter(|variant| variant.is_included) {
                variant.line.write(&values, &mut lines);
                expected.rows += 1;
                let (sign, digits) = variant.amount;
                let total = Total { count: 1, minor: sign * values.number(digits) };
                if !expected.totals.add(variant.currency, variant.status, total) {
                    return Err(io::Error::other("the totals overflow"));
                }
            }
            if lines.len() >= 1 << 20 {
                flush(&mut lines)?;
            }
        }
        flush(&mut lines)?;
        expected.sha256 = hex::encode(&hash.finalize());
        Ok(expected)
    }

    fn write_key(&self, row: u64, values: &mut Values) {
        // Within a millisecond, IDs ascend with the rows and are distributed over the whole ID space.
        let ordinal = (u128::from(row) << 64) / u128::from(self.rows.max(1));
        let ordinal = u64::try_from(ordinal).unwrap_or(u64::MAX);
        values.set_time(CREATED, self.millis(row));
        values.set(SEPARATOR, b"#");
        values.set_hex(ORDINAL, ordinal);
        values.set_hex(NOISE, mix(row) >> 32);
        values.set(ID_PREFIX, b"id_");
    }

    /// Computes the values of row `row` and returns its template.
    fn fill(&self, row: u64, values: &mut Values) -> Option<&Variant> {
        let mixed = mix(row);
        self.write_key(row, values);
        values.set_decimal(SERIAL, row);
        values.set_digits(DIGITS, mixed);
        values.set_hex(HEX, mixed.rotate_left(17));
        let created = self.millis(row);
        for (time, after) in OTHER_TIMES.into_iter().zip([-7 * DAY, 0, 2 * HOUR + 417, 2 * DAY + 1_234]) {
            values.set_time(time, created + after);
        }
        self.variants.get(usize::try_from(mixed % VARIANTS).ok()?)
    }
}

/// The columns of a new export's file.
fn columns(export_type: ExportType) -> &'static [Column] {
    FileColumns::current(export_type).list()
}

/// A deterministic hash of `n` (splitmix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Start and length of a value in [`Values`].
type FieldRange = (usize, usize);
const CREATED: FieldRange = (0, 24);
const SEPARATOR: FieldRange = (24, 1);
const ID_PREFIX: FieldRange = (25, 3);
const ORDINAL: FieldRange = (28, 16);
const NOISE: FieldRange = (44, 8);
const KEY: FieldRange = (0, 52);
const ID: FieldRange = (25, 27);
const SERIAL: FieldRange = (52, 10);
const DIGITS: FieldRange = (62, 16);
const HEX: FieldRange = (78, 16);
const OTHER_TIMES: [FieldRange; 4] = [(94, 24), (118, 24), (142, 24), (166, 24)];

/// The values of one row.
struct Values([u8; 190]);

impl Default for Values {
    fn default() -> Self {
        Self([b'0'; 190])
    }
}

#[expect(clippy::indexing_slicing, reason = "the ranges are constants within the array")]
impl Values {
    fn get(&self, (from, length): FieldRange) -> &[u8] {
        &self.0[from..from + length]
    }

    fn field_mut(&mut self, (from, length): FieldRange) -> &mut [u8] {
        &mut self.0[from..from + length]
    }

    fn set(&mut self, range: FieldRange, text: &[u8]) {
        self.field_mut(range).copy_from_slice(text);
    }

    fn set_hex(&mut self, range: FieldRange, mut number: u64) {
        for digit in self.field_mut(range).iter_mut().rev() {
            *digit = b"0123456789abcdef"[(number & 15) as usize];
            number >>= 4;
        }
    }

    fn set_decimal(&mut self, range: FieldRange, mut number: u64) {
        for digit in self.field_mut(range).iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    /// Digits from 1 to 9, so that a number has no leading zeros at any length.
    fn set_digits(&mut self, range: FieldRange, mut number: u64) {
        for digit in self.field_mut(range) {
            *digit = b'1' + (number % 9) as u8;
            number /= 9;
        }
    }

    fn number(&self, range: FieldRange) -> i128 {
        self.get(range).iter().fold(0, |number, digit| number * 10 + i128::from(digit - b'0'))
    }

    /// `2026-10-08T00:00:01.000Z`
    fn set_time(&mut self, range: FieldRange, millis: i64) {
        let (year, month, day) = date(millis.div_euclid(DAY));
        let time = millis.rem_euclid(DAY);
        let mut at = range.0;
        let parts = [
            (4, b'-', year),
            (2, b'-', month),
            (2, b'T', day),
            (2, b':', time / HOUR),
            (2, b':', time / 60_000 % 60),
            (2, b'.', time / 1000 % 60),
            (3, b'Z', time % 1000),
        ];
        for (length, after, number) in parts {
            self.set_decimal((at, length), number.unsigned_abs());
            self.0[at + length] = after;
            at += length + 1;
        }
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// Text with gaps for a row's values.
#[derive(Clone, Debug, Default)]
struct Template {
    text: Vec<u8>,
    gaps: Vec<(usize, FieldRange)>,
}

impl Template {
    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn gap(&mut self, range: FieldRange) {
        self.gaps.push((self.text.len(), range));
        self.text.resize(self.text.len() + range.1, b'0');
    }

    #[expect(clippy::indexing_slicing, reason = "gaps are within the text")]
    fn write(&self, values: &Values, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        for (at, range) in &self.gaps {
            let at = start + at;
            out[at..at + range.1].copy_from_slice(values.get(*range));
        }
    }
}

/// A template of a row.
#[derive(Clone, Debug)]
struct Variant {
    item: Template,
    line: Template,
    /// The item's size in bytes as DynamoDB counts it: names and values.
    size: u64,
    status: RowStatus,
    currency: Currency,
    /// The sign and the digits of the amount that goes into the totals.
    amount: (i128, FieldRange),
    is_included: bool,
}

/// A value in a template.
#[derive(Debug, PartialEq, Eq)]
enum Field {
    Absent,
    Null,
    Text(String),
    /// Text, followed by a gap.
    Value(String, FieldRange, Form),
}

/// How a CSV file has the value of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    /// To the second.
    Time,
    /// With this many decimals.
    Number(usize),
}

/// Texts that a file must guard or quote.
const TEXTS: [&str; 8] = [
    "=1+2",
    "+49 Trading",
    "-1: refused by the scheme",
    "Account closed; the bank has no successor",
    "The bank says: \"not authorised\"",
    "Refused.\nSee path C:\\bank\\errors",
    "Compte clôturé, voir le relevé № 7",
    "BA_MKP_é😀",
];

/// The currencies of the templates and their exponents.
const CURRENCIES: [(&str, usize); 8] =
    [("EUR", 2), ("EUR", 2), ("EUR", 2), ("EUR", 2), ("USD", 2), ("GBP", 2), ("JPY", 0), ("KWD", 3)];

/// An element of `list`, which must not be empty.
fn pick<T: Copy>(list: &[T], chance: u64) -> Result<T, Error> {
    let index = usize::try_from(chance)?.checked_rem(list.len());
    index.and_then(|index| list.get(index)).copied().ok_or_else(|| "no value to choose from".into())
}

impl Variant {
    fn new(export_type: ExportType, index: u64) -> Result<Self, Error> {
        let (currency, exponent) = pick(&CURRENCIES, index)?;
        // The first status has a quarter of the templates; the others share the rest.
        let statuses: Vec<_> = export_type.definition().row_statuses().collect();
        let status = match index / 8 {
            block @ 2.. => pick(statuses.get(1..).unwrap_or_default(), block)?,
            _ => pick(&statuses, 0)?,
        };
        let created_at =
            export_type.definition().filter(FilterKind::CreatedAt).map_or(&[][..], |filter| filter.attributes);
        let mut fields: Vec<(&str, Field)> = Vec::new();
        let mut amount = (1, DIGITS);
        let mut times = OTHER_TIMES.into_iter().cycle();
        for (position, column) in columns(export_type).iter().enumerate() {
            let chance = mix(index << 8 | position as u64);
            let is_required = match column.required {
                Required::Always => true,
                Required::Never => false,
                Required::If { attribute, is } => fields.contains(&(attribute, Field::Text(is.to_owned()))),
            };
            let text = |text: &str| Field::Text(text.to_owned());
            let value = |before: &str, range, form| Field::Value(before.to_owned(), range, form);
            let digits = |length| (DIGITS.0 + position % 8, length);
            let field = match (chance >> 8) % 6 {
                0 if !is_required => Field::Absent,
                1 if !is_required => Field::Null,
                2 if !is_required && column.kind == ColumnKind::Text => text(""),
                _ => match column.kind {
                    ColumnKind::Text if position == 0 => value("", ID, Form::Text),
                    ColumnKind::Text if chance.is_multiple_of(8) => text(pick(&TEXTS, chance >> 16)?),
                    ColumnKind::Text if chance.is_multiple_of(2) => value("", HEX, Form::Text),
                    ColumnKind::Text => value(&format!("{}-", column.header.to_uppercase()), SERIAL, Form::Text),
                    ColumnKind::Status => text(status.name()),
                    ColumnKind::OneOf(values) => text(pick(values, chance)?),
                    ColumnKind::Currency => text(currency),
                    ColumnKind::Amount | ColumnKind::OtherAmount => {
                        let digits = digits(4 + position % 5);
                        let (sign, factor) = if chance.is_multiple_of(16) { ("-", -1) } else { ("", 1) };
                        if column.kind == ColumnKind::Amount {
                            amount = (factor, digits);
                        }
                        value(sign, digits, Form::Number(exponent))
                    }
                    ColumnKind::Count => value("", digits(1 + position % 4), Form::Number(0)),
                    ColumnKind::Time if created_at.contains(&column.attribute) => value("", CREATED, Form::Time),
                    ColumnKind::Time => value("", times.next().unwrap_or(CREATED), Form::Time),
                },
            };
            fields.push((column.attribute, field));
        }
        let mut line = Template::default();
        for (position, (_, field)) in fields.iter().enumerate() {
            line.text(if position > 0 { ";" } else { "" });
            line.cell(field);
        }
        line.text("\n");
        fields.extend([
            ("tenantId", Field::Text(TENANT.to_owned())),
            ("sk", Field::Value(String::new(), KEY, Form::Text)),
        ]);
        // DynamoDB does not guarantee an order of attributes. Four orders alternate, so that no reader can rely on one.
        fields.sort_by_key(|(name, _)| name.bytes().fold(index % 4, |sum, byte| mix(sum ^ u64::from(byte))));
        fields.retain(|(_, field)| *field != Field::Absent);
        let mut item = Template::default();
        let mut size = 0;
        for (name, field) in &fields {
            size += (name.len() + field.size()) as u64;
            item.text(if item.text.is_empty() { "{\"" } else { ",\"" });
            item.text(name);
            item.text("\":");
            item.value(field);
        }
        item.text("}");
        Ok(Self { item, line, size, status, currency: currency.parse()?, amount, is_included: true })
    }
}

impl Field {
    /// Size in bytes as DynamoDB counts it.
    fn size(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Null => 1,
            Self::Text(text) => text.len(),
            Self::Value(sign, (_, digits), Form::Number(_)) => digits.div_ceil(2) + 1 + sign.len(),
            Self::Value(before, (_, length), _) => before.len() + length,
        }
    }
}

impl Template {
    /// Appends a value of an item.
    fn value(&mut self, field: &Field) {
        match field {
            Field::Absent => {}
            Field::Null => self.text("{\"NULL\":true}"),
            Field::Text(text) => self.text(&serde_json::json!({ "S": text }).to_string()),
            Field::Value(before, range, form) => {
                self.text(if matches!(form, Form::Number(_)) { "{\"N\":\"" } else { "{\"S\":\"" });
                self.text(before);
                self.gap(*range);
                self.text("\"}");
            }
        }
    }

    /// Appends a value of a CSV line.
    fn cell(&mut self, field: &Field) {
        match field {
            Field::Absent | Field::Null => {}
            Field::Text(text) => {
                let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
                let quote = if text.contains([';', '"', '\n', '\r']) { "\"" } else { "" };
                self.text(&format!("{quote}{guard}{}{quote}", text.replace('"', "\"\"")));
            }
            Field::Value(before, (start, length), form) => {
                self.text(before);
                match form {
                    Form::Text | Form::Number(0) => self.gap((*start, *length)),
                    Form::Time => {
                        self.gap((*start, "2026-10-08T00:00:01".len()));
                        self.text("Z");
                    }
                    Form::Number(decimals) => {
                        let whole = length - decimals;
                        self.gap((*start, whole));
                        self.text(".");
                        self.gap((start + whole, *decimals));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::csv_encoder::csv_header;
    use exports_domain::options::ExportOptions;
    use exports_domain::row::Value;
    use exports_domain::row_encoder::RowEncoder;
    use exports_domain::row_selection::RowSelection;

    const TYPE: ExportType = ExportType::SupplierPayouts;

    fn items(data: &SourceRows) -> Vec<serde_json::Value> {
        let mut page = b"[".to_vec();
        data.write_items(0..data.rows(), false, u64::MAX, u64::MAX, &mut page);
        page.push(b']');
        serde_json::from_slice(&page).unwrap()
    }

    #[test]
    fn expected_file_equals_the_file_of_the_product() {
        let filters = <Filter as strum::VariantArray>::VARIANTS;
        for (export_type, filter) in
            ExportType::ALL.into_iter().flat_map(|one| filters.iter().map(move |of| (one, *of)))
        {
            // Only with an even spread has a month rows of its own.
            let spread = if filter == Filter::Month { Spread::Even } else { Spread::Hour };
            let data = SourceRows::new(export_type, filter, 2000, spread).unwrap();
            let mut file = Vec::new();
            let expected = data.write_csv(&mut file).unwrap();
            let columns = FileColumns::current(export_type);
            let options = ExportOptions { filter: data.filter().clone(), ..ExportOptions::default() };
            let mut lines = RowEncoder::new(&RowSelection::of(columns, &options), 0);
            let [from, to] = data.period();
            for item in items(&data) {
                let key = item["sk"]["S"].as_str().unwrap();
                if !(from.as_str()..=to.as_str()).contains(&key) {
                    continue;
                }
                let value = |column: &Column| match &item[column.attribute] {
                    serde_json::Value::Null => Value::Missing,
                    value if value["NULL"] == true => Value::Missing,
                    value if value["S"].is_string() => Value::Text(value["S"].as_str().unwrap()),
                    value => Value::Number(value["N"].as_str().unwrap()),
                };
                let row: Vec<_> = columns.list().iter().map(value).collect();
                lines.push(&row, key);
            }
            let encoded = lines.finish();
            let read = (encoded.rows_read(), encoded.invalid_rows.count);
            assert_eq!(read, (expected.rows_read, 0), "{:?}", encoded.invalid_rows);
            assert_eq!((encoded.rows, &encoded.totals), (expected.rows, &expected.totals));
            let made = [csv_header(columns, false).as_bytes(), encoded.cells.csv()].concat();
            assert_eq!(String::from_utf8(made).unwrap(), String::from_utf8(file).unwrap());
            let included = match filter {
                Filter::Off => 2000..2001,
                Filter::Values => 220..280,
                // 31 of 1,095 days.
                Filter::Month => 56..58,
            };
            assert!(included.contains(&expected.rows), "{export_type:?}: {}", expected.rows);
        }
    }

    #[test]
    fn keys_ascend_and_are_found_by_binary_search() {
        for spread in <Spread as strum::VariantArray>::VARIANTS {
            let data = SourceRows::new(TYPE, Filter::Off, 1000, *spread).unwrap();
            let keys: Vec<_> = (0..1000).map(|row| data.sort_key(row)).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{spread}");
            for row in [0, 1, 500, 999] {
                let key = data.sort_key(row);
                assert_eq!((data.first_from(&key), data.first_after(&key)), (row, row + 1), "{spread}");
                assert_eq!(data.first_from(&format!("{key}x")), row + 1, "{spread}");
            }
            assert_eq!((data.first_from(""), data.first_from("9")), (0, 1000));
        }
    }

    #[test]
    fn times_equal_those_of_the_product() {
        for millis in [0, FIRST, FIRST + 59 * DAY + 86_399_999, 1_709_164_800_123, 4_102_444_799_999] {
            let mut values = Values::default();
            values.set_time(CREATED, millis);
            assert_eq!(str::from_utf8(values.get(CREATED)).unwrap(), Timestamp::from_millis(millis).to_string());
        }
    }

    #[test]
    fn write_items_stops_at_size_or_row_limit() {
        let data = SourceRows::new(TYPE, Filter::Off, 10_000, Spread::Even).unwrap();
        let mut page = Vec::new();
        let written = data.write_items(0..10_000, false, 1 << 20, u64::MAX, &mut page);
        assert!(written.full && written.size <= 1 << 20 && written.size > (1 << 20) - 700, "{written:?}");
        assert!((1500..1800).contains(&written.count), "{written:?}");
        let written = data.write_items(0..3, true, 1 << 20, u64::MAX, &mut page);
        assert_eq!((written.count, written.last, written.full), (3, Some(0), false));
        let written = data.write_items(0..3, false, 1 << 20, 3, &mut page);
        assert_eq!((written.count, written.last, written.full), (3, Some(2), true));
        assert_eq!(data.write_items(3..3, false, 1 << 20, 5, &mut page), WrittenRows::default());
    }
}
