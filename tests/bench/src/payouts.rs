//! The data: computed payouts.
//!
//! Row `i` is computed from `i` alone, so ten million rows need no memory and any range can be served. For speed, rows
//! are copies of 64 templates in which only fields of fixed width are replaced. The expected CSV file is computed in
//! the same way, without the product's code.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::Error;

/// The tenant of all payouts.
pub const TENANT: &str = "bench-marketplace";

/// The creation time of the first payout: 2022-01-01T00:00:00Z.
const FIRST: i64 = 1_640_995_200_000;
/// The time from the first payout to the last: three years.
const SPAN: i64 = 3 * 365 * DAY;
const MIDDLE: i64 = FIRST + SPAN / 2 / DAY * DAY;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000;

/// The number of row templates.
const VARIANTS: u64 = 64;

/// The distribution of the payouts over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// Evenly over three years.
    Even,
    /// In one day, except the first and last payout.
    Day,
    /// 99 % in one hour, the others evenly over three years.
    Hour,
    /// All in the same millisecond.
    Millisecond,
}

impl Spread {
    /// All distributions.
    pub const ALL: [Self; 4] = [Self::Even, Self::Day, Self::Hour, Self::Millisecond];

    /// The name in options and results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Millisecond => "millisecond",
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Spread {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|spread| spread.as_str() == text)
            .ok_or_else(|| format!("invalid spread: {text}; use even, day, hour or millisecond").into())
    }
}

/// A data set.
#[derive(Clone, Debug)]
pub struct Payouts {
    rows: u64,
    spread: Spread,
    variants: Vec<Variant>,
}

/// The expected CSV file of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The rows that [`Payouts::write_items`] has written.
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

impl Payouts {
    /// A data set of `rows` payouts.
    #[must_use]
    pub fn new(rows: u64, spread: Spread) -> Self {
        Self { rows, spread, variants: (0..VARIANTS).map(Variant::new).collect() }
    }

    /// Number of payouts.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The creation time of payout `row`, in milliseconds since 1970.
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

    /// The sort key of payout `row`: `<createdAt>#<payoutId>`.
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
    pub fn write_csv(&self, file: &mut impl Write) -> Result<Expected, std::io::Error> {
        let mut hash = Sha256::new();
        let mut values = Values::default();
        let mut lines = HEADER.as_bytes().to_vec();
        let mut bytes = 0;
        for row in 0..self.rows {
            if let Some(variant) = self.fill(row, &mut values) {
                variant.line.write(&values, &mut lines);
            }
            if lines.len() >= 1 << 20 || row + 1 == self.rows {
                hash.update(&lines);
                file.write_all(&lines)?;
                bytes += lines.len() as u64;
                lines.clear();
            }
        }
        hash.update(&lines);
        file.write_all(&lines)?;
        bytes += lines.len() as u64;
        Ok(Expected { bytes, sha256: hex(&hash.finalize()) })
    }

    fn write_key(&self, row: u64, values: &mut Values) {
        // Within a millisecond, IDs ascend with the rows and are distributed over the whole ID space.
        let ordinal = (u128::from(row) << 64) / u128::from(self.rows.max(1));
        let ordinal = u64::try_from(ordinal).unwrap_or(u64::MAX);
        values.set_time(CREATED, self.millis(row));
        values.set(SEPARATOR, b"#");
        values.set_hex(ORDINAL, ordinal);
        values.set_hex(NOISE, mix(row) >> 32);
        values.set(ID_PREFIX, b"po_");
    }

    /// Computes the values of payout `row` and returns its template.
    fn fill(&self, row: u64, values: &mut Values) -> Option<&Variant> {
        let mixed = mix(row);
        let created = self.millis(row);
        let midnight = created - created.rem_euclid(DAY);
        self.write_key(row, values);
        values.set_decimal(REFERENCE, row);
        values.set_digits(AMOUNT, mixed);
        values.set_digits(ORDERS, mixed >> 40);
        values.set_hex(PSP, mixed.rotate_left(17));
        values.set_time(PERIOD_START, midnight - 7 * DAY);
        values.set_time(PERIOD_END, midnight);
        values.set_time(EXECUTED, created + 2 * HOUR + 417);
        values.set_time(SETTLED, created + 2 * DAY + 1_234);
        values.set_time(UPDATED, created + 2 * DAY + 1_301);
        self.variants.get(usize::try_from(mixed % VARIANTS).ok()?)
    }
}

/// The CSV header.
const HEADER: &str = "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;\
                      psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n";

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
const REFERENCE: FieldRange = (52, 10);
const AMOUNT: FieldRange = (62, 9);
const ORDERS: FieldRange = (71, 4);
const PSP: FieldRange = (75, 16);
const PERIOD_START: FieldRange = (91, 24);
const PERIOD_END: FieldRange = (115, 24);
const EXECUTED: FieldRange = (139, 24);
const SETTLED: FieldRange = (163, 24);
const UPDATED: FieldRange = (187, 24);

