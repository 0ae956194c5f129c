//! The ports in memory, and samples to put into them: what the functions' tests run against.
//!
//! Everything here behaves as the ports' documentation says; a [`Fuse`] makes it fail. Only tests may depend on it
//! (feature `testing`).
#![expect(clippy::unwrap_used, reason = "a sample that does not parse should end the test that asked for it")]

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::caller::{ApiKeyRecord, Caller, ClientType, KeyHash, Person};
use crate::checkpoint::Checkpoint;
use crate::email::{EmailAddress, Recipients};
use crate::export::{Export, Status, Terms};
use crate::file::{ExportFile, Lines, Total, Totals};
use crate::history::{HistoryFilter, HistoryPage, Order};
use crate::id::{ExportId, ExportType, TenantId};
use crate::idempotency::{Idempotency, REMEMBERED_FOR};
use crate::lifecycle::Step;
use crate::mail::Mail;
use crate::payout::{COLUMNS, PayoutStatus, Row, Value};
use crate::ports::{
    AcceptExport, ApplyStep, Checkpoints, Clock, Doorbell, Due, DueExports, DuePage, DuePlace, ExportIds, FindApiKey,
    FindExport, FindFile, KeyRange, ListApiKeys, ListExports, NotAccepted, NotApplied, NotCompleted, NotRead, NotSent,
    Outage, Part, PayoutKey, PayoutPage, ReadPayouts, RevokeApiKey, SendMail, SignLink, StoreApiKey, StoreFile,
    Unreadable, Upload,
};
use crate::time::Timestamp;

/// Decides when a port fails: never, until it is told to.
#[derive(Debug)]
pub struct Fuse {
    calls_left: AtomicU64,
    is_permanent: AtomicBool,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { calls_left: AtomicU64::new(u64::MAX), is_permanent: AtomicBool::new(false) }
    }
}

impl Fuse {
    /// From now on every call fails.
    pub fn blow(&self) {
        self.blow_after(0);
    }

