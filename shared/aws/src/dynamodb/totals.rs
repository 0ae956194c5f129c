//! The stored form of control totals, the same in the file of a record and in a checkpoint: a map from status to a map
//! from currency to binary values.
//!
//! They are binary, because a file can have a thousand totals, and its record must stay under 64 KB.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export_type::Definition;
use exports_domain::totals::{Total, Totals};

use super::item::{Attribute, Attributes, Item, ItemError};

/// The attribute of files and checkpoints.
pub(super) const TOTALS: &str = "totals";

pub(super) fn totals_value(totals: &Totals) -> AttributeValue {
    let mut by_status: HashMap<String, Item> = HashMap::new();
    for (currency, status, total) in totals.iter() {
        let by_currency = by_status.entry(status.name().to_owned()).or_default();
        by_currency.insert(currency.code().to_owned(), AttributeValue::B(Blob::new(encode(total))));
    }
    AttributeValue::M(by_status.into_iter().map(|(status, totals)| (status, AttributeValue::M(totals))).collect())
}

pub(super) fn get_totals(item: &dyn Attributes, definition: &Definition) -> Result<Totals, ItemError> {
    read(item, definition).ok_or(ItemError(TOTALS))
}

fn read(item: &dyn Attributes, definition: &Definition) -> Option<Totals> {
    let Attribute::Map(by_status) = item.attribute(TOTALS)? else { return None };
    let mut totals = Totals::default();
    for name in by_status.names() {
        let status = definition.status(name)?;
        let Attribute::Map(by_currency) = by_status.attribute(name)? else { return None };
        for code in by_currency.names() {
            let Attribute::Bytes(bytes) = by_currency.attribute(code)? else { return None };
            totals.add(code.parse().ok()?, status, decode(bytes)?).then_some(())?;
        }
    }
    Some(totals)
}

/// The length of the count, the count, and the sum with its sign in the lowest bit (zigzag). Both numbers are big-endian
/// and have no leading zeros.
fn encode(Total { count, minor }: Total) -> Vec<u8> {
    let (count, minor) = (count.to_be_bytes(), ((minor << 1) ^ (minor >> 127)).cast_unsigned().to_be_bytes());
    let (count, minor) = (without_leading_zeros(&count), without_leading_zeros(&minor));
    // At most eight.
    let length = u8::try_from(count.len()).unwrap_or_default();
    [&[length], count, minor].concat()
}

fn decode(bytes: &[u8]) -> Option<Total> {
    let (length, numbers) = bytes.split_first()?;
    let (count, minor) = numbers.split_at_checked((*length).into())?;
    let minor = number(minor)?;
    let minor = (minor >> 1).cast_signed() ^ -(minor & 1).cast_signed();
    Some(Total { count: number(count)?.try_into().ok()?, minor })
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

/// The number that these bytes are, which must not start with a zero.
fn number(bytes: &[u8]) -> Option<u128> {
    let mut all = [0; size_of::<u128>()];
    let start = all.len().checked_sub(bytes.len())?;
    all.get_mut(start..)?.copy_from_slice(bytes);
    (bytes.first() != Some(&0)).then(|| u128::from_be_bytes(all))
}

#[cfg(test)]
mod tests {
    use exports_domain::export_type::ExportType;
    use proptest::prelude::*;

    use super::*;
    use crate::dynamodb::item::text;

    fn map(name: &str, value: AttributeValue) -> AttributeValue {
        AttributeValue::M([(name.to_owned(), value)].into())
    }

    #[test]
    fn totals_are_read_strictly() {
        let bytes = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
        let read = |totals| {
            let definition = ExportType::MarketplacePayouts.definition();
            get_totals(&Item::from([(TOTALS.to_owned(), totals)]), definition)
        };
        let good = map("SETTLED", map("EUR", bytes(&[1, 3, 0x60, 0x72])));
        assert_eq!(totals_value(&read(good.clone()).unwrap()), good);
        for malformed in [
            text("EUR SETTLED 3 12345"),
            map("PAID", map("EUR", bytes(&[1, 3]))),
            map("SETTLED", bytes(&[1, 3])),
            map("SETTLED", map("XXX", bytes(&[1, 3]))),
            map("SETTLED", map("EUR", text("3 12345"))),
            map("SETTLED", map("EUR", bytes(&[1]))),
        ] {
            assert_eq!(read(malformed.clone()), Err(ItemError(TOTALS)), "{malformed:?}");
        }
    }

    #[test]
    fn encoded_total_has_no_unnecessary_bytes() {
        for (count, minor, bytes) in [
            (0, 0, &[0][..]),
            (3, 12_345, &[1, 3, 0x60, 0x72]),
            (1, -1, &[1, 1, 1]),
            (256, i128::from(i64::MIN), &[2, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            let total = Total { count, minor };
            assert_eq!((encode(total), decode(bytes)), (bytes.to_vec(), Some(total)));
        }
    }

    #[test]
    fn malformed_total_is_corrupt() {
        for bytes in
            [&[][..], &[1], &[2, 1], &[1, 0], &[1, 1, 0], &[1, 1, 0, 1], &[9, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[1; 19]]
        {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn total_round_trips(count: u64, minor: i128) {
            let total = Total { count, minor };
            prop_assert_eq!(decode(&encode(total)), Some(total));
        }
    }
}
