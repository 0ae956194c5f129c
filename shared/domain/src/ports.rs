//! The handlers' dependencies outside the process: one trait for each resource, in the domain's own terms.
//!
//! Handlers take the stores as type parameters, so that a binary links only the operations it calls, and all other ports
//! as trait objects. The generator calls every operation on files, and takes them as a trait object too.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;

use crate::caller::{ApiKeyRecord, KeyHash};
use crate::checkpoint::Checkpoint;
use crate::error::DependencyError;
use crate::export::{Export, Status};
use crate::export_type::ExportType;
use crate::file::NewFile;
use crate::history::{HistoryFilter, HistoryPage};
use crate::id::{ExportId, TenantId};
use crate::idempotency::Idempotency;
use crate::lifecycle::Step;
use crate::mail::Mail;
use crate::row_encoder::EncodedRows;
use crate::row_selection::RowSelection;
use crate::time::Timestamp;

/// The clock, and new ids.
pub trait System: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// A unique id for an export accepted at `at`.
    ///
    /// # Errors
    /// [`DependencyError`] if the system has no randomness.
    fn new_export_id(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, DependencyError>;
}

/// API keys.
pub trait ApiKeyStore: Send + Sync {
    /// The record of the key with this hash, revoked or not.
    fn find_api_key(
        &self,
        hash: &KeyHash,
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, DependencyError>> + Send;

    /// Stores the record of a new key. A record with its hash is kept: an earlier attempt stored it.
    fn store_api_key(&self, record: &ApiKeyRecord) -> impl Future<Output = Result<(), DependencyError>> + Send;

    /// Records that the key with this hash was used on the day that starts at `day`, unless that day or a later one is
    /// recorded or there is no such key.
    fn record_api_key_use(
        &self,
        hash: &KeyHash,
        day: Timestamp,
    ) -> impl Future<Output = Result<(), DependencyError>> + Send;

    /// All keys ever issued for the tenant, oldest first, except those with a corrupt record, which authorize no request.
    /// Eventually consistent.
    fn list_api_keys(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<Vec<ApiKeyRecord>, DependencyError>> + Send;

    /// Revokes the key with this hash at `now`, unless it already is revoked. Returns its record, or `None` if there is
    /// no such key.
    fn revoke_api_key(
        &self,
        hash: &KeyHash,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, DependencyError>> + Send;
}

/// Why an export was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The tenant already has this pending export of the type.
    #[error("an export is already pending: {0}")]
    AlreadyPending(ExportId),
    /// The same request was accepted within 24 hours, as this export. Takes precedence over [`Self::AlreadyPending`].
    #[error("the request was already accepted: {0}")]
    AlreadyAccepted(ExportId),
    /// Another request with the same idempotency key was accepted within 24 hours.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It could not be written.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

/// A record that cannot be decoded: it was edited by hand, or written by a newer version that was rolled back.
/// Permanent until somebody repairs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt record: the attribute {attribute} is missing or malformed")]
pub struct CorruptRecord {
    /// The first invalid attribute, by the store's name.
    pub attribute: &'static str,
    /// The status, if it can be decoded.
    pub status: Option<Status>,
    /// The deadline, if it can be decoded.
    pub deadline: Option<Timestamp>,
}

/// Why an export was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its record is corrupt.
    #[error(transparent)]
    Corrupt(#[from] CorruptRecord),
    /// The store failed.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

/// Why a step was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A guard did not hold; this is the current record, if there is one.
    #[error("the export has changed in the meantime")]
    Conflict(Option<Box<Export>>),
    /// It could not be written, or it is unknown whether it was.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

/// The outcome of a step that was applied to a record without reading it before.
#[derive(Debug)]
pub enum TriedStep {
    /// It was applied; this is the record after it.
    Applied(Box<Export>),
    /// A guard did not hold; this is the current record, if there is one.
    Rejected(Option<Box<Export>>),
}

/// An export whose next check time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledCheck {
    /// The export's tenant.
    pub tenant: TenantId,
    /// The export.
    pub id: ExportId,
    /// The time of the check; for a READY export, its link expiry.
    pub at: Timestamp,
}

/// A page of scheduled checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPage<C> {
    /// The checks, earliest first.
    pub checks: Vec<ScheduledCheck>,
    /// Further entries that do not name an export.
    pub corrupt: u64,
    /// Where the next page starts; `None` if this is the last.
    pub next: Option<C>,
}

/// Exports with their locks, idempotency records and checkpoints.
pub trait ExportStore: Send + Sync {
    /// A position in the scheduled checks.
    type CheckCursor: Clone + fmt::Debug + Send + Sync;

    /// Writes a new export, the tenant's lock and, if given, the idempotency record in one transaction.
    fn accept_export(
        &self,
        export: &Export,
        idempotency: Option<&Idempotency>,
    ) -> impl Future<Output = Result<(), AcceptError>> + Send;

    /// The tenant's export with this id. Strongly consistent.
    fn find_export(
        &self,
        tenant: &TenantId,
        id: &ExportId,
    ) -> impl Future<Output = Result<Option<Export>, ReadError>> + Send;

    /// Up to `size` of the tenant's exports that match `filter` at `now`, after `after`. Strongly consistent. A page may
    /// be short and still have a next one, because the number of records read for it is bounded. Corrupt records are
    /// left out and named.
    ///
    /// # Errors
    /// [`DependencyError`]; a permanent one if `after` precedes the period of `filter`.
    fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<HistoryPage, DependencyError>> + Send;

    /// Applies `step` to the export in one conditional write. A step that leaves PENDING deletes the checkpoint, and the
    /// lock if it names this export, in the same write.
    fn apply_step(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Applies a step that does not leave PENDING, as [`apply_step`](Self::apply_step) does, and returns the record.
    ///
    /// # Errors
    /// [`ReadError`]. The step may have been applied nevertheless, also to a corrupt record.
    fn try_step(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
    ) -> impl Future<Output = Result<TriedStep, ReadError>> + Send;

    /// The export's checkpoint, if there is one. One of another version or a corrupt one is logged and ignored.
    fn find_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
    ) -> impl Future<Output = Result<Option<Checkpoint>, DependencyError>> + Send;

    /// Applies a step that does not leave PENDING and stores the checkpoint, in one conditional write.
    fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Where the scheduled checks of exports in `status` start: they are in several sequences, which can be read in
    /// parallel.
    fn check_cursors(&self, status: Status) -> Vec<Self::CheckCursor>;

    /// Up to `limit` exports of the cursor's sequence whose next check time is `now` or earlier, earliest first, from
    /// the cursor on. Eventually consistent.
    ///
    /// # Errors
    /// [`DependencyError`]; a permanent one if the cursor is later than `now`.
    fn scheduled_checks(
        &self,
        cursor: &Self::CheckCursor,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<CheckPage<Self::CheckCursor>, DependencyError>> + Send;
}

/// The jobs queue, which starts the generator.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Sends the export's job message, delivered after `delay` (15 minutes at most).
    async fn enqueue(&self, export: &Export, delay: Duration) -> Result<(), DependencyError>;
}

/// The key of a row, by which a tenant's rows are ordered: `<createdAt>#<id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey(pub String);

/// The rows whose key is greater than `after`, if given, and at most `up_to`. Neither has to be a row's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The exclusive lower bound.
    pub after: Option<RowKey>,
    /// The inclusive upper bound.
    pub up_to: RowKey,
}

impl KeyRange {
    /// The keys of the rows created from `from` to `to` (inclusive), and keys of another form that sort among them, so that
    /// these are found to be invalid.
    #[must_use]
    pub fn created(from: Option<Timestamp>, to: Timestamp) -> Self {
        // `$` follows `#`, so this follows all keys of rows of the millisecond.
        let end_of = |time: Timestamp| RowKey(format!("{time}$"));
        let before = |time: Timestamp| time.minus(Duration::from_millis(1));
        // Nothing precedes the earliest time.
        let after = from.filter(|from| before(*from) < *from).map(|from| end_of(before(from)));
        Self { after, up_to: end_of(to) }
    }

