//! Which rows of the source table a file has: those of a period, as read, that meet the conditions of a filter.
//!
//! A row is left out only if a valid value excludes it. If the deciding value is invalid, the row is not left out but
//! invalid: it could be one that the filter includes.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::export_type::{Column, ColumnKind, Definition, FileColumns, RowStatus};
use crate::filter::{AccountType, FilterAmount, FilterKind, RowFilter, SupplierId};
use crate::money::{Currency, parse_whole_number};
use crate::options::{ExportOptions, FileFormat};
use crate::row::{Value, requires};

/// The selection of a file: its columns, and the conditions on its rows.
#[derive(Clone, Debug)]
pub struct RowSelection {
    /// The columns.
    pub columns: FileColumns,
    /// The conditions.
    pub conditions: RowConditions,
    /// The format of the file.
    pub format: FileFormat,
}

impl RowSelection {
    /// All rows that are read, for a CSV file.
    #[must_use]
    pub fn all(columns: FileColumns) -> Self {
        Self { columns, conditions: RowConditions::default(), format: FileFormat::Csv }
    }

    /// The rows of a file with these options.
    #[must_use]
    pub fn of(columns: FileColumns, options: &ExportOptions) -> Self {
        Self { columns, conditions: RowConditions::new(&options.filter, columns), format: options.format }
    }
}

/// The conditions that a row must meet to be in a file. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RowConditions(Option<Arc<Conditions>>);

#[derive(Debug)]
struct Conditions {
    definition: &'static Definition,
    columns: &'static [Column],
    list: Vec<Condition>,
}

/// A condition on the columns with these indexes.
#[derive(Debug)]
enum Condition {
    Status { column: usize, any_of: BTreeSet<RowStatus> },
    Currency { column: usize, any_of: BTreeSet<Currency> },
    Supplier { columns: Vec<usize>, any_of: BTreeSet<SupplierId> },
    Amount { column: usize, currency: usize, min: Option<FilterAmount>, max: Option<FilterAmount> },
    AccountType { column: usize, is: AccountType },
}

impl RowConditions {
    /// The conditions of `filter` on rows of these columns; the creation time is not one of them, because it bounds the
    /// keys that are read.
    #[must_use]
    pub fn new(filter: &RowFilter, columns: FileColumns) -> Self {
        Self::of(filter, columns.export_type.definition(), columns.list())
    }

    fn of(filter: &RowFilter, definition: &'static Definition, columns: &'static [Column]) -> Self {
        let indexes = |kind| -> Vec<usize> {
            let attributes = definition.filter(kind).map_or(&[][..], |filter| filter.attributes);
            let index = |attribute: &&str| columns.iter().position(|column| column.attribute == *attribute);
            attributes.iter().filter_map(index).collect()
        };
        let index = |kind| indexes(kind).first().copied().unwrap_or(usize::MAX);
        let mut list = Vec::new();
        if !filter.statuses.is_empty() {
            list.push(Condition::Status { column: index(FilterKind::Statuses), any_of: filter.statuses.clone() });
        }
        if !filter.currencies.is_empty() {
            list.push(Condition::Currency { column: index(FilterKind::Currencies), any_of: filter.currencies.clone() });
        }
        if !filter.supplier_ids.is_empty() {
            let columns = indexes(FilterKind::SupplierIds);
            list.push(Condition::Supplier { columns, any_of: filter.supplier_ids.clone() });
        }
        if filter.amount_min.is_some() || filter.amount_max.is_some() {
            let currency = columns.iter().position(|column| column.kind == ColumnKind::Currency).unwrap_or(usize::MAX);
            let (min, max) = (filter.amount_min, filter.amount_max);
            list.push(Condition::Amount { column: index(FilterKind::Amount), currency, min, max });
        }
        for (kind, is) in [
            (FilterKind::SourceBalanceAccountType, filter.source_balance_account_type),
            (FilterKind::TargetBalanceAccountType, filter.target_balance_account_type),
        ] {
            list.extend(is.map(|is| Condition::AccountType { column: index(kind), is }));
        }
        Self((!list.is_empty()).then(|| Arc::new(Conditions { definition, columns, list })))
    }

