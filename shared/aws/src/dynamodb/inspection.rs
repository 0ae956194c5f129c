//! Reads items of the Exports table for tests, with the product's own parsers.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export::Export;
use exports_domain::export_type::ExportType;
use exports_domain::id::{ExportId, TenantId};

use super::item::{ItemError, get, get_text};
use super::record::{SORT, TENANT, from_item, parse_export_sort};

/// An item of the Exports table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredItem {
    /// An export's record.
    Export(Box<Export>),
    /// The lock of this tenant and export type, and the pending export it names.
    Lock(TenantId, ExportType, ExportId),
    /// The checkpoint of this export. Its attributes are not checked.
    Checkpoint(TenantId, ExportId),
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
            Ok(StoredItem::Checkpoint(get(item, TENANT)?, id.parse().map_err(|_| ItemError(SORT))?))
        }
        Some(("LOCK", slug)) => {
            let export_type = ExportType::ALL.into_iter().find(|export_type| export_type.slug() == slug);
            Ok(StoredItem::Lock(get(item, TENANT)?, export_type.ok_or(ItemError(SORT))?, get(item, "exportId")?))
        }
        Some(("IDEMPOTENCY", _)) => Ok(StoredItem::Idempotency),
        _ => Err(ItemError(SORT).into()),
    }
}
