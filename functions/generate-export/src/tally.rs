//! What is counted of a file while it is written.

use crc_fast::{CrcAlgorithm, Digest as Crc};
use domain::file::{Section, Totals};
use domain::hex;
use domain::ports::Outage;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};

/// The counts of a file's beginning. Cheap to copy: one is kept for each part that is under way.
#[derive(Clone)]
pub struct Tally {
    /// How many payouts.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Count and sum by currency and status.
    pub totals: Totals,
    sha256: Sha256,
    crc64: Crc,
}

impl Default for Tally {
    fn default() -> Self {
        let (sha256, crc64) = (Sha256::new(), Crc::new(CrcAlgorithm::Crc64Nvme));
        Self { rows: 0, bytes: 0, totals: Totals::default(), sha256, crc64 }
    }
}

impl Tally {
    /// Goes on from a checkpoint's counts; `None` if the hash's state is not one.
    #[must_use]
    pub fn resume(rows: u64, bytes: u64, totals: Totals, sha256: &[u8], crc64: u64) -> Option<Self> {
        let sha256 = Sha256::deserialize(sha256.try_into().ok()?).ok()?;
        let crc64 = Crc::new_with_init_state(CrcAlgorithm::Crc64Nvme, crc64);
        Some(Self { rows, bytes, totals, sha256, crc64 })
    }

    /// Counts bytes that hold no payouts.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc64.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Counts payouts.
    ///
    /// # Errors
    /// A permanent [`Outage`] if a sum is beyond what can be held.
    pub fn add(&mut self, section: &Section) -> Result<(), Outage> {
        self.add_bytes(&section.csv);
        self.rows += section.rows;
        if self.totals.add_all(&section.totals) {
            Ok(())
        } else {
            Err(Outage::permanent("count the totals", "a sum of amounts is too large"))
        }
    }

    /// The state of the SHA-256, for [`Self::resume`].
    #[must_use]
    pub fn sha256_state(&self) -> Vec<u8> {
        self.sha256.serialize().to_vec()
    }

    /// The state of the CRC64NVME, for [`Self::resume`].
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
        hex::digits(&self.sha256.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tally_goes_on_from_its_state(a: Vec<u8>, b: Vec<u8>) {
            let mut whole = Tally::default();
            whole.add_bytes(&a);
            let resumed = Tally::resume(0, whole.bytes, Totals::default(), &whole.sha256_state(), whole.crc64_state());
            let mut resumed = resumed.unwrap();
            whole.add_bytes(&b);
            resumed.add_bytes(&b);
            prop_assert_eq!((resumed.sha256(), resumed.crc64(), resumed.bytes), (whole.sha256(), whole.crc64(), whole.bytes));
        }
    }

    #[test]
    fn checksums_are_the_published_ones() {
        let mut tally = Tally::default();
        tally.add_bytes(b"123456789");
        assert_eq!(tally.crc64(), 0xae8b_1486_0a79_9888);
        assert!(tally.sha256().starts_with("15e2b0d3c33891eb"));
    }

    #[test]
    fn state_of_another_form_is_refused() {
        assert!(Tally::resume(0, 0, Totals::default(), b"short", 0).is_none());
    }
}
