//! The state of a file that is being uploaded: which parts are done, and the contents of its checkpoint.

use std::collections::BTreeMap;

use exports_domain::checkpoint::{Checkpoint, UnfinishedPart};
use exports_domain::error::DependencyError;
use exports_domain::invalid_rows::InvalidRows;
use exports_domain::ports::{Part, RowKey, Upload};
use exports_domain::row_encoder::EncodedRows;
use exports_domain::unfinished_file::UnfinishedFile;

use crate::statistics::FileStatistics;

/// A page of rows at most, as DynamoDB returns it.
const PAGE: usize = 1024 * 1024;

/// A file that is being written.
#[derive(Default)]
pub(crate) struct UploadState {
    /// The multipart upload; small files have none.
    pub upload: Option<Upload>,
    /// The statistics of all rows so far.
    pub statistics: FileStatistics,
    /// The key of the last row read.
    pub last_key_read: Option<RowKey>,
    /// The bytes of the next part.
    pub buffer: Vec<u8>,
    /// The invalid rows so far. Once there is one, the file being written is that of invalid rows.
    pub invalid_rows: InvalidRows,
    /// The uploaded parts, contiguous from the first.
    pub parts: Vec<Part>,
    /// How many parts were cut, uploaded or not.
    parts_cut: u32,
    /// The uploaded parts after a gap.
    after_gap: BTreeMap<u32, Part>,
    /// The state at the end of each part that is not in a checkpoint yet.
    part_ends: BTreeMap<u32, PartEnd>,
    /// The objects that the stored checkpoint names: the next attempt can continue them.
    pub checkpoint_objects: UnfinishedFile,
    /// The object key of an unfinished part that may be stored, and that no checkpoint names.
    pub unnamed_part: Option<String>,
    /// How many parts of the upload the stored checkpoint has.
    checkpointed_parts: u32,
    /// The last row read at the furthest checkpoint of earlier owners. Only further rows are progress, whether this file
    /// continues from there or restarts. Rows read count, not rows written: a filter may exclude most of them.
    furthest_key_before: Option<RowKey>,
    /// Whether the stored checkpoint is further than that.
    pub has_advanced: bool,
}

/// The state at the end of a part.
struct PartEnd {
    statistics: FileStatistics,
    last_key_read: Option<RowKey>,
}

impl UploadState {
    /// A file that starts over because the objects that `checkpoint` names are unusable.
    pub(crate) fn restart(checkpoint: &Checkpoint) -> Self {
        let checkpoint_objects = UnfinishedFile::of(checkpoint);
        Self { checkpoint_objects, furthest_key_before: Some(checkpoint.after.clone()), ..Self::default() }
    }

    /// A file that continues from `checkpoint`, with these parts and the bytes of its unfinished part.
    pub(crate) fn resume(
        checkpoint: Checkpoint,
        statistics: FileStatistics,
        parts: Vec<Part>,
        unfinished: Vec<u8>,
    ) -> Self {
        Self {
            statistics,
            last_key_read: Some(checkpoint.after.clone()),
            buffer: unfinished,
            parts_cut: checkpoint.parts,
            parts,
            checkpointed_parts: checkpoint.parts,
            upload: checkpoint.upload.clone(),
            invalid_rows: checkpoint.invalid_rows.clone(),
            ..Self::restart(&checkpoint)
        }
    }

    /// The upload, if the stored checkpoint does not name it.
    pub(crate) fn unnamed_upload(&self) -> Option<Upload> {
        self.upload.clone().filter(|upload| self.checkpoint_objects.upload.as_ref() != Some(upload))
    }

    /// Records that `checkpoint` is stored. Returns the objects that the checkpoint before it named and this one does not.
    pub(crate) fn stored(&mut self, checkpoint: &Checkpoint) -> UnfinishedFile {
        self.checkpointed_parts = checkpoint.parts;
        self.has_advanced |= self.advances(checkpoint);
        let UnfinishedFile { upload, part_key } =
            std::mem::replace(&mut self.checkpoint_objects, UnfinishedFile::of(checkpoint));
        UnfinishedFile {
            upload: upload.filter(|upload| self.checkpoint_objects.upload.as_ref() != Some(upload)),
            part_key,
        }
    }

