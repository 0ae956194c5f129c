//! The generator's hot path: a page of payouts, from the bytes of DynamoDB's response straight to lines of the file.
//!
//! The SDK would make a map of owned values of every item; here the values are borrowed from the body, checked and
//! written at once. This module does only that: the request, its signature, retries and time-outs are the SDK's, and
//! what a line looks like is the domain's.
//!
//! Values of types that no column has are skipped, not examined.

use std::borrow::Cow;

use exports_domain::file::{CsvEncoder, EncodedRows};
use exports_domain::payout::{COLUMNS, Row, Value};

use super::json::{Json, NotJson};
use super::record::{SORT, TENANT};

/// A page, read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    /// Its payouts as lines.
    pub encoded: EncodedRows,
    /// The first payout's sort key.
    pub first: Option<String>,
    /// The sort key that the next page begins after, if there is one.
    pub last: Option<String>,
}

/// Reads the body of an response to a query of the Payouts table.
///
/// # Errors
/// [`NotJson`] if the body is not JSON in UTF-8 or not of the form of such an response.
pub(super) fn read_page(body: &[u8]) -> Result<Page, NotJson> {
    let mut json = Json::new(body)?;
    // A line is about a third of its item.
    let mut lines = CsvEncoder::with_capacity(body.len() / 5 * 2);
    let (mut first, mut last) = (None, None);
    let mut has_items = false;
    json.object(|json, name| match &*name {
        // Of two lists one would have to be forgotten, after its lines are written.
        "Items" if has_items => json.invalid(),
        "Items" => {
            has_items = true;
            read_items(json, &mut lines, &mut first)
        }
        "LastEvaluatedKey" => {
            last = read_key(json)?;
            Ok(())
        }
        _ => json.skip(),
    })?;
    json.end()?;
    Ok(Page { encoded: lines.finish(), first, last })
}

/// The sort key in a key; `null` is none.
pub(super) fn read_key(json: &mut Json<'_>) -> Result<Option<String>, NotJson> {
    if json.peek() == Some(b'n') {
        json.skip()?;
        return Ok(None);
    }
    let start = json.at;
    let mut sort = None;
    json.object(|json, name| {
        let attribute = json.attribute()?;
        if let (SORT, Attribute::Text(text)) = (&*name, attribute) {
            sort = Some(text.into_owned());
        }
        Ok(())
    })?;
    sort.map(Some).ok_or(NotJson(start))
}

/// Reads the items into `lines`, and keeps the first one's sort key.
fn read_items(json: &mut Json<'_>, lines: &mut CsvEncoder, first: &mut Option<String>) -> Result<(), NotJson> {
    // What is not written plainly, which few items have: it is put in its place once all of the item is read.
    let mut others = Vec::new();
    json.array(|json| {
        let start = json.peek_at();
        let mut item = Item::default();
        others.clear();
        json.members(|json| {
            let Some((slot, value)) = json.plain_member() else {
                others.push((Slot::of(&json.name()?), json.attribute()?));
                return Ok(());
            };
            if !others.is_empty() {
                // Of two attributes of one name the later counts.
                others.retain(|(other, _)| *other != slot);
            }
            item.set(slot, value);
            Ok(())
        })?;
        let mut whole = item;
        for (slot, attribute) in &others {
            whole.set(*slot, attribute.value());
        }
        let Value::Text(key) = whole.sort else { return Err(NotJson(start)) };
        if first.is_none() {
            *first = Some(key.to_owned());
        }
        lines.push(&whole.row, key);
        Ok(())
    })
}

/// What is read of an item.
struct Item<'a> {
    row: Row<'a>,
    sort: Value<'a>,
}

impl Default for Item<'_> {
    fn default() -> Self {
        Self { row: [Value::Missing; COLUMNS.len()], sort: Value::Missing }
    }
}

impl<'a> Item<'a> {
    fn set(&mut self, slot: Slot, value: Value<'a>) {
        match slot {
            Slot::Column(index) => {
                if let Some(cell) = self.row.get_mut(index) {
                    *cell = value;
                }
            }
            Slot::Sort => self.sort = value,
            Slot::Other => {}
        }
    }
}

/// What an attribute's name means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    Column(usize),
    Sort,
    Other,
}

impl Slot {
    fn of(name: &str) -> Self {
        match COLUMNS.iter().position(|column| column.attribute == name) {
            Some(index) => Self::Column(index),
            None if name == SORT => Self::Sort,
            None => Self::Other,
        }
    }
}

/// The names that nearly all attributes have, found by one multiplication: DynamoDB promises no order of attributes.
struct Names {
    multiplier: u64,
    /// Each name in the place that [`Self::place`] gives it.
    places: [(u128, Slot); Self::PLACES],
}

impl Names {
    const PLACES: usize = 64;
    const KNOWN: Self = Self::new();

