//! The plan of a read: the key ranges of each reader, and the order in which their pages are returned.
//!
//! The key range of all rows is split into segments of a few pages each, by how dense the rows were so far. A segment
//! that turns out longer than planned (many rows of one day, or of one millisecond) returns its rest to the plan, which
//! splits it again by the density found.

use std::collections::VecDeque;

use exports_domain::ports::{KeyRange, RowKey, RowPage};
use exports_domain::row_encoder::EncodedRows;

use crate::positions::Positions;

/// How many pages a segment is planned to have: enough that its last, partly filled page costs little.
const PAGES: u32 = 4;

/// A segment with this many pages returns its rest.
const MAX_PAGES: u32 = 2 * PAGES;

/// The rows of one page.
#[derive(Debug)]
pub struct Batch {
    /// The encoded rows.
    pub encoded: EncodedRows,
    /// Every row with this key or a lower one is in this batch or an earlier one.
    pub up_to: RowKey,
}

/// The rest of the range, in order: segments that are being read, and ranges that are not split yet.
pub(crate) struct Plan {
    items: VecDeque<PlanItem>,
    next_id: u64,
    /// Positions of keys; known once a page was read that has a next one.
    positions: Option<Positions>,
}

enum PlanItem {
    Segment(Segment),
    Unsplit(UnsplitRange),
}

/// A range from which segments are split off, each `width` positions wide.
struct UnsplitRange {
    range: KeyRange,
    width: u128,
}

/// A range that is read page by page.
struct Segment {
    id: u64,
    /// The range left to read; `None` once everything is read.
    left: Option<KeyRange>,
    is_in_flight: bool,
    batches: VecDeque<Batch>,
    pages_read: u32,
    rows_read: u64,
    /// The full pages and their rows. The last page of a segment is rarely full.
    full_pages: u32,
    full_rows: u64,
    /// The key after which it starts; the first segment has none.
    start: Option<RowKey>,
}

/// The part of a segment that was read.
struct Measure {
    start: Option<RowKey>,
    end: RowKey,
    rows: u64,
    full_pages: u32,
    full_rows: u64,
}

impl Measure {
    /// The width of a segment with [`PAGES`] pages, judging by this one, which was `width` wide. Empty segments widen
    /// fast, because there may be years without rows.
    fn width(&self, positions: &Positions, width: u128) -> u128 {
        if self.rows == 0 {
            return width.saturating_mul(16);
        }
        // Slightly less than whole pages, because a few rows more than estimated would cost another page.
        let rows = match self.full_pages {
            0 => self.rows * u64::from(PAGES),
            pages => self.full_rows * u64::from(8 * PAGES - 1) / u64::from(8 * pages),
        };
        let at = |key| positions.of(key);
        match (self.start.as_ref().and_then(at), at(&self.end)) {
            (Some(start), Some(end)) => {
                (end.saturating_sub(start) / u128::from(self.rows)).saturating_mul(rows.into()).max(1)
            }
            _ => width,
        }
    }
}

impl Plan {
    /// Reads `range`.
    pub(crate) fn new(range: KeyRange) -> Self {
        let mut plan = Self { items: VecDeque::new(), next_id: 0, positions: None };
        if !range.is_empty() {
            let first = plan.segment(range, None);
            plan.items.push_back(first);
        }
        plan
    }

    /// Whether everything was returned.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The next batch, if it was read. Segments that are returned completely leave the plan.
    pub(crate) fn take_ready(&mut self) -> Option<Batch> {
        while let Some(PlanItem::Segment(segment)) = self.items.front_mut() {
            if let Some(batch) = segment.batches.pop_front() {
                return Some(batch);
            }
            if segment.left.is_some() {
                return None;
            }
            self.items.pop_front();
        }
        None
    }

    /// The next page to fetch, in output order from item `from` on: its segment and range. Without room, only the page
    /// that is returned next, because nothing else makes room.
    pub(crate) fn next_fetch(&mut self, from: &mut usize, has_room: bool) -> Option<(u64, KeyRange)> {
        while *from == 0 || has_room {
            match self.items.get_mut(*from)? {
                PlanItem::Unsplit(_) => self.split(*from),
                PlanItem::Segment(segment) => {
                    *from += 1;
                    if segment.is_in_flight {
                        continue;
                    }
                    let Some(range) = segment.left.clone() else { continue };
                    segment.is_in_flight = true;
                    return Some((segment.id, range));
                }
            }
        }
        None
    }

