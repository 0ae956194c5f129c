//! What the query string asks for.
//!
//! | parameter | | default |
//! |---|---|---|
//! | `status` | PENDING, READY, FAILED, EXPIRED; repeated or with commas between them | all |
//! | `createdFrom`, `createdTo` | the first and the last moment, as [`bound`] reads them | no bound |
//! | `sort` | `createdAt:asc`, `createdAt:desc` | `createdAt:desc` |
//! | `size` | 1 to 100 | 20 |
//! | `cursor` | `nextCursor` of the page before | the first page |

use std::time::Duration;

use domain::export::Status;
use domain::history::{HistoryFilter, Order};
use domain::id::{ExportId, ExportType, TenantId};
use domain::time::Timestamp;
use http::fault::{Fault, FaultCode, shortened};
use http::query::Query;

use crate::bound::{self, End, NotABound};
use crate::cursor::{self, NotACursor};

/// How many exports a page has, unless the query says otherwise.
pub const DEFAULT_SIZE: usize = 20;

/// How many exports a page can have.
pub const MOST_SIZE: usize = 100;

/// How far apart the clocks may be of the machine that made an id and of this one.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// A page of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Which history.
    pub filter: HistoryFilter,
    /// How many exports at most.
    pub size: usize,
    /// After which export.
    pub after: Option<ExportId>,
}

/// What `query` asks for at `now`, in the history of `tenant`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(mut query: Query, tenant: &TenantId, now: Timestamp) -> Result<HistoryQuery, Vec<Fault>> {
    let statuses = statuses(&mut query);
    let bound = |end| move |text: &str| bound::parse(text, end).map_err(|error: NotABound| (FaultCode::Format, error));
    let created_from = query.single("createdFrom", bound(End::First));
    let created_to = query.single("createdTo", bound(End::Last));
    if let (Some(from), Some(to)) = (created_from, created_to)
        && from > to
    {
        query.faults.of("createdTo", FaultCode::Range, "createdTo is before createdFrom");
    }
    let order = query.single("sort", sort).unwrap_or_default();
    let size = query.single("size", size).unwrap_or(DEFAULT_SIZE);
    let export_type = ExportType::MarketplacePayouts;
    let filter = HistoryFilter { export_type, statuses, created_from, created_to, order };
    let after = query.single("cursor", |text| {
        let id = cursor::read(text, tenant, &filter);
        // One that somebody made up must not reach the table with a place outside the range.
        id.and_then(|id| if is_within(&filter, &id, now) { Ok(id) } else { Err(NotACursor) })
            .map_err(|error| (FaultCode::Format, error))
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
                query.faults.of("status", FaultCode::Enumeration, format_args!("{:?}: {error}", shortened(&text)));
            }
        }
    }
    statuses
}

fn sort(text: &str) -> Result<Order, (FaultCode, &'static str)> {
    match text {
        "createdAt:asc" => Ok(Order::OldestFirst),
        "createdAt:desc" => Ok(Order::NewestFirst),
        _ => Err((FaultCode::Enumeration, "not a sort order: createdAt:asc or createdAt:desc")),
    }
}

fn size(text: &str) -> Result<usize, (FaultCode, String)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err((FaultCode::Format, "a whole number is expected".to_owned()));
    }
    let size = text.parse().ok().filter(|size| (1..=MOST_SIZE).contains(size));
    size.ok_or_else(|| (FaultCode::Range, format!("a page has 1 to {MOST_SIZE} exports")))
}

