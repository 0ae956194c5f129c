//! The parts of a multipart upload, a few of them in flight.

use exports_domain::error::DependencyError;
use exports_domain::failure::Failure;
use exports_domain::file::NewFile;
use exports_domain::ports::{FileStore, Part};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::limits::FileLimits;
use crate::stopped::Stopped;
use crate::upload_state::UploadState;

/// How many parts are uploaded at once while the next one is filled.
const PARTS_IN_FLIGHT: usize = 2;

/// Uploads the parts of one file.
pub(crate) struct PartUploads<'a> {
    files: &'a dyn FileStore,
    limits: &'a FileLimits,
    pub file: NewFile,
    in_flight: FuturesUnordered<BoxFuture<'a, Result<Part, DependencyError>>>,
}

impl<'a> PartUploads<'a> {
    pub(crate) fn new(files: &'a dyn FileStore, limits: &'a FileLimits, file: NewFile) -> Self {
        Self { files, limits, file, in_flight: FuturesUnordered::new() }
    }

    /// The next uploaded part; `None` if none is in flight. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Part, DependencyError>> {
        self.in_flight.next().await
    }

    /// Starts to upload the buffer as the next part, once fewer than [`PARTS_IN_FLIGHT`] are in flight. The first part
    /// starts the multipart upload.
    ///
    /// # Errors
    /// [`Stopped::Failed`] if the file has as many parts as it may have; [`Stopped::Error`] if the upload fails.
    pub(crate) async fn start(&mut self, state: &mut UploadState) -> Result<(), Stopped> {
        if self.in_flight.len() >= PARTS_IN_FLIGHT
            && let Some(part) = self.next().await
        {
            state.add_part(part?);
        }
        let upload = match &state.upload {
            Some(upload) => upload.clone(),
            None => state.upload.insert(self.files.start_upload(&self.file).await?).clone(),
        };
        let FileLimits { max_parts, part_size, .. } = *self.limits;
        let max_bytes = u64::from(max_parts) * part_size as u64;
        let number = state.next_part(max_parts).ok_or_else(|| Stopped::Failed(Failure::file_too_large(max_bytes)))?;
        let (files, bytes) = (self.files, state.cut(part_size));
        self.in_flight.push(Box::pin(async move { files.upload_part(&upload, number, bytes).await }));
        Ok(())
    }

    /// Waits for the parts in flight.
    ///
    /// # Errors
    /// [`DependencyError`] if one could not be uploaded.
    pub(crate) async fn finish(&mut self, state: &mut UploadState) -> Result<(), DependencyError> {
        while let Some(part) = self.next().await {
            state.add_part(part?);
        }
        Ok(())
    }

    /// Cancels the uploads in flight.
    pub(crate) fn cancel(&mut self) {
        self.in_flight.clear();
    }
}
