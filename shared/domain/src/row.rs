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

/// Whether this row, given as the values of `columns`, is valid without a value of the column. If another column decides
/// that, its value must be valid.
pub(crate) fn is_valid_without(column: &Column, columns: &[Column], row: &[Value<'_>]) -> bool {
    match column.required {
        Required::Always => false,
        Required::Never => true,
        Required::If { attribute, is } => columns.iter().zip(row).any(|(other, value)| match (other.kind, value) {
            (ColumnKind::OneOf(values), Value::Text(text)) => {
                other.attribute == attribute && *text != is && values.contains(text)
            }
            _ => false,
        }),
    }
}
