//! What a function is told by its environment: the one place that reads it.
//!
//! The template sets what an owner chooses (names, spans, sender); the rest has defaults where it is used, which tests
//! shorten. A missing or malformed setting ends the function at its start, and names itself.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use exports_domain::time::{ParseDurationError, parse_duration};

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct Settings(());

/// A setting that a function cannot start with.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting {name}: {problem}")]
pub struct SettingError {
    name: &'static str,
    problem: String,
}

impl fmt::Debug for SettingError {
    /// As people read it: what `main` returns is printed this way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Settings {
    /// The settings that this process was started with.
    #[must_use]
    pub const fn from_env() -> Self {
        Self(())
    }

    /// A text that must be there and not be empty.
    ///
    /// # Errors
    /// [`SettingError`] if it is not.
    pub fn text(self, name: &'static str) -> Result<String, SettingError> {
        self.optional(name).ok_or_else(|| SettingError { name, problem: "missing".to_owned() })
    }

    /// A span of time, such as `90s` or `72h`, that must be there.
    ///
    /// # Errors
    /// [`SettingError`] if it is not, or is no span.
    pub fn span(self, name: &'static str) -> Result<Duration, SettingError> {
        parsed(name, &self.text(name)?, parse_duration)
    }

    /// A span of time; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and no span.
    pub fn span_or(self, name: &'static str, default: Duration) -> Result<Duration, SettingError> {
        self.parsed_or(name, default, parse_duration)
    }

    /// A list of spans, such as `15s,1m`; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and one of them is no span.
    pub fn spans_or(self, name: &'static str, default: &[Duration]) -> Result<Vec<Duration>, SettingError> {
        self.parsed_or(name, default.to_vec(), |text| {
            text.split(',').map(|span| parse_duration(span.trim())).collect::<Result<_, ParseDurationError>>()
        })
    }

    /// A whole number; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and no such number.
    pub fn number_or<N>(self, name: &'static str, default: N) -> Result<N, SettingError>
    where
        N: FromStr<Err: fmt::Display>,
    {
        self.parsed_or(name, default, str::parse)
    }

    /// `true` or `false`; must be there.
    ///
    /// # Errors
    /// [`SettingError`] if it is neither.
    pub fn flag(self, name: &'static str) -> Result<bool, SettingError> {
        parsed(name, &self.text(name)?, str::parse)
    }

    /// A text that may be missing; an empty one counts as missing, because a template cannot leave a variable out.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn optional(self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// What `parse` makes of the text; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and `parse` refuses it.
    pub fn parsed_or<T, E: fmt::Display>(
        self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, SettingError> {
        self.optional(name).map_or(Ok(default), |text| parsed(name, &text, parse))
    }
}

fn parsed<T, E: fmt::Display>(
    name: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, SettingError> {
    parse(text).map_err(|problem| SettingError { name, problem: format!("{problem}: {text:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    // What every process has, whatever runs the tests.
    const SET: &str = "PATH";

    #[test]
    fn setting_that_is_missing_or_malformed_names_itself() {
        let settings = Settings::from_env();
        let error = settings.text("NO_SUCH_SETTING").unwrap_err();
        assert_eq!(format!("{error:?}"), "setting NO_SUCH_SETTING: missing");
        let error = settings.span_or(SET, Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("setting PATH: must be a whole number with the unit"), "{error}");
        assert!(settings.number_or(SET, 1_u32).is_err() && settings.flag(SET).is_err());
    }

    #[test]
    fn setting_that_may_be_missing_has_its_default() {
        let settings = Settings::from_env();
        assert_eq!(settings.number_or("NO_SUCH_SETTING", 7), Ok(7));
        let spans = [Duration::from_secs(1)];
        assert_eq!(settings.spans_or("NO_SUCH_SETTING", &spans), Ok(spans.to_vec()));
    }
}
