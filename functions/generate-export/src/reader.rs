//! Reads a tenant's rows in parallel key ranges and returns them in order.
//!
//! Pages wait for their turn within a bounded window, so memory stays flat and no reader waits long. Parallel reads
//! save latency, not work: a partition has a fixed throughput. When the source is busy, the number of readers is
//! halved, and grows again page by page.

use std::pin::{Pin, pin};

use exports_domain::error::DependencyError;
use exports_domain::id::TenantId;
use exports_domain::ports::{KeyRange, RowPage, RowSource};
use exports_domain::row_selection::RowSelection;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::plan::{Batch, Plan};

/// How many pages may be in flight or wait for their turn, for each reader.
const PAGES_PER_READER: usize = 4;

/// How many consecutive pages of a source that is not busy add a reader.
const UNTHROTTLED_PAGES: u32 = 8;

type Fetch<'a> = Pin<Box<dyn Future<Output = (u64, Result<RowPage, DependencyError>)> + Send + 'a>>;

/// Reads the rows of a key range.
pub struct Reader<'a> {
    rows: &'a dyn RowSource,
    selection: &'a RowSelection,
    tenant: &'a TenantId,
    plan: Plan,
    fetches: FuturesUnordered<Fetch<'a>>,
    readers: Readers,
    /// How many pages wait for their turn.
    waiting: usize,
    /// A read error that was not returned yet.
    failed: Option<DependencyError>,
}

/// How many pages may be fetched at once.
struct Readers {
    max: usize,
    now: usize,
    unthrottled_pages: u32,
}

impl Readers {
    fn observe(&mut self, is_source_busy: bool) {
        if is_source_busy {
            self.now = (self.now / 2).max(1);
            self.unthrottled_pages = 0;
            return;
        }
        self.unthrottled_pages += 1;
        if self.unthrottled_pages >= UNTHROTTLED_PAGES {
            self.now = (self.now + 1).min(self.max);
            self.unthrottled_pages = 0;
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads a range of a tenant's rows with up to `readers` parallel reads.
    #[must_use]
    pub fn new(
        rows: &'a dyn RowSource,
        (selection, tenant): (&'a RowSelection, &'a TenantId),
        range: KeyRange,
        readers: usize,
    ) -> Self {
        Self {
            rows,
            selection,
            tenant,
            plan: Plan::new(range),
            fetches: FuturesUnordered::new(),
            readers: Readers { max: readers.max(1), now: readers.max(1), unthrottled_pages: 0 },
            waiting: 0,
            failed: None,
        }
    }

    /// The next batch, or `None` after the last. Cancel safe: dropping the future loses no batch.
    ///
    /// # Errors
    /// [`DependencyError`] if a page could not be read.
    pub async fn next(&mut self) -> Result<Option<Batch>, DependencyError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        loop {
            self.start_fetches();
            // Pages in flight make progress while the caller works on the batch.
            while let Some(Some((id, page))) = self.fetches.next().now_or_never() {
                self.add(id, page?);
                self.start_fetches();
            }
            if let Some(batch) = self.take_ready() {
                return Ok(Some(batch));
            }
            if self.plan.is_empty() {
                return Ok(None);
            }
            if let Some((id, page)) = self.fetches.next().await {
                self.add(id, page?);
            }
        }
    }

    /// Awaits `other` while reading continues within the window. Otherwise pages in flight would time out. A read error
    /// is returned by the next [`Self::next`].
    pub async fn read_during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        while self.failed.is_none() {
            self.start_fetches();
            let fetched = tokio::select! {
                biased;
                done = &mut other => return done,
                fetched = self.fetches.next() => fetched,
            };
            match fetched {
                Some((id, Ok(page))) => self.add(id, page),
                Some((_, Err(error))) => self.failed = Some(error),
                None => break,
            }
        }
        other.await
    }

    fn take_ready(&mut self) -> Option<Batch> {
        let batch = self.plan.take_ready()?;
        self.waiting -= 1;
        Some(batch)
    }

