//! The options in the body of a launch: `filter` and `format`.
//!
//! `null` means not set, for both and for each field of `filter`. All validation errors are reported:
//!
//! | error | code |
//! |---|---|
//! | a value of the wrong type or in the wrong format, a duplicate field | F-E-012 |
//! | a filter that the export type does not have, a value that is not in the enumeration | F-E-008 |
//! | `createdAtTo` before `createdAtFrom`, `amountMax` below `amountMin` | F-E-006 |
//! | more than [`RowFilter::MAX_SUPPLIERS`] suppliers | F-E-010 |
//! | an empty array, an amount without exactly one currency | F-E-001 |

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use exports_domain::export_type::Definition;
use exports_domain::filter::{FilterField, FilterValue, RowFilter};
use exports_domain::options::{ExportOptions, FileFormat};
use exports_domain::time_bound::TimeBound;
use serde_json::{Map, Value, json};

use crate::body::{FieldValue, Fields};
use crate::validation::{ValidationCode, ValidationErrors, shortened};

/// Parses `format`, and adds its validation error to `errors`.
pub(crate) fn parse_format(value: FieldValue, errors: &mut ValidationErrors) -> FileFormat {
    match value.into_value() {
        Value::Null => FileFormat::default(),
        value => text(&value, "format", ValidationCode::Enumeration, errors).unwrap_or_default(),
    }
}

/// Parses `filter`, and adds its validation errors to `errors`.
pub(crate) fn parse_filter(value: FieldValue, definition: &Definition, errors: &mut ValidationErrors) -> RowFilter {
    let fields = match value {
        FieldValue::Object(Fields(fields)) => fields,
        FieldValue::Other(Value::Null) => return RowFilter::default(),
        FieldValue::Other(_) => {
            errors.push("filter", ValidationCode::Format, "must be an object");
            return RowFilter::default();
        }
    };
    let mut parser = FilterParser { definition, errors, filter: RowFilter::default(), from: None, to: None };
    let (mut seen, mut valid, mut invalid) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (name, value) in fields {
        let path = format!("filter.{}", shortened(&name));
        let field = name.parse::<FilterField>().ok();
        match (field, value.into_value()) {
            (Some(field), _) if !seen.insert(field) => {
                parser.errors.push(path, ValidationCode::Format, "duplicate field");
            }
            (Some(_), Value::Null) => {}
            (Some(field), value) if definition.filter(field.kind()).is_some() => {
                let is_valid = parser.parse(field, &path, &value);
                if is_valid { &mut valid } else { &mut invalid }.insert(field);
            }
            _ => parser.push_unknown(path),
        }
    }
    parser.check_fields_together(&valid, &invalid);
    parser.filter
}

struct FilterParser<'a> {
    definition: &'a Definition,
    errors: &'a mut ValidationErrors,
    filter: RowFilter,
    from: Option<TimeBound>,
    to: Option<TimeBound>,
}

