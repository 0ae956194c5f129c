//! The bounds of a period in requests: `createdAtFrom` and `createdAtTo`.
//!
//! A bound is a time or a date. A time is in RFC 3339 format with any offset and fraction, such as
//! `2026-10-08T02:00:01.5+02:00`. A space in place of the offset's `+` is accepted, because an unencoded `+` in a query
//! string is a space. A date, such as `2026-10-08`, is the whole day in UTC, and a time without a fraction is its whole
//! second. Both bounds are inclusive. Recorded times have millisecond precision, so finer lower bounds are rounded up and
//! finer upper bounds are rounded down. A period between two milliseconds is valid and contains nothing.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, date};
use jiff::fmt::temporal::Pieces;

use crate::time::Timestamp;

/// A bound as written: the span of time that it stands for.
///
/// ```
/// use exports_domain::time_bound::TimeBound;
///
/// let day: TimeBound = "2026-10-08".parse()?;
/// assert_eq!(day.as_from().to_string(), "2026-10-08T00:00:00.000Z");
/// assert_eq!(day.as_to().to_string(), "2026-10-08T23:59:59.999Z");
/// let second: TimeBound = "2026-10-08T02:00:01+02:00".parse()?;
/// assert_eq!(second.as_to().to_string(), "2026-10-08T00:00:01.999Z");
/// # Ok::<(), exports_domain::time_bound::ParseTimeBoundError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// The first nanosecond since the Unix epoch.
    first: i128,
    /// The last one.
    last: i128,
    /// Whether the text has further digits after the nanoseconds.
    has_more_digits: bool,
}

/// The text is not a time or date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time with an offset, such as 2026-10-08T00:00:01Z, or a date, such as 2026-10-08")]
pub struct ParseTimeBoundError;

impl TimeBound {
    /// The first millisecond of a period that starts with this bound.
    #[must_use]
    pub fn as_from(self) -> Timestamp {
        timestamp(-(-self.first - i128::from(self.has_more_digits)).div_euclid(1_000_000))
    }

    /// The last millisecond of a period that ends with this bound.
    #[must_use]
    pub fn as_to(self) -> Timestamp {
        timestamp(self.last.div_euclid(1_000_000))
    }

    /// Whether a period from this bound to `to` ends before it starts.
    #[must_use]
    pub const fn is_after(self, to: Self) -> bool {
        self.first > to.last
    }
}

