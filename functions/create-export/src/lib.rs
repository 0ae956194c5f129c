//! `POST /v1/payments/marketplace-payouts/export`: accepts an export.
//!
//! What is accepted is written first, export and lock in one transaction; then the generator's bell is rung. The record
//! is the outbox: a bell that does not ring changes nothing for the caller, because the sweeper rings again.
//!
//! A request with an `Idempotency-Key` may be sent again within a day: the key is written in the same transaction, so
//! that of any number of copies one is accepted and all others are told of that one.

use std::time::Duration;

use domain::caller::{ApiKeyRecord, Caller};
use domain::email::{AllowedDomains, EmailAddress, Recipients};
use domain::export::{Export, Status, Terms};
use domain::id::{ExportId, ExportType};
use domain::idempotency::Idempotency;
use domain::ports::{AcceptExport, Clock, Doorbell, ExportIds, FindApiKey, FindExport, NotAccepted, NotRead, Outage};
use domain::time::Timestamp;
use http::auth::{Authenticator, NotAuthorized};
use http::body::{self, BadBody};
use http::fault::Faults;
use http::problem::POLL_AFTER;
use http::view::ExportView;
use http::{Problem, Request, Success, idempotency, routes};
use serde_json::{Value, json};
use telemetry::{Chain, Metric};
use tracing::{error, info, warn};

/// How long the bell may take: the caller waits for it.
const LONGEST_RING: Duration = Duration::from_secs(2);

/// Accepts exports.
#[derive(Debug)]
pub struct CreateExport<K, S, B, I, C> {
    /// Tells callers.
    pub callers: Authenticator<K>,
    /// The records.
    pub exports: S,
    /// The queue.
    pub bell: B,
    /// Makes ids.
    pub ids: I,
    /// Tells the time.
    pub clock: C,
    /// What exports are accepted with.
    pub terms: Terms,
    /// How long the bell may take to have an effect before the sweeper rings again.
    pub ring_after: Duration,
    /// Where copies may go.
    pub allowed: AllowedDomains,
}

/// Why an export was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller may not.
    #[error(transparent)]
    Caller(#[from] NotAuthorized),
    /// The body or the idempotency key is wrong.
    #[error(transparent)]
    Request(#[from] BadBody),
    /// Another one is pending.
    #[error("an export is pending already: {0}")]
    AlreadyPending(ExportId),
    /// The idempotency key came with another request before.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The one that was accepted for the same request before could not be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// There was no id for it, or it could not be written.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Caller(error) => error.into(),
            Refused::Request(error) => error.into(),
            Refused::AlreadyPending(id) => Self::ExportAlreadyPending(id),
            Refused::KeyReused => Self::IdempotencyKeyReused,
            Refused::NotRead(not_read) => not_read.into(),
            Refused::Outage(outage) => outage.into(),
        }
    }
}

impl<K, S, B, I, C> CreateExport<K, S, B, I, C>
where
    K: FindApiKey,
    S: AcceptExport + FindExport,
    B: Doorbell,
    I: ExportIds,
    C: Clock,
{
    /// Answers one request.
    ///
    /// # Errors
    /// [`Refused`]; nothing has been written then, unless an outage hid that it was.
    pub async fn handle(&self, request: &Request) -> Result<Success, Refused> {
        let now = self.clock.now();
        let ApiKeyRecord { hash, caller, .. } = self.callers.operators_key(request, now).await?;
        let command = parse(request, &caller.user.email, &self.allowed)?;
        let idempotency = command
            .idempotency_key
            .map(|key| idempotency::remembered(key, &hash, routes::EXPORTS, &command.normal_form()));

        let export = self.accept(&caller, command.recipients, idempotency.as_ref(), now).await?;

        let answer = Success::accepted(&ExportView::new(&export, now)).location(routes::export(&export.id));
        Ok(match export.status_at(now) {
            Status::Pending => answer.retry_after(POLL_AFTER),
            Status::Ready | Status::Failed | Status::Expired => answer,
        })
    }

    /// The export that is accepted now, or the one that was when the same request came before.
    async fn accept(
        &self,
        caller: &Caller,
        recipients: Recipients,
        idempotency: Option<&Idempotency>,
        now: Timestamp,
    ) -> Result<Export, Refused> {
        let id = self.ids.next(ExportType::MarketplacePayouts, now)?;
        let export = Export::accept(id, caller, recipients, self.terms, self.ring_after);
        match self.exports.accept_export(&export, idempotency).await {
            Ok(()) => {
                telemetry::note_export(&id);
                info!(copies = export.recipients.cc().len(), "export accepted");
                telemetry::measure(Metric::Created);
                self.ring_for(&export).await;
                Ok(export)
            }
            Err(NotAccepted::AlreadyAccepted(id)) => {
                telemetry::note_export(&id);
                info!("the request was accepted before");
                let found = self.exports.find_export(&caller.tenant, &id).await?;
                Ok(found.ok_or_else(|| Outage::permanent("read the accepted export", "it is not there"))?)
            }
            Err(NotAccepted::AlreadyPending(id)) => Err(Refused::AlreadyPending(id)),
            Err(NotAccepted::KeyReused) => Err(Refused::KeyReused),
            Err(NotAccepted::Outage(outage)) => Err(outage.into()),
        }
    }

    async fn ring_for(&self, export: &Export) {
        let ring = self.bell.ring(&export.tenant, &export.id, Duration::ZERO);
        match tokio::time::timeout(LONGEST_RING, ring).await {
            Ok(Ok(())) => {}
            Ok(Err(outage)) if outage.is_permanent() => {
                error!(error = %Chain(&outage), "bell cannot be rung: the sweeper will ring");
            }
            Ok(Err(outage)) => warn!(error = %Chain(&outage), "bell not rung: the sweeper will ring"),
            Err(_) => warn!(seconds = LONGEST_RING.as_secs(), "bell took too long: the sweeper will ring if need be"),
        }
    }
}

/// What is asked for.
struct Command<'a> {
    recipients: Recipients,
    idempotency_key: Option<&'a str>,
}

impl Command<'_> {
    /// All that is asked for, as the fingerprint covers it: the one place where an option is added to it. An option is
    /// left out while it has its default.
    fn normal_form(&self) -> Value {
        // Without `..`: a command with a new field does not compile until it is decided about here.
        let Self { recipients, idempotency_key: _ } = self;
        let cc: Vec<_> = recipients.cc().iter().map(EmailAddress::as_str).collect();
        json!({"cc": cc, "to": recipients.to().as_str()})
    }
}

/// What `caller` asks for, or all that is wrong with it.
fn parse<'a>(request: &'a Request, caller: &EmailAddress, allowed: &AllowedDomains) -> Result<Command<'a>, BadBody> {
    let mut faults = Faults::default();
    let idempotency_key = idempotency::key(request).unwrap_or_else(|fault| {
        faults.extend(vec![fault]);
        None
    });
    let recipients = match body::recipients(request, caller, allowed) {
        Ok(recipients) => recipients.unwrap_or_else(|| Recipients::only(caller.clone())),
        Err(BadBody::Faults(of_the_body)) => {
            faults.extend(of_the_body);
            Recipients::only(caller.clone())
        }
        Err(error @ (BadBody::TooLarge | BadBody::NotJson)) => return Err(error),
    };
    faults.or(Command { recipients, idempotency_key }).map_err(BadBody::Faults)
}

#[cfg(test)]
mod tests;