fn is_within(filter: &HistoryFilter, id: &ExportId, now: Timestamp) -> bool {
    let last = filter.created_to.unwrap_or_else(|| now.plus(CLOCKS_APART));
    filter.created_from.is_none_or(|from| from <= id.created_at()) && id.created_at() <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::testing::{export, operator, start};
    use proptest::prelude::*;

    fn parse(raw: &str) -> Result<HistoryQuery, Vec<Fault>> {
        super::parse(Query::new(raw), &operator("acme").tenant, start())
    }

    /// The codes and fields of the faults.
    fn places(raw: &str) -> Vec<(FaultCode, Option<String>)> {
        parse(raw).unwrap_err().into_iter().map(|fault| (fault.code, fault.field)).collect()
    }

    fn place(code: FaultCode, field: &str) -> (FaultCode, Option<String>) {
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
    fn query_that_says_nothing_asks_for_the_newest_twenty() {
        for raw in ["", "status=&createdFrom=&createdTo=&sort=&size=&cursor="] {
            assert_eq!(parse(raw), Ok(all()), "{raw}");
        }
    }

    #[test]
    fn query_that_says_everything_is_taken() {
        let raw = "status=READY&status=FAILED,READY&createdFrom=2026-10-01&createdTo=2026-10-08T10:30:00%2B02:00\
                   &sort=createdAt%3Aasc&size=100";
        let filter = HistoryFilter {
            statuses: vec![Status::Ready, Status::Failed],
            created_from: Some("2026-10-01T00:00:00.000Z".parse().unwrap()),
            created_to: Some(start()),
            order: Order::OldestFirst,
            ..all().filter
        };
        let cursor = cursor::after(&export().id, &operator("acme").tenant, &filter);
        assert_eq!(parse(raw), Ok(HistoryQuery { filter: filter.clone(), size: 100, after: None }));
        let after = Some(export().id);
        assert_eq!(parse(&format!("{raw}&cursor={cursor}")), Ok(HistoryQuery { filter, size: 100, after }));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let raw = "status=NEW,READY,&createdFrom=soon&createdTo=2026-10-08&createdTo=2026-10-09&sort=createdAt&size=ten\
                   &cursor=x&page=2";
        assert_eq!(
            places(raw),
            [
                place(FaultCode::Enumeration, "status"),
                place(FaultCode::Enumeration, "status"),
                place(FaultCode::Format, "createdFrom"),
                place(FaultCode::Format, "createdTo"),
                place(FaultCode::Enumeration, "sort"),
                place(FaultCode::Format, "size"),
                place(FaultCode::Format, "cursor"),
                place(FaultCode::Format, "page"),
            ]
        );
    }

    #[test]
    fn status_and_sort_are_taken_by_their_exact_names() {
        for raw in ["status=ready", "status=READY%20", "status=%20"] {
            assert_eq!(places(raw), [place(FaultCode::Enumeration, "status")], "{raw}");
        }
        for raw in ["sort=createdAt", "sort=createdAt:DESC", "sort=status:asc", "sort=createdAt:asc,createdAt:asc"] {
            assert_eq!(places(raw), [place(FaultCode::Enumeration, "sort")], "{raw}");
        }
    }

    #[test]
    fn size_out_of_range_is_told_apart_from_no_number() {
        for size in ["0", "-1", "101", "99999999999999999999", "-99999999999999999999"] {
            assert_eq!(places(&format!("size={size}")), [place(FaultCode::Range, "size")], "{size}");
        }
        for size in ["ten", "1.5", "+5", "-", "%201", "1e1", "٣"] {
            assert_eq!(places(&format!("size={size}")), [place(FaultCode::Format, "size")], "{size}");
        }
        for (size, taken) in [("1", 1), ("100", 100), ("007", 7)] {
            assert_eq!(parse(&format!("size={size}")).unwrap().size, taken);
        }
    }

    #[test]
    fn range_that_ends_before_it_begins_is_refused() {
        assert_eq!(places("createdFrom=2026-10-09&createdTo=2026-10-08"), [place(FaultCode::Range, "createdTo")]);
        assert!(parse("createdFrom=2026-10-08&createdTo=2026-10-08").is_ok());
    }

    #[test]
    fn cursor_of_a_place_outside_the_range_is_refused_even_with_its_checksum() {
        let refused = [place(FaultCode::Format, "cursor")];
        let tenant = operator("acme").tenant;
        for raw in ["createdFrom=2026-10-09", "createdTo=2026-10-07"] {
            let cursor = cursor::after(&export().id, &tenant, &parse(raw).unwrap().filter);
            assert_eq!(places(&format!("{raw}&cursor={cursor}")), refused, "{raw}");
        }
        let later = ExportId::new(ExportType::MarketplacePayouts, start().plus(2 * CLOCKS_APART), &[7; 10]);
        assert_eq!(places(&format!("cursor={}", cursor::after(&later, &tenant, &all().filter))), refused);
    }

    proptest! {
        #[test]
        fn any_query_string_is_taken_or_refused_without_panic(
            raw in "((status|createdFrom|createdTo|sort|size|cursor|\\PC{0,5})=[0-9A-Za-z:%+,.-]{0,70}&){0,8}",
        ) {
            match parse(&raw) {
                Ok(query) => prop_assert!((1..=MOST_SIZE).contains(&query.size)),
                Err(faults) => prop_assert!(!faults.is_empty()),
            }
        }
    }
}
