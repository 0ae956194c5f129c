//! The generator's hot path: decodes a page of rows from a Query response directly into the cells of its file.
//!
//! The SDK builds a map of owned values for every item. This module borrows the values from the body and passes them to
//! the encoder. Request, signature, retries and time-outs are the SDK's; the row format is the domain's.
//!
//! Written by hand, as are [`json`](super::json) and the hash table of names, for one bar: the generator's rows per CPU
//! second (BENCHMARKS.md). `cargo bench-readers` measures it against `jiter` and `serde_dynamo`.
//!
//! Values of types that no column has are skipped without validation.

use std::borrow::Cow;

use exports_domain::export_type::{Column, ExportType, FileColumns};
use exports_domain::row::Value;
use exports_domain::row_encoder::{EncodedRows, RowEncoder};
use exports_domain::row_selection::RowSelection;

use super::json::{JsonError, JsonReader};
use super::record::{SORT, TENANT};

/// A decoded page of rows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    /// The encoded rows.
    pub encoded: EncodedRows,
    /// The first row's sort key.
    pub first: Option<String>,
    /// The sort key after which the next page starts, if there is one.
    pub last: Option<String>,
    /// The read units consumed, if the response says so.
    pub read_units: Option<f64>,
}

/// Reads the body of a Query response from a source table.
///
/// # Errors
/// [`JsonError`] if the body is not a Query response in UTF-8 JSON, or an item has no sort key.
pub(super) fn read_page(body: &[u8], selection: &RowSelection) -> Result<Page, JsonError> {
    let mut json = JsonReader::new(body)?;
    // A row is about a third of the size of its item.
    let columns = selection.columns;
    let mut rows = RowEncoder::new(selection, body.len() / 5 * 2);
    let (mut first, mut last, mut read_units) = (None, None, None);
    let mut has_items = false;
    json.object(|json, name| match &*name {
        // A second list would replace the first one, whose rows are already encoded.
        "Items" if has_items => json.invalid(),
        "Items" => {
            has_items = true;
            read_items(json, columns, &mut rows, &mut first)
        }
        "LastEvaluatedKey" => {
            last = read_key(json)?;
            Ok(())
        }
        "ConsumedCapacity" => {
            read_units = read_capacity(json)?;
            Ok(())
        }
        _ => json.skip(),
    })?;
    json.end()?;
    Ok(Page { encoded: rows.finish(), first, last, read_units })
}

/// The sort key in a key object; `None` for `null`.
pub(super) fn read_key(json: &mut JsonReader<'_>) -> Result<Option<String>, JsonError> {
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
    sort.map(Some).ok_or(JsonError(start))
}

/// The units in a `ConsumedCapacity`; `None` for `null` or without them.
fn read_capacity(json: &mut JsonReader<'_>) -> Result<Option<f64>, JsonError> {
    if json.peek() == Some(b'n') {
        json.skip()?;
        return Ok(None);
    }
    let mut units = None;
    json.object(|json, name| {
        let start = json.peek_at();
        json.skip()?;
        if &*name == "CapacityUnits" {
            let text = json.text.get(start..json.at).unwrap_or_default();
            units = if text == "null" { None } else { Some(text.parse().map_err(|_| JsonError(start))?) };
        }
        Ok(())
    })?;
    Ok(units)
}

/// Encodes the items into `rows` and stores the first sort key in `first`.
fn read_items(
    json: &mut JsonReader<'_>,
    columns: FileColumns,
    rows: &mut RowEncoder,
    first: &mut Option<String>,
) -> Result<(), JsonError> {
    let names = NameTable::of(columns.export_type);
    let columns = columns.list();
    // Attributes that the fast path cannot read. They are set after the whole item is read, because they own their text.
    let mut others = Vec::new();
    json.array(|json| {
        let start = json.peek_at();
        let mut item = ItemFields::default();
        others.clear();
        json.members(|json| {
            let Some((field, value)) = json.fast_member(names) else {
                others.push((Field::of(columns, &json.name()?), json.attribute()?));
                return Ok(());
            };
            if !others.is_empty() {
                // The last of several attributes of one name wins.
                others.retain(|(other, _)| *other != field);
            }
            item.set(field, value);
            Ok(())
        })?;
        for (field, attribute) in &others {
            item.set(*field, attribute.value());
        }
        let Value::Text(key) = item.sort else { return Err(JsonError(start)) };
        if first.is_none() {
            *first = Some(key.to_owned());
        }
        rows.push(item.row.get(..columns.len()).unwrap_or_default(), key);
        Ok(())
    })
}

