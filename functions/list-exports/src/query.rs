//! Parses the query string.
//!
//! | parameter | value | default |
//! |---|---|---|
//! | `status` | PENDING, READY, FAILED, EXPIRED; repeated or comma-separated | all |
//! | `createdAtFrom`, `createdAtTo` | a [`TimeBound`]: a time or date | no bound |
//! | `sort` | `createdAt:asc`, `createdAt:desc` | `createdAt:desc` |
//! | `size` | 1 to 100 | 20 |
//! | `cursor` | `nextCursor` of the previous page | the first page |

use std::time::Duration;

use exports_domain::export::Status;
use exports_domain::export_type::ExportType;
use exports_domain::history::{HistoryFilter, Order};
use exports_domain::id::{ExportId, TenantId};
use exports_domain::time::Timestamp;
use exports_domain::time_bound::{ParseTimeBoundError, TimeBound};
use exports_http::query::Query;
use exports_http::validation::{ValidationCode, ValidationError, shortened};

use crate::cursor::{self, ParseCursorError};

/// The default page size.
pub const DEFAULT_SIZE: usize = 20;

/// The maximum page size.
pub const MAX_SIZE: usize = 100;

/// The maximum clock skew between the machine that created an ID and this one.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A parsed query string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The filters and the order.
    pub filter: HistoryFilter,
    /// The page size.
    pub size: usize,
    /// The last export of the previous page.
    pub after: Option<ExportId>,
}

/// Parses the query string.
///
/// # Errors
/// All validation errors.
pub fn parse(
    mut query: Query,
    export_type: ExportType,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<HistoryQuery, Vec<ValidationError>> {
    let statuses = statuses(&mut query);
    let bound =
        |text: &str| text.parse::<TimeBound>().map_err(|error: ParseTimeBoundError| (ValidationCode::Format, error));
    let from = query.single("createdAtFrom", bound);
    let to = query.single("createdAtTo", bound);
    if let (Some(from), Some(to)) = (from, to)
        && from.is_after(to)
    {
        query.errors.push("createdAtTo", ValidationCode::Range, "must not be before createdAtFrom");
    }
    let (created_from, created_to) = (from.map(TimeBound::as_from), to.map(TimeBound::as_to));
    let order = query.single("sort", sort).unwrap_or_default();
    let size = query.single("size", size).unwrap_or(DEFAULT_SIZE);
    let filter = HistoryFilter { export_type, statuses, created_from, created_to, order };
    let after = query.single("cursor", |text| {
        let id = cursor::parse(text, tenant, &filter);
        // A forged cursor must not make the table read outside the range.
        id.and_then(|id| if is_within(&filter, &id, now) { Ok(id) } else { Err(ParseCursorError) })
            .map_err(|error| (ValidationCode::Format, error))
    });
    query.finish(HistoryQuery { filter, size, after })
}

fn statuses(query: &mut Query) -> Vec<Status> {
    let mut statuses = Vec::new();
    for text in query.list("status") {
        match text.parse::<Status>() {
            Ok(status) if statuses.contains(&status) => {}
            Ok(status) => statuses.push(status),
            Err(error) => {
                query.errors.push(
                    "status",
                    ValidationCode::Enumeration,
                    format_args!("{:?}: {error}", shortened(&text)),
                );
            }
        }
    }
    statuses
}

fn sort(text: &str) -> Result<Order, (ValidationCode, &'static str)> {
    match text {
        "createdAt:asc" => Ok(Order::OldestFirst),
        "createdAt:desc" => Ok(Order::NewestFirst),
        _ => Err((ValidationCode::Enumeration, "must be createdAt:asc or createdAt:desc")),
    }
}

fn size(text: &str) -> Result<usize, (ValidationCode, String)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err((ValidationCode::Format, "must be a whole number".to_owned()));
    }
    let size = text.parse().ok().filter(|size| (1..=MAX_SIZE).contains(size));
    size.ok_or_else(|| (ValidationCode::Range, format!("must be between 1 and {MAX_SIZE}")))
}

