//! The items of the Exports table as the tests look at them: by the same parsers that the product reads them with.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export::Export;
use exports_domain::id::{ExportId, ExportType, TenantId};

use super::item::{ItemError, get, get_text};
use super::record::{SORT, TENANT, export_of_sort, from_item};

/// An item of the Exports table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The record of an export.
    Export(Box<Export>),
    /// A lock, and the export that it names.
    Lock(TenantId, ExportType, ExportId),
    /// A checkpoint of this export, of whatever form.
    Checkpoint(TenantId, ExportId),
    /// A remembered idempotency key.
    Idempotency,
}

/// The item is none that the product writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ReadError(#[from] ItemError);

/// Reads an item of the Exports table.
///
/// # Errors
/// [`ReadError`] names the attribute at invalid.
pub fn read(item: &HashMap<String, AttributeValue>) -> Result<Found, ReadError> {
    let sort = get_text(item, SORT)?;
    if export_of_sort(sort).is_some() {
        return Ok(Found::Export(Box::new(from_item(item)?)));
    }
    match sort.split_once('#') {
        Some(("CHECKPOINT", id)) => Ok(Found::Checkpoint(get(item, TENANT)?, id.parse().map_err(|_| ItemError(SORT))?)),
        Some(("LOCK", slug)) => {
            let export_type = ExportType::ALL.into_iter().find(|export_type| export_type.slug() == slug);
            Ok(Found::Lock(get(item, TENANT)?, export_type.ok_or(ItemError(SORT))?, get(item, "exportId")?))
        }
        Some(("IDEMPOTENCY", _)) => Ok(Found::Idempotency),
        _ => Err(ItemError(SORT).into()),
    }
}