/// The attributes of an item that the file needs.
struct ItemFields<'a> {
    row: [Value<'a>; MAX_COLUMNS],
    sort: Value<'a>,
}

impl Default for ItemFields<'_> {
    fn default() -> Self {
        Self { row: [Value::Missing; MAX_COLUMNS], sort: Value::Missing }
    }
}

impl<'a> ItemFields<'a> {
    fn set(&mut self, field: Field, value: Value<'a>) {
        match field {
            Field::Column(index) => {
                if let Some(cell) = self.row.get_mut(index) {
                    *cell = value;
                }
            }
            Field::Sort => self.sort = value,
            Field::Other => {}
        }
    }
}

/// The use of an attribute, by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Column(usize),
    Sort,
    Other,
}

impl Field {
    fn of(columns: &[Column], name: &str) -> Self {
        match columns.iter().position(|column| column.attribute == name) {
            Some(index) => Self::Column(index),
            None if name == SORT => Self::Sort,
            None => Self::Other,
        }
    }
}

/// The tables of all types, in the order of [`ExportType::ALL`].
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where out of bounds is an error")]
static TABLES: [NameTable; ExportType::ALL.len()] = {
    let mut tables = [const { NameTable::EMPTY }; ExportType::ALL.len()];
    let mut index = 0;
    while index < tables.len() {
        tables[index] = NameTable::new(ExportType::ALL[index].definition().columns);
        index += 1;
    }
    tables
};

/// How many columns a type has at most.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where out of bounds is an error")]
const MAX_COLUMNS: usize = {
    let (mut max, mut index) = (0, 0);
    while index < ExportType::ALL.len() {
        let count = ExportType::ALL[index].definition().columns.len();
        max = if count > max { count } else { max };
        index += 1;
    }
    max
};

/// A perfect hash table of the known attribute names. DynamoDB does not guarantee any order of attributes, and a lookup
/// here is one multiplication.
struct NameTable {
    multiplier: u64,
    /// Each name, at the position that [`Self::index`] returns for it.
    entries: [(Name, Field); Self::SIZE],
}

/// A name as two numbers: its first 16 bytes and the others. Zero bytes fill it up. Most names are short, so that the
/// second number is 0.
type Name = (u128, u128);

impl NameTable {
    const SIZE: usize = 64;
    const UNUSED: (Name, Field) = ((0, 0), Field::Other);
    const EMPTY: Self = Self { multiplier: 0, entries: [Self::UNUSED; Self::SIZE] };

