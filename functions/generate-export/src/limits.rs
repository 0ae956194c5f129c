//! The generator's limits, and the times within one invocation that follow from them.

use std::time::Duration;

use exports_domain::lifecycle::RetryPolicy;
use exports_domain::time::Timestamp;

/// The generator's limits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often, and when, an export is attempted.
    pub retry: RetryPolicy,
    /// How long a lease outlives its invocation.
    pub lease_grace: Duration,
    /// How long the sweeper waits for a sent job to start before it enqueues the export again.
    pub re_enqueue_after: Duration,
    /// The limits of a file.
    pub file: FileLimits,
}

/// The limits of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// The size of a part; S3 requires 5 MiB at least.
    pub part_size: usize,
    /// How many parts a file may have; S3 allows 10,000.
    pub max_parts: u32,
    /// How many rows an XLSX file may have.
    pub max_xlsx_rows: u64,
    /// How many key ranges are read in parallel.
    pub readers: usize,
    /// How much one export may read of its source, in bytes per second as the source counts them.
    pub bytes_per_second: u64,
    /// How often progress is recorded.
    pub checkpoint_every: Duration,
    /// The next invocation continues when less time is left than this, or than a quarter of the invocation's time if
    /// that is shorter.
    pub continue_before: Duration,
    /// How long completing an upload may take. With less time left, or less than half of the invocation's time if that
    /// is shorter, the next invocation completes it.
    pub completion_takes: Duration,
}

/// How much of an invocation's time is left when a completion is abandoned: enough to record the outcome.
const RECORD_BEFORE: Duration = Duration::from_secs(10);

/// When an invocation stops which kind of work.
pub(crate) struct Times {
    /// Reading continues in the next invocation.
    pub continue_at: Timestamp,
    /// Storing the unfinished part is abandoned. Most of the time is for the last page, which may come late.
    pub store_by: Timestamp,
    /// After this, a file that was written here is completed by the next invocation.
    pub complete_by: Timestamp,
    /// A completion is abandoned.
    pub abandon_completion_at: Timestamp,
}

impl Times {
    pub(crate) fn new(started_at: Timestamp, ends_at: Timestamp, limits: &FileLimits) -> Self {
        let total = ends_at.since(started_at);
        let continue_before = limits.continue_before.min(total / 4);
        Self {
            continue_at: ends_at.minus(continue_before),
            store_by: ends_at.minus(continue_before / 4),
            complete_by: ends_at.minus(limits.completion_takes.min(total / 2)),
            abandon_completion_at: ends_at.minus(RECORD_BEFORE.min(total / 4)),
        }
    }
}
