//! What an export includes, in words: for its e-mail and for the workbook itself.

use crate::export::Export;
use crate::file::ReadInterval;
use crate::filter::AccountType;
use crate::time::Timestamp;

/// A time for people: `8 October 2026, 00:00 UTC`.
pub(crate) fn long_time(time: Timestamp) -> String {
    time.format("%-d %B %Y, %H:%M UTC")
}

/// The same with seconds, which can decide whether a row is in the file.
fn long_time_with_seconds(time: Timestamp) -> String {
    time.format("%-d %B %Y, %H:%M:%S UTC")
}

/// The period of the rows: `created from 1 September 2026, 00:00:00 UTC up to 8 October 2026, 08:30:00 UTC`. It ends with
/// the acceptance at the latest.
#[must_use]
pub fn period(export: &Export) -> String {
    // A bound in the middle of a second is shown exactly.
    let bound = |time: Timestamp, of_second| match time.millis().rem_euclid(1000) {
        millis if millis == of_second => long_time_with_seconds(time),
        _ => time.format("%-d %B %Y, %H:%M:%S.%3f UTC"),
    };
    let to = match export.options.filter.created_at_to {
        Some(to) if to < export.as_of() => bound(to, 999),
        _ => long_time_with_seconds(export.as_of()),
    };
    match export.options.filter.created_at_from {
        Some(from) => format!("created from {} up to {to}", bound(from, 0)),
        None => format!("created up to {to}"),
    }
}

/// A size for people: `1.2 MB`, rounded, in powers of ten as most file managers show it. The page shows the same: its
/// size-cases.json tests both.
#[must_use]
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
    }
    let in_tenths = |(unit, tenth): (&'static str, u64)| (bytes.saturating_add(tenth / 2) / tenth, unit);
    let units = [("kB", 100), ("MB", 100_000), ("GB", 100_000_000)].map(in_tenths);
    // What would be rounded to 1000.0 is 1.0 of the next unit.
    let unit = units.into_iter().find(|(tenths, _)| *tenths < 10_000);
    let (tenths, unit) = unit.unwrap_or_else(|| in_tenths(("TB", 100_000_000_000)));
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// The filters other than the period, each with the values that are included; then when the rows were read.
#[must_use]
pub fn conditions(export: &Export, read: Option<ReadInterval>) -> Vec<(&'static str, String)> {
    let filter = &export.options.filter;
    let currencies: Vec<&str> = filter.currencies.iter().map(|currency| currency.code()).collect();
    let amount = match (filter.amount_min, filter.amount_max) {
        (Some(min), Some(max)) => format!("{min} to {max} {}", currencies.concat()),
        (Some(min), None) => format!("{min} {} or more", currencies.concat()),
        (None, Some(max)) => format!("{max} {} or less", currencies.concat()),
        (None, None) => String::new(),
    };
    let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.name()).collect();
    let suppliers: Vec<&str> = filter.supplier_ids.iter().map(|id| id.as_str()).collect();
    let account = |kind: Option<AccountType>| kind.map(|kind| kind.to_string()).unwrap_or_default();
    let conditions = [
        ("Status", statuses.join(", ")),
        ("Currency", currencies.join(", ")),
        ("Amount", amount),
        ("Supplier", suppliers.join(", ")),
        ("Source", account(filter.source_balance_account_type)),
        ("Target", account(filter.target_balance_account_type)),
        ("Read", read.map(as_read).unwrap_or_default()),
    ];
    conditions.into_iter().filter(|(_, values)| !values.is_empty()).collect()
}

/// `amounts and statuses as read between 8 October 2026, 08:30:00 UTC and 8 October 2026, 08:31:00 UTC`.
fn as_read(read: ReadInterval) -> String {
    let [from, to] = [read.from, read.to].map(long_time_with_seconds);
    format!("amounts and statuses as read between {from} and {to}")
}
