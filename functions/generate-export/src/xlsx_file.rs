//! XLSX files: the differences from CSV while rows are read, and everything after.
//!
//! A workbook cannot be continued: it has no checkpoint, an interrupted attempt starts over, and one that runs out of time
//! fails the export.

use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::failure::Failure;
use exports_domain::ports::ExportStore;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;

use crate::file_writer::{FileWriter, WrittenFile};
use crate::limits::Times;
use crate::part_uploads::PartUploads;
use crate::stopped::Stopped;
use crate::upload_state::UploadState;
use crate::workbook::{Workbook, WorkbookError};

/// The size of the pieces of an archive: so small that progress is recorded in time.
const CHUNK: usize = 1 << 20;

/// The action, in the context of errors.
const WRITE: &str = "write the workbook";

impl From<WorkbookError> for Stopped {
    fn from(error: WorkbookError) -> Self {
        match error {
            WorkbookError::TextTooLong { id, column } => Self::Failed(Failure::text_too_long_for_xlsx(&id, column)),
            WorkbookError::Library(error) => DependencyError::transient(WRITE, error).into(),
        }
    }
}

impl<S: ExportStore> FileWriter<'_, S> {
    /// Ends an attempt that ran out of time while it read rows. The invalid rows found are of more use than the advice.
    pub(crate) async fn run_out_of_time(&self, export: &Export, state: &mut UploadState) -> Stopped {
        if state.invalid_rows.count == 0 {
            return Stopped::Failed(Failure::out_of_time_for_xlsx());
        }
        state.invalid_rows.are_all = false;
        self.write_invalid_rows(export, state).await
    }

    /// Uploads the workbook while it is compressed.
    pub(crate) async fn finish_xlsx(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        mut uploads: PartUploads<'_>,
        mut workbook: Workbook,
        times: &Times,
    ) -> Result<WrittenFile, Stopped> {
        let read = state.statistics.read_until(self.system.now());
        workbook.summarize(export, &state.statistics, read)?;
        let (sender, mut chunks) = channel(1);
        let size = self.limits.file.part_size.min(CHUNK);
        let saving = spawn_blocking(move || workbook.save(size, sender));
        let received = self.receive(&mut chunks, export, state, &mut uploads, times).await;
        // The thread stops when it finds nobody receiving. It must not run on in the next invocation.
        drop(chunks);
        let saved = saving.await;
        received?;
        saved.map_err(|error| DependencyError::transient(WRITE, error))??;

        let Some(upload) = state.upload.clone() else {
            self.files.put_file(&uploads.file, std::mem::take(&mut state.buffer)).await?;
            return Ok(self.file(export, uploads.file.key, &state.statistics, read));
        };
        if !state.buffer.is_empty() {
            uploads.start(state).await?;
        }
        uploads.finish(state).await?;
        self.record_progress(export, state, self.system.now()).await?;
        self.complete_upload(upload.clone(), state, times).await?;
        Ok(self.file(export, upload.key, &state.statistics, read))
    }

    /// Adds the pieces of the archive to the file.
    async fn receive(
        &self,
        chunks: &mut Receiver<Vec<u8>>,
        export: &mut Export,
        state: &mut UploadState,
        uploads: &mut PartUploads<'_>,
        times: &Times,
    ) -> Result<(), Stopped> {
        let mut reported_at = self.system.now();
        while let Some(chunk) = chunks.recv().await {
            state.append(&chunk);
            if state.buffer.len() >= self.limits.file.part_size {
                uploads.start(state).await?;
            }
            let now = self.system.now();
            if now >= times.continue_at {
                return Err(Stopped::Failed(Failure::out_of_time_for_xlsx()));
            }
            if now.since(reported_at) >= self.limits.file.checkpoint_every {
                reported_at = now;
                self.record_progress(export, state, now).await?;
            }
        }
        Ok(())
    }
}
