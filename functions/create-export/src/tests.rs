use std::collections::BTreeMap;

use domain::caller::{Caller, ClientType};
use domain::export::Status;
use domain::id::{ExportId, TenantId};
use domain::testing::{FixedClock, MemoryBell, MemoryStore, SequentialIds, address, operator, start, terms};
use http::testing::{assert_is_documented, callers, sample_events};
use serde_json::{Value, json};

use super::*;

type Fake<B> = CreateExport<MemoryStore, MemoryStore, B, SequentialIds, FixedClock>;

fn function<B>(bell: B) -> Fake<B> {
    CreateExport {
        callers: callers(operator("acme")),
        exports: MemoryStore::default(),
        bell,
        ids: SequentialIds::default(),
        clock: FixedClock::default(),
        terms: terms(),
        ring_after: Duration::from_secs(60),
        allowed: AllowedDomains::default(),
    }
}

async fn answer_to<B: Doorbell>(function: &Fake<B>, event: &str) -> Value {
    http::testing::answer_to("create-export", event, async |request| function.handle(&request).await).await
}

fn acme() -> TenantId {
    operator("acme").tenant
}

/// The codes and fields of the errors.
fn errors(answer: &Value) -> Vec<(&str, Option<&str>)> {
    let errors = answer["body"]["errors"].as_array().unwrap();
    errors.iter().map(|error| (error["code"].as_str().unwrap(), error["field"].as_str())).collect()
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([
        ("without-body", 202),
        ("with-cc", 202),
        ("with-cc-base64-encoded", 202),
        ("with-idempotency-key", 202),
        ("with-idempotency-key-and-another-body", 202),
        ("bad-cc-and-bad-idempotency-key", 400),
        ("bad-cc", 400),
        ("not-json", 400),
        ("wrong-content-type", 415),
        ("without-key", 401),
        ("unknown-key", 401),
        ("supplier", 403),
    ]);
    assert_eq!(sample_events("create-export"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let function = function(MemoryBell::default());
        let answer = answer_to(&function, name).await;
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
        let accepted = usize::from(status == 202);
        assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (accepted, accepted), "{name}");
    }
}

#[tokio::test]
async fn launch_is_accepted_written_with_its_lock_and_rung_for() {
    let function = function(MemoryBell::default());
    let answer = answer_to(&function, "with-cc").await;
    assert_eq!(answer["statusCode"], 202);

    let [export] = &function.exports.exports()[..] else { panic!("one export") };
    assert_eq!(
        (export.status, &export.tenant, &export.requested_by),
        (Status::Pending, &acme(), &operator("acme").user)
    );
    assert_eq!(export.recipients.to(), &address("ann@example.com"));
    assert_eq!(export.recipients.cc(), ["finance@example.com", "accounting@example.com"].map(address));
    assert_eq!((export.created_at(), export.terms), (start(), terms()));
    assert_eq!(function.exports.locked_by(&acme(), ExportType::MarketplacePayouts), Some(export.id));
    assert_eq!(function.bell.rings(), [(acme(), export.id, Duration::ZERO)]);

    let path = format!("/v1/payments/marketplace-payouts/export/{}", export.id);
    assert_eq!((&answer["headers"]["location"], &answer["headers"]["retry-after"]), (&json!(path), &json!("5")));
    assert_eq!(answer["body"]["exportId"], export.id.to_string());
    assert_eq!(answer["body"]["status"], "PENDING");
    assert_eq!(answer["body"]["recipients"]["cc"], json!(["finance@example.com", "accounting@example.com"]));
}

#[tokio::test]
async fn launch_without_a_body_mails_the_caller_alone() {
    let function = function(MemoryBell::default());
    answer_to(&function, "without-body").await;
    assert_eq!(function.exports.exports()[0].recipients, Recipients::only(address("ann@example.com")));
}

#[tokio::test]
async fn second_launch_is_refused_and_names_the_pending_export() {
    let function = function(MemoryBell::default());
    let first = answer_to(&function, "without-body").await;
    let second = answer_to(&function, "with-cc").await;
    assert_eq!((&second["statusCode"], errors(&second)), (&json!(409), vec![("EXPORT_ALREADY_PENDING", None)]));
    let id = first["body"]["exportId"].as_str().unwrap();
    assert!(second["body"]["errors"][0]["detail"].as_str().unwrap().contains(id));
    assert_eq!(second["headers"]["location"], first["headers"]["location"]);
    assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (1, 1));
}

#[tokio::test]
async fn repeated_request_with_an_idempotency_key_is_answered_with_the_export_it_made() {
    let function = function(MemoryBell::default());
    let first = answer_to(&function, "with-idempotency-key").await;
    function.clock.advance(Duration::from_secs(3600));
    let second = answer_to(&function, "with-idempotency-key").await;
    assert_eq!((&second["statusCode"], &second["body"]), (&json!(202), &first["body"]));
    assert_eq!(second["headers"]["location"], first["headers"]["location"]);
    assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (1, 1));
}

