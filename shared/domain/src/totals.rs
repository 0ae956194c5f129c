//! The control totals of a file.

use std::collections::BTreeMap;

use crate::export_type::{Definition, RowStatus};
use crate::money::Currency;

/// Count and sum of the rows with one currency and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// The number of rows.
    pub count: u64,
    /// The sum of their amounts in minor units.
    pub minor: i128,
}

impl Total {
    /// Both together, or `None` if a sum overflows.
    fn plus(self, more: Self) -> Option<Self> {
        Some(Self { count: self.count.checked_add(more.count)?, minor: self.minor.checked_add(more.minor)? })
    }
}

/// The control totals of a file, by currency and status.
///
/// ```
/// use exports_domain::testing::row_status;
/// use exports_domain::totals::{Total, Totals};
///
/// let (eur, mut totals) = ("EUR".parse()?, Totals::default());
/// for minor in [4115, -115] {
///     assert!(totals.add(eur, row_status("SETTLED"), Total { count: 1, minor }), "no sum overflows");
/// }
/// assert_eq!(totals.by_currency(), [(eur, Total { count: 2, minor: 4000 })]);
/// # Ok::<(), exports_domain::money::ParseCurrencyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<(Currency, RowStatus), Total>);

impl Totals {
    /// Adds `more`. Returns `false`, with nothing changed, if a sum overflows.
    #[must_use]
    pub fn add(&mut self, currency: Currency, status: RowStatus, more: Total) -> bool {
        let total = self.0.entry((currency, status)).or_default();
        let Some(sum) = total.plus(more) else { return false };
        *total = sum;
        true
    }

    /// Adds all of `more`. Returns `false` if a sum overflows.
    #[must_use]
    pub fn add_all(&mut self, more: &Self) -> bool {
        more.iter().all(|(currency, status, total)| self.add(currency, status, total))
    }

    /// The totals, by currency code, then status.
    pub fn iter(&self) -> impl Iterator<Item = (Currency, RowStatus, Total)> + '_ {
        self.0.iter().map(|((currency, status), total)| (*currency, *status, *total))
    }

    /// The totals by currency, for all statuses.
    #[must_use]
    pub fn by_currency(&self) -> Vec<(Currency, Total)> {
        let mut sums: BTreeMap<Currency, Total> = BTreeMap::new();
        for (currency, _, total) in self.iter() {
            let sum = sums.entry(currency).or_default();
            sum.count += total.count;
            sum.minor = sum.minor.saturating_add(total.minor);
        }
        sums.into_iter().collect()
    }
}

/// Totals while rows are encoded. There are few currencies, so they are found by linear search.
#[derive(Debug)]
pub(crate) struct RunningTotals {
    definition: &'static Definition,
    sums: Vec<(Currency, Vec<Total>)>,
}

impl RunningTotals {
    pub(crate) const fn new(definition: &'static Definition) -> Self {
        Self { definition, sums: Vec::new() }
    }

    /// The currency with this code and its index here. Known currencies are found without a lookup in ISO 4217.
    pub(crate) fn find(&mut self, code: &str) -> Option<(usize, Currency)> {
        // Three bytes are compared without a call.
        let letters: &[u8; 3] = code.as_bytes().try_into().ok()?;
        if let Some(index) = self.sums.iter().position(|(currency, _)| currency.code().as_bytes() == letters) {
            return self.sums.get(index).map(|(currency, _)| (index, *currency));
        }
        let currency = code.parse().ok()?;
        self.sums.push((currency, vec![Total::default(); self.definition.statuses.len()]));
        Some((self.sums.len() - 1, currency))
    }

    /// Adds a row. Returns `false`, with nothing changed, if the sum overflows.
    pub(crate) fn add(&mut self, currency: usize, status: RowStatus, minor: i128) -> bool {
        let total = self.sums.get_mut(currency).and_then(|(_, totals)| totals.get_mut(status.index()));
        let Some(total) = total else { return false };
        let Some(sum) = total.plus(Total { count: 1, minor }) else { return false };
        *total = sum;
        true
    }

    pub(crate) fn finish(self) -> Totals {
        let mut totals = Totals::default();
        for (currency, sums) in self.sums {
            for (status, total) in self.definition.row_statuses().zip(sums).filter(|(_, total)| total.count > 0) {
                // Each entry is new, so nothing overflows.
                let _ = totals.add(currency, status, total);
            }
        }
        totals
    }
}
