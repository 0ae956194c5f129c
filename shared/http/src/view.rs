//! The JSON representation of an export.

use std::fmt::Display;
use std::time::Duration;

use exports_domain::caller::Person;
use exports_domain::email::{EmailAddress, Recipients};
use exports_domain::error::DependencyError;
use exports_domain::export::{Export, State};
use exports_domain::export_type::RowStatus;
use exports_domain::failure::Failure;
use exports_domain::file::ExportFile;
use exports_domain::money::{Currency, Money};
use exports_domain::ports::FileStore;
use exports_domain::time::Timestamp;
use exports_domain::totals::Total;
use exports_telemetry::Chain;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::warn;

use crate::options::filter_json;

/// The lifetime of `downloadUrl`.
const DOWNLOAD_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// An export as in responses. Absent values are omitted, amounts are decimal strings, and times have the format
/// `2026-10-08T00:00:01.000Z`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportView<'a> {
    export_id: String,
    export_type: &'static str,
    status: &'static str,
    recipients: RecipientsView<'a>,
    requested_by: PersonView<'a>,
    #[serde(serialize_with = "text")]
    created_at: Timestamp,
    #[serde(serialize_with = "text")]
    updated_at: Timestamp,
    #[serde(serialize_with = "text")]
    as_of: Timestamp,
    filter: Value,
    format: &'static str,
    progress: ProgressView,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    link_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView<'a>>,
    #[serde(flatten)]
    download: Option<Download>,
}

#[derive(Debug, Serialize)]
struct RecipientsView<'a> {
    to: &'a str,
    cc: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct PersonView<'a> {
    email: &'a str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressView {
    rows_read: u64,
    rows: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileView<'a> {
    name: &'a str,
    rows: u64,
    bytes: u64,
    sha256: &'a str,
    totals: Vec<TotalView>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    read_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    read_to: Option<Timestamp>,
    #[serde(serialize_with = "text")]
    expires_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct TotalView {
    currency: &'static str,
    status: &'static str,
    count: u64,
    #[serde(serialize_with = "text")]
    amount: Money,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureView<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_by: Option<PersonView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_rows: Option<InvalidRowsView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InvalidRowsView {
    count: u64,
    is_complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    download_url: Option<String>,
}

/// A short-lived link to the file of an export, or to its file of invalid rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    download_url: String,
    #[serde(serialize_with = "text")]
    download_url_expires_at: Timestamp,
}

impl Download {
    /// A link that expires in 15 minutes, or with the mailed link or the file if they expire earlier. `None` if the
    /// export is not READY, or its file was deleted.
    ///
    /// Signing does not access the bucket. So if it is unknown whether the file exists, because of a transient error, the
    /// link is returned anyway.
    ///
    /// # Errors
    /// [`DependencyError`] if signing fails, or the bucket has a permanent error.
    pub async fn of(export: &Export, now: Timestamp, files: &impl FileStore) -> Result<Option<Self>, DependencyError> {
        let State::Ready { file, link_expires_at } = &export.state else { return Ok(None) };
        Self::until((*link_expires_at).min(file.expires_at), &file.key, now, files).await
    }

    /// The same for the file of invalid rows; `None` if the export has none.
    ///
    /// # Errors
    /// The same as those of [`Self::of`].
    pub async fn of_invalid_rows(
        export: &Export,
        now: Timestamp,
        files: &impl FileStore,
    ) -> Result<Option<Self>, DependencyError> {
        match export.failure().and_then(|failure| failure.invalid_rows.as_ref()) {
            Some(file) => Self::until(file.expires_at, &file.key, now, files).await,
            None => Ok(None),
        }
    }

