use std::collections::BTreeMap;
use std::time::Duration;

use domain::export::{Export, Status};
use domain::id::{ExportId, ExportType};
use domain::testing::{FixedClock, MemoryStore, export, operator, ready_export, start};
use http::testing::{assert_is_documented, callers, sample_events};
use serde_json::{Value, json};

use super::*;

type Fake = ListExportHistory<MemoryStore, MemoryStore, FixedClock>;

/// The function in front of a table with `exports`; the caller is of the tenant `acme`, the time 12:00 that day.
fn function(exports: impl IntoIterator<Item = Export>) -> Fake {
    let store = MemoryStore::default();
    exports.into_iter().for_each(|export| store.put_export(export));
    let clock = FixedClock::default();
    clock.set("2026-10-08T12:00:00.000Z".parse().unwrap());
    ListExportHistory { callers: callers(operator("acme")), exports: store, clock }
}

async fn answer_to(function: &Fake, event: &str) -> Value {
    http::testing::answer_to("list-exports", event, async |request| function.handle(&request).await).await
}

/// The answer to the event `newest` with another query string.
async fn answer_to_query(function: &Fake, query: &str) -> Value {
    let with_query = |event: &mut Value| event["rawQueryString"] = json!(query);
    http::testing::answer_to_changed("list-exports", "newest", with_query, async |request| {
        function.handle(&request).await
    })
    .await
}

/// An export accepted so many minutes after [`start`].
fn export_after(minutes: u64, like: Export) -> Export {
    let at = start().plus(Duration::from_secs(60 * minutes));
    Export { id: ExportId::new(ExportType::MarketplacePayouts, at, &[7; 10]), ..like }
}

fn ids(answer: &Value) -> Vec<&str> {
    let content = answer["body"]["content"].as_array().unwrap_or_else(|| panic!("{answer}"));
    content.iter().map(|export| export["exportId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([
        ("newest", 200),
        ("filtered", 200),
        ("all-faults", 400),
        ("unknown-key", 401),
        ("supplier", 403),
    ]);
    assert_eq!(sample_events("list-exports"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let answer = answer_to(&function([ready_export()]), name).await;
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
    }
}

#[tokio::test]
async fn newest_exports_come_first_and_the_last_page_says_so() {
    let exports = [ready_export(), export_after(1, ready_export()), export_after(2, export())];
    let answer = answer_to(&function(exports.clone()), "newest").await;
    let expected: Vec<String> = exports.iter().rev().map(|export| export.id.to_string()).collect();
    assert_eq!(ids(&answer), expected);
    assert_eq!((&answer["body"]["size"], &answer["body"]["nextCursor"]), (&json!(20), &Value::Null));
    assert_eq!(answer["body"]["content"][0]["status"], "PENDING");
    assert_eq!(answer["body"]["content"][1].get("downloadUrl"), None);
}

#[tokio::test]
async fn tenant_without_exports_has_an_empty_page() {
    let answer = answer_to(&function([]), "newest").await;
    assert_eq!(answer["body"], json!({"content": [], "size": 20, "nextCursor": null}));
}

#[tokio::test]
async fn pages_join_without_gap_or_repetition_while_exports_are_added() {
    for (sort, added) in [("desc", 100), ("asc", 100)] {
        let function = function((0..7).map(|minutes| export_after(minutes, ready_export())));
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("size=3&sort=createdAt:{sort}&cursor={cursor}");
            let answer = answer_to_query(&function, &query).await;
            seen.extend(ids(&answer).into_iter().map(str::to_owned));
            if seen.len() == 3 {
                function.exports.put_export(export_after(added, ready_export()));
            }
            let Some(next) = answer["body"]["nextCursor"].as_str() else { break };
            assert_eq!(ids(&answer).len(), 3, "a page is full unless it is the last");
            cursor = next.to_owned();
        }
        let mut expected: Vec<String> = (0..7).map(|m| export_after(m, ready_export()).id.to_string()).collect();
        if sort == "desc" {
            expected.reverse();
        } else {
            expected.push(export_after(added, ready_export()).id.to_string());
        }
        assert_eq!(seen, expected, "{sort}");
    }
}

