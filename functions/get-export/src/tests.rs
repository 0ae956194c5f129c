use std::collections::BTreeMap;
use std::time::Duration;

use domain::export::{Export, Failure, FailureCode};
use domain::testing::{DeletableFiles, FixedClock, MemoryLinks, MemoryStore, export, file, operator, ready_export};
use http::testing::{assert_is_documented, callers, sample_events};
use serde_json::{Value, json};

use super::*;

type Fake = GetExport<MemoryStore, MemoryStore, DeletableFiles, MemoryLinks, FixedClock>;

/// The function in front of a table with `export`; the caller is of the tenant `acme`.
fn function(export: Export) -> Fake {
    let exports = MemoryStore::default();
    exports.put_export(export);
    GetExport {
        callers: callers(operator("acme")),
        exports,
        files: DeletableFiles::default(),
        links: MemoryLinks::default(),
        clock: FixedClock::default(),
    }
}

async fn answer_to(function: &Fake, event: &str) -> Value {
    http::testing::answer_to("get-export", event, async |request| function.handle(&request).await).await
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([
        ("export", (200, None)),
        ("unknown-export", (404, Some("F-E-002"))),
        ("malformed-id", (404, Some("F-E-002"))),
        ("without-key", (401, Some("UNAUTHENTICATED"))),
    ]);
    assert_eq!(sample_events("get-export"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, code)) in expected {
        let answer = answer_to(&function(export()), name).await;
        let told = answer["body"]["errors"][0]["code"].as_str();
        assert_eq!((&answer["statusCode"], told), (&json!(status), code), "{name}: {answer}");
    }
}

#[tokio::test]
async fn pending_export_says_when_to_ask_again_and_has_no_link() {
    let answer = answer_to(&function(export()), "export").await;
    assert_eq!((&answer["body"]["status"], &answer["headers"]["retry-after"]), (&json!("PENDING"), &json!("5")));
    assert_eq!(answer["body"].get("downloadUrl"), None);
}

#[tokio::test]
async fn ready_export_has_a_link_made_for_this_answer() {
    let function = function(ready_export());
    function.clock.advance(Duration::from_secs(3600));
    let answer = answer_to(&function, "export").await;
    let url =
        format!("https://files.example/{}?from=2026-10-08T09:30:00.000Z&until=2026-10-08T09:45:00.000Z", file().key);
    assert_eq!(answer["body"]["downloadUrl"], url);
    assert_eq!(answer["body"]["downloadUrlExpiresAt"], "2026-10-08T09:45:00.000Z");
    assert_eq!((&answer["body"]["status"], answer["headers"].get("retry-after")), (&json!("READY"), None));
    assert_eq!(answer["body"]["file"]["sha256"], file().sha256);
}

#[tokio::test]
async fn ready_export_whose_file_was_deleted_has_no_link() {
    let function = function(ready_export());
    function.files.delete(&file());
    let answer = answer_to(&function, "export").await;
    assert_eq!((&answer["statusCode"], &answer["body"]["status"]), (&json!(200), &json!("READY")));
    for name in ["downloadUrl", "downloadUrlExpiresAt"] {
        assert_eq!(answer["body"].get(name), None);
    }
}

#[tokio::test]
async fn ready_export_is_shown_with_its_link_if_it_is_unknown_whether_the_file_exists() {
    let function = function(ready_export());
    function.files.fuse.blow();
    let answer = answer_to(&function, "export").await;
    assert_eq!((&answer["statusCode"], answer["body"]["downloadUrl"].is_string()), (&json!(200), true));
}

#[tokio::test]
async fn denied_access_to_files_is_an_internal_error() {
    let function = function(ready_export());
    function.files.fuse.deny();
    let answer = answer_to(&function, "export").await;
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(500), &Value::Null));
}

#[tokio::test]
async fn file_is_looked_for_only_while_the_export_is_ready() {
    let failure = Failure { code: FailureCode::EmailNotSent, message: "refused".into() };
    let failed = Export { status: Status::Failed, failure: Some(failure), link_expires_at: None, ..ready_export() };
    let expired = Export { status: Status::Expired, ..ready_export() };
    for (export, lookups) in [(export(), 0), (failed, 0), (expired, 0), (ready_export(), 1)] {
        let function = function(export);
        answer_to(&function, "export").await;
        assert_eq!(function.files.lookups(), lookups);
    }
    let over = function(ready_export());
    over.clock.set(ready_export().link_expires_at.unwrap());
    answer_to(&over, "export").await;
    assert_eq!(over.files.lookups(), 0);
}

#[tokio::test]
async fn export_whose_link_has_ended_is_expired_and_has_no_link_before_any_sweep() {
    let function = function(ready_export());
    function.clock.set(ready_export().link_expires_at.unwrap());
    let answer = answer_to(&function, "export").await;
    assert_eq!((&answer["body"]["status"], answer["body"].get("downloadUrl")), (&json!("EXPIRED"), None));
    assert_eq!(function.exports.exports()[0].status, Status::Ready, "showing changes nothing");
}

#[tokio::test]
async fn failed_export_says_why_and_has_no_link_even_with_a_file() {
    let failure = Failure { code: FailureCode::EmailNotSent, message: "refused".into() };
    let failed = Export { status: Status::Failed, failure: Some(failure), link_expires_at: None, ..ready_export() };
    let answer = answer_to(&function(failed), "export").await;
    assert_eq!(answer["body"]["failure"], json!({"code": "EMAIL_NOT_SENT", "message": "refused", "retryable": false}));
    assert_eq!((answer["body"].get("downloadUrl"), &answer["body"]["file"]["rows"]), (None, &json!(3)));
}

#[tokio::test]
async fn export_of_another_tenant_is_told_like_one_that_is_not_there() {
    let other = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    let answer = answer_to(&function(other), "export").await;
    assert_eq!(answer["statusCode"], 404);
    assert_eq!(answer["body"], answer_to(&function(export()), "unknown-export").await["body"]);
}

#[tokio::test]
async fn outage_of_table_or_signer_is_told() {
    let without_table = function(ready_export());
    without_table.exports.fuse.blow();
    let without_signer = function(ready_export());
    without_signer.links.fuse.blow();
    for function in [without_table, without_signer] {
        let answer = answer_to(&function, "export").await;
        assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(503), &json!("5")));
    }
}

#[tokio::test]
async fn record_that_cannot_be_read_is_a_fault_of_ours_that_waiting_does_not_mend() {
    let function = function(ready_export());
    function.exports.spoil(&export().tenant, &export().id, "recipientTo");
    let answer = answer_to(&function, "export").await;
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(500), &Value::Null));
    assert_eq!(answer["body"]["errors"][0]["code"], "INTERNAL");
}

#[tokio::test]
async fn examples_of_the_description_are_real_answers() {
    let failure = Failure::email_not_sent("Email address is not verified.");
    let failed = Export { status: Status::Failed, failure: Some(failure), link_expires_at: None, ..ready_export() };
    let expired = Export { status: Status::Expired, ..ready_export() };
    for (export, example) in [
        (export(), "PendingExport"),
        (ready_export(), "ReadyExport"),
        (expired, "ExpiredExport"),
        (failed, "FailedExport"),
    ] {
        assert_is_documented(&answer_to(&function(export), "export").await, example);
    }
    let deleted = function(ready_export());
    deleted.files.delete(&file());
    assert_is_documented(&answer_to(&deleted, "export").await, "ReadyExportWithoutFile");
    assert_is_documented(&answer_to(&function(export()), "unknown-export").await, "NoSuchExport");
}
