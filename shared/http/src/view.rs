//! How an export is shown.

use std::fmt::Display;
use std::time::Duration;

use domain::caller::Person;
use domain::email::{EmailAddress, Recipients};
use domain::export::{Export, Failure, Status};
use domain::file::ExportFile;
use domain::money::Money;
use domain::ports::{FindFile, Outage, SignLink};
use domain::time::Timestamp;
use serde::{Serialize, Serializer};
use telemetry::Chain;
use tracing::warn;

/// How long a download link lives that is made for one answer.
const DOWNLOAD_LIFE: Duration = Duration::from_secs(15 * 60);

/// An export as answers show it: what is not there is left out, amounts are exact decimals in strings, times are
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
struct ProgressView {
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
struct FailureView<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
}

/// A link to the file, made for one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    download_url: String,
    #[serde(serialize_with = "text")]
    download_url_expires_at: Timestamp,
}

impl Download {
    /// A link to the export's file for the next 15 minutes, but for no longer than the mailed link and the file live;
    /// none if the export is not ready, or its file was deleted.
    ///
    /// A link is made without the store, so a transient error of the store takes nothing away: the link then answers for
    /// itself.
    ///
    /// # Errors
    /// [`Outage`] if it cannot be signed, or a permanent one of the store.
    pub async fn of(
        export: &Export,
        now: Timestamp,
        files: &impl FindFile,
        links: &impl SignLink,
    ) -> Result<Option<Self>, Outage> {
        let (Status::Ready, Some(file), Some(link_end)) = (export.status_at(now), &export.file, export.link_expires_at)
        else {
            return Ok(None);
        };
        let end = now.plus(DOWNLOAD_LIFE).min(link_end).min(file.expires_at);
        // A signed URL's life is counted in whole seconds.
        let end = Timestamp::from_millis(end.seconds() * 1000);
        if end <= now {
            return Ok(None);
        }
        let (exists, download_url) = tokio::join!(files.file_exists(file), links.sign_link(file, now, end));
        match exists {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(outage) if outage.is_permanent() => return Err(outage),
            Err(outage) => warn!(error = %Chain(&outage), "unknown whether the file still exists"),
        }
        Ok(Some(Self { download_url: download_url?, download_url_expires_at: end }))
    }
}

impl<'a> ExportView<'a> {
    /// The export as it stands at `now`.
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
            progress: ProgressView { rows: export.rows_written },
            file: export.file.as_ref().map(Into::into),
            link_expires_at: export.link_expires_at,
            failure: export.failure.as_ref().map(Into::into),
            download: None,
        }
    }

    /// The same with a link to download the file.
    #[must_use]
    pub fn with_download(mut self, download: Option<Download>) -> Self {
        self.download = download;
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
        let total = |(currency, status, total): (_, domain::payout::PayoutStatus, domain::file::Total)| {
            let amount = Money { minor: total.minor, currency };
            TotalView { currency: currency.code(), status: status.as_str(), count: total.count, amount }
        };
        Self {
            name: &file.name,
            rows: file.rows,
            bytes: file.bytes,
            sha256: &file.sha256,
            totals: file.totals.iter().map(total).collect(),
            expires_at: file.expires_at,
        }
    }
}

impl<'a> From<&'a Failure> for FailureView<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self { code: failure.code.as_str(), message: &failure.message, retryable: failure.code.is_retryable() }
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
    use domain::export::FailureCode;
    use domain::testing::{self, DeletableFiles, MemoryLinks, ready_export, start};
    use serde_json::{Value, json};

    fn shown(export: &Export, now: Timestamp) -> Value {
        serde_json::to_value(ExportView::new(export, now)).unwrap()
    }

    #[test]
    fn pending_export_leaves_out_what_is_not_there() {
        assert_eq!(
            shown(&testing::export(), start()),
            json!({
                "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
                "exportType": "marketplace-payouts",
                "status": "PENDING",
                "recipients": {"to": "ann@example.com", "cc": ["cc@example.com"]},
                "requestedBy": {"email": "ann@example.com", "name": "Ann"},
                "createdAt": "2026-10-08T08:30:00.000Z",
                "updatedAt": "2026-10-08T08:30:00.000Z",
                "asOf": "2026-10-08T08:30:00.000Z",
                "progress": {"rows": 0},
            })
        );
    }

    #[test]
    fn ready_export_shows_its_file_and_exact_amounts() {
        let view = shown(&ready_export(), start());
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
                "expiresAt": "2026-11-07T08:30:00.000Z",
            })
        );
        assert_eq!(view.get("failure"), None);
    }

    #[test]
    fn ready_export_whose_link_has_ended_shows_as_expired() {
        let end = ready_export().link_expires_at.unwrap();
        assert_eq!(shown(&ready_export(), Timestamp::from_millis(end.millis() - 1))["status"], "READY");
        assert_eq!(shown(&ready_export(), end)["status"], "EXPIRED");
    }

    #[test]
    fn failed_export_says_why_and_whether_to_try_again() {
        let failure = Failure { code: FailureCode::GenerationFailed, message: "tried 5 times".into() };
        let export = Export { status: Status::Failed, failure: Some(failure), ..testing::export() };
        let expected = json!({"code": "GENERATION_FAILED", "message": "tried 5 times", "retryable": true});
        assert_eq!(shown(&export, start())["failure"], expected);
    }

    async fn download_end(export: &Export, now: Timestamp) -> Option<String> {
        let download = Download::of(export, now, &DeletableFiles::default(), &MemoryLinks::default()).await.unwrap()?;
        let end = download.download_url_expires_at.to_string();
        assert!(download.download_url.ends_with(&format!("?from={now}&until={end}")), "{}", download.download_url);
        Some(end)
    }

    #[tokio::test]
    async fn download_lives_15_minutes_but_not_longer_than_link_and_file() {
        let seconds = |n| start().plus(Duration::from_secs(n));
        let export = ready_export();
        assert_eq!(download_end(&export, start()).await, Some(seconds(900).to_string()));
        let export = Export { link_expires_at: Some(seconds(60).plus(Duration::from_millis(999))), ..export };
        assert_eq!(download_end(&export, start()).await, Some(seconds(60).to_string()));
        let file = ExportFile { expires_at: seconds(30), ..testing::file() };
        let export = Export { file: Some(file), ..export };
        assert_eq!(download_end(&export, start()).await, Some(seconds(30).to_string()));
    }

    #[tokio::test]
    async fn download_is_there_only_while_the_export_is_ready() {
        let end = ready_export().link_expires_at.unwrap();
        assert_eq!(download_end(&ready_export(), end).await, None);
        for status in [Status::Pending, Status::Failed, Status::Expired] {
            assert_eq!(download_end(&Export { status, ..ready_export() }, start()).await, None, "{status}");
        }
    }
}
