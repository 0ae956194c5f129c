//! The error that every port returns.

use std::error::Error as StdError;
use std::fmt;

/// Whether a failed call can succeed when it is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It can: a time-out, a throttled request, an error of the service.
    Transient,
    /// It cannot until a person changes something: access denied, a missing table, a corrupt record.
    Permanent,
}

/// A dependency failed, such as a table or the e-mail service.
///
/// Its text and its source are for the on-call engineer. Callers get a message that reveals nothing internal.
///
/// ```
/// use std::error::Error;
///
/// use exports_domain::error::DependencyError;
///
/// let error = DependencyError::permanent("read the export", "access denied");
/// assert_eq!(error.to_string(), "could not read the export");
/// assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("access denied"));
/// assert!(error.is_permanent(), "retrying cannot help");
/// ```
#[derive(Debug)]
pub struct DependencyError {
    action: &'static str,
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

impl DependencyError {
    /// A transient error of `action`, such as "read the export".
    pub fn transient(action: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of_kind(ErrorKind::Transient, action, source)
    }

    /// A permanent error of `action`.
    pub fn permanent(action: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of_kind(ErrorKind::Permanent, action, source)
    }

    /// An error of this kind of `action`.
    pub fn of_kind(kind: ErrorKind, action: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { action, kind, source: source.into() }
    }

    /// Whether retrying can help.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether retrying cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self.kind, ErrorKind::Permanent)
    }
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.action)
    }
}

impl StdError for DependencyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}
