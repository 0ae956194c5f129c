//! What an earlier owner left of the file.

use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::ports::{ExportStore, Part};
use tracing::{info, warn};

use crate::file_writer::{FileWriter, WrittenFile};
use crate::statistics::FileStatistics;
use crate::upload_state::UploadState;

/// What an earlier owner left.
pub(crate) enum Resumed {
    /// A file to start or to continue.
    State(Box<UploadState>),
    /// A complete file that was not recorded.
    Complete(WrittenFile),
}

impl<S: ExportStore> FileWriter<'_, S> {
    /// Finds the checkpoint of an earlier owner and checks that its upload can be continued.
    pub(crate) async fn resume(&self, export: &Export) -> Result<Resumed, DependencyError> {
        // The first owner has no predecessor.
        let checkpoint = match export.fencing_token {
            1 => None,
            _ => self.exports.find_checkpoint(&export.tenant, &export.id).await?,
        };
        let Some(checkpoint) = checkpoint else { return Ok(Resumed::State(Box::default())) };
        let Some(statistics) = FileStatistics::of_checkpoint(&checkpoint) else {
            warn!("restarting the file: the checkpoint is corrupt");
            self.abort(&checkpoint.upload).await;
            return Ok(restart(&checkpoint));
        };
        let parts = self.files.list_parts(&checkpoint.upload).await?;
        let parts =
            parts.map(|parts| parts.into_iter().filter(|part| part.number <= checkpoint.parts).collect::<Vec<_>>());
        match parts {
            Some(parts) if is_contiguous(&parts, &checkpoint) => {
                info!(parts = checkpoint.parts, rows = checkpoint.rows, "continuing from the checkpoint");
                Ok(Resumed::State(Box::new(UploadState::resume(checkpoint, statistics, parts))))
            }
            Some(_) => {
                warn!("restarting the file: parts of the upload are missing");
                self.abort(&checkpoint.upload).await;
                Ok(restart(&checkpoint))
            }
            None => {
                // It may be complete: an earlier owner could not record it.
                if checkpoint.is_whole && self.files.file_size(&checkpoint.upload.key).await? == Some(statistics.bytes)
                {
                    return Ok(Resumed::Complete(self.file(export, checkpoint.upload.key, &statistics)));
                }
                warn!("restarting the file: the upload is lost");
                Ok(restart(&checkpoint))
            }
        }
    }
}

fn restart(checkpoint: &Checkpoint) -> Resumed {
    Resumed::State(Box::new(UploadState::restart(checkpoint)))
}

fn is_contiguous(parts: &[Part], checkpoint: &Checkpoint) -> bool {
    parts.iter().map(|part| part.number).eq(1..=checkpoint.parts)
        && parts.iter().map(|part| part.bytes).sum::<u64>() == checkpoint.bytes
}
