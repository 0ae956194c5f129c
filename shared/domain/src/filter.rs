//! Which rows of the source table an export includes.
//!
//! The definition of an export type lists its filters. A filter of the creation time bounds the keys that are read; all
//! others are conditions on the rows as read ([`RowConditions`](crate::row_selection::RowConditions)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::control_chars::is_control_or_bidi;
use crate::export_type::{Definition, RowStatus};
use crate::money::Currency;
use crate::time::Timestamp;

/// A filter that an export type can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterKind {
    /// The creation time.
    CreatedAt,
    /// The row's status.
    Statuses,
    /// The row's currency.
    Currencies,
    /// The supplier, or one of the suppliers.
    SupplierIds,
    /// The row's amount, in the one currency of [`Self::Currencies`].
    Amount,
    /// The type of the balance account that is debited.
    SourceBalanceAccountType,
    /// The type of the balance account that is credited.
    TargetBalanceAccountType,
}

/// A filter of an export type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterDefinition {
    /// The filter.
    pub kind: FilterKind,
    /// The attributes that it compares. A row is included if any of them matches.
    pub attributes: &'static [&'static str],
}

/// A field of a filter in requests, responses and records.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "camelCase")]
#[expect(missing_docs, reason = "the fields of `RowFilter`")]
pub enum FilterField {
    CreatedAtFrom,
    CreatedAtTo,
    Statuses,
    Currencies,
    SupplierIds,
    AmountMin,
    AmountMax,
    SourceBalanceAccountType,
    TargetBalanceAccountType,
}

impl FilterField {
    /// All fields.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in requests, responses and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The filter that it belongs to.
    #[must_use]
    pub const fn kind(self) -> FilterKind {
        match self {
            Self::CreatedAtFrom | Self::CreatedAtTo => FilterKind::CreatedAt,
            Self::Statuses => FilterKind::Statuses,
            Self::Currencies => FilterKind::Currencies,
            Self::SupplierIds => FilterKind::SupplierIds,
            Self::AmountMin | Self::AmountMax => FilterKind::Amount,
            Self::SourceBalanceAccountType => FilterKind::SourceBalanceAccountType,
            Self::TargetBalanceAccountType => FilterKind::TargetBalanceAccountType,
        }
    }
}

/// The value of a [`FilterField`] as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterValue {
    /// A single value.
    One(String),
    /// The elements of an array, at least one.
    Many(Vec<String>),
}

/// The rows to include, in normal form: bounds are instants, sets are sorted and without duplicates. A field without a
/// value includes all rows.
///
/// ```
/// use exports_domain::export_type::ExportType;
/// use exports_domain::filter::{FilterField, FilterValue, RowFilter};
///
/// let definition = ExportType::MarketplacePayouts.definition();
/// let codes = ["USD", "EUR", "USD"].map(str::to_owned).to_vec();
/// let filter = RowFilter::from_fields(definition, [("currencies", FilterValue::Many(codes))]).unwrap();
/// let sorted = ["EUR", "USD"].map(str::to_owned).to_vec();
/// assert_eq!(filter.fields()[&FilterField::Currencies], FilterValue::Many(sorted));
///
/// let suppliers = [("supplierIds", FilterValue::Many(vec!["s-1".to_owned()]))];
/// assert_eq!(RowFilter::from_fields(definition, suppliers), None, "marketplace payouts have no supplier");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFilter {
    /// The inclusive lower bound of the creation time.
    pub created_at_from: Option<Timestamp>,
    /// The inclusive upper bound of the creation time.
    pub created_at_to: Option<Timestamp>,
    /// The row statuses.
    pub statuses: BTreeSet<RowStatus>,
    /// The currencies.
    pub currencies: BTreeSet<Currency>,
    /// The suppliers, [`Self::MAX_SUPPLIERS`] at most.
    pub supplier_ids: BTreeSet<SupplierId>,
    /// The inclusive lower bound of the amount. With a bound there is exactly one currency.
    pub amount_min: Option<FilterAmount>,
    /// The inclusive upper bound of the amount.
    pub amount_max: Option<FilterAmount>,
    /// The type of the balance account that is debited.
    pub source_balance_account_type: Option<AccountType>,
    /// The type of the balance account that is credited.
    pub target_balance_account_type: Option<AccountType>,
}