fn timestamp(milliseconds: i128) -> Timestamp {
    // Years of four digits fit.
    Timestamp::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

impl FromStr for TimeBound {
    type Err = ParseTimeBoundError;

    fn from_str(text: &str) -> Result<Self, ParseTimeBoundError> {
        let parsed = if text.len() == DATE.len() { parse_date(text) } else { parse_time(text) };
        parsed.ok_or(ParseTimeBoundError)
    }
}

/// The accepted forms. jiff, which parses them, accepts others of ISO 8601 too.
const DATE: &str = "0000-00-00";
const TIME: &str = "0000-00-00T00:00:00";
const OFFSET: &str = "+00:00";

/// Whether the text has this form: a 0 stands for a digit, a + for a sign, and a T also for a t.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, expected): (u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        b'+' => matches!(byte, b'+' | b'-'),
        _ => byte.eq_ignore_ascii_case(&expected),
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// Nanoseconds since the Unix epoch. `jiff::Timestamp` does not reach the end of the year 9999.
fn since_epoch(time: DateTime) -> i128 {
    time.duration_since(date(1970, 1, 1).at(0, 0, 0, 0)).as_nanos()
}

/// `2026-10-08`
fn parse_date(text: &str) -> Option<TimeBound> {
    let date: Date = has_form(text, DATE).then(|| text.parse().ok())??;
    let (first, last) = (since_epoch(date.at(0, 0, 0, 0)), since_epoch(date.at(23, 59, 59, 999_999_999)));
    Some(TimeBound { first, last, has_more_digits: false })
}

/// `2026-10-08T00:00:01.5+02:00`
fn parse_time(text: &str) -> Option<TimeBound> {
    let (time, rest) = text.split_at_checked(TIME.len())?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|other: char| !other.is_ascii_digit()).filter(|end| *end > 0)?;
            let (fraction, offset) = rest.split_at_checked(end)?;
            (Some(fraction), offset)
        }
        None => (None, rest),
    };
    let offset = offset.replacen(' ', "+", 1);
    if !has_form(time, TIME) || !(has_form(&offset, "Z") || has_form(&offset, OFFSET)) {
        return None;
    }
    // RFC 3339 allows leap seconds: jiff counts them as the second before. It takes nine digits of a fraction.
    let pieces = format!("{time}.{:.9}{offset}", fraction.unwrap_or("0"));
    let pieces = Pieces::parse(&pieces).ok()?;
    let offset = i128::from(pieces.to_numeric_offset()?.seconds());
    if offset.abs() >= 86_400 {
        return None;
    }
    let first = since_epoch(pieces.date().to_datetime(pieces.time()?)) - offset * 1_000_000_000;
    let last = first + if fraction.is_some() { 0 } else { 999_999_999 };
    let has_more_digits = fraction.is_some_and(|digits| digits.bytes().skip(9).any(|digit| digit != b'0'));
    Some(TimeBound { first, last, has_more_digits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound(text: &str) -> Result<TimeBound, ParseTimeBoundError> {
        text.parse()
    }

    fn from(text: &str) -> Result<String, ParseTimeBoundError> {
        bound(text).map(|bound| bound.as_from().to_string())
    }

    fn to(text: &str) -> Result<String, ParseTimeBoundError> {
        bound(text).map(|bound| bound.as_to().to_string())
    }

    #[test]
    fn date_is_whole_day_in_utc() {
        assert_eq!(from("2026-10-08").as_deref(), Ok("2026-10-08T00:00:00.000Z"));
        assert_eq!(to("2026-10-08").as_deref(), Ok("2026-10-08T23:59:59.999Z"));
        assert_eq!(to("2028-02-29").as_deref(), Ok("2028-02-29T23:59:59.999Z"));
    }

    #[test]
    fn time_accepts_any_offset() {
        for text in [
            "2026-10-08T08:30:00Z",
            "2026-10-08t08:30:00z",
            "2026-10-08T08:30:00.000000000Z",
            "2026-10-08T08:30:00.0000000000Z",
            "2026-10-08T10:30:00+02:00",
            "2026-10-08T10:30:00 02:00",
            "2026-10-08T03:45:00-04:45",
            "2026-10-09T08:29:00+23:59",
            "2026-10-08T08:30:00-00:00",
        ] {
            assert_eq!(from(text).as_deref(), Ok("2026-10-08T08:30:00.000Z"), "{text}");
        }
    }

    #[test]
    fn time_without_fraction_includes_its_whole_second() {
        assert_eq!(to("2026-10-08T08:30:00Z").as_deref(), Ok("2026-10-08T08:30:00.999Z"));
        assert_eq!(to("2026-10-08T10:30:00+02:00").as_deref(), Ok("2026-10-08T08:30:00.999Z"));
        assert_eq!(to("2026-10-08T08:30:00.0Z").as_deref(), Ok("2026-10-08T08:30:00.000Z"));
    }

    #[test]
    fn period_is_compared_as_written() {
        for (from, to, is_after) in [
            ("2026-10-08", "2026-10-08", false),
            ("2026-10-09", "2026-10-08", true),
            ("2026-10-08T23:59:59.999999999Z", "2026-10-08", false),
            ("2026-10-08T08:30:00.5Z", "2026-10-08T08:30:00Z", false),
            ("2026-10-08T08:30:01Z", "2026-10-08T08:30:00Z", true),
            ("2026-10-08T08:30:00.0001Z", "2026-10-08T08:30:00.0002Z", false),
            ("2026-10-08T08:30:00.0002Z", "2026-10-08T08:30:00.0001Z", true),
            ("2026-10-08T08:30:00.00000000001Z", "2026-10-08T08:30:00.00000000002Z", false),
        ] {
            assert_eq!(bound(from).unwrap().is_after(bound(to).unwrap()), is_after, "{from} {to}");
        }
        // No millisecond lies between these.
        let (early, late) = (bound("2026-10-08T08:30:00.0001Z").unwrap(), bound("2026-10-08T08:30:00.0002Z").unwrap());
        assert!(early.as_from() > late.as_to());
    }

    #[test]
    fn fraction_is_rounded_into_the_range() {
        assert_eq!(from("2026-10-08T08:30:00.0010000000001Z").as_deref(), Ok("2026-10-08T08:30:00.002Z"));
        assert_eq!(from("2026-10-08T08:30:00.0001Z").as_deref(), Ok("2026-10-08T08:30:00.001Z"));
        assert_eq!(to("2026-10-08T08:30:00.0019999999999Z").as_deref(), Ok("2026-10-08T08:30:00.001Z"));
        assert_eq!(from("1969-12-31T23:59:59.9999Z").as_deref(), Ok("1970-01-01T00:00:00.000Z"));
        assert_eq!(to("1969-12-31T23:59:59.9999Z").as_deref(), Ok("1969-12-31T23:59:59.999Z"));
    }

    #[test]
    fn extreme_dates_are_accepted() {
        assert_eq!(from("0000-01-01").as_deref(), Ok("0000-01-01T00:00:00.000Z"));
        // Clamped to the maximum of `Timestamp`.
        assert_eq!(to("9999-12-31").as_deref(), Ok("9999-12-31T23:59:59.999Z"));
        assert_eq!(to("9999-12-31T23:59:60-23:59").as_deref(), Ok("9999-12-31T23:59:59.999Z"));
        assert_eq!(from("2016-12-31T23:59:60Z").as_deref(), Ok("2016-12-31T23:59:59.000Z"));
    }

    #[test]
    fn malformed_text_is_rejected() {
        for text in [
            "",
            "2026",
            "2026-10",
            "2026-13-01",
            "2026-02-30",
            "2026-10-8",
            "20261008",
            "+026-10-08",
            "2026-10-08T",
            "2026-10-08T08:30Z",
            "2026-10-08T08:30:00",
            "2026-10-08 08:30:00Z",
            "2026-10-08T24:00:00Z",
            "2026-10-08T08:60:00Z",
            "2026-10-08T08:30:61Z",
            "2026-10-08T08:30:00.Z",
            "2026-10-08T08:30:00,5Z",
            "2026-10-08T08:30:00+02",
            "2026-10-08T08:30:00+0200",
            "2026-10-08T08:30:00+24:00",
            "2026-10-08T08:30:00+02:60",
            "2026-10-08T08:30:00Z ",
            "2026-10-08T08:30:00Z[UTC]",
            "yesterday",
            "1791417601000",
            "２026-10-08",
        ] {
            assert_eq!(from(text), Err(ParseTimeBoundError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn formatted_time_parses_to_itself(millis in 0..253_402_207_200_000_i64) {
            let time = Timestamp::from_millis(millis);
            let bound = bound(&time.to_string()).unwrap();
            prop_assert_eq!((bound.as_from(), bound.as_to()), (time, time));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9TZtz:+. -]{0,40}|\\PC{0,40}") {
            let _ = (from(&text), to(&text));
        }
    }
}
