//! `GET /v1/payments/{type}/export`: the export history, filtered, sorted and paged.

use exports_domain::ports::{ApiKeyStore, ExportStore, System};
use exports_http::auth::Authenticator;
use exports_http::view::ExportView;
use exports_http::{ApiError, Request, Success};
use serde::Serialize;
use tracing::error;

pub mod cursor;
pub mod query;

use query::HistoryQuery;

/// Lists exports.
pub struct ListExports<'a, K, S> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// Where exports are read.
    pub exports: &'a S,
    /// The clock.
    pub system: &'a dyn System,
}

/// A page of the history. `nextCursor` is null only on the last page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageView<'a> {
    content: Vec<ExportView<'a>>,
    size: usize,
    next_cursor: Option<String>,
}

impl<K: ApiKeyStore, S: ExportStore> ListExports<'_, K, S> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let now = self.system.now();
        let caller = self.callers.operator(request, now).await?;
        let HistoryQuery { filter, size, after } =
            query::parse(request.query(), request.export_type()?, &caller.tenant, now).map_err(ApiError::BadRequest)?;

        let page = self.exports.list_exports(&caller.tenant, &filter, after.as_ref(), size, now).await?;
        // A corrupt record does not fail the whole page. Its own route returns 500.
        for (record, error) in &page.corrupt {
            error!(record, %error, "corrupt record omitted from the history");
        }

        Ok(Success::ok(&PageView {
            content: page.exports.iter().map(|export| ExportView::new(export, now)).collect(),
            size,
            next_cursor: page.next_after.map(|last| cursor::format(&last, &caller.tenant, &filter)),
        }))
    }
}

#[cfg(test)]
mod tests;