#[tokio::test]
async fn repeated_request_is_answered_with_the_export_as_it_is_now() {
    let function = function(MemoryBell::default());
    answer_to(&function, "with-idempotency-key").await;
    let [accepted] = &function.exports.exports()[..] else { panic!("one export") };
    let ready = domain::testing::ready_export();
    function.exports.put_export(Export { id: accepted.id, recipients: accepted.recipients.clone(), ..ready });
    let again = answer_to(&function, "with-idempotency-key").await;
    assert_eq!((&again["statusCode"], &again["body"]["status"]), (&json!(202), &json!("READY")));
    assert_eq!(again["headers"].get("retry-after"), None);
    assert_eq!(function.exports.exports().len(), 1);
}

#[tokio::test]
async fn repeated_request_for_an_export_that_cannot_be_read_launches_no_other() {
    let function = function(MemoryBell::default());
    answer_to(&function, "with-idempotency-key").await;
    function.exports.spoil(&acme(), &function.exports.exports()[0].id, "recipientTo");
    let again = answer_to(&function, "with-idempotency-key").await;
    assert_eq!((&again["statusCode"], errors(&again)), (&json!(500), vec![("INTERNAL", None)]));
    assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (1, 1));
}

#[tokio::test]
async fn idempotency_key_with_another_body_is_refused_also_while_an_export_is_pending() {
    let function = function(MemoryBell::default());
    answer_to(&function, "with-idempotency-key").await;
    let answer = answer_to(&function, "with-idempotency-key-and-another-body").await;
    assert_eq!((&answer["statusCode"], errors(&answer)), (&json!(422), vec![("IDEMPOTENCY_KEY_REUSED", None)]));
    assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (1, 1));
}

/// The answer to the sample event with an idempotency key, with this body.
async fn answer_to_body(function: &Fake<MemoryBell>, body: Value) -> Value {
    let with_body = |event: &mut Value| event["body"] = json!(body.to_string());
    let handler = async |request| function.handle(&request).await;
    http::testing::answer_to_changed("create-export", "with-idempotency-key", with_body, handler).await
}

#[tokio::test]
async fn idempotency_fingerprint_covers_every_field_that_a_body_may_have() {
    // A value for each field that is not its default.
    let values = BTreeMap::from([("cc", json!(["finance@example.com"]))]);
    assert_eq!(values.keys().copied().collect::<Vec<_>>(), documented_fields(), "name a value for each field");
    for (field, value) in values {
        let function = function(MemoryBell::default());
        assert_eq!(answer_to_body(&function, json!({})).await["statusCode"], 202);
        let other = answer_to_body(&function, json!({field: value})).await;
        assert_eq!(errors(&other), [("IDEMPOTENCY_KEY_REUSED", None)], "{field}");
    }
}

/// The fields of a launch's body, by the API's description.
fn documented_fields() -> Vec<String> {
    let document = include_str!("../../describe-api/openapi.json");
    let document: Value = serde_json::from_str(document).unwrap();
    let schema = &document["paths"][routes::EXPORTS]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let schema = document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn idempotency_fingerprint_covers_the_main_recipient() {
    let function = function(MemoryBell::default());
    answer_to(&function, "with-idempotency-key").await;
    let user = domain::caller::Person { email: address("ben@example.com"), ..operator("acme").user };
    let function = CreateExport { callers: callers(Caller { user, ..operator("acme") }), ..function };
    let answer = answer_to(&function, "with-idempotency-key").await;
    assert_eq!((&answer["statusCode"], errors(&answer)), (&json!(422), vec![("IDEMPOTENCY_KEY_REUSED", None)]));
}

#[tokio::test]
async fn refused_request_leaves_its_idempotency_key_unused() {
    let function = function(MemoryBell::default());
    answer_to(&function, "without-body").await;
    assert_eq!(answer_to(&function, "with-idempotency-key").await["statusCode"], 409);
    let [pending] = &function.exports.exports()[..] else { panic!("one export") };
    let step = domain::lifecycle::fail(
        pending,
        start(),
        domain::lifecycle::Authority::Owner,
        domain::export::Failure::tries_used_up(5),
    );
    domain::ports::ApplyStep::apply_step(&function.exports, &acme(), &pending.id, &step).await.unwrap();
    assert_eq!(answer_to(&function, "with-idempotency-key-and-another-body").await["statusCode"], 202);
}

#[tokio::test]
async fn idempotency_key_of_another_api_key_is_not_known() {
    let function = function(MemoryBell::default());
    let first = answer_to(&function, "with-idempotency-key").await;
    let key = "9".repeat(64);
    let record = ApiKeyRecord {
        hash: http::auth::hash_of(&key),
        caller: operator("acme"),
        created_at: start(),
        revoked_at: None,
    };
    let keys = MemoryStore::default();
    keys.put_api_key(record);
    let function = CreateExport { callers: Authenticator::new(keys), ..function };
    let with_key = |event: &mut Value| event["headers"]["dj-api-key"] = json!(key);
    let handler = async |request| function.handle(&request).await;
    let other = http::testing::answer_to_changed("create-export", "with-idempotency-key", with_key, handler).await;
    assert_eq!((&first["statusCode"], &other["statusCode"]), (&json!(202), &json!(409)));
}

#[tokio::test]
async fn faults_of_header_and_body_are_told_together() {
    let function = function(MemoryBell::default());
    let answer = answer_to(&function, "bad-cc-and-bad-idempotency-key").await;
    assert_eq!(errors(&answer), [("F-E-012", Some("Idempotency-Key")), ("F-E-012", Some("cc[0]"))]);
    assert_eq!(function.exports.exports(), []);
}

#[tokio::test]
async fn pending_export_of_another_tenant_is_no_obstacle() {
    let function = function(MemoryBell::default());
    let other = Export { tenant: "other".parse().unwrap(), ..domain::testing::export() };
    function.exports.put_export(other);
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 202);
}

