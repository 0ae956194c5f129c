//! The jobs queue.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::{FailureInjector, lock};
use crate::error::DependencyError;
use crate::export::Export;
use crate::id::{ExportId, TenantId};
use crate::ports::JobQueue;

/// A job message of a [`MemoryQueue`]: tenant, export and delay.
pub type EnqueuedJob = (TenantId, ExportId, Duration);

/// A queue that records its messages.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    enqueued: Mutex<Vec<EnqueuedJob>>,
    /// Makes sends fail.
    pub failures: FailureInjector,
}

impl MemoryQueue {
    /// All messages, oldest first.
    pub fn enqueued(&self) -> Vec<EnqueuedJob> {
        lock(&self.enqueued).clone()
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn enqueue(&self, export: &Export, delay: Duration) -> Result<(), DependencyError> {
        self.failures.check("enqueue the export")?;
        lock(&self.enqueued).push((export.tenant.clone(), export.id, delay));
        Ok(())
    }
}
