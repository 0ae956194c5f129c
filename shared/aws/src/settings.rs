//! What a function is told by its environment: the one place that reads it.
//!
//! The template sets what an owner chooses (names, spans, sender); the rest has defaults where it is used, which tests
//! shorten. A missing or malformed setting ends the function at its start, and names itself.

use std::str::FromStr;
use std::time::Duration;

use domain::time::{NotASpan, parse_span};

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct Settings(());

/// A setting that a function cannot start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {name}: {problem}")]
pub struct SettingError {
    name: &'static str,
    problem: String,
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

    /// A span of time, such as `90s` or `72h`; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and no span.
    pub fn span_or(self, name: &'static str, default: Duration) -> Result<Duration, SettingError> {
        self.parsed_or(name, default, parse_span)
    }

    /// A list of spans, such as `15s,1m`; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and one of them is no span.
    pub fn spans_or(self, name: &'static str, default: &[Duration]) -> Result<Vec<Duration>, SettingError> {
        self.parsed_or(name, default.to_vec(), |text| {
            text.split(',').map(|span| parse_span(span.trim())).collect::<Result<_, NotASpan>>()
        })
    }

    /// A whole number; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and no such number.
    pub fn number_or<N>(self, name: &'static str, default: N) -> Result<N, SettingError>
    where
        N: FromStr<Err: std::fmt::Display>,
    {
        self.parsed_or(name, default, str::parse)
    }

    /// `true` or `false`; `default` if it is not set.
    ///
    /// # Errors
    /// [`SettingError`] if it is set and neither.
    pub fn flag_or(self, name: &'static str, default: bool) -> Result<bool, SettingError> {
        self.parsed_or(name, default, str::parse)
    }

    /// A text that may be missing; an empty one counts as missing, because a template cannot leave a variable out.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn optional(self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn parsed_or<T, E: std::fmt::Display>(
        self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, SettingError> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => {
                parse(&text).map_err(|problem| SettingError { name, problem: format!("{problem}: {text:?}") })
            }
        }
    }
}
