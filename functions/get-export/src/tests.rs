use std::collections::BTreeMap;
use std::time::Duration;

use exports_domain::export::{Export, State, Status};
use exports_domain::failure::{Failure, FailureCode};
use exports_domain::testing::{
    FakeSystem, MemoryFiles, MemoryStore, export, file, invalid_rows_failure, operator, ready_export, state,
};
use exports_http::testing::{assert_is_documented, keys, sample_events};
use serde_json::{Value, json};

use super::*;

struct World {
    keys: MemoryStore,
    exports: MemoryStore,
    files: MemoryFiles,
    system: FakeSystem,
}

/// A store with `export`; the caller belongs to the tenant `acme`.
fn world(export: Export) -> World {
    let exports = MemoryStore::default();
    exports.put_export(export);
    World { keys: keys(operator("acme")), exports, files: MemoryFiles::with_samples(), system: FakeSystem::default() }
}

async fn response_to(world: &World, event: &str) -> Value {
    let World { keys, exports, files, system } = world;
    let function = GetExport { callers: Authenticator::new(keys), exports, files, system };
    exports_http::testing::response_to("get-export", event, async |request| function.handle(&request).await).await
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("export", (200, None)),
        ("unknown-export", (404, Some("F-E-002"))),
        ("malformed-id", (404, Some("F-E-002"))),
        ("id-of-another-type", (404, Some("F-E-002"))),
        ("without-key", (401, Some("UNAUTHENTICATED"))),
    ]);
    assert_eq!(sample_events("get-export"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, code)) in expected {
        let response = response_to(&world(export()), name).await;
        let actual = response["body"]["errors"][0]["code"].as_str();
        assert_eq!((&response["statusCode"], actual), (&json!(status), code), "{name}: {response}");
    }
}

#[tokio::test]
async fn pending_export_has_retry_after_and_no_link() {
    let response = response_to(&world(export()), "export").await;
    assert_eq!((&response["body"]["status"], &response["headers"]["retry-after"]), (&json!("PENDING"), &json!("5")));
    assert_eq!(response["body"].get("downloadUrl"), None);
}

#[tokio::test]
async fn ready_export_has_new_link() {
    let world = world(ready_export());
    world.system.advance(Duration::from_secs(3600));
    let response = response_to(&world, "export").await;
    let url =
        format!("https://files.example/{}?from=2026-10-08T09:30:00.000Z&until=2026-10-08T09:45:00.000Z", file().key);
    assert_eq!(response["body"]["downloadUrl"], url);
    assert_eq!(response["body"]["downloadUrlExpiresAt"], "2026-10-08T09:45:00.000Z");
    assert_eq!((&response["body"]["status"], response["headers"].get("retry-after")), (&json!("READY"), None));
    assert_eq!(response["body"]["file"]["sha256"], file().sha256);
}

#[tokio::test]
async fn ready_export_with_deleted_file_has_no_link() {
    let world = world(ready_export());
    world.files.delete(&file().key);
    let response = response_to(&world, "export").await;
    assert_eq!((&response["statusCode"], &response["body"]["status"]), (&json!(200), &json!("READY")));
    for name in ["downloadUrl", "downloadUrlExpiresAt"] {
        assert_eq!(response["body"].get(name), None);
    }
}

#[tokio::test]
async fn ready_export_has_link_if_file_lookup_fails() {
    let world = world(ready_export());
    world.files.lookup_failures.inject();
    let response = response_to(&world, "export").await;
    assert_eq!((&response["statusCode"], response["body"]["downloadUrl"].is_string()), (&json!(200), true));
}

/// [`export`] as FAILED with a file of invalid rows.
fn failed_export() -> Export {
    Export { state: State::Failed { failure: invalid_rows_failure(), file: None }, ..export() }
}

#[tokio::test]
async fn export_with_invalid_rows_has_a_link_to_their_file() {
    let response = response_to(&world(failed_export()), "export").await;
    let key = failed_export().failure().cloned().unwrap().invalid_rows.unwrap().key;
    let url = format!("https://files.example/{key}?from=2026-10-08T08:30:00.000Z&until=2026-10-08T08:45:00.000Z");
    let expected = json!({ "count": 2, "isComplete": true, "downloadUrl": url });
    assert_eq!(response["body"]["failure"]["invalidRows"], expected);
    assert_eq!(response["body"].get("downloadUrl"), None, "it is not the export's file");
}

