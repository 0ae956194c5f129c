//! The system clock and random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use exports_domain::error::DependencyError;
use exports_domain::export_type::ExportType;
use exports_domain::id::ExportId;
use exports_domain::ports::System;
use exports_domain::time::Timestamp;

/// The clock and random numbers of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LambdaSystem;

impl System for LambdaSystem {
    #[expect(clippy::disallowed_methods, reason = "the adapter of the clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(since_epoch.as_millis().try_into().unwrap_or(i64::MAX))
    }

    fn new_export_id(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, DependencyError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| DependencyError::transient("read random bytes", error))?;
        Ok(ExportId::new(export_type, at, &random))
    }
}

#[cfg(feature = "bucket")]
pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_millis(time.millis().try_into().unwrap_or(0))
}
