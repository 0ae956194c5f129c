//! A row as it was read from the source table.

use std::fmt;

use crate::export_type::{Column, Required};

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

/// Whether this row, given as the values of `columns`, must have a value of the column.
pub(crate) fn requires(column: &Column, columns: &[Column], row: &[Value<'_>]) -> bool {
    match column.required {
        Required::Always => true,
        Required::Never => false,
        Required::If { attribute, is } => {
            let other = columns.iter().position(|other| other.attribute == attribute);
            other.and_then(|index| row.get(index)) == Some(&Value::Text(is))
        }
    }
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