    /// Starts the file of invalid rows with this header in place of the file, which will not be written. The objects that
    /// the stored checkpoint names are kept for the next attempt until another checkpoint is stored.
    pub(crate) fn start_invalid_rows(&mut self, header: &str) {
        let Self { checkpoint_objects, furthest_key_before, has_advanced, last_key_read, statistics, .. } =
            std::mem::take(self);
        let statistics = statistics.of_new_file();
        *self = Self {
            checkpoint_objects,
            furthest_key_before,
            has_advanced,
            last_key_read,
            statistics,
            ..Self::default()
        };
        self.append(header.as_bytes());
    }

    /// Adds the invalid ones of these rows to the file of invalid rows.
    pub(crate) fn add_invalid_rows(&mut self, encoded: EncodedRows) {
        self.statistics.rows_read += encoded.rows_read();
        let end = self.buffer.len();
        self.invalid_rows.append(encoded.invalid_rows, &mut self.buffer);
        self.statistics.add_bytes(self.buffer.get(end..).unwrap_or_default());
    }

    /// Adds these rows, all of them valid, to the file.
    ///
    /// # Errors
    /// A permanent [`DependencyError`] if a sum of amounts overflows.
    pub(crate) fn add_rows(&mut self, encoded: &EncodedRows) -> Result<(), DependencyError> {
        self.statistics.add(encoded)?;
        self.buffer.extend_from_slice(encoded.cells.csv());
        Ok(())
    }

    /// Appends bytes without rows.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.statistics.add_bytes(bytes);
        self.buffer.extend_from_slice(bytes);
    }

    /// The number of the next part, if there may be one more.
    pub(crate) fn next_part(&self, max_parts: u32) -> Option<u32> {
        (self.parts_cut < max_parts).then_some(self.parts_cut + 1)
    }

    /// Takes the buffer as the next part. The new buffer has room for a part and a page, because growing it would copy
    /// it and fragment the heap.
    pub(crate) fn cut(&mut self, part_size: usize) -> Vec<u8> {
        self.parts_cut += 1;
        let part_end = PartEnd { statistics: self.statistics.clone(), last_key_read: self.last_key_read.clone() };
        self.part_ends.insert(self.parts_cut, part_end);
        std::mem::replace(&mut self.buffer, Vec::with_capacity(part_size.saturating_add(PAGE)))
    }

    /// Records an uploaded part.
    pub(crate) fn add_part(&mut self, part: Part) {
        self.after_gap.insert(part.number, part);
        while let Some(next) = self.after_gap.first_entry()
            && usize::try_from(*next.key()).is_ok_and(|number| number == self.parts.len() + 1)
        {
            self.parts.push(next.remove());
        }
    }

    /// Whether the checkpoint is further than those of earlier owners.
    pub(crate) fn advances(&self, checkpoint: &Checkpoint) -> bool {
        self.furthest_key_before.as_ref().is_none_or(|known| checkpoint.after > *known)
    }

    /// The checkpoint after the last contiguous part, if it has more parts than the stored one.
    pub(crate) fn checkpoint(&mut self) -> Option<Checkpoint> {
        let parts = self.uploaded().filter(|parts| *parts > self.checkpointed_parts)?;
        self.part_ends = self.part_ends.split_off(&parts);
        let part_end = self.part_ends.remove(&parts)?;
        self.describe(parts, &part_end.statistics, part_end.last_key_read)
    }

    /// The checkpoint of everything read, if every part that was cut is uploaded and `unfinished` has the bytes after
    /// them.
    pub(crate) fn checkpoint_of_all(
        &self,
        unfinished: Option<UnfinishedPart>,
        is_complete: bool,
    ) -> Option<Checkpoint> {
        let parts = self.uploaded().filter(|parts| *parts == self.parts_cut)?;
        let checkpoint = self.describe(parts, &self.statistics, self.last_key_read.clone())?;
        Some(Checkpoint { unfinished, is_complete, ..checkpoint })
    }

    /// The number of contiguous parts.
    fn uploaded(&self) -> Option<u32> {
        u32::try_from(self.parts.len()).ok()
    }

    fn describe(&self, parts: u32, statistics: &FileStatistics, last_key_read: Option<RowKey>) -> Option<Checkpoint> {
        Some(Checkpoint {
            upload: self.upload.clone(),
            parts,
            unfinished: None,
            read_from: statistics.read_from,
            after: last_key_read?,
            rows_read: statistics.rows_read,
            rows_written: statistics.rows_written,
            bytes: statistics.bytes,
            totals: statistics.totals.clone(),
            sha256: statistics.sha256_state(),
            crc64: statistics.crc64_state(),
            invalid_rows: self.invalid_rows.clone(),
            is_complete: false,
        })
    }
}
