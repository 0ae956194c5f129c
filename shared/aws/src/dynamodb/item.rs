//! Reads and writes single attributes of items. Errors name the attribute.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::time::Timestamp;
use exports_domain::time_bound::TimeBound;

/// An item as the SDK represents it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The item is not one that the product writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item's attribute {0} is missing or malformed")]
pub(super) struct ItemError(pub &'static str);

pub(super) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item's attributes by name, read by the SDK or by [`history`](super::history).
pub(super) trait Attributes {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;

    /// The names of all attributes.
    fn names(&self) -> Vec<&str>;
}

/// An attribute value of one of the types that records use.
pub(super) enum Attribute<'a> {
    Text(&'a str),
    Number(&'a str),
    Flag(bool),
    Bytes(&'a [u8]),
    List(Vec<Self>),
    Map(&'a dyn Attributes),
    Other,
}

impl Attributes for Item {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.get(name).map(Attribute::from)
    }

    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }
}

impl<'a> From<&'a AttributeValue> for Attribute<'a> {
    fn from(value: &'a AttributeValue) -> Self {
        match value {
            AttributeValue::S(text) => Self::Text(text),
            AttributeValue::N(number) => Self::Number(number),
            AttributeValue::Bool(flag) => Self::Flag(*flag),
            AttributeValue::B(bytes) => Self::Bytes(bytes.as_ref()),
            AttributeValue::L(values) => Self::List(values.iter().map(Self::from).collect()),
            AttributeValue::M(item) => Self::Map(item),
            _ => Self::Other,
        }
    }
}

/// The string of a required attribute.
pub(super) fn get_text<'a>(item: &'a dyn Attributes, name: &'static str) -> Result<&'a str, ItemError> {
    match item.attribute(name) {
        Some(Attribute::Text(text)) => Ok(text),
        _ => Err(ItemError(name)),
    }
}

/// The parsed string of a required attribute.
pub(super) fn get<T: FromStr>(item: &dyn Attributes, name: &'static str) -> Result<T, ItemError> {
    get_text(item, name)?.parse().map_err(|_| ItemError(name))
}

/// The parsed number of a required attribute.
pub(super) fn get_number<T: FromStr>(item: &dyn Attributes, name: &'static str) -> Result<T, ItemError> {
    parse_number(item, name).ok_or(ItemError(name))
}

/// The parsed number of an attribute; `None` if the attribute is missing.
pub(super) fn parse_number<T: FromStr>(item: &dyn Attributes, name: &str) -> Option<T> {
    if let Attribute::Number(number) = item.attribute(name)? { number.parse().ok() } else { None }
}

/// The parsed number of an optional attribute.
pub(super) fn get_optional_number<T: FromStr>(
    item: &dyn Attributes,
    name: &'static str,
) -> Result<Option<T>, ItemError> {
    item.attribute(name).map(|_| get_number(item, name)).transpose()
}

/// The time of an optional attribute.
pub(super) fn get_optional_time(item: &dyn Attributes, name: &'static str) -> Result<Option<Timestamp>, ItemError> {
    item.attribute(name).map(|_| get(item, name)).transpose()
}

/// The start of the day (UTC) of an optional attribute, such as `2026-10-08`.
pub(super) fn get_optional_day(item: &dyn Attributes, name: &'static str) -> Result<Option<Timestamp>, ItemError> {
    item.attribute(name).map(|_| get(item, name).map(TimeBound::as_from)).transpose()
}

/// The boolean of a required attribute.
pub(super) fn get_flag(item: &dyn Attributes, name: &'static str) -> Result<bool, ItemError> {
    match item.attribute(name) {
        Some(Attribute::Flag(flag)) => Ok(flag),
        _ => Err(ItemError(name)),
    }
}

/// The strings in the list of a required attribute.
pub(super) fn get_texts<'a>(item: &'a dyn Attributes, name: &'static str) -> Result<Vec<&'a str>, ItemError> {
    let Some(Attribute::List(values)) = item.attribute(name) else { return Err(ItemError(name)) };
    let text = |value| if let Attribute::Text(text) = value { Ok(text) } else { Err(ItemError(name)) };
    values.into_iter().map(text).collect()
}

/// The map of an optional attribute, converted by `read`.
pub(super) fn get_map<T>(
    item: &dyn Attributes,
    name: &'static str,
    read: impl FnOnce(&dyn Attributes) -> Result<T, ItemError>,
) -> Result<Option<T>, ItemError> {
    match item.attribute(name) {
        None => Ok(None),
        Some(Attribute::Map(item)) => read(item).map(Some),
        Some(_) => Err(ItemError(name)),
    }
}
