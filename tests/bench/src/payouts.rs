//! The data: payouts by formula.
//!
//! Row `i` is computed from `i` alone, so ten million rows cost no memory and any range of them can be served. To make
//! that cheap, rows are copies of 64 prepared ones, in which only fields of fixed width are written anew. The lines of
//! the CSV file are made the same way and by no code of the product: they say what a right file is.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::Error;

/// Whose payouts they are.
pub const TENANT: &str = "bench-marketplace";

/// 2022-01-01T00:00:00Z, when the first payout was made.
const FIRST: i64 = 1_640_995_200_000;
/// From the first payout to the last, three years.
const SPAN: i64 = 3 * 365 * DAY;
const MIDDLE: i64 = FIRST + SPAN / 2 / DAY * DAY;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000;

/// How many prepared rows there are.
const VARIANTS: u64 = 64;

/// How the payouts are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// Evenly over three years.
    Even,
    /// In one day, but for the first and the last payout of the three years.
    Day,
    /// 99 % of them in one hour, the others evenly over the three years.
    Hour,
    /// All in the same millisecond.
    Millisecond,
}

impl Spread {
    /// Every spread.
    pub const ALL: [Self; 4] = [Self::Even, Self::Day, Self::Hour, Self::Millisecond];

    /// Its name in options and results.
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
            .ok_or_else(|| format!("not a spread: {text}; there are even, day, hour and millisecond").into())
    }
}

/// A data set: this many payouts, spread this way.
#[derive(Clone, Debug)]
pub struct Payouts {
    rows: u64,
    spread: Spread,
    variants: Vec<Variant>,
}

/// What a right CSV file of a data set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How many bytes it has.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// What a stretch of rows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanItem {
    /// How many rows.
    pub count: u64,
    /// Their size as DynamoDB counts it.
    pub size: u64,
    /// The last one.
    pub last: Option<u64>,
    /// Whether the page ended because it was full.
    pub full: bool,
}

impl Payouts {
    /// The data set.
    #[must_use]
    pub fn new(rows: u64, spread: Spread) -> Self {
        Self { rows, spread, variants: (0..VARIANTS).map(Variant::new).collect() }
    }

    /// How many payouts there are.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// When payout `row` was made, in milliseconds since 1970.
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

    /// The first row whose sort key is not before `key`, or how many rows there are.
    #[must_use]
    pub fn first_from(&self, key: &str) -> u64 {
        self.partition(|sort| sort < key.as_bytes())
    }

    /// The first row whose sort key is after `key`, or how many rows there are.
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

    /// Writes the rows of `rows` as items, a comma between them, until `max_size` would be passed or there are
    /// `most_rows`; from the end of the range if `backward`.
    pub fn write_items(
        &self,
        rows: std::ops::Range<u64>,
        backward: bool,
        max_size: u64,
        most_rows: u64,
        out: &mut Vec<u8>,
    ) -> PlanItem {
        let mut values = Values::default();
        let mut stretch = PlanItem::default();
        let length = rows.end.saturating_sub(rows.start);
        for step in 0..length {
            let row = if backward { rows.end - 1 - step } else { rows.start + step };
            let Some(variant) = self.fill(row, &mut values) else { break };
            if stretch.count == most_rows || (stretch.count > 0 && stretch.size + variant.size > max_size) {
                stretch.full = true;
                break;
            }
            if stretch.count > 0 {
                out.push(b',');
            }
            variant.item.write(&values, out);
            stretch.count += 1;
            stretch.size += variant.size;
            stretch.last = Some(row);
        }
        // DynamoDB does not look further than a limit: a page that has as many rows as asked for is not the last.
        stretch.full |= stretch.count == most_rows;
        stretch
    }

    /// Writes the whole CSV file.
    ///
    /// # Errors
    /// Those of `file`.
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
        // The ids of one millisecond ascend with the rows, and are spread over all that ids can be.
        let place = (u128::from(row) << 64) / u128::from(self.rows.max(1));
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        values.set_time(CREATED, self.millis(row));
        values.set(SEPARATOR, b"#");
        values.set_hex(PLACE, place);
        values.set_hex(NOISE, mix(row) >> 32);
        values.set(ID_PREFIX, b"po_");
    }

    /// The values of payout `row`, and the prepared row they belong in.
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

