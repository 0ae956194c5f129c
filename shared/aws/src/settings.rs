//! Reads settings from the environment. No other module does.
//!
//! The template sets names, durations and the sender. All other settings have defaults, which tests may shorten. A
//! function with a missing or malformed setting exits during initialization with an error that names the setting.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use exports_domain::time::{ParseDurationError, parse_duration};

/// The settings of this process.
#[derive(Clone, Copy, Debug)]
pub struct Settings(());

/// A missing or malformed setting.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting {name}: {problem}")]
pub struct SettingError {
    name: &'static str,
    problem: String,
}

impl fmt::Debug for SettingError {
    /// Like `Display`, because the runtime prints the error that `main` returns with `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Settings {
    /// The settings in the environment of this process.
    #[must_use]
    pub const fn from_env() -> Self {
        Self(())
    }

    /// A required text.
    ///
    /// # Errors
    /// [`SettingError`] if it is missing or empty.
    pub fn text(self, name: &'static str) -> Result<String, SettingError> {
        self.optional(name).ok_or_else(|| SettingError { name, problem: "missing".to_owned() })
    }

    /// A required duration, such as `90s` or `72h`.
    ///
    /// # Errors
    /// [`SettingError`] if it is missing or malformed.
    pub fn duration(self, name: &'static str) -> Result<Duration, SettingError> {
        parsed(name, &self.text(name)?, parse_duration)
    }

    /// A duration, or `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is malformed.
    pub fn duration_or(self, name: &'static str, default: Duration) -> Result<Duration, SettingError> {
        self.parsed_or(name, default, parse_duration)
    }

    /// A list of durations, such as `15s,1m`, or `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if one of them is malformed.
    pub fn durations_or(self, name: &'static str, default: &[Duration]) -> Result<Vec<Duration>, SettingError> {
        self.parsed_or(name, default.to_vec(), |text| {
            text.split(',').map(|duration| parse_duration(duration.trim())).collect::<Result<_, ParseDurationError>>()
        })
    }

    /// A number, or `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is malformed.
    pub fn number_or<N>(self, name: &'static str, default: N) -> Result<N, SettingError>
    where
        N: FromStr<Err: fmt::Display>,
    {
        self.parsed_or(name, default, str::parse)
    }

    /// A required `true` or `false`.
    ///
    /// # Errors
    /// [`SettingError`] if it is missing or neither.
    pub fn flag(self, name: &'static str) -> Result<bool, SettingError> {
        parsed(name, &self.text(name)?, str::parse)
    }

    /// An optional text. An empty one counts as missing, because the template cannot omit a variable.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn optional(self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// The text parsed by `parse`, or `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if `parse` fails.
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

    // A variable that is set in every process.
    const SET: &str = "PATH";

    #[test]
    fn setting_error_names_the_setting() {
        let settings = Settings::from_env();
        let error = settings.text("NO_SUCH_SETTING").unwrap_err();
        assert_eq!(format!("{error:?}"), "setting NO_SUCH_SETTING: missing");
        let error = settings.duration_or(SET, Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("setting PATH: must be a whole number with the unit"), "{error}");
        assert!(settings.number_or(SET, 1_u32).is_err() && settings.flag(SET).is_err());
        assert!(settings.duration(SET).is_err());
    }

    #[test]
    fn missing_optional_setting_has_its_default() {
        let settings = Settings::from_env();
        assert_eq!(settings.number_or("NO_SUCH_SETTING", 7), Ok(7));
        let defaults = [Duration::from_secs(1)];
        assert_eq!(settings.durations_or("NO_SUCH_SETTING", &defaults), Ok(defaults.to_vec()));
    }
}
