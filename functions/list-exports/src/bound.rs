//! Parses `createdFrom` and `createdTo`: a time or a date.
//!
//! A time is in RFC 3339 format with any offset and fraction, such as `2026-10-08T02:00:01.5+02:00`. A space in place of
//! the offset's `+` is accepted, because an unencoded `+` in a query string is a space. A date, such as `2026-10-08`, is
//! the whole day in UTC. Both bounds are inclusive. IDs have millisecond precision, so finer lower bounds are rounded up
//! and finer upper bounds are rounded down.

use exports_domain::time::Timestamp;
use jiff::civil::{Date, DateTime, date};

/// The lower or the upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Bound {
    From,
    To,
}

/// The text is not a time or date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time with an offset, such as 2026-10-08T00:00:01Z, or a date, such as 2026-10-08")]
pub struct ParseBoundError;

/// Parses a bound.
///
/// # Errors
/// [`ParseBoundError`].
pub fn parse(text: &str, bound: Bound) -> Result<Timestamp, ParseBoundError> {
    let text = text.as_bytes();
    let nanoseconds = match text.len() {
        10 => match bound {
            Bound::From => since_epoch(parse_date(text)?.at(0, 0, 0, 0)),
            Bound::To => since_epoch(parse_date(text)?.at(23, 59, 59, 999_999_999)),
        },
        _ => parse_time(text)?,
    };
    let milliseconds = match bound {
        Bound::From => -(-nanoseconds).div_euclid(1_000_000),
        Bound::To => nanoseconds.div_euclid(1_000_000),
    };
    Ok(Timestamp::from_millis(i64::try_from(milliseconds).map_err(|_| ParseBoundError)?))
}

/// Nanoseconds since the Unix epoch. `jiff::Timestamp` does not reach the end of the year 9999.
fn since_epoch(time: DateTime) -> i128 {
    time.duration_since(date(1970, 1, 1).at(0, 0, 0, 0)).as_nanos()
}

/// `2026-10-08`
fn parse_date(text: &[u8]) -> Result<Date, ParseBoundError> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return Err(ParseBoundError) };
    let year = i16::try_from(number(&[*y1, *y2, *y3, *y4])?).map_err(|_| ParseBoundError)?;
    Date::new(year, two_digits(*m1, *m2)?, two_digits(*d1, *d2)?).map_err(|_| ParseBoundError)
}

/// `2026-10-08T00:00:01.5+02:00`
fn parse_time(text: &[u8]) -> Result<i128, ParseBoundError> {
    let (date, rest) = text.split_at_checked(10).ok_or(ParseBoundError)?;
    let [b'T' | b't', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else { return Err(ParseBoundError) };
    // RFC 3339 allows leap seconds. They count as the second before.
    let second = match two_digits(*s1, *s2)? {
        60 => 59,
        second => second,
    };
    let time =
        jiff::civil::Time::new(two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, second, 0).map_err(|_| ParseBoundError)?;
    let (fraction, offset) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at_checked(digits).filter(|(digits, _)| !digits.is_empty()).ok_or(ParseBoundError)?
        }
        rest => (&[][..], rest),
    };
    let local = since_epoch(parse_date(date)?.to_datetime(time)) + nanoseconds(fraction)?;
    Ok(local - i128::from(parse_offset(offset)?) * 60 * 1_000_000_000)
}

/// The first nine digits of a fraction.
fn nanoseconds(fraction: &[u8]) -> Result<i128, ParseBoundError> {
    let mut digits = [b'0'; 9];
    for (digit, byte) in digits.iter_mut().zip(fraction) {
        *digit = *byte;
    }
    Ok(number(&digits)?.into())
}

/// The offset in minutes: `Z`, `+02:00`.
fn parse_offset(text: &[u8]) -> Result<i64, ParseBoundError> {
    let (sign, h1, h2, m1, m2) = match text {
        [b'Z' | b'z'] => return Ok(0),
        [b'+' | b' ', h1, h2, b':', m1, m2] => (1, h1, h2, m1, m2),
        [b'-', h1, h2, b':', m1, m2] => (-1, h1, h2, m1, m2),
        _ => return Err(ParseBoundError),
    };
    let (hours, minutes) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
    if hours > 23 || minutes > 59 {
        return Err(ParseBoundError);
    }
    Ok(sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

fn two_digits(tens: u8, ones: u8) -> Result<i8, ParseBoundError> {
    i8::try_from(number(&[tens, ones])?).map_err(|_| ParseBoundError)
}

fn number(digits: &[u8]) -> Result<i64, ParseBoundError> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')).ok_or(ParseBoundError)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(text: &str) -> Result<String, ParseBoundError> {
        parse(text, Bound::From).map(|time| time.to_string())
    }

    fn to(text: &str) -> Result<String, ParseBoundError> {
        parse(text, Bound::To).map(|time| time.to_string())
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
            "2026-10-08T10:30:00+02:00",
            "2026-10-08T10:30:00 02:00",
            "2026-10-08T03:45:00-04:45",
            "2026-10-09T08:29:00+23:59",
            "2026-10-08T08:30:00-00:00",
        ] {
            assert_eq!(from(text).as_deref(), Ok("2026-10-08T08:30:00.000Z"), "{text}");
            assert_eq!(to(text), from(text), "{text}");
        }
    }

    #[test]
    fn fraction_is_rounded_into_the_range() {
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
            assert_eq!(from(text), Err(ParseBoundError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn formatted_time_parses_to_itself(millis in 0..253_402_207_200_000_i64) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(parse(&time.to_string(), Bound::From), Ok(time));
            prop_assert_eq!(parse(&time.to_string(), Bound::To), Ok(time));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9TZtz:+. -]{0,40}|\\PC{0,40}") {
            let _ = (from(&text), to(&text));
        }
    }
}
