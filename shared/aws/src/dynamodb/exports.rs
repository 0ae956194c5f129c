//! The Exports table.

use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update as TransactUpdate,
};
use aws_types::SdkConfig;
use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::{DependencyError, ErrorKind};
use exports_domain::export::{Export, Status};
use exports_domain::history::{HistoryFilter, HistoryPage, Order};
use exports_domain::id::{ExportId, TenantId};
use exports_domain::idempotency::{IDEMPOTENCY_WINDOW, Idempotency};
use exports_domain::lifecycle::Step;
use exports_domain::ports::{AcceptError, ApplyError, CheckPage, ExportStore, ReadError, ScheduledCheck, TriedStep};
use exports_domain::time::Timestamp;
use tracing::warn;

use super::history::read_records;
use super::item::{Item, ItemError, get, get_text, number, text};
use super::record::{
    CHECK_SHARDS, NEXT_CHECK_AT, NEXT_CHECK_STATE, SORT, TENANT, TTL, check_shard, checkpoint_from, checkpoint_item,
    checkpoint_sort, export_sort, export_sort_range, from_item, idempotency_sort, key, lock_sort, parse_export_sort,
    read, to_item,
};
use super::response::DeserializerOverride;
use super::step::Update;
use crate::config::MAX_WARM_UP;
use crate::error::{dependency_error, kind_of};

/// How long to wait before retrying a write that conflicted with another transaction on the same item, or a transaction that
/// was throttled, which the SDK does not retry. DynamoDB wrote nothing, and another transaction ends within milliseconds.
const TRANSACTION_WAITS: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(120),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
];

/// Records per query page when a status filter may exclude most of them.
const FILTERED_PAGE_SIZE: usize = 400;

/// Query pages read for one page of the history: at most 2,000 records if filtered, and at most 5 MB.
const MAX_PAGES: usize = 5;

/// Exports, checkpoints, locks and idempotency records, and NextCheckIndex.
#[derive(Clone, Debug)]
pub struct ExportsTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

/// A position in a shard of NextCheckIndex.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckCursor {
    /// The shard's partition key.
    pub(crate) shard: String,
    /// The key of the entry before it, which need not exist: a handled export is no longer in the index.
    pub(crate) after: Option<Item>,
}

type TransactError = SdkError<TransactWriteItemsError>;

/// The result of a transaction.
enum TransactionOutcome {
    Committed,
    /// A condition failed. One reason per write, in their order.
    Cancelled(Vec<CancellationReason>),
}

/// The result of a transaction that applies a step, if the step's guards hold.
enum StepOutcome {
    Applied,
    /// Nothing was written, because the lock names another export.
    LockOfAnotherExport,
}

/// The result of an update that applies a step, if the step's guards hold.
enum UpdateOutcome {
    /// With the attributes that were asked for.
    Applied(Option<Item>),
    /// With the current record, if there is one.
    Rejected(Option<Item>),
}

