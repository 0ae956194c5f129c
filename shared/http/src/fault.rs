//! What is wrong with a request, as far as its caller can mend it.

use std::fmt;

/// How many faults an answer tells.
pub const MOST_FAULTS: usize = 100;

/// How many characters of a text from outside an answer repeats.
const MOST_REPEATED: usize = 64;

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault.
    pub code: FaultCode,
    /// Which field of the body, as a path (`cc[3]`), which parameter or which header. None if it is the body as a whole.
    pub field: Option<String>,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// The kinds of fault, with the codes that the product family has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCode {
    /// F-E-012: the value is not of the form it must have.
    Format,
    /// F-E-008: the value is none of those there are.
    Enumeration,
    /// F-E-006: the value is beyond its bounds.
    Range,
    /// F-E-010: there are too many.
    Size,
}

impl FaultCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "F-E-012",
            Self::Enumeration => "F-E-008",
            Self::Range => "F-E-006",
            Self::Size => "F-E-010",
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Format => "Wrong format",
            Self::Enumeration => "Not a value of the enumeration",
            Self::Range => "Out of range",
            Self::Size => "Size limit exceeded",
        }
    }
}

/// All that is wrong with a request; the first [`MOST_FAULTS`] of it are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One more fault.
    pub fn add(&mut self, code: FaultCode, field: Option<String>, detail: impl fmt::Display) {
        if self.0.len() < MOST_FAULTS {
            self.0.push(Fault { code, field, detail: detail.to_string() });
        }
    }

    /// One more fault, of a named field.
    pub fn of(&mut self, field: impl Into<String>, code: FaultCode, detail: impl fmt::Display) {
        self.add(code, Some(field.into()), detail);
    }

    /// What was found by another check of the same request.
    pub fn extend(&mut self, others: Vec<Fault>) {
        let room = MOST_FAULTS.saturating_sub(self.0.len());
        self.0.extend(others.into_iter().take(room));
    }

    /// `value`, if nothing is wrong.
    ///
    /// # Errors
    /// The faults, at least one.
    pub fn or<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// A text from outside as an answer may repeat it.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(MOST_REPEATED).collect()
}