/// The file's first line.
const HEADER: &str = "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;\
                      psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n";

/// A number that looks random and is `n`'s for ever (splitmix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Where in [`Values`] a value is: from, length.
type Place = (usize, usize);
const CREATED: Place = (0, 24);
const SEPARATOR: Place = (24, 1);
const ID_PREFIX: Place = (25, 3);
const PLACE: Place = (28, 16);
const NOISE: Place = (44, 8);
const KEY: Place = (0, 52);
const ID: Place = (25, 27);
const REFERENCE: Place = (52, 10);
const AMOUNT: Place = (62, 9);
const ORDERS: Place = (71, 4);
const PSP: Place = (75, 16);
const PERIOD_START: Place = (91, 24);
const PERIOD_END: Place = (115, 24);
const EXECUTED: Place = (139, 24);
const SETTLED: Place = (163, 24);
const UPDATED: Place = (187, 24);

/// The values of one row, side by side.
struct Values([u8; 211]);

impl Default for Values {
    fn default() -> Self {
        Self([b'0'; 211])
    }
}

#[expect(clippy::indexing_slicing, reason = "places are constants within the array")]
impl Values {
    fn get(&self, (from, length): Place) -> &[u8] {
        &self.0[from..from + length]
    }

    fn place(&mut self, (from, length): Place) -> &mut [u8] {
        &mut self.0[from..from + length]
    }

    fn set(&mut self, place: Place, text: &[u8]) {
        self.place(place).copy_from_slice(text);
    }

    fn set_hex(&mut self, place: Place, mut number: u64) {
        for digit in self.place(place).iter_mut().rev() {
            *digit = b"0123456789abcdef"[(number & 15) as usize];
            number >>= 4;
        }
    }

