//! Cursors: where a page starts.
//!
//! A cursor is the ID of the previous page's last export and a checksum over tenant, filters, order and that ID. It is
//! opaque to clients. The checksum detects truncated cursors and cursors of another tenant or query, which would return
//! a plausible but wrong page. It is not a secret, because a cursor grants no access.

use exports_domain::history::{HistoryFilter, Order};
use exports_domain::id::{ExportId, TenantId};
use exports_domain::time::Timestamp;
use exports_http::fingerprint;

/// The number of hexadecimal digits of the checksum.
const CHECKSUM_DIGITS: usize = 32;

/// Must be increased when the meaning of a cursor changes, so that old cursors are rejected.
const VERSION: &str = "2";

/// The text is not a cursor of this tenant, filters and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid cursor: tenant, filters and sort order must match the previous page.")]
pub struct ParseCursorError;

/// The cursor of the page after `last`.
#[must_use]
pub fn format(last: &ExportId, tenant: &TenantId, filter: &HistoryFilter) -> String {
    let id = last.to_string();
    format!("{id}.{}", checksum(&id, tenant, filter))
}

/// The last export of the previous page.
///
/// # Errors
/// [`ParseCursorError`] if the text is malformed or a cursor of another tenant, filter or order.
pub fn parse(cursor: &str, tenant: &TenantId, filter: &HistoryFilter) -> Result<ExportId, ParseCursorError> {
    let id: Option<ExportId> = cursor.split_once('.').and_then(|(id, _)| id.parse().ok());
    id.filter(|id| id.export_type() == filter.export_type && format(id, tenant, filter) == cursor)
        .ok_or(ParseCursorError)
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
    digits.truncate(CHECKSUM_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::export::Status;
    use exports_domain::export_type::ExportType;
    use exports_domain::testing::{export, operator, start};
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
    fn formatted_cursor_parses_to_its_id() {
        let cursor = format(&export().id, &acme(), &filter());
        assert!(cursor.starts_with("mpo_01a11aa2-3340-7707-8707-070707070707."), "{cursor}");
        assert_eq!(parse(&cursor, &acme(), &filter()), Ok(export().id));
    }

    #[test]
    fn cursor_ignores_the_order_of_statuses() {
        let of = |statuses: &[Status]| HistoryFilter { statuses: statuses.to_vec(), ..filter() };
        let cursor = format(&export().id, &acme(), &of(&[Status::Ready, Status::Failed]));
        assert_eq!(parse(&cursor, &acme(), &of(&[Status::Failed, Status::Ready])), Ok(export().id));
    }

    #[test]
    fn cursor_of_other_tenant_filter_or_order_is_rejected() {
        let cursor = format(&export().id, &acme(), &filter());
        let others = [
            HistoryFilter { statuses: vec![Status::Ready], ..filter() },
            HistoryFilter { created_from: Some(start()), ..filter() },
            HistoryFilter { created_to: Some(start()), ..filter() },
            HistoryFilter { order: Order::OldestFirst, ..filter() },
        ];
        for (index, other) in others.iter().enumerate() {
            assert_eq!(parse(&cursor, &acme(), other), Err(ParseCursorError), "{index}");
        }
        assert_eq!(parse(&cursor, &operator("other").tenant, &filter()), Err(ParseCursorError));
        let (from, to) = (others[1].clone(), others[2].clone());
        assert_ne!(format(&export().id, &acme(), &from), format(&export().id, &acme(), &to));
    }

    #[test]
    fn malformed_text_is_rejected() {
        let cursor = format(&export().id, &acme(), &filter());
        let (id, checksum) = cursor.split_once('.').unwrap();
        let (short, long) = (&cursor[..cursor.len() - 1], std::format!("{cursor}0"));
        for text in ["", "0", ".", "é", id, checksum, short, &long, &cursor.to_uppercase(), &"0".repeat(64)] {
            assert_eq!(parse(text, &acme(), &filter()), Err(ParseCursorError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn changed_cursor_is_rejected(at in 0..73_usize, digit in "[0-9a-f]") {
            let cursor = format(&export().id, &acme(), &filter());
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, &digit);
            prop_assert_eq!(parse(&changed, &acme(), &filter()).is_ok(), changed == cursor);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,70}") {
            let _ = parse(&text, &acme(), &filter());
        }
    }
}
