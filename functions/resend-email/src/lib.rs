//! `POST /v1/exports/{exportId}/resend-email`: sends the mail of an export again, with a new link to the same file.
//!
//! The mail goes to the caller, and to the copies that the body names or the record keeps. It is counted before it is
//! sent, so that no race sends more than a day allows, and recorded after it was accepted: then the export is READY until
//! the new link ends. Of two at once the later end stays.
//!
//! A file whose retention is over, or that was deleted before, makes it a 410: nothing is counted and nothing sent. An
//! error that leaves open whether the file exists stops the request, too: the mail cannot be taken back.

use std::time::Duration;

use domain::back_office::BackOfficeUrl;
use domain::caller::{Caller, Person};
use domain::email::{AllowedDomains, Recipients};
use domain::export::Export;
use domain::file::ExportFile;
use domain::lifecycle::{self, NotResendable};
use domain::mail::Mail;
use domain::ports::{
    ApplyStep, Clock, FindApiKey, FindExport, FindFile, NotApplied, NotRead, NotSent, Outage, SendMail, SignLink,
};
use domain::time::Timestamp;
use http::auth::{Authenticator, NotAuthorized};
use http::body::{self, BadBody};
use http::problem::NoSuchExport;
use http::view::ExportView;
use http::{Problem, Request, Success};
use telemetry::Chain;
use tracing::{info, warn};

/// How often a day the mail of one export may be sent again, unless a setting says otherwise.
pub const MOST_RESENDS_A_DAY: u32 = 10;

/// How often the count is tried again that others are raising at the same moment.
const COUNT_TRIES: u32 = 20;

/// How often, and for how long in all, it is tried to record a mail that went out. The caller should be told in time
/// if it does not succeed.
const RECORD_TRIES: u32 = 3;
const RECORD_WITHIN: Duration = Duration::from_secs(8);

/// Sends mails again.
#[derive(Debug)]
pub struct ResendEmail<K, S, F, L, M, C> {
    /// Tells callers.
    pub callers: Authenticator<K>,
    /// The records.
    pub exports: S,
    /// The files.
    pub files: F,
    /// Makes the mail's link.
    pub links: L,
    /// Sends the mail.
    pub mailer: M,
    /// Where mails lead, if that is known.
    pub back_office: Option<BackOfficeUrl>,
    /// Tells the time.
    pub clock: C,
    /// How often a day one export's mail may be sent again.
    pub most_a_day: u32,
    /// Where copies may go.
    pub allowed: AllowedDomains,
}

/// Why the mail was not sent again, or not recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller may not.
    #[error(transparent)]
    Caller(#[from] NotAuthorized),
    /// The caller's tenant has no export with this id.
    #[error(transparent)]
    NoSuchExport(#[from] NoSuchExport),
    /// The body is wrong.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// The export does not allow it at this time.
    #[error("the mail cannot be sent again: {0:?}")]
    NotResendable(NotResendable, Timestamp),
    /// The mail service did not take the mail.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The mail went out, but the record does not say so.
    #[error("the mail was sent, but not recorded")]
    NotRecorded(#[source] Outage),
    /// The export could not be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// The mail could not be counted, its link not be signed, or its file not be looked for.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Caller(error) => error.into(),
            Refused::NoSuchExport(error) => error.into(),
            Refused::Body(error) => error.into(),
            Refused::NotResendable(NotResendable::Pending, _) => Self::NotYetMailed,
            Refused::NotResendable(NotResendable::NoFile, _) => Self::NoFile,
            Refused::NotResendable(NotResendable::FileGone, _) => Self::FileGone,
            Refused::NotResendable(NotResendable::TooOften, now) => Self::TooManyResends(rest_of_day(now)),
            Refused::NotSent(NotSent::Outage(outage)) if outage.is_permanent() => outage.into(),
            Refused::NotSent(not_sent) => Self::EmailNotSent(not_sent),
            Refused::NotRecorded(outage) => Self::EmailSentNotRecorded(outage.into()),
            Refused::NotRead(not_read) => not_read.into(),
            Refused::Outage(outage) => outage.into(),
        }
    }
}

