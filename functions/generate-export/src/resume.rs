//! The file that an earlier owner left unfinished.

use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::ports::{ExportStore, Part};
use tracing::{info, warn};

use crate::file_writer::{FileWriter, WrittenFile};
use crate::statistics::{FileStatistics, crc64};
use crate::upload_state::UploadState;

/// The file of an earlier owner.
pub(crate) enum Resumed {
    /// A file to start or to continue.
    State(Box<UploadState>),
    /// A complete file that was not recorded.
    Complete(Box<WrittenFile>),
    /// It could not be read. The state names its objects.
    Unread(Box<UploadState>, DependencyError),
}

impl<S: ExportStore> FileWriter<'_, S> {
    /// Finds the checkpoint of an earlier owner and checks that its file can be continued.
    pub(crate) async fn resume(&self, export: &Export) -> Result<Resumed, DependencyError> {
        // The first owner has no predecessor.
        let checkpoint = match export.fencing_token {
            1 => None,
            _ => self.exports.find_checkpoint(&export.tenant, &export.id).await?,
        };
        let Some(checkpoint) = checkpoint else { return Ok(Resumed::State(Box::default())) };
        let resumed = self.resume_from(export, &checkpoint).await;
        Ok(resumed.unwrap_or_else(|error| Resumed::Unread(Box::new(UploadState::restart(&checkpoint)), error)))
    }

    async fn resume_from(&self, export: &Export, checkpoint: &Checkpoint) -> Result<Resumed, DependencyError> {
        let Some(mut statistics) = FileStatistics::of_checkpoint(checkpoint) else {
            return Ok(restart(checkpoint, "the checkpoint is corrupt"));
        };
        // No row is read before the acceptance.
        statistics.read_from.get_or_insert(export.created_at());
        let mut parts = Vec::new();
        if let Some(upload) = &checkpoint.upload {
            match self.files.list_parts(upload).await? {
                Some(listed) => parts = listed,
                // It may be complete: an earlier owner could not record it.
                None if checkpoint.is_complete
                    && self.files.file_size(&upload.key).await? == Some(statistics.bytes) =>
                {
                    let read = statistics.read_until(self.system.now());
                    let written = self.file(export, upload.key.clone(), &statistics, read);
                    return Ok(Resumed::Complete(Box::new(written)));
                }
                None => return Ok(restart(checkpoint, "the upload is lost")),
            }
        }
        parts.retain(|part| part.number <= checkpoint.parts);
        if !is_contiguous(&parts, checkpoint) {
            return Ok(restart(checkpoint, "parts of the upload are missing"));
        }
        let Some(unfinished) = self.unfinished_bytes(checkpoint).await? else {
            return Ok(restart(checkpoint, "the unfinished part is missing or has changed"));
        };
        info!(parts = checkpoint.parts, rows_read = checkpoint.rows_read, "continuing from the checkpoint");
        Ok(Resumed::State(Box::new(UploadState::resume(checkpoint.clone(), statistics, parts, unfinished))))
    }

    /// The bytes of the unfinished part; `None` if they are not those of the checkpoint.
    async fn unfinished_bytes(&self, checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>, DependencyError> {
        let Some(part) = &checkpoint.unfinished else { return Ok(Some(Vec::new())) };
        let stored = self.files.get_unfinished(&part.key).await?;
        Ok(stored.filter(|bytes| bytes.len() as u64 == part.bytes && crc64(bytes) == part.crc64))
    }
}

/// Starts the file over. The objects that `checkpoint` names are deleted after the first write that shows that this owner
/// has not lost the lease: if it has, another one continues from a later checkpoint, which may name the same upload.
fn restart(checkpoint: &Checkpoint, reason: &str) -> Resumed {
    warn!("restarting the file: {reason}");
    Resumed::State(Box::new(UploadState::restart(checkpoint)))
}

/// Whether these are all parts of the checkpoint, of the right size in total.
fn is_contiguous(parts: &[Part], checkpoint: &Checkpoint) -> bool {
    let unfinished = checkpoint.unfinished.as_ref().map_or(0, |part| part.bytes);
    parts.iter().map(|part| part.number).eq(1..=checkpoint.parts)
        && parts.iter().map(|part| part.bytes).sum::<u64>() + unfinished == checkpoint.bytes
}
