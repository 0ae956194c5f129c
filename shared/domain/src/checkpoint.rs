//! The checkpoint of an unfinished file, from which the next owner continues.

use crate::invalid_rows::InvalidRows;
use crate::ports::{RowKey, Upload};
use crate::time::Timestamp;
use crate::totals::Totals;

/// The version of new checkpoints. A checkpoint of any other version, or a corrupt one, is ignored, and its
/// export's file restarts.
pub const CHECKPOINT_VERSION: u32 = 1;

/// The state of a file after a row: its upload, the part kept beside it, and the file statistics of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The upload; a file that has filled no part yet has none.
    pub upload: Option<Upload>,
    /// The number of contiguous parts, from part 1.
    pub parts: u32,
    /// The bytes after those parts, if there are any.
    pub unfinished: Option<UnfinishedPart>,
    /// When reading started. `None` if a build that did not record it wrote the checkpoint.
    pub read_from: Option<Timestamp>,
    /// The key of the last row read.
    pub after: RowKey,
    /// The number of rows read.
    pub rows_read: u64,
    /// The number of rows written.
    pub rows_written: u64,
    /// The size of all parts.
    pub bytes: u64,
    /// The totals of the rows written.
    pub totals: Totals,
    /// The state of the SHA-256 over all parts, in the format of its library.
    pub sha256: Vec<u8>,
    /// The state of the CRC64NVME over all parts.
    pub crc64: u64,
    /// The invalid rows read. Once there is one, the file being written is that of invalid rows, in [`Self::unfinished`].
    pub invalid_rows: InvalidRows,
    /// Whether the parts are the complete file: the upload only has to be completed.
    pub is_complete: bool,
}

/// A part that was not filled when its invocation ended. Its bytes are kept in an object of their own, because S3
/// accepts a part of less than 5 MiB only as the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedPart {
    /// The [object key](crate::file::unfinished_key).
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The CRC64NVME of the bytes.
    pub crc64: u64,
}