impl ExportsTable {
    /// A client of the table named `table`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), table }
    }

    /// Connects to DynamoDB during initialization, when Lambda provides a full CPU. Errors are ignored: the first job
    /// reports them.
    pub async fn warm_up(&self) {
        if let Ok(nobody) = "warm-up".parse() {
            let read = self.get("connect to DynamoDB", &nobody, "WARM-UP".to_owned());
            let _ = tokio::time::timeout(MAX_WARM_UP, read).await;
        }
    }

    /// Reads an item with strong consistency.
    async fn get(
        &self,
        action: &'static str,
        tenant: &TenantId,
        sort: String,
    ) -> Result<Option<Item>, DependencyError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(tenant, sort)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| dependency_error(action, error))?;
        Ok(found.item)
    }

    /// Writes all of `writes` or none. The SDK adds a client request token, so its own retries write once.
    async fn transact(&self, writes: &[TransactWriteItem]) -> Result<TransactionOutcome, TransactError> {
        let mut waits = TRANSACTION_WAITS.iter();
        loop {
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.to_vec())).send().await;
            let Err(error) = sent else { return Ok(TransactionOutcome::Committed) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(error);
            };
            let reasons = cancelled.cancellation_reasons().to_vec();
            // Retry even if a condition failed too: the other transaction may change the outcome of every condition.
            let is_transient = reasons.iter().any(|reason| kind_of(reason.code(), 400) == ErrorKind::Transient);
            match waits.next().filter(|_| is_transient) {
                Some(wait) => tokio::time::sleep(with_jitter(*wait)).await,
                None if reasons.iter().any(is_condition_failure) => return Ok(TransactionOutcome::Cancelled(reasons)),
                None => return Err(error),
            }
        }
    }

    /// Updates a record and returns the attributes that `returned` asks for.
    async fn update(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        update: Update,
        returned: Option<ReturnValue>,
    ) -> Result<UpdateOutcome, DependencyError> {
        let mut waits = TRANSACTION_WAITS.iter();
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
                .set_return_values(returned.clone())
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match sent {
                Ok(updated) => return Ok(UpdateOutcome::Applied(updated.attributes)),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    return Ok(UpdateOutcome::Rejected(failed.item().cloned()));
                }
                Some(UpdateItemError::TransactionConflictException(_)) => match waits.next() {
                    Some(wait) => tokio::time::sleep(with_jitter(*wait)).await,
                    None => return Err(dependency_error(WRITE, error)),
                },
                _ => return Err(dependency_error(WRITE, error)),
            }
        }
    }

    /// The update of a record, for a transaction.
    fn update_write(&self, tenant: &TenantId, id: &ExportId, update: &Update) -> Result<TransactWriteItem, BuildError> {
        let update = TransactUpdate::builder()
            .table_name(&self.table)
            .set_key(Some(key(tenant, export_sort(id))))
            .condition_expression(update.condition())
            .update_expression(update.expression())
            .set_expression_attribute_names(Some(update.names.clone()))
            .set_expression_attribute_values(Some(update.values.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The deletes of an export's checkpoint and, if it names this export, of the lock, for a transaction.
    fn cleanup_writes(&self, tenant: &TenantId, id: &ExportId) -> Result<[TransactWriteItem; 2], BuildError> {
        let delete = |sort| Delete::builder().table_name(&self.table).set_key(Some(key(tenant, sort)));
        let checkpoint = delete(checkpoint_sort(id)).build()?;
        let lock = delete(lock_sort(id.export_type()))
            .condition_expression("attribute_not_exists(#sk) OR #exportId = :exportId")
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_names("#exportId", "exportId")
            .expression_attribute_values(":exportId", text(id))
            .build()?;
        Ok([checkpoint, lock].map(|delete| TransactWriteItem::builder().delete(delete).build()))
    }

    /// Writes all of `writes` or none. The first one must be the record's.
    async fn transact_step(&self, writes: &[TransactWriteItem]) -> Result<StepOutcome, ApplyError> {
        match self.transact(writes).await.map_err(transaction_error)? {
            TransactionOutcome::Committed => Ok(StepOutcome::Applied),
            TransactionOutcome::Cancelled(reasons) => {
                match reasons.first().filter(|reason| is_condition_failure(reason)) {
                    Some(failed) => Err(conflict_error(failed.item())),
                    None => Ok(StepOutcome::LockOfAnotherExport),
                }
            }
        }
    }
}

/// The action that errors of writes name.
const WRITE: &str = "write the export";

fn build_error(error: BuildError) -> DependencyError {
    DependencyError::permanent(WRITE, error)
}

/// A cancelled transaction is a permanent error if any of its reasons is.
fn transaction_error(error: TransactError) -> DependencyError {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return dependency_error(WRITE, error);
    };
    let mut codes = cancelled.cancellation_reasons().iter().filter_map(CancellationReason::code);
    let is_permanent = codes.any(|code| code != "None" && kind_of(Some(code), 400) == ErrorKind::Permanent);
    DependencyError::of_kind(if is_permanent { ErrorKind::Permanent } else { ErrorKind::Transient }, WRITE, error)
}

fn is_condition_failure(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// A random duration from half of `wait` to all of it, so that conflicting writers do not retry in step.
fn with_jitter(wait: Duration) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX))
}

fn conflict_error(item: Option<&Item>) -> ApplyError {
    match item.map(|item| from_item(item)).transpose() {
        Ok(export) => ApplyError::Conflict(export.map(Box::new)),
        Err(error) => DependencyError::permanent("read the export", error).into(),
    }
}

impl ExportStore for ExportsTable {
    type CheckCursor = CheckCursor;

