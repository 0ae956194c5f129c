//! The Exports and ApiKeys tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{FailureInjector, invalid_start_key, lock};
use crate::caller::{ApiKeyRecord, KeyHash};
use crate::checkpoint::Checkpoint;
use crate::error::DependencyError;
use crate::export::{Export, Status};
use crate::export_type::ExportType;
use crate::history::{HistoryFilter, HistoryPage, Order};
use crate::id::{ExportId, TenantId};
use crate::idempotency::{IDEMPOTENCY_WINDOW, Idempotency};
use crate::lifecycle::Step;
use crate::ports::{
    AcceptError, ApiKeyStore, ApplyError, CheckPage, CorruptRecord, ExportStore, ReadError, ScheduledCheck, TriedStep,
};
use crate::time::Timestamp;

/// A position in the scheduled checks of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct CheckCursor {
    status: Status,
    partition: u8,
    /// The time, tenant and export of the check before it.
    after: Option<(Timestamp, String, String)>,
}

impl CheckCursor {
    /// The status of the exports that are checked.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether the checks of this export are in this partition.
    #[must_use]
    pub fn covers(&self, id: &ExportId) -> bool {
        partition_of(id) == self.partition
    }
}

/// The number of partitions of the scheduled checks.
const PARTITIONS: u8 = 4;

fn partition_of(id: &ExportId) -> u8 {
    id.random_byte() % PARTITIONS
}

/// The Exports and ApiKeys tables.
#[derive(Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    key_reads: AtomicU64,
    key_use_writes: AtomicU64,
    key_use_hangs: AtomicBool,
    before_apply: Mutex<Option<BeforeApply>>,
    applies: AtomicU64,
    broken: Mutex<HashSet<ExportId>>,
    hanging_limit: Mutex<Option<u32>>,
    corrupt_checks: AtomicU64,
    /// Makes reads and writes fail.
    pub failures: FailureInjector,
    /// Makes writes of steps without a checkpoint hang instead of failing.
    pub hangs: FailureInjector,
}

/// Called before a step is applied, with the number of earlier calls.
type BeforeApply = Arc<dyn Fn(u64, &MemoryStore) + Send + Sync>;

#[derive(Debug, Default)]
struct Tables {
    exports: BTreeMap<(TenantId, String), Export>,
    /// The invalid attributes of corrupt records.
    corrupt: HashMap<(TenantId, ExportId), &'static str>,
    locks: HashMap<(TenantId, ExportType), ExportId>,
    checkpoints: HashMap<(TenantId, ExportId), Checkpoint>,
    idempotency: HashMap<(TenantId, ExportType, String), (Idempotency, ExportId)>,
    api_keys: HashMap<KeyHash, ApiKeyRecord>,
}

impl MemoryStore {
    /// Runs `change` before each further step is applied, with a checkpoint or without, as a concurrent request would.
    pub fn before_apply(&self, change: impl Fn(u64, &Self) + Send + Sync + 'static) {
        *lock(&self.before_apply) = Some(Arc::new(change));
    }

    fn run_before_apply(&self) {
        let before = lock(&self.before_apply).clone();
        if let Some(before) = before {
            before(self.applies.fetch_add(1, Ordering::SeqCst), self);
        }
    }

    /// All further reads and writes of this export fail.
    pub fn break_export(&self, id: ExportId) {
        lock(&self.broken).insert(id);
    }

    /// All further reads of scheduled checks with this limit never return.
    pub fn hang_checks(&self, limit: u32) {
        *lock(&self.hanging_limit) = Some(limit);
    }

    /// The first page of scheduled checks also has so many that name no export.
    pub fn put_corrupt_checks(&self, count: u64) {
        self.corrupt_checks.store(count, Ordering::SeqCst);
    }

    fn check(&self, action: &'static str, id: &ExportId) -> Result<(), DependencyError> {
        self.failures.check(action)?;
        match lock(&self.broken).contains(id) {
            true => Err(DependencyError::transient(action, "injected failure")),
            false => Ok(()),
        }
    }

    /// Stores an export, and its tenant's lock if it is pending.
    pub fn put_export(&self, export: Export) {
        let mut tables = lock(&self.tables);
        tables.corrupt.remove(&(export.tenant.clone(), export.id));
        if export.status() == Status::Pending {
            tables.locks.insert((export.tenant.clone(), export.id.export_type()), export.id);
        }
        tables.exports.insert((export.tenant.clone(), export.id.to_string()), export);
    }