    /// The table of a type.
    #[expect(clippy::indexing_slicing, reason = "there is a table for each type")]
    fn of(export_type: ExportType) -> &'static Self {
        &TABLES[export_type as usize]
    }

    /// Searches for a multiplier without collisions, at compile time.
    const fn new(columns: &[Column]) -> Self {
        let mut multiplier = 0x9e37_79b9_7f4a_7c15;
        loop {
            if let Some(table) = Self::with(columns, multiplier) {
                return table;
            }
            multiplier = multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(2);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where out of bounds is an error")]
    const fn with(columns: &[Column], multiplier: u64) -> Option<Self> {
        let mut table = Self { multiplier, entries: [Self::UNUSED; Self::SIZE] };
        let mut index = 0;
        while index < columns.len() + 2 {
            let (name, field) = match index.checked_sub(columns.len()) {
                None => (columns[index].attribute, Field::Column(index)),
                Some(0) => (SORT, Field::Sort),
                Some(_) => (TENANT, Field::Other),
            };
            let name = Self::words(name.as_bytes());
            let entry = table.index(name);
            if table.entries[entry].0.0 != 0 {
                return None;
            }
            table.entries[entry] = (name, field);
            index += 1;
        }
        Some(table)
    }

    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where out of bounds is an error")]
    const fn words(name: &[u8]) -> Name {
        assert!(name.len() < 32, "a longer name needs another word");
        let mut words = (0, 0);
        let mut index = 0;
        while index < name.len() {
            let word = if index < 16 { &mut words.0 } else { &mut words.1 };
            *word |= (name[index] as u128) << (8 * (index % 16));
            index += 1;
        }
        words
    }

    const fn index(&self, (first, second): Name) -> usize {
        let word = first ^ second.rotate_left(32);
        let word = word as u64 ^ (word >> 64) as u64;
        (word.wrapping_mul(self.multiplier) >> 58) as usize
    }

    #[inline]
    fn find(&self, name: Name) -> Option<Field> {
        self.entries.get(self.index(name)).filter(|(known, _)| *known == name).map(|(_, field)| *field)
    }
}

/// An attribute value of one of the types that columns have.
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

impl<'a> JsonReader<'a> {
    /// Reads an attribute value, such as `{"S": "…"}`.
    fn attribute(&mut self) -> Result<Attribute<'a>, JsonError> {
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

    /// Reads `"name":{"S":"…"}`, `"name":{"N":"…"}` or `"name":{"NULL":true}` with a known name, no white space and no
    /// escapes, which is how DynamoDB writes nearly all attributes. On anything else, returns `None` and reads nothing.
    #[inline]
    fn fast_member(&mut self, names: &NameTable) -> Option<(Field, Value<'a>)> {
        if self.has_controls {
            return None;
        }
        let rest = self.text.as_bytes().get(self.at..)?;
        let (b'"', name) = rest.split_first()? else { return None };
        let word = u128::from_le_bytes(*name.first_chunk()?);
        let (length, field) = if let Some((length, word)) = before_quote(word) {
            (length, names.find((word, 0))?)
        } else {
            let (length, rest) = before_quote(u128::from_le_bytes(*name.get(16..)?.first_chunk()?))?;
            (16 + length, names.find((word, rest))?)
        };
        let value = name.get(length + 1..)?;
        let kind = value.first_chunk()?;
        let is_number = match kind {
            b":{\"S\":\"" => false,
            b":{\"N\":\"" => true,
            _ => {
                value.starts_with(b":{\"NULL\":true}").then_some(())?;
                self.at += length + 16;
                return Some((field, Value::Missing));
            }
        };
        let value = value.get(kind.len()..)?;
        let end = before_special(value)?;
        if value.get(end..end + 2)? != b"\"}" {
            return None;
        }
        let start = self.at + length + 2 + kind.len();
        let text = self.text.get(start..start + end)?;
        self.at = start + end + 2;
        Some((field, if is_number { Value::Number(text) } else { Value::Text(text) }))
    }
}

/// The number of bytes before the first quote of 16 bytes, and these bytes. `None` if there is no quote.
#[inline]
fn before_quote(word: u128) -> Option<(usize, u128)> {
    let length = find(b'"', word).trailing_zeros() / 8;
    let bytes = 1_u128.checked_shl(8 * length)?.wrapping_sub(1);
    Some((usize::try_from(length).ok()?, word & bytes))
}

/// The number of bytes before the first quote or backslash, if there is one.
#[inline]
fn before_special(text: &[u8]) -> Option<usize> {
    // Most values are shorter than two words: calling memchr takes longer than reading them.
    let mut length = 0;
    for bytes in text.as_chunks().0.iter().take(2) {
        let word = u128::from_le_bytes(*bytes);
        let special = find(b'"', word) | find(b'\\', word);
        if special != 0 {
            return Some(length + usize::try_from(special.trailing_zeros() / 8).ok()?);
        }
        length += bytes.len();
    }
    memchr::memchr2(b'"', b'\\', text.get(length..)?).map(|rest| length + rest)
}

/// A SWAR search: the lowest byte whose highest bit is set in the result is the first `byte` in `word`.
#[inline]
const fn find(byte: u8, word: u128) -> u128 {
    const ONES: u128 = u128::from_le_bytes([1; 16]);
    let other = word ^ (ONES * byte as u128);
    other.wrapping_sub(ONES) & !other & (ONES << 7)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod reference;

#[cfg(test)]
pub(super) mod tests;