/// The values of one row.
struct Values([u8; 211]);

impl Default for Values {
    fn default() -> Self {
        Self([b'0'; 211])
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
}

/// An attribute's value in a template.
enum FieldContent {
    Absent,
    Null,
    Text(String),
    /// Text, followed by a gap.
    Value(&'static str, FieldRange),
    /// A number: the first `digits` digits of a range.
    Number {
        negative: bool,
        digits: usize,
        of: FieldRange,
    },
}

const FAILURES: [&str; 6] = [
    "ACCOUNT_CLOSED",
    "Account closed; the bank has no successor",
    "The bank says: \"not authorised\"",
    "-1: refused by the scheme",
    "Compte clôturé, voir le relevé № 7",
    "Refused.\nSee path C:\\bank\\errors",
];

impl Variant {
    fn new(index: u64) -> Self {
        use FieldContent::{Absent, Null, Number, Text, Value};
        let text = |text: &str| Text(text.to_owned());
        let pick = |n: usize| usize::try_from(index).unwrap_or(0) % n;
        let status = match index {
            0..=43 => "SETTLED",
            44..=49 => "PENDING",
            50..=54 => "COMPUTED",
            55..=60 => "FAILED",
            _ => "INSUFFICIENT_FUNDS",
        };
        let (currency, exponent) = match pick(8) {
            4 => ("USD", 2),
            5 => ("GBP", 2),
            6 => ("JPY", 0),
            7 => ("KWD", 3),
            _ => ("EUR", 2),
        };
        let account = match index {
            11 => "BA_MKP;2",
            27 => "BA \"MKP\"",
            37 => "BA_MKP_é😀",
            _ => "BA_MKP",
        };
        let (negative, digits, orders) = (pick(16) == 9, 4 + pick(5), 1 + pick(4));
        let attributes = [
            ("payoutId", Value("", ID)),
            ("reference", Value(if index == 5 { "=PAYOUT-" } else { "PAYOUT-" }, REFERENCE)),
            ("status", text(status)),
            ("amountMinor", Number { negative, digits, of: AMOUNT }),
            ("currency", text(currency)),
            ("periodStart", Value("", PERIOD_START)),
            ("periodEnd", Value("", PERIOD_END)),
            ("orderCount", Number { negative: false, digits: orders, of: ORDERS }),
            ("balanceAccount", text(account)),
            (
                "pspReference",
                match status {
                    "PENDING" => Null,
                    "COMPUTED" | "INSUFFICIENT_FUNDS" => Absent,
                    _ => Value("", PSP),
                },
            ),
            (
                "failureReason",
                match status {
                    "FAILED" => text(FAILURES.get(pick(6)).copied().unwrap_or_default()),
                    "INSUFFICIENT_FUNDS" => text("balance below the amount"),
                    _ if index.is_multiple_of(3) => Null,
                    _ => Absent,
                },
            ),
            ("createdAt", Value("", CREATED)),
            (
                "executedAt",
                match status {
                    "SETTLED" | "FAILED" => Value("", EXECUTED),
                    "PENDING" => Null,
                    _ => Absent,
                },
            ),
            ("settledAt", if status == "SETTLED" { Value("", SETTLED) } else { Absent }),
            ("updatedAt", Value("", UPDATED)),
        ];
        let mut line = Template::default();
        for (index, (name, content)) in attributes.iter().enumerate() {
            line.text(if index > 0 { ";" } else { "" });
            write_field(&mut line, name, content, exponent);
        }
        line.text("\n");
        let mut attributes: Vec<_> =
            attributes.into_iter().chain([("tenantId", text(TENANT)), ("sk", Value("", KEY))]).collect();
        // DynamoDB does not guarantee an order of attributes. Four orders alternate, so that no reader can rely on one.
        attributes.sort_by_key(|(name, _)| name.bytes().fold(index % 4, |sum, byte| mix(sum ^ u64::from(byte))));
        let mut item = Template::default();
        let mut size = 0;
        for (name, content) in &attributes {
            let before = if item.text.is_empty() { "{\"" } else { ",\"" };
            let Some(value_size) = value_size(content) else { continue };
            size += (name.len() + value_size) as u64;
            item.text(before);
            item.text(name);
            item.text("\":");
            write_value(&mut item, content);
        }
        item.text("}");
        Self { item, line, size }
    }
}

/// Size of a value in bytes as DynamoDB counts it; `None` if it is absent.
fn value_size(content: &FieldContent) -> Option<usize> {
    match content {
        FieldContent::Absent => None,
        FieldContent::Null => Some(1),
        FieldContent::Text(text) => Some(text.len()),
        FieldContent::Value(before, range) => Some(before.len() + range.1),
        FieldContent::Number { negative, digits, .. } => Some(digits.div_ceil(2) + 1 + usize::from(*negative)),
    }
}

fn write_value(item: &mut Template, content: &FieldContent) {
    match content {
        FieldContent::Absent => {}
        FieldContent::Null => item.text("{\"NULL\":true}"),
        FieldContent::Text(text) => {
            item.text("{\"S\":");
            item.text(&serde_json::Value::from(text.as_str()).to_string());
            item.text("}");
        }
        FieldContent::Value(before, range) => {
            item.text("{\"S\":\"");
            item.text(before);
            item.gap(*range);
            item.text("\"}");
        }
        FieldContent::Number { negative, digits, of } => {
            item.text(if *negative { "{\"N\":\"-" } else { "{\"N\":\"" });
            item.gap((of.0, *digits));
            item.text("\"}");
        }
    }
}

fn write_field(line: &mut Template, name: &str, content: &FieldContent, exponent: usize) {
    match content {
        FieldContent::Absent | FieldContent::Null => {}
        FieldContent::Text(text) => {
            let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
            if text.contains([';', '"', '\n', '\r']) {
                line.text(&format!("\"{guard}{}\"", text.replace('"', "\"\"")));
            } else {
                line.text(&format!("{guard}{text}"));
            }
        }
        FieldContent::Value(_, range) if range.1 == CREATED.1 => {
            line.gap((range.0, 19));
            line.text("Z");
        }
        FieldContent::Value(before, range) => {
            line.text(if before.starts_with('=') { "'" } else { "" });
            line.text(before);
            line.gap(*range);
        }
        FieldContent::Number { negative, digits, of } => {
            let decimals = if name == "amountMinor" { exponent } else { 0 };
            line.text(if *negative { "-" } else { "" });
            line.gap((of.0, digits - decimals));
            if decimals > 0 {
                line.text(".");
                line.gap((of.0 + digits - decimals, decimals));
            }
        }
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::csv_encoder::{CsvEncoder, csv_header};
    use exports_domain::export_type::{Column, ExportType, FileColumns};
    use exports_domain::row::Value;
    use exports_domain::time::Timestamp;

    fn items(payouts: &Payouts, rows: std::ops::Range<u64>) -> Vec<serde_json::Value> {
        let mut page = b"[".to_vec();
        payouts.write_items(rows, false, u64::MAX, u64::MAX, &mut page);
        page.push(b']');
        serde_json::from_slice(&page).unwrap()
    }

    #[test]
    fn expected_file_equals_the_file_of_the_product() {
        let payouts = Payouts::new(2000, Spread::Hour);
        let mut expected = Vec::new();
        payouts.write_csv(&mut expected).unwrap();
        let columns = FileColumns::current(ExportType::MarketplacePayouts);
        let mut lines = CsvEncoder::new(columns, 0);
        for item in items(&payouts, 0..2000) {
            let value = |column: &Column| match &item[column.attribute] {
                serde_json::Value::Null => Value::Missing,
                value if value["NULL"] == true => Value::Missing,
                value if value["S"].is_string() => Value::Text(value["S"].as_str().unwrap()),
                value => Value::Number(value["N"].as_str().unwrap()),
            };
            let row: Vec<_> = columns.list().iter().map(value).collect();
            lines.push(&row, item["sk"]["S"].as_str().unwrap());
        }
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.invalid_rows.count), (2000, 0));
        let made = [csv_header(columns, false).as_bytes(), &encoded.csv].concat();
        assert_eq!(String::from_utf8(made).unwrap(), String::from_utf8(expected).unwrap());
    }