    /// Adds a fetched page to its segment. Returns whether the segment is in the plan.
    pub(crate) fn add(&mut self, id: u64, page: RowPage) -> bool {
        let at = self.items.iter().position(|item| matches!(item, PlanItem::Segment(segment) if segment.id == id));
        let Some(at) = at else { return false };
        let Some(PlanItem::Segment(segment)) = self.items.get_mut(at) else { return false };
        segment.is_in_flight = false;
        segment.pages_read += 1;
        let rows = page.encoded.rows_read();
        segment.rows_read += rows;
        if page.next.is_some() {
            segment.full_pages += 1;
            segment.full_rows += rows;
        }
        let Some(range) = segment.left.take() else { return false };
        let end = page.next.clone().unwrap_or_else(|| range.up_to.clone());
        segment.batches.push_back(Batch { encoded: page.encoded, up_to: end.clone() });
        let measure = Measure {
            start: segment.start.clone().or(page.first),
            end,
            rows: segment.rows_read,
            full_pages: segment.full_pages,
            full_rows: segment.full_rows,
        };
        let Some(next) = page.next else {
            self.learn(at, &measure);
            return true;
        };
        let positions = self.positions.get_or_insert_with(|| Positions::like(&next, &next));
        positions.widen(measure.start.as_ref().unwrap_or(&next));
        positions.widen(&next);
        let rest = KeyRange { after: Some(next), up_to: range.up_to };
        // The page ended with the range.
        if rest.is_empty() {
            self.learn(at, &measure);
        } else if segment.start.is_none() || segment.pages_read >= MAX_PAGES {
            let width = measure.width(positions, 1);
            self.items.insert(at + 1, PlanItem::Unsplit(UnsplitRange { range: rest, width }));
        } else {
            segment.left = Some(rest);
        }
        true
    }

    /// Estimates the next unsplit range by a segment's rows, which are most likely similar.
    fn learn(&mut self, at: usize, measure: &Measure) {
        let Some(positions) = &self.positions else { return };
        let unsplit = self.items.iter_mut().skip(at).find_map(|item| match item {
            PlanItem::Unsplit(unsplit) => Some(unsplit),
            PlanItem::Segment(_) => None,
        });
        if let Some(unsplit) = unsplit {
            unsplit.width = measure.width(positions, unsplit.width);
        }
    }

    /// Splits a segment off the start of an unsplit range.
    fn split(&mut self, index: usize) {
        let Some(PlanItem::Unsplit(UnsplitRange { range, width })) = self.items.get(index) else { return };
        let (range, width) = (range.clone(), *width);
        let end = self.positions.as_ref().and_then(|positions| {
            let after = range.after.as_ref()?;
            let end = positions.key_at(positions.of(after)?.saturating_add(width));
            (*after < end && end < range.up_to).then_some(end)
        });
        let start = range.after.clone();
        let (first, rest) = match end {
            Some(end) => {
                let first = KeyRange { after: range.after, up_to: end.clone() };
                (first, Some(KeyRange { after: Some(end), up_to: range.up_to }))
            }
            None => (range, None),
        };
        let first = self.segment(first, start);
        if let Some(item) = self.items.get_mut(index) {
            *item = first;
        }
        if let Some(rest) = rest {
            self.items.insert(index + 1, PlanItem::Unsplit(UnsplitRange { range: rest, width }));
        }
    }

    fn segment(&mut self, range: KeyRange, start: Option<RowKey>) -> PlanItem {
        self.next_id += 1;
        PlanItem::Segment(Segment {
            id: self.next_id,
            left: Some(range),
            is_in_flight: false,
            batches: VecDeque::new(),
            pages_read: 0,
            rows_read: 0,
            full_pages: 0,
            full_rows: 0,
            start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_of_eight_pages_returns_its_rest() {
        let key = |millis: u32, id: u32| RowKey(format!("2026-10-08T08:30:00.{millis:03}Z#po_{id:04}"));
        let mut plan = Plan::new(KeyRange { after: None, up_to: key(999, 0) });
        let mut segments = Vec::new();
        for page in 0..10 {
            let (segment, _) = plan.next_fetch(&mut 0, false).unwrap();
            segments.push(segment);
            // The first page is a millisecond of rows, and all rows of the others are of the next one.
            let next = Some(key(if page == 0 { 1 } else { 2 }, page));
            let encoded = EncodedRows { rows: 10, ..EncodedRows::default() };
            plan.add(segment, RowPage { encoded, first: Some(key(0, 0)), next, ..RowPage::default() });
            while plan.take_ready().is_some() {}
        }
        assert_eq!(segments, [1, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
    }
}