#[tokio::test]
async fn export_whose_file_of_invalid_rows_is_gone_has_no_link() {
    let expected = json!({ "count": 2, "isComplete": true });
    let deleted = world(failed_export());
    deleted.files.delete(&failed_export().failure().cloned().unwrap().invalid_rows.unwrap().key);
    let expired = world(failed_export());
    expired.system.advance(export().settings.file_retention);
    for world in [deleted, expired] {
        let response = response_to(&world, "export").await;
        assert_eq!(response["body"]["failure"]["invalidRows"], expected);
    }
}

#[tokio::test]
async fn denied_access_to_files_is_an_internal_error() {
    let world = world(ready_export());
    world.files.lookup_failures.deny();
    let response = response_to(&world, "export").await;
    assert_eq!((&response["statusCode"], &response["headers"]["retry-after"]), (&json!(500), &Value::Null));
}

#[tokio::test]
async fn file_is_looked_up_only_for_ready_export() {
    let failure =
        Failure { code: FailureCode::EmailNotSent, message: "rejected".into(), cancelled_by: None, invalid_rows: None };
    let failed = Export { state: State::Failed { failure, file: Some(file()) }, ..ready_export() };
    let expired = Export { state: state(Status::Expired), ..ready_export() };
    for (export, lookups) in [(export(), 0), (failed, 0), (expired, 0), (ready_export(), 1)] {
        let world = world(export);
        response_to(&world, "export").await;
        assert_eq!(world.files.lookups(), lookups);
    }
    let expired = world(ready_export());
    expired.system.set(ready_export().link_expires_at().unwrap());
    response_to(&expired, "export").await;
    assert_eq!(expired.files.lookups(), 0);
}

#[tokio::test]
async fn export_with_expired_link_is_expired_before_any_sweep() {
    let world = world(ready_export());
    world.system.set(ready_export().link_expires_at().unwrap());
    let response = response_to(&world, "export").await;
    assert_eq!((&response["body"]["status"], response["body"].get("downloadUrl")), (&json!("EXPIRED"), None));
    assert_eq!(world.exports.exports()[0].status(), Status::Ready, "a read writes nothing");
}

#[tokio::test]
async fn failed_export_with_file_has_failure_and_no_link() {
    let failure =
        Failure { code: FailureCode::EmailNotSent, message: "rejected".into(), cancelled_by: None, invalid_rows: None };
    let failed = Export { state: State::Failed { failure, file: Some(file()) }, ..ready_export() };
    let response = response_to(&world(failed), "export").await;
    assert_eq!(
        response["body"]["failure"],
        json!({"code": "EMAIL_NOT_SENT", "message": "rejected", "retryable": false})
    );
    assert_eq!((response["body"].get("downloadUrl"), &response["body"]["file"]["rows"]), (None, &json!(3)));
}

#[tokio::test]
async fn export_of_other_tenant_looks_like_unknown_export() {
    let other = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    let response = response_to(&world(other), "export").await;
    assert_eq!(response["statusCode"], 404);
    assert_eq!(response["body"], response_to(&world(export()), "unknown-export").await["body"]);
}

#[tokio::test]
async fn transient_error_of_table_or_signer_is_unavailable() {
    let without_table = world(ready_export());
    without_table.exports.failures.inject();
    let without_signer = world(ready_export());
    without_signer.files.link_failures.inject();
    for world in [without_table, without_signer] {
        let response = response_to(&world, "export").await;
        assert_eq!((&response["statusCode"], &response["headers"]["retry-after"]), (&json!(503), &json!("5")));
    }
}

#[tokio::test]
async fn corrupt_record_is_an_internal_error() {
    let world = world(ready_export());
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let response = response_to(&world, "export").await;
    assert_eq!((&response["statusCode"], &response["headers"]["retry-after"]), (&json!(500), &Value::Null));
    assert_eq!(response["body"]["errors"][0]["code"], "INTERNAL");
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    let failure = Failure::email_not_sent("Email address is not verified.");
    let failed = Export { state: State::Failed { failure, file: Some(file()) }, ..ready_export() };
    let expired = Export { state: state(Status::Expired), ..ready_export() };
    for (export, example) in [
        (export(), "PendingExport"),
        (ready_export(), "ReadyExport"),
        (expired, "ExpiredExport"),
        (failed, "FailedExport"),
    ] {
        assert_is_documented(&response_to(&world(export), "export").await, example);
    }
    let deleted = world(ready_export());
    deleted.files.delete(&file().key);
    assert_is_documented(&response_to(&deleted, "export").await, "ReadyExportWithoutFile");
    assert_is_documented(&response_to(&world(export()), "unknown-export").await, "ExportNotFound");
}