    /// A link to the object with this key that expires in 15 minutes, or at `end` if that is earlier. `None` if that has
    /// passed, or the object was deleted.
    async fn until(
        end: Timestamp,
        key: &str,
        now: Timestamp,
        files: &impl FileStore,
    ) -> Result<Option<Self>, DependencyError> {
        // A presigned URL expires on a whole second.
        let expiry = Timestamp::from_millis(now.plus(DOWNLOAD_LIFETIME).min(end).seconds() * 1000);
        if expiry <= now {
            return Ok(None);
        }
        let (exists, download_url) = tokio::join!(files.file_exists(key), files.sign_link(key, now, expiry));
        match exists {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => warn!(error = %Chain(&error), "unknown whether the file still exists"),
        }
        Ok(Some(Self { download_url: download_url?, download_url_expires_at: expiry }))
    }
}

impl<'a> ExportView<'a> {
    /// The export with its status at `now`.
    #[must_use]
    pub fn new(export: &'a Export, now: Timestamp) -> Self {
        Self {
            export_id: export.id.to_string(),
            export_type: export.id.export_type().slug(),
            status: export.status_at(now).as_str(),
            recipients: (&export.recipients).into(),
            requested_by: (&export.requested_by).into(),
            created_at: export.created_at(),
            updated_at: export.updated_at,
            as_of: export.as_of(),
            filter: filter_json(&export.options.filter),
            format: export.options.format.as_str(),
            progress: ProgressView { rows_read: export.rows_read, rows: export.rows_written },
            file: export.file().map(Into::into),
            link_expires_at: export.link_expires_at(),
            failure: export.failure().map(Into::into),
            download: None,
        }
    }

    /// Adds the download link.
    #[must_use]
    pub fn with_download(mut self, download: Option<Download>) -> Self {
        self.download = download;
        self
    }

    /// Adds the link to the file of invalid rows.
    #[must_use]
    pub fn with_invalid_rows(mut self, download: Option<Download>) -> Self {
        if let Some(view) = self.failure.as_mut().and_then(|failure| failure.invalid_rows.as_mut()) {
            view.download_url = download.map(|download| download.download_url);
        }
        self
    }
}

impl<'a> From<&'a Recipients> for RecipientsView<'a> {
    fn from(recipients: &'a Recipients) -> Self {
        Self { to: recipients.to().as_str(), cc: recipients.cc().iter().map(EmailAddress::as_str).collect() }
    }
}

impl<'a> From<&'a Person> for PersonView<'a> {
    fn from(person: &'a Person) -> Self {
        Self { email: person.email.as_str(), name: person.name.as_str() }
    }
}

impl<'a> From<&'a ExportFile> for FileView<'a> {
    fn from(file: &'a ExportFile) -> Self {
        let total = |(currency, status, total): (Currency, RowStatus, Total)| {
            let amount = Money { minor: total.minor, currency };
            TotalView { currency: currency.code(), status: status.name(), count: total.count, amount }
        };
        Self {
            name: &file.name,
            rows: file.rows,
            bytes: file.bytes,
            sha256: &file.sha256,
            totals: file.totals.iter().map(total).collect(),
            read_from: file.read.map(|read| read.from),
            read_to: file.read.map(|read| read.to),
            expires_at: file.expires_at,
        }
    }
}