#[tokio::test]
async fn bell_that_fails_changes_nothing_for_the_caller_and_leaves_it_to_the_sweeper() {
    let function = function(MemoryBell::default());
    function.bell.fuse.blow();
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 202);
    let export = &function.exports.exports()[0];
    assert_eq!((export.status, export.due_at), (Status::Pending, Some(start().plus(function.ring_after))));
}

#[tokio::test]
async fn bell_that_cannot_be_rung_changes_nothing_for_the_caller_either() {
    let function = function(MemoryBell::default());
    function.bell.fuse.deny();
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 202);
    assert_eq!(function.exports.exports()[0].status, Status::Pending);
}

struct SilentBell;

impl Doorbell for SilentBell {
    async fn ring(&self, _: &TenantId, _: &ExportId, _: Duration) -> Result<(), Outage> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn bell_that_never_answers_does_not_hold_the_caller() {
    let function = function(SilentBell);
    let began = tokio::time::Instant::now();
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 202);
    assert_eq!(began.elapsed(), LONGEST_RING);
}

#[tokio::test]
async fn bad_cc_is_told_whole_and_nothing_is_written() {
    let function = function(MemoryBell::default());
    let answer = answer_to(&function, "bad-cc").await;
    assert_eq!(errors(&answer), [("F-E-012", Some("cc[1]")), ("F-E-012", Some("cc[2]")), ("F-E-012", Some("bcc"))]);
    assert_eq!(function.exports.exports(), []);
}

#[tokio::test]
async fn caller_is_checked_before_the_body() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let function = CreateExport { callers: callers(supplier), ..function(MemoryBell::default()) };
    for name in ["bad-cc", "not-json", "wrong-content-type"] {
        assert_eq!(answer_to(&function, name).await["statusCode"], 403, "{name}");
    }
}

#[tokio::test]
async fn outage_is_told_and_leaves_nothing_behind() {
    let broken_ids = function(MemoryBell::default());
    broken_ids.ids.fuse.blow();
    let broken_table = function(MemoryBell::default());
    broken_table.exports.fuse.blow();
    for function in [broken_ids, broken_table] {
        let answer = answer_to(&function, "without-body").await;
        assert_eq!((&answer["statusCode"], errors(&answer)), (&json!(503), vec![("SERVICE_UNAVAILABLE", None)]));
        assert_eq!((function.exports.exports().len(), function.bell.rings().len()), (0, 0));
    }
    let denied = function(MemoryBell::default());
    denied.exports.fuse.deny();
    let answer = answer_to(&denied, "without-body").await;
    assert_eq!((&answer["statusCode"], errors(&answer)), (&json!(500), vec![("INTERNAL", None)]));
}

#[tokio::test]
async fn examples_of_the_description_are_real_answers() {
    for (event, example) in [
        ("with-cc", "ExportAccepted"),
        ("bad-cc", "BadCc"),
        ("bad-cc-and-bad-idempotency-key", "BadIdempotencyKey"),
        ("wrong-content-type", "UnsupportedMediaType"),
        ("unknown-key", "Unauthenticated"),
        ("supplier", "Forbidden"),
    ] {
        assert_is_documented(&answer_to(&function(MemoryBell::default()), event).await, example);
    }
    let function = function(MemoryBell::default());
    answer_to(&function, "with-idempotency-key").await;
    assert_is_documented(&answer_to(&function, "with-cc").await, "ExportAlreadyPending");
    let reused = answer_to(&function, "with-idempotency-key-and-another-body").await;
    assert_is_documented(&reused, "IdempotencyKeyReused");
    function.exports.fuse.blow();
    assert_is_documented(&answer_to(&function, "with-cc").await, "Unavailable");

    let with_large_body = |event: &mut Value| event["body"] = json!(" ".repeat(body::MOST_BYTES + 1));
    let handler = async |request| function.handle(&request).await;
    let answer = http::testing::answer_to_changed("create-export", "with-cc", with_large_body, handler).await;
    assert_is_documented(&answer, "BodyTooLarge");
    let broken = async |_| Err::<Success, _>(Problem::Internal("no more room".into()));
    assert_is_documented(&http::testing::answer_to("create-export", "with-cc", broken).await, "InternalError");
}
