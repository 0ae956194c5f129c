//! The Payouts table, which the payments service writes.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use domain::file::Lines;
use domain::id::TenantId;
use domain::payout::{COLUMNS, Row, Value};
use domain::ports::{Outage, PayoutKey, PayoutPage, ReadPayouts};
use domain::time::Timestamp;

use super::item::{BadItem, Item, get_text, text};
use super::record::{SORT, TENANT, key};

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
    async fn read_payouts(
        &self,
        tenant: &TenantId,
        as_of: Timestamp,
        after: Option<&PayoutKey>,
    ) -> Result<PayoutPage, Outage> {
        // Sort keys begin with the time of creation, so the first key left out begins with the next millisecond.
        let end = as_of.plus(Duration::from_millis(1));
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#tenantId = :tenant AND #sk < :end")
            .expression_attribute_names("#tenantId", TENANT)
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_values(":tenant", text(tenant))
            .expression_attribute_values(":end", text(end))
            .set_exclusive_start_key(after.map(|after| key(tenant, after.0.clone())))
            .send()
            .await
            .map_err(|error| Outage::new("read the payouts", error))?;
        let bad = |bad: BadItem| Outage::new("read the payouts", bad);
        let mut lines = Lines::default();
        for item in page.items() {
            lines.push(&row(item), get_text(item, SORT).map_err(bad)?);
        }
        let next = page.last_evaluated_key().map(|last| get_text(last, SORT)).transpose().map_err(bad)?;
        Ok(PayoutPage { section: lines.finish(), next: next.map(|sort| PayoutKey(sort.to_owned())) })
    }
}

fn row(item: &Item) -> Row<'_> {
    COLUMNS.map(|column| match item.get(column.attribute) {
        None | Some(AttributeValue::Null(true)) => Value::Missing,
        Some(AttributeValue::S(text)) => Value::Text(text),
        Some(AttributeValue::N(number)) => Value::Number(number),
        Some(_) => Value::Other,
    })
}
