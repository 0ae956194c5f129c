//! A log for tests. Only tests may enable the feature `testing`.
#![expect(clippy::unwrap_used, reason = "a malformed log line fails the test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

/// A second subscriber, which discards everything. While there is only one, tracing-core 0.1.36 lets the first thread that
/// logs an event decide for all threads whether the event is logged, and a test that captures nothing has no subscriber.
static ANOTHER: OnceLock<Dispatch> = OnceLock::new();

/// All log and metric lines of the current thread from [`Log::capture`] on.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Logs to the returned log until the guard is dropped.
    #[must_use]
    pub fn capture() -> (Self, DefaultGuard) {
        ANOTHER.get_or_init(|| Dispatch::new(crate::subscriber(io::sink)));
        let log = Self::default();
        let writer = log.clone();
        (log, tracing::subscriber::set_default(crate::subscriber(move || writer.clone())))
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines so far that are no metrics.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line.get("_aws").is_none()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
