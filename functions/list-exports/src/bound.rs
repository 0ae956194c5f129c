//! The first and the last moment of a range of time, as clients write them: a time or a date.
//!
//! A time is RFC 3339's, with any offset and any fraction: `2026-10-08T02:00:01.5+02:00`. In a query string a bare `+`
//! means a space, so a space where the offset's sign belongs is taken for the plus that it was. A date, `2026-10-08`, is
//! the whole day in UTC. Both ends belong to the range; ids know milliseconds, so that a finer first moment is rounded
//! up and a finer last one down.

use domain::time::Timestamp;
use jiff::civil::{Date, DateTime, date};

/// Which end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its first moment.
    First,
    /// Its last moment.
    Last,
}

/// The text is neither a time nor a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a time with its offset, such as 2026-10-08T00:00:01Z, nor a date, such as 2026-10-08")]
pub struct NotABound;

/// The end of a range that `text` names.
///
/// # Errors
/// [`NotABound`] if it names none.
pub fn parse(text: &str, end: End) -> Result<Timestamp, NotABound> {
    let text = text.as_bytes();
    let nanoseconds = match text.len() {
        10 => match end {
            End::First => since_epoch(parse_date(text)?.at(0, 0, 0, 0)),
            End::Last => since_epoch(parse_date(text)?.at(23, 59, 59, 999_999_999)),
        },
        _ => parse_time(text)?,
    };
    let milliseconds = match end {
        End::First => -(-nanoseconds).div_euclid(1_000_000),
        End::Last => nanoseconds.div_euclid(1_000_000),
    };
    Ok(Timestamp::from_millis(i64::try_from(milliseconds).map_err(|_| NotABound)?))
}

/// Nanoseconds since 1970, in UTC. By hand, because jiff's instants end a day before the year 9999 does.
fn since_epoch(time: DateTime) -> i128 {
    time.duration_since(date(1970, 1, 1).at(0, 0, 0, 0)).as_nanos()
}

/// `2026-10-08`
fn parse_date(text: &[u8]) -> Result<Date, NotABound> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return Err(NotABound) };
    let year = i16::try_from(number(&[*y1, *y2, *y3, *y4])?).map_err(|_| NotABound)?;
    Date::new(year, small(*m1, *m2)?, small(*d1, *d2)?).map_err(|_| NotABound)
}

/// `2026-10-08T00:00:01.5+02:00`
fn parse_time(text: &[u8]) -> Result<i128, NotABound> {
    let (date, rest) = text.split_at_checked(10).ok_or(NotABound)?;
    let [b'T' | b't', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest else { return Err(NotABound) };
    // RFC 3339 has leap seconds; the second before stands for one.
    let second = match small(*s1, *s2)? {
        60 => 59,
        second => second,
    };
    let time = jiff::civil::Time::new(small(*h1, *h2)?, small(*m1, *m2)?, second, 0).map_err(|_| NotABound)?;
    let (fraction, offset) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at_checked(digits).filter(|(digits, _)| !digits.is_empty()).ok_or(NotABound)?
        }
        rest => (&[][..], rest),
    };
    let local = since_epoch(parse_date(date)?.to_datetime(time)) + nanoseconds(fraction)?;
    Ok(local - i128::from(parse_offset(offset)?) * 60 * 1_000_000_000)
}

/// What follows the point: of a finer fraction, its first nine digits.
fn nanoseconds(fraction: &[u8]) -> Result<i128, NotABound> {
    let mut digits = [b'0'; 9];
    for (digit, given) in digits.iter_mut().zip(fraction) {
        *digit = *given;
    }
    Ok(number(&digits)?.into())
}

/// `Z`, `+02:00`: minutes ahead of UTC.
fn parse_offset(text: &[u8]) -> Result<i64, NotABound> {
    let (sign, h1, h2, m1, m2) = match text {
        [b'Z' | b'z'] => return Ok(0),
        [b'+' | b' ', h1, h2, b':', m1, m2] => (1, h1, h2, m1, m2),
        [b'-', h1, h2, b':', m1, m2] => (-1, h1, h2, m1, m2),
        _ => return Err(NotABound),
    };
    let (hours, minutes) = (small(*h1, *h2)?, small(*m1, *m2)?);
    if hours > 23 || minutes > 59 {
        return Err(NotABound);
    }
    Ok(sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

fn small(tens: u8, ones: u8) -> Result<i8, NotABound> {
    i8::try_from(number(&[tens, ones])?).map_err(|_| NotABound)
}

fn number(digits: &[u8]) -> Result<i64, NotABound> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')).ok_or(NotABound)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(text: &str) -> Result<String, NotABound> {
        parse(text, End::First).map(|time| time.to_string())
    }

    fn last(text: &str) -> Result<String, NotABound> {
        parse(text, End::Last).map(|time| time.to_string())
    }

    #[test]
    fn date_is_the_whole_day_in_utc() {
        assert_eq!(first("2026-10-08").as_deref(), Ok("2026-10-08T00:00:00.000Z"));
        assert_eq!(last("2026-10-08").as_deref(), Ok("2026-10-08T23:59:59.999Z"));
        assert_eq!(last("2028-02-29").as_deref(), Ok("2028-02-29T23:59:59.999Z"));
    }

    #[test]
    fn time_is_taken_with_any_offset() {
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
            assert_eq!(first(text).as_deref(), Ok("2026-10-08T08:30:00.000Z"), "{text}");
            assert_eq!(last(text), first(text), "{text}");
        }
    }

    #[test]
    fn fraction_finer_than_milliseconds_leaves_out_what_is_outside() {
        assert_eq!(first("2026-10-08T08:30:00.0001Z").as_deref(), Ok("2026-10-08T08:30:00.001Z"));
        assert_eq!(last("2026-10-08T08:30:00.0019999999999Z").as_deref(), Ok("2026-10-08T08:30:00.001Z"));
        assert_eq!(first("1969-12-31T23:59:59.9999Z").as_deref(), Ok("1970-01-01T00:00:00.000Z"));
        assert_eq!(last("1969-12-31T23:59:59.9999Z").as_deref(), Ok("1969-12-31T23:59:59.999Z"));
    }

    #[test]
    fn every_date_that_can_be_written_is_taken() {
        assert_eq!(first("0000-01-01").as_deref(), Ok("0000-01-01T00:00:00.000Z"));
        // Drawn to the last moment that a timestamp can write.
        assert_eq!(last("9999-12-31").as_deref(), Ok("9999-12-30T22:00:00.000Z"));
        assert_eq!(last("9999-12-31T23:59:60-23:59").as_deref(), Ok("9999-12-30T22:00:00.000Z"));
        assert_eq!(first("2016-12-31T23:59:60Z").as_deref(), Ok("2016-12-31T23:59:59.000Z"));
    }

    #[test]
    fn text_of_another_form_is_refused() {
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
            assert_eq!(first(text), Err(NotABound), "{text}");
        }
    }

    proptest! {
        #[test]
        fn time_that_was_written_reads_back(millis in 0..253_402_207_200_000_i64) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(parse(&time.to_string(), End::First), Ok(time));
            prop_assert_eq!(parse(&time.to_string(), End::Last), Ok(time));
        }

        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in "[0-9TZtz:+. -]{0,40}|\\PC{0,40}") {
            let _ = (first(&text), last(&text));
        }
    }
}
