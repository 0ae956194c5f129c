use std::collections::BTreeMap;

use exports_domain::caller::{Caller, ClientType};
use exports_domain::export::Status;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::testing::{
    FailureInjector, FakeSystem, MemoryQueue, MemoryStore, address, operator, settings, start,
};
use exports_http::testing::{assert_is_documented, keys, sample_events};
use exports_telemetry::testing::Log;
use serde_json::{Value, json};

use super::*;

struct World {
    keys: MemoryStore,
    exports: MemoryStore,
    queue: MemoryQueue,
    system: FakeSystem,
}

impl World {
    fn new() -> Self {
        Self::of(operator("acme"))
    }

    fn of(caller: Caller) -> Self {
        let (exports, queue, system) = (MemoryStore::default(), MemoryQueue::default(), FakeSystem::default());
        Self { keys: keys(caller), exports, queue, system }
    }

    fn function(&self) -> CreateExport<'_, MemoryStore, MemoryStore> {
        CreateExport {
            callers: Authenticator::new(&self.keys),
            exports: &self.exports,
            queue: &self.queue,
            system: &self.system,
            settings: settings(),
            re_enqueue_after: RE_ENQUEUE_AFTER,
            allowed: AllowedDomains::default(),
        }
    }

    async fn response_to(&self, event: &str) -> Value {
        response_to(&self.function(), event).await
    }
}

const RE_ENQUEUE_AFTER: Duration = Duration::from_secs(60);

async fn response_to(function: &CreateExport<'_, MemoryStore, MemoryStore>, event: &str) -> Value {
    exports_http::testing::response_to("create-export", event, async |request| function.handle(&request).await).await
}

fn acme() -> TenantId {
    operator("acme").tenant
}

/// The codes and fields of the errors.
fn errors(response: &Value) -> Vec<(&str, Option<&str>)> {
    let errors = response["body"]["errors"].as_array().unwrap();
    errors.iter().map(|error| (error["code"].as_str().unwrap(), error["field"].as_str())).collect()
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("without-body", 202),
        ("supplier-payouts", 202),
        ("with-cc", 202),
        ("with-cc-base64-encoded", 202),
        ("with-idempotency-key", 202),
        ("with-idempotency-key-and-another-body", 202),
        ("bad-cc-and-bad-idempotency-key", 400),
        ("bad-cc", 400),
        ("with-filter", 202),
        ("bad-filter", 400),
        ("not-json", 400),
        ("wrong-content-type", 415),
        ("without-key", 401),
        ("unknown-key", 401),
        ("supplier", 403),
    ]);
    assert_eq!(sample_events("create-export"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let world = World::new();
        let response = world.response_to(name).await;
        assert_eq!(response["statusCode"], status, "{name}: {response}");
        let accepted = usize::from(status == 202);
        assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (accepted, accepted), "{name}");
    }
}

#[tokio::test]
async fn launch_while_an_export_of_another_type_is_pending_is_accepted() {
    let world = World::new();
    assert_eq!(world.response_to("without-body").await["statusCode"], 202);
    let response = world.response_to("supplier-payouts").await;
    assert_eq!((&response["statusCode"], &response["body"]["exportType"]), (&json!(202), &json!("supplier-payouts")));
    let id: ExportId = response["body"]["exportId"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        (id.export_type(), response["headers"]["location"].as_str()),
        (ExportType::SupplierPayouts, Some(&*format!("/v1/payments/supplier-payouts/export/{id}")),)
    );
    assert_eq!(world.exports.locked_by(&acme(), ExportType::SupplierPayouts), Some(id));
    assert_ne!(world.exports.locked_by(&acme(), ExportType::MarketplacePayouts), Some(id));
    assert_eq!(errors(&world.response_to("supplier-payouts").await), [("EXPORT_ALREADY_PENDING", None)]);
}

#[tokio::test]
async fn launch_writes_export_and_lock_and_enqueues_job() {
    let world = World::new();
    let response = world.response_to("with-cc").await;
    assert_eq!(response["statusCode"], 202);

    let [export] = &world.exports.exports()[..] else { panic!("one export") };
    assert_eq!(
        (export.status(), &export.tenant, &export.requested_by),
        (Status::Pending, &acme(), &operator("acme").user)
    );
    assert_eq!(export.recipients.to(), &address("ann@example.com"));
    assert_eq!(export.recipients.cc(), ["finance@example.com", "accounting@example.com"].map(address));
    assert_eq!((export.created_at(), export.settings), (start(), settings()));
    assert_eq!(export.launch_request_id.as_deref(), Some("JKJaXmPLvHcESHA="), "the event's request ID");
    assert_eq!(world.exports.locked_by(&acme(), ExportType::MarketplacePayouts), Some(export.id));
    assert_eq!(world.queue.enqueued(), [(acme(), export.id, Duration::ZERO)]);

    let path = format!("/v1/payments/marketplace-payouts/export/{}", export.id);
    assert_eq!((&response["headers"]["location"], &response["headers"]["retry-after"]), (&json!(path), &json!("5")));
    assert_eq!(response["body"]["exportId"], export.id.to_string());
    assert_eq!(response["body"]["status"], "PENDING");
    assert_eq!(response["body"]["recipients"]["cc"], json!(["finance@example.com", "accounting@example.com"]));
}

