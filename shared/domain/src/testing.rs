//! In-memory ports and sample values for the tests of the functions (feature `testing`).
//!
//! The ports behave as their traits document. A [`FailureInjector`] makes their calls fail.
#![expect(clippy::unwrap_used, clippy::panic, reason = "an invalid sample must fail the test that uses it")]

use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::{pending, poll_fn};
use std::ops::Bound;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::caller::{ApiKeyRecord, Caller, ClientType, KeyHash, Person};
use crate::checkpoint::Checkpoint;
use crate::email::{EmailAddress, Recipients};
use crate::error::DependencyError;
use crate::export::{Export, ExportSettings, Pending, State, Status};
use crate::export_type::{Column, ColumnKind, ExportType, FileColumns, Required, RowStatus};
use crate::failure::{Failure, FailureCode};
use crate::file::{ExportFile, InvalidRowsFile, NewFile, ReadInterval};
use crate::history::{HistoryFilter, HistoryPage, Order};
use crate::id::{ExportId, TenantId};
use crate::idempotency::{IDEMPOTENCY_WINDOW, Idempotency};
use crate::lifecycle::Step;
use crate::mail::Mail;
use crate::options::{ExportOptions, FileFormat};
use crate::ports::{
    AcceptError, ApiKeyStore, ApplyError, CheckPage, CompleteError, CorruptRecord, ExportStore, FileStore, JobQueue,
    KeyRange, MailSender, Part, ReadError, RowKey, RowPage, RowSource, ScheduledCheck, SendError, System, TriedStep,
    Upload,
};
use crate::row::{ID, Value};
use crate::row_encoder::RowEncoder;
use crate::row_selection::RowSelection;
use crate::time::Timestamp;
use crate::totals::{Total, Totals};

/// Makes the calls of a port fail. By default all succeed.
#[derive(Debug)]
pub struct FailureInjector {
    calls_left: AtomicU64,
    is_permanent: AtomicBool,
}

impl Default for FailureInjector {
    fn default() -> Self {
        Self { calls_left: AtomicU64::new(u64::MAX), is_permanent: AtomicBool::new(false) }
    }
}

impl FailureInjector {
    /// All further calls fail with a transient error.
    pub fn inject(&self) {
        self.inject_after(0);
    }

