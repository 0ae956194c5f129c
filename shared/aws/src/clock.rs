//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::ports::Clock;
use domain::time::Timestamp;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that all others go through")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(since_epoch.as_millis().try_into().unwrap_or(i64::MAX))
    }
}

/// The same point in time as the standard library knows it.
#[cfg(feature = "links")]
pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_millis(time.millis().try_into().unwrap_or(0))
}
