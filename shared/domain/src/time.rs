//! Timestamps with millisecond precision, and durations in settings.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};

/// A point in time in milliseconds since 1970-01-01T00:00:00Z, in the years 0000 to 9999.
///
/// Its text form has a fixed width, `2026-10-08T00:00:01.000Z`, so that text and time have the same order. Tables, keys
/// and the HTTP API use that form.
///
/// ```
/// use std::time::Duration;
///
/// use exports_domain::time::Timestamp;
///
/// let accepted: Timestamp = "2026-10-08T00:00:01.000Z".parse()?;
/// let deadline = accepted.plus(Duration::from_secs(6 * 60 * 60));
/// assert_eq!(deadline.to_string(), "2026-10-08T06:00:01.000Z");
/// assert_eq!(deadline.to_seconds_text(), "2026-10-08T06:00:01Z", "as the CSV file has it");
/// # Ok::<(), exports_domain::time::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The first millisecond of the year 0000, the earliest time that the text form can represent.
const FIRST: i64 = -62_167_219_200_000;
/// The last millisecond of the year 9999, the latest one.
const LAST: i64 = 253_402_300_799_999;
/// Times are UTC, so jiff's civil time represents them. Its `Timestamp` does not reach the end of the year 9999.
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

impl Timestamp {
    /// The time `millis` milliseconds after the epoch, clamped to the supported range.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(FIRST, LAST))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The start of its day in UTC.
    #[must_use]
    pub fn start_of_day(self) -> Self {
        Self::from_millis(self.0 - self.0.rem_euclid(86_400_000))
    }

    /// The time `duration` later, clamped to the supported range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The time `duration` earlier, clamped to the supported range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(millis))
    }

    /// The duration since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    /// The form in CSV files, truncated to the second: `2026-10-08T00:00:01Z`.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        format!("{:.0}Z", Self::from_millis(self.seconds() * 1000).as_jiff())
    }

    /// Its date in UTC: `2026-10-08`.
    #[must_use]
    pub fn to_date_text(self) -> String {
        self.format("%F")
    }

    /// The form in file names, truncated to the second: `20261008T000001Z`.
    #[must_use]
    pub fn to_compact_text(self) -> String {
        self.to_seconds_text().replace(['-', ':'], "")
    }

    /// Formats the time by jiff's `strftime` directives.
    #[must_use]
    pub fn format(self, directives: &str) -> String {
        self.as_jiff().strftime(directives).to_string()
    }

    /// The same time in jiff's type, whose range is larger.
    fn as_jiff(self) -> DateTime {
        EPOCH.saturating_add(SignedDuration::from_millis(self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}Z", self.as_jiff())
    }
}

/// The fixed-width form. A 0 stands for any digit.
const PATTERN: [u8; 24] = *b"0000-00-00T00:00:00.000Z";

/// Added to a byte's difference from the pattern, it reaches 0x80 if a digit's is over 9 (`v` is 0x7f - 9), or another's
/// is not 0.
const LIMITS: [u8; 24] = *b"vvvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvvv\x7f";

/// Whether the text is a timestamp in the fixed-width form. It does not build one, because it runs for every time in a
/// row.
#[must_use]
pub fn is_timestamp(text: &str) -> bool {
    let Ok(bytes) = <&[u8; 24]>::try_from(text.as_bytes()) else { return false };
    // Eight bytes at a time.
    let mut digits = [0; 24];
    let mut unfit = 0;
    for (((digits, bytes), pattern), limits) in (digits.as_chunks_mut::<8>().0.iter_mut())
        .zip(bytes.as_chunks::<8>().0)
        .zip(PATTERN.as_chunks::<8>().0)
        .zip(LIMITS.as_chunks::<8>().0)
    {
        let difference = u64::from_le_bytes(*bytes) ^ u64::from_le_bytes(*pattern);
        unfit |= difference | difference.wrapping_add(u64::from_le_bytes(*limits));
        *digits = difference.to_le_bytes();
    }
    let fits = unfit & u64::from_le_bytes([0x80; 8]) == 0;
    let two = |tens: usize| match digits.get(tens..tens + 2) {
        Some([tens, ones]) => u32::from(*tens) * 10 + u32::from(*ones),
        _ => u32::MAX,
    };
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    fits && (1..=days).contains(&day) && two(11) < 24 && two(14) < 60 && two(17) < 60
}

