//! How far a file in parts is: what the next owner of the work needs to go on from there.

use crate::file::Totals;
use crate::ports::{PayoutKey, Upload};

/// The form of the checkpoints that are written. One of another form is not read: its export's file begins anew.
pub const CHECKPOINT_VERSION: u32 = 1;

/// A file of which the first parts are written, with all that was counted up to the last row in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The upload that the parts belong to.
    pub upload: Upload,
    /// How many parts, from the first on without a gap, are written.
    pub parts: u32,
    /// The key after which the next part begins.
    pub after: PayoutKey,
    /// How many payouts they hold.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
    /// Their totals.
    pub totals: Totals,
    /// The state of the SHA-256 over them, in its library's form.
    pub sha256: Vec<u8>,
    /// The state of the CRC64NVME over them.
    pub crc64: u64,
    /// The parts are the whole file, which is only to be completed.
    pub is_whole: bool,
}
