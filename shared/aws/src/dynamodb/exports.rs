//! The Exports table.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update as TransactUpdate,
};
use aws_types::SdkConfig;
use domain::export::{Export, Status};
use domain::id::{ExportId, TenantId};
use domain::lifecycle::Step;
use domain::ports::{AcceptExport, ApplyStep, Due, DueExports, FindExport, NotAccepted, NotApplied, Outage};
use domain::time::Timestamp;

use super::item::{BadItem, Item, get, get_text, text};
use super::record::{
    DUE_AT, DUE_STATE, SORT, TENANT, due_state, export_of_sort, export_sort, from_item, key, lock_sort, to_item,
};
use super::step::Update;

/// How long to wait before a write is tried again that met another transaction on the same item. Nothing was written
/// then, and the other one is over within milliseconds.
const CONFLICT_WAITS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(120),
    Duration::from_millis(300),
    Duration::from_millis(700),
];

/// Exports, their locks, and the index of what is due.
#[derive(Clone, Debug)]
pub struct ExportsTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

type TransactError = SdkError<TransactWriteItemsError>;

/// What came of a transaction.
enum Transacted {
    Done,
    /// Cancelled; a reason for each of its writes, in order.
    Cancelled(Vec<CancellationReason>),
}

impl ExportsTable {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), table }
    }

    /// Writes all of `writes` or none. The SDK gives the request a token, so that its own retries write once.
    async fn transact(&self, writes: &[TransactWriteItem]) -> Result<Transacted, TransactError> {
        let mut waits = CONFLICT_WAITS.iter();
        loop {
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.to_vec())).send().await;
            let Err(error) = sent else { return Ok(Transacted::Done) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(error);
            };
            let reasons = cancelled.cancellation_reasons().to_vec();
            if reasons.iter().any(is_refused) {
                return Ok(Transacted::Cancelled(reasons));
            }
            let conflict = reasons.iter().any(|reason| reason.code() == Some("TransactionConflict"));
            match waits.next().filter(|_| conflict) {
                Some(wait) => tokio::time::sleep(with_jitter(*wait)).await,
                None => return Err(error),
            }
        }
    }

    async fn update(&self, tenant: &TenantId, id: &ExportId, update: Update) -> Result<(), NotApplied> {
        let mut waits = CONFLICT_WAITS.iter();
        loop {
            let sent = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(tenant, export_sort(id))))
                .condition_expression(update.condition())
                .update_expression(update.expression())
                .set_expression_attribute_names(Some(update.names.clone()))
                .set_expression_attribute_values(Some(update.values.clone()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let Err(error) = sent else { return Ok(()) };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    return Err(refused_with(refused.item()));
                }
                Some(UpdateItemError::TransactionConflictException(_)) => match waits.next() {
                    Some(wait) => tokio::time::sleep(with_jitter(*wait)).await,
                    None => return Err(Outage::new("write the export", error).into()),
                },
                _ => return Err(Outage::new("write the export", error).into()),
            }
        }
    }

    /// The update and the lock's removal as one transaction.
    fn freeing(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        update: &Update,
    ) -> Result<[TransactWriteItem; 2], aws_sdk_dynamodb::error::BuildError> {
        let update = TransactUpdate::builder()
            .table_name(&self.table)
            .set_key(Some(key(tenant, export_sort(id))))
            .condition_expression(update.condition())
            .update_expression(update.expression())
            .set_expression_attribute_names(Some(update.names.clone()))
            .set_expression_attribute_values(Some(update.values.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        let unlock = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(tenant, lock_sort(id.export_type()))))
            .condition_expression("attribute_not_exists(#sk) OR #exportId = :exportId")
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_names("#exportId", "exportId")
            .expression_attribute_values(":exportId", text(id))
            .build()?;
        Ok([TransactWriteItem::builder().update(update).build(), TransactWriteItem::builder().delete(unlock).build()])
    }
}

fn is_refused(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Half of `wait` to all of it, so that those who met do not meet again.
fn with_jitter(wait: Duration) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX))
}

fn refused_with(item: Option<&Item>) -> NotApplied {
    match item.map(from_item).transpose() {
        Ok(export) => NotApplied::Refused(export.map(Box::new)),
        Err(bad) => Outage::new("read the export", bad).into(),
    }
}

impl AcceptExport for ExportsTable {
    async fn accept_export(&self, export: &Export) -> Result<(), NotAccepted> {
        let outage = |source: Box<dyn std::error::Error + Send + Sync>| Outage::new("write the export", source);
        let mut lock = key(&export.tenant, lock_sort(export.id.export_type()));
        lock.insert("exportId".to_owned(), text(export.id));
        let put = |item| {
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#sk)")
                .expression_attribute_names("#sk", SORT)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .build();
            put.map(|put| TransactWriteItem::builder().put(put).build()).map_err(|error| outage(error.into()))
        };
        let writes = [put(to_item(export))?, put(lock)?];
        let reasons = match self.transact(&writes).await.map_err(|error| outage(error.into()))? {
            Transacted::Done => return Ok(()),
            Transacted::Cancelled(reasons) => reasons,
        };
        let lock = reasons.get(1).filter(|reason| is_refused(reason)).and_then(CancellationReason::item);
        let pending = lock.ok_or(BadItem("exportId")).and_then(|lock| get(lock, "exportId"));
        Err(pending.map_or_else(|bad| outage(bad.into()).into(), NotAccepted::AlreadyPending))
    }
}

impl FindExport for ExportsTable {
    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, Outage> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(tenant, export_sort(id))))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| Outage::new("read the export", error))?;
        found.item().map(from_item).transpose().map_err(|bad| Outage::new("read the export", bad))
    }
}

impl ApplyStep for ExportsTable {
    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        let update = Update::of(id, step);
        if !step.frees_lock {
            return self.update(tenant, id, update).await;
        }
        let writes = self.freeing(tenant, id, &update).map_err(|error| Outage::new("write the export", error))?;
        match self.transact(&writes).await.map_err(|error| Outage::new("write the export", error))? {
            Transacted::Done => Ok(()),
            Transacted::Cancelled(reasons) => match reasons.first().filter(|reason| is_refused(reason)) {
                Some(refused) => Err(refused_with(refused.item())),
                // The lock names another export: that one keeps it.
                None => self.update(tenant, id, update).await,
            },
        }
    }
}

impl DueExports for ExportsTable {
    async fn due_exports(&self, status: Status, shard: u8, now: Timestamp, limit: u32) -> Result<Vec<Due>, Outage> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("DueIndex")
            .key_condition_expression("#dueState = :state AND #dueAt <= :now")
            .expression_attribute_names("#dueState", DUE_STATE)
            .expression_attribute_names("#dueAt", DUE_AT)
            .expression_attribute_values(":state", AttributeValue::S(due_state(status, shard)))
            .expression_attribute_values(":now", text(now))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| Outage::new("find what is due", error))?;
        found.items().iter().map(due).collect::<Result<_, _>>().map_err(|bad| Outage::new("find what is due", bad))
    }
}

fn due(item: &Item) -> Result<Due, BadItem> {
    let id = export_of_sort(get_text(item, SORT)?).ok_or(BadItem(SORT))?;
    Ok(Due { tenant: get(item, TENANT)?, id, due_at: get(item, DUE_AT)? })
}