    /// Makes the record of this export corrupt: `attribute` is invalid, and all others are valid.
    pub fn corrupt(&self, tenant: &TenantId, id: &ExportId, attribute: &'static str) {
        lock(&self.tables).corrupt.insert((tenant.clone(), *id), attribute);
    }

    /// The export with this id, even if its record is corrupt.
    pub fn export(&self, tenant: &TenantId, id: &ExportId) -> Option<Export> {
        lock(&self.tables).exports.get(&(tenant.clone(), id.to_string())).cloned()
    }

    /// The checkpoint of the export with this id.
    pub fn checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Option<Checkpoint> {
        lock(&self.tables).checkpoints.get(&(tenant.clone(), *id)).cloned()
    }

    /// All exports by tenant, in creation order.
    pub fn exports(&self) -> Vec<Export> {
        lock(&self.tables).exports.values().cloned().collect()
    }

    /// The export that the tenant's lock names.
    pub fn locked_by(&self, tenant: &TenantId, export_type: ExportType) -> Option<ExportId> {
        lock(&self.tables).locks.get(&(tenant.clone(), export_type)).copied()
    }

    /// What a key was used for last, and the export that was accepted.
    pub fn idempotency(
        &self,
        tenant: &TenantId,
        export_type: ExportType,
        key: &str,
    ) -> Option<(Idempotency, ExportId)> {
        lock(&self.tables).idempotency.get(&(tenant.clone(), export_type, key.to_owned())).cloned()
    }

    /// Makes the tenant's lock of the export's type name this export.
    pub fn put_lock(&self, tenant: &TenantId, id: ExportId) {
        lock(&self.tables).locks.insert((tenant.clone(), id.export_type()), id);
    }

    /// Removes the tenant's lock of this type.
    pub fn remove_lock(&self, tenant: &TenantId, export_type: ExportType) {
        lock(&self.tables).locks.remove(&(tenant.clone(), export_type));
    }

    /// Removes the record of an export, as the table does when its retention is over.
    pub fn remove_export(&self, tenant: &TenantId, id: &ExportId) {
        lock(&self.tables).exports.remove(&(tenant.clone(), id.to_string()));
    }

    /// Stores a checkpoint, or replaces it.
    pub fn put_checkpoint(&self, tenant: &TenantId, id: &ExportId, checkpoint: Checkpoint) {
        lock(&self.tables).checkpoints.insert((tenant.clone(), *id), checkpoint);
    }

    /// Stores the record of an API key, or replaces it.
    pub fn put_api_key(&self, record: ApiKeyRecord) {
        lock(&self.tables).api_keys.insert(record.hash.clone(), record);
    }

    /// The records of all API keys.
    pub fn api_keys(&self) -> Vec<ApiKeyRecord> {
        lock(&self.tables).api_keys.values().cloned().collect()
    }

    /// The number of lookups of API keys.
    pub fn key_reads(&self) -> u64 {
        self.key_reads.load(Ordering::SeqCst)
    }

    /// The number of attempts to record the use of an API key.
    pub fn key_use_writes(&self) -> u64 {
        self.key_use_writes.load(Ordering::SeqCst)
    }

    /// Lets further attempts to record the use of an API key never end.
    pub fn let_key_use_hang(&self) {
        self.key_use_hangs.store(true, Ordering::SeqCst);
    }
}

impl ExportStore for MemoryStore {
    type CheckCursor = CheckCursor;