    #[test]
    fn keys_ascend_and_are_found_by_binary_search() {
        for spread in Spread::ALL {
            let payouts = Payouts::new(1000, spread);
            let keys: Vec<_> = (0..1000).map(|row| payouts.sort_key(row)).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{spread}");
            for row in [0, 1, 500, 999] {
                let key = payouts.sort_key(row);
                assert_eq!((payouts.first_from(&key), payouts.first_after(&key)), (row, row + 1), "{spread}");
                assert_eq!(payouts.first_from(&format!("{key}x")), row + 1, "{spread}");
            }
            assert_eq!((payouts.first_from(""), payouts.first_from("9")), (0, 1000));
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
        let payouts = Payouts::new(10_000, Spread::Even);
        let mut page = Vec::new();
        let written = payouts.write_items(0..10_000, false, 1 << 20, u64::MAX, &mut page);
        assert!(written.full && written.size <= 1 << 20 && written.size > (1 << 20) - 700, "{written:?}");
        assert!((2000..2500).contains(&written.count), "{written:?}");
        let written = payouts.write_items(0..3, true, 1 << 20, u64::MAX, &mut page);
        assert_eq!((written.count, written.last, written.full), (3, Some(0), false));
        let written = payouts.write_items(0..3, false, 1 << 20, 3, &mut page);
        assert_eq!((written.count, written.last, written.full), (3, Some(2), true));
        assert_eq!(payouts.write_items(3..3, false, 1 << 20, 5, &mut page), WrittenRows::default());
    }
}