    /// Whether it contains no key. A [`RowSource`] rejects an empty range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.after.as_ref().map_or("", |after| &after.0) >= self.up_to.0.as_str()
    }
}

/// The first rows of a range, encoded for the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowPage {
    /// The encoded rows.
    pub encoded: EncodedRows,
    /// The first row's key; `None` if the page is empty.
    pub first: Option<RowKey>,
    /// The key after which the rest of the range starts; `None` at its end.
    pub next: Option<RowKey>,
    /// How much of the source's throughput the page took, in bytes: not the size of the rows.
    pub read_bytes: u64,
    /// Whether the source is busy: fewer pages should be read at once.
    pub is_source_busy: bool,
}

/// The source tables of all export types.
#[async_trait]
pub trait RowSource: Send + Sync {
    /// The first page of a range of the tenant's rows, ordered by key and encoded as `selection` says. Strongly
    /// consistent. A page may be empty and still have a next one, whose range may be empty.
    ///
    /// # Errors
    /// [`DependencyError`]; a permanent one if the range is empty.
    async fn read_page(
        &self,
        selection: &RowSelection,
        tenant: &TenantId,
        range: &KeyRange,
    ) -> Result<RowPage, DependencyError>;
}

/// A multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The object key of the file.
    pub key: String,
    /// The store's id of the upload.
    pub id: String,
}

