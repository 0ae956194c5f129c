//! Idempotent launches: repeating a request with the same `Idempotency-Key` returns the same export.

use std::fmt;
use std::time::Duration;

/// How long an idempotency key is valid after its first use.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The idempotency key of a request, and a fingerprint to detect its reuse for another request.
#[derive(Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// A hash of the caller's API key and the `Idempotency-Key`, so that the keys of two callers never collide.
    pub key: String,
    /// A hash of the normalised request.
    pub fingerprint: String,
}

impl fmt::Debug for Idempotency {
    /// Redacted: clients can put anything into their keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotency(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_key_is_not_shown() {
        let idempotency = Idempotency { key: "k".into(), fingerprint: "f".into() };
        assert_eq!(format!("{idempotency:?}"), "Idempotency(…)");
    }
}
