//! `POST /v1/exports/{exportId}/resend-email`: resends the mail of an export, with a new link to the same file.
//!
//! The caller is the main recipient. The CC recipients are those in the body, or else those of the record, without the
//! caller. The resend is counted before the mail is sent, so that concurrent requests cannot exceed the daily limit. It is
//! recorded after the mail was accepted: the export is then READY until the new link expires. Of two concurrent resends,
//! the later link expiry is kept.
//!
//! If the file has expired or was deleted, the response is 410, and nothing is counted or sent. If it is unknown whether
//! the file exists, the request fails too, because a mail cannot be recalled.

use std::time::Duration;

use exports_domain::back_office::BackOfficeUrl;
use exports_domain::caller::{Caller, Person};
use exports_domain::email::{AllowedDomains, Recipients};
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::file::ExportFile;
use exports_domain::lifecycle::{self, ResendError, Step};
use exports_domain::mail::Mail;
use exports_domain::ports::{ApiKeyStore, ApplyError, ExportStore, FileStore, MailSender, SendError, System};
use exports_domain::time::Timestamp;
use exports_http::auth::Authenticator;
use exports_http::body::{self, BodyError};
use exports_http::view::ExportView;
use exports_http::{ApiError, Request, Success};
use exports_telemetry::Chain;
use tracing::{info, warn};

/// How often the mail of one export can be resent a day (UTC), unless a setting overrides it.
pub const MAX_RESENDS_A_DAY: u32 = 10;

/// How long all calls before the mail may take. In the rest of the request, the mail is sent and recorded.
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(15);

/// How often, and for how long in total, recording an accepted mail is attempted. The caller waits.
const RECORD_ATTEMPTS: u32 = 3;
const RECORD_TIMEOUT: Duration = Duration::from_secs(8);

/// Resends the e-mails of exports that have a file.
pub struct ResendEmail<'a, K, S, F> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// Where exports are kept.
    pub exports: &'a S,
    /// Finds the file and signs the link.
    pub files: &'a F,
    /// Sends the mail.
    pub mail: &'a dyn MailSender,
    /// The back office that mails link to, if known.
    pub back_office: Option<BackOfficeUrl>,
    /// The clock.
    pub system: &'a dyn System,
    /// How often the mail of one export can be resent a day (UTC).
    pub max_resends_a_day: u32,
    /// The domains that CC recipients may have.
    pub allowed: AllowedDomains,
}