    /// The next `calls` calls are carried out, all later ones fail.
    pub fn blow_after(&self, calls: u64) {
        self.is_permanent.store(false, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// From now on every call is denied, which is a permanent error.
    pub fn deny(&self) {
        self.deny_after(0);
    }

    /// The next `calls` calls are carried out, all later ones are denied.
    pub fn deny_after(&self, calls: u64) {
        self.is_permanent.store(true, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// From now on every call is carried out.
    pub fn mend(&self) {
        self.calls_left.store(u64::MAX, Ordering::SeqCst);
    }

    fn check(&self, attempt: &'static str) -> Result<(), Outage> {
        let spend = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(_) => Ok(()),
            Err(_) if self.is_permanent.load(Ordering::SeqCst) => Err(Outage::permanent(attempt, "access denied")),
            Err(_) => Err(Outage::new(attempt, "the fuse has blown")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that stands still, unless it is told to tick.
#[derive(Debug)]
pub struct FixedClock {
    now: AtomicI64,
    tick: AtomicI64,
}

impl Default for FixedClock {
    /// Stands at [`start`].
    fn default() -> Self {
        Self { now: AtomicI64::new(start().millis()), tick: AtomicI64::new(0) }
    }
}

impl FixedClock {
    /// Puts the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }

    /// Moves on by `span` whenever it is looked at.
    pub fn tick(&self, span: Duration) {
        self.tick.store(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().plus(span));
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        let tick = self.tick.load(Ordering::SeqCst);
        Timestamp::from_millis(self.now.fetch_add(tick, Ordering::SeqCst))
    }
}

/// Ids whose random part counts from 1.
#[derive(Debug, Default)]
pub struct SequentialIds {
    count: AtomicU64,
    /// Makes it fail.
    pub fuse: Fuse,
}

impl ExportIds for SequentialIds {
    fn next(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, Outage> {
        self.fuse.check("make an export id")?;
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut random = [0; 10];
        for (byte, digit) in random.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte = digit;
        }
        Ok(ExportId::new(export_type, at, &random))
    }
}

/// What DynamoDB says of a start key at or beyond the end of the query's range, or before its beginning.
fn start_key_refused(attempt: &'static str) -> Outage {
    let refusal = "The provided starting key is outside query boundaries based on provided conditions";
    Outage::permanent(attempt, refusal)
}

/// The tables of exports and API keys.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    key_reads: AtomicU64,
    /// Makes every read and write fail.
    pub fuse: Fuse,
}

#[derive(Debug, Default)]
struct Tables {
    exports: BTreeMap<(TenantId, String), Export>,
    /// The attributes at fault of records that cannot be read.
    spoilt: HashMap<(TenantId, ExportId), &'static str>,
    locks: HashMap<(TenantId, ExportType), ExportId>,
    checkpoints: HashMap<(TenantId, ExportId), Checkpoint>,
    idempotency: HashMap<(TenantId, ExportType, String), (Idempotency, ExportId)>,
    api_keys: HashMap<KeyHash, ApiKeyRecord>,
}

impl MemoryStore {
    /// Puts an export there as it is, and its tenant's lock if it is pending.
    pub fn put_export(&self, export: Export) {
        let mut tables = lock(&self.tables);
        tables.spoilt.remove(&(export.tenant.clone(), export.id));
        if export.status == Status::Pending {
            tables.locks.insert((export.tenant.clone(), export.id.export_type()), export.id);
        }
        tables.exports.insert((export.tenant.clone(), export.id.to_string()), export);
    }

    /// From now on the record of this export cannot be read because of `attribute`, though all else of it is there.
    pub fn spoil(&self, tenant: &TenantId, id: &ExportId, attribute: &'static str) {
        lock(&self.tables).spoilt.insert((tenant.clone(), *id), attribute);
    }

    /// The export of this tenant and id, whether its record can be read or not.
    pub fn export(&self, tenant: &TenantId, id: &ExportId) -> Option<Export> {
        lock(&self.tables).exports.get(&(tenant.clone(), id.to_string())).cloned()
    }

    /// The checkpoint of this export.
    pub fn checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Option<Checkpoint> {
        lock(&self.tables).checkpoints.get(&(tenant.clone(), *id)).cloned()
    }

    /// Every export, by tenant, then by id: in order of creation.
    pub fn exports(&self) -> Vec<Export> {
        lock(&self.tables).exports.values().cloned().collect()
    }

    /// The export that the tenant's lock names.
    pub fn locked_by(&self, tenant: &TenantId, export_type: ExportType) -> Option<ExportId> {
        lock(&self.tables).locks.get(&(tenant.clone(), export_type)).copied()
    }

    /// Puts an API key's record there, whether one is there already or not.
    pub fn put_api_key(&self, record: ApiKeyRecord) {
        lock(&self.tables).api_keys.insert(record.hash.clone(), record);
    }

    /// Every API key's record.
    pub fn api_keys(&self) -> Vec<ApiKeyRecord> {
        lock(&self.tables).api_keys.values().cloned().collect()
    }

    /// How often an API key was looked up.
    pub fn key_reads(&self) -> u64 {
        self.key_reads.load(Ordering::SeqCst)
    }
}

impl FindExport for MemoryStore {
    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, NotRead> {
        self.fuse.check("read the export")?;
        let tables = lock(&self.tables);
        let Some(export) = tables.exports.get(&(tenant.clone(), id.to_string())) else { return Ok(None) };
        tables.check_readable(export)?;
        Ok(Some(export.clone()))
    }
}

impl AcceptExport for MemoryStore {
    async fn accept_export(&self, export: &Export, idempotency: Option<&Idempotency>) -> Result<(), NotAccepted> {
        self.fuse.check("write the export")?;
        let mut tables = lock(&self.tables);
        let lock_key = (export.tenant.clone(), export.id.export_type());
        let sent = idempotency.map(|sent| ((lock_key.0.clone(), lock_key.1, sent.key.clone()), sent));
        if let Some((known, id)) = sent.as_ref().and_then(|(key, _)| tables.idempotency.get(key))
            && id.created_at() > export.created_at().minus(REMEMBERED_FOR)
        {
            let same = sent.is_some_and(|(_, sent)| sent.fingerprint == known.fingerprint);
            return Err(if same { NotAccepted::AlreadyAccepted(*id) } else { NotAccepted::KeyReused });
        }
        if let Some(pending) = tables.locks.get(&lock_key) {
            return Err(NotAccepted::AlreadyPending(*pending));
        }
        if let Some((key, sent)) = sent {
            tables.idempotency.insert(key, (sent.clone(), export.id));
        }
        tables.locks.insert(lock_key, export.id);
        tables.exports.insert((export.tenant.clone(), export.id.to_string()), export.clone());
        Ok(())
    }
}

impl ListExports for MemoryStore {
    async fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> Result<HistoryPage, Outage> {
        self.fuse.check("list the exports")?;
        let is_before = |after: &ExportId| match filter.order {
            Order::OldestFirst => filter.created_from.is_some_and(|from| after.created_at() < from),
            Order::NewestFirst => filter.created_to.is_some_and(|to| after.created_at() > to),
        };
        if after.is_some_and(is_before) {
            return Err(start_key_refused("list the exports"));
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
                && filter.has_status_of(export, now)
                && is_after(export)
        });
        let mut unreadable = Vec::new();
        exports.retain(|export| match lock(&self.tables).check_readable(export) {
            Ok(()) => true,
            Err(why) => {
                unreadable.push((export.id.to_string(), why));
                false
            }
        });
        let more = exports.len() > size;
        exports.truncate(size);
        let next_after = exports.last().filter(|_| more).map(|export| export.id);
        Ok(HistoryPage { exports, next_after, unreadable })
    }
}

impl ApplyStep for MemoryStore {
    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        self.fuse.check("write the export")?;
        lock(&self.tables).apply(tenant, id, step)
    }
}

impl Tables {
    fn check_readable(&self, export: &Export) -> Result<(), Unreadable> {
        let Some(&attribute) = self.spoilt.get(&(export.tenant.clone(), export.id)) else { return Ok(()) };
        let status = (attribute != "status").then_some(export.status);
        let deadline = (attribute != "deadline").then_some(export.deadline);
        Err(Unreadable { attribute, status, deadline })
    }

    fn apply(&mut self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        let key = (tenant.clone(), id.to_string());
        let Some(export) = self.exports.get(&key) else {
            return Err(NotApplied::Refused(None));
        };
        let Some(after) = step.apply(export) else {
            self.check_readable(export).map_err(|unreadable| Outage::new("read the export", unreadable))?;
            return Err(NotApplied::Refused(Some(Box::new(export.clone()))));
        };
        self.exports.insert(key, after);
        if step.ends_work {
            let lock_key = (tenant.clone(), id.export_type());
            if self.locks.get(&lock_key) == Some(id) {
                self.locks.remove(&lock_key);
            }
            self.checkpoints.remove(&(tenant.clone(), *id));
        }
        Ok(())
    }
}

impl Checkpoints for MemoryStore {
    async fn find_checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Checkpoint>, Outage> {
        self.fuse.check("read the checkpoint")?;
        Ok(self.checkpoint(tenant, id))
    }

    async fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> Result<(), NotApplied> {
        self.fuse.check("write the checkpoint")?;
        let mut tables = lock(&self.tables);
        tables.apply(tenant, id, step)?;
        tables.checkpoints.insert((tenant.clone(), *id), checkpoint.clone());
        Ok(())
    }
}

impl DueExports for MemoryStore {
    async fn due_exports(
        &self,
        status: Status,
        shard: u8,
        now: Timestamp,
        after: Option<&DuePlace>,
        limit: u32,
    ) -> Result<DuePage, Outage> {
        self.fuse.check("find due exports")?;
        if after.is_some_and(|after| after.due_at > now.to_string()) {
            return Err(start_key_refused("find due exports"));
        }
        let due = |export: &Export| {
            let due_at = export.due_at.filter(|due_at| *due_at <= now)?;
            (export.status == status && export.id.shard() == shard).then(|| Due {
                tenant: export.tenant.clone(),
                id: export.id,
                due_at,
            })
        };
        let mut found: Vec<Due> = lock(&self.tables).exports.values().filter_map(due).collect();
        let place = |due: &Due| DuePlace {
            due_at: due.due_at.to_string(),
            tenant: due.tenant.to_string(),
            sort: due.id.to_string(),
        };
        found.sort_by_key(place);
        found.retain(|due| after.is_none_or(|after| place(due) > *after));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_cut = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_cut).map(place);
        Ok(DuePage { due: found, unreadable: 0, next })
    }
}

impl FindApiKey for MemoryStore {
    async fn find_api_key(&self, hash: &KeyHash) -> Result<Option<ApiKeyRecord>, Outage> {
        self.key_reads.fetch_add(1, Ordering::SeqCst);
        self.fuse.check("read the API key")?;
        Ok(lock(&self.tables).api_keys.get(hash).cloned())
    }
}

impl StoreApiKey for MemoryStore {
    async fn store_api_key(&self, record: &ApiKeyRecord) -> Result<(), Outage> {
        self.fuse.check("write the API key")?;
        match lock(&self.tables).api_keys.entry(record.hash.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(record.clone())),
            Entry::Occupied(_) => return Err(Outage::new("write the API key", "it is there already")),
        }
        Ok(())
    }
}

impl ListApiKeys for MemoryStore {
    async fn list_api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, Outage> {
        self.fuse.check("list the API keys")?;
        let mut keys = self.api_keys();
        keys.retain(|key| key.caller.tenant == *tenant);
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }
}

impl RevokeApiKey for MemoryStore {
    async fn revoke_api_key(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, Outage> {
        self.fuse.check("revoke the API key")?;
        let mut tables = lock(&self.tables);
        let Some(record) = tables.api_keys.get_mut(hash) else { return Ok(None) };
        record.revoked_at.get_or_insert(now);
        Ok(Some(record.clone()))
    }
}

/// What a [`MemoryBell`] has rung: for which export, and after which delay.
pub type Ring = (TenantId, ExportId, Duration);

/// A bell that remembers who rang.
#[derive(Debug, Default)]
pub struct MemoryBell {
    rings: Mutex<Vec<Ring>>,
    /// Makes it fail.
    pub fuse: Fuse,
}

impl MemoryBell {
    /// Every ring, the first first.
    pub fn rings(&self) -> Vec<Ring> {
        lock(&self.rings).clone()
    }
}

impl Doorbell for MemoryBell {
    async fn ring(&self, tenant: &TenantId, id: &ExportId, delay: Duration) -> Result<(), Outage> {
        self.fuse.check("ring")?;
        lock(&self.rings).push((tenant.clone(), *id, delay));
        Ok(())
    }
}

/// How a [`MemoryMailbox`] answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailService {
    /// Takes the mail.
    #[default]
    Accepts,
    /// Refuses it for good.
    Refuses,
    /// Does not take it now.
    IsDown,
    /// Takes the mail, but its answer is lost.
    LosesItsAnswer,
}

/// A mailbox that holds every mail that was taken.
#[derive(Debug, Default)]
pub struct MemoryMailbox {
    mails: Mutex<Vec<Mail>>,
    service: Mutex<MailService>,
}

impl MemoryMailbox {
    /// Every mail, the first first.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.mails).clone()
    }

    /// From now on it answers like this.
    pub fn answer(&self, service: MailService) {
        *lock(&self.service) = service;
    }
}

impl SendMail for MemoryMailbox {
    async fn send_mail(&self, mail: &Mail) -> Result<(), NotSent> {
        let service = *lock(&self.service);
        if matches!(service, MailService::Accepts | MailService::LosesItsAnswer) {
            lock(&self.mails).push(mail.clone());
        }
        match service {
            MailService::Accepts => Ok(()),
            MailService::Refuses => Err(NotSent::Refused("the address is on the suppression list".into())),
            MailService::IsDown => Err(NotSent::Outage(Outage::new("send the mail", "service unavailable"))),
            MailService::LosesItsAnswer => Err(NotSent::Outage(Outage::new("send the mail", "connection reset"))),
        }
    }
}

/// A file in a [`MemoryFiles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The name that a download gets.
    pub download_name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The sizes of the parts it was written in; one for a file written at once.
    pub parts: Vec<usize>,
}

