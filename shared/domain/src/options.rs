//! The options that an export was launched with in addition to its recipients.
//!
//! The options are frozen on the record. A record with options that this build does not know is corrupt: ignoring them
//! would export more than was requested.

use crate::filter::RowFilter;

/// The version of new options.
pub const OPTIONS_VERSION: u32 = 1;

/// The options of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// The rows to include.
    pub filter: RowFilter,
    /// The format of the file.
    pub format: FileFormat,
}

/// The format of a file.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[strum(parse_err_ty = ParseFileFormatError, parse_err_fn = ParseFileFormatError::new)]
pub enum FileFormat {
    /// Comma-separated values, with `;` as the separator.
    #[default]
    Csv,
    /// An Excel workbook, for people who open the file in a spreadsheet.
    Xlsx,
}

impl FileFormat {
    /// The name in requests, responses and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The extension of file names and object keys.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
        }
    }

    /// The media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// The text is not a file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be CSV or XLSX")]
pub struct ParseFileFormatError;

impl ParseFileFormatError {
    const fn new(_: &str) -> Self {
        Self
    }
}
