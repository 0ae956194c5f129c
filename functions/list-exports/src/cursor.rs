//! Cursors: where a page starts.
//!
//! A cursor is a small JSON object in base64url: the last export of the previous page, and the query it belongs to. A
//! cursor of another tenant or query, which would return a plausible but wrong page, is rejected. It is opaque to clients,
//! but not a secret, because it grants no access.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use exports_domain::history::{HistoryFilter, Order};
use exports_domain::id::{ExportId, TenantId};
use serde_json::{Value, json};

/// Must be increased when the meaning of a cursor changes, so that old cursors are rejected.
const VERSION: u32 = 3;

/// The text is not a cursor of this tenant, filters and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid cursor: tenant, filters and sort order must match the previous page.")]
pub struct ParseCursorError;

/// The cursor of the page after `last`.
///
/// ```
/// use exports_domain::export_type::ExportType;
/// use exports_domain::history::{HistoryFilter, Order};
/// use list_exports::cursor;
///
/// let (last, tenant) = ("mpo_01999999-9999-7999-8999-999999999999".parse()?, "acme".parse()?);
/// let filter = HistoryFilter {
///     export_type: ExportType::MarketplacePayouts,
///     statuses: vec![],
///     created_from: None,
///     created_to: None,
///     order: Order::NewestFirst,
/// };
/// let next = cursor::format(&last, &tenant, &filter);
/// assert_eq!(cursor::parse(&next, &tenant, &filter), Ok(last));
///
/// let oldest_first = HistoryFilter { order: Order::OldestFirst, ..filter };
/// assert!(cursor::parse(&next, &tenant, &oldest_first).is_err(), "it belongs to another query");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn format(last: &ExportId, tenant: &TenantId, filter: &HistoryFilter) -> String {
    let HistoryFilter { export_type, statuses, created_from, created_to, order } = filter;
    let mut statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    statuses.sort_unstable();
    let cursor = json!({
        "version": VERSION,
        "last": last.to_string(),
        "tenant": tenant.as_str(),
        "type": export_type.slug(),
        "statuses": statuses,
        "from": created_from.map(|from| from.to_string()),
        "to": created_to.map(|to| to.to_string()),
        "oldestFirst": *order == Order::OldestFirst,
    });
    BASE64_URL_SAFE_NO_PAD.encode(cursor.to_string())
}

/// The last export of the previous page.
///
/// # Errors
/// [`ParseCursorError`] if the text is malformed or a cursor of another tenant, filter or order.
pub fn parse(cursor: &str, tenant: &TenantId, filter: &HistoryFilter) -> Result<ExportId, ParseCursorError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let fields: Option<Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
    let last = fields.and_then(|fields| fields.get("last")?.as_str()?.parse::<ExportId>().ok());
    last.filter(|last| last.export_type() == filter.export_type && format(last, tenant, filter) == cursor)
        .ok_or(ParseCursorError)
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
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{cursor}");
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
        let id = export().id.to_string();
        let (short, long) = (&cursor[..cursor.len() - 1], std::format!("{cursor}A"));
        let (without_query, number) = (BASE64_URL_SAFE_NO_PAD.encode(json!({"last": id}).to_string()), "MQ");
        for text in ["", "0", ".", "é", &id, short, &long, &cursor.to_uppercase(), &without_query, number] {
            assert_eq!(parse(text, &acme(), &filter()), Err(ParseCursorError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn changed_cursor_is_rejected_or_names_another_export(at in 0_usize..200, letter in "[A-Za-z0-9_-]") {
            let cursor = format(&export().id, &acme(), &filter());
            let (mut changed, at) = (cursor.clone(), at % cursor.len());
            changed.replace_range(at..=at, &letter);
            if let Ok(last) = parse(&changed, &acme(), &filter()) {
                prop_assert_eq!(changed == cursor, last == export().id);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,70}") {
            let _ = parse(&text, &acme(), &filter());
        }
    }
}
