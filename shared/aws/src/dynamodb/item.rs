//! Reading and writing items attribute by attribute, with names in the errors.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::time::Timestamp;

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// An item that is not of the form this product writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item's attribute {0} is missing or malformed")]
pub(super) struct BadItem(pub &'static str);

/// A text as a value.
pub(super) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// A number as a value.
pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The text of an attribute that must be there.
pub(super) fn get_text<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, BadItem> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or(BadItem(name))
}

/// The parsed text of an attribute that must be there.
pub(super) fn get<T: FromStr>(item: &Item, name: &'static str) -> Result<T, BadItem> {
    get_text(item, name)?.parse().map_err(|_| BadItem(name))
}

/// The parsed number of an attribute that must be there.
pub(super) fn get_number<T: FromStr>(item: &Item, name: &'static str) -> Result<T, BadItem> {
    let number = item.get(name).and_then(|value| value.as_n().ok()).ok_or(BadItem(name))?;
    number.parse().map_err(|_| BadItem(name))
}

/// The parsed number of an attribute that may be missing.
pub(super) fn get_optional_number<T: FromStr>(item: &Item, name: &'static str) -> Result<Option<T>, BadItem> {
    if item.contains_key(name) { get_number(item, name).map(Some) } else { Ok(None) }
}

/// The time of an attribute that may be missing.
pub(super) fn get_optional_time(item: &Item, name: &'static str) -> Result<Option<Timestamp>, BadItem> {
    if item.contains_key(name) { get(item, name).map(Some) } else { Ok(None) }
}