    /// Whether a valid value of the row, given as the values of the file's columns, excludes it.
    #[must_use]
    pub fn excludes(&self, row: &[Value<'_>]) -> bool {
        self.0.as_ref().is_some_and(|conditions| conditions.excludes(row))
    }
}

impl Conditions {
    fn excludes(&self, row: &[Value<'_>]) -> bool {
        let text = |column: usize| match row.get(column) {
            Some(Value::Text(text)) => Some(*text),
            _ => None,
        };
        self.list.iter().any(|condition| match condition {
            Condition::Status { column, any_of } => {
                let status = text(*column).and_then(|name| self.definition.status(name));
                status.is_some_and(|status| !any_of.contains(&status))
            }
            Condition::Currency { column, any_of } => text(*column).is_some_and(|code| {
                !any_of.iter().any(|currency| currency.code() == code) && code.parse::<Currency>().is_ok()
            }),
            Condition::Supplier { columns, any_of } => columns.iter().all(|column| match row.get(*column) {
                Some(Value::Text(id)) if !id.is_empty() => !any_of.iter().any(|supplier| supplier.as_str() == *id),
                Some(Value::Text(_) | Value::Missing) => {
                    self.columns.get(*column).is_some_and(|column| requires(column, self.columns, row) == Some(false))
                }
                _ => false,
            }),
            Condition::Amount { column, currency, min, max } => {
                let minor = match row.get(*column) {
                    Some(Value::Number(number)) => parse_whole_number(number),
                    _ => None,
                };
                let currency = text(*currency).and_then(|code| code.parse().ok());
                let (Some(minor), Some(currency)) = (minor, currency) else { return false };
                min.is_some_and(|min| min.cmp_minor(minor, currency) == Ordering::Greater)
                    || max.is_some_and(|max| max.cmp_minor(minor, currency) == Ordering::Less)
            }
            Condition::AccountType { column, is } => {
                text(*column).and_then(|name| name.parse::<AccountType>().ok()).is_some_and(|found| found != *is)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export_type::ExportType;
    use crate::filter::FilterDefinition;
    use crate::testing::{payout, row, row_status, start, with_value};

    const TYPE: ExportType = ExportType::MarketplacePayouts;

    /// Marketplace payouts with every filter: the suppliers are the reference and the optional PSP reference.
    static ALL_FILTERS: Definition = Definition {
        filters: &[
            FilterDefinition { kind: FilterKind::Statuses, attributes: &["status"] },
            FilterDefinition { kind: FilterKind::Currencies, attributes: &["currency"] },
            FilterDefinition { kind: FilterKind::SupplierIds, attributes: &["reference", "pspReference"] },
            FilterDefinition { kind: FilterKind::Amount, attributes: &["amountMinor"] },
            FilterDefinition { kind: FilterKind::SourceBalanceAccountType, attributes: &["balanceAccount"] },
        ],
        ..*TYPE.definition()
    };

    /// A column's attribute and its value.
    type Change = (&'static str, Value<'static>);

    fn excludes(filter: &RowFilter, changes: &[Change]) -> bool {
        let row = changes.iter().fold(payout("po_1", start()), |row, (name, value)| with_value(row, name, *value));
        RowConditions::of(filter, &ALL_FILTERS, TYPE.definition().columns).excludes(&row)
    }

    #[test]
    fn missing_supplier_excludes_a_transfer_only_if_the_account_type_is_valid() {
        const TRANSFERS: ExportType = ExportType::FundingTransfers;
        let filter = RowFilter { supplier_ids: ["sup_1".parse().unwrap()].into(), ..RowFilter::default() };
        let conditions = RowConditions::new(&filter, FileColumns::current(TRANSFERS));
        let columns = TRANSFERS.definition().columns;
        let index = |attribute| columns.iter().position(|column| column.attribute == attribute).unwrap();
        for (source_type, excluded) in [
            (Value::Text("MARKETPLACE"), true),
            (Value::Text("SUPPLIER"), false),
            (Value::Text("SUPLIER"), false),
            (Value::Text(""), false),
            (Value::Number("1"), false),
            (Value::Missing, false),
        ] {
            for no_supplier in [Value::Missing, Value::Text("")] {
                let mut transfer = row(TRANSFERS, "ftr_1", start());
                transfer[index("sourceBalanceAccountType")] = source_type;
                transfer[index("sourceSupplierId")] = no_supplier;
                transfer[index("targetBalanceAccountType")] = Value::Text("SUPPLIER");
                transfer[index("targetSupplierId")] = Value::Text("sup_9");
                assert_eq!(conditions.excludes(&transfer), excluded, "{source_type:?}");
            }
        }
    }

    #[test]
    fn filter_without_row_conditions_has_none() {
        let filter = RowFilter { created_at_from: Some(start()), ..RowFilter::default() };
        assert!(
            RowSelection::of(FileColumns::current(TYPE), &ExportOptions { filter, ..ExportOptions::default() })
                .conditions
                .0
                .is_none()
        );
    }

    #[test]
    fn valid_value_outside_the_filter_excludes_the_row() {
        let text = Value::Text;
        let statuses = RowFilter { statuses: ["SETTLED", "FAILED"].map(row_status).into(), ..RowFilter::default() };
        let currencies = RowFilter { currencies: ["EUR".parse().unwrap()].into(), ..RowFilter::default() };
        let suppliers = RowFilter { supplier_ids: ["sup_1".parse().unwrap()].into(), ..RowFilter::default() };
        let amounts = |min: Option<&str>, max: Option<&str>| RowFilter {
            amount_min: min.map(|amount| amount.parse().unwrap()),
            amount_max: max.map(|amount| amount.parse().unwrap()),
            ..currencies.clone()
        };
        let account = RowFilter { source_balance_account_type: Some(AccountType::Supplier), ..RowFilter::default() };
        // (filter, changes of a settled payout of 41.15 EUR, whether it is excluded)
        let cases: Vec<(&RowFilter, Vec<Change>, bool)> = vec![
            (&statuses, vec![], false),
            (&statuses, vec![("status", text("FAILED"))], false),
            (&statuses, vec![("status", text("PENDING"))], true),
            (&statuses, vec![("status", text("PENDING")), ("currency", text("XXX"))], true),
            (&statuses, vec![("status", text("PAID"))], false),
            (&statuses, vec![("status", Value::Missing)], false),
            (&statuses, vec![("status", Value::Number("1"))], false),
            (&currencies, vec![], false),
            (&currencies, vec![("currency", text("JPY"))], true),
            (&currencies, vec![("currency", text("XXX"))], false),
            (&currencies, vec![("currency", Value::Other)], false),
            (&suppliers, vec![("reference", text("sup_1"))], false),
            (&suppliers, vec![("pspReference", text("sup_1"))], false),
            (&suppliers, vec![("reference", text("sup_2"))], true),
            (&suppliers, vec![("reference", text("sup_2")), ("pspReference", text("sup_3"))], true),
            (&suppliers, vec![("reference", text("sup_2")), ("pspReference", Value::Other)], false),
            (&suppliers, vec![("reference", Value::Missing)], false),
            (&suppliers, vec![("reference", text(""))], false),
            (&account, vec![("balanceAccount", text("SUPPLIER"))], false),
            (&account, vec![("balanceAccount", text("MARKETPLACE"))], true),
            (&account, vec![("balanceAccount", text("BANK"))], false),
        ];
        for (filter, changes, excluded) in cases {
            assert_eq!(excludes(filter, &changes), excluded, "{filter:?} {changes:?}");
        }
        for (min, max, excluded) in [
            (Some("41.15"), Some("41.15"), false),
            (Some("41.151"), None, true),
            (None, Some("41.1499"), true),
            (Some("-1"), None, false),
        ] {
            assert_eq!(excludes(&amounts(min, max), &[]), excluded, "{min:?} {max:?}");
        }
        // An invalid amount or currency decides nothing.
        for change in
            [("amountMinor", Value::Number("1.5")), ("amountMinor", Value::Missing), ("currency", text("XXX"))]
        {
            assert!(!excludes(&amounts(Some("1000"), None), &[change]), "{change:?}");
        }
    }
}