    /// Looks for a multiplier that gives each name a place of its own. Runs when this is compiled.
    const fn new() -> Self {
        let mut multiplier = 0x9e37_79b9_7f4a_7c15;
        loop {
            if let Some(names) = Self::with(multiplier) {
                return names;
            }
            multiplier = multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(2);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "what is out of bounds does not compile")]
    const fn with(multiplier: u64) -> Option<Self> {
        let mut names = Self { multiplier, places: [(0, Slot::Other); Self::PLACES] };
        let mut index = 0;
        while index < COLUMNS.len() + 2 {
            let (name, slot) = match index.checked_sub(COLUMNS.len()) {
                None => (COLUMNS[index].attribute, Slot::Column(index)),
                Some(0) => (SORT, Slot::Sort),
                Some(_) => (TENANT, Slot::Other),
            };
            let name = Self::word(name.as_bytes());
            let place = names.place(name);
            if name != 0 {
                if names.places[place].0 != 0 {
                    return None;
                }
                names.places[place] = (name, slot);
            }
            index += 1;
        }
        Some(names)
    }

    /// A name of 15 bytes at most as a number; 0 for longer ones, which are not among the known then.
    #[expect(clippy::indexing_slicing, reason = "what is out of bounds does not compile")]
    const fn word(name: &[u8]) -> u128 {
        let mut word = 0;
        let mut index = 0;
        while index < name.len() && name.len() < 16 {
            word |= (name[index] as u128) << (8 * index);
            index += 1;
        }
        word
    }

    const fn place(&self, word: u128) -> usize {
        let word = word as u64 ^ (word >> 64) as u64;
        (word.wrapping_mul(self.multiplier) >> 58) as usize
    }

    fn find(&self, word: u128) -> Option<Slot> {
        self.places.get(self.place(word)).filter(|(known, _)| *known == word).map(|(_, slot)| *slot)
    }
}

/// The value of an attribute.
#[derive(Debug)]
enum Attribute<'a> {
    Missing,
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Other,
}

impl Attribute<'_> {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Missing => Value::Missing,
            Self::Text(text) => Value::Text(text),
            Self::Number(number) => Value::Number(number),
            Self::Other => Value::Other,
        }
    }
}

impl<'a> Json<'a> {
    /// `{"S": "…"}` and the like: an object whose one name is the type.
    fn attribute(&mut self) -> Result<Attribute<'a>, NotJson> {
        self.expect(b'{')?;
        let kind = self.name()?;
        let attribute = match &*kind {
            "S" => Attribute::Text(self.string()?),
            "N" => Attribute::Number(self.string()?),
            "NULL" => {
                let start = self.peek_at();
                self.skip()?;
                if self.text.get(start..self.at) == Some("true") { Attribute::Missing } else { Attribute::Other }
            }
            _ => {
                self.skip()?;
                Attribute::Other
            }
        };
        self.expect(b'}')?;
        Ok(attribute)
    }

    /// `"name":{"S":"…"}`, `"name":{"N":"…"}` or `"name":{"NULL":true}` with a known name and without white space or
    /// escapes: as DynamoDB writes nearly all attributes. If it is anything else, nothing is read.
    #[inline]
    fn plain_member(&mut self) -> Option<(Slot, Value<'a>)> {
        const ONES: u128 = u128::from_le_bytes([1; 16]);
        const QUOTES: u128 = ONES * b'"' as u128;
        if self.has_controls {
            return None;
        }
        let rest = self.text.as_bytes().get(self.at..)?;
        let (b'"', name) = rest.split_first()? else { return None };
        // The first byte that is a quote becomes the lowest one whose highest bit is set.
        let word = u128::from_le_bytes(*name.first_chunk()?);
        let other = word ^ QUOTES;
        let quotes = other.wrapping_sub(ONES) & !other & (ONES << 7);
        let length = usize::try_from(quotes.trailing_zeros() / 8).ok()?;
        let slot = Names::KNOWN.find(word & 1_u128.checked_shl(8 * length as u32)?.wrapping_sub(1))?;
        let value = name.get(length + 1..)?;
        let kind = value.first_chunk()?;
        let is_number = match kind {
            b":{\"S\":\"" => false,
            b":{\"N\":\"" => true,
            _ => {
                value.starts_with(b":{\"NULL\":true}").then_some(())?;
                self.at += length + 16;
                return Some((slot, Value::Missing));
            }
        };
        let value = value.get(kind.len()..)?;
        let end = memchr::memchr2(b'"', b'\\', value)?;
        if value.get(end..end + 2)? != b"\"}" {
            return None;
        }
        let start = self.at + length + 2 + kind.len();
        let text = self.text.get(start..start + end)?;
        self.at = start + end + 2;
        Some((slot, if is_number { Value::Number(text) } else { Value::Text(text) }))
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod plain;

#[cfg(test)]
pub(super) mod tests;