impl<'a> From<&'a Failure> for FailureView<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self {
            code: failure.code.as_str(),
            message: &failure.message,
            retryable: failure.code.is_retryable(),
            cancelled_by: failure.cancelled_by.as_ref().map(Into::into),
            invalid_rows: failure.invalid_rows.as_ref().map(|file| InvalidRowsView {
                count: file.count,
                is_complete: file.is_complete,
                download_url: None,
            }),
        }
    }
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional_text<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::export::Status;
    use exports_domain::failure::FailureCode;
    use exports_domain::testing::{self, MemoryFiles, ready_export, start, state};
    use serde_json::json;

    fn view(export: &Export, now: Timestamp) -> Value {
        serde_json::to_value(ExportView::new(export, now)).unwrap()
    }

    #[test]
    fn pending_export_omits_absent_fields() {
        assert_eq!(
            view(&testing::export(), start()),
            json!({
                "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
                "exportType": "marketplace-payouts",
                "status": "PENDING",
                "recipients": {"to": "ann@example.com", "cc": ["cc@example.com"]},
                "requestedBy": {"email": "ann@example.com", "name": "Ann"},
                "createdAt": "2026-10-08T08:30:00.000Z",
                "updatedAt": "2026-10-08T08:30:00.000Z",
                "asOf": "2026-10-08T08:30:00.000Z",
                "filter": {},
                "format": "CSV",
                "progress": {"rowsRead": 0, "rows": 0},
            })
        );
    }

    #[test]
    fn ready_export_has_file_and_decimal_amounts() {
        let view = view(&ready_export(), start());
        assert_eq!(view["status"], "READY");
        assert_eq!(view["linkExpiresAt"], "2026-10-11T08:30:00.000Z");
        assert_eq!(
            view["file"],
            json!({
                "name": "marketplace-payouts-acme-20261008T083000Z.csv",
                "rows": 3,
                "bytes": 1000,
                "sha256": "ab".repeat(32),
                "totals": [{"currency": "EUR", "status": "SETTLED", "count": 3, "amount": "123.45"}],
                "readFrom": "2026-10-08T08:30:00.000Z",
                "readTo": "2026-10-08T08:31:00.000Z",
                "expiresAt": "2026-11-07T08:30:00.000Z",
            })
        );
        assert_eq!(view.get("failure"), None);
    }

    #[test]
    fn ready_export_with_expired_link_is_expired() {
        let expiry = ready_export().link_expires_at().unwrap();
        assert_eq!(view(&ready_export(), Timestamp::from_millis(expiry.millis() - 1))["status"], "READY");
        assert_eq!(view(&ready_export(), expiry)["status"], "EXPIRED");
    }

    #[test]
    fn failed_export_has_failure_and_retryable() {
        let failure = Failure {
            code: FailureCode::GenerationFailed,
            message: "tried 5 times".into(),
            cancelled_by: None,
            invalid_rows: None,
        };
        let export = Export { state: State::Failed { failure, file: None }, ..testing::export() };
        let expected = json!({"code": "GENERATION_FAILED", "message": "tried 5 times", "retryable": true});
        assert_eq!(view(&export, start())["failure"], expected);
    }

    #[test]
    fn cancelled_export_shows_who_cancelled_it() {
        let failure = Failure::cancelled(testing::operator("acme").user);
        let export = Export { state: State::Failed { failure, file: None }, ..testing::export() };
        let expected = json!({
            "code": "CANCELLED",
            "message": "Ann cancelled the export.",
            "retryable": true,
            "cancelledBy": {"email": "ann@example.com", "name": "Ann"},
        });
        assert_eq!(view(&export, start())["failure"], expected);
    }

    async fn download_expiry(export: &Export, now: Timestamp) -> Option<String> {
        let download = Download::of(export, now, &MemoryFiles::with_samples()).await.unwrap()?;
        let expiry = download.download_url_expires_at.to_string();
        assert!(download.download_url.ends_with(&format!("?from={now}&until={expiry}")), "{}", download.download_url);
        Some(expiry)
    }

    #[tokio::test]
    async fn download_expires_after_15_minutes_or_with_link_or_file() {
        let seconds = |n| start().plus(Duration::from_secs(n));
        let export = ready_export();
        assert_eq!(download_expiry(&export, start()).await, Some(seconds(900).to_string()));
        let link_expires_at = seconds(60).plus(Duration::from_millis(999));
        let export = Export { state: State::Ready { file: testing::file(), link_expires_at }, ..export };
        assert_eq!(download_expiry(&export, start()).await, Some(seconds(60).to_string()));
        let file = ExportFile { expires_at: seconds(30), ..testing::file() };
        let export = Export { state: State::Ready { file, link_expires_at }, ..export };
        assert_eq!(download_expiry(&export, start()).await, Some(seconds(30).to_string()));
    }

    #[tokio::test]
    async fn download_exists_only_for_ready_export() {
        let expiry = ready_export().link_expires_at().unwrap();
        assert_eq!(download_expiry(&ready_export(), expiry).await, None);
        for status in [Status::Pending, Status::Failed, Status::Expired] {
            assert_eq!(
                download_expiry(&Export { state: state(status), ..ready_export() }, start()).await,
                None,
                "{status}"
            );
        }
    }
}
