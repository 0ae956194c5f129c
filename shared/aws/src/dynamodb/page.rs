//! The generator's hot path: a page of payouts, from the bytes of DynamoDB's answer straight to lines of the file.
//!
//! The SDK would make a map of owned values of every item; here the values are borrowed from the body, checked and
//! written at once. This module does only that: the request, its signature, retries and time-outs are the SDK's, and
//! what a line looks like is the domain's.
//!
//! Values of types that no column has are skipped, not examined.

use std::borrow::Cow;

use domain::file::{Lines, Section};
use domain::payout::{COLUMNS, Row, Value};
use serde::de::IgnoredAny;

use super::record::SORT;

/// A page, read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    /// Its payouts as lines.
    pub section: Section,
    /// The first payout's sort key.
    pub first: Option<String>,
    /// The sort key that the next page begins after, if there is one.
    pub last: Option<String>,
}

/// The body is no answer to a query; at this byte it could not be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be read from byte {0} on")]
pub(super) struct NotAPage(usize);

/// Reads the body of an answer to a query of the Payouts table.
///
/// # Errors
/// [`NotAPage`] if the body is not JSON in UTF-8 or not of the form of such an answer.
pub(super) fn read_page(body: &[u8]) -> Result<Page, NotAPage> {
    let text = str::from_utf8(body).map_err(|error| NotAPage(error.valid_up_to()))?;
    // DynamoDB writes no white space, so nearly every body is found to have no control character at all, at once.
    // The least byte, because the compiler makes vector instructions of that and not of an early end.
    let has_controls = body.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ';
    let mut json = Json { text, at: 0, has_controls };
    let (mut lines, mut last) = (Lines::default(), None);
    let mut items = Items::default();
    json.object(|json, name| match &*name {
        "Items" => items.read(json, &mut lines),
        "LastEvaluatedKey" => {
            last = read_key(json)?;
            Ok(())
        }
        _ => json.skip(),
    })?;
    json.end()?;
    Ok(Page { section: lines.finish(), first: items.first, last })
}

/// The sort key in a key; `null` is none.
fn read_key(json: &mut Json<'_>) -> Result<Option<String>, NotAPage> {
    if json.peek() == Some(b'n') {
        json.skip()?;
        return Ok(None);
    }
    let start = json.at;
    let mut sort = None;
    json.object(|json, name| {
        let attribute = read_attribute(json)?;
        if let (SORT, Attribute::Text(text)) = (&*name, attribute) {
            sort = Some(text.unescape(start)?.into_owned());
        }
        Ok(())
    })?;
    sort.map(Some).ok_or(NotAPage(start))
}

/// What an attribute's name means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    Column(usize),
    Sort,
    Other,
}

/// The items of a page. DynamoDB writes the attributes of most items in the same order, so the names of the one before
/// are the first guess for the next.
#[derive(Default)]
struct Items<'a> {
    order: Vec<(&'a str, Slot)>,
    /// The first item's sort key.
    first: Option<String>,
}

impl<'a> Items<'a> {
    fn read(&mut self, json: &mut Json<'a>, lines: &mut Lines) -> Result<(), NotAPage> {
        json.array(|json| {
            let start = json.at;
            let mut attributes = [Attribute::Missing; COLUMNS.len()];
            let (mut sort, mut position) = (Attribute::Missing, 0);
            json.members(|json| {
                let slot = match self.order.get(position).filter(|(known, _)| json.is_name(known)) {
                    Some((_, slot)) => *slot,
                    None => self.slot(json.name()?, position),
                };
                position += 1;
                let attribute = read_attribute(json)?;
                match slot {
                    Slot::Column(index) => {
                        if let Some(cell) = attributes.get_mut(index) {
                            *cell = attribute;
                        }
                    }
                    Slot::Sort => sort = attribute,
                    Slot::Other => {}
                }
                Ok(())
            })?;
            let Attribute::Text(key) = sort else { return Err(NotAPage(start)) };
            if self.first.is_none() {
                self.first = Some(key.unescape(start)?.into_owned());
            }
            if !key.escaped && attributes.iter().all(|attribute| !attribute.is_escaped()) {
                let row: Row<'_> = attributes.map(|attribute| attribute.value(None));
                lines.push(&row, key.raw);
                return Ok(());
            }
            push_escaped(lines, &attributes, key, start)
        })
    }

    /// What a name means that is not the one that stood there before.
    #[cold]
    fn slot(&mut self, name: Cow<'a, str>, position: usize) -> Slot {
        let slot = match COLUMNS.iter().position(|column| column.attribute == name) {
            Some(index) => Slot::Column(index),
            None if name == SORT => Slot::Sort,
            None => Slot::Other,
        };
        if let Cow::Borrowed(name) = name {
            // A name that could not be kept leaves a gap: the names behind it are looked up each time then.
            if let Some(known) = self.order.get_mut(position) {
                *known = (name, slot);
            } else if self.order.len() == position {
                self.order.push((name, slot));
            }
        }
        slot
    }
}

/// A row some of whose texts are escaped: these need a place of their own.
#[cold]
fn push_escaped(
    lines: &mut Lines,
    attributes: &[Attribute<'_>; COLUMNS.len()],
    key: Text<'_>,
    start: usize,
) -> Result<(), NotAPage> {
    let mut texts: [Option<Cow<'_, str>>; COLUMNS.len()] = Default::default();
    for (text, attribute) in texts.iter_mut().zip(attributes) {
        if let Attribute::Text(raw) | Attribute::Number(raw) = attribute {
            *text = Some(raw.unescape(start)?);
        }
    }
    let mut row: Row<'_> = [Value::Missing; COLUMNS.len()];
    for ((cell, attribute), text) in row.iter_mut().zip(attributes).zip(&texts) {
        *cell = attribute.value(text.as_deref());
    }
    lines.push(&row, &key.unescape(start)?);
    Ok(())
}

/// A string of the body, between its quotes.
#[derive(Clone, Copy, Debug)]
struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The text that is meant; `start` tells where, if it is none.
    fn unescape(self, start: usize) -> Result<Cow<'a, str>, NotAPage> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        serde_json::from_str(&format!("\"{}\"", self.raw)).map(Cow::Owned).map_err(|_| NotAPage(start))
    }
}