    /// Starts as many fetches as allowed, in output order.
    fn start_fetches(&mut self) {
        let mut from = 0;
        while self.fetches.len() < self.readers.now {
            let has_room = self.waiting + self.fetches.len() < self.readers.max * PAGES_PER_READER;
            let Some((id, range)) = self.plan.next_fetch(&mut from, has_room) else { return };
            let (rows, selection, tenant) = (self.rows, self.selection, self.tenant);
            self.fetches.push(Box::pin(async move { (id, rows.read_page(selection, tenant, &range).await) }));
        }
    }

    fn add(&mut self, id: u64, page: RowPage) {
        self.readers.observe(page.is_source_busy);
        self.waiting += usize::from(self.plan.add(id, page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::ports::RowKey;
    use exports_domain::testing::{MemoryRows, export, operator, payout, start};
    use exports_domain::time::Timestamp;
    use proptest::prelude::*;
    use std::time::Duration;

    /// Rows created at these times, with ascending ids.
    fn table(times: impl IntoIterator<Item = Timestamp>) -> MemoryRows {
        let rows = times.into_iter().enumerate().map(|(n, time)| payout(&format!("payout-000000000000-{n:06}"), time));
        MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(10)
    }

    /// The ids of all rows up to the year 9999, in output order.
    async fn read(payouts: &dyn RowSource, readers: usize) -> Vec<String> {
        read_up_to(RowKey("9999-01-01T00:00:00.000Z".into()), payouts, readers).await
    }

    async fn read_up_to(up_to: RowKey, payouts: &dyn RowSource, readers: usize) -> Vec<String> {
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to };
        let selection = export().row_selection();
        let mut reader = Reader::new(payouts, (&selection, &tenant), range, readers);
        let mut ids = Vec::new();
        let mut last = RowKey(String::new());
        while let Some(batch) = reader.next().await.unwrap() {
            assert!(last < batch.up_to && reader.waiting <= readers * PAGES_PER_READER + readers);
            let lines = String::from_utf8(batch.encoded.cells.csv().to_vec()).unwrap();
            ids.extend(lines.lines().map(|line| line.split(';').next().unwrap().to_owned()));
            last = batch.up_to;
        }
        ids
    }

    fn all(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("payout-000000000000-{n:06}")).collect()
    }

    fn after(millis: i64) -> Timestamp {
        Timestamp::from_millis(start().millis() + millis)
    }

    #[tokio::test]
    async fn spread_rows_are_read_in_parallel_and_returned_in_order() {
        let payouts = table((0..2000).map(|n| after(n * 60_000)));
        assert_eq!(read(&payouts, 4).await, all(2000));
        assert_eq!(payouts.max_in_flight(), 4);
        assert!(payouts.reads() < 230, "{} reads for 200 pages", payouts.reads());
    }

    #[tokio::test]
    async fn rows_that_fit_into_a_page_take_one_read() {
        let payouts = table((0..9).map(after));
        assert_eq!(read(&payouts, 4).await, all(9));
        assert_eq!(payouts.reads(), 1);
    }

    /// The key of a row of [`table`].
    fn key_of(number: usize, time: Timestamp) -> RowKey {
        RowKey(format!("{time}#payout-000000000000-{number:06}"))
    }

    #[tokio::test]
    async fn page_that_ends_with_its_range_is_last() {
        let payouts = table((0..30).map(after));
        assert_eq!(read_up_to(key_of(19, after(19)), &payouts, 4).await, all(20));
    }

    #[tokio::test]
    async fn empty_range_is_not_read() {
        let payouts = table((0..30).map(after));
        let tenant = operator("acme").tenant;
        for (from, to) in [(9, 9), (9, 3)] {
            let range = KeyRange { after: Some(key_of(from, after(9))), up_to: key_of(to, after(9)) };
            let selection = export().row_selection();
            let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4);
            assert!(reader.next().await.unwrap().is_none());
        }
        assert_eq!(payouts.reads(), 0);
    }