    fn set_decimal(&mut self, place: Place, mut number: u64) {
        for digit in self.place(place).iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    /// Digits from 1 to 9, so that any number of them is a number without leading zeros.
    fn set_digits(&mut self, place: Place, mut number: u64) {
        for digit in self.place(place) {
            *digit = b'1' + (number % 9) as u8;
            number /= 9;
        }
    }

    /// `2026-10-08T00:00:01.000Z`
    fn set_time(&mut self, place: Place, millis: i64) {
        let (year, month, day) = date(millis.div_euclid(DAY));
        let time = millis.rem_euclid(DAY);
        let mut at = place.0;
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

/// Text with gaps that a row's values are written into.
#[derive(Clone, Debug, Default)]
struct Template {
    text: Vec<u8>,
    gaps: Vec<(usize, Place)>,
}

impl Template {
    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn gap(&mut self, place: Place) {
        self.gaps.push((self.text.len(), place));
        self.text.resize(self.text.len() + place.1, b'0');
    }

    #[expect(clippy::indexing_slicing, reason = "gaps are within the text")]
    fn write(&self, values: &Values, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        for (at, place) in &self.gaps {
            let at = start + at;
            out[at..at + place.1].copy_from_slice(values.get(*place));
        }
    }
}

/// A prepared row.
#[derive(Clone, Debug)]
struct Variant {
    item: Template,
    line: Template,
    /// The item's size as DynamoDB counts it: names and values.
    size: u64,
}

/// An attribute's value in a prepared row.
enum Content {
    Absent,
    Null,
    Text(String),
    /// Text before a gap.
    Value(&'static str, Place),
    /// A number: the first so many digits of a place.
    Number {
        negative: bool,
        digits: usize,
        of: Place,
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
        use Content::{Absent, Null, Number, Text, Value};
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
        // DynamoDB promises no order of attributes. Four orders take turns, so that no reader can lean on one.
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

/// Size of a value as DynamoDB counts it; `None` if there is no value.
fn value_size(content: &Content) -> Option<usize> {
    match content {
        Content::Absent => None,
        Content::Null => Some(1),
        Content::Text(text) => Some(text.len()),
        Content::Value(before, place) => Some(before.len() + place.1),
        Content::Number { negative, digits, .. } => Some(digits.div_ceil(2) + 1 + usize::from(*negative)),
    }
}

fn write_value(item: &mut Template, content: &Content) {
    match content {
        Content::Absent => {}
        Content::Null => item.text("{\"NULL\":true}"),
        Content::Text(text) => {
            item.text("{\"S\":");
            item.text(&serde_json::Value::from(text.as_str()).to_string());
            item.text("}");
        }
        Content::Value(before, place) => {
            item.text("{\"S\":\"");
            item.text(before);
            item.gap(*place);
            item.text("\"}");
        }
        Content::Number { negative, digits, of } => {
            item.text(if *negative { "{\"N\":\"-" } else { "{\"N\":\"" });
            item.gap((of.0, *digits));
            item.text("\"}");
        }
    }
}

fn write_field(line: &mut Template, name: &str, content: &Content, exponent: usize) {
    match content {
        Content::Absent | Content::Null => {}
        Content::Text(text) => {
            let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
            if text.contains([';', '"', '\n', '\r']) {
                line.text(&format!("\"{guard}{}\"", text.replace('"', "\"\"")));
            } else {
                line.text(&format!("{guard}{text}"));
            }
        }
        Content::Value(_, place) if place.1 == CREATED.1 => {
            line.gap((place.0, 19));
            line.text("Z");
        }
        Content::Value(before, place) => {
            line.text(if before.starts_with('=') { "'" } else { "" });
            line.text(before);
            line.gap(*place);
        }
        Content::Number { negative, digits, of } => {
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
    use exports_domain::file::{CsvEncoder, csv_header};
    use exports_domain::payout::{COLUMNS, Value};
    use exports_domain::time::Timestamp;

    fn items(payouts: &Payouts, rows: std::ops::Range<u64>) -> Vec<serde_json::Value> {
        let mut page = b"[".to_vec();
        payouts.write_items(rows, false, u64::MAX, u64::MAX, &mut page);
        page.push(b']');
        serde_json::from_slice(&page).unwrap()
    }

    #[test]
    fn expected_file_is_the_one_that_the_product_makes_of_the_items() {
        let payouts = Payouts::new(2000, Spread::Hour);
        let mut expected = Vec::new();
        payouts.write_csv(&mut expected).unwrap();
        let mut lines = CsvEncoder::default();
        for item in items(&payouts, 0..2000) {
            let row = COLUMNS.map(|column| match &item[column.attribute] {
                serde_json::Value::Null => Value::Missing,
                value if value["NULL"] == true => Value::Missing,
                value if value["S"].is_string() => Value::Text(value["S"].as_str().unwrap()),
                value => Value::Number(value["N"].as_str().unwrap()),
            });
            lines.push(&row, item["sk"]["S"].as_str().unwrap());
        }
        let encoded = lines.finish();
        assert_eq!((encoded.rows, encoded.invalid_rows.count), (2000, 0));
        let made = [csv_header(false).as_bytes(), &encoded.csv].concat();
        assert_eq!(String::from_utf8(made).unwrap(), String::from_utf8(expected).unwrap());
    }

    #[test]
    fn keys_ascend_and_any_key_is_found_where_it_belongs() {
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
    fn times_are_those_of_the_calendar() {
        for millis in [0, FIRST, FIRST + 59 * DAY + 86_399_999, 1_709_164_800_123, 4_102_444_799_999] {
            let mut values = Values::default();
            values.set_time(CREATED, millis);
            assert_eq!(str::from_utf8(values.get(CREATED)).unwrap(), Timestamp::from_millis(millis).to_string());
        }
    }

    #[test]
    fn page_ends_where_the_size_or_the_limit_is_reached() {
        let payouts = Payouts::new(10_000, Spread::Even);
        let mut page = Vec::new();
        let stretch = payouts.write_items(0..10_000, false, 1 << 20, u64::MAX, &mut page);
        assert!(stretch.full && stretch.size <= 1 << 20 && stretch.size > (1 << 20) - 700, "{stretch:?}");
        assert!((2000..2500).contains(&stretch.count), "{stretch:?}");
        let stretch = payouts.write_items(0..3, true, 1 << 20, u64::MAX, &mut page);
        assert_eq!((stretch.count, stretch.last, stretch.full), (3, Some(0), false));
        let stretch = payouts.write_items(0..3, false, 1 << 20, 3, &mut page);
        assert_eq!((stretch.count, stretch.last, stretch.full), (3, Some(2), true));
        assert_eq!(payouts.write_items(3..3, false, 1 << 20, 5, &mut page), PlanItem::default());
    }
}