    /// The next `calls` calls succeed, and all later ones fail with a transient error.
    pub fn inject_after(&self, calls: u64) {
        self.is_permanent.store(false, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// All further calls fail with a permanent error, access denied.
    pub fn deny(&self) {
        self.deny_after(0);
    }

    /// The next `calls` calls succeed, and all later ones fail with a permanent error, access denied.
    pub fn deny_after(&self, calls: u64) {
        self.is_permanent.store(true, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// All further calls succeed.
    pub fn stop(&self) {
        self.calls_left.store(u64::MAX, Ordering::SeqCst);
    }

    fn check(&self, action: &'static str) -> Result<(), DependencyError> {
        let decrement = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, decrement) {
            Ok(_) => Ok(()),
            Err(_) if self.is_permanent.load(Ordering::SeqCst) => {
                Err(DependencyError::permanent(action, "access denied"))
            }
            Err(_) => Err(DependencyError::transient(action, "injected failure")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that only moves when set, and ids whose random part counts up from 1.
#[derive(Debug)]
pub struct FakeSystem {
    now: AtomicI64,
    tick: AtomicI64,
    ids: AtomicU64,
    /// Makes the generation of ids fail.
    pub failures: FailureInjector,
}

impl Default for FakeSystem {
    /// The clock starts at [`start`].
    fn default() -> Self {
        Self {
            now: AtomicI64::new(start().millis()),
            tick: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            failures: FailureInjector::default(),
        }
    }
}

impl FakeSystem {
    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }

    /// Advances the clock by `step` after each read from now on.
    pub fn tick(&self, step: Duration) {
        self.tick.store(i64::try_from(step.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Advances the clock.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }
}

impl System for FakeSystem {
    fn now(&self) -> Timestamp {
        let tick = self.tick.load(Ordering::SeqCst);
        Timestamp::from_millis(self.now.fetch_add(tick, Ordering::SeqCst))
    }

    fn new_export_id(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, DependencyError> {
        self.failures.check("read random bytes")?;
        let number = self.ids.fetch_add(1, Ordering::SeqCst) + 1;
        let mut random = [0; 10];
        for (byte, digit) in random.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte = digit;
        }
        Ok(ExportId::new(export_type, at, &random))
    }
}

/// The error of DynamoDB for a start key outside the range of a query.
fn invalid_start_key(action: &'static str) -> DependencyError {
    let message = "The provided starting key is outside query boundaries based on provided conditions";
    DependencyError::permanent(action, message)
}

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
    /// Makes reads and writes fail.
    pub failures: FailureInjector,
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
            let matches = export.status() == cursor.status && partition_of(&export.id) == cursor.partition;
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
        Ok(CheckPage { checks, corrupt: 0, next })
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

/// A job message of a [`MemoryQueue`]: tenant, export and delay.
pub type EnqueuedJob = (TenantId, ExportId, Duration);

/// A queue that records its messages.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    enqueued: Mutex<Vec<EnqueuedJob>>,
    /// Makes sends fail.
    pub failures: FailureInjector,
}

impl MemoryQueue {
    /// All messages, oldest first.
    pub fn enqueued(&self) -> Vec<EnqueuedJob> {
        lock(&self.enqueued).clone()
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn enqueue(&self, export: &Export, delay: Duration) -> Result<(), DependencyError> {
        self.failures.check("enqueue the export")?;
        lock(&self.enqueued).push((export.tenant.clone(), export.id, delay));
        Ok(())
    }
}

/// How the e-mail service of a [`MemoryMailbox`] responds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailService {
    /// Accepts the e-mail.
    #[default]
    Accepts,
    /// Rejects the e-mail permanently.
    Rejects,
    /// Fails with a transient error.
    IsDown,
    /// Accepts the e-mail, but its response is lost.
    LosesResponse,
}

/// A mailbox with the accepted e-mails.
#[derive(Debug, Default)]
pub struct MemoryMailbox {
    mails: Mutex<Vec<Mail>>,
    service: Mutex<MailService>,
}

impl MemoryMailbox {
    /// All accepted e-mails, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.mails).clone()
    }

    /// Sets how the service responds from now on.
    pub fn behave(&self, service: MailService) {
        *lock(&self.service) = service;
    }
}

#[async_trait]
impl MailSender for MemoryMailbox {
    async fn send_mail(&self, mail: &Mail) -> Result<(), SendError> {
        let service = *lock(&self.service);
        if matches!(service, MailService::Accepts | MailService::LosesResponse) {
            lock(&self.mails).push(mail.clone());
        }
        match service {
            MailService::Accepts => Ok(()),
            MailService::Rejects => Err(SendError::Rejected("the address is on the suppression list".into())),
            MailService::IsDown => {
                Err(SendError::Dependency(DependencyError::transient("send the mail", "service unavailable")))
            }
            MailService::LosesResponse => {
                Err(SendError::Dependency(DependencyError::transient("send the mail", "connection reset")))
            }
        }
    }
}

/// A file in a [`MemoryFiles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The file name of a download.
    pub download_name: String,
    /// The format, which determines the media type.
    pub format: FileFormat,
    /// The contents.
    pub bytes: Vec<u8>,
    /// The sizes of its parts; one for a file that was not uploaded in parts.
    pub parts: Vec<usize>,
}

/// The bucket with the files. Links show their validity: `https://files.example/<key>?from=<now>&until=<expiry>`, and
/// lead to files that exist until they are [deleted](Self::delete).
#[derive(Debug, Default)]
pub struct MemoryFiles {
    files: Mutex<BTreeMap<String, StoredFile>>,
    unfinished: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<BTreeMap<String, MemoryUpload>>,
    started: AtomicU64,
    min_part_size: usize,
    hanging: Mutex<Option<&'static str>>,
    limits: Mutex<Vec<Duration>>,
    deleted: Mutex<BTreeSet<String>>,
    lookups: AtomicU64,
    /// Makes calls of the generator fail.
    pub failures: FailureInjector,
    /// Makes signing fail.
    pub link_failures: FailureInjector,
    /// Makes lookups of linked files fail.
    pub lookup_failures: FailureInjector,
}

#[derive(Debug)]
struct MemoryUpload {
    file: NewFile,
    parts: BTreeMap<u32, Vec<u8>>,
}

impl MemoryFiles {
    /// A bucket in which all parts but the last must have at least `min_part_size` bytes (5 MiB in S3).
    #[must_use]
    pub fn with_min_part_size(min_part_size: usize) -> Self {
        Self { min_part_size, ..Self::default() }
    }

    /// All complete files, by key.
    pub fn files(&self) -> BTreeMap<String, StoredFile> {
        lock(&self.files).clone()
    }

    /// The complete file with this key.
    pub fn file(&self, key: &str) -> Option<StoredFile> {
        lock(&self.files).get(key).cloned()
    }

    /// Stores a complete file, or replaces it.
    pub fn put(&self, key: &str, file: StoredFile) {
        lock(&self.files).insert(key.to_owned(), file);
    }

    /// All objects of unfinished files, by key.
    pub fn unfinished(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.unfinished).clone()
    }

    /// Replaces the contents of all objects of unfinished files.
    pub fn replace_unfinished(&self, bytes: &[u8]) {
        lock(&self.unfinished).values_mut().for_each(|object| *object = bytes.to_vec());
    }

    /// All further calls with this action hang.
    pub fn hang(&self, action: &'static str) {
        *lock(&self.hanging) = Some(action);
    }

    async fn check(&self, action: &'static str) -> Result<(), DependencyError> {
        self.failures.check(action)?;
        let hangs = *lock(&self.hanging) == Some(action);
        if hangs {
            pending::<()>().await;
        }
        Ok(())
    }

    /// Deletes all objects of unfinished files, as the lifecycle rule of the bucket does.
    pub fn forget_unfinished(&self) {
        lock(&self.unfinished).clear();
    }

    /// Deletes a linked file.
    pub fn delete(&self, key: &str) {
        lock(&self.deleted).insert(key.to_owned());
    }

    /// The number of lookups of linked files.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }

    /// The number of uploads that are neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        lock(&self.uploads).len()
    }

    /// The time limit of each call that completes an upload, oldest first.
    pub fn completion_limits(&self) -> Vec<Duration> {
        lock(&self.limits).clone()
    }

    /// Replaces a part of every unfinished upload, as a late write of a stalled owner would.
    pub fn corrupt_part(&self, number: u32) {
        for upload in lock(&self.uploads).values_mut() {
            upload.parts.insert(number, b"late".to_vec());
        }
    }

    /// Deletes all unfinished uploads, as the lifecycle rule of the bucket does.
    pub fn forget_uploads(&self) {
        lock(&self.uploads).clear();
    }
}

/// A receipt that depends on the bytes only.
fn receipt(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn part(number: u32, bytes: &[u8]) -> Part {
    Part { number, receipt: receipt(bytes), bytes: bytes.len() as u64 }
}

#[async_trait]
impl FileStore for MemoryFiles {
    async fn put_file(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.failures.check("write the file")?;
        let parts = vec![bytes.len()];
        let stored = StoredFile { download_name: file.name.clone(), format: file.format, bytes, parts };
        lock(&self.files).insert(file.key.clone(), stored);
        Ok(())
    }

    async fn start_upload(&self, file: &NewFile) -> Result<Upload, DependencyError> {
        self.failures.check("start the upload")?;
        let id = format!("upload-{}", self.started.fetch_add(1, Ordering::SeqCst) + 1);
        let upload = MemoryUpload { file: file.clone(), parts: BTreeMap::new() };
        lock(&self.uploads).insert(id.clone(), upload);
        Ok(Upload { key: file.key.clone(), id })
    }

    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError> {
        self.failures.check("write a part of the file")?;
        let mut uploads = lock(&self.uploads);
        let Some(upload) = uploads.get_mut(&upload.id) else {
            return Err(DependencyError::transient("write a part of the file", "NoSuchUpload"));
        };
        let written = part(number, &bytes);
        upload.parts.insert(number, bytes);
        Ok(written)
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError> {
        self.failures.check("list the parts of the file")?;
        let uploads = lock(&self.uploads);
        let parts = |upload: &MemoryUpload| upload.parts.iter().map(|(number, bytes)| part(*number, bytes)).collect();
        Ok(uploads.get(&upload.id).map(parts))
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        _crc64: u64,
        within: Duration,
    ) -> Result<(), CompleteError> {
        lock(&self.limits).push(within);
        self.failures.check("complete the file")?;
        let mut uploads = lock(&self.uploads);
        let Some(known) = uploads.get(&upload.id) else { return Err(CompleteError::UploadLost("NoSuchUpload".into())) };
        let mut complete = Vec::new();
        for (index, wanted) in parts.iter().enumerate() {
            let Some(stored) = known.parts.get(&wanted.number).filter(|stored| part(wanted.number, stored) == *wanted)
            else {
                return Err(CompleteError::UploadLost("InvalidPart".into()));
            };
            if stored.len() < self.min_part_size && index + 1 < parts.len() {
                return Err(CompleteError::UploadLost("EntityTooSmall".into()));
            }
            complete.extend_from_slice(stored);
        }
        if complete.len() as u64 != bytes {
            return Err(CompleteError::UploadLost("InvalidRequest".into()));
        }
        let sizes = parts.iter().map(|part| usize::try_from(part.bytes).unwrap_or(usize::MAX)).collect();
        let NewFile { key, name, format } = known.file.clone();
        lock(&self.files).insert(key, StoredFile { download_name: name, format, bytes: complete, parts: sizes });
        uploads.remove(&upload.id);
        Ok(())
    }

    async fn put_unfinished(&self, key: &str, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.check("write the unfinished part").await?;
        lock(&self.unfinished).insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn get_unfinished(&self, key: &str) -> Result<Option<Vec<u8>>, DependencyError> {
        self.failures.check("read the unfinished part")?;
        Ok(lock(&self.unfinished).get(key).cloned())
    }

    async fn delete_unfinished(&self, key: &str) -> Result<(), DependencyError> {
        self.check("delete the unfinished part").await?;
        lock(&self.unfinished).remove(key);
        Ok(())
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError> {
        self.failures.check("abort the file")?;
        lock(&self.uploads).remove(&upload.id);
        Ok(())
    }

    async fn delete_file(&self, key: &str) -> Result<(), DependencyError> {
        self.failures.check("delete the file")?;
        lock(&self.files).remove(key);
        Ok(())
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError> {
        self.failures.check("look for the file")?;
        Ok(lock(&self.files).get(key).map(|file| file.bytes.len() as u64))
    }

    async fn file_exists(&self, key: &str) -> Result<bool, DependencyError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.lookup_failures.check("look for the file")?;
        Ok(!lock(&self.deleted).contains(key))
    }

    async fn sign_link(&self, key: &str, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError> {
        self.link_failures.check("sign the link")?;
        Ok(format!("https://files.example/{key}?from={now}&until={expiry}"))
    }
}

/// The source table.
#[derive(Debug, Default)]
pub struct MemoryRows {
    rows: BTreeMap<(TenantId, String), Row>,
    page_size: Option<usize>,
    reads: AtomicU64,
    in_flight: AtomicU64,
    max_in_flight: AtomicU64,
    busy_reads: AtomicU64,
    /// Makes reads fail.
    pub failures: FailureInjector,
}

impl MemoryRows {
    /// A table with the payouts of one tenant, all in one page.
    pub fn new(tenant: &TenantId, rows: impl IntoIterator<Item = Row>) -> Self {
        let keyed = |row: Row| ((tenant.clone(), sort_key(TYPE, &row)), row);
        Self { rows: rows.into_iter().map(keyed).collect(), ..Self::default() }
    }

    /// The number of pages read.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// The highest number of concurrent reads since the last call.
    pub fn max_in_flight(&self) -> u64 {
        self.max_in_flight.swap(0, Ordering::SeqCst)
    }

    /// Makes the source busy for the next `reads` reads.
    pub fn make_busy(&self, reads: u64) {
        self.busy_reads.store(reads, Ordering::SeqCst);
    }

    /// Limits pages to `page_size` rows.
    #[must_use]
    pub fn in_pages_of(mut self, page_size: usize) -> Self {
        self.page_size = Some(page_size);
        self
    }
}

impl MemoryRows {
    fn in_range(&self, tenant: &TenantId, range: &KeyRange) -> impl Iterator<Item = (&String, &Row)> {
        let after = range.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.0.clone()));
        let of = |tenant: TenantId| move |key: String| (tenant.clone(), key);
        let lower = match after {
            Bound::Excluded(after) => Bound::Excluded(of(tenant.clone())(after)),
            _ => Bound::Included(of(tenant.clone())(String::new())),
        };
        let upper = Bound::Included(of(tenant.clone())(range.up_to.0.clone()));
        self.rows.range((lower, upper)).map(|((_, key), row)| (key, row))
    }
}

#[async_trait]
impl RowSource for MemoryRows {
    async fn read_page(
        &self,
        selection: &RowSelection,
        tenant: &TenantId,
        range: &KeyRange,
    ) -> Result<RowPage, DependencyError> {
        // Responses are delayed as by a real table, so that concurrent reads overlap.
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        yield_once().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.failures.check("read the payouts")?;
        if range.is_empty() {
            return Err(invalid_start_key("read the payouts"));
        }
        let page_size = self.page_size.unwrap_or(usize::MAX);
        let page: Vec<_> = self.in_range(tenant, range).take(page_size).collect();
        let mut encoder = RowEncoder::new(selection, 0);
        for (key, row) in &page {
            encoder.push(row, key);
        }
        let key = |(key, _): &(&String, _)| RowKey((*key).clone());
        let first = page.first().map(key);
        // As in DynamoDB, a full page has a next one, which may be empty.
        let next = page.last().map(key).filter(|_| page.len() == page_size);
        let busy = self.busy_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        Ok(RowPage { encoded: encoder.finish(), first, next, read_bytes: 0, is_source_busy: busy.is_ok() })
    }
}

/// Lets all other futures of the task run once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a future that is ready at its first poll.
///
/// # Panics
/// If it is pending.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is pending"),
    }
}

/// The type of the samples.
const TYPE: ExportType = ExportType::MarketplacePayouts;

/// A row.
pub type Row = Vec<Value<'static>>;

/// A row status of the samples' type.
#[must_use]
pub fn row_status(name: &str) -> RowStatus {
    TYPE.definition().status(name).unwrap()
}

/// The start time of the samples: 2026-10-08T08:30:00.000Z.
#[must_use]
pub fn start() -> Timestamp {
    "2026-10-08T08:30:00.000Z".parse().unwrap()
}

/// Parses an e-mail address.
#[must_use]
pub fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

/// The operator Ann, ann@example.com, of `tenant`.
#[must_use]
pub fn operator(tenant: &str) -> Caller {
    Caller {
        tenant: tenant.parse().unwrap(),
        client: ClientType::Operator,
        user: Person { email: address("ann@example.com"), name: "Ann".parse().unwrap() },
    }
}

/// The default settings: a link lifetime of 72 h, a file retention of 30 days and a time limit of 6 h.
#[must_use]
pub fn settings() -> ExportSettings {
    const HOUR: Duration = Duration::from_secs(3600);
    ExportSettings::new(72 * HOUR, 30 * 24 * HOUR, 6 * HOUR, false)
}

/// A pending export of the tenant `acme`, requested at [`start`] by [`operator`] with cc@example.com in CC:
/// `mpo_01a11aa2-3340-7707-8707-070707070707`. The request `launch` launched it.
#[must_use]
pub fn export() -> Export {
    let caller = operator("acme");
    let recipients = Recipients::new(caller.user.email.clone(), [address("cc@example.com")]).unwrap();
    let id = ExportId::new(TYPE, start(), &[7; 10]);
    let export = Export::accept(id, &caller, recipients, ExportOptions::default(), settings(), Duration::from_secs(60));
    Export { launch_request_id: Some("launch".to_owned()), ..export }
}

/// [`export`] as the first build recorded it: with the columns of version 1 and without the request that launched it.
/// The golden stored forms are of this version, whatever columns are added.
#[must_use]
pub fn export_of_version_1() -> Export {
    Export { columns: FileColumns { export_type: TYPE, version: 1 }, launch_request_id: None, ..export() }
}

/// The file of [`export`], as its first owner writes it.
#[must_use]
pub fn new_file() -> NewFile {
    NewFile::of(&Export { fencing_token: 1, ..export() })
}

/// The file of [`export`]: three settled payouts of 41.15 EUR each.
#[must_use]
pub fn file() -> ExportFile {
    let export = export();
    let mut totals = Totals::default();
    let total = Total { count: 3, minor: 12_345 };
    let _ = totals.add("EUR".parse().unwrap(), row_status("SETTLED"), total);
    let NewFile { key, name, .. } = new_file();
    ExportFile {
        key,
        name,
        rows: 3,
        bytes: 1000,
        sha256: "ab".repeat(32),
        totals,
        read: Some(ReadInterval { from: start(), to: start().plus(Duration::from_secs(60)) }),
        expires_at: start().plus(export.settings.file_retention),
    }
}

/// The state of [`export`] in this status, with [`file()`] and a link until [`start`] plus its link lifetime; a pending
/// one is [`export`]'s.
#[must_use]
pub fn state(status: Status) -> State {
    let link_expires_at = start().plus(settings().link_lifetime);
    let message = "The export failed after 5 attempts.".to_owned();
    let failure = Failure { code: FailureCode::GenerationFailed, message, cancelled_by: None, invalid_rows: None };
    match status {
        Status::Pending => export().state,
        Status::Ready => State::Ready { file: file(), link_expires_at },
        Status::Failed => State::Failed { failure, file: Some(file()) },
        Status::Expired => State::Expired { file: file(), link_expires_at },
    }
}

/// The state of a ready export with [`file()`] and a link until `link_expires_at`.
#[must_use]
pub fn ready_until(link_expires_at: Timestamp) -> State {
    State::Ready { file: file(), link_expires_at }
}

/// `export`, whose work `change` changes.
///
/// # Panics
/// If it is not pending.
pub fn with_work(mut export: Export, change: impl FnOnce(&mut Pending)) -> Export {
    let State::Pending(pending) = &mut export.state else { panic!("not pending: {export:?}") };
    change(pending);
    export
}

/// The failure of [`export`] for two invalid rows.
#[must_use]
pub fn invalid_rows_failure() -> Failure {
    let export = export();
    let file = InvalidRowsFile {
        count: 2,
        is_complete: true,
        key: NewFile::invalid_rows(&Export { fencing_token: 1, ..export.clone() }).key,
        expires_at: start().plus(export.settings.file_retention),
    };
    let message = "2 payouts cannot be written: \"po_1\" (currency unknown), \"po_2\" (status missing).".to_owned();
    Failure { code: FailureCode::InvalidRows, message, cancelled_by: None, invalid_rows: Some(file) }
}

/// [`export`] as READY one minute after [`start`], with [`file()`] and a link until [`start`] plus its link lifetime.
#[must_use]
pub fn ready_export() -> Export {
    Export {
        state: state(Status::Ready),
        updated_at: start().plus(Duration::from_secs(60)),
        fencing_token: 1,
        attempts: 1,
        rows_read: 3,
        rows_written: 3,
        ..export()
    }
}

/// A settled payout of 41.15 EUR.
#[must_use]
pub fn payout(id: &str, created_at: Timestamp) -> Row {
    let time = Value::Text(created_at.to_string().leak());
    vec![
        Value::Text(id.to_owned().leak()),
        Value::Text("REF-1"),
        Value::Text("SETTLED"),
        Value::Number("4115"),
        Value::Text("EUR"),
        time,
        time,
        Value::Number("7"),
        Value::Text("BA_MKP"),
        Value::Missing,
        Value::Missing,
        time,
        Value::Missing,
        Value::Missing,
        time,
    ]
}

/// A row of any type with the type's first status, 41.15 EUR, 1.00 EUR for each other amount, and no optional values.
#[must_use]
pub fn row(export_type: ExportType, id: &str, created_at: Timestamp) -> Row {
    let definition = export_type.definition();
    let value = |column: &Column| match column.kind {
        _ if column.required != Required::Always => Value::Missing,
        ColumnKind::Text => Value::Text(column.header),
        ColumnKind::Status => Value::Text(definition.statuses.first().unwrap().name),
        ColumnKind::OneOf(values) => Value::Text(values.first().unwrap()),
        ColumnKind::Amount => Value::Number("4115"),
        ColumnKind::OtherAmount => Value::Number("100"),
        ColumnKind::Currency => Value::Text("EUR"),
        ColumnKind::Count => Value::Number("7"),
        ColumnKind::Time => Value::Text(created_at.to_string().leak()),
    };
    let id = Value::Text(id.to_owned().leak());
    std::iter::once(id).chain(definition.columns.iter().skip(1).map(value)).collect()
}

/// `row` with `value` for this attribute.
#[must_use]
pub fn with_value(mut row: Row, attribute: &str, value: Value<'static>) -> Row {
    for (cell, column) in row.iter_mut().zip(TYPE.definition().columns) {
        if column.attribute == attribute {
            *cell = value;
        }
    }
    row
}

/// The sort key of a row: its creation time and id, as far as it has them.
#[must_use]
pub fn sort_key(export_type: ExportType, row: &[Value<'_>]) -> String {
    let columns = export_type.definition().columns;
    let text = |index: Option<usize>| match index.and_then(|index| row.get(index)) {
        Some(Value::Text(text)) => *text,
        _ => "",
    };
    let created_at = columns.iter().position(|column| column.attribute == "createdAt");
    format!("{}#{}", text(created_at), text(Some(ID)))
}
