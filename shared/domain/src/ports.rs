//! What the functions need from the outside, in the domain's own types. Each function asks for the few traits it uses.
//!
//! Futures are `Send`, because the Lambda runtime asks it of HTTP handlers.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::caller::{ApiKeyRecord, KeyHash};
use crate::checkpoint::Checkpoint;
use crate::export::{Export, Status};
use crate::file::{ExportFile, Section};
use crate::history::{HistoryFilter, HistoryPage};
use crate::id::{ExportId, ExportType, TenantId};
use crate::idempotency::Idempotency;
use crate::lifecycle::Step;
use crate::mail::Mail;
use crate::time::Timestamp;

/// Whether a failed call can succeed when it is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It can: a time-out, a throttled request, an error of the service.
    Transient,
    /// It cannot until a person changes something: access denied, a missing table, an invalid record.
    Permanent,
}

/// Something outside did not answer, or not as it should.
#[derive(Debug)]
pub struct Outage {
    attempt: &'static str,
    kind: ErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl Outage {
    /// A transient error met while trying to `attempt`, such as "read the export".
    pub fn new(attempt: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of_kind(ErrorKind::Transient, attempt, source)
    }

    /// A permanent error met while trying to `attempt`.
    pub fn permanent(attempt: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of_kind(ErrorKind::Permanent, attempt, source)
    }

    /// An error of this kind met while trying to `attempt`.
    pub fn of_kind(kind: ErrorKind, attempt: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { attempt, kind, source: source.into() }
    }

    /// Whether retrying can help.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether retrying cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self.kind, ErrorKind::Permanent)
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.attempt)
    }
}