#[tokio::test]
async fn launch_with_filter_records_its_normal_form() {
    let world = World::new();
    let response = world.response_to("with-filter").await;
    let filter = json!({
        "createdAtFrom": "2026-09-01T00:00:00.000Z",
        "createdAtTo": "2026-09-30T23:59:59.999Z",
        "statuses": ["SETTLED"],
        "currencies": ["CHF", "EUR"],
    });
    assert_eq!((&response["body"]["filter"], &response["body"]["format"]), (&filter, &json!("CSV")));
    assert_eq!(options::filter_json(&world.exports.exports()[0].options.filter), filter);
}

#[tokio::test]
async fn launch_with_invalid_filter_reports_every_error() {
    let response = World::new().response_to("bad-filter").await;
    let expected = [
        ("F-E-008", Some("filter.statuses[0]")),
        ("F-E-001", Some("filter.currencies")),
        ("F-E-008", Some("filter.supplierIds")),
        ("F-E-006", Some("filter.createdAtTo")),
        ("F-E-008", Some("format")),
    ];
    assert_eq!(errors(&response), expected);
}

#[tokio::test]
async fn fingerprint_covers_the_normal_form_of_the_options() {
    let filtered = r#"{"filter":{"createdAtTo":"2026-09-30","statuses":["SETTLED","FAILED"]}}"#;
    for (first, second, status) in [
        ("{}", r#"{"cc":null,"filter":{"statuses":null},"format":"CSV"}"#, 202),
        (
            filtered,
            r#"{"filter":{"statuses":["FAILED","SETTLED","FAILED"],"createdAtTo":"2026-09-30T23:59:59Z"}}"#,
            202,
        ),
        (filtered, r#"{"filter":{"createdAtTo":"2026-09-30","statuses":["SETTLED"]}}"#, 422),
        (filtered, "{}", 422),
        ("{}", filtered, 422),
    ] {
        let world = World::new();
        let body = |text: &str| serde_json::from_str(text).unwrap();
        assert_eq!(response_to_body(&world, body(first)).await["statusCode"], 202, "{first}");
        assert_eq!(response_to_body(&world, body(second)).await["statusCode"], status, "{first} {second}");
    }
}

#[tokio::test]
async fn launch_without_body_has_only_the_caller_as_recipient() {
    let world = World::new();
    world.response_to("without-body").await;
    assert_eq!(world.exports.exports()[0].recipients, Recipients::only(address("ann@example.com")));
}

#[tokio::test]
async fn launch_while_pending_is_rejected_with_the_pending_id() {
    let world = World::new();
    let first = world.response_to("without-body").await;
    let second = world.response_to("with-cc").await;
    assert_eq!((&second["statusCode"], errors(&second)), (&json!(409), vec![("EXPORT_ALREADY_PENDING", None)]));
    let id = first["body"]["exportId"].as_str().unwrap();
    assert!(second["body"]["errors"][0]["detail"].as_str().unwrap().contains(id));
    assert_eq!(second["headers"]["location"], first["headers"]["location"]);
    assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (1, 1));
}

#[tokio::test]
async fn repeated_idempotency_key_returns_the_same_export() {
    let world = World::new();
    let first = world.response_to("with-idempotency-key").await;
    world.system.advance(Duration::from_secs(3600));
    let second = world.response_to("with-idempotency-key").await;
    assert_eq!((&second["statusCode"], &second["body"]), (&json!(202), &first["body"]));
    assert_eq!(second["headers"]["location"], first["headers"]["location"]);
    assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (1, 1));
}

#[tokio::test]
async fn repeated_idempotency_key_returns_current_status() {
    let world = World::new();
    world.response_to("with-idempotency-key").await;
    let [accepted] = &world.exports.exports()[..] else { panic!("one export") };
    let ready = exports_domain::testing::ready_export();
    world.exports.put_export(Export { id: accepted.id, recipients: accepted.recipients.clone(), ..ready });
    let again = world.response_to("with-idempotency-key").await;
    assert_eq!((&again["statusCode"], &again["body"]["status"]), (&json!(202), &json!("READY")));
    assert_eq!(again["headers"].get("retry-after"), None);
    assert_eq!(world.exports.exports().len(), 1);
}

