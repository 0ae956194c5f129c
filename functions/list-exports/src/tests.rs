use std::collections::BTreeMap;
use std::time::Duration;

use exports_domain::export::{Export, Status};
use exports_domain::export_type::ExportType;
use exports_domain::id::ExportId;
use exports_domain::testing::{FakeSystem, MemoryStore, export, operator, ready_export, ready_until, start};
use exports_http::testing::{assert_is_documented, keys, sample_events};
use serde_json::{Value, json};

use super::*;

struct World {
    keys: MemoryStore,
    exports: MemoryStore,
    system: FakeSystem,
}

/// A store with `exports`; the caller belongs to the tenant `acme`, the time is 12:00 that day.
fn world(exports: impl IntoIterator<Item = Export>) -> World {
    let store = MemoryStore::default();
    exports.into_iter().for_each(|export| store.put_export(export));
    let system = FakeSystem::default();
    system.set("2026-10-08T12:00:00.000Z".parse().unwrap());
    World { keys: keys(operator("acme")), exports: store, system }
}

impl World {
    fn function(&self) -> ListExports<'_, MemoryStore, MemoryStore> {
        ListExports { callers: Authenticator::new(&self.keys), exports: &self.exports, system: &self.system }
    }
}

async fn response_to(world: &World, event: &str) -> Value {
    let function = world.function();
    exports_http::testing::response_to("list-exports", event, async |request| function.handle(&request).await).await
}

/// The response to the event `newest` with another query string.
async fn response_to_query(world: &World, query: &str) -> Value {
    let function = world.function();
    let with_query = |event: &mut Value| event["rawQueryString"] = json!(query);
    exports_http::testing::response_to_changed("list-exports", "newest", with_query, async |request| {
        function.handle(&request).await
    })
    .await
}

/// An export accepted `minutes` after [`start`].
fn export_after(minutes: u64, like: Export) -> Export {
    let at = start().plus(Duration::from_secs(60 * minutes));
    Export { id: ExportId::new(ExportType::MarketplacePayouts, at, &[7; 10]), ..like }
}

