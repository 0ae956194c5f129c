//! The source tables.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;

use super::{FailureInjector, Row, TYPE, invalid_start_key, sort_key};
use crate::error::DependencyError;
use crate::id::TenantId;
use crate::ports::{KeyRange, RowKey, RowPage, RowSource};
use crate::row_encoder::RowEncoder;
use crate::row_selection::RowSelection;

/// The source table.
#[derive(Debug, Default)]
pub struct MemoryRows {
    rows: BTreeMap<(TenantId, String), Row>,
    page_size: Option<usize>,
    reads: AtomicU64,
    in_flight: AtomicU64,
    max_in_flight: AtomicU64,
    busy_reads: AtomicU64,
    /// Makes reads fail.
    pub failures: FailureInjector,
}

impl MemoryRows {
    /// A table with the payouts of one tenant, all in one page.
    pub fn new(tenant: &TenantId, rows: impl IntoIterator<Item = Row>) -> Self {
        Self::default().and(tenant, rows)
    }

    /// Adds the payouts of another tenant.
    #[must_use]
    pub fn and(mut self, tenant: &TenantId, rows: impl IntoIterator<Item = Row>) -> Self {
        self.rows.extend(rows.into_iter().map(|row| ((tenant.clone(), sort_key(TYPE, &row)), row)));
        self
    }

    /// The number of pages read.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// The highest number of concurrent reads since the last call.
    pub fn max_in_flight(&self) -> u64 {
        self.max_in_flight.swap(0, Ordering::SeqCst)
    }

    /// Makes the source busy for the next `reads` reads.
    pub fn make_busy(&self, reads: u64) {
        self.busy_reads.store(reads, Ordering::SeqCst);
    }

    /// Limits pages to `page_size` rows.
    #[must_use]
    pub fn in_pages_of(mut self, page_size: usize) -> Self {
        self.page_size = Some(page_size);
        self
    }
}

impl MemoryRows {
    fn in_range(&self, tenant: &TenantId, range: &KeyRange) -> impl Iterator<Item = (&String, &Row)> {
        let after = range.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.0.clone()));
        let of = |tenant: TenantId| move |key: String| (tenant.clone(), key);
        let lower = match after {
            Bound::Excluded(after) => Bound::Excluded(of(tenant.clone())(after)),
            _ => Bound::Included(of(tenant.clone())(String::new())),
        };
        let upper = Bound::Included(of(tenant.clone())(range.up_to.0.clone()));
        self.rows.range((lower, upper)).map(|((_, key), row)| (key, row))
    }
}

#[async_trait]
impl RowSource for MemoryRows {
    async fn read_page(
        &self,
        selection: &RowSelection,
        tenant: &TenantId,
        range: &KeyRange,
    ) -> Result<RowPage, DependencyError> {
        // Responses are delayed as by a real table, so that concurrent reads overlap.
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        yield_once().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.failures.check("read the payouts")?;
        if range.is_empty() {
            return Err(invalid_start_key("read the payouts"));
        }
        let page_size = self.page_size.unwrap_or(usize::MAX);
        let page: Vec<_> = self.in_range(tenant, range).take(page_size).collect();
        let mut encoder = RowEncoder::new(selection, 0);
        for (key, row) in &page {
            encoder.push(row, key);
        }
        let key = |(key, _): &(&String, _)| RowKey((*key).clone());
        let first = page.first().map(key);
        // As in DynamoDB, a full page has a next one, which may be empty.
        let next = page.last().map(key).filter(|_| page.len() == page_size);
        let busy = self.busy_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        Ok(RowPage { encoded: encoder.finish(), first, next, read_bytes: 0, is_source_busy: busy.is_ok() })
    }
}

/// Lets all other futures of the task run once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
