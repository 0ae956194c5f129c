//! Failures of the fakes' calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::DependencyError;

/// Makes the calls of a port fail. By default all succeed.
#[derive(Debug)]
pub struct FailureInjector {
    calls_left: AtomicU64,
    failures_left: AtomicU64,
    is_permanent: AtomicBool,
}

impl Default for FailureInjector {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { calls_left: never(), failures_left: never(), is_permanent: AtomicBool::new(false) }
    }
}

impl FailureInjector {
    /// All further calls fail with a transient error.
    pub fn inject(&self) {
        self.inject_after(0);
    }

    /// The next `calls` calls succeed, and all later ones fail with a transient error.
    pub fn inject_after(&self, calls: u64) {
        self.set(calls, u64::MAX, false);
    }

    /// The next `calls` calls fail with a transient error, and all later ones succeed.
    pub fn inject_for(&self, calls: u64) {
        self.set(0, calls, false);
    }

    /// The next `calls` calls succeed, then one fails with a transient error, and all later ones succeed.
    pub fn inject_once_after(&self, calls: u64) {
        self.set(calls, 1, false);
    }

    /// All further calls fail with a permanent error, access denied.
    pub fn deny(&self) {
        self.deny_after(0);
    }

    /// The next `calls` calls succeed, and all later ones fail with a permanent error, access denied.
    pub fn deny_after(&self, calls: u64) {
        self.set(calls, u64::MAX, true);
    }

    /// All further calls succeed.
    pub fn stop(&self) {
        self.set(u64::MAX, u64::MAX, false);
    }

    fn set(&self, calls: u64, failures: u64, is_permanent: bool) {
        self.is_permanent.store(is_permanent, Ordering::SeqCst);
        self.failures_left.store(failures, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    pub(super) fn check(&self, action: &'static str) -> Result<(), DependencyError> {
        let decrement = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        let takes_one = |left: &AtomicU64| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, decrement).is_ok();
        if takes_one(&self.calls_left) || !takes_one(&self.failures_left) {
            return Ok(());
        }
        match self.is_permanent.load(Ordering::SeqCst) {
            true => Err(DependencyError::permanent(action, "access denied")),
            false => Err(DependencyError::transient(action, "injected failure")),
        }
    }
}