impl RowFilter {
    /// The most suppliers.
    pub const MAX_SUPPLIERS: usize = 50;

    /// Whether it includes all rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The fields that have a value.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<FilterField, FilterValue> {
        // No `..`, so that a new field does not compile until it is handled here.
        let Self {
            created_at_from,
            created_at_to,
            statuses,
            currencies,
            supplier_ids,
            amount_min,
            amount_max,
            source_balance_account_type,
            target_balance_account_type,
        } = self;
        let mut fields = BTreeMap::new();
        let mut one = |field, value: Option<String>| {
            if let Some(value) = value {
                fields.insert(field, FilterValue::One(value));
            }
        };
        one(FilterField::CreatedAtFrom, created_at_from.map(|at| at.to_string()));
        one(FilterField::CreatedAtTo, created_at_to.map(|at| at.to_string()));
        one(FilterField::AmountMin, amount_min.map(|amount| amount.to_string()));
        one(FilterField::AmountMax, amount_max.map(|amount| amount.to_string()));
        one(FilterField::SourceBalanceAccountType, source_balance_account_type.map(|kind| kind.to_string()));
        one(FilterField::TargetBalanceAccountType, target_balance_account_type.map(|kind| kind.to_string()));
        let mut many = |field, values: Vec<String>| {
            if !values.is_empty() {
                fields.insert(field, FilterValue::Many(values));
            }
        };
        many(FilterField::Statuses, statuses.iter().map(|status| status.name().to_owned()).collect());
        many(FilterField::Currencies, currencies.iter().map(|currency| currency.code().to_owned()).collect());
        many(FilterField::SupplierIds, supplier_ids.iter().map(ToString::to_string).collect());
        fields
    }

    /// The filter with these fields, by name, as [`Self::fields`] returns them. `None` if it is not a filter of this
    /// type that this build knows: leaving out an unknown field would include more rows.
    #[must_use]
    pub fn from_fields<'a>(
        definition: &Definition,
        fields: impl IntoIterator<Item = (&'a str, FilterValue)>,
    ) -> Option<Self> {
        fn all<T: Ord>(values: &[String], parse: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
            let parsed: BTreeSet<T> = values.iter().map(|value| parse(value)).collect::<Option<_>>()?;
            (!parsed.is_empty()).then_some(parsed)
        }
        let mut filter = Self::default();
        for (name, value) in fields {
            let field: FilterField = name.parse().ok()?;
            definition.filter(field.kind())?;
            match (field, value) {
                (FilterField::CreatedAtFrom, FilterValue::One(text)) => {
                    filter.created_at_from = Some(text.parse().ok()?)
                }
                (FilterField::CreatedAtTo, FilterValue::One(text)) => filter.created_at_to = Some(text.parse().ok()?),
                (FilterField::AmountMin, FilterValue::One(text)) => filter.amount_min = Some(text.parse().ok()?),
                (FilterField::AmountMax, FilterValue::One(text)) => filter.amount_max = Some(text.parse().ok()?),
                (FilterField::SourceBalanceAccountType, FilterValue::One(text)) => {
                    filter.source_balance_account_type = Some(text.parse().ok()?);
                }
                (FilterField::TargetBalanceAccountType, FilterValue::One(text)) => {
                    filter.target_balance_account_type = Some(text.parse().ok()?);
                }
                (FilterField::Statuses, FilterValue::Many(names)) => {
                    filter.statuses = all(&names, |name| definition.status(name))?;
                }
                (FilterField::Currencies, FilterValue::Many(codes)) => {
                    filter.currencies = all(&codes, |code| code.parse().ok())?;
                }
                (FilterField::SupplierIds, FilterValue::Many(ids)) => {
                    filter.supplier_ids = all(&ids, |id| id.parse().ok())?;
                }
                (_, FilterValue::One(_) | FilterValue::Many(_)) => return None,
            }
        }
        let has_amount = filter.amount_min.is_some() || filter.amount_max.is_some();
        (!has_amount || filter.currencies.len() == 1).then_some(filter)
    }
}

