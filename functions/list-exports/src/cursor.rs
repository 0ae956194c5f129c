//! Where a page begins: after which export, of which history.
//!
//! To a client a cursor is a text without a meaning. It is 64 hexadecimal digits: the 32 of the last export's UUID, and 32
//! of a checksum over tenant, filters and that id. The checksum is no secret and need not be one, because a cursor gives
//! no right: it only says where to begin among the exports that the caller may see anyway. It finds out cursors that
//! were cut, or that come from another tenant's history or another filter, where they would give a page that looks
//! right and is not.

use domain::history::{HistoryFilter, Order};
use domain::id::{ExportId, TenantId};
use domain::time::Timestamp;
use http::fingerprint;

/// How many digits each half has.
const DIGITS: usize = 32;

/// Raised with what a cursor means, so that old ones are refused instead of misread.
const VERSION: &str = "1";

/// The text is no cursor of this history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this history gave: tenant, filters and sort order must be those of the page before")]
pub struct NotACursor;

/// The cursor of the page that begins after `last`, in the history of `tenant` as `filter` shows it.
#[must_use]
pub fn after(last: &ExportId, tenant: &TenantId, filter: &HistoryFilter) -> String {
    let id = last.to_string();
    let digits = id.trim_start_matches(filter.export_type.id_prefix()).chars().filter(char::is_ascii_hexdigit);
    digits.chain(checksum(&id, tenant, filter).chars()).collect()
}

/// The export after which the page of this cursor begins.
///
/// # Errors
/// [`NotACursor`] if the text is none, or one of another history.
pub fn read(cursor: &str, tenant: &TenantId, filter: &HistoryFilter) -> Result<ExportId, NotACursor> {
    let (digits, _) = cursor.split_at_checked(DIGITS).ok_or(NotACursor)?;
    let part = |from: usize, to: usize| digits.get(from..to).ok_or(NotACursor);
    let (prefix, groups) = (filter.export_type.id_prefix(), [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?]);
    let id: ExportId =
        format!("{prefix}_{}-{}", groups.join("-"), part(20, DIGITS)?).parse().map_err(|_| NotACursor)?;
    if after(&id, tenant, filter) == cursor { Ok(id) } else { Err(NotACursor) }
}

fn checksum(id: &str, tenant: &TenantId, filter: &HistoryFilter) -> String {
    let HistoryFilter { export_type, statuses, created_from, created_to, order } = filter;
    let time = |time: &Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    let order = match order {
        Order::OldestFirst => "asc",
        Order::NewestFirst => "desc",
    };
    let mut statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    statuses.sort_unstable();
    let (statuses, from, to) = (statuses.join(","), time(created_from), time(created_to));
    let mut digits = fingerprint::of([VERSION, tenant.as_str(), export_type.slug(), &statuses, &from, &to, order, id]);
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::export::Status;
    use domain::id::ExportType;
    use domain::testing::{export, operator, start};
    use proptest::prelude::*;

    fn filter() -> HistoryFilter {
        HistoryFilter {
            export_type: ExportType::MarketplacePayouts,
            statuses: vec![],
            created_from: None,
            created_to: None,
            order: Order::NewestFirst,
        }
    }

    fn acme() -> TenantId {
        operator("acme").tenant
    }

    #[test]
    fn cursor_reads_back_in_its_own_history() {
        let cursor = after(&export().id, &acme(), &filter());
        assert_eq!(cursor.len(), 64);
        assert!(cursor.starts_with("01a11aa2334077078707070707070707"), "{cursor}");
        assert_eq!(read(&cursor, &acme(), &filter()), Ok(export().id));
    }

    #[test]
    fn order_of_the_statuses_does_not_matter() {
        let of = |statuses: &[Status]| HistoryFilter { statuses: statuses.to_vec(), ..filter() };
        let cursor = after(&export().id, &acme(), &of(&[Status::Ready, Status::Failed]));
        assert_eq!(read(&cursor, &acme(), &of(&[Status::Failed, Status::Ready])), Ok(export().id));
    }

    #[test]
    fn cursor_of_another_history_is_refused() {
        let cursor = after(&export().id, &acme(), &filter());
        let others = [
            HistoryFilter { statuses: vec![Status::Ready], ..filter() },
            HistoryFilter { created_from: Some(start()), ..filter() },
            HistoryFilter { created_to: Some(start()), ..filter() },
            HistoryFilter { order: Order::OldestFirst, ..filter() },
        ];
        for (index, other) in others.iter().enumerate() {
            assert_eq!(read(&cursor, &acme(), other), Err(NotACursor), "{index}");
        }
        assert_eq!(read(&cursor, &operator("other").tenant, &filter()), Err(NotACursor));
        let (from, to) = (others[1].clone(), others[2].clone());
        assert_ne!(after(&export().id, &acme(), &from), after(&export().id, &acme(), &to));
    }

    #[test]
    fn text_of_another_form_is_refused() {
        let cursor = after(&export().id, &acme(), &filter());
        let long = format!("{cursor}0");
        for text in ["0", &cursor[..63], &cursor[..32], &long, &cursor.to_uppercase(), &"é".repeat(32), &"0".repeat(64)]
        {
            assert_eq!(read(text, &acme(), &filter()), Err(NotACursor), "{text}");
        }
    }

    proptest! {
        #[test]
        fn changed_cursor_is_refused(at in 0..64_usize, digit in "[0-9a-f]") {
            let cursor = after(&export().id, &acme(), &filter());
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, &digit);
            prop_assert_eq!(read(&changed, &acme(), &filter()).is_ok(), changed == cursor);
        }

        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in "\\PC{0,70}") {
            let _ = read(&text, &acme(), &filter());
        }
    }
}
