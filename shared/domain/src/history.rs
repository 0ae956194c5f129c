//! A tenant's exports, in order of creation.

use crate::export::{Export, Status};
use crate::id::{ExportId, ExportType};
use crate::ports::Unreadable;
use crate::time::Timestamp;

/// In which order exports are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    OldestFirst,
    /// The newest first.
    #[default]
    NewestFirst,
}

/// Which exports are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFilter {
    /// What was exported.
    pub export_type: ExportType,
    /// Those that stand so at the time of reading; empty for all.
    pub statuses: Vec<Status>,
    /// Those created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Those created at this time or earlier.
    pub created_to: Option<Timestamp>,
    /// In which order.
    pub order: Order,
}

impl HistoryFilter {
    /// Whether `export` is listed at `now`, as far as its status is concerned.
    #[must_use]
    pub fn has_status_of(&self, export: &Export, now: Timestamp) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&export.status_at(now))
    }
}

/// A stretch of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The exports, in the order asked for.
    pub exports: Vec<Export>,
    /// The export after which the next page begins; `None` if this is the last page.
    pub next_after: Option<ExportId>,
    /// What is left out because it cannot be read: the store's key of the record, and why.
    pub unreadable: Vec<(String, Unreadable)>,
}