#[tokio::test]
async fn repeated_idempotency_key_with_corrupt_record_fails() {
    let world = World::new();
    world.response_to("with-idempotency-key").await;
    world.exports.corrupt(&acme(), &world.exports.exports()[0].id, "recipientTo");
    let again = world.response_to("with-idempotency-key").await;
    assert_eq!((&again["statusCode"], errors(&again)), (&json!(500), vec![("INTERNAL", None)]));
    assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (1, 1));
}

#[tokio::test]
async fn idempotency_key_with_other_body_is_rejected() {
    let world = World::new();
    world.response_to("with-idempotency-key").await;
    let response = world.response_to("with-idempotency-key-and-another-body").await;
    assert_eq!((&response["statusCode"], errors(&response)), (&json!(422), vec![("IDEMPOTENCY_KEY_REUSED", None)]));
    assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (1, 1));
}

/// The response to the sample event with an idempotency key, with this body.
async fn response_to_body(world: &World, body: Value) -> Value {
    let function = world.function();
    let with_body = |event: &mut Value| event["body"] = json!(body.to_string());
    let handler = async |request| function.handle(&request).await;
    exports_http::testing::response_to_changed("create-export", "with-idempotency-key", with_body, handler).await
}

#[tokio::test]
async fn idempotency_fingerprint_covers_every_body_field() {
    // A non-default value for each field.
    let values = BTreeMap::from([
        ("cc", json!(["finance@example.com"])),
        ("filter", json!({"currencies": ["EUR"]})),
        ("format", json!("XLSX")),
    ]);
    assert_eq!(values.keys().copied().collect::<Vec<_>>(), documented_fields(), "add a value for each field");
    for (field, value) in values {
        let world = World::new();
        assert_eq!(response_to_body(&world, json!({})).await["statusCode"], 202);
        let other = response_to_body(&world, json!({field: value})).await;
        assert_eq!(errors(&other), [("IDEMPOTENCY_KEY_REUSED", None)], "{field}");
    }
}

