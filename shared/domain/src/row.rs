//! A row as it was read from the source table.

use crate::export_type::{Column, ColumnKind, Required};

/// The index of the id's column in every type.
pub(crate) const ID: usize = 0;

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

/// Whether this row, given as the values of `columns`, must have a value of the column. None if the value of another column
/// decides that, and is invalid.
pub(crate) fn requires(column: &Column, columns: &[Column], row: &[Value<'_>]) -> Option<bool> {
    match column.required {
        Required::Always => Some(true),
        Required::Never => Some(false),
        Required::If { attribute, is } => {
            let (other, value) = columns.iter().zip(row).find(|(other, _)| other.attribute == attribute)?;
            match (other.kind, value) {
                (ColumnKind::OneOf(values), Value::Text(text)) if values.contains(text) => Some(*text == is),
                _ => None,
            }
        }
    }
}