/// The bucket.
#[derive(Debug, Default)]
pub struct MemoryFiles {
    files: Mutex<BTreeMap<String, StoredFile>>,
    uploads: Mutex<BTreeMap<String, MemoryUpload>>,
    begun: AtomicU64,
    least_part: usize,
    limits: Mutex<Vec<Duration>>,
    /// Makes every call fail.
    pub fuse: Fuse,
}

#[derive(Debug)]
struct MemoryUpload {
    key: String,
    download_name: String,
    parts: BTreeMap<u32, Vec<u8>>,
}

impl MemoryFiles {
    /// A bucket that refuses to complete a file if a part before the last has fewer than `least_part` bytes, as S3 does
    /// with 5 MiB.
    #[must_use]
    pub fn with_least_part(least_part: usize) -> Self {
        Self { least_part, ..Self::default() }
    }

    /// Every whole file, by key.
    pub fn files(&self) -> BTreeMap<String, StoredFile> {
        lock(&self.files).clone()
    }

    /// How many uploads were begun and neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        lock(&self.uploads).len()
    }

    /// Within which time each completion was to be done, the first first.
    pub fn completion_limits(&self) -> Vec<Duration> {
        lock(&self.limits).clone()
    }

    /// Replaces a part of an unfinished upload, as a late write of a stalled owner would.
    pub fn spoil_part(&self, number: u32) {
        for upload in lock(&self.uploads).values_mut() {
            upload.parts.insert(number, b"late".to_vec());
        }
    }

    /// Throws every unfinished upload away, as the bucket's lifecycle does.
    pub fn forget_uploads(&self) {
        lock(&self.uploads).clear();
    }
}