fn is_within(filter: &HistoryFilter, id: &ExportId, now: Timestamp) -> bool {
    let last = filter.created_to.unwrap_or_else(|| now.plus(MAX_CLOCK_SKEW));
    filter.created_from.is_none_or(|from| from <= id.created_at()) && id.created_at() <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use exports_domain::testing::{export, operator, start};
    use proptest::prelude::*;

    fn parse(raw: &str) -> Result<HistoryQuery, Vec<ValidationError>> {
        super::parse(Query::new(raw), ExportType::MarketplacePayouts, &operator("acme").tenant, start())
    }

    /// The codes and fields of the errors.
    fn codes_and_fields(raw: &str) -> Vec<(ValidationCode, Option<String>)> {
        parse(raw).unwrap_err().into_iter().map(|error| (error.code, error.field)).collect()
    }

    fn error(code: ValidationCode, field: &str) -> (ValidationCode, Option<String>) {
        (code, Some(field.to_owned()))
    }

    fn all() -> HistoryQuery {
        let filter = HistoryFilter {
            export_type: ExportType::MarketplacePayouts,
            statuses: vec![],
            created_from: None,
            created_to: None,
            order: Order::NewestFirst,
        };
        HistoryQuery { filter, size: 20, after: None }
    }

    #[test]
    fn empty_query_returns_the_newest_20() {
        for raw in ["", "status=&createdAtFrom=&createdAtTo=&sort=&size=&cursor="] {
            assert_eq!(parse(raw), Ok(all()), "{raw}");
        }
    }

    #[test]
    fn query_with_all_parameters_is_accepted() {
        let raw = "status=READY&status=FAILED,READY&createdAtFrom=2026-10-01&createdAtTo=2026-10-08T10:30:00%2B02:00\
                   &sort=createdAt%3Aasc&size=100";
        let filter = HistoryFilter {
            statuses: vec![Status::Ready, Status::Failed],
            created_from: Some("2026-10-01T00:00:00.000Z".parse().unwrap()),
            created_to: Some(start().plus(Duration::from_millis(999))),
            order: Order::OldestFirst,
            ..all().filter
        };
        let cursor = cursor::format(&export().id, &operator("acme").tenant, &filter);
        assert_eq!(parse(raw), Ok(HistoryQuery { filter: filter.clone(), size: 100, after: None }));
        let after = Some(export().id);
        assert_eq!(parse(&format!("{raw}&cursor={cursor}")), Ok(HistoryQuery { filter, size: 100, after }));
    }

    #[test]
    fn every_invalid_parameter_is_reported() {
        let raw = "status=NEW,READY,&createdAtFrom=soon&createdAtTo=2026-10-08&createdAtTo=2026-10-09&sort=createdAt&size=ten\
                   &cursor=x&page=2";
        assert_eq!(
            codes_and_fields(raw),
            [
                error(ValidationCode::Enumeration, "status"),
                error(ValidationCode::Enumeration, "status"),
                error(ValidationCode::Format, "createdAtFrom"),
                error(ValidationCode::Format, "createdAtTo"),
                error(ValidationCode::Enumeration, "sort"),
                error(ValidationCode::Format, "size"),
                error(ValidationCode::Format, "cursor"),
                error(ValidationCode::Format, "page"),
            ]
        );
    }

    #[test]
    fn status_and_sort_are_case_sensitive() {
        for raw in ["status=ready", "status=READY%20", "status=%20"] {
            assert_eq!(codes_and_fields(raw), [error(ValidationCode::Enumeration, "status")], "{raw}");
        }
        for raw in ["sort=createdAt", "sort=createdAt:DESC", "sort=status:asc", "sort=createdAt:asc,createdAt:asc"] {
            assert_eq!(codes_and_fields(raw), [error(ValidationCode::Enumeration, "sort")], "{raw}");
        }
    }

    #[test]
    fn size_out_of_range_differs_from_malformed_size() {
        for size in ["0", "-1", "101", "99999999999999999999", "-99999999999999999999"] {
            assert_eq!(codes_and_fields(&format!("size={size}")), [error(ValidationCode::Range, "size")], "{size}");
        }
        for size in ["ten", "1.5", "+5", "-", "%201", "1e1", "٣"] {
            assert_eq!(codes_and_fields(&format!("size={size}")), [error(ValidationCode::Format, "size")], "{size}");
        }
        for (size, expected) in [("1", 1), ("100", 100), ("007", 7)] {
            assert_eq!(parse(&format!("size={size}")).unwrap().size, expected);
        }
    }

    #[test]
    fn created_to_before_created_from_is_rejected() {
        assert_eq!(
            codes_and_fields("createdAtFrom=2026-10-09&createdAtTo=2026-10-08"),
            [error(ValidationCode::Range, "createdAtTo")]
        );
        for raw in [
            "createdAtFrom=2026-10-08&createdAtTo=2026-10-08",
            "createdAtFrom=2026-10-08T08:30:00.5Z&createdAtTo=2026-10-08T08:30:00Z",
            "createdAtFrom=2026-10-08T08:30:00.0001Z&createdAtTo=2026-10-08T08:30:00.0002Z",
        ] {
            assert!(parse(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn forged_cursor_outside_the_range_is_rejected() {
        let rejected = [error(ValidationCode::Format, "cursor")];
        let tenant = operator("acme").tenant;
        for raw in ["createdAtFrom=2026-10-09", "createdAtTo=2026-10-07"] {
            let cursor = cursor::format(&export().id, &tenant, &parse(raw).unwrap().filter);
            assert_eq!(codes_and_fields(&format!("{raw}&cursor={cursor}")), rejected, "{raw}");
        }
        let later = ExportId::new(ExportType::MarketplacePayouts, start().plus(2 * MAX_CLOCK_SKEW), &[7; 10]);
        assert_eq!(codes_and_fields(&format!("cursor={}", cursor::format(&later, &tenant, &all().filter))), rejected);
    }

    proptest! {
        #[test]
        fn arbitrary_query_string_never_panics(
            raw in "((status|createdAtFrom|createdAtTo|sort|size|cursor|\\PC{0,5})=[0-9A-Za-z:%+,.-]{0,70}&){0,8}",
        ) {
            match parse(&raw) {
                Ok(query) => prop_assert!((1..=MAX_SIZE).contains(&query.size)),
                Err(errors) => prop_assert!(!errors.is_empty()),
            }
        }
    }
}
