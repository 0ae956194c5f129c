//! `POST /v1/payments/marketplace-payouts/export`: accepts an export.
//!
//! What is accepted is written first, export and lock in one transaction; then the generator's bell is rung. The record
//! is the outbox: a bell that does not ring changes nothing for the caller, because the sweeper rings again.

use std::time::Duration;

use domain::email::Recipients;
use domain::export::{Export, Terms};
use domain::id::ExportType;
use domain::ports::{AcceptExport, Clock, Doorbell, ExportIds, FindApiKey, NotAccepted, Outage};
use http::auth::{Authenticator, NotAuthorized};
use http::body::{self, BadBody};
use http::problem::POLL_AFTER;
use http::view::ExportView;
use http::{Problem, Request, Success, routes};
use telemetry::Chain;
use tracing::{info, warn};

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
}

/// Why an export was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller may not.
    #[error(transparent)]
    Caller(#[from] NotAuthorized),
    /// The body is wrong.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// Another one is pending, or it could not be written.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// There was no id for it.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Caller(error) => error.into(),
            Refused::Body(error) => error.into(),
            Refused::NotAccepted(NotAccepted::AlreadyPending(id) | NotAccepted::AlreadyAccepted(id)) => {
                Self::ExportAlreadyPending(id)
            }
            Refused::NotAccepted(error @ NotAccepted::KeyReused) => Self::Internal(error.into()),
            Refused::NotAccepted(NotAccepted::Outage(outage)) | Refused::Outage(outage) => outage.into(),
        }
    }
}

impl<K, S, B, I, C> CreateExport<K, S, B, I, C>
where
    K: FindApiKey,
    S: AcceptExport,
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
        let caller = self.callers.operator(request, now).await?;
        let recipients = body::recipients(request, &caller.user.email)?
            .unwrap_or_else(|| Recipients::only(caller.user.email.clone()));

        let id = self.ids.next(ExportType::MarketplacePayouts, now)?;
        let export = Export::accept(id, &caller, recipients, self.terms, self.ring_after);
        self.exports.accept_export(&export, None).await?;
        telemetry::note_export(&id);
        info!(copies = export.recipients.cc().len(), "export accepted");

        self.ring_for(&export).await;
        Ok(Success::accepted(&ExportView::new(&export, now)).location(routes::export(&id)).retry_after(POLL_AFTER))
    }

    async fn ring_for(&self, export: &Export) {
        let ring = self.bell.ring(&export.tenant, &export.id, Duration::ZERO);
        match tokio::time::timeout(LONGEST_RING, ring).await {
            Ok(Ok(())) => {}
            Ok(Err(outage)) => warn!(error = %Chain(&outage), "bell not rung: the sweeper will ring"),
            Err(_) => warn!(seconds = LONGEST_RING.as_secs(), "bell took too long: the sweeper will ring if need be"),
        }
    }
}

#[cfg(test)]
mod tests;
