//! The Payouts table, which the payments service writes.

use aws_types::SdkConfig;
use domain::id::TenantId;
use domain::ports::{KeyRange, Outage, PayoutKey, PayoutPage, ReadPayouts};

use super::answer::AnswerReader;
use super::item::text;
use super::page::read_page;
use super::record::{SORT, TENANT, key};
use crate::error::outage;

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

impl ReadPayouts for PayoutsTable {
    async fn read_page(&self, tenant: &TenantId, range: &KeyRange) -> Result<PayoutPage, Outage> {
        let reader = AnswerReader::new(|body| Ok(read_page(body)?));
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
            .map_err(|error| outage("read the payouts", error))?;
        let page = reader.answer().map_err(|other| Outage::permanent("read the payouts", other))?;
        Ok(PayoutPage {
            section: page.section,
            first: page.first.map(PayoutKey),
            next: page.last.map(PayoutKey),
            throttled: reader.throttled(),
        })
    }
}
