//! The Payouts table, which the payments service writes.

use async_trait::async_trait;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::id::TenantId;
use exports_domain::ports::{KeyRange, RowKey, RowPage, RowSource};

use super::item::text;
use super::page::read_page;
use super::record::{SORT, TENANT, key};
use super::response::ResponseReader;
use crate::error::dependency_error;

/// Payouts, by tenant and `<createdAt>#<payoutId>`.
#[derive(Clone, Debug)]
pub struct PayoutsTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl PayoutsTable {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), table }
    }
}

#[async_trait]
impl RowSource for PayoutsTable {
    async fn read_page(&self, tenant: &TenantId, range: &KeyRange) -> Result<RowPage, DependencyError> {
        let reader = ResponseReader::new(|body| Ok(read_page(body)?));
        // A start key need not be an item's: the page begins behind it all the same.
        let start = range.after.as_ref().map(|after| key(tenant, after.0.clone()));
        self.client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#tenantId = :tenant AND #sk <= :upTo")
            .expression_attribute_names("#tenantId", TENANT)
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_values(":tenant", text(tenant))
            .expression_attribute_values(":upTo", text(&range.up_to.0))
            .set_exclusive_start_key(start)
            .customize()
            .interceptor(reader.clone())
            .send()
            .await
            .map_err(|error| dependency_error("read the payouts", error))?;
        let page = reader.response().map_err(|other| DependencyError::permanent("read the payouts", other))?;
        Ok(RowPage {
            encoded: page.encoded,
            first: page.first.map(RowKey),
            next: page.last.map(RowKey),
            throttled: reader.throttled(),
        })
    }
}
