//! Reads items of the Exports table for tests, with the product's own parsers.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::base64;
use exports_domain::checkpoint::Checkpoint;
use exports_domain::export::Export;
use exports_domain::export_type::ExportType;
use exports_domain::id::{ExportId, TenantId};
use serde_json::Value;

use super::item::{Item, ItemError, get, get_text};
use super::record::{SORT, TENANT, checkpoint_from, from_item, parse_export_sort};

/// An item of the Exports table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredItem {
    /// An export's record.
    Export(Box<Export>),
    /// The lock of this tenant and export type, and the pending export it names.
    Lock(TenantId, ExportType, ExportId),
    /// The checkpoint of this export; `None` if it is of another version or corrupt, so that the file restarts.
    Checkpoint(TenantId, ExportId, Option<Box<Checkpoint>>),
    /// An idempotency record. Its attributes are not checked.
    Idempotency,
}

/// The item is not one that the product writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct StoredItemError(#[from] ItemError);

/// Reads an item of the Exports table.
///
/// # Errors
/// [`StoredItemError`] names the invalid attribute.
pub fn read(item: &HashMap<String, AttributeValue>) -> Result<StoredItem, StoredItemError> {
    let sort = get_text(item, SORT)?;
    if parse_export_sort(sort).is_some() {
        return Ok(StoredItem::Export(Box::new(from_item(item)?)));
    }
    match sort.split_once('#') {
        Some(("CHECKPOINT", id)) => {
            let id: ExportId = id.parse().map_err(|_| ItemError(SORT))?;
            let checkpoint = checkpoint_from(item, id.export_type().definition()).ok();
            Ok(StoredItem::Checkpoint(get(item, TENANT)?, id, checkpoint.map(Box::new)))
        }
        Some(("LOCK", slug)) => {
            let export_type = ExportType::ALL.into_iter().find(|export_type| export_type.slug() == slug);
            Ok(StoredItem::Lock(get(item, TENANT)?, export_type.ok_or(ItemError(SORT))?, get(item, "exportId")?))
        }
        Some(("IDEMPOTENCY", _)) => Ok(StoredItem::Idempotency),
        _ => Err(ItemError(SORT).into()),
    }
}

/// The item with these attributes in DynamoDB JSON.
///
/// # Errors
/// A message about an attribute that is not in DynamoDB JSON, or has a type that the product does not write.
pub fn item_from_json<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Value)>) -> Result<Item, String> {
    let attributes = attributes.into_iter().map(|(name, value)| {
        let name = name.into();
        match attribute(&value) {
            Some(value) => Ok((name, value)),
            None => Err(format!("the attribute {name} is not in DynamoDB JSON: {value}")),
        }
    });
    attributes.collect()
}

fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object().filter(|value| value.len() == 1)?.iter().next()?;
    let text = || value.as_str().map(str::to_owned);
    Some(match kind.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(text()?),
        "B" => AttributeValue::B(Blob::new(base64::decode(text()?).ok()?)),
        "BOOL" => AttributeValue::Bool(value.as_bool()?),
        "NULL" => AttributeValue::Null(value.as_bool()?),
        "L" => AttributeValue::L(value.as_array()?.iter().map(attribute).collect::<Option<_>>()?),
        "M" => {
            let members = value.as_object()?.iter().map(|(name, value)| Some((name.clone(), attribute(value)?)));
            AttributeValue::M(members.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
