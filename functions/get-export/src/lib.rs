//! `GET /v1/payments/{type}/export/{exportId}`: an export, with a download link if it is READY and its file exists, or
//! if it has a file of invalid rows.

use exports_domain::export::Status;
use exports_domain::ports::{ApiKeyStore, ExportStore, FileStore, System};
use exports_http::api_error::POLL_AFTER;
use exports_http::auth::Authenticator;
use exports_http::view::{Download, ExportView};
use exports_http::{ApiError, Request, Success};

/// Returns an export.
pub struct GetExport<'a, K, S, F> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// Where exports are read.
    pub exports: &'a S,
    /// Where files are linked.
    pub files: &'a F,
    /// The clock.
    pub system: &'a dyn System,
}

impl<K: ApiKeyStore, S: ExportStore, F: FileStore> GetExport<'_, K, S, F> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let now = self.system.now();
        let caller = self.callers.operator(request, now).await?;
        let id = request.export_id_of_type()?;
        exports_telemetry::record_export(&id);

        let export = self.exports.find_export(&caller.tenant, &id).await?.ok_or(ApiError::ExportNotFound)?;
        exports_telemetry::record_launch(export.launch_request_id.as_deref());
        let download = Download::of(&export, now, self.files).await?;
        let invalid_rows = Download::of_invalid_rows(&export, now, self.files).await?;

        let view = ExportView::new(&export, now).with_download(download).with_invalid_rows(invalid_rows);
        let response = Success::ok(&view);
        Ok(match export.status_at(now) {
            Status::Pending => response.retry_after(POLL_AFTER),
            Status::Ready | Status::Failed | Status::Expired => response,
        })
    }
}

#[cfg(test)]
mod tests;