fn ids(response: &Value) -> Vec<&str> {
    let content = response["body"]["content"].as_array().unwrap_or_else(|| panic!("{response}"));
    content.iter().map(|export| export["exportId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("newest", 200),
        ("supplier-payouts", 200),
        ("filtered", 200),
        ("all-errors", 400),
        ("unknown-key", 401),
        ("supplier", 403),
    ]);
    assert_eq!(sample_events("list-exports"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let response = response_to(&world([ready_export()]), name).await;
        assert_eq!(response["statusCode"], status, "{name}: {response}");
    }
}

#[tokio::test]
async fn newest_exports_come_first_and_last_page_has_no_cursor() {
    let exports = [ready_export(), export_after(1, ready_export()), export_after(2, export())];
    let response = response_to(&world(exports.clone()), "newest").await;
    let expected: Vec<String> = exports.iter().rev().map(|export| export.id.to_string()).collect();
    assert_eq!(ids(&response), expected);
    assert_eq!((&response["body"]["size"], &response["body"]["nextCursor"]), (&json!(20), &Value::Null));
    assert_eq!(response["body"]["content"][0]["status"], "PENDING");
    assert_eq!(response["body"]["content"][1].get("downloadUrl"), None);
}

#[tokio::test]
async fn tenant_without_exports_gets_an_empty_page() {
    let response = response_to(&world([]), "newest").await;
    assert_eq!(response["body"], json!({"content": [], "size": 20, "nextCursor": null}));
}

#[tokio::test]
async fn pages_have_no_gap_or_repetition_while_exports_are_added() {
    for (sort, added) in [("desc", 100), ("asc", 100)] {
        let world = world((0..7).map(|minutes| export_after(minutes, ready_export())));
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("size=3&sort=createdAt:{sort}&cursor={cursor}");
            let response = response_to_query(&world, &query).await;
            seen.extend(ids(&response).into_iter().map(str::to_owned));
            if seen.len() == 3 {
                world.exports.put_export(export_after(added, ready_export()));
            }
            let Some(next) = response["body"]["nextCursor"].as_str() else { break };
            assert_eq!(ids(&response).len(), 3, "a page is full unless it is the last");
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
async fn export_with_expired_link_is_expired_before_any_sweep() {
    let expired = Export { state: ready_until(start()), ..ready_export() };
    let world = world([expired, export_after(1, ready_export())]);
    let ready = response_to_query(&world, "status=READY").await;
    assert_eq!(ids(&ready), [export_after(1, ready_export()).id.to_string()]);
    let expired = response_to_query(&world, "status=EXPIRED").await;
    assert_eq!(expired["body"]["content"][0]["status"], "EXPIRED");
    assert_eq!(ids(&expired).len(), 1);
    assert_eq!(world.exports.exports()[0].status(), Status::Ready, "a read writes nothing");
}

#[tokio::test]
async fn created_range_is_inclusive() {
    let world = world((0..3).map(|minutes| export_after(minutes, ready_export())));
    for (query, found) in [
        ("createdAtFrom=2026-10-08T08:31:00Z&createdAtTo=2026-10-08T08:31:00Z", 1),
        ("createdAtFrom=2026-10-08T08:31:00.001Z", 1),
        ("createdAtFrom=2026-10-08T08:31:00.0001Z&createdAtTo=2026-10-08T08:31:00.0002Z", 0),
        ("createdAtTo=2026-10-08T10:30:59.999%2B02:00", 1),
        ("createdAtFrom=2026-10-08&createdAtTo=2026-10-08", 3),
        ("createdAtTo=2026-10-07", 0),
    ] {
        assert_eq!(ids(&response_to_query(&world, query).await).len(), found, "{query}");
    }
}

#[tokio::test]
async fn exports_of_other_tenant_are_not_listed() {
    let other = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    assert_eq!(ids(&response_to(&world([other]), "newest").await), [] as [&str; 0]);
}

#[tokio::test]
async fn cursor_of_other_tenant_or_filter_is_rejected() {
    let exports = || (0..3).map(|minutes| export_after(minutes, ready_export()));
    let world = world(exports());
    let page = response_to_query(&world, "size=1").await;
    let cursor = page["body"]["nextCursor"].as_str().unwrap();
    assert_eq!(response_to_query(&world, &format!("size=2&cursor={cursor}")).await["statusCode"], 200);
    for query in ["status=READY", "sort=createdAt:asc", "createdAtFrom=2026-10-01"] {
        let response = response_to_query(&world, &format!("{query}&cursor={cursor}")).await;
        assert_eq!((&response["statusCode"], &response["body"]["errors"][0]["field"]), (&json!(400), &json!("cursor")));
    }
    let other = World { keys: keys(operator("other")), ..world };
    assert_eq!(response_to_query(&other, &format!("cursor={cursor}")).await["statusCode"], 400);
}

#[tokio::test]
async fn transient_error_is_unavailable() {
    let world = world([ready_export()]);
    world.exports.failures.inject();
    let response = response_to(&world, "newest").await;
    assert_eq!((&response["statusCode"], &response["headers"]["retry-after"]), (&json!(503), &json!("5")));
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    let exports = [ready_export(), export_after(5, export()), export_after(10, ready_export())];
    let world = world(exports);
    assert_is_documented(&response_to_query(&world, "size=2").await, "HistoryPage");
    assert_is_documented(&response_to(&world, "all-errors").await, "BadQuery");
}

#[tokio::test]
async fn corrupt_export_does_not_hide_others() {
    let exports = [1, 2, 3].map(|minutes| export_after(minutes, ready_export()));
    let [first, corrupt, last] = exports.each_ref().map(|export| export.id.to_string());
    let world = world(exports.clone());
    world.exports.corrupt(&exports[1].tenant, &exports[1].id, "recipientTo");
    let response = response_to(&world, "newest").await;
    assert_eq!(ids(&response), [last, first], "without {corrupt}");
    assert_eq!(response["body"]["nextCursor"], Value::Null);
}