/// The type of a balance account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[strum(parse_err_ty = ParseAccountTypeError, parse_err_fn = ParseAccountTypeError::new)]
pub enum AccountType {
    /// The marketplace's own account.
    Marketplace,
    /// The account of a supplier.
    Supplier,
}

/// The text is not a type of balance account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be MARKETPLACE or SUPPLIER")]
pub struct ParseAccountTypeError;

impl ParseAccountTypeError {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// The id of a supplier: 1 to [`SupplierId::MAX_CHARACTERS`] characters without control and bidirectional characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SupplierId(String);

impl SupplierId {
    /// The most characters. It bounds the size of a record.
    pub const MAX_CHARACTERS: usize = 128;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SupplierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a supplier id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a supplier ID of 1 to 128 characters without control characters")]
pub struct ParseSupplierIdError;

impl FromStr for SupplierId {
    type Err = ParseSupplierIdError;

    fn from_str(text: &str) -> Result<Self, ParseSupplierIdError> {
        let is_valid =
            (1..=Self::MAX_CHARACTERS).contains(&text.chars().count()) && !text.chars().any(is_control_or_bidi);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(ParseSupplierIdError) }
    }
}

/// A bound of the amount: a decimal with up to 18 digits before and 4 after the point, the most decimals of a currency.
///
/// ```
/// use std::cmp::Ordering;
///
/// use exports_domain::filter::FilterAmount;
///
/// let bound: FilterAmount = "12.5".parse()?;
/// assert_eq!(bound.cmp_minor(1250, "EUR".parse()?), Ordering::Equal, "EUR has two decimals");
/// assert_eq!(bound.cmp_minor(1250, "JPY".parse()?), Ordering::Less, "JPY has none");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilterAmount {
    ten_thousandths: i128,
}

impl FilterAmount {
    /// How it compares with an amount in minor units of `currency`, exactly.
    #[must_use]
    pub fn cmp_minor(self, minor: i128, currency: Currency) -> std::cmp::Ordering {
        let factor = 10_i128.pow(4_u32.saturating_sub(currency.exponent().into()));
        match minor.checked_mul(factor) {
            Some(ten_thousandths) => self.ten_thousandths.cmp(&ten_thousandths),
            // Beyond every bound.
            None => 0.cmp(&minor),
        }
    }
}

impl fmt::Display for FilterAmount {
    /// The shortest decimal: `1.5`, not `1.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.ten_thousandths.unsigned_abs();
        let (whole, fraction) = (magnitude / 10_000, magnitude % 10_000);
        f.write_str(if self.ten_thousandths < 0 { "-" } else { "" })?;
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{fraction:04}").trim_end_matches('0'))
    }
}

/// The text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal with at most 18 digits before and 4 after the point, such as -1234.50")]
pub struct ParseAmountError;

