//! `GET /v1/payments/marketplace-payouts/export/{exportId}`: an export in detail, with a link to its file if it is ready
//! and the file still exists.

use domain::export::Status;
use domain::id::ExportType;
use domain::ports::{Clock, FindApiKey, FindExport, FindFile, NotRead, Outage, SignLink};
use http::auth::{Authenticator, NotAuthorized};
use http::problem::{NoSuchExport, POLL_AFTER};
use http::view::{Download, ExportView};
use http::{Problem, Request, Success};

/// Shows exports.
#[derive(Debug)]
pub struct GetExport<K, S, F, L, C> {
    /// Tells callers.
    pub callers: Authenticator<K>,
    /// The records.
    pub exports: S,
    /// The files.
    pub files: F,
    /// Makes download links.
    pub links: L,
    /// Tells the time.
    pub clock: C,
}

/// Why an export was not shown.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller may not.
    #[error(transparent)]
    Caller(#[from] NotAuthorized),
    /// The caller's tenant has none with this id.
    #[error(transparent)]
    NoSuchExport(#[from] NoSuchExport),
    /// It could not be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// Its link could not be signed.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Caller(error) => error.into(),
            Refused::NoSuchExport(error) => error.into(),
            Refused::NotRead(not_read) => not_read.into(),
            Refused::Outage(outage) => outage.into(),
        }
    }
}

impl<K, S, F, L, C> GetExport<K, S, F, L, C>
where
    K: FindApiKey,
    S: FindExport,
    F: FindFile,
    L: SignLink,
    C: Clock,
{
    /// Answers one request.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn handle(&self, request: &Request) -> Result<Success, Refused> {
        let now = self.clock.now();
        let caller = self.callers.operator(request, now).await?;
        let id = request.export_id_of(ExportType::MarketplacePayouts)?;
        telemetry::note_export(&id);

        let export = self.exports.find_export(&caller.tenant, &id).await?.ok_or(NoSuchExport)?;
        let download = Download::of(&export, now, &self.files, &self.links).await?;

        let answer = Success::ok(&ExportView::new(&export, now).with_download(download));
        Ok(match export.status_at(now) {
            Status::Pending => answer.retry_after(POLL_AFTER),
            Status::Ready | Status::Failed | Status::Expired => answer,
        })
    }
}

#[cfg(test)]
mod tests;
