//! The clock, and ids.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::{FailureInjector, start};
use crate::error::DependencyError;
use crate::export_type::ExportType;
use crate::id::ExportId;
use crate::ports::System;
use crate::time::Timestamp;

/// A clock that only moves when set, and ids whose random part counts up from 1.
#[derive(Debug)]
pub struct FakeSystem {
    now: AtomicI64,
    tick: AtomicI64,
    ids: AtomicU64,
    /// Makes the generation of ids fail.
    pub failures: FailureInjector,
}

impl Default for FakeSystem {
    /// The clock starts at [`start`].
    fn default() -> Self {
        Self {
            now: AtomicI64::new(start().millis()),
            tick: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            failures: FailureInjector::default(),
        }
    }
}

impl FakeSystem {
    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.millis(), Ordering::SeqCst);
    }

    /// Advances the clock by `step` after each read from now on.
    pub fn tick(&self, step: Duration) {
        self.tick.store(i64::try_from(step.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Advances the clock.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }
}

impl System for FakeSystem {
    fn now(&self) -> Timestamp {
        let tick = self.tick.load(Ordering::SeqCst);
        Timestamp::from_millis(self.now.fetch_add(tick, Ordering::SeqCst))
    }

    fn new_export_id(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, DependencyError> {
        self.failures.check("read random bytes")?;
        let number = self.ids.fetch_add(1, Ordering::SeqCst) + 1;
        let mut random = [0; 10];
        for (byte, digit) in random.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte = digit;
        }
        Ok(ExportId::new(export_type, at, &random))
    }
}
