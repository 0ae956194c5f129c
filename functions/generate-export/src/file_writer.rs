//! Writes the rows of one export to its file.
//!
//! A small file is written in one request, a larger one as a multipart upload with a few parts in flight. Memory holds
//! the part that is being filled, those in flight and the reader's window: the same for any file size.
//!
//! | module | |
//! |---|---|
//! | this one | from rows to parts |
//! | `resume` | the file that an earlier owner left unfinished |
//! | `checkpointing` | progress, checkpoints, continuing in the next invocation |
//! | `part_uploads` | uploads of parts in flight |
//! | `upload_state` | the parts, and the content of a checkpoint |
//! | `xlsx_file`, `workbook` | XLSX files, which have no checkpoint |
//! | `unfinished_file` | deletes files that nobody will continue |

use exports_domain::csv_encoder::csv_header;
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::failure::Failure;
use exports_domain::file::{ExportFile, NewFile, ReadInterval};
use exports_domain::invalid_rows::invalid_rows_header;
use exports_domain::options::FileFormat;
use exports_domain::ports::{CompleteError, ExportStore, FileStore, KeyRange, RowSource, System, Upload};
use exports_domain::row_encoder::EncodedCells;
use exports_domain::time::Timestamp;
use exports_domain::unfinished_file::UnfinishedFile;

use crate::limits::{Limits, Times};
use crate::pace::Pace;
use crate::part_uploads::PartUploads;
use crate::plan::Batch;
use crate::reader::Reader;
use crate::resume::Resumed;
use crate::statistics::FileStatistics;
use crate::stopped::{Stopped, Unrecorded};
use crate::unfinished_file::discard;
use crate::upload_state::UploadState;
use crate::workbook::Workbook;

/// A complete file.
#[derive(Debug)]
pub struct WrittenFile {
    /// The file.
    pub file: ExportFile,
    /// The number of rows read for it.
    pub rows_read: u64,
    /// The objects that the stored checkpoint names. Nobody needs them once the file is recorded.
    pub checkpoint_objects: UnfinishedFile,
}

/// Writes the file of one export.
pub struct FileWriter<'a, S> {
    /// Where exports are kept.
    pub exports: &'a S,
    /// The rows to export.
    pub rows: &'a dyn RowSource,
    /// Where files are written.
    pub files: &'a dyn FileStore,
    /// The clock.
    pub system: &'a dyn System,
    /// The limits.
    pub limits: &'a Limits,
    /// When Lambda ends this invocation.
    pub ends_at: Timestamp,
}

