//! The export types. Each is one [`Definition`] in a module of its own; this module lists them.
//!
//! Everything that differs between types is in the definition. No other product code names a column, a row status or a
//! source table.

use std::fmt;
use std::str::FromStr;

use crate::filter::{FilterDefinition, FilterKind};

mod funding_transfers;
mod marketplace_payouts;
mod supplier_payouts;

/// The attribute of the creation time, in every type. Each sort key starts with its value.
pub(crate) const CREATED_AT: &str = "createdAt";

/// The kind of rows that an export has.
///
/// ```
/// use exports_domain::export_type::{ColumnKind, ExportType};
///
/// let export_type: ExportType = "funding-transfers".parse()?;
/// let definition = export_type.definition();
/// assert_eq!((definition.id_prefix, definition.plural), ("ftr", "funding transfers"));
/// let amount = definition.columns.iter().find(|column| column.kind == ColumnKind::Amount);
/// assert_eq!(amount.map(|column| (column.header, column.attribute)), Some(("amount", "amountMinor")));
/// # Ok::<(), exports_domain::export_type::ParseExportTypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportType {
    /// The marketplace's own payouts: its commissions, paid to its bank.
    MarketplacePayouts,
    /// The payouts to suppliers: one for each supplier and period.
    SupplierPayouts,
    /// The transfers between balance accounts that fund payouts and refunds.
    FundingTransfers,
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
    /// The filters of its exports.
    pub filters: &'static [FilterDefinition],
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
    /// Whether a row without it is invalid. An empty string is the same as no value.
    pub required: Required,
    /// The version of the columns that it was added in. Versions start at 1; see [`Self::since`].
    pub since: u32,
    /// Its meaning, in one sentence.
    pub description: &'static str,
}

impl Column {
    /// The same column, added in this version: exports in progress, which have an older one, do not get it.
    #[must_use]
    pub const fn since(self, version: u32) -> Self {
        Self { since: version, ..self }
    }
}

/// Whether a row without a column's value is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Always.
    Always,
    /// Never.
    Never,
    /// If another column of the row has this value.
    If {
        /// The attribute of the other column, which precedes this one.
        attribute: &'static str,
        /// Its value.
        is: &'static str,
    },
}

/// How a column's value is stored and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, guarded against running as a formula.
    Text,
    /// The row's status: one of [`Definition::statuses`].
    Status,
    /// One of these values.
    OneOf(&'static [&'static str]),
    /// The row's amount in minor units, written as a decimal of the row's currency. It goes into the totals.
    Amount,
    /// Another amount of the row, in the same form. It does not go into the totals.
    OtherAmount,
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
    /// Its meaning, in one sentence.
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
        self.export_type.definition().columns_of(self.version)
    }
}

impl Definition {
    /// The columns of this version, in file order.
    fn columns_of(&self, version: u32) -> &'static [Column] {
        self.columns.get(..self.columns.partition_point(|column| column.since <= version)).unwrap_or_default()
    }

    /// The statuses that a row can have.
    pub fn row_statuses(&self) -> impl Iterator<Item = RowStatus> + '_ {
        self.statuses.iter().enumerate().map(|(index, status)| RowStatus { index, name: status.name })
    }

    /// Its filter of this kind, if it has one.
    #[must_use]
    pub fn filter(&self, kind: FilterKind) -> Option<&FilterDefinition> {
        self.filters.iter().find(|filter| filter.kind == kind)
    }

    /// The status with this name.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<RowStatus> {
        self.row_statuses().find(|status| status.name == name)
    }
}

impl ExportType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::MarketplacePayouts, Self::SupplierPayouts, Self::FundingTransfers];

    /// The definition.
    #[must_use]
    pub const fn definition(self) -> &'static Definition {
        match self {
            Self::MarketplacePayouts => &marketplace_payouts::DEFINITION,
            Self::SupplierPayouts => &supplier_payouts::DEFINITION,
            Self::FundingTransfers => &funding_transfers::DEFINITION,
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
    Column { header, attribute, kind, required: Required::Always, since: 1, description }
}

const fn optional(
    header: &'static str,
    attribute: &'static str,
    kind: ColumnKind,
    description: &'static str,
) -> Column {
    Column { header, attribute, kind, required: Required::Never, since: 1, description }
}

/// A column that is required if another column, with the first attribute, has this value.
const fn required_if(
    (other, is): (&'static str, &'static str),
    header: &'static str,
    attribute: &'static str,
    kind: ColumnKind,
    description: &'static str,
) -> Column {
    Column { header, attribute, kind, required: Required::If { attribute: other, is }, since: 1, description }
}

const fn status(name: &'static str, description: &'static str) -> StatusDefinition {
    StatusDefinition { name, description }
}

