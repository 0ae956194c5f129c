//! Amounts in minor units and ISO 4217 currencies.

use std::fmt;
use std::str::FromStr;

/// An ISO 4217 currency with an exponent, such as EUR (2), JPY (0) or KWD (3): a current one, or one that was withdrawn
/// since 2010. Codes without an exponent, such as metals and test codes, are rejected.
///
/// ```
/// use exports_domain::money::Currency;
///
/// assert_eq!("KWD".parse::<Currency>()?.exponent(), 3);
/// assert!("XAU".parse::<Currency>().is_err(), "gold has no minor unit");
/// # Ok::<(), exports_domain::money::ParseCurrencyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    exponent: u8,
}

/// Currencies withdrawn since 2010 that `iso_currency` does not have, with their exponents (ISO 4217, list three;
/// exponents as in the last list one that had them).
const WITHDRAWN: [(&str, u8); 10] = [
    ("ANG", 2),
    ("BYR", 0),
    ("EEK", 2),
    ("LTL", 2),
    ("LVL", 2),
    ("MRO", 2),
    ("STD", 2),
    ("USS", 2),
    ("VEF", 2),
    ("ZMK", 2),
];

/// The text is not an ISO 4217 code of a currency with an exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 currency code")]
pub struct ParseCurrencyError;

impl Currency {
    /// The three-letter code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// The number of decimal places of an amount.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

impl FromStr for Currency {
    type Err = ParseCurrencyError;

    fn from_str(code: &str) -> Result<Self, ParseCurrencyError> {
        let Some(currency) = iso_currency::Currency::from_code(code) else {
            let (code, exponent) = *WITHDRAWN.iter().find(|(known, _)| *known == code).ok_or(ParseCurrencyError)?;
            return Ok(Self { code, exponent });
        };
        let exponent =
            currency.exponent().and_then(|exponent| u8::try_from(exponent).ok()).ok_or(ParseCurrencyError)?;
        Ok(Self { code: currency.code(), exponent })
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl PartialOrd for Currency {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Currency {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code.cmp(other.code)
    }
}

/// An exact amount. It is displayed as a decimal without separators.
///
/// ```
/// use exports_domain::money::Money;
///
/// let refund = Money { minor: -123_450, currency: "EUR".parse()? };
/// assert_eq!(refund.to_string(), "-1234.50");
/// # Ok::<(), exports_domain::money::ParseCurrencyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// The amount in minor units, such as cents; a DynamoDB number has up to 38 digits.
    pub minor: i128,
    /// The currency, whose exponent places the decimal point.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.append_to(&mut text);
        f.write_str(&text)
    }
}

impl Money {
    /// Appends the decimal to `text`. It avoids `fmt`, because it runs for every row.
    pub fn append_to(&self, text: &mut String) {
        append_decimal(self.minor, self.currency.exponent.into(), text);
    }
}

/// Appends an integer to `text`, without `fmt`.
pub(crate) fn append_whole_number(number: i128, text: &mut String) {
    append_decimal(number, 0, text);
}

/// Appends `number` with its last `exponent` digits after a decimal point.
fn append_decimal(number: i128, exponent: usize, text: &mut String) {
    let mut buffer = itoa::Buffer::new();
    let magnitude = number.unsigned_abs();
    // Formatting 128 bits takes several times as long, and few amounts need them.
    let digits = match u64::try_from(magnitude) {
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(magnitude),
    };
    let (whole, fraction) = digits.split_at_checked(digits.len().saturating_sub(exponent)).unwrap_or((digits, ""));
    text.push_str(if number < 0 { "-" } else { "" });
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if exponent > 0 {
        text.push('.');
        (fraction.len()..exponent).for_each(|_| text.push('0'));
        text.push_str(fraction);
    }
}

/// Parses an integer in any form in which DynamoDB can return a number: with a sign, a fraction or an exponent. Returns
/// `None` unless the value is an integer of at most 38 digits.
#[must_use]
pub fn parse_whole_number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits.parse::<u64>() {
        // The common case. `parse` would accept a second sign.
        Ok(magnitude) if !digits.starts_with('+') => i128::from(magnitude),
        _ => whole_decimal(digits)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// The slow path for rare forms: fractions, exponents and more than 64 bits.
fn whole_decimal(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let trailing = digits.bytes().rev().take_while(|b| *b == b'0').count();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // value = significant × 10^scale
    let scale = i64::from(exponent) - i64::try_from(fraction.len()).ok()? + i64::try_from(trailing).ok()?;
    let scale = u32::try_from(scale).ok()?;
    if significant.len() + usize::try_from(scale).ok()? > 38 {
        return None;
    }
    significant.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(scale)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(minor: i128, code: &str) -> String {
        Money { minor, currency: code.parse().unwrap() }.to_string()
    }

    #[test]
    fn money_is_displayed_with_its_currency_exponent() {
        assert_eq!(money(123_450, "EUR"), "1234.50");
        assert_eq!(money(-5, "EUR"), "-0.05");
        assert_eq!(money(0, "EUR"), "0.00");
        assert_eq!(money(1234, "JPY"), "1234");
        assert_eq!(money(-1, "KWD"), "-0.001");
        assert_eq!(money(i128::MIN, "JPY"), i128::MIN.to_string());
    }

    #[test]
    fn currencies_equal_the_golden_file() {
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        let lines: Vec<_> = codes
            .filter_map(|code| code.parse::<Currency>().ok())
            .map(|currency| format!("{} {}", currency.code(), currency.exponent()))
            .collect();
        assert_eq!(lines, include_str!("../golden/currencies.txt").lines().collect::<Vec<_>>());
    }

    #[test]
    fn currency_without_exponent_or_misspelled_is_rejected() {
        for code in ["", "eur", "EURO", "XXX", "XAU", "XYZ", "978", " EUR"] {
            assert_eq!(code.parse::<Currency>(), Err(ParseCurrencyError), "{code}");
        }
    }

    #[test]
    fn whole_number_is_parsed_in_every_dynamodb_form() {
        let nines = "9".repeat(38);
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("-12", -12),
            ("1E2", 100),
            ("1.5e1", 15),
            ("-1.20E+2", -120),
            ("100.00", 100),
            ("0.0E-99", 0),
            ("1200E-2", 12),
            ("1E37", 10_i128.pow(37)),
            (nines.as_str(), 10_i128.pow(38) - 1),
            ("00000000000000000000000000000000000000000000000007", 7),
        ] {
            assert_eq!(parse_whole_number(text), Some(value), "{text}");
        }
        let ten_to_38 = format!("1{}", "0".repeat(38));
        for text in [
            "",
            "-",
            "+",
            "+-1",
            "++1",
            "-+1",
            "--1",
            "1.5",
            "1E-1",
            "1E38",
            ten_to_38.as_str(),
            "1E999999999999",
            "1e",
            "e1",
            ".",
            "NaN",
            "1 ",
            " 1",
            "1_000",
            "0x10",
            "٣",
        ] {
            assert_eq!(parse_whole_number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn money_round_trips_to_its_minor_units(minor in -(10_i128.pow(38) - 1)..10_i128.pow(38)) {
            for code in ["JPY", "EUR", "KWD", "CLF"] {
                let currency: Currency = code.parse().unwrap();
                let text = format!("{}E{}", Money { minor, currency }, currency.exponent());
                prop_assert_eq!(parse_whole_number(&text), Some(minor));
            }
        }

        #[test]
        fn parsing_never_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = parse_whole_number(&text);
        }
    }
}
