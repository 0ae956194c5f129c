//! The records of exports in the body of DynamoDB's response, their texts borrowed from it.
//!
//! The SDK makes a map of owned values of every item, which for a page of the history costs as much as all else that a
//! request does. The request, its signature, retries and time-outs stay the SDK's.

use std::borrow::Cow;

use exports_domain::export::Export;
use exports_domain::ports::CorruptRecord;

use super::item::{Attribute, Attributes, get_text};
use super::json::{Json, NotJson};
use super::page::read_key;
use super::record::{SORT, read};

/// A page of a query for records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Records {
    /// Each record, or what is wrong with it, by its sort key.
    pub records: Vec<(String, Result<Export, CorruptRecord>)>,
    /// The sort key that the next page begins after, if there is one.
    pub last: Option<String>,
}

/// Reads the body of an response to a query of the Exports table for records.
///
/// # Errors
/// [`NotJson`] if the body is not JSON in UTF-8 or not of the form of such an response.
pub(super) fn read_records(body: &[u8]) -> Result<Records, NotJson> {
    let mut json = Json::new(body)?;
    let mut page = Records::default();
    json.object(|json, name| match &*name {
        "Items" => json.array(|json| {
            let start = json.peek_at();
            let item = BodyItem::read(json)?;
            page.records.push((item.sort().ok_or(NotJson(start))?, read(&item)));
            Ok(())
        }),
        "LastEvaluatedKey" => {
            page.last = read_key(json)?;
            Ok(())
        }
        _ => json.skip(),
    })?;
    json.end()?;
    Ok(page)
}

/// An item: its attributes with their names.
struct BodyItem<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> BodyItem<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, NotJson> {
        // As many as a record has, and a few more.
        let mut attributes = Vec::with_capacity(32);
        json.object(|json, name| {
            attributes.push((name, Value::read(json)?));
            Ok(())
        })?;
        Ok(Self(attributes))
    }

    fn sort(&self) -> Option<String> {
        get_text(self, SORT).ok().map(str::to_owned)
    }
}

impl Attributes for BodyItem<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
    }
}

/// A value by its type, as DynamoDB writes it: `{"S": "…"}`.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Flag(bool),
    List(Vec<Self>),
    Map(BodyItem<'a>),
    Other,
}

impl<'a> Value<'a> {
    /// Nested no deeper than DynamoDB lets items be, 32 levels: the stack is deep enough.
    fn read(json: &mut Json<'a>) -> Result<Self, NotJson> {
        json.expect(b'{')?;
        let kind = json.name()?;
        let value = match &*kind {
            "S" => Self::Text(json.string()?),
            "N" => Self::Number(json.string()?),
            "BOOL" => {
                let is_true = json.peek() == Some(b't');
                json.skip()?;
                Self::Flag(is_true)
            }
            "L" => {
                let mut values = Vec::new();
                json.array(|json| {
                    values.push(Self::read(json)?);
                    Ok(())
                })?;
                Self::List(values)
            }
            "M" => Self::Map(BodyItem::read(json)?),
            _ => {
                json.skip()?;
                Self::Other
            }
        };
        json.expect(b'}')?;
        Ok(value)
    }
}

impl<'a> From<&'a Value<'_>> for Attribute<'a> {
    fn from(value: &'a Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number),
            Value::Flag(flag) => Self::Flag(*flag),
            Value::List(values) => Self::List(values.iter().map(Self::from).collect()),
            Value::Map(item) => Self::Map(item),
            Value::Other => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