impl Error for Outage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// What time it is.
pub trait Clock: Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// New ids.
pub trait ExportIds: Sync {
    /// An id that no other export has, for one accepted at `at`.
    ///
    /// # Errors
    /// [`Outage`] if the system gives no randomness.
    fn next(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, Outage>;
}

/// Reads an API key's record.
pub trait FindApiKey: Sync {
    /// The record of the key with this hash, revoked or not.
    fn find_api_key(&self, hash: &KeyHash) -> impl Future<Output = Result<Option<ApiKeyRecord>, Outage>> + Send;
}

/// Keeps a new API key's record.
pub trait StoreApiKey: Sync {
    /// Stores the record of a key that is not stored yet.
    fn store_api_key(&self, record: &ApiKeyRecord) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// Lists a tenant's API keys.
pub trait ListApiKeys: Sync {
    /// The records of all keys that were ever issued for the tenant, the oldest first. May be a little behind.
    fn list_api_keys(&self, tenant: &TenantId) -> impl Future<Output = Result<Vec<ApiKeyRecord>, Outage>> + Send;
}

/// Revokes API keys.
pub trait RevokeApiKey: Sync {
    /// Revokes the key with this hash from `now` on, unless it was revoked before; its record after that, or `None` if
    /// there is no such key.
    fn revoke_api_key(
        &self,
        hash: &KeyHash,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, Outage>> + Send;
}

/// Why an export was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// The tenant has a pending export of this type already.
    #[error("an export is pending already: {0}")]
    AlreadyPending(ExportId),
    /// The same request was accepted within the last day, as this export. Comes before [`Self::AlreadyPending`].
    #[error("the request was accepted already: {0}")]
    AlreadyAccepted(ExportId),
    /// Another request was accepted with the same idempotency key within the last day.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It could not be written.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Accepts an export.
pub trait AcceptExport: Sync {
    /// Writes the export, its tenant's lock and, if there is one, the idempotency key in one transaction.
    fn accept_export(
        &self,
        export: &Export,
        idempotency: Option<&Idempotency>,
    ) -> impl Future<Output = Result<(), NotAccepted>> + Send;
}

/// A record that is there and cannot be read: it was changed by hand, or a newer version wrote it that was rolled back.
/// Trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not read the export: the record's attribute {attribute} is missing or malformed")]
pub struct Unreadable {
    /// The first attribute at fault, by the store's name.
    pub attribute: &'static str,
    /// Where the export stands, if that can be read.
    pub status: Option<Status>,
    /// When it fails if it is still pending, if that can be read.
    pub deadline: Option<Timestamp>,
}

/// Why an export was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It is there, and its record cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Trying again may help.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Reads an export.
pub trait FindExport: Sync {
    /// The tenant's export with this id, as it is now.
    fn find_export(
        &self,
        tenant: &TenantId,
        id: &ExportId,
    ) -> impl Future<Output = Result<Option<Export>, NotRead>> + Send;
}

/// Lists exports.
pub trait ListExports: Sync {
    /// Up to `size` of the tenant's exports that `filter` lets through at `now`, after `after`, as they are now. A page
    /// is full unless it is the last, or more than a bounded number of exports had to be looked at for it. One
    /// whose record cannot be read is left out, and named.
    ///
    /// # Errors
    /// [`Outage`]; a permanent one if `after` comes before the exports that `filter` bounds.
    fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<HistoryPage, Outage>> + Send;
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// A guard did not hold; this is the record, if there is one.
    #[error("the export has changed meanwhile")]
    Refused(Option<Box<Export>>),
    /// It could not be written, or it is unknown whether it was.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Carries out the transitions.
pub trait ApplyStep: Sync {
    /// Carries `step` out on the record of this export, in one conditional write. If the step ends the work, the lock,
    /// if it names this export, and the checkpoint go in the same write.
    fn apply_step(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
    ) -> impl Future<Output = Result<(), NotApplied>> + Send;
}

/// An export that the sweeper has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose export.
    pub tenant: TenantId,
    /// Which export.
    pub id: ExportId,
    /// Since when; of a ready export, its link's end.
    pub due_at: Timestamp,
}

/// Some of what is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuePage {
    /// What is due.
    pub due: Vec<Due>,
    /// How many entries there are besides that name no export.
    pub unreadable: u64,
    /// Where the next page begins, if there may be one.
    pub next: Option<DuePlace>,
}

/// A place among what is due, as the store knows it: what stands there need not be readable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuePlace {
    /// When it is due.
    pub due_at: String,
    /// Whose it is.
    pub tenant: String,
    /// Which of the tenant's records.
    pub sort: String,
}

/// Finds what is due.
pub trait DueExports: Sync {
    /// Exports of one shard in `status` that are due at `now`, the longest due first, `limit` at most; those behind
    /// `after` only, if it is given. May be a little behind the records.
    ///
    /// # Errors
    /// [`Outage`]; a permanent one if `after` is a place that is not due at `now`.
    fn due_exports(
        &self,
        status: Status,
        shard: u8,
        now: Timestamp,
        after: Option<&DuePlace>,
        limit: u32,
    ) -> impl Future<Output = Result<DuePage, Outage>> + Send;
}

/// Wakes the generator.
pub trait Doorbell: Sync {
    /// Sends a message that names the export, to arrive after `delay` (15 minutes at most).
    fn ring(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// The sort key of a payout: `<createdAt>#<payoutId>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayoutKey(pub String);

/// Payouts with keys after `after`, if there is one, up to and with `up_to`. Neither has to be a payout's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Below all of them.
    pub after: Option<PayoutKey>,
    /// The highest there may be.
    pub up_to: PayoutKey,
}

impl KeyRange {
    /// Whether no key can be in it. DynamoDB refuses to read such a range: the start key of a query must lie before the
    /// end of what its condition allows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.after.as_ref().map_or("", |after| &after.0) >= self.up_to.0.as_str()
    }
}

/// The first payouts of a range, written as lines of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayoutPage {
    /// The lines.
    pub section: Section,
    /// The first payout's key; `None` if there is none on this page.
    pub first: Option<PayoutKey>,
    /// The key after which the range goes on, or `None` at its end.
    pub next: Option<PayoutKey>,
    /// Whether the table asked to be read more slowly.
    pub throttled: bool,
}

