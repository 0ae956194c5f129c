//! A row as it was read from the source table.

use std::fmt;

/// The value of an attribute, not validated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Absent, or NULL.
    Missing,
    /// A string.
    Text(&'a str),
    /// A number, as the table writes it.
    Number(&'a str),
    /// Of a type that no column has.
    Other,
}

/// The first invalid value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// The attribute's name.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub problem: ValueProblem,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueProblem {
    /// Required, but absent, NULL or empty.
    Missing,
    /// Of the wrong type, or not in the form that its column needs.
    Malformed,
    /// In the right form, but not one of the known values.
    Unknown,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            ValueProblem::Missing => "missing",
            ValueProblem::Malformed => "malformed",
            ValueProblem::Unknown => "unknown",
        };
        write!(f, "{} {problem}", self.attribute)
    }
}
