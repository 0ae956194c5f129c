//! Requests that may come twice: the same key and body within a day mean one export.

use std::fmt;
use std::time::Duration;

/// How long a key is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What a client sent so that a repeated request has the effect of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// A hash of the caller's API key and the `Idempotency-Key`: nobody meets another's keys.
    pub key: String,
    /// A hash of what was asked for.
    pub fingerprint: String,
}

impl fmt::Debug for Idempotency {
    /// Clients may put anything into their keys: logs do not get it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotency(…)")
    }
}