/// A part of a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// The store's receipt for exactly these bytes in this place.
    pub receipt: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why an upload was not completed.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// The upload no longer exists, or a part has changed. It can never be completed.
    #[error("the upload is lost: {0}")]
    UploadLost(String),
    /// The store failed. The upload may be complete nevertheless.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

/// The files of exports, their uploads, and links to them.
#[async_trait]
pub trait FileStore: Send + Sync {
    /// Writes a file in one request.
    async fn put_file(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), DependencyError>;

    /// Starts a multipart upload.
    async fn start_upload(&self, file: &NewFile) -> Result<Upload, DependencyError>;

    /// Uploads a part. Only the last one may be smaller than 5 MiB.
    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError>;

    /// The uploaded parts, by number; `None` if the upload does not exist (any more).
    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError>;

    /// Completes the upload, provided that the parts have `bytes` bytes and the CRC64NVME `crc64` in total. With many
    /// parts this may take minutes. The call is abandoned after `timeout`, and may still take effect.
    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        crc64: u64,
        timeout: Duration,
    ) -> Result<(), CompleteError>;

    /// Aborts the upload and deletes its parts. An upload that does not exist (any more) is not an error.
    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError>;

    /// Writes an object with this [unfinished key](crate::file::unfinished_key) in one request.
    async fn put_unfinished(&self, key: &str, bytes: Vec<u8>) -> Result<(), DependencyError>;

    /// The object with this unfinished key, or `None` if it does not exist (any more).
    async fn get_unfinished(&self, key: &str) -> Result<Option<Vec<u8>>, DependencyError>;

    /// Deletes the object with this unfinished key, if it exists.
    async fn delete_unfinished(&self, key: &str) -> Result<(), DependencyError>;

    /// Deletes the file with this key, if it exists.
    async fn delete_file(&self, key: &str) -> Result<(), DependencyError>;

    /// The size of the file with this key, or `None` if it does not exist.
    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError>;

    /// Whether the file with this object key still exists.
    async fn file_exists(&self, key: &str) -> Result<bool, DependencyError>;

    /// A URL that anybody can download the file with this object key with, from `now` until `expiry` (seven days at
    /// most).
    async fn sign_link(&self, key: &str, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError>;
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The e-mail service rejected the mail or the sender, with this reason. It may contain addresses: show it to the
    /// tenant, do not log it.
    #[error("the e-mail service rejected the e-mail")]
    Rejected(String),
    /// The mail may or may not have been sent.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

/// The e-mail service.
#[async_trait]
pub trait MailSender: Send + Sync {
    /// Sends the mail without retries, because a retry could send it twice.
    async fn send_mail(&self, mail: &Mail) -> Result<(), SendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_has_the_keys_of_its_rows_and_keys_of_another_form_among_them() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, to) = (time("2026-09-01T00:00:00.000Z"), time("2026-10-08T08:30:00.000Z"));
        let contains = |range: &KeyRange, key: &str| {
            range.after.as_ref().is_none_or(|after| key > &*after.0) && key <= &*range.up_to.0
        };
        let (period, all) = (KeyRange::created(Some(from), to), KeyRange::created(None, to));
        for key in [
            "2026-09-01T00:00:00.000Z",
            "2026-09-01T00:00:00.000Z#",
            "2026-09-01T00:00:00.000Z#po_1",
            "2026-09-02",
            "2026-10-08T08:30:00.000Z#\u{10ffff}",
        ] {
            assert!(contains(&period, key) && contains(&all, key), "{key}");
        }
        for (key, is_in_all) in [
            ("", true),
            ("2026-08-31T23:59:59.999Z#\u{10ffff}", true),
            ("2026-10-08T08:30:00.001Z", false),
            ("2026-10-08T08:30:00.001Z#po_1", false),
            ("po_1", false),
        ] {
            assert_eq!((contains(&period, key), contains(&all, key)), (false, is_in_all), "{key}");
        }
        let [first, last] = [i64::MIN, i64::MAX].map(Timestamp::from_millis);
        let ever = KeyRange::created(Some(first), last);
        assert!(contains(&ever, &format!("{first}#po_1")) && contains(&ever, &format!("{last}#po_1")));
    }
}
