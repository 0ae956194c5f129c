//! `GET /v1/payments/marketplace-payouts/export`: the history of exports, filtered, in order, page by page.
//!
//! | module | |
//! |---|---|
//! | this one | the page |
//! | [`query`] | what the query string asks for |
//! | [`bound`] | the dates in it |
//! | [`cursor`] | where a page begins |

use domain::ports::{Clock, FindApiKey, ListExports, Outage};
use http::auth::{Authenticator, NotAuthorized};
use http::fault::Fault;
use http::view::ExportView;
use http::{Problem, Request, Success};
use serde::Serialize;
use tracing::error;

pub mod bound;
pub mod cursor;
pub mod query;

use query::HistoryQuery;

/// Shows the history of exports.
#[derive(Debug)]
pub struct ListExportHistory<K, S, C> {
    /// Tells callers.
    pub callers: Authenticator<K>,
    /// The records.
    pub exports: S,
    /// Tells the time.
    pub clock: C,
}

/// Why the history was not shown.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller may not.
    #[error(transparent)]
    Caller(#[from] NotAuthorized),
    /// The query string is wrong.
    #[error("the query string has faults")]
    Query(Vec<Fault>),
    /// It could not be read.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Caller(error) => error.into(),
            Refused::Query(faults) => Self::BadRequest(faults),
            Refused::Outage(outage) => outage.into(),
        }
    }
}

/// A page as answers show it. `nextCursor` is null on the last page, and only there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageView<'a> {
    content: Vec<ExportView<'a>>,
    size: usize,
    next_cursor: Option<String>,
}

impl<K, S, C> ListExportHistory<K, S, C>
where
    K: FindApiKey,
    S: ListExports,
    C: Clock,
{
    /// Answers one request.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn handle(&self, request: &Request) -> Result<Success, Refused> {
        let now = self.clock.now();
        let caller = self.callers.operator(request, now).await?;
        let HistoryQuery { filter, size, after } =
            query::parse(request.query(), &caller.tenant, now).map_err(Refused::Query)?;

        let page = self.exports.list_exports(&caller.tenant, &filter, after.as_ref(), size, now).await?;
        // One that cannot be read hides none of the others. Whoever asks for it by its id is told.
        for (record, why) in &page.unreadable {
            error!(record, error = %why, "an export is left out of the history");
        }

        Ok(Success::ok(&PageView {
            content: page.exports.iter().map(|export| ExportView::new(export, now)).collect(),
            size,
            next_cursor: page.next_after.map(|last| cursor::after(&last, &caller.tenant, &filter)),
        }))
    }
}

#[cfg(test)]
mod tests;