/// The fields of the body in openapi.json.
fn documented_fields() -> Vec<String> {
    let document = include_str!("../../describe-api/openapi.json");
    let document: Value = serde_json::from_str(document).unwrap();
    let schema = &document["paths"][routes::exports(ExportType::MarketplacePayouts)]["post"]["requestBody"]["content"]
        ["application/json"]["schema"];
    let schema = document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn idempotency_fingerprint_covers_the_main_recipient() {
    let world = World::new();
    world.response_to("with-idempotency-key").await;
    let user = exports_domain::caller::Person { email: address("ben@example.com"), ..operator("acme").user };
    let world = World { keys: keys(Caller { user, ..operator("acme") }), ..world };
    let response = world.response_to("with-idempotency-key").await;
    assert_eq!((&response["statusCode"], errors(&response)), (&json!(422), vec![("IDEMPOTENCY_KEY_REUSED", None)]));
}

#[tokio::test]
async fn rejected_request_does_not_use_up_its_idempotency_key() {
    let world = World::new();
    world.response_to("without-body").await;
    assert_eq!(world.response_to("with-idempotency-key").await["statusCode"], 409);
    let [pending] = &world.exports.exports()[..] else { panic!("one export") };
    let step = exports_domain::lifecycle::fail(
        pending,
        start(),
        exports_domain::lifecycle::FailedBy::Owner,
        exports_domain::failure::Failure::attempts_used_up(5),
    );
    world.exports.apply_step(&acme(), &pending.id, &step).await.unwrap();
    assert_eq!(world.response_to("with-idempotency-key-and-another-body").await["statusCode"], 202);
}

#[tokio::test]
async fn idempotency_key_is_scoped_to_api_key() {
    let world = World::new();
    let first = world.response_to("with-idempotency-key").await;
    let key = "9".repeat(64);
    let record = ApiKeyRecord::new(exports_http::auth::hash_of(&key), operator("acme"), start());
    let keys = MemoryStore::default();
    keys.put_api_key(record);
    let world = World { keys, ..world };
    let function = world.function();
    let with_key = |event: &mut Value| event["headers"]["dj-api-key"] = json!(key);
    let handler = async |request| function.handle(&request).await;
    let other =
        exports_http::testing::response_to_changed("create-export", "with-idempotency-key", with_key, handler).await;
    assert_eq!((&first["statusCode"], &other["statusCode"]), (&json!(202), &json!(409)));
}

#[tokio::test]
async fn errors_of_header_and_body_are_reported_together() {
    let world = World::new();
    let response = world.response_to("bad-cc-and-bad-idempotency-key").await;
    assert_eq!(errors(&response), [("F-E-012", Some("Idempotency-Key")), ("F-E-012", Some("cc[0]"))]);
    assert_eq!(world.exports.exports(), []);
}

#[tokio::test]
async fn pending_export_of_other_tenant_does_not_block() {
    let world = World::new();
    let other = Export { tenant: "other".parse().unwrap(), ..exports_domain::testing::export() };
    world.exports.put_export(other);
    assert_eq!(world.response_to("without-body").await["statusCode"], 202);
}

#[tokio::test]
async fn failed_enqueue_is_left_to_the_sweeper() {
    let world = World::new();
    world.queue.failures.inject();
    assert_eq!(world.response_to("without-body").await["statusCode"], 202);
    let export = &world.exports.exports()[0];
    assert_eq!((export.status(), export.next_check_at()), (Status::Pending, Some(start().plus(RE_ENQUEUE_AFTER))));
}

#[tokio::test]
async fn denied_enqueue_is_left_to_the_sweeper() {
    let world = World::new();
    world.queue.failures.deny();
    assert_eq!(world.response_to("without-body").await["statusCode"], 202);
    assert_eq!(world.exports.exports()[0].status(), Status::Pending);
}

struct HangingQueue;

#[async_trait::async_trait]
impl JobQueue for HangingQueue {
    async fn enqueue(&self, _: &Export, _: Duration) -> Result<(), DependencyError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_enqueue_times_out() {
    let world = World::new();
    let function = CreateExport { queue: &HangingQueue, ..world.function() };
    let started = tokio::time::Instant::now();
    assert_eq!(response_to(&function, "without-body").await["statusCode"], 202);
    assert_eq!(started.elapsed(), ENQUEUE_TIMEOUT);
}

#[tokio::test]
async fn invalid_cc_reports_every_error_and_writes_nothing() {
    let world = World::new();
    let response = world.response_to("bad-cc").await;
    assert_eq!(errors(&response), [("F-E-012", Some("cc[1]")), ("F-E-012", Some("cc[2]")), ("F-E-012", Some("bcc"))]);
    assert_eq!(world.exports.exports(), []);
}

#[tokio::test]
async fn caller_is_checked_before_body() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let world = World::of(supplier);
    for name in ["bad-cc", "not-json", "wrong-content-type"] {
        assert_eq!(world.response_to(name).await["statusCode"], 403, "{name}");
    }
}

#[tokio::test]
async fn dependency_error_writes_nothing() {
    let broken_ids = World::new();
    broken_ids.system.failures.inject();
    let broken_table = World::new();
    broken_table.exports.failures.inject();
    for world in [broken_ids, broken_table] {
        let response = world.response_to("without-body").await;
        assert_eq!((&response["statusCode"], errors(&response)), (&json!(503), vec![("SERVICE_UNAVAILABLE", None)]));
        assert_eq!((world.exports.exports().len(), world.queue.enqueued().len()), (0, 0));
    }
    let denied = World::new();
    denied.exports.failures.deny();
    let response = denied.response_to("without-body").await;
    assert_eq!((&response["statusCode"], errors(&response)), (&json!(500), vec![("INTERNAL", None)]));
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    for (event, example) in [
        ("with-cc", "ExportAccepted"),
        ("bad-cc", "BadCc"),
        ("bad-filter", "BadFilter"),
        ("bad-cc-and-bad-idempotency-key", "BadIdempotencyKey"),
        ("wrong-content-type", "UnsupportedMediaType"),
        ("unknown-key", "Unauthenticated"),
        ("supplier", "Forbidden"),
    ] {
        assert_is_documented(&World::new().response_to(event).await, example);
    }
    let world = World::new();
    world.response_to("with-idempotency-key").await;
    assert_is_documented(&world.response_to("with-cc").await, "ExportAlreadyPending");
    let reused = world.response_to("with-idempotency-key-and-another-body").await;
    assert_is_documented(&reused, "IdempotencyKeyReused");
    world.exports.failures.inject();
    assert_is_documented(&world.response_to("with-cc").await, "Unavailable");

    let with_large_body = |event: &mut Value| event["body"] = json!(" ".repeat(body::MAX_BYTES + 1));
    let function = world.function();
    let handler = async |request| function.handle(&request).await;
    let response =
        exports_http::testing::response_to_changed("create-export", "with-cc", with_large_body, handler).await;
    assert_is_documented(&response, "BodyTooLarge");
    let broken = async |_| Err::<Success, _>(ApiError::Internal("out of memory".into()));
    assert_is_documented(
        &exports_http::testing::response_to("create-export", "with-cc", broken).await,
        "InternalError",
    );
}

#[tokio::test]
async fn permanent_error_of_the_queue_is_logged_as_an_error() {
    for (fail, level) in [(FailureInjector::deny as fn(&_), "ERROR"), (FailureInjector::inject, "WARN")] {
        let world = World::new();
        fail(&world.queue.failures);
        let (log, _guard) = Log::capture();
        world.response_to("without-body").await;
        let events = log.events();
        assert_eq!(events.iter().find(|line| line["error"].is_string()).unwrap()["level"], level);
    }
}
