//! A tenant's export history.

use crate::export::{Export, Status};
use crate::export_type::ExportType;
use crate::id::ExportId;
use crate::ports::CorruptRecord;
use crate::time::Timestamp;

/// The sort order of the history, by creation time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    OldestFirst,
    /// Descending.
    #[default]
    NewestFirst,
}

/// Which exports to list, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFilter {
    /// The export type.
    pub export_type: ExportType,
    /// The statuses to include, as of the time of the request. Empty for all.
    pub statuses: Vec<Status>,
    /// The inclusive lower bound of the creation time.
    pub created_from: Option<Timestamp>,
    /// The inclusive upper bound of the creation time.
    pub created_to: Option<Timestamp>,
    /// The sort order.
    pub order: Order,
}

impl HistoryFilter {
    /// Whether the status of `export` at `now` is included.
    #[must_use]
    pub fn matches_status(&self, export: &Export, now: Timestamp) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&export.status_at(now))
    }
}

/// A page of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The exports, in the requested order.
    pub exports: Vec<Export>,
    /// The export after which the next page starts; `None` if this is the last page.
    pub next_after: Option<ExportId>,
    /// The corrupt records left out of `exports`: the store's key of each, and the error.
    pub corrupt: Vec<(String, CorruptRecord)>,
}
