//! Progress and checkpoints on the record, and continuing in the next invocation.

use exports_domain::checkpoint::Checkpoint;
use exports_domain::export::{Export, Progress};
use exports_domain::lifecycle;
use exports_domain::ports::{ApplyError, ExportStore};
use exports_domain::time::Timestamp;
use tracing::info;

use crate::file_writer::{FileWriter, WriteFileError};
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
        let advances = state.advances(checkpoint);
        let step = match advances {
            true => lifecycle::advance_checkpoint(export, now, progress),
            false => lifecycle::record_progress(export, now, progress),
        };
        self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await?;
        state.checkpointed = checkpoint.parts;
        state.has_advanced |= advances;
        *export = step.changed(export);
        Ok(())
    }

    /// Releases the lease for the next invocation, with a checkpoint if there is a new one. The unfinished part is
    /// dropped. Returns the error that ends this invocation's work.
    pub(crate) async fn continue_later(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        now: Timestamp,
    ) -> WriteFileError {
        let checkpoint = state.checkpoint();
        self.continue_later_with(export, state, checkpoint, now).await
    }

    /// The same with this checkpoint.
    pub(crate) async fn continue_later_with(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        checkpoint: Option<Checkpoint>,
        now: Timestamp,
    ) -> WriteFileError {
        let has_advanced =
            state.has_advanced || checkpoint.as_ref().is_some_and(|checkpoint| state.advances(checkpoint));
        let progress = checkpoint.as_ref().map_or_else(Progress::default, |checkpoint| Progress {
            rows_read: checkpoint.rows_read,
            rows: checkpoint.rows,
        });
        let step = lifecycle::continue_later(export, now, progress, has_advanced, now.plus(self.re_enqueue_after));
        let applied = match &checkpoint {
            Some(checkpoint) => self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await,
            None => self.exports.apply_step(&export.tenant, &export.id, &step).await,
        };
        match applied {
            Ok(()) => {
                state.checkpointed = checkpoint.map_or(state.checkpointed, |checkpoint| checkpoint.parts);
                *export = step.changed(export);
                info!(parts = state.checkpointed, rows = progress.rows, "continuing in the next invocation");
                WriteFileError::OutOfTime { has_advanced }
            }
            Err(error) => error.into(),
        }
    }
}
