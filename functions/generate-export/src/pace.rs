//! Holds the reads of one export to a rate, so that other readers of the source are not throttled.
//!
//! The generic cell rate algorithm: `due` is when everything that was read so far is paid for at the rate, and a read may
//! start up to `BURST` before.

use std::time::Duration;

use tokio::time::Instant;

/// The size that a read counts as until its response has the actual one: a full page. DynamoDB limits pages to 1 MB (API
/// Reference, Query).
const PAGE_BYTES: u64 = 1024 * 1024;

/// How much can be made up for after a pause, and read at once at the start: at the default rate, four full pages. Small
/// files are therefore not slowed down. At most half of a partition's own burst, so that even the full rate causes no
/// throttling.
const BURST: Duration = Duration::from_millis(500);

/// The pace of the reads of one export.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    due: Instant,
}

impl Pace {
    /// A pace of so many bytes per second, as the source counts them.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, due: Instant::now() }
    }

    /// When the next read may start.
    pub(crate) fn next_start(&self) -> Instant {
        self.due.checked_sub(BURST).unwrap_or(self.due)
    }

    /// Counts a read that starts now.
    pub(crate) fn start_read(&mut self) {
        self.due = self.due.max(Instant::now()) + self.time_for(PAGE_BYTES);
    }

    /// Corrects the count of a read that took so many bytes.
    pub(crate) fn end_read(&mut self, bytes: u64) {
        let due = self.due + self.time_for(bytes);
        self.due = due.checked_sub(self.time_for(PAGE_BYTES)).unwrap_or(due);
    }

    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_second.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn read_takes_its_bytes_at_the_rate() {
        assert_eq!(Pace::new(1).time_for(3), Duration::from_secs(3));
    }
}
