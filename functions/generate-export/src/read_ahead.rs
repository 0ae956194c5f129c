//! Reads a tenant's payouts in several key ranges at once, and gives the pages in order.
//!
//! The range of all payouts is cut into segments of a few pages each, by how dense the payouts were so far. The first
//! few segments are read at once, so pages wait for their turn only within a bounded window: memory is flat, and no
//! reader waits for long. A segment that turns out longer than meant (payouts crowd in one day, or in one millisecond)
//! gives what is left of it back, to be cut again by what was learned of it.
//!
//! Concurrency saves latency, not work: one partition of a table gives what it gives. When the table asks to be read
//! more slowly, the number of readers is halved, and grows again page by page.

use std::collections::VecDeque;
use std::pin::{Pin, pin};

use domain::file::Section;
use domain::id::TenantId;
use domain::ports::{KeyRange, Outage, PayoutKey, PayoutPage, ReadPayouts};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::positions::Positions;

/// How many pages a segment is meant to have: enough that its last, part-filled page costs little.
const PAGES: u32 = 4;

/// With this many, a segment gives the rest of itself back.
const MOST_PAGES: u32 = 2 * PAGES;

/// How many pages may be under way or wait for their turn, for each reader.
const AHEAD: usize = 4;

/// How many pages in a row without a throttle win a reader back.
const CALM_PAGES: u32 = 8;

/// A page in its place: the pages before it hold all payouts below it.
#[derive(Debug)]
pub struct Block {
    /// Its lines.
    pub section: Section,
    /// Everything up to and with this key is in this block or before it.
    pub up_to: PayoutKey,
}

type Fetch<'a> = Pin<Box<dyn Future<Output = (u64, Result<PayoutPage, Outage>)> + Send + 'a>>;

/// Pages of payouts, in order.
pub struct ReadAhead<'a, P> {
    payouts: &'a P,
    tenant: &'a TenantId,
    /// What is not given out yet, in order: segments that are being read, and ranges that are not cut yet.
    plan: VecDeque<Stretch>,
    fetches: FuturesUnordered<Fetch<'a>>,
    next_id: u64,
    readers: Readers,
    /// How keys are placed; known once a page was read that has a next one.
    positions: Option<Positions>,
    /// How many pages are read and wait for their turn.
    waiting: usize,
    /// Why a page could not be read, until it is told.
    failed: Option<Outage>,
}

/// A stretch of the plan.
enum Stretch {
    Segment(Segment),
    Uncut(Uncut),
}

/// A range that segments are cut off from, each `width` positions wide.
struct Uncut {
    range: KeyRange,
    width: u128,
}

/// A range that is read page by page.
struct Segment {
    id: u64,
    /// What is left to read; `None` once all is read.
    left: Option<KeyRange>,
    is_under_way: bool,
    pages: VecDeque<Block>,
    pages_read: u32,
    rows_read: u64,
    /// Those pages that were full, and what they held: the last one of a segment mostly is not.
    full_pages: u32,
    full_rows: u64,
    /// The key that it begins behind; the first segment has none.
    begins: Option<PayoutKey>,
}

/// What was read of a segment.
struct Measure {
    begins: Option<PayoutKey>,
    ends: PayoutKey,
    rows: u64,
    full_pages: u32,
    full_rows: u64,
}

impl Measure {
    /// How wide a segment of [`PAGES`] pages is as far as this one tells. `width` is how wide it was meant to be: where
    /// there is nothing, widths grow fast, because there may be years of nothing.
    fn width(&self, positions: &Positions, width: u128) -> u128 {
        if self.rows == 0 {
            return width.saturating_mul(16);
        }
        // A little less than whole pages: a few payouts more than reckoned would cost one more page.
        let rows = match self.full_pages {
            0 => self.rows * u64::from(PAGES),
            pages => self.full_rows * u64::from(8 * PAGES - 1) / u64::from(8 * pages),
        };
        let at = |key| positions.of(key);
        match (self.begins.as_ref().and_then(at), at(&self.ends)) {
            (Some(begins), Some(ends)) => {
                (ends.saturating_sub(begins) / u128::from(self.rows)).saturating_mul(rows.into()).max(1)
            }
            _ => width,
        }
    }
}

/// How many may read at once.
struct Readers {
    most: usize,
    now: usize,
    calm_pages: u32,
}

