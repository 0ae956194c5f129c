//! The ports in memory, and samples to put into them: what the functions' tests run against.
//!
//! Everything here behaves as the ports' documentation says; a [`Fuse`] makes it fail. Only tests may depend on it
//! (feature `testing`).
#![expect(clippy::unwrap_used, reason = "a sample that does not parse should end the test that asked for it")]

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::caller::{ApiKeyRecord, Caller, ClientType, KeyHash, Person};
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
    AcceptExport, ApplyStep, Clock, Doorbell, Due, DueExports, ExportIds, FindApiKey, FindExport, ListApiKeys,
    ListExports, NotAccepted, NotApplied, NotSent, Outage, PayoutKey, PayoutPage, ReadPayouts, RevokeApiKey, SendMail,
    SignLink, StoreApiKey, StoreFile, Upload,
};
use crate::time::Timestamp;

/// Decides when a port fails: never, until it is told to.
#[derive(Debug)]
pub struct Fuse(AtomicU64);

impl Default for Fuse {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Fuse {
    /// From now on every call fails.
    pub fn blow(&self) {
        self.blow_after(0);
    }

    /// The next `calls` calls are carried out, all later ones fail.
    pub fn blow_after(&self, calls: u64) {
        self.0.store(calls, Ordering::SeqCst);
    }

    /// From now on every call is carried out.
    pub fn mend(&self) {
        self.0.store(u64::MAX, Ordering::SeqCst);
    }