const fn filter(kind: FilterKind, attributes: &'static [&'static str]) -> FilterDefinition {
    FilterDefinition { kind, attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compare_columns_of_their_type() {
        for export_type in ExportType::ALL {
            let definition = export_type.definition();
            for (index, FilterDefinition { kind, attributes }) in definition.filters.iter().enumerate() {
                assert!(definition.filters.iter().position(|filter| filter.kind == *kind) == Some(index), "{kind:?}");
                assert!(!attributes.is_empty(), "{kind:?}");
                for attribute in *attributes {
                    let column = definition.columns.iter().find(|column| column.attribute == *attribute);
                    let expected = match kind {
                        FilterKind::CreatedAt => Some(ColumnKind::Time),
                        FilterKind::Statuses => Some(ColumnKind::Status),
                        FilterKind::Currencies => Some(ColumnKind::Currency),
                        FilterKind::Amount => Some(ColumnKind::Amount),
                        _ => None,
                    };
                    assert!(column.is_some_and(|column| expected.is_none_or(|kind| column.kind == kind)), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn definition_has_one_column_of_each_special_kind() {
        for export_type in ExportType::ALL {
            let Definition { columns, statuses, .. } = export_type.definition();
            for kind in [ColumnKind::Status, ColumnKind::Amount, ColumnKind::Currency] {
                let found: Vec<_> = columns.iter().filter(|column| column.kind == kind).collect();
                let is_required = matches!(found[..], [column] if column.required == Required::Always);
                assert!(is_required, "{export_type:?}: {kind:?}");
            }
            assert!(export_type.definition().filter(FilterKind::CreatedAt).is_some());
            let id = columns[0];
            assert!(id.required == Required::Always && id.kind == ColumnKind::Text && !statuses.is_empty());
        }
    }

    #[test]
    fn condition_of_a_column_names_a_value_of_a_preceding_column() {
        for export_type in ExportType::ALL {
            let columns = export_type.definition().columns;
            for (index, column) in columns.iter().enumerate() {
                if let Required::If { attribute, is } = column.required {
                    let other = columns[..index].iter().find(|other| other.attribute == attribute).unwrap();
                    assert!(matches!(other.kind, ColumnKind::OneOf(values) if values.contains(&is)), "{column:?}");
                }
            }
        }
    }

    #[test]
    fn headers_are_the_attributes_in_snake_case() {
        for export_type in ExportType::ALL {
            // The id's attribute may be longer than its header, which is the same for all payouts.
            for column in &export_type.definition().columns[1..] {
                let snake: String = column
                    .attribute
                    .chars()
                    .flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(c.to_lowercase()))
                    .collect();
                assert_eq!(snake.strip_suffix("_minor").unwrap_or(&snake), column.header, "{export_type:?}");
            }
        }
    }

    #[test]
    fn file_has_the_columns_of_its_version() {
        for export_type in ExportType::ALL {
            let columns = export_type.definition().columns;
            assert!(columns.is_sorted_by_key(|column| column.since), "new columns are appended");
            assert_eq!(FileColumns::current(export_type).list(), columns);
            assert_eq!(FileColumns { export_type, version: 0 }.list(), []);
            assert!(
                columns.iter().any(|column| column.attribute == CREATED_AT && column.since == 1),
                "{export_type:?}"
            );
        }
    }

    /// Exports in progress have these columns. A column that is added needs `.since(2)`, not another line here.
    #[test]
    fn version_1_has_the_columns_that_it_was_published_with() {
        let headers = |export_type| {
            let columns = FileColumns { export_type, version: 1 }.list();
            columns.iter().map(|column| column.header).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            headers(ExportType::MarketplacePayouts),
            "payout_id reference status amount currency period_start period_end order_count balance_account psp_reference \
             failure_reason created_at executed_at settled_at updated_at"
        );
        assert_eq!(
            headers(ExportType::SupplierPayouts),
            "payout_id reference status supplier_id supplier_name amount captured_amount commission_amount \
             platform_fee_amount interchange_fee_amount refunded_amount currency period_start period_end order_count \
             balance_account psp_reference failure_reason created_at executed_at settled_at updated_at"
        );
        assert_eq!(
            headers(ExportType::FundingTransfers),
            "transfer_id reference status amount currency source_balance_account source_balance_account_type \
             source_supplier_id target_balance_account target_balance_account_type target_supplier_id \
             related_entity_type related_entity_id psp_reference failure_reason created_at completed_at updated_at"
        );
    }

    #[test]
    fn appended_column_is_not_in_older_versions() {
        const COLUMNS: [Column; 2] = [
            required("payout_id", "payoutId", ColumnKind::Text, "The ID."),
            optional("note", "note", ColumnKind::Text, "A note.").since(2),
        ];
        let definition = Definition { columns: &COLUMNS, ..*ExportType::MarketplacePayouts.definition() };
        assert_eq!([0, 1, 2].map(|version| definition.columns_of(version).len()), [0, 1, 2]);
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
