//! The export types. Each is one [`Definition`] in a module of its own; this module lists them.
//!
//! Everything that differs between types is in the definition. No other product code names a column, a row status or a
//! source table.

use std::fmt;
use std::str::FromStr;

mod marketplace_payouts;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportType {
    /// The marketplace's own payouts: its commissions, paid to its bank.
    MarketplacePayouts,
}

/// The definition of an export type.
#[derive(Debug)]
pub struct Definition {
    /// The name in routes, keys, file names and responses, such as `marketplace-payouts`.
    pub slug: &'static str,
    /// The prefix of the type's export ids, before the `_`. No prefix may start with another one, because a type's
    /// history is a range of keys.
    pub id_prefix: &'static str,
    /// The setting that names the source table.
    pub table_setting: &'static str,
    /// The name for people, at the start of a sentence.
    pub title: &'static str,
    /// One row.
    pub singular: &'static str,
    /// Several rows.
    pub plural: &'static str,
    /// The columns, in file order. The first is the row's id. New columns are appended, with a higher version.
    pub columns: &'static [Column],
    /// The statuses that a row can have.
    pub statuses: &'static [StatusDefinition],
}

/// A column of the file, and an attribute of the source table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in the file's header.
    pub header: &'static str,
    /// The attribute's name in the source table.
    pub attribute: &'static str,
    /// How the value is stored and written.
    pub kind: ColumnKind,
    /// Whether a row without it is invalid.
    pub required: bool,
    /// The version of the columns that it was added in. Versions start at 1.
    pub since: u32,
    /// What it means, in one sentence.
    pub description: &'static str,
}

/// How a column's value is stored and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, guarded against running as a formula.
    Text,
    /// The row's status: one of [`Definition::statuses`].
    Status,
    /// The row's amount in minor units, written as a decimal of the row's currency. It goes into the totals.
    Amount,
    /// The row's ISO 4217 currency code.
    Currency,
    /// An integer.
    Count,
    /// A time, written to the second.
    Time,
}

/// A status that a row can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusDefinition {
    /// The name in tables, files and responses.
    pub name: &'static str,
    /// What it means, in one sentence.
    pub description: &'static str,
}

/// The status of a row. Ordered as in its [`Definition`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowStatus {
    index: usize,
    name: &'static str,
}

impl RowStatus {
    /// The name in tables, files and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Its index in [`Definition::statuses`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.index
    }
}

impl fmt::Debug for RowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The columns of one file: those that its export type had when the export was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileColumns {
    /// The export type.
    pub export_type: ExportType,
    /// The version of the columns.
    pub version: u32,
}

impl FileColumns {
    /// The current columns of a type.
    #[must_use]
    pub fn current(export_type: ExportType) -> Self {
        let version = export_type.definition().columns.last().map_or(0, |column| column.since);
        Self { export_type, version }
    }

    /// The columns, in file order.
    #[must_use]
    pub fn list(self) -> &'static [Column] {
        let columns = self.export_type.definition().columns;
        columns.get(..columns.partition_point(|column| column.since <= self.version)).unwrap_or_default()
    }
}

impl Definition {
    /// The statuses that a row can have.
    pub fn row_statuses(&self) -> impl Iterator<Item = RowStatus> + '_ {
        self.statuses.iter().enumerate().map(|(index, status)| RowStatus { index, name: status.name })
    }

    /// The status with this name.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<RowStatus> {
        self.row_statuses().find(|status| status.name == name)
    }
}

impl ExportType {
    /// Every type.
    pub const ALL: [Self; 1] = [Self::MarketplacePayouts];

    /// The definition.
    #[must_use]
    pub const fn definition(self) -> &'static Definition {
        match self {
            Self::MarketplacePayouts => &marketplace_payouts::DEFINITION,
        }
    }

    /// The name in routes, keys, file names and responses.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        self.definition().slug
    }
}

/// There is no export type with this slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown export type")]
pub struct ParseExportTypeError;

impl FromStr for ExportType {
    type Err = ParseExportTypeError;

    fn from_str(slug: &str) -> Result<Self, ParseExportTypeError> {
        Self::ALL.into_iter().find(|export_type| export_type.slug() == slug).ok_or(ParseExportTypeError)
    }
}

const fn required(
    header: &'static str,
    attribute: &'static str,
    kind: ColumnKind,
    description: &'static str,
) -> Column {
    Column { header, attribute, kind, required: true, since: 1, description }
}

const fn optional(
    header: &'static str,
    attribute: &'static str,
    kind: ColumnKind,
    description: &'static str,
) -> Column {
    Column { header, attribute, kind, required: false, since: 1, description }
}

const fn status(name: &'static str, description: &'static str) -> StatusDefinition {
    StatusDefinition { name, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_has_one_column_of_each_special_kind() {
        for export_type in ExportType::ALL {
            let Definition { columns, statuses, .. } = export_type.definition();
            for kind in [ColumnKind::Status, ColumnKind::Amount, ColumnKind::Currency] {
                let found: Vec<_> = columns.iter().filter(|column| column.kind == kind).collect();
                assert!(matches!(found[..], [column] if column.required), "{export_type:?}: {kind:?}");
            }
            assert!(columns[0].required && columns[0].kind == ColumnKind::Text && !statuses.is_empty());
        }
    }

    #[test]
    fn file_has_the_columns_of_its_version() {
        for export_type in ExportType::ALL {
            let columns = export_type.definition().columns;
            assert!(columns.is_sorted_by_key(|column| column.since), "new columns are appended");
            assert_eq!(FileColumns::current(export_type).list(), columns);
            assert_eq!(FileColumns { export_type, version: 0 }.list(), []);
        }
    }

    #[test]
    fn names_are_unique() {
        for export_type in ExportType::ALL {
            let definition = export_type.definition();
            let mut names: Vec<_> = definition.columns.iter().flat_map(|c| [c.header, c.attribute]).collect();
            names.extend(definition.statuses.iter().map(|status| status.name));
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            // Headers and attributes of one word are the same.
            let same = definition.columns.iter().filter(|c| c.header == c.attribute).count();
            assert_eq!(names.len() + same, count, "{export_type:?}");
        }
    }

    #[test]
    fn id_prefixes_do_not_start_with_each_other() {
        for (i, a) in ExportType::ALL.iter().enumerate() {
            for (j, b) in ExportType::ALL.iter().enumerate() {
                assert!(i == j || !a.definition().id_prefix.starts_with(b.definition().id_prefix));
            }
        }
    }
}