    async fn accept_export(&self, export: &Export, idempotency: Option<&Idempotency>) -> Result<(), AcceptError> {
        let export_type = export.id.export_type();
        let mut lock = key(&export.tenant, lock_sort(export_type));
        lock.insert("exportId".to_owned(), text(export.id));
        let put = |item: Item| {
            Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#sk)")
                .expression_attribute_names("#sk", SORT)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        };
        let mut puts = vec![put(to_item(export)), put(lock)];
        if let Some(idempotency) = idempotency {
            let mut item = key(&export.tenant, idempotency_sort(export_type, &idempotency.key));
            item.insert("exportId".to_owned(), text(export.id));
            item.insert("fingerprint".to_owned(), text(&idempotency.fingerprint));
            item.insert("createdAt".to_owned(), text(export.created_at()));
            item.insert(TTL.to_owned(), number(export.created_at().plus(IDEMPOTENCY_WINDOW).seconds()));
            // DynamoDB deletes expired items days late, so the condition ignores them.
            let put = put(item)
                .condition_expression("attribute_not_exists(#sk) OR #createdAt <= :expired")
                .expression_attribute_names("#createdAt", "createdAt")
                .expression_attribute_values(":expired", text(export.created_at().minus(IDEMPOTENCY_WINDOW)));
            puts.push(put);
        }
        let writes = puts
            .into_iter()
            .map(|put| put.build().map(|put| TransactWriteItem::builder().put(put).build()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(build_error)?;
        let reasons = match self.transact(&writes).await.map_err(transaction_error)? {
            TransactionOutcome::Committed => return Ok(()),
            TransactionOutcome::Cancelled(reasons) => reasons,
        };
        let existing =
            |index| reasons.get(index).filter(|reason| is_condition_failure(reason)).and_then(CancellationReason::item);
        let error = match (idempotency, existing(2), existing(1)) {
            (Some(idempotency), Some(known), _) => get(known, "exportId").and_then(|id| {
                let same = get_text(known, "fingerprint")? == idempotency.fingerprint;
                Ok(if same { AcceptError::AlreadyAccepted(id) } else { AcceptError::KeyReused })
            }),
            (_, _, Some(lock)) => get(lock, "exportId").map(AcceptError::AlreadyPending),
            _ => Err(ItemError("exportId")),
        };
        Err(error.unwrap_or_else(|invalid| DependencyError::permanent(WRITE, invalid).into()))
    }

    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, ReadError> {
        let item = self.get("read the export", tenant, export_sort(id)).await?;
        Ok(item.map(|item| read(&item)).transpose()?)
    }

    async fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> Result<HistoryPage, DependencyError> {
        let action = "list the exports";
        let earliest = Timestamp::from_millis(0);
        let (first, last) = export_sort_range(
            filter.export_type,
            filter.created_from.unwrap_or(earliest).max(earliest),
            filter.created_to.unwrap_or(now.plus(Duration::from_secs(86_400))),
        );
        if first > last {
            return Ok(HistoryPage::default());
        }
        // One more than requested shows whether there is a next page.
        let wanted = size + 1;
        let limit = if filter.statuses.is_empty() { wanted } else { FILTERED_PAGE_SIZE };
        let mut exports: Vec<Export> = Vec::new();
        let mut corrupt = Vec::new();
        let mut last_read = None;
        // DynamoDB rejects a start key at or beyond the end of the range.
        let is_at_end = |sort: &String| match filter.order {
            Order::OldestFirst => *sort >= last,
            Order::NewestFirst => *sort <= first,
        };
        let mut start = after.map(export_sort);
        if start.as_ref().is_some_and(is_at_end) {
            return Ok(HistoryPage::default());
        }
        for _ in 0..MAX_PAGES {
            let deserializer = DeserializerOverride::new(|body| Ok(read_records(body)?));
            self.client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("#tenantId = :tenant AND #sk BETWEEN :first AND :last")
                .expression_attribute_names("#tenantId", TENANT)
                .expression_attribute_names("#sk", SORT)
                .expression_attribute_values(":tenant", text(tenant))
                .expression_attribute_values(":first", text(&first))
                .expression_attribute_values(":last", text(&last))
                .scan_index_forward(filter.order == Order::OldestFirst)
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.map(|sort| key(tenant, sort)))
                .customize()
                .interceptor(deserializer.clone())
                .send()
                .await
                .map_err(|error| dependency_error(action, error))?;
            let page = deserializer.output().map_err(|error| DependencyError::permanent(action, error))?;
            for (sort, record) in page.records {
                last_read = parse_export_sort(&sort).or(last_read);
                match record {
                    Ok(export) if filter.matches_status(&export, now) => exports.push(export),
                    Ok(_) => {}
                    Err(error) => corrupt.push((sort, error)),
                }
            }
            start = page.last.filter(|last| !is_at_end(last));
            if exports.len() >= wanted || start.is_none() {
                break;
            }
        }
        let next_after = if exports.len() > size {
            exports.truncate(size);
            exports.last().map(|export| export.id)
        } else {
            // No more records, or MAX_PAGES reached. A cursor is an export ID, so the next page starts after the last
            // record whose key is one.
            start.and(last_read)
        };
        Ok(HistoryPage { exports, next_after, corrupt })
    }

    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), ApplyError> {
        let update = Update::of(id, step);
        if !step.leaves_pending() {
            return match self.update(tenant, id, update, None).await? {
                UpdateOutcome::Applied(_) => Ok(()),
                UpdateOutcome::Rejected(current) => Err(conflict_error(current.as_ref())),
            };
        }
        let build = || {
            let [checkpoint, lock] = self.cleanup_writes(tenant, id)?;
            Ok([self.update_write(tenant, id, &update)?, checkpoint, lock])
        };
        let [record, checkpoint, lock] = build().map_err(build_error)?;
        let all = [record, checkpoint, lock];
        if let StepOutcome::LockOfAnotherExport = self.transact_step(&all).await? {
            // That export keeps its lock.
            let [record, checkpoint, _] = all;
            self.transact_step(&[record, checkpoint]).await?;
        }
        Ok(())
    }

