//! Reads export records from the body of a Query response, borrowing their strings from it.
//!
//! The SDK builds a map of owned values for every item. For a page of the history that costs as much CPU as the rest of
//! the request. Request, signature, retries and time-outs remain the SDK's.
//!
//! Written by hand for one bar: a list request takes a tenth of Python's CPU (`cargo bench-start`, BENCHMARKS.md).

use std::borrow::Cow;

use aws_smithy_types::base64;
use exports_domain::export::Export;
use exports_domain::ports::CorruptRecord;

use super::item::{Attribute, Attributes, get_text};
use super::json::{JsonError, JsonReader};
use super::page::read_key;
use super::record::{SORT, read};

/// A page of records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RecordPage {
    /// Sort key and record of each item, in the order of the response.
    pub records: Vec<(String, Result<Export, CorruptRecord>)>,
    /// The sort key after which the next page starts, if there is one.
    pub last: Option<String>,
}

/// Reads the body of a Query response from the Exports table.
///
/// # Errors
/// [`JsonError`] if the body is not a Query response in UTF-8 JSON, or an item has no sort key.
pub(super) fn read_records(body: &[u8]) -> Result<RecordPage, JsonError> {
    let mut json = JsonReader::new(body)?;
    let mut page = RecordPage::default();
    json.object(|json, name| match &*name {
        "Items" => json.array(|json| {
            let start = json.peek_at();
            let item = BorrowedItem::read(json)?;
            page.records.push((item.sort().ok_or(JsonError(start))?, read(&item)));
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

/// An item's attributes by name.
struct BorrowedItem<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> BorrowedItem<'a> {
    fn read(json: &mut JsonReader<'a>) -> Result<Self, JsonError> {
        // A record has a few less.
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

impl Attributes for BorrowedItem<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| &**name).collect()
    }
}

/// An attribute value, as in `{"S": "…"}`.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Flag(bool),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Map(BorrowedItem<'a>),
    Other,
}

impl<'a> Value<'a> {
    /// Recursion is bounded: DynamoDB limits nesting to 32 levels.
    fn read(json: &mut JsonReader<'a>) -> Result<Self, JsonError> {
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
            "B" => {
                let start = json.peek_at();
                Self::Bytes(base64::decode(json.string()?).map_err(|_| JsonError(start))?)
            }
            "L" => {
                let mut values = Vec::new();
                json.array(|json| {
                    values.push(Self::read(json)?);
                    Ok(())
                })?;
                Self::List(values)
            }
            "M" => Self::Map(BorrowedItem::read(json)?),
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
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::List(values) => Self::List(values.iter().map(Self::from).collect()),
            Value::Map(item) => Self::Map(item),
            Value::Other => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
