//! Counts and checksums of a file while it is written.

use crc_fast::{CrcAlgorithm, Digest as Crc, checksum};
use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::DependencyError;
use exports_domain::export::Progress;
use exports_domain::file::ReadInterval;
use exports_domain::hex;
use exports_domain::row_encoder::EncodedRows;
use exports_domain::time::Timestamp;
use exports_domain::totals::Totals;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};

/// The statistics of the first bytes of a file. Cheap to clone: one is kept for each part in flight.
#[derive(Clone)]
pub struct FileStatistics {
    /// When reading started.
    pub read_from: Option<Timestamp>,
    /// The number of rows read for them.
    pub rows_read: u64,
    /// The number of rows in them.
    pub rows_written: u64,
    /// The size in bytes.
    pub bytes: u64,
    /// Count and sum by currency and status.
    pub totals: Totals,
    sha256: Sha256,
    crc64: Crc,
}

impl Default for FileStatistics {
    fn default() -> Self {
        let (sha256, crc64) = (Sha256::new(), Crc::new(CrcAlgorithm::Crc64Nvme));
        Self { read_from: None, rows_read: 0, rows_written: 0, bytes: 0, totals: Totals::default(), sha256, crc64 }
    }
}

impl FileStatistics {
    /// The statistics at a checkpoint; `None` if its hash state is corrupt.
    #[must_use]
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        let sha256 = Sha256::deserialize(checkpoint.sha256.as_slice().try_into().ok()?).ok()?;
        let crc64 = Crc::new_with_init_state(CrcAlgorithm::Crc64Nvme, checkpoint.crc64);
        let Checkpoint { read_from, rows_read, rows_written, bytes, totals, .. } = checkpoint;
        Some(Self {
            read_from: *read_from,
            rows_read: *rows_read,
            rows_written: *rows_written,
            bytes: *bytes,
            totals: totals.clone(),
            sha256,
            crc64,
        })
    }

    /// The statistics of a new file, after the same rows.
    #[must_use]
    pub fn of_new_file(&self) -> Self {
        let Self { read_from, rows_read, rows_written, .. } = *self;
        Self { read_from, rows_read, rows_written, ..Self::default() }
    }

    /// Adds bytes without rows.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc64.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Adds rows.
    ///
    /// # Errors
    /// A permanent [`DependencyError`] if a sum of amounts overflows.
    pub fn add(&mut self, encoded: &EncodedRows) -> Result<(), DependencyError> {
        self.add_bytes(encoded.cells.csv());
        self.rows_read += encoded.rows_read();
        self.rows_written += encoded.rows;
        if self.totals.add_all(&encoded.totals) {
            Ok(())
        } else {
            Err(DependencyError::permanent("add up the totals", "a sum of amounts is too large"))
        }
    }

    /// When the rows were read, if the last one was read before `to`.
    #[must_use]
    pub fn read_until(&self, to: Timestamp) -> Option<ReadInterval> {
        self.read_from.map(|from| ReadInterval { from, to })
    }

    /// How far the work is.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        Progress { rows_read: self.rows_read, rows_written: self.rows_written }
    }

    /// The state of the SHA-256, for a checkpoint.
    #[must_use]
    pub fn sha256_state(&self) -> Vec<u8> {
        self.sha256.serialize().to_vec()
    }

    /// The state of the CRC64NVME, for a checkpoint.
    #[must_use]
    pub fn crc64_state(&self) -> u64 {
        self.crc64.get_state()
    }

    /// The CRC64NVME of all bytes.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        self.crc64.finalize()
    }

    /// The SHA-256 of all bytes, in lower-case hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(&self.sha256.clone().finalize())
    }
}

/// The CRC64NVME of these bytes alone.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::invalid_rows::InvalidRows;
    use exports_domain::ports::RowKey;
    use proptest::prelude::*;

    fn checkpoint(statistics: &FileStatistics) -> Checkpoint {
        Checkpoint {
            upload: None,
            parts: 0,
            unfinished: None,
            read_from: statistics.read_from,
            after: RowKey(String::new()),
            rows_read: statistics.rows_read,
            rows_written: statistics.rows_written,
            bytes: statistics.bytes,
            totals: statistics.totals.clone(),
            sha256: statistics.sha256_state(),
            crc64: statistics.crc64_state(),
            invalid_rows: InvalidRows::default(),
            is_complete: false,
        }
    }

    proptest! {
        #[test]
        fn statistics_continue_from_a_checkpoint(a: Vec<u8>, b: Vec<u8>) {
            let mut whole = FileStatistics::default();
            whole.add_bytes(&a);
            let mut resumed = FileStatistics::of_checkpoint(&checkpoint(&whole)).unwrap();
            whole.add_bytes(&b);
            resumed.add_bytes(&b);
            prop_assert_eq!(
                (resumed.sha256(), resumed.crc64(), resumed.bytes),
                (whole.sha256(), whole.crc64(), whole.bytes)
            );
        }
    }

    #[test]
    fn checksums_match_published_values() {
        let mut statistics = FileStatistics::default();
        statistics.add_bytes(b"123456789");
        assert_eq!(statistics.crc64(), 0xae8b_1486_0a79_9888);
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        assert!(statistics.sha256().starts_with("15e2b0d3c33891eb"));
    }

    #[test]
    fn corrupt_hash_state_is_rejected() {
        let corrupt = Checkpoint { sha256: b"short".to_vec(), ..checkpoint(&FileStatistics::default()) };
        assert!(FileStatistics::of_checkpoint(&corrupt).is_none());
    }
}