impl<K, S, F, L, M, C> ResendEmail<K, S, F, L, M, C>
where
    K: FindApiKey,
    S: FindExport + ApplyStep,
    F: FindFile,
    L: SignLink,
    M: SendMail,
    C: Clock,
{
    /// Answers one request.
    ///
    /// # Errors
    /// [`Refused`]; but for [`Refused::NotRecorded`] the export is as it was, except that the mail may be counted.
    pub async fn handle(&self, request: &Request) -> Result<Success, Refused> {
        let now = self.clock.now();
        let caller = self.callers.operator(request, now).await?;
        let id = request.export_id()?;
        telemetry::note_export(&id);
        let export = self.exports.find_export(&caller.tenant, &id).await?.ok_or(NoSuchExport)?;
        let recipients = match body::recipients(request, &caller.user.email, &self.allowed)? {
            Some(recipients) => recipients,
            None => kept(&export, &caller, &self.allowed)?,
        };

        // What may fail without harm comes before the count, so that it costs none.
        let file = resendable_file(&export, now, self.most_a_day)?;
        let link_end = file.link_end(now, export.terms.link_life);
        if link_end <= now {
            return Err(Refused::NotResendable(NotResendable::FileGone, now));
        }
        let (exists, link) = tokio::join!(self.files.file_exists(file), self.links.sign_link(file, now, link_end));
        if !exists? {
            return Err(Refused::NotResendable(NotResendable::FileGone, now));
        }
        let mail = mail(&export, caller.user, recipients, file, &link?, link_end, self.back_office.as_ref())?;

        let counted = self.count(export, now).await?;
        self.mailer.send_mail(&mail).await?;
        let export = self.record(counted, mail.recipients, link_end).await?;

        info!(copies = export.recipients.cc().len(), "mail sent again");
        Ok(Success::ok(&ExportView::new(&export, self.clock.now())))
    }

    /// Counts this mail. Others may count theirs at the same moment: each counts on what the one before has written.
    async fn count(&self, mut export: Export, now: Timestamp) -> Result<Export, Refused> {
        for _ in 0..COUNT_TRIES {
            let step = lifecycle::count_resend(&export, now, self.most_a_day)
                .map_err(|reason| Refused::NotResendable(reason, now))?;
            match self.exports.apply_step(&export.tenant, &export.id, &step).await {
                Ok(()) => return Ok(step.changed(&export)),
                Err(NotApplied::Refused(Some(changed))) => export = *changed,
                Err(NotApplied::Refused(None)) => return Err(NoSuchExport.into()),
                Err(NotApplied::Outage(outage)) => return Err(outage.into()),
            }
        }
        Err(Outage::new("count the mail", "others were always quicker").into())
    }

    /// Records the mail that was accepted. The export as it is then: with this mail's recipients and link's end, or, if
    /// another mail's link ends later, with that one's.
    async fn record(&self, export: Export, recipients: Recipients, link_end: Timestamp) -> Result<Export, Refused> {
        let step = lifecycle::resent(self.clock.now(), recipients, link_end);
        let tries = async {
            let mut tried = 1;
            loop {
                match self.exports.apply_step(&export.tenant, &export.id, &step).await {
                    Ok(()) => return Ok(step.changed(&export)),
                    Err(NotApplied::Refused(Some(changed))) => return Ok(*changed),
                    Err(NotApplied::Refused(None)) => return Err(Outage::new("record the mail", "the export is gone")),
                    Err(NotApplied::Outage(outage)) if tried >= RECORD_TRIES || outage.is_permanent() => {
                        return Err(outage);
                    }
                    Err(NotApplied::Outage(outage)) => {
                        warn!(error = %Chain(&outage), tried, "mail not recorded yet");
                        tried += 1;
                    }
                }
            }
        };
        match tokio::time::timeout(RECORD_WITHIN, tries).await {
            Ok(recorded) => recorded.map_err(Refused::NotRecorded),
            Err(elapsed) => Err(Refused::NotRecorded(Outage::new("record the mail in time", elapsed))),
        }
    }
}

/// The caller, and the copies that the record has.
fn kept(export: &Export, caller: &Caller, allowed: &AllowedDomains) -> Result<Recipients, BadBody> {
    body::check_kept(&export.recipients, allowed)?;
    let copies = export.recipients.cc().iter().cloned();
    // The record has no more copies than a mail can have, and another main recipient only makes them fewer.
    let kept = Recipients::new(caller.user.email.clone(), copies);
    Ok(kept.unwrap_or_else(|_| Recipients::only(caller.user.email.clone())))
}

/// The file, if the mail may be sent again.
fn resendable_file(export: &Export, now: Timestamp, most_a_day: u32) -> Result<&ExportFile, Refused> {
    let not_resendable = |reason| Refused::NotResendable(reason, now);
    lifecycle::count_resend(export, now, most_a_day).map_err(not_resendable)?;
    export.file.as_ref().ok_or_else(|| not_resendable(NotResendable::NoFile))
}

/// The mail, as if `reader` had asked for the export.
fn mail(
    export: &Export,
    reader: Person,
    recipients: Recipients,
    file: &ExportFile,
    link: &str,
    link_end: Timestamp,
    back_office: Option<&BackOfficeUrl>,
) -> Result<Mail, Outage> {
    let export = Export { requested_by: reader, recipients, ..export.clone() };
    Mail::ready(&export, file, link, link_end, back_office).map_err(|error| Outage::permanent("write the mail", error))
}

/// How long it is until the next day begins, UTC.
fn rest_of_day(now: Timestamp) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    now.start_of_day().plus(DAY).since(now)
}

#[cfg(test)]
mod tests;
