//! The state of a file that is being uploaded: which parts are done, and what its checkpoint contains.

use std::collections::BTreeMap;

use exports_domain::checkpoint::Checkpoint;
use exports_domain::ports::{Part, RowKey, Upload};

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
    /// The key of the last row so far.
    pub after: Option<RowKey>,
    /// The bytes of the next part.
    pub buffer: Vec<u8>,
    /// The uploaded parts, contiguous from the first.
    pub parts: Vec<Part>,
    /// How many parts were cut, uploaded or not.
    parts_cut: u32,
    /// The uploaded parts after a gap.
    after_gap: BTreeMap<u32, Part>,
    /// The state at the end of each part that is not in a checkpoint yet.
    marks: BTreeMap<u32, Mark>,
    /// How many parts the stored checkpoint has.
    pub checkpointed: u32,
    /// The rows read at the furthest checkpoint of earlier owners. Only more rows are progress, whether this file
    /// continues from there or restarts. Rows read count, not rows written: a filter may exclude most of them.
    known_rows_read: u64,
    /// Whether the stored checkpoint has more rows than that.
    pub has_advanced: bool,
}

/// The state at the end of a part.
struct Mark {
    statistics: FileStatistics,
    after: Option<RowKey>,
}

impl UploadState {
    /// A file that starts over because the upload of `checkpoint` is unusable.
    pub(crate) fn restart(checkpoint: &Checkpoint) -> Self {
        Self { known_rows_read: checkpoint.rows_read, ..Self::default() }
    }

    /// A file that continues from `checkpoint`.
    pub(crate) fn resume(checkpoint: Checkpoint, statistics: FileStatistics, parts: Vec<Part>) -> Self {
        Self {
            upload: Some(checkpoint.upload),
            statistics,
            after: Some(checkpoint.after),
            parts_cut: checkpoint.parts,
            parts,
            checkpointed: checkpoint.parts,
            known_rows_read: checkpoint.rows_read,
            ..Self::default()
        }
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
        let mark = Mark { statistics: self.statistics.clone(), after: self.after.clone() };
        self.marks.insert(self.parts_cut, mark);
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

    /// Whether the checkpoint has more rows than those of earlier owners.
    pub(crate) const fn advances(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.rows_read > self.known_rows_read
    }

    /// The checkpoint after the last contiguous part, if it has more parts than the stored one.
    pub(crate) fn checkpoint(&mut self) -> Option<Checkpoint> {
        self.checkpoint_after(self.checkpointed + 1, false)
    }

    /// The checkpoint of the whole file, if every part is uploaded.
    pub(crate) fn whole_checkpoint(&mut self) -> Option<Checkpoint> {
        self.checkpoint_after(self.parts_cut, true)
    }

    fn checkpoint_after(&mut self, min_parts: u32, is_whole: bool) -> Option<Checkpoint> {
        let parts = u32::try_from(self.parts.len()).ok().filter(|parts| *parts >= min_parts)?;
        let (statistics, after) = match self.marks.get(&parts) {
            Some(mark) => (&mark.statistics, &mark.after),
            None => (&self.statistics, &self.after),
        };
        let checkpoint = Checkpoint {
            upload: self.upload.clone()?,
            parts,
            after: after.clone()?,
            rows_read: statistics.rows_read,
            rows: statistics.rows,
            bytes: statistics.bytes,
            totals: statistics.totals.clone(),
            sha256: statistics.sha256_state(),
            crc64: statistics.crc64_state(),
            is_whole,
        };
        self.marks = self.marks.split_off(&(parts + 1));
        Some(checkpoint)
    }
}