/// A tag that only the same bytes have.
fn tag(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn part(number: u32, bytes: &[u8]) -> Part {
    Part { number, tag: tag(bytes), bytes: bytes.len() as u64 }
}

impl StoreFile for MemoryFiles {
    async fn put_file(&self, key: &str, download_name: &str, bytes: Vec<u8>) -> Result<(), Outage> {
        self.fuse.check("write the file")?;
        let parts = vec![bytes.len()];
        let file = StoredFile { download_name: download_name.to_owned(), bytes, parts };
        lock(&self.files).insert(key.to_owned(), file);
        Ok(())
    }

    async fn begin_file(&self, key: &str, download_name: &str) -> Result<Upload, Outage> {
        self.fuse.check("begin the file")?;
        let id = format!("upload-{}", self.begun.fetch_add(1, Ordering::SeqCst) + 1);
        let (key, download_name) = (key.to_owned(), download_name.to_owned());
        let upload = MemoryUpload { key: key.clone(), download_name, parts: BTreeMap::new() };
        lock(&self.uploads).insert(id.clone(), upload);
        Ok(Upload { key, id })
    }

    async fn write_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, Outage> {
        self.fuse.check("write a part of the file")?;
        let mut uploads = lock(&self.uploads);
        let Some(upload) = uploads.get_mut(&upload.id) else {
            return Err(Outage::new("write a part of the file", "NoSuchUpload"));
        };
        let written = part(number, &bytes);
        upload.parts.insert(number, bytes);
        Ok(written)
    }

    async fn parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, Outage> {
        self.fuse.check("list the parts of the file")?;
        let uploads = lock(&self.uploads);
        let parts = |upload: &MemoryUpload| upload.parts.iter().map(|(number, bytes)| part(*number, bytes)).collect();
        Ok(uploads.get(&upload.id).map(parts))
    }

    async fn complete_file(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        _crc64: u64,
        within: Duration,
    ) -> Result<(), NotCompleted> {
        lock(&self.limits).push(within);
        self.fuse.check("complete the file")?;
        let mut uploads = lock(&self.uploads);
        let Some(known) = uploads.get(&upload.id) else { return Err(NotCompleted::Lost("NoSuchUpload".into())) };
        let mut whole = Vec::new();
        for (index, wanted) in parts.iter().enumerate() {
            let Some(stored) = known.parts.get(&wanted.number).filter(|stored| part(wanted.number, stored) == *wanted)
            else {
                return Err(NotCompleted::Lost("InvalidPart".into()));
            };
            if stored.len() < self.least_part && index + 1 < parts.len() {
                return Err(NotCompleted::Lost("EntityTooSmall".into()));
            }
            whole.extend_from_slice(stored);
        }
        if whole.len() as u64 != bytes {
            return Err(NotCompleted::Lost("InvalidRequest".into()));
        }
        let download_name = known.download_name.clone();
        let sizes = parts.iter().map(|part| usize::try_from(part.bytes).unwrap_or(usize::MAX)).collect();
        lock(&self.files).insert(known.key.clone(), StoredFile { download_name, bytes: whole, parts: sizes });
        uploads.remove(&upload.id);
        Ok(())
    }

    async fn abort_file(&self, upload: &Upload) -> Result<(), Outage> {
        self.fuse.check("abort the file")?;
        lock(&self.uploads).remove(&upload.id);
        Ok(())
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, Outage> {
        self.fuse.check("look for the file")?;
        Ok(lock(&self.files).get(key).map(|file| file.bytes.len() as u64))
    }
}

/// Files that exist unless they are deleted.
#[derive(Debug, Default)]
pub struct DeletableFiles {
    deleted: Mutex<BTreeSet<String>>,
    lookups: AtomicU64,
    /// Makes every call fail.
    pub fuse: Fuse,
}

impl DeletableFiles {
    /// Deletes a file.
    pub fn delete(&self, file: &ExportFile) {
        lock(&self.deleted).insert(file.key.clone());
    }

    /// How often a file was looked for.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }
}

impl FindFile for DeletableFiles {
    async fn file_exists(&self, file: &ExportFile) -> Result<bool, Outage> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.fuse.check("look for the file")?;
        Ok(!lock(&self.deleted).contains(&file.key))
    }
}

/// The payouts table.
#[derive(Debug, Default)]
pub struct MemoryPayouts {
    rows: BTreeMap<(TenantId, String), Row<'static>>,
    page_size: Option<usize>,
    reads: AtomicU64,
    under_way: AtomicU64,
    most_under_way: AtomicU64,
    throttled_reads: AtomicU64,
    /// Makes every read fail.
    pub fuse: Fuse,
}

impl MemoryPayouts {
    /// The payouts of one tenant, all in one page.
    pub fn new(tenant: &TenantId, rows: impl IntoIterator<Item = Row<'static>>) -> Self {
        let keyed = |row: Row<'static>| {
            let text = |attribute| match value_of(&row, attribute) {
                Value::Text(text) => text,
                _ => "",
            };
            ((tenant.clone(), format!("{}#{}", text("createdAt"), text("payoutId"))), row)
        };
        Self { rows: rows.into_iter().map(keyed).collect(), ..Self::default() }
    }

    /// How many pages were read.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many pages were under way at once, at the most, since this was asked last.
    pub fn most_under_way(&self) -> u64 {
        self.most_under_way.swap(0, Ordering::SeqCst)
    }

    /// The next `reads` pages ask to be read more slowly.
    pub fn throttle(&self, reads: u64) {
        self.throttled_reads.store(reads, Ordering::SeqCst);
    }

    /// The same payouts in pages of `page_size`.
    #[must_use]
    pub fn in_pages_of(mut self, page_size: usize) -> Self {
        self.page_size = Some(page_size);
        self
    }
}