/// The text is not a time in the fixed-width form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UTC time in the form 2026-10-08T00:00:01.000Z")]
pub struct ParseTimestampError;

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        // jiff parses many other forms.
        let time = text.strip_suffix('Z').filter(|_| is_timestamp(text)).ok_or(ParseTimestampError)?;
        let time: DateTime = time.parse().map_err(|_| ParseTimestampError)?;
        i64::try_from(time.duration_since(EPOCH).as_millis()).map(Self::from_millis).map_err(|_| ParseTimestampError)
    }
}

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number with the unit s, m, h or d, such as 90s or 72h")]
pub struct ParseDurationError;

/// Parses a duration in settings: a whole number and a unit, such as `90s`, `15m`, `72h` or `30d`.
///
/// # Errors
/// [`ParseDurationError`] if the text has another form or overflows.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let seconds = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(ParseDurationError),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseDurationError);
    }
    let number: u32 = digits.parse().map_err(|_| ParseDurationError)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_time_has_passed_since_a_later_time() {
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(6)), Duration::ZERO);
    }

    #[test]
    fn timestamp_text_has_a_fixed_width() {
        let time = Timestamp::from_millis(1_791_417_601_000);
        assert_eq!(time.to_string(), "2026-10-08T00:00:01.000Z");
        assert_eq!(time.to_seconds_text(), "2026-10-08T00:00:01Z");
        assert_eq!(time.to_compact_text(), "20261008T000001Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn timestamp_in_another_form_is_rejected() {
        for text in [
            "",
            "2026-10-08",
            "2026-10-08T00:00:01Z",
            "2026-10-08T00:00:01.000z",
            "2026-10-08T00:00:01.0000Z",
            "2026-10-08T00:00:01.000+00:00",
            "2026-02-30T00:00:01.000Z",
            "2026-10-08T24:00:00.000Z",
            "2026-10-08T23:59:60.000Z",
            "2026-10-08T23:60:00.000Z",
            " 2026-10-08T00:00:01.000Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text}");
            assert!(!is_timestamp(text), "{text}");
        }
    }

    #[test]
    fn leap_days_are_those_of_the_calendar() {
        for year in ["0000", "0004", "2000", "2024", "2400"] {
            let text = format!("{year}-02-29T00:00:00.000Z");
            assert!(is_timestamp(&text) && text.parse::<Timestamp>().is_ok(), "{text}");
        }
        for year in ["1900", "2025", "2026", "2100"] {
            assert!(!is_timestamp(&format!("{year}-02-29T00:00:00.000Z")), "{year}");
        }
    }

    #[test]
    fn duration_requires_a_number_and_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("72h"), Ok(Duration::from_secs(259_200)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(2_592_000)));
        for text in ["", "h", "72", "-1h", "+1h", "1.5h", "1hh", "1 h", "99999999999s", "1w"] {
            assert_eq!(parse_duration(text), Err(ParseDurationError), "{text}");
        }
    }

    /// Parses with jiff alone, and keeps only texts in the form that it prints.
    fn parsed_by_jiff(text: &str) -> Option<Timestamp> {
        let time: DateTime = text.strip_suffix('Z')?.parse().ok()?;
        let time = Timestamp::from_millis(time.duration_since(EPOCH).as_millis().try_into().ok()?);
        (time.to_string() == text).then_some(time)
    }

    #[test]
    fn first_and_last_timestamps_parse() {
        assert_eq!("0000-01-01T00:00:00.000Z".parse(), Ok(Timestamp::from_millis(FIRST)));
        assert_eq!("9999-12-31T23:59:59.999Z".parse(), Ok(Timestamp::from_millis(LAST)));
    }

    proptest! {
        #[test]
        fn timestamp_parses_as_with_jiff(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z", at in 0_usize..24, byte in " -~",
        ) {
            let mut broken = text.clone();
            broken.replace_range(at..=at, &byte);
            for text in [text, broken] {
                prop_assert_eq!(text.parse().ok(), parsed_by_jiff(&text));
                prop_assert_eq!(is_timestamp(&text), parsed_by_jiff(&text).is_some());
            }
        }

        #[test]
        fn timestamp_round_trips_and_sorts_as_text(a in FIRST..=LAST, b in FIRST..=LAST) {
            let (a, b) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
            prop_assert_eq!(a.to_string().parse::<Timestamp>(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_string().len(), 24);
            prop_assert!(is_timestamp(&a.to_string()));
        }
    }
}