#[tokio::test]
async fn export_whose_link_has_ended_filters_and_shows_as_expired_before_any_sweep() {
    let overdue = Export { link_expires_at: Some(start()), ..ready_export() };
    let function = function([overdue, export_after(1, ready_export())]);
    let ready = answer_to_query(&function, "status=READY").await;
    assert_eq!(ids(&ready), [export_after(1, ready_export()).id.to_string()]);
    let expired = answer_to_query(&function, "status=EXPIRED").await;
    assert_eq!(expired["body"]["content"][0]["status"], "EXPIRED");
    assert_eq!(ids(&expired).len(), 1);
    assert_eq!(function.exports.exports()[0].status, Status::Ready, "showing changes nothing");
}

#[tokio::test]
async fn both_ends_of_the_range_are_included() {
    let function = function((0..3).map(|minutes| export_after(minutes, ready_export())));
    for (query, found) in [
        ("createdFrom=2026-10-08T08:31:00Z&createdTo=2026-10-08T08:31:00Z", 1),
        ("createdFrom=2026-10-08T08:31:00.001Z", 1),
        ("createdTo=2026-10-08T10:30:59.999%2B02:00", 1),
        ("createdFrom=2026-10-08&createdTo=2026-10-08", 3),
        ("createdTo=2026-10-07", 0),
    ] {
        assert_eq!(ids(&answer_to_query(&function, query).await).len(), found, "{query}");
    }
}

#[tokio::test]
async fn exports_of_another_tenant_are_not_shown() {
    let other = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    assert_eq!(ids(&answer_to(&function([other]), "newest").await), [] as [&str; 0]);
}

#[tokio::test]
async fn cursor_of_another_tenant_or_filter_is_refused() {
    let exports = || (0..3).map(|minutes| export_after(minutes, ready_export()));
    let function = function(exports());
    let page = answer_to_query(&function, "size=1").await;
    let cursor = page["body"]["nextCursor"].as_str().unwrap();
    assert_eq!(answer_to_query(&function, &format!("size=2&cursor={cursor}")).await["statusCode"], 200);
    for query in ["status=READY", "sort=createdAt:asc", "createdFrom=2026-10-01"] {
        let answer = answer_to_query(&function, &format!("{query}&cursor={cursor}")).await;
        assert_eq!((&answer["statusCode"], &answer["body"]["errors"][0]["field"]), (&json!(400), &json!("cursor")));
    }
    let other = Fake { callers: callers(operator("other")), ..function };
    assert_eq!(answer_to_query(&other, &format!("cursor={cursor}")).await["statusCode"], 400);
}

#[tokio::test]
async fn outage_is_told() {
    let function = function([ready_export()]);
    function.exports.fuse.blow();
    let answer = answer_to(&function, "newest").await;
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(503), &json!("5")));
}

#[tokio::test]
async fn examples_of_the_description_are_real_answers() {
    let exports = [ready_export(), export_after(5, export()), export_after(10, ready_export())];
    let function = function(exports);
    assert_is_documented(&answer_to_query(&function, "size=2").await, "HistoryPage");
    assert_is_documented(&answer_to(&function, "all-faults").await, "BadQuery");
}

#[tokio::test]
async fn export_that_cannot_be_read_hides_none_of_the_others() {
    let exports = [1, 2, 3].map(|minutes| export_after(minutes, ready_export()));
    let [first, damaged, last] = exports.each_ref().map(|export| export.id.to_string());
    let function = function(exports.clone());
    function.exports.spoil(&exports[1].tenant, &exports[1].id, "recipientTo");
    let answer = answer_to(&function, "newest").await;
    assert_eq!(ids(&answer), [last, first], "without {damaged}");
    assert_eq!(answer["body"]["nextCursor"], Value::Null);
}
