//! The checkpoint of an unfinished file, from which the next owner continues.

use crate::ports::{RowKey, Upload};
use crate::totals::Totals;

/// The version of new checkpoints. A checkpoint of any other version is ignored, and its export's file restarts.
pub const CHECKPOINT_VERSION: u32 = 2;

/// The state of a multipart upload and of the file statistics after its last contiguous part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The upload.
    pub upload: Upload,
    /// The number of contiguous parts, from part 1.
    pub parts: u32,
    /// The key of the last row read for those parts.
    pub after: RowKey,
    /// The number of rows read for those parts.
    pub rows_read: u64,
    /// The number of rows in those parts.
    pub rows: u64,
    /// The size of those parts.
    pub bytes: u64,
    /// The totals of those parts.
    pub totals: Totals,
    /// The state of the SHA-256 over those parts, in the format of its library.
    pub sha256: Vec<u8>,
    /// The state of the CRC64NVME over those parts.
    pub crc64: u64,
    /// Whether those parts are the complete file: the upload only has to be completed.
    pub is_whole: bool,
}