/// The value of an attribute, as it stands in the body.
#[derive(Clone, Copy, Debug)]
enum Attribute<'a> {
    Missing,
    Text(Text<'a>),
    Number(Text<'a>),
    Other,
}

impl<'a> Attribute<'a> {
    const fn is_escaped(&self) -> bool {
        matches!(self, Self::Text(text) | Self::Number(text) if text.escaped)
    }

    /// The value for the row; `unescaped` is its text where that is not the one in the body.
    fn value<'b>(self, unescaped: Option<&'b str>) -> Value<'b>
    where
        'a: 'b,
    {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(text) => Value::Text(unescaped.unwrap_or(text.raw)),
            Self::Number(text) => Value::Number(unescaped.unwrap_or(text.raw)),
            Self::Other => Value::Other,
        }
    }
}

/// `{"S": "…"}` and the like: an object whose one name is the type.
#[inline]
fn read_attribute<'a>(json: &mut Json<'a>) -> Result<Attribute<'a>, NotAPage> {
    // As DynamoDB writes nearly all of them.
    json.plain_attribute().map_or_else(|| read_any_attribute(json), Ok)
}

fn read_any_attribute<'a>(json: &mut Json<'a>) -> Result<Attribute<'a>, NotAPage> {
    json.expect(b'{')?;
    let kind = json.name()?;
    let attribute = match &*kind {
        "S" => Attribute::Text(json.string()?),
        "N" => Attribute::Number(json.string()?),
        "NULL" => {
            let start = json.peek_at();
            json.skip()?;
            if json.text.get(start..json.at) == Some("true") { Attribute::Missing } else { Attribute::Other }
        }
        _ => {
            json.skip()?;
            Attribute::Other
        }
    };
    json.expect(b'}')?;
    Ok(attribute)
}

/// A place in a text of JSON.
struct Json<'a> {
    text: &'a str,
    at: usize,
    has_controls: bool,
}

impl<'a> Json<'a> {
    const fn fault<T>(&self) -> Result<T, NotAPage> {
        Err(NotAPage(self.at))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Where that byte is.
    fn peek_at(&mut self) -> usize {
        self.peek();
        self.at
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotAPage> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fault()
        }
    }

    fn end(&mut self) -> Result<(), NotAPage> {
        if self.peek().is_none() { Ok(()) } else { self.fault() }
    }

    fn string(&mut self) -> Result<Text<'a>, NotAPage> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else { return self.fault() };
            self.at += length;
            if rest.get(length) == Some(&b'"') {
                break;
            }
            // The escaped character is one byte at least, and may itself be a quote.
            escaped = true;
            self.at += 2;
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        if self.has_controls && raw.bytes().any(|byte| byte < b' ') {
            return Err(NotAPage(start));
        }
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// `{"S":"…"}` or `{"N":"…"}` without white space or escapes.
    #[inline]
    fn plain_attribute(&mut self) -> Option<Attribute<'a>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let is_text = rest.starts_with(b"{\"S\":\"");
        if self.has_controls || !(is_text || rest.starts_with(b"{\"N\":\"")) {
            return None;
        }
        let value = rest.get(6..)?;
        let length = memchr::memchr2(b'"', b'\\', value)?;
        if !value.get(length..)?.starts_with(b"\"}") {
            return None;
        }
        let start = self.at + 6;
        let raw = self.text.get(start..start + length)?;
        self.at = start + length + 2;
        let text = Text { raw, escaped: false };
        Some(if is_text { Attribute::Text(text) } else { Attribute::Number(text) })
    }

    /// Goes past a name and its colon if they are these, as DynamoDB writes them.
    fn is_name(&mut self, name: &str) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let rest = rest.strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(name.as_bytes()));
        let is_it = rest.is_some_and(|rest| rest.starts_with(b"\":"));
        if is_it {
            self.at += name.len() + 3;
        }
        is_it
    }

    /// A name and its colon.
    fn name(&mut self) -> Result<Cow<'a, str>, NotAPage> {
        let start = self.at;
        let name = self.string()?.unescape(start)?;
        self.expect(b':')?;
        Ok(name)
    }

    /// An object, whose members `member` reads: it is called behind each name and its colon.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), NotAPage>,
    ) -> Result<(), NotAPage> {
        self.members(|json| {
            let name = json.name()?;
            member(json, name)
        })
    }

    /// An object, whose members `member` reads: it is called before each name.
    fn members(&mut self, mut member: impl FnMut(&mut Self) -> Result<(), NotAPage>) -> Result<(), NotAPage> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            member(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b'}'),
            }
        }
    }

    /// An array, whose elements `element` reads.
    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), NotAPage>) -> Result<(), NotAPage> {
        self.expect(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b']'),
            }
        }
    }

    /// Goes past a value of any kind.
    fn skip(&mut self) -> Result<(), NotAPage> {
        let start = self.peek_at();
        let rest = self.text.get(start..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                self.at = start + values.byte_offset();
                Ok(())
            }
            _ => self.fault(),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod plain;

#[cfg(test)]
mod tests;
