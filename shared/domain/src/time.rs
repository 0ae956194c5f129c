//! Points in time and spans, to the millisecond.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, within the years 0000 to 9999 (but for their last day).
///
/// Written in one fixed-width form, `2026-10-08T00:00:01.000Z`, so that the order of the texts is the order of the
/// times. Tables, keys and the HTTP API use that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The first millisecond that the fixed-width form can write: the year 0000's.
const FIRST: i64 = -62_167_219_200_000;
/// The last millisecond that jiff can hold, some hours before the year 9999's last.
const LAST: i64 = 253_402_207_200_000;
/// The same, written.
const LAST_TEXT: &str = "9999-12-30T22:00:00.000Z";

impl Timestamp {
    /// The point `millis` after the epoch, drawn to the nearest one that can be written.
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

    /// Midnight at the beginning of this time's day, UTC.
    #[must_use]
    pub fn start_of_day(self) -> Self {
        Self::from_millis(self.0 - self.0.rem_euclid(86_400_000))
    }

    /// This time and `span` more.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This time and `span` less.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(millis))
    }

    /// How long it is from `earlier` to this time; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    /// The CSV file's form, to the second: `2026-10-08T00:00:01Z`.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        format!("{:.0}", Self::from_millis(self.seconds() * 1000).as_jiff())
    }

    /// A form for file names, to the second: `20261008T000001Z`.
    #[must_use]
    pub fn to_compact_text(self) -> String {
        self.to_seconds_text().replace(['-', ':'], "")
    }

    /// The time in another form, by jiff's `strftime` directives.
    #[must_use]
    pub fn format(self, directives: &str) -> String {
        self.as_jiff().strftime(directives).to_string()
    }

    /// The same point as jiff knows it; `from_millis` keeps within jiff's range, so the fallback is never taken.
    fn as_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.as_jiff())
    }
}

/// Whether the text is a time in the fixed-width form, without making one: payouts have six of them.
#[must_use]
pub fn is_timestamp(text: &str) -> bool {
    let Ok(bytes) = <&[u8; 24]>::try_from(text.as_bytes()) else { return false };
    // Digits stand where the pattern has a 0, all else is as in the pattern. No early end: so the compiler makes vector
    // instructions of it.
    let fits = bytes.iter().zip(b"0000-00-00T00:00:00.000Z").fold(true, |fits, (byte, pattern)| {
        fits & if *pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern }
    });
    let two = |tens: usize| match bytes.get(tens..tens + 2) {
        Some([tens, ones]) => u32::from(tens & 0xf) * 10 + u32::from(ones & 0xf),
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
    let good = fits && (1..=days).contains(&day) && two(11) < 24 && two(14) < 60 && two(17) < 60;
    // What jiff cannot hold is no time either. The order of the texts is the order of the times.
    good && text <= LAST_TEXT
}

/// The text is not a time in the fixed-width form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UTC time of the form 2026-10-08T00:00:01.000Z")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        // jiff reads many forms; only one is ours.
        if !is_timestamp(text) {
            return Err(NotATimestamp);
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| NotATimestamp)?;
        Ok(Self::from_millis(time.as_millisecond()))
    }
}

/// The text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a span of time: a whole number with s, m, h or d, such as 90s or 72h")]
pub struct NotASpan;

/// Reads a span as settings write it: a whole number and a unit, `90s`, `15m`, `72h`, `30d`.
///
/// # Errors
/// [`NotASpan`] for any other text.
pub fn parse_span(text: &str) -> Result<Duration, NotASpan> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let seconds = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(NotASpan),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotASpan);
    }
    let number: u32 = digits.parse().map_err(|_| NotASpan)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timestamp_is_written_in_fixed_width() {
        let time = Timestamp::from_millis(1_791_417_601_000);
        assert_eq!(time.to_string(), "2026-10-08T00:00:01.000Z");
        assert_eq!(time.to_seconds_text(), "2026-10-08T00:00:01Z");
        assert_eq!(time.to_compact_text(), "20261008T000001Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-30T22:00:00.000Z");
    }

    #[test]
    fn timestamp_of_another_form_is_refused() {
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
            " 2026-10-08T00:00:01.000Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
            assert!(!is_timestamp(text), "{text}");
        }
    }

    #[test]
    fn span_needs_a_number_and_a_unit() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("72h"), Ok(Duration::from_secs(259_200)));
        assert_eq!(parse_span("30d"), Ok(Duration::from_secs(2_592_000)));
        for text in ["", "h", "72", "-1h", "+1h", "1.5h", "1hh", "1 h", "99999999999s", "1w"] {
            assert_eq!(parse_span(text), Err(NotASpan), "{text}");
        }
    }

    /// The time in the text by jiff alone: it reads many forms, and writes one.
    fn by_jiff(text: &str) -> Option<Timestamp> {
        let time = Timestamp::from_millis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        (time.to_string() == text).then_some(time)
    }

    #[test]
    fn last_timestamp_is_the_last_that_is_read() {
        assert_eq!(LAST_TEXT.parse(), Ok(Timestamp::from_millis(LAST)));
        assert_eq!("9999-12-30T22:00:00.001Z".parse::<Timestamp>(), Err(NotATimestamp));
    }

    proptest! {
        #[test]
        fn timestamp_is_read_as_by_jiff(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z", at in 0_usize..24, byte in " -~",
        ) {
            let mut broken = text.clone();
            broken.replace_range(at..=at, &byte);
            for text in [text, broken] {
                prop_assert_eq!(text.parse().ok(), by_jiff(&text));
                prop_assert_eq!(is_timestamp(&text), by_jiff(&text).is_some());
            }
        }

        #[test]
        fn timestamp_reads_back_and_sorts_as_text(a in FIRST..=LAST, b in FIRST..=LAST) {
            let (a, b) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
            prop_assert_eq!(a.to_string().parse::<Timestamp>(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_string().len(), 24);
            prop_assert!(is_timestamp(&a.to_string()));
        }
    }
}
