//! Why an invocation stopped before READY.

use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::failure::Failure;
use exports_domain::lifecycle::RetryPolicy;
use exports_domain::ports::ApplyError;
use exports_domain::time::Timestamp;
use exports_domain::unfinished_file::UnfinishedFile;

/// Why an invocation stopped before READY.
#[derive(Debug)]
pub enum Stopped {
    /// Another invocation owns the export, or it has ended: a caller cancelled it, an administrator failed it, or its
    /// deadline passed. With the record, if it is known.
    Conflict(Option<Box<Export>>),
    /// The export must fail.
    Failed(Failure),
    /// The invocation ran out of time and has released the lease, with a checkpoint.
    OutOfTime {
        /// Whether the checkpoint advanced.
        has_advanced: bool,
        /// The objects that only the previous checkpoint names, to be deleted once the next invocation is enqueued.
        obsolete: UnfinishedFile,
    },
    /// A dependency failed; another attempt may succeed.
    Error {
        /// Its error.
        error: DependencyError,
        /// The file that may be in the bucket without being recorded.
        unrecorded: Option<Unrecorded>,
        /// Objects that no checkpoint names, to be deleted once the next attempt is enqueued.
        obsolete: UnfinishedFile,
    },
}

/// A file, complete or not, that is not recorded.
#[derive(Debug)]
pub struct Unrecorded {
    /// The object key of the file.
    pub key: String,
    /// Its objects that the stored checkpoint names: a later invocation can continue them.
    pub checkpoint_objects: UnfinishedFile,
}

impl Unrecorded {
    /// A file that no checkpoint names.
    pub(crate) fn only(key: String) -> Self {
        Self { key, checkpoint_objects: UnfinishedFile::default() }
    }
}

impl Stopped {
    /// Whether no later attempt continues the file of `export`.
    pub(crate) fn is_last(&self, export: &Export, now: Timestamp, retry: &RetryPolicy) -> bool {
        match self {
            Self::Failed(_) => true,
            // Another owner may continue it, unless the export has ended, for example because it was cancelled.
            Self::Conflict(record) => {
                record.as_ref().is_some_and(|record| record.ended_without_file_under(export.fencing_token))
            }
            Self::OutOfTime { .. } => export.attempts >= retry.max_attempts,
            Self::Error { error, .. } => retry.wait_after_error(export, now, error.kind()).is_none(),
        }
    }
}

impl From<DependencyError> for Stopped {
    fn from(error: DependencyError) -> Self {
        Self::Error { error, unrecorded: None, obsolete: UnfinishedFile::default() }
    }
}

impl From<ApplyError> for Stopped {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Conflict(record) => Self::Conflict(record),
            ApplyError::Dependency(error) => error.into(),
        }
    }
}
