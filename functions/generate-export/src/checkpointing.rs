//! Progress and checkpoints on the record, and continuing in the next invocation.

use exports_domain::checkpoint::{Checkpoint, UnfinishedPart};
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::file::unfinished_key;
use exports_domain::lifecycle;
use exports_domain::ports::{ApplyError, ExportStore};
use exports_domain::time::Timestamp;
use exports_domain::unfinished_file::UnfinishedFile;
use tokio::time::timeout;
use tracing::info;

use crate::file_writer::FileWriter;
use crate::limits::Times;
use crate::part_uploads::PartUploads;
use crate::statistics::crc64;
use crate::stopped::Stopped;
use crate::unfinished_file::discard;
use crate::upload_state::UploadState;

impl<S: ExportStore> FileWriter<'_, S> {
    /// Records how many rows are written, with a checkpoint if there is a new one.
    pub(crate) async fn report_progress(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        now: Timestamp,
    ) -> Result<(), ApplyError> {
        if let Some(checkpoint) = state.checkpoint() {
            return self.store_checkpoint(export, state, &checkpoint, now).await;
        }
        self.record_progress(export, state, now).await
    }

    /// Records how many rows are written, without a checkpoint.
    pub(crate) async fn record_progress(
        &self,
        export: &mut Export,
        state: &UploadState,
        now: Timestamp,
    ) -> Result<(), ApplyError> {
        let step = lifecycle::record_progress(export, now, state.statistics.progress());
        self.exports.apply_step(&export.tenant, &export.id, &step).await?;
        *export = step.changed(export);
        Ok(())
    }

    /// Stores the checkpoint. The attempt count is reset only when the checkpoint advances, so that an export that
    /// repeatedly fails at the same point ends.
    pub(crate) async fn store_checkpoint(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<(), ApplyError> {
        let progress = state.statistics.progress();
        let step = match state.advances(checkpoint) {
            true => lifecycle::advance_checkpoint(export, now, progress),
            false => lifecycle::record_progress(export, now, progress),
        };
        self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await?;
        *export = step.changed(export);
        discard(&state.stored(checkpoint), self.files).await;
        Ok(())
    }

    /// Stores the unfinished part, and releases the lease for the next invocation with a checkpoint of everything read.
    /// Returns the error that ends this invocation's work.
    pub(crate) async fn store_and_release(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        uploads: &mut PartUploads<'_>,
        times: &Times,
    ) -> Stopped {
        let left = times.store_by.since(self.system.now());
        let unfinished = match timeout(left, self.store_unfinished_part(export, state, uploads)).await {
            Ok(Ok(unfinished)) => unfinished,
            Ok(Err(error)) => return error.into(),
            Err(elapsed) => return DependencyError::transient("store the unfinished part", elapsed).into(),
        };
        match state.checkpoint_of_all(unfinished, false) {
            Some(checkpoint) => self.release_with(export, state, &checkpoint).await,
            None => DependencyError::transient("continue later", "parts are missing").into(),
        }
    }

    /// Waits for the parts in flight, and stores the bytes after them, if there are any, as an object of their own.
    async fn store_unfinished_part(
        &self,
        export: &Export,
        state: &mut UploadState,
        uploads: &mut PartUploads<'_>,
    ) -> Result<Option<UnfinishedPart>, DependencyError> {
        uploads.finish(state).await?;
        if state.buffer.is_empty() {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut state.buffer);
        let key = unfinished_key(&export.tenant, &export.id, export.fencing_token, state.statistics.rows_read);
        let part = UnfinishedPart { key, bytes: bytes.len() as u64, crc64: crc64(&bytes) };
        state.unnamed_part = Some(part.key.clone());
        self.files.put_unfinished(&part.key, bytes).await?;
        Ok(Some(part))
    }

    /// Releases the lease for the next invocation with this checkpoint, in one write. Returns the error that ends this
    /// invocation's work.
    pub(crate) async fn release_with(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        checkpoint: &Checkpoint,
    ) -> Stopped {
        // From here on, the stored checkpoint may name it.
        state.unnamed_part = None;
        let now = self.system.now();
        let has_advanced = state.has_advanced || state.advances(checkpoint);
        let progress = state.statistics.progress();
        let step =
            lifecycle::continue_later(export, now, progress, has_advanced, now.plus(self.limits.re_enqueue_after));
        match self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await {
            Ok(()) => {
                *export = step.changed(export);
                info!(parts = checkpoint.parts, rows_read = progress.rows_read, "continuing in the next invocation");
                Stopped::OutOfTime { has_advanced, obsolete: state.stored(checkpoint) }
            }
            Err(error) => {
                if let ApplyError::Conflict(_) = error {
                    // No checkpoint names the part that was stored for this one.
                    let stored = UnfinishedFile { upload: None, ..UnfinishedFile::of(checkpoint) };
                    discard(&stored, self.files).await;
                }
                error.into()
            }
        }
    }
}