    async fn accept_export(&self, export: &Export, idempotency: Option<&Idempotency>) -> Result<(), AcceptError> {
        self.failures.check("write the export")?;
        let mut tables = lock(&self.tables);
        let lock_key = (export.tenant.clone(), export.id.export_type());
        let sent = idempotency.map(|sent| ((lock_key.0.clone(), lock_key.1, sent.key.clone()), sent));
        if let Some((known, id)) = sent.as_ref().and_then(|(key, _)| tables.idempotency.get(key))
            && id.created_at() > export.created_at().minus(IDEMPOTENCY_WINDOW)
        {
            let same = sent.is_some_and(|(_, sent)| sent.fingerprint == known.fingerprint);
            return Err(if same { AcceptError::AlreadyAccepted(*id) } else { AcceptError::KeyReused });
        }
        if let Some(pending) = tables.locks.get(&lock_key) {
            return Err(AcceptError::AlreadyPending(*pending));
        }
        if let Some((key, sent)) = sent {
            tables.idempotency.insert(key, (sent.clone(), export.id));
        }
        tables.locks.insert(lock_key, export.id);
        tables.exports.insert((export.tenant.clone(), export.id.to_string()), export.clone());
        Ok(())
    }

    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, ReadError> {
        self.check("read the export", id)?;
        let tables = lock(&self.tables);
        let Some(export) = tables.exports.get(&(tenant.clone(), id.to_string())) else { return Ok(None) };
        tables.check_intact(export)?;
        Ok(Some(export.clone()))
    }

    async fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> Result<HistoryPage, DependencyError> {
        self.failures.check("list the exports")?;
        let is_before = |after: &ExportId| match filter.order {
            Order::OldestFirst => filter.created_from.is_some_and(|from| after.created_at() < from),
            Order::NewestFirst => filter.created_to.is_some_and(|to| after.created_at() > to),
        };
        if after.is_some_and(is_before) {
            return Err(invalid_start_key("list the exports"));
        }
        let mut exports: Vec<Export> = self.exports();
        if filter.order == Order::NewestFirst {
            exports.reverse();
        }
        let is_after = |export: &Export| {
            after.is_none_or(|after| match filter.order {
                Order::OldestFirst => export.id.to_string() > after.to_string(),
                Order::NewestFirst => export.id.to_string() < after.to_string(),
            })
        };
        exports.retain(|export| {
            export.tenant == *tenant
                && export.id.export_type() == filter.export_type
                && filter.created_from.is_none_or(|from| export.created_at() >= from)
                && filter.created_to.is_none_or(|to| export.created_at() <= to)
                && filter.matches_status(export, now)
                && is_after(export)
        });
        let mut corrupt = Vec::new();
        exports.retain(|export| match lock(&self.tables).check_intact(export) {
            Ok(()) => true,
            Err(why) => {
                corrupt.push((export.id.to_string(), why));
                false
            }
        });
        let more = exports.len() > size;
        exports.truncate(size);
        let next_after = exports.last().filter(|_| more).map(|export| export.id);
        Ok(HistoryPage { exports, next_after, corrupt })
    }

    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), ApplyError> {
        self.check("write the export", id)?;
        if self.hangs.check("write the export").is_err() {
            pending::<()>().await;
        }
        self.run_before_apply();
        lock(&self.tables).apply(tenant, id, step)
    }

    async fn try_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<TriedStep, ReadError> {
        self.check("write the export", id)?;
        self.run_before_apply();
        let mut tables = lock(&self.tables);
        let key = (tenant.clone(), id.to_string());
        let Some(export) = tables.exports.get(&key) else { return Ok(TriedStep::Rejected(None)) };
        let (current, intact) = (export.clone(), tables.check_intact(export));
        match step.apply(&current) {
            Some(after) => {
                tables.exports.insert(key, after.clone());
                intact?;
                Ok(TriedStep::Applied(Box::new(after)))
            }
            None => {
                intact?;
                Ok(TriedStep::Rejected(Some(Box::new(current))))
            }
        }
    }

    async fn find_checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Checkpoint>, DependencyError> {
        self.failures.check("read the checkpoint")?;
        Ok(self.checkpoint(tenant, id))
    }

    async fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> Result<(), ApplyError> {
        self.failures.check("write the checkpoint")?;
        self.run_before_apply();
        let mut tables = lock(&self.tables);
        tables.apply(tenant, id, step)?;
        tables.checkpoints.insert((tenant.clone(), *id), checkpoint.clone());
        Ok(())
    }

    fn check_cursors(&self, status: Status) -> Vec<CheckCursor> {
        (0..PARTITIONS).map(|partition| CheckCursor { status, partition, after: None }).collect()
    }

    async fn scheduled_checks(
        &self,
        cursor: &CheckCursor,
        now: Timestamp,
        limit: u32,
    ) -> Result<CheckPage<CheckCursor>, DependencyError> {
        self.failures.check("read the scheduled checks")?;
        let hangs = *lock(&self.hanging_limit) == Some(limit);
        if hangs {
            pending::<()>().await;
        }
        if cursor.after.as_ref().is_some_and(|after| after.0 > now) {
            return Err(invalid_start_key("read the scheduled checks"));
        }
        let check = |export: &Export| {
            let at = export.next_check_at().filter(|at| *at <= now)?;
            let matches = export.status() == cursor.status && cursor.covers(&export.id);
            matches.then(|| ScheduledCheck { tenant: export.tenant.clone(), id: export.id, at })
        };
        let mut checks: Vec<ScheduledCheck> = lock(&self.tables).exports.values().filter_map(check).collect();
        let position = |check: &ScheduledCheck| (check.at, check.tenant.to_string(), check.id.to_string());
        checks.sort_by_key(position);
        checks.retain(|check| cursor.after.as_ref().is_none_or(|after| position(check) > *after));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_full = checks.len() >= limit;
        checks.truncate(limit);
        let last = checks.last().filter(|_| is_full).map(position);
        let next = last.map(|last| CheckCursor { after: Some(last), ..cursor.clone() });
        let is_first = cursor.status == Status::Pending && cursor.partition == 0 && cursor.after.is_none();
        let corrupt = if is_first { self.corrupt_checks.load(Ordering::SeqCst) } else { 0 };
        Ok(CheckPage { checks, corrupt, next })
    }
}