impl MemoryPayouts {
    fn in_range(&self, tenant: &TenantId, range: &KeyRange) -> impl Iterator<Item = (&String, &Row<'static>)> {
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

impl ReadPayouts for MemoryPayouts {
    async fn read_page(&self, tenant: &TenantId, range: &KeyRange) -> Result<PayoutPage, Outage> {
        // As from a real table, the answer comes later: what is read at once is under way at once.
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        yield_once().await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.fuse.check("read the payouts")?;
        if range.is_empty() {
            return Err(start_key_refused("read the payouts"));
        }
        let page_size = self.page_size.unwrap_or(usize::MAX);
        let page: Vec<_> = self.in_range(tenant, range).take(page_size).collect();
        let mut lines = Lines::default();
        for (key, row) in &page {
            lines.push(row, key);
        }
        let key = |(key, _): &(&String, _)| PayoutKey((*key).clone());
        let first = page.first().map(key);
        // As DynamoDB does, a full page has a next one, whether anything is on it or not.
        let next = page.last().map(key).filter(|_| page.len() == page_size);
        let throttled = self.throttled_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        Ok(PayoutPage { section: lines.finish(), first, next, throttled: throttled.is_ok() })
    }
}

/// Lets every other future of the task run once.
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

/// Makes links that say what they were made for: `https://files.example/<key>?from=<now>&until=<end>`.
#[derive(Debug, Default)]
pub struct MemoryLinks {
    /// Makes it fail.
    pub fuse: Fuse,
}

impl SignLink for MemoryLinks {
    async fn sign_link(&self, file: &ExportFile, now: Timestamp, end: Timestamp) -> Result<String, Outage> {
        self.fuse.check("sign the link")?;
        Ok(format!("https://files.example/{}?from={now}&until={end}", file.key))
    }
}

/// When the samples begin: 2026-10-08T08:30:00.000Z.
#[must_use]
pub fn start() -> Timestamp {
    "2026-10-08T08:30:00.000Z".parse().unwrap()
}

/// An address.
#[must_use]
pub fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

/// The operator Ann of `tenant`, ann@example.com.
#[must_use]
pub fn operator(tenant: &str) -> Caller {
    Caller {
        tenant: tenant.parse().unwrap(),
        client: ClientType::Operator,
        user: Person { email: address("ann@example.com"), name: "Ann".parse().unwrap() },
    }
}

/// What exports are accepted with by default: a link for 72 h, a file for 30 days, 6 h to be ready.
#[must_use]
pub fn terms() -> Terms {
    const HOUR: Duration = Duration::from_secs(3600);
    Terms::new(72 * HOUR, 30 * 24 * HOUR, 6 * HOUR, false)
}

/// A pending export of the tenant `acme`, accepted at [`start`] from [`operator`] with a copy to cc@example.com:
/// `mpo_01a11aa2-3340-7707-8707-070707070707`.
#[must_use]
pub fn export() -> Export {
    let caller = operator("acme");
    let recipients = Recipients::new(caller.user.email.clone(), [address("cc@example.com")]).unwrap();
    let id = ExportId::new(ExportType::MarketplacePayouts, start(), &[7; 10]);
    Export::accept(id, &caller, recipients, terms(), Duration::from_secs(60))
}

/// The file of [`export`]: three payouts of 41.15 EUR, settled.
#[must_use]
pub fn file() -> ExportFile {
    let export = export();
    let mut totals = Totals::default();
    let total = Total { count: 3, minor: 12_345 };
    let _ = totals.add("EUR".parse().unwrap(), PayoutStatus::Settled, total);
    ExportFile {
        key: crate::file::object_key(&export.tenant, &export.id, 1),
        name: crate::file::download_name(&export.tenant, &export.id, export.as_of()),
        rows: 3,
        bytes: 1000,
        sha256: "ab".repeat(32),
        totals,
        expires_at: start().plus(export.terms.file_retention),
    }
}

/// [`export`], ready since a minute after [`start`], with [`file()`] and a link for as long as its terms say.
#[must_use]
pub fn ready_export() -> Export {
    let link_end = start().plus(export().terms.link_life);
    Export {
        status: Status::Ready,
        updated_at: start().plus(Duration::from_secs(60)),
        fence: 1,
        tries: 1,
        due_at: Some(link_end),
        rows_written: 3,
        file: Some(file()),
        link_expires_at: Some(link_end),
        ..export()
    }
}

/// A settled payout of 41.15 EUR.
#[must_use]
pub fn payout(id: &str, created_at: Timestamp) -> Row<'static> {
    let time = Value::Text(created_at.to_string().leak());
    [
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

/// `row` with another value in the column of this attribute.
#[must_use]
pub fn with_value(mut row: Row<'static>, attribute: &str, value: Value<'static>) -> Row<'static> {
    for (cell, column) in row.iter_mut().zip(&COLUMNS) {
        if column.attribute == attribute {
            *cell = value;
        }
    }
    row
}

fn value_of(row: &Row<'static>, attribute: &str) -> Value<'static> {
    row.iter().zip(&COLUMNS).find(|(_, column)| column.attribute == attribute).map_or(Value::Missing, |(cell, _)| *cell)
}
