//! Reads a tenant's rows in parallel key ranges and returns them in order.
//!
//! Pages wait for their turn within a bounded window, so memory stays flat and no reader waits long. Parallel reads
//! save latency, not work: a partition has a fixed throughput, of which the [`Pace`] takes a share. When the source is
//! busy, the number of readers is halved, and grows again page by page.

use std::pin::{Pin, pin};

use exports_domain::error::DependencyError;
use exports_domain::id::TenantId;
use exports_domain::ports::{KeyRange, RowPage, RowSource};
use exports_domain::row_selection::RowSelection;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::pace::Pace;
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
    pace: Pace,
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
    /// Reads a range of a tenant's rows with up to `readers` parallel reads at this pace.
    #[must_use]
    pub fn new(
        rows: &'a dyn RowSource,
        (selection, tenant): (&'a RowSelection, &'a TenantId),
        range: KeyRange,
        readers: usize,
        pace: Pace,
    ) -> Self {
        Self {
            rows,
            selection,
            tenant,
            plan: Plan::new(range),
            fetches: FuturesUnordered::new(),
            readers: Readers { max: readers.max(1), now: readers.max(1), unthrottled_pages: 0 },
            pace,
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
            if let Some((id, page)) = self.fetched().await {
                self.add(id, page?);
            }
        }
    }

    /// Awaits `other` while reading continues within the window. Otherwise pages in flight would time out. A read error
    /// is returned by the next [`Self::next`].
    pub async fn read_during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        while self.failed.is_none() {
            let fetched = tokio::select! {
                biased;
                done = &mut other => return done,
                fetched = self.fetched() => fetched,
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

    /// The next page that arrives, or `None` if there is nothing to fetch, or no room. Cancel safe.
    async fn fetched(&mut self) -> Option<(u64, Result<RowPage, DependencyError>)> {
        loop {
            let held_until = self.start_fetches();
            tokio::select! {
                biased;
                Some(fetched) = self.fetches.next() => return Some(fetched),
                () = tokio::time::sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => {}
                else => return None,
            }
        }
    }

    /// Starts as many fetches as allowed, in output order. Returns when the pace allows the next one, if it holds that back.
    fn start_fetches(&mut self) -> Option<Instant> {
        let mut from = 0;
        while self.fetches.len() < self.readers.now {
            let has_room = self.waiting + self.fetches.len() < self.readers.max * PAGES_PER_READER;
            let start = self.pace.next_start();
            if start > Instant::now() {
                return Some(start);
            }
            let (id, range) = self.plan.next_fetch(&mut from, has_room)?;
            self.pace.start_read();
            let (rows, selection, tenant) = (self.rows, self.selection, self.tenant);
            self.fetches.push(Box::pin(async move { (id, rows.read_page(selection, tenant, &range).await) }));
        }
        None
    }

    fn add(&mut self, id: u64, page: RowPage) {
        self.readers.observe(page.is_source_busy);
        self.pace.end_read(page.read_bytes);
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
    use std::sync::Mutex;
    use std::time::Duration;

    /// Rows created at these times, with ascending ids.
    fn table(times: impl IntoIterator<Item = Timestamp>) -> MemoryRows {
        let rows = times.into_iter().enumerate().map(|(n, time)| payout(&format!("payout-000000000000-{n:06}"), time));
        MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(10)
    }

    fn unpaced() -> Pace {
        Pace::new(u64::MAX)
    }

    /// The ids of all rows up to the year 9999, in output order.
    async fn read(payouts: &dyn RowSource, readers: usize) -> Vec<String> {
        read_up_to(RowKey("9999-01-01T00:00:00.000Z".into()), payouts, readers).await
    }

    async fn read_up_to(up_to: RowKey, payouts: &dyn RowSource, readers: usize) -> Vec<String> {
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to };
        let selection = export().row_selection();
        let mut reader = Reader::new(payouts, (&selection, &tenant), range, readers, unpaced());
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
            let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4, unpaced());
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
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4, unpaced());
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
            let started = Instant::now();
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
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4, unpaced());
        let mut readers = Vec::new();
        while reader.next().await.unwrap().is_some() {
            readers.push(reader.readers.now);
        }
        assert!(readers.iter().take(12).any(|now| *now == 1), "{readers:?}");
        assert_eq!(readers.last(), Some(&4));
    }

    const LIMIT: u64 = 12_288_000;

    /// One partition of a table: it serves a page, 20 ms later, while any of its throughput is left, and saves that of one
    /// second.
    struct Partition {
        rows: MemoryRows,
        /// The bytes left, and when.
        left: Mutex<(f64, Instant)>,
        throttled: Mutex<u64>,
    }

    impl Partition {
        /// Full pages are of ten rows and 1 MiB.
        fn new(rows: usize) -> Self {
            let rows = table((0..rows).map(|n| after(i64::try_from(n).unwrap() * 60_000)));
            Self { rows, left: Mutex::new((LIMIT as f64, Instant::now())), throttled: Mutex::default() }
        }

        /// Takes up to so many bytes, if any are left.
        fn take(&self, bytes: u64) -> bool {
            let (left, at) = &mut *self.left.lock().unwrap();
            let now = Instant::now();
            *left = (*left + (now - *at).as_secs_f64() * LIMIT as f64).min(LIMIT as f64);
            *at = now;
            if *left <= 0.0 {
                *self.throttled.lock().unwrap() += 1;
                return false;
            }
            *left -= bytes as f64;
            true
        }
    }

    #[async_trait::async_trait]
    impl RowSource for Partition {
        async fn read_page(
            &self,
            selection: &RowSelection,
            tenant: &TenantId,
            range: &KeyRange,
        ) -> Result<RowPage, DependencyError> {
            let mut page = self.rows.read_page(selection, tenant, range).await?;
            page.read_bytes = (page.encoded.rows_read() * (1 << 20)).div_ceil(40_960).max(1) * 4096;
            while !self.take(page.read_bytes) {
                page.is_source_busy = true;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(page)
        }
    }

    /// Reads 200 MiB at this share of the limit, while others take the rest in reads of 64 KiB. Returns the rate in
    /// percent of the limit, and how often a read was throttled.
    async fn read_at_share(percent: u64) -> (f64, u64) {
        let (partition, tenant) = (Partition::new(2000), operator("acme").tenant);
        let range = KeyRange { after: None, up_to: RowKey("9999-01-01T00:00:00.000Z".into()) };
        let selection = export().row_selection();
        let pace = Pace::new(LIMIT * percent / 100);
        let mut reader = Reader::new(&partition, (&selection, &tenant), range, 4, pace);
        let others = async {
            const READ: u64 = 64 << 10;
            let mut reads =
                tokio::time::interval(Duration::from_nanos(READ * 100_000_000_000 / (LIMIT * (100 - percent).max(1))));
            if percent == 100 {
                std::future::pending::<()>().await;
            }
            loop {
                reads.tick().await;
                partition.take(READ);
            }
        };
        let started = Instant::now();
        let read = async { while reader.next().await.unwrap().is_some() {} };
        tokio::select! {
            () = read => {}
            () = others => {}
        }
        let rate = (200 << 20) as f64 / started.elapsed().as_secs_f64();
        let throttled = *partition.throttled.lock().unwrap();
        (rate / LIMIT as f64 * 100.0, throttled)
    }

    #[tokio::test(start_paused = true)]
    async fn reads_take_their_share_and_leave_the_rest_unthrottled() {
        for percent in [5, 25, 50, 90] {
            let (rate, throttled) = read_at_share(percent).await;
            let off = rate / percent as f64 - 1.0;
            assert!(off.abs() < 0.05 && throttled == 0, "{percent} %: {rate} %, {throttled} throttled");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_at_the_full_share_take_nearly_all_without_throttling() {
        let (rate, throttled) = read_at_share(100).await;
        assert!((95.0..105.0).contains(&rate) && throttled == 0, "{rate} %, {throttled} throttled");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_a_few_pages_are_read_without_delay() {
        let partition = Partition::new(35);
        let started = Instant::now();
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: RowKey("9999-01-01T00:00:00.000Z".into()) };
        let selection = export().row_selection();
        let pace = Pace::new(LIMIT / 2);
        let mut reader = Reader::new(&partition, (&selection, &tenant), range, 4, pace);
        while reader.next().await.unwrap().is_some() {}
        assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn page_error_is_returned() {
        let payouts = table((0..100).map(after));
        payouts.failures.inject_after(3);
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: RowKey("9".into()) };
        let selection = export().row_selection();
        let mut reader = Reader::new(&payouts, (&selection, &tenant), range, 4, unpaced());
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
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

        #[test]
        fn every_row_is_returned_once_in_order(
            mut millis in prop::collection::vec(prop_oneof![0_i64..5, 0..100_000_i64, 0..300_000_000_000_i64], 0..600),
            readers in 1_usize..6,
            end: prop::sample::Index,
        ) {
            millis.sort_unstable();
            let count = millis.len();
            let payouts = table(millis.iter().map(|millis| after(*millis)));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            prop_assert_eq!(runtime.block_on(read(&payouts, readers)), all(count));
            if let Some(last) = (count > 0).then(|| end.index(count)) {
                let up_to = key_of(last, after(millis[last]));
                prop_assert_eq!(runtime.block_on(read_up_to(up_to, &payouts, readers)), all(last + 1));
            }
        }
    }
}