/// Reads payouts.
pub trait ReadPayouts: Sync {
    /// The first page of a range of `tenant`'s payouts, in order of creation and id, as they are now (strongly
    /// consistent). A page may be empty and still have a next one, and the next one's range may be empty.
    ///
    /// # Errors
    /// [`Outage`]; a permanent one if the range is empty.
    fn read_page(&self, tenant: &TenantId, range: &KeyRange)
    -> impl Future<Output = Result<PayoutPage, Outage>> + Send;
}

/// A file that is being written in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Where the file will be.
    pub key: String,
    /// The store's name for the upload.
    pub id: String,
}

/// A part that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place in the file, from 1.
    pub number: u32,
    /// The store's name for exactly these bytes in this place.
    pub tag: String,
    /// Its size.
    pub bytes: u64,
}

/// Why an upload did not become a file.
#[derive(Debug, thiserror::Error)]
pub enum NotCompleted {
    /// The upload is gone, or a part is not what it was: this upload will never be a file.
    #[error("the upload is lost: {0}")]
    Lost(String),
    /// Trying again may help.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Writes files.
pub trait StoreFile: Sync {
    /// Writes a whole file at once.
    fn put_file(
        &self,
        key: &str,
        download_name: &str,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<(), Outage>> + Send;

    /// Begins a file that is written in parts.
    fn begin_file(&self, key: &str, download_name: &str) -> impl Future<Output = Result<Upload, Outage>> + Send;

    /// Writes a part. Only the last one may be under 5 MiB.
    fn write_part(
        &self,
        upload: &Upload,
        number: u32,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<Part, Outage>> + Send;

    /// The parts that are written, in order; `None` if there is no such upload (any more).
    fn parts(&self, upload: &Upload) -> impl Future<Output = Result<Option<Vec<Part>>, Outage>> + Send;

    /// Makes the parts a file, if their size and CRC64NVME in all are `bytes` and `crc64`. With many parts this may take
    /// minutes; after `within` it is given up, and may be done all the same.
    fn complete_file(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        crc64: u64,
        within: Duration,
    ) -> impl Future<Output = Result<(), NotCompleted>> + Send;

    /// Throws the parts away.
    fn abort_file(&self, upload: &Upload) -> impl Future<Output = Result<(), Outage>> + Send;

    /// The size of the file with this key, or `None` if there certainly is none.
    fn file_size(&self, key: &str) -> impl Future<Output = Result<Option<u64>, Outage>> + Send;
}

/// Looks for files.
pub trait FindFile: Sync {
    /// Whether this file is still stored.
    fn file_exists(&self, file: &ExportFile) -> impl Future<Output = Result<bool, Outage>> + Send;
}

/// Keeps how far the file of a pending export is.
pub trait Checkpoints: Sync {
    /// The export's checkpoint, if there is one of a form that is known here.
    fn find_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
    ) -> impl Future<Output = Result<Option<Checkpoint>, Outage>> + Send;

    /// Carries `step` out and stores the checkpoint, in one conditional write.
    fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), NotApplied>> + Send;
}

/// Makes download links.
pub trait SignLink: Sync {
    /// A URL that downloads `file` from `now` until `end` (seven days at most), for whoever has it.
    fn sign_link(
        &self,
        file: &ExportFile,
        now: Timestamp,
        end: Timestamp,
    ) -> impl Future<Output = Result<String, Outage>> + Send;
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The mail service refuses this mail or this sender, for this reason: trying again does not help. The reason may
    /// name recipients, so it is for their tenant and not for logs.
    #[error("the mail service refused the mail")]
    Refused(String),
    /// It may have been sent or not; trying again may help.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Sends mails.
pub trait SendMail: Sync {
    /// Hands the mail to the mail service, once: nothing is retried here, because a retry may send twice.
    fn send_mail(&self, mail: &Mail) -> impl Future<Output = Result<(), NotSent>> + Send;
}