impl<K: ApiKeyStore, S: ExportStore, F: FileStore> ResendEmail<'_, K, S, F> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ApiError`]. Except for [`ApiError::EmailSentNotRecorded`] no mail was sent or it is unknown whether it was, and
    /// the record is unchanged apart from the count.
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let prepared = tokio::time::timeout(PREPARATION_TIMEOUT, self.prepare(request)).await;
        let (export, mail, link_expiry) = prepared
            .unwrap_or_else(|elapsed| Err(DependencyError::transient("prepare the mail in time", elapsed).into()))?;
        self.mail.send_mail(&mail).await.map_err(send_error)?;
        let export = self.record(export, mail.recipients, link_expiry).await?;

        info!(cc = export.recipients.cc().len(), "mail resent");
        Ok(Success::ok(&ExportView::new(&export, self.system.now())))
    }

    /// Checks the request and counts the resend. Returns the export, the mail and the expiry of its link.
    async fn prepare(&self, request: &Request) -> Result<(Export, Mail, Timestamp), ApiError> {
        let now = self.system.now();
        let caller = self.callers.operator(request, now).await?;
        let id = request.export_id()?;
        exports_telemetry::record_export(&id);
        let export = self.exports.find_export(&caller.tenant, &id).await?.ok_or(ApiError::ExportNotFound)?;
        exports_telemetry::record_launch(export.launch_request_id.as_deref());
        let recipients = match body::recipients(request, &caller.user.email, &self.allowed)? {
            Some(recipients) => recipients,
            None => original_recipients(&export, &caller, &self.allowed)?,
        };

        // Everything that can fail comes before the count, so that a failure does not use up a resend.
        let count =
            lifecycle::count_resend(&export, now, self.max_resends_a_day).map_err(|error| resend_error(error, now))?;
        let file = export.file().ok_or(ApiError::NoFile)?;
        let link_expiry = file.link_expiry(now, export.settings.link_lifetime);
        if link_expiry <= now {
            return Err(ApiError::FileGone);
        }
        let (exists, link) =
            tokio::join!(self.files.file_exists(&file.key), self.files.sign_link(&file.key, now, link_expiry));
        if !exists? {
            return Err(ApiError::FileGone);
        }
        let mail = mail(&export, caller.user, recipients, file, &link?, link_expiry, self.back_office.as_ref())?;

        self.count(&export, &count, now).await?;
        Ok((export, mail, link_expiry))
    }

    /// Counts this resend, unless concurrent requests have reached the limit since the read.
    async fn count(&self, export: &Export, step: &Step, now: Timestamp) -> Result<(), ApiError> {
        match self.exports.apply_step(&export.tenant, &export.id, step).await {
            Ok(()) => Ok(()),
            Err(ApplyError::Conflict(Some(_))) => Err(resend_error(ResendError::TooOften, now)),
            Err(ApplyError::Conflict(None)) => Err(ApiError::ExportNotFound),
            Err(ApplyError::Dependency(error)) => Err(error.into()),
        }
    }

    /// Records the accepted mail. Returns the export with this mail's recipients and link expiry, or, if a concurrent
    /// resend has a later expiry, with those.
    async fn record(&self, export: Export, recipients: Recipients, link_expiry: Timestamp) -> Result<Export, ApiError> {
        let step = lifecycle::resent(self.system.now(), recipients, link_expiry);
        let attempts = async {
            let mut attempt = 1;
            loop {
                match self.exports.apply_step(&export.tenant, &export.id, &step).await {
                    Ok(()) => return Ok(step.changed(&export)),
                    Err(ApplyError::Conflict(Some(changed))) => return Ok(*changed),
                    Err(ApplyError::Conflict(None)) => {
                        return Err(DependencyError::transient("record the mail", "the export no longer exists"));
                    }
                    Err(ApplyError::Dependency(error)) if attempt >= RECORD_ATTEMPTS || error.is_permanent() => {
                        return Err(error);
                    }
                    Err(ApplyError::Dependency(error)) => {
                        warn!(error = %Chain(&error), attempt, "mail not recorded yet");
                        attempt += 1;
                    }
                }
            }
        };
        let recorded = tokio::time::timeout(RECORD_TIMEOUT, attempts).await;
        recorded
            .unwrap_or_else(|elapsed| Err(DependencyError::transient("record the mail in time", elapsed)))
            .map_err(|error| ApiError::EmailSentNotRecorded(error.into()))
    }
}

fn resend_error(error: ResendError, now: Timestamp) -> ApiError {
    match error {
        ResendError::Pending => ApiError::NotYetMailed,
        ResendError::NoFile => ApiError::NoFile,
        ResendError::FileGone => ApiError::FileGone,
        ResendError::TooOften => ApiError::TooManyResends(rest_of_day(now)),
    }
}

fn send_error(error: SendError) -> ApiError {
    match error {
        SendError::Dependency(error) if error.is_permanent() => error.into(),
        error => ApiError::EmailNotSent(error),
    }
}

/// The caller, and the CC recipients of the record.
fn original_recipients(export: &Export, caller: &Caller, allowed: &AllowedDomains) -> Result<Recipients, BodyError> {
    body::check_recorded_cc(&export.recipients, allowed)?;
    let cc = export.recipients.cc().iter().cloned();
    // Cannot fail: a different main recipient can only shorten the list.
    Ok(Recipients::new(caller.user.email.clone(), cc).unwrap_or_else(|_| Recipients::only(caller.user.email.clone())))
}

/// The mail, addressed to `reader` instead of the original requester.
fn mail(
    export: &Export,
    reader: Person,
    recipients: Recipients,
    file: &ExportFile,
    link: &str,
    link_expiry: Timestamp,
    back_office: Option<&BackOfficeUrl>,
) -> Result<Mail, DependencyError> {
    let export = Export { requested_by: reader, recipients, ..export.clone() };
    Mail::ready(&export, file, link, link_expiry, back_office)
        .map_err(|error| DependencyError::permanent("write the mail", error))
}

/// The time until the next day (UTC).
fn rest_of_day(now: Timestamp) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    now.start_of_day().plus(DAY).since(now)
}

#[cfg(test)]
mod tests;