impl Readers {
    fn note(&mut self, throttled: bool) {
        if throttled {
            self.now = (self.now / 2).max(1);
            self.calm_pages = 0;
            return;
        }
        self.calm_pages += 1;
        if self.calm_pages >= CALM_PAGES {
            self.now = (self.now + 1).min(self.most);
            self.calm_pages = 0;
        }
    }
}

impl<'a, P: ReadPayouts> ReadAhead<'a, P> {
    /// Reads `range` with up to `readers` readers.
    #[must_use]
    pub fn new(payouts: &'a P, tenant: &'a TenantId, range: KeyRange, readers: usize) -> Self {
        let mut reading = Self {
            payouts,
            tenant,
            plan: VecDeque::new(),
            fetches: FuturesUnordered::new(),
            next_id: 0,
            readers: Readers { most: readers.max(1), now: readers.max(1), calm_pages: 0 },
            positions: None,
            waiting: 0,
            failed: None,
        };
        if !range.is_empty() {
            let first = reading.segment(range, None);
            reading.plan.push_back(first);
        }
        reading
    }

    /// The next page, or `None` after the last. May be dropped and called again without losing a page.
    ///
    /// # Errors
    /// [`Outage`] if a page could not be read.
    pub async fn next(&mut self) -> Result<Option<Block>, Outage> {
        if let Some(outage) = self.failed.take() {
            return Err(outage);
        }
        loop {
            self.start_fetches();
            // Those under way go on while the caller works with the page that it gets.
            while let Some(Some((id, page))) = self.fetches.next().now_or_never() {
                self.place(id, page?);
                self.start_fetches();
            }
            if let Some(block) = self.take_ready() {
                return Ok(Some(block));
            }
            if self.plan.is_empty() {
                return Ok(None);
            }
            if let Some((id, page)) = self.fetches.next().await {
                self.place(id, page?);
            }
        }
    }