    async fn try_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<TriedStep, ReadError> {
        let record = |item: Option<Item>| item.map(|item| read(&item).map(Box::new)).transpose();
        match self.update(tenant, id, Update::of(id, step), Some(ReturnValue::AllNew)).await? {
            UpdateOutcome::Applied(item) => match record(item)? {
                Some(record) => Ok(TriedStep::Applied(record)),
                None => Err(DependencyError::transient(WRITE, "the response has no record").into()),
            },
            UpdateOutcome::Rejected(item) => Ok(TriedStep::Rejected(record(item)?)),
        }
    }

    async fn find_checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Checkpoint>, DependencyError> {
        let item = self.get("read the checkpoint", tenant, checkpoint_sort(id)).await?;
        let Some(item) = item else { return Ok(None) };
        // The file restarts, which costs time only.
        let ignore =
            |ItemError(attribute)| warn!(attribute, "ignored a checkpoint of another version, or a corrupt one");
        Ok(checkpoint_from(&item, id.export_type().definition()).map_err(ignore).ok())
    }

    async fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> Result<(), ApplyError> {
        let item = checkpoint_item(tenant, id, checkpoint);
        let build = || {
            let put = Put::builder().table_name(&self.table).set_item(Some(item)).build()?;
            let put = TransactWriteItem::builder().put(put).build();
            Ok([self.update_write(tenant, id, &Update::of(id, step))?, put])
        };
        let writes = build().map_err(build_error)?;
        self.transact_step(&writes).await?;
        Ok(())
    }

    fn check_cursors(&self, status: Status) -> Vec<CheckCursor> {
        let start = |shard| CheckCursor { shard: check_shard(status, shard), after: None };
        (0..CHECK_SHARDS).map(start).collect()
    }

    async fn scheduled_checks(
        &self,
        cursor: &CheckCursor,
        now: Timestamp,
        limit: u32,
    ) -> Result<CheckPage<CheckCursor>, DependencyError> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("NextCheckIndex")
            // Not `<= :now`: DynamoDB rejects a start key at the bound, and further checks of that time may follow it.
            .key_condition_expression("#nextCheckState = :state AND #nextCheckAt < :justAfter")
            .expression_attribute_names("#nextCheckState", NEXT_CHECK_STATE)
            .expression_attribute_names("#nextCheckAt", NEXT_CHECK_AT)
            .expression_attribute_values(":state", text(&cursor.shard))
            .expression_attribute_values(":justAfter", text(now.plus(Duration::from_millis(1))))
            .set_exclusive_start_key(cursor.after.clone())
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| dependency_error("read the scheduled checks", error))?;
        // A corrupt key must not hide the other checks.
        let checks: Vec<ScheduledCheck> = found.items().iter().filter_map(|item| scheduled_check(item).ok()).collect();
        let corrupt = found.items().len().saturating_sub(checks.len()) as u64;
        let next = found.last_evaluated_key.map(|last| CheckCursor { after: Some(last), ..cursor.clone() });
        Ok(CheckPage { checks, corrupt, next })
    }
}

fn scheduled_check(item: &Item) -> Result<ScheduledCheck, ItemError> {
    let id = parse_export_sort(get_text(item, SORT)?).ok_or(ItemError(SORT))?;
    Ok(ScheduledCheck { tenant: get(item, TENANT)?, id, at: get(item, NEXT_CHECK_AT)? })
}