impl<S: ExportStore> FileWriter<'_, S> {
    /// Writes the file of `export`, continuing from its checkpoint if there is one.
    ///
    /// # Errors
    /// [`Stopped`]. Written parts are deleted, unless a later invocation can continue the file.
    pub async fn write(&self, export: &mut Export) -> Result<WrittenFile, Stopped> {
        let times = Times::new(self.system.now(), self.ends_at, &self.limits.file);
        let (mut state, written) = match self.resume(export).await? {
            Resumed::State(mut state) => {
                let written = self.write_rows(export, &mut state, &times).await;
                (state, written)
            }
            Resumed::Complete(file) => return Ok(*file),
            Resumed::Unread(state, error) => (state, Err(error.into())),
        };
        let mut stopped = match written {
            Ok(written) => return Ok(written),
            Err(stopped) => stopped,
        };
        let is_last = |stopped: &Stopped| stopped.is_last(export, self.system.now(), &self.limits.retry);
        // The invalid rows found are of more use than an error.
        let has_invalid_rows = state.invalid_rows.count > 0 && !state.buffer.is_empty();
        if matches!(stopped, Stopped::Error { .. }) && has_invalid_rows && is_last(&stopped) {
            state.invalid_rows.are_all = false;
            stopped = self.write_invalid_rows(export, &state).await;
        }
        if let Some(upload) = state.unnamed_upload() {
            self.abort(upload).await;
        }
        let mut checkpoint_objects = state.checkpoint_objects;
        let mut unnamed = UnfinishedFile { upload: None, part_key: state.unnamed_part };
        let own_key = || NewFile::of(export).key;
        let key = checkpoint_objects.upload.as_ref().map_or_else(own_key, |upload| upload.key.clone());
        // The next attempt, if there is one, continues the upload that the checkpoint names.
        if is_last(&stopped) {
            for unfinished in [&mut checkpoint_objects, &mut unnamed] {
                discard(&std::mem::take(unfinished), self.files).await;
            }
        }
        if let Stopped::Error { unrecorded, obsolete, .. } = &mut stopped {
            // The file may be complete: a lost response to that call is an error, too.
            *unrecorded = Some(Unrecorded { key, checkpoint_objects });
            *obsolete = unnamed;
        }
        Err(stopped)
    }

    /// Reads the remaining rows and writes them.
    async fn write_rows(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        times: &Times,
    ) -> Result<WrittenFile, Stopped> {
        let tenant = export.tenant.clone();
        let started_at = self.system.now();
        state.statistics.read_from.get_or_insert(started_at);
        let mut workbook = match export.options.format {
            FileFormat::Xlsx => Some(Workbook::new(export)?),
            FileFormat::Csv => None,
        };
        if workbook.is_none() && state.statistics.bytes == 0 {
            state.append(csv_header(export.columns, export.settings.byte_order_mark).as_bytes());
        }
        let KeyRange { after, up_to } = export.key_range();
        let range = KeyRange { after: state.last_key_read.clone().or(after), up_to };
        let selection = export.row_selection();
        let pace = Pace::new(self.limits.file.bytes_per_second);
        let mut reader = Reader::new(self.rows, (&selection, &tenant), range, self.limits.file.readers, pace);
        let mut uploads = PartUploads::new(self.files, &self.limits.file, NewFile::of(export));
        let mut reported_at = started_at;
        loop {
            // Uploaded parts are recorded while the next batch is read.
            let batch = tokio::select! {
                biased;
                Some(part) = uploads.next() => {
                    state.add_part(part?);
                    continue;
                }
                batch = reader.next() => batch?,
            };
            let Some(batch) = batch else { break };
            self.add(batch, export, state, &mut workbook, (&mut reader, &mut uploads)).await?;
            let now = self.system.now();
            if now >= times.continue_at {
                return Err(match export.options.format {
                    FileFormat::Csv => self.store_and_release(export, state, &mut uploads, times).await,
                    FileFormat::Xlsx => self.run_out_of_time(export, state).await,
                });
            }
            if now.since(reported_at) >= self.limits.file.checkpoint_every {
                reported_at = now;
                reader.read_during(self.report_progress(export, state, now)).await?;
            }
        }
        if state.invalid_rows.count > 0 {
            return Err(self.write_invalid_rows(export, state).await);
        }
        match workbook {
            Some(workbook) => self.finish_xlsx(export, state, uploads, workbook, times).await,
            None => self.finish_csv(export, state, uploads, times).await,
        }
    }

    /// Adds a batch to the file. Once a row is invalid, there will be no file: the remaining rows are read to find all
    /// invalid rows.
    async fn add(
        &self,
        Batch { encoded, up_to }: Batch,
        export: &Export,
        state: &mut UploadState,
        workbook: &mut Option<Workbook>,
        (reader, uploads): (&mut Reader<'_>, &mut PartUploads<'_>),
    ) -> Result<(), Stopped> {
        state.last_key_read = Some(up_to);
        if encoded.invalid_rows.count == 0 && state.invalid_rows.count == 0 {
            state.add_rows(&encoded)?;
            if let (EncodedCells::Xlsx(rows), Some(workbook)) = (&encoded.cells, workbook) {
                let max_rows = self.limits.file.max_xlsx_rows;
                if state.statistics.rows_written > max_rows {
                    return Err(Stopped::Failed(Failure::too_many_rows_for_xlsx(max_rows)));
                }
                workbook.add(rows)?;
            }
            if state.buffer.len() >= self.limits.file.part_size {
                reader.read_during(uploads.start(state)).await?;
            }
            return Ok(());
        }
        if state.invalid_rows.count == 0 {
            // Deletes its temporary file.
            *workbook = None;
            uploads.cancel();
            if let Some(upload) = state.unnamed_upload() {
                reader.read_during(self.abort(upload)).await;
            }
            state.start_invalid_rows(&invalid_rows_header(export.settings.byte_order_mark));
        }
        state.add_invalid_rows(encoded);
        Ok(())
    }

    /// Writes the rest of the file once all rows are read.
    async fn finish_csv(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        mut uploads: PartUploads<'_>,
        times: &Times,
    ) -> Result<WrittenFile, Stopped> {
        let read = state.statistics.read_until(self.system.now());
        if state.upload.is_none() {
            self.files.put_file(&uploads.file, std::mem::take(&mut state.buffer)).await?;
            let written = self.file(export, uploads.file.key, &state.statistics, read);
            return Ok(WrittenFile { checkpoint_objects: std::mem::take(&mut state.checkpoint_objects), ..written });
        }
        if !state.buffer.is_empty() {
            uploads.start(state).await?;
        }
        uploads.finish(state).await?;
        self.complete(export, state, read, times).await
    }

    /// Writes the file of invalid rows. Returns the error that names it, or the one that it was not written for.
    pub(crate) async fn write_invalid_rows(&self, export: &Export, state: &UploadState) -> Stopped {
        let file = NewFile::invalid_rows(export);
        if let Err(error) = self.files.put_file(&file, state.buffer.clone()).await {
            return error.into();
        }
        let expires_at = self.system.now().plus(export.settings.file_retention);
        let definition = export.id.export_type().definition();
        Stopped::Failed(Failure::invalid_rows(&state.invalid_rows, definition, file.key, expires_at))
    }

    /// Completes the upload. The checkpoint before it describes the complete file, so that a lost response does not cost
    /// the file. Completion may take minutes: with too little time left, the invocation that wrote the file leaves it to
    /// the next one, which has nothing else to do. An invocation that starts with a complete file always completes it.
    async fn complete(
        &self,
        export: &mut Export,
        state: &mut UploadState,
        read: Option<ReadInterval>,
        times: &Times,
    ) -> Result<WrittenFile, Stopped> {
        let now = self.system.now();
        let (Some(upload), Some(checkpoint)) = (state.upload.clone(), state.checkpoint_of_all(None, true)) else {
            return Err(DependencyError::transient("complete the upload", "parts are missing").into());
        };
        if now > times.complete_by && (state.has_advanced || state.advances(&checkpoint)) {
            return Err(self.release_with(export, state, &checkpoint).await);
        }
        self.store_checkpoint(export, state, &checkpoint, now).await?;
        self.complete_upload(upload.clone(), state, times).await?;
        Ok(self.file(export, upload.key, &state.statistics, read))
    }

    /// Completes an upload whose parts are the complete file.
    pub(crate) async fn complete_upload(
        &self,
        upload: Upload,
        state: &UploadState,
        times: &Times,
    ) -> Result<(), DependencyError> {
        let (bytes, crc64) = (state.statistics.bytes, state.statistics.crc64());
        let timeout = times.abandon_completion_at.since(self.system.now());
        match self.files.complete_upload(&upload, &state.parts, bytes, crc64, timeout).await {
            Ok(()) => Ok(()),
            Err(CompleteError::Dependency(error)) => Err(error),
            Err(CompleteError::UploadLost(reason)) => {
                // An earlier attempt may have completed it and lost the response.
                if self.files.file_size(&upload.key).await? == Some(bytes) {
                    return Ok(());
                }
                self.abort(upload).await;
                let reason = format!("the upload is lost: {reason}");
                Err(DependencyError::transient("complete the upload", reason))
            }
        }
    }

    async fn abort(&self, upload: Upload) {
        discard(&UnfinishedFile { upload: Some(upload), part_key: None }, self.files).await;
    }

    pub(crate) fn file(
        &self,
        export: &Export,
        key: String,
        statistics: &FileStatistics,
        read: Option<ReadInterval>,
    ) -> WrittenFile {
        let file = ExportFile {
            key,
            name: NewFile::of(export).name,
            rows: statistics.rows_written,
            bytes: statistics.bytes,
            sha256: statistics.sha256(),
            totals: statistics.totals.clone(),
            read,
            expires_at: self.system.now().plus(export.settings.file_retention),
        };
        WrittenFile { file, rows_read: statistics.rows_read, checkpoint_objects: UnfinishedFile::default() }
    }
}