    /// Does `other`, while reading goes on as far as the window allows: pages that nobody looks after would run into their
    /// time-outs. An outage is told by the next [`Self::next`].
    pub async fn go_on_during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        while self.failed.is_none() {
            self.start_fetches();
            let fetched = tokio::select! {
                biased;
                done = &mut other => return done,
                fetched = self.fetches.next() => fetched,
            };
            match fetched {
                Some((id, Ok(page))) => self.place(id, page),
                Some((_, Err(outage))) => self.failed = Some(outage),
                None => break,
            }
        }
        other.await
    }

    /// The page whose turn it is, if it is there; segments that are given out whole leave the plan.
    fn take_ready(&mut self) -> Option<Block> {
        while let Some(Stretch::Segment(segment)) = self.plan.front_mut() {
            if let Some(block) = segment.pages.pop_front() {
                self.waiting -= 1;
                return Some(block);
            }
            if segment.left.is_some() {
                return None;
            }
            self.plan.pop_front();
        }
        None
    }

    /// Starts as many fetches as may be under way, those that are needed first first.
    fn start_fetches(&mut self) {
        let mut index = 0;
        while self.fetches.len() < self.readers.now {
            // The page whose turn it is may always be fetched: without it nothing moves.
            let is_first = index == 0;
            if !is_first && self.waiting + self.fetches.len() >= self.readers.most * AHEAD {
                return;
            }
            match self.plan.get_mut(index) {
                None => return,
                Some(Stretch::Uncut(_)) => self.cut(index),
                Some(Stretch::Segment(segment)) => {
                    index += 1;
                    if segment.is_under_way {
                        continue;
                    }
                    let Some(range) = segment.left.clone() else { continue };
                    segment.is_under_way = true;
                    let (id, payouts, tenant) = (segment.id, self.payouts, self.tenant);
                    self.fetches.push(Box::pin(async move { (id, payouts.read_page(tenant, &range).await) }));
                }
            }
        }
    }

    /// Puts a page in its place.
    fn place(&mut self, id: u64, page: PayoutPage) {
        self.readers.note(page.throttled);
        let at = self.plan.iter().position(|stretch| matches!(stretch, Stretch::Segment(segment) if segment.id == id));
        let Some(at) = at else { return };
        let Some(Stretch::Segment(segment)) = self.plan.get_mut(at) else { return };
        segment.is_under_way = false;
        segment.pages_read += 1;
        let rows = page.section.rows + page.section.faults.count;
        segment.rows_read += rows;
        if page.next.is_some() {
            segment.full_pages += 1;
            segment.full_rows += rows;
        }
        let Some(range) = segment.left.take() else { return };
        let ends = page.next.clone().unwrap_or_else(|| range.up_to.clone());
        segment.pages.push_back(Block { section: page.section, up_to: ends.clone() });
        self.waiting += 1;
        let measure = Measure {
            begins: segment.begins.clone().or(page.first),
            ends,
            rows: segment.rows_read,
            full_pages: segment.full_pages,
            full_rows: segment.full_rows,
        };
        let Some(next) = page.next else { return self.learn(at, &measure) };
        let positions = self.positions.get_or_insert_with(|| Positions::like(&next, &next));
        positions.widen(measure.begins.as_ref().unwrap_or(&next));
        positions.widen(&next);
        let rest = KeyRange { after: Some(next), up_to: range.up_to };
        // The page ended with the range, and did not know.
        if rest.is_empty() {
            return self.learn(at, &measure);
        }
        if segment.begins.is_none() || segment.pages_read >= MOST_PAGES {
            let width = measure.width(positions, 1);
            self.plan.insert(at + 1, Stretch::Uncut(Uncut { range: rest, width }));
        } else {
            segment.left = Some(rest);
        }
    }

    /// What a segment tells goes to the uncut range behind it, the one that is most likely alike.
    fn learn(&mut self, at: usize, measure: &Measure) {
        let Some(positions) = &self.positions else { return };
        let uncut = self.plan.iter_mut().skip(at).find_map(|stretch| match stretch {
            Stretch::Uncut(uncut) => Some(uncut),
            Stretch::Segment(_) => None,
        });
        if let Some(uncut) = uncut {
            uncut.width = measure.width(positions, uncut.width);
        }
    }

    /// Cuts a segment off the beginning of an uncut range.
    fn cut(&mut self, index: usize) {
        let Some(Stretch::Uncut(Uncut { range, width })) = self.plan.get(index) else { return };
        let (range, width) = (range.clone(), *width);
        let end = self.positions.as_ref().and_then(|positions| {
            let after = range.after.as_ref()?;
            let end = positions.key_at(positions.of(after)?.saturating_add(width));
            (*after < end && end < range.up_to).then_some(end)
        });
        let begins = range.after.clone();
        let (first, rest) = match end {
            Some(end) => {
                let first = KeyRange { after: range.after, up_to: end.clone() };
                (first, Some(KeyRange { after: Some(end), up_to: range.up_to }))
            }
            None => (range, None),
        };
        let first = self.segment(first, begins);
        if let Some(stretch) = self.plan.get_mut(index) {
            *stretch = first;
        }
        if let Some(rest) = rest {
            self.plan.insert(index + 1, Stretch::Uncut(Uncut { range: rest, width }));
        }
    }

    fn segment(&mut self, range: KeyRange, begins: Option<PayoutKey>) -> Stretch {
        self.next_id += 1;
        Stretch::Segment(Segment {
            id: self.next_id,
            left: Some(range),
            is_under_way: false,
            pages: VecDeque::new(),
            pages_read: 0,
            rows_read: 0,
            full_pages: 0,
            full_rows: 0,
            begins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::testing::{MemoryPayouts, operator, payout, start};
    use domain::time::Timestamp;
    use proptest::prelude::*;
    use std::time::Duration;

    /// Payouts at these times, with ids in order.
    fn table(times: impl IntoIterator<Item = Timestamp>) -> MemoryPayouts {
        let rows = times.into_iter().enumerate().map(|(n, time)| payout(&format!("payout-000000000000-{n:06}"), time));
        MemoryPayouts::new(&operator("acme").tenant, rows).in_pages_of(10)
    }

    /// The ids of all payouts up to the year 9999, in the order they are given.
    async fn read(payouts: &impl ReadPayouts, readers: usize) -> Vec<String> {
        read_up_to(PayoutKey("9999-01-01T00:00:00.000Z".into()), payouts, readers).await
    }

    async fn read_up_to(up_to: PayoutKey, payouts: &impl ReadPayouts, readers: usize) -> Vec<String> {
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to };
        let mut reading = ReadAhead::new(payouts, &tenant, range, readers);
        let mut ids = Vec::new();
        let mut last = PayoutKey(String::new());
        while let Some(block) = reading.next().await.unwrap() {
            assert!(last < block.up_to && reading.waiting <= readers * AHEAD + readers);
            let lines = String::from_utf8(block.section.csv).unwrap();
            ids.extend(lines.lines().map(|line| line.split(';').next().unwrap().to_owned()));
            last = block.up_to;
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
    async fn spread_payouts_are_read_at_once_and_given_in_order() {
        let payouts = table((0..2000).map(|n| after(n * 60_000)));
        assert_eq!(read(&payouts, 4).await, all(2000));
        assert_eq!(payouts.most_under_way(), 4);
        assert!(payouts.reads() < 230, "{} reads for 200 pages", payouts.reads());
    }

    #[tokio::test]
    async fn payouts_that_fit_into_a_page_are_one_read() {
        let payouts = table((0..9).map(after));
        assert_eq!(read(&payouts, 4).await, all(9));
        assert_eq!(payouts.reads(), 1);
    }

    /// The key of a payout of [`table`].
    fn key_of(number: usize, time: Timestamp) -> PayoutKey {
        PayoutKey(format!("{time}#payout-000000000000-{number:06}"))
    }

    #[tokio::test]
    async fn page_that_ends_with_its_range_is_the_last() {
        let payouts = table((0..30).map(after));
        assert_eq!(read_up_to(key_of(19, after(19)), &payouts, 4).await, all(20));
    }

    #[tokio::test]
    async fn empty_range_is_not_read() {
        let payouts = table((0..30).map(after));
        let tenant = operator("acme").tenant;
        for (from, to) in [(9, 9), (9, 3)] {
            let range = KeyRange { after: Some(key_of(from, after(9))), up_to: key_of(to, after(9)) };
            let mut reading = ReadAhead::new(&payouts, &tenant, range, 4);
            assert!(reading.next().await.unwrap().is_none());
        }
        assert_eq!(payouts.reads(), 0);
    }

    /// A table that takes 20 ms for a page, whoever else reads.
    struct Slow(MemoryPayouts);

    impl ReadPayouts for Slow {
        async fn read_page(&self, tenant: &TenantId, range: &KeyRange) -> Result<PayoutPage, Outage> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.0.read_page(tenant, range).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reading_goes_on_while_something_else_is_waited_for() {
        let payouts = Slow(table((0..1000).map(|n| after(n * 60_000))));
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: PayoutKey("9999-01-01T00:00:00.000Z".into()) };
        let mut reading = ReadAhead::new(&payouts, &tenant, range, 4);
        reading.next().await.unwrap();
        reading.go_on_during(tokio::time::sleep(Duration::from_secs(60))).await;
        assert!(reading.fetches.is_empty(), "what was under way has come");
        assert_eq!(reading.waiting, 4 * AHEAD, "and no more than there is room for");
        payouts.0.fuse.blow();
        for _ in 0..reading.waiting / 2 {
            assert!(reading.take_ready().is_some());
        }
        reading.go_on_during(tokio::time::sleep(Duration::from_secs(60))).await;
        assert!(reading.next().await.is_err(), "an outage meanwhile is told");
    }

    #[tokio::test(start_paused = true)]
    async fn crowded_payouts_are_read_at_once_too() {
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
            let begun = tokio::time::Instant::now();
            assert_eq!(read(&payouts, 4).await, all(4000), "{name}");
            let (took, reads) = (begun.elapsed(), payouts.0.reads());
            assert!(reads < 600, "{name}: {reads} reads for 400 pages");
            assert!(took < Duration::from_secs(8) / 2, "{name}: {took:?}, one after another 8 s");
        }
    }

    #[tokio::test]
    async fn readers_give_way_when_the_table_asks_for_it_and_come_back() {
        let payouts = table((0..4000).map(|n| after(n * 60_000)));
        payouts.throttle(10);
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: PayoutKey("9999-01-01T00:00:00.000Z".into()) };
        let mut reading = ReadAhead::new(&payouts, &tenant, range, 4);
        let mut readers = Vec::new();
        while reading.next().await.unwrap().is_some() {
            readers.push(reading.readers.now);
        }
        assert!(readers.iter().take(12).any(|now| *now == 1), "{readers:?}");
        assert_eq!(readers.last(), Some(&4));
    }

    #[tokio::test]
    async fn page_that_cannot_be_read_is_an_error() {
        let payouts = table((0..100).map(after));
        payouts.fuse.blow_after(3);
        let tenant = operator("acme").tenant;
        let range = KeyRange { after: None, up_to: PayoutKey("9".into()) };
        let mut reading = ReadAhead::new(&payouts, &tenant, range, 4);
        assert!(
            async {
                while reading.next().await?.is_some() {}
                Ok::<(), Outage>(())
            }
            .await
            .is_err()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn every_payout_is_given_once_and_in_order(
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
