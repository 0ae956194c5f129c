//! Validation errors of a request.

use std::fmt;

/// The maximum number of errors in a response.
pub const MAX_VALIDATION_ERRORS: usize = 100;

/// The maximum number of characters of untrusted text that a response repeats.
const MAX_REPEATED: usize = 64;

/// A validation error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// The kind of error.
    pub code: ValidationCode,
    /// The field of the body as a path (`cc[3]`), the query parameter or the header. `None` for the body as a whole.
    pub field: Option<String>,
    /// The problem, or the requirement that the value does not meet.
    pub detail: String,
}

/// The kinds of validation error, with the codes of the product family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidationCode {
    /// F-E-001: a required value is missing.
    Missing,
    /// F-E-012: the value has the wrong format.
    Format,
    /// F-E-008: the value is not one of the allowed values.
    Enumeration,
    /// F-E-006: the value is out of range.
    Range,
    /// F-E-010: there are too many values.
    Size,
}

impl ValidationCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "F-E-001",
            Self::Format => "F-E-012",
            Self::Enumeration => "F-E-008",
            Self::Range => "F-E-006",
            Self::Size => "F-E-010",
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Missing => "Required value missing",
            Self::Format => "Wrong format",
            Self::Enumeration => "Not a value of the enumeration",
            Self::Range => "Out of range",
            Self::Size => "Size limit exceeded",
        }
    }
}

/// The first [`MAX_VALIDATION_ERRORS`] validation errors of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationErrors(Vec<ValidationError>);

impl ValidationErrors {
    /// Adds the error of a field.
    pub fn push(&mut self, field: impl Into<String>, code: ValidationCode, detail: impl fmt::Display) {
        if self.0.len() < MAX_VALIDATION_ERRORS {
            self.0.push(ValidationError { code, field: Some(field.into()), detail: detail.to_string() });
        }
    }

    /// Adds the errors of another part of the request.
    pub fn extend(&mut self, others: Vec<ValidationError>) {
        let room = MAX_VALIDATION_ERRORS.saturating_sub(self.0.len());
        self.0.extend(others.into_iter().take(room));
    }

    /// Returns `value` if there are no errors.
    ///
    /// # Errors
    /// The errors, at least one.
    pub fn into_result<T>(self, value: T) -> Result<T, Vec<ValidationError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Shortens untrusted text that a response repeats.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}