    /// A table that takes 20 ms for a page.
    struct Slow(MemoryRows);

    #[async_trait::async_trait]
    impl RowSource for Slow {
        async fn read_page(
            &self,
            selection: &RowSelection,
            tenant: &TenantId,
            range: &KeyRange,
        ) -> Result<RowPage, DependencyError> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.0.read_page(selection, tenant, range).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reading_continues_while_something_else_is_awaited() {
        let payouts = Slow(table((0..1000).map(|n| after(n * 60_000))));
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: RowKey("9999-01-01T00:00:00.000Z".into()) };
        let selection = export().row_selection();
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4);
        reader.next().await.unwrap();
        reader.read_during(tokio::time::sleep(Duration::from_secs(60))).await;
        assert!(reader.fetches.is_empty(), "every page in flight arrived");
        assert_eq!(reader.waiting, 4 * PAGES_PER_READER, "and the window is full");
        payouts.0.failures.inject();
        for _ in 0..reader.waiting / 2 {
            assert!(reader.take_ready().is_some());
        }
        reader.read_during(tokio::time::sleep(Duration::from_secs(60))).await;
        assert!(reader.next().await.is_err(), "the error is returned");
    }

    #[tokio::test(start_paused = true)]
    async fn dense_rows_are_read_in_parallel() {
        let day = 1440 * 60_000;
        for (name, times) in [
            ("evenly over years", (0..4000).map(|n| after(n * day / 4)).collect::<Vec<_>>()),
            ("one day", (0..4000).map(|n| after(n * 20_000)).collect()),
            ("one millisecond", (0..4000).map(|_| after(0)).collect()),
            (
                "most in an hour",
                (0..4000).map(|n| after(if n < 40 { n * 15 * day } else { 600 * day + n * 900 })).collect(),
            ),
            ("at both ends", (0..4000).map(|n| after(if n < 2000 { n } else { 3000 * day + n })).collect()),
        ] {
            let payouts = Slow(table(times));
            let started = tokio::time::Instant::now();
            assert_eq!(read(&payouts, 4).await, all(4000), "{name}");
            let (took, reads) = (started.elapsed(), payouts.0.reads());
            assert!(reads < 600, "{name}: {reads} reads for 400 pages");
            assert!(took < Duration::from_secs(8) / 2, "{name}: {took:?}, one after another 8 s");
        }
    }

    #[tokio::test]
    async fn throttling_halves_the_readers_until_it_stops() {
        let payouts = table((0..4000).map(|n| after(n * 60_000)));
        payouts.make_busy(10);
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: RowKey("9999-01-01T00:00:00.000Z".into()) };
        let selection = export().row_selection();
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4);
        let mut readers = Vec::new();
        while reader.next().await.unwrap().is_some() {
            readers.push(reader.readers.now);
        }
        assert!(readers.iter().take(12).any(|now| *now == 1), "{readers:?}");
        assert_eq!(readers.last(), Some(&4));
    }

    #[tokio::test]
    async fn page_error_is_returned() {
        let payouts = table((0..100).map(after));
        payouts.failures.inject_after(3);
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: RowKey("9".into()) };
        let selection = export().row_selection();
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4);
        assert!(
            async {
                while reader.next().await?.is_some() {}
                Ok::<(), DependencyError>(())
            }
            .await
            .is_err()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn every_row_is_returned_once_in_order(
            mut millis in prop::collection::vec(prop_oneof![0_i64..5, 0..100_000_i64, 0..300_000_000_000_i64], 0..600),
            readers in 1_usize..6,
            end: prop::sample::Index,
        ) {
            millis.sort_unstable();
            let count = millis.len();
            let payouts = table(millis.iter().map(|millis| after(*millis)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(read(&payouts, readers)), all(count));
            if let Some(last) = (count > 0).then(|| end.index(count)) {
                let up_to = key_of(last, after(millis[last]));
                prop_assert_eq!(runtime.block_on(read_up_to(up_to, &payouts, readers)), all(last + 1));
            }
        }
    }
}