    fn check(&self, attempt: &'static str) -> Result<(), Outage> {
        let spend = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(_) => Ok(()),
            Err(_) => Err(Outage::new(attempt, "the fuse has blown")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that stands still.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl Default for FixedClock {
    /// Stands at [`start`].
    fn default() -> Self {
        Self(AtomicI64::new(start().millis()))
    }
}

impl FixedClock {
    /// Puts the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().plus(span));
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
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
    locks: HashMap<(TenantId, ExportType), ExportId>,
    idempotency: HashMap<(TenantId, ExportType, String), (Idempotency, ExportId)>,
    api_keys: HashMap<KeyHash, ApiKeyRecord>,
}

impl MemoryStore {
    /// Puts an export there as it is, and its tenant's lock if it is pending.
    pub fn put_export(&self, export: Export) {
        let mut tables = lock(&self.tables);
        if export.status == Status::Pending {
            tables.locks.insert((export.tenant.clone(), export.id.export_type()), export.id);
        }
        tables.exports.insert((export.tenant.clone(), export.id.to_string()), export);
    }

    /// The export of this tenant and id.
    pub fn export(&self, tenant: &TenantId, id: &ExportId) -> Option<Export> {
        lock(&self.tables).exports.get(&(tenant.clone(), id.to_string())).cloned()
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
    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, Outage> {
        self.fuse.check("read the export")?;
        Ok(self.export(tenant, id))
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
        let more = exports.len() > size;
        exports.truncate(size);
        let next_after = exports.last().filter(|_| more).map(|export| export.id);
        Ok(HistoryPage { exports, next_after })
    }
}

impl ApplyStep for MemoryStore {
    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        self.fuse.check("write the export")?;
        let mut tables = lock(&self.tables);
        let Some(export) = tables.exports.get_mut(&(tenant.clone(), id.to_string())) else {
            return Err(NotApplied::Refused(None));
        };
        let Some(after) = step.apply(export) else {
            return Err(NotApplied::Refused(Some(Box::new(export.clone()))));
        };
        *export = after;
        let lock_key = (tenant.clone(), id.export_type());
        if step.frees_lock && tables.locks.get(&lock_key) == Some(id) {
            tables.locks.remove(&lock_key);
        }
        Ok(())
    }
}

impl DueExports for MemoryStore {
    async fn due_exports(&self, status: Status, shard: u8, now: Timestamp, limit: u32) -> Result<Vec<Due>, Outage> {
        self.fuse.check("find due exports")?;
        let due = |export: &Export| {
            let due_at = export.due_at.filter(|due_at| *due_at <= now)?;
            (export.status == status && export.id.shard() == shard).then(|| Due {
                tenant: export.tenant.clone(),
                id: export.id,
                due_at,
            })
        };
        let mut found: Vec<Due> = lock(&self.tables).exports.values().filter_map(due).collect();
        found.sort_by_key(|due| due.due_at);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
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
    bucket: Arc<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    files: Mutex<BTreeMap<String, StoredFile>>,
    open: AtomicU64,
    least_part: usize,
    fuse: Fuse,
}

impl MemoryFiles {
    /// S3's rule: every part but the last has 5 MiB or more.
    pub const LEAST_PART: usize = 5 * 1024 * 1024;

    /// A bucket that refuses to complete a file if a part before the last has fewer than `least_part` bytes.
    #[must_use]
    pub fn with_least_part(least_part: usize) -> Self {
        Self { bucket: Arc::new(Bucket { least_part, ..Bucket::default() }) }
    }

    /// Every whole file, by key.
    pub fn files(&self) -> BTreeMap<String, StoredFile> {
        lock(&self.bucket.files).clone()
    }

    /// How many uploads were begun and neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> u64 {
        self.bucket.open.load(Ordering::SeqCst)
    }

    /// Makes every call fail.
    pub fn fuse(&self) -> &Fuse {
        &self.bucket.fuse
    }
}

impl StoreFile for MemoryFiles {
    type Upload = MemoryUpload;

    async fn put_file(&self, key: &str, download_name: &str, bytes: Vec<u8>) -> Result<(), Outage> {
        self.bucket.fuse.check("write the file")?;
        let parts = vec![bytes.len()];
        let file = StoredFile { download_name: download_name.to_owned(), bytes, parts };
        lock(&self.bucket.files).insert(key.to_owned(), file);
        Ok(())
    }

    async fn begin_file(&self, key: &str, download_name: &str) -> Result<MemoryUpload, Outage> {
        self.bucket.fuse.check("begin the file")?;
        self.bucket.open.fetch_add(1, Ordering::SeqCst);
        let file = StoredFile { download_name: download_name.to_owned(), bytes: Vec::new(), parts: Vec::new() };
        Ok(MemoryUpload { bucket: Arc::clone(&self.bucket), key: key.to_owned(), file })
    }
}

/// An upload to a [`MemoryFiles`].
#[derive(Debug)]
pub struct MemoryUpload {
    bucket: Arc<Bucket>,
    key: String,
    file: StoredFile,
}

impl Upload for MemoryUpload {
    async fn part(&mut self, bytes: Vec<u8>) -> Result<(), Outage> {
        self.bucket.fuse.check("write a part of the file")?;
        self.file.parts.push(bytes.len());
        self.file.bytes.extend(bytes);
        Ok(())
    }

    async fn complete(self) -> Result<(), Outage> {
        self.bucket.fuse.check("complete the file")?;
        if self.file.parts.iter().rev().skip(1).any(|size| *size < self.bucket.least_part) {
            return Err(Outage::new("complete the file", "EntityTooSmall"));
        }
        lock(&self.bucket.files).insert(self.key, self.file);
        self.bucket.open.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    async fn abort(self) -> Result<(), Outage> {
        self.bucket.fuse.check("abort the file")?;
        self.bucket.open.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The payouts table.
#[derive(Debug, Default)]
pub struct MemoryPayouts {
    rows: BTreeMap<(TenantId, String), Row<'static>>,
    page_size: Option<usize>,
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

    /// The same payouts in pages of `page_size`.
    #[must_use]
    pub fn in_pages_of(mut self, page_size: usize) -> Self {
        self.page_size = Some(page_size);
        self
    }
}

impl ReadPayouts for MemoryPayouts {
    async fn read_payouts(
        &self,
        tenant: &TenantId,
        as_of: Timestamp,
        after: Option<&PayoutKey>,
    ) -> Result<PayoutPage, Outage> {
        self.fuse.check("read the payouts")?;
        // '$' follows '#': every payout created at `as_of` is before this.
        let end = format!("{as_of}$");
        let mut due = self
            .rows
            .iter()
            .filter(|((owner, key), _)| owner == tenant && *key < end && after.is_none_or(|after| *key > after.0));
        let mut lines = Lines::default();
        let mut last = None;
        for ((_, key), row) in due.by_ref().take(self.page_size.unwrap_or(usize::MAX)) {
            lines.push(row, key);
            last = Some(PayoutKey(key.clone()));
        }
        let next = due.next().and(last);
        Ok(PayoutPage { section: lines.finish(), next })
    }
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

/// [`export`], ready since a minute after [`start`], with [`file`] and a link for as long as its terms say.
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
