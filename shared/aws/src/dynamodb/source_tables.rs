//! The source tables, which the payments service writes.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::export_type::ExportType;
use exports_domain::id::TenantId;
use exports_domain::ports::{KeyRange, RowKey, RowPage, RowSource};
use exports_domain::row_selection::RowSelection;

use super::item::text;
use super::page::read_page;
use super::record::{SORT, TENANT, key};
use super::response::DeserializerOverride;
use crate::error::dependency_error;
use crate::settings::{SettingError, Settings};

/// The bytes of a read unit, if strongly consistent (Developer Guide, "DynamoDB read and write operations").
const READ_UNIT_BYTES: u64 = 4096;

/// How much may be read of one partition, and so of one tenant, strongly consistent: 3,000 read units per second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>). A partition that
/// DynamoDB has split for heat gives more.
pub const PARTITION_BYTES_PER_SECOND: u64 = 3000 * READ_UNIT_BYTES;

/// The size that a page counts as if the response does not have it: a full page.
const FULL_PAGE_UNITS: f64 = 256.0;

/// The rows of all export types, each in a table of its own, by tenant and `<createdAt>#<id>`.
#[derive(Clone, Debug)]
pub struct SourceTables {
    client: aws_sdk_dynamodb::Client,
    names: Vec<String>,
}

impl SourceTables {
    /// Clients of the tables that `settings` names.
    ///
    /// # Errors
    /// [`SettingError`] if a table is not named.
    pub fn new(config: &SdkConfig, settings: Settings) -> Result<Self, SettingError> {
        let name = |export_type: ExportType| settings.text(export_type.definition().table_setting);
        let names = ExportType::ALL.into_iter().map(name).collect::<Result<_, _>>()?;
        Ok(Self::named(config, names))
    }

    /// Clients of the tables with these names, in the order of [`ExportType::ALL`].
    pub(crate) fn named(config: &SdkConfig, names: Vec<String>) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), names }
    }
}

#[async_trait]
impl RowSource for SourceTables {
    async fn read_page(
        &self,
        selection: &RowSelection,
        tenant: &TenantId,
        range: &KeyRange,
    ) -> Result<RowPage, DependencyError> {
        let columns = selection.columns;
        let selection = selection.clone();
        let deserializer = DeserializerOverride::new(move |body| Ok(read_page(body, &selection)?));
        // The start key need not belong to an item.
        let start = range.after.as_ref().map(|after| key(tenant, after.0.clone()));
        self.client
            .query()
            .set_table_name(self.names.get(columns.export_type as usize).cloned())
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .key_condition_expression("#tenantId = :tenant AND #sk <= :upTo")
            .expression_attribute_names("#tenantId", TENANT)
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_values(":tenant", text(tenant))
            .expression_attribute_values(":upTo", text(&range.up_to.0))
            .set_exclusive_start_key(start)
            .customize()
            .interceptor(deserializer.clone())
            .send()
            .await
            .map_err(|error| dependency_error("read the rows", error))?;
        let page = deserializer.output().map_err(|error| DependencyError::permanent("read the rows", error))?;
        let read_bytes = page.read_units.unwrap_or(FULL_PAGE_UNITS) * READ_UNIT_BYTES as f64;
        Ok(RowPage {
            encoded: page.encoded,
            first: page.first.map(RowKey),
            next: page.last.map(RowKey),
            read_bytes: read_bytes as u64,
            is_source_busy: deserializer.throttled(),
        })
    }
}