impl FilterParser<'_> {
    fn push_unknown(&mut self, path: String) {
        let known = FilterField::ALL.iter().filter(|field| self.definition.filter(field.kind()).is_some());
        let known: Vec<&str> = known.map(|field| field.name()).collect();
        let detail = format!("{} have no such filter; use {}", self.definition.title, known.join(", "));
        self.errors.push(path, ValidationCode::Enumeration, detail);
    }

    /// Parses a field that is not null. Returns whether it is valid.
    fn parse(&mut self, field: FilterField, path: &str, value: &Value) -> bool {
        let Self { definition, errors, filter, from, to } = self;
        let (format, enumeration) = (ValidationCode::Format, ValidationCode::Enumeration);
        match field {
            FilterField::CreatedAtFrom => {
                *from = text(value, path, format, errors);
                filter.created_at_from = from.map(TimeBound::as_from);
                from.is_some()
            }
            FilterField::CreatedAtTo => {
                *to = text(value, path, format, errors);
                filter.created_at_to = to.map(TimeBound::as_to);
                to.is_some()
            }
            FilterField::Statuses => {
                let status = |name: &str| definition.status(name).ok_or_else(|| one_of(definition));
                put(&mut filter.statuses, list(value, path, enumeration, errors, status))
            }
            FilterField::Currencies => put(&mut filter.currencies, list(value, path, enumeration, errors, str::parse)),
            FilterField::SupplierIds => {
                let ids = list(value, path, format, errors, str::parse);
                let count = ids.as_ref().map_or(0, BTreeSet::len);
                if count > RowFilter::MAX_SUPPLIERS {
                    let detail = format!("at most {} suppliers, not {count}", RowFilter::MAX_SUPPLIERS);
                    errors.push(path, ValidationCode::Size, detail);
                    return false;
                }
                put(&mut filter.supplier_ids, ids)
            }
            FilterField::AmountMin => put(&mut filter.amount_min, text(value, path, format, errors).map(Some)),
            FilterField::AmountMax => put(&mut filter.amount_max, text(value, path, format, errors).map(Some)),
            FilterField::SourceBalanceAccountType => {
                put(&mut filter.source_balance_account_type, text(value, path, enumeration, errors).map(Some))
            }
            FilterField::TargetBalanceAccountType => {
                put(&mut filter.target_balance_account_type, text(value, path, enumeration, errors).map(Some))
            }
        }
    }

    /// Checks the requirements of fields on each other.
    fn check_fields_together(&mut self, valid: &BTreeSet<FilterField>, invalid: &BTreeSet<FilterField>) {
        let Self { errors, filter, from, to, .. } = self;
        if let (Some(from), Some(to)) = (from, to)
            && from.is_after(*to)
        {
            errors.push("filter.createdAtTo", ValidationCode::Range, "must not be before createdAtFrom");
        }
        if let (Some(min), Some(max)) = (filter.amount_min, filter.amount_max)
            && min > max
        {
            errors.push("filter.amountMax", ValidationCode::Range, "must not be below amountMin");
        }
        let has_amount = valid.contains(&FilterField::AmountMin) || valid.contains(&FilterField::AmountMax);
        // Invalid currencies have an error already.
        if has_amount && filter.currencies.len() != 1 && !invalid.contains(&FilterField::Currencies) {
            let detail = "must have exactly one currency, because amounts are compared in it";
            errors.push("filter.currencies", ValidationCode::Missing, detail);
        }
    }
}

/// Stores a valid value. Returns whether it is valid.
fn put<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

fn one_of(definition: &Definition) -> String {
    let names: Vec<&str> = definition.statuses.iter().map(|status| status.name).collect();
    format!("must be one of {}", names.join(", "))
}

/// Parses a string. A string that `T` does not accept is an error with this code.
fn text<T: FromStr<Err: Display>>(
    value: &Value,
    path: &str,
    code: ValidationCode,
    errors: &mut ValidationErrors,
) -> Option<T> {
    let Value::String(text) = value else {
        errors.push(path, ValidationCode::Format, "must be a string");
        return None;
    };
    text.parse().map_err(|error| errors.push(path, code, error)).ok()
}

/// Parses an array of strings with at least one element.
fn list<T: Ord, E: Display>(
    value: &Value,
    path: &str,
    code: ValidationCode,
    errors: &mut ValidationErrors,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<BTreeSet<T>> {
    let Value::Array(elements) = value else {
        errors.push(path, ValidationCode::Format, "must be an array of strings");
        return None;
    };
    if elements.is_empty() {
        errors.push(path, ValidationCode::Missing, "must have at least one element; omit it to include all");
        return None;
    }
    let (mut parsed, mut is_valid) = (BTreeSet::new(), true);
    for (index, element) in elements.iter().enumerate() {
        let error = match element.as_str().map(&parse) {
            Some(Ok(value)) => {
                parsed.insert(value);
                continue;
            }
            Some(Err(error)) => (code, error.to_string()),
            None => (ValidationCode::Format, "must be a string".to_owned()),
        };
        errors.push(format!("{path}[{index}]"), error.0, error.1);
        is_valid = false;
    }
    is_valid.then_some(parsed)
}

/// The filter as in responses: its normal form. Requests with it are equal to the original one.
#[must_use]
pub fn filter_json(filter: &RowFilter) -> Value {
    let field = |(field, value): (FilterField, FilterValue)| {
        let value = match value {
            FilterValue::One(text) => json!(text),
            FilterValue::Many(texts) => json!(texts),
        };
        (field.name().to_owned(), value)
    };
    Value::Object(filter.fields().into_iter().map(field).collect())
}

/// The normal form of the options, for the fingerprint. Options with their default value are omitted.
#[must_use]
pub fn normal_form(options: &ExportOptions) -> Map<String, Value> {
    // No `..`, so that a new option does not compile until it is handled here.
    let ExportOptions { filter, format } = options;
    let mut form = Map::new();
    if !filter.is_empty() {
        form.insert("filter".to_owned(), filter_json(filter));
    }
    if *format != FileFormat::default() {
        form.insert("format".to_owned(), json!(format.as_str()));
    }
    form
}

#[cfg(test)]
mod tests;