impl Tables {
    fn check_intact(&self, export: &Export) -> Result<(), CorruptRecord> {
        let Some(&attribute) = self.corrupt.get(&(export.tenant.clone(), export.id)) else { return Ok(()) };
        let status = (attribute != "status").then_some(export.status());
        let deadline = (attribute != "deadline").then_some(export.deadline);
        Err(CorruptRecord { attribute, status, deadline })
    }

    fn apply(&mut self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), ApplyError> {
        let key = (tenant.clone(), id.to_string());
        let Some(export) = self.exports.get(&key) else {
            return Err(ApplyError::Conflict(None));
        };
        let Some(after) = step.apply(export) else {
            self.check_intact(export).map_err(|corrupt| DependencyError::transient("read the export", corrupt))?;
            return Err(ApplyError::Conflict(Some(Box::new(export.clone()))));
        };
        self.exports.insert(key, after);
        if step.leaves_pending() {
            let lock_key = (tenant.clone(), id.export_type());
            if self.locks.get(&lock_key) == Some(id) {
                self.locks.remove(&lock_key);
            }
            self.checkpoints.remove(&(tenant.clone(), *id));
        }
        Ok(())
    }
}

impl ApiKeyStore for MemoryStore {
    async fn find_api_key(&self, hash: &KeyHash) -> Result<Option<ApiKeyRecord>, DependencyError> {
        self.key_reads.fetch_add(1, Ordering::SeqCst);
        self.failures.check("read the API key")?;
        Ok(lock(&self.tables).api_keys.get(hash).cloned())
    }

    async fn store_api_key(&self, record: &ApiKeyRecord) -> Result<(), DependencyError> {
        self.failures.check("write the API key")?;
        lock(&self.tables).api_keys.entry(record.hash.clone()).or_insert_with(|| record.clone());
        Ok(())
    }

    async fn record_api_key_use(&self, hash: &KeyHash, day: Timestamp) -> Result<(), DependencyError> {
        self.key_use_writes.fetch_add(1, Ordering::SeqCst);
        if self.key_use_hangs.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        self.failures.check("record the use of the API key")?;
        if let Some(record) = lock(&self.tables).api_keys.get_mut(hash) {
            record.last_used_on = record.last_used_on.max(Some(day));
        }
        Ok(())
    }

    async fn list_api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, DependencyError> {
        self.failures.check("list the API keys")?;
        let mut keys = self.api_keys();
        keys.retain(|key| key.caller.tenant == *tenant);
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }

    async fn revoke_api_key(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, DependencyError> {
        self.failures.check("revoke the API key")?;
        let mut tables = lock(&self.tables);
        let Some(record) = tables.api_keys.get_mut(hash) else { return Ok(None) };
        record.revoked_at.get_or_insert(now);
        Ok(Some(record.clone()))
    }
}