impl FromStr for FilterAmount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
        let is_number =
            |text: &str, max| (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole, 18) || !fraction.is_none_or(|fraction| is_number(fraction, 4)) {
            return Err(ParseAmountError);
        }
        let number: i128 =
            format!("{whole}{:0<4}", fraction.unwrap_or_default()).parse().map_err(|_| ParseAmountError)?;
        Ok(Self { ten_thousandths: sign * number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export_type::ExportType;
    use crate::testing::row_status;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    const TYPE: ExportType = ExportType::MarketplacePayouts;

    fn amount(text: &str) -> FilterAmount {
        text.parse().unwrap()
    }

    #[test]
    fn amount_is_shown_in_its_shortest_form() {
        for (text, shown) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.50", "1.5"),
            ("-1.0001", "-1.0001"),
            ("007", "7"),
            ("-0.5", "-0.5"),
            ("999999999999999999.9999", "999999999999999999.9999"),
        ] {
            assert_eq!(amount(text).to_string(), shown);
        }
    }

    #[test]
    fn malformed_amount_is_rejected() {
        for text in
            ["", "-", "+1", "1.", ".5", "1,5", "1e3", " 1", "1.00001", "1234567890123456789", "--1", "٣", "1.-5"]
        {
            assert_eq!(text.parse::<FilterAmount>(), Err(ParseAmountError), "{text}");
        }
    }

    #[test]
    fn amount_compares_exactly_in_every_currency() {
        for (text, minor, currency, ordering) in [
            ("1.005", 100, "EUR", Ordering::Greater),
            ("1.005", 101, "EUR", Ordering::Less),
            ("1.01", 101, "EUR", Ordering::Equal),
            ("101", 101, "JPY", Ordering::Equal),
            ("0.101", 101, "KWD", Ordering::Equal),
            ("-1", -100, "EUR", Ordering::Equal),
            ("999999999999999999", i128::MAX, "EUR", Ordering::Less),
            ("-999999999999999999", i128::MIN, "EUR", Ordering::Greater),
        ] {
            assert_eq!(amount(text).cmp_minor(minor, currency.parse().unwrap()), ordering, "{text} {minor} {currency}");
        }
    }

    #[test]
    fn supplier_id_has_1_to_128_printable_characters() {
        let longest = "é".repeat(128);
        for text in ["a", "sup_1", &longest] {
            assert_eq!(text.parse::<SupplierId>().unwrap().as_str(), text);
        }
        for text in ["", "a\nb", "a\u{202e}b", &format!("{longest}x")] {
            assert_eq!(text.parse::<SupplierId>(), Err(ParseSupplierIdError), "{text:?}");
        }
    }

    fn full() -> RowFilter {
        RowFilter {
            created_at_from: Some("2026-10-01T00:00:00.000Z".parse().unwrap()),
            created_at_to: Some("2026-10-31T23:59:59.999Z".parse().unwrap()),
            statuses: ["SETTLED", "FAILED"].map(row_status).into(),
            currencies: ["EUR", "CHF"].map(|code| code.parse().unwrap()).into(),
            ..RowFilter::default()
        }
    }

    #[test]
    fn amount_without_exactly_one_currency_is_not_a_filter() {
        let definition = ExportType::FundingTransfers.definition();
        for bound in ["amountMin", "amountMax"] {
            let with = |codes: &[&str]| {
                RowFilter::from_fields(definition, [(bound, one("1")), ("currencies", many(codes))]).is_some()
            };
            assert!(RowFilter::from_fields(definition, [(bound, one("1"))]).is_none());
            assert!(with(&["EUR"]) && !with(&["EUR", "USD"]));
        }
    }

    fn many(values: &[&str]) -> FilterValue {
        FilterValue::Many(values.iter().map(ToString::to_string).collect())
    }

    fn one(value: &str) -> FilterValue {
        FilterValue::One(value.to_owned())
    }

    #[test]
    fn fields_are_sorted_and_read_back() {
        let fields = full().fields();
        assert_eq!(
            fields.clone().into_iter().collect::<Vec<_>>(),
            [
                (FilterField::CreatedAtFrom, one("2026-10-01T00:00:00.000Z")),
                (FilterField::CreatedAtTo, one("2026-10-31T23:59:59.999Z")),
                (FilterField::Statuses, many(&["SETTLED", "FAILED"])),
                (FilterField::Currencies, many(&["CHF", "EUR"])),
            ]
        );
        let fields = fields.into_iter().map(|(field, value)| (field.name(), value));
        assert_eq!(RowFilter::from_fields(TYPE.definition(), fields), Some(full()));
        assert_eq!(RowFilter::from_fields(TYPE.definition(), []), Some(RowFilter::default()));
    }

    #[test]
    fn unknown_field_or_value_is_not_a_filter() {
        for (name, value) in [
            ("country", one("FR")),
            ("supplierIds", many(&["sup_1"])),
            ("statuses", many(&["PAID"])),
            ("statuses", many(&[])),
            ("statuses", one("SETTLED")),
            ("currencies", many(&["EUR", "XXX"])),
            ("createdAtFrom", one("2026-10-01")),
            ("createdAtTo", many(&["2026-10-01T00:00:00.000Z"])),
        ] {
            assert_eq!(RowFilter::from_fields(TYPE.definition(), [(name, value)]), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn amount_parses_from_its_shown_form(text in "-?[0-9]{1,18}(\\.[0-9]{1,4})?") {
            let amount = amount(&text);
            prop_assert_eq!(amount.to_string().parse::<FilterAmount>().unwrap(), amount);
        }

        #[test]
        fn arbitrary_amount_never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<FilterAmount>();
        }
    }
}
