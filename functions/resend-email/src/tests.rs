use std::collections::BTreeMap;

use exports_domain::caller::ClientType;
use exports_domain::export::{State, Status};
use exports_domain::failure::Failure;
use exports_domain::testing::{
    FakeSystem, MailService, MemoryFiles, MemoryMailbox, MemoryStore, address, export, file, operator, ready_export,
    ready_until, start,
};
use exports_http::testing::{assert_is_documented, keys, sample_events};
use exports_telemetry::testing::Log;
use serde_json::{Value, json};

use super::*;

struct World {
    keys: MemoryStore,
    exports: MemoryStore,
    files: MemoryFiles,
    mail: MemoryMailbox,
    system: FakeSystem,
    max_resends_a_day: u32,
    allowed: AllowedDomains,
}

const HOUR: Duration = Duration::from_secs(3600);

fn store(export: Export) -> MemoryStore {
    let exports = MemoryStore::default();
    exports.put_export(export);
    exports
}

/// The caller is Ben of the tenant `acme`. The time is one hour after [`start`].
fn world(exports: MemoryStore) -> World {
    let user = Person { email: address("ben@example.com"), name: "Ben".parse().unwrap() };
    let system = FakeSystem::default();
    system.advance(HOUR);
    World {
        keys: keys(Caller { user, ..operator("acme") }),
        exports,
        files: MemoryFiles::with_samples(),
        mail: MemoryMailbox::default(),
        system,
        max_resends_a_day: 3,
        allowed: AllowedDomains::default(),
    }
}

impl World {
    fn function(&self) -> ResendEmail<'_, MemoryStore, MemoryStore, MemoryFiles> {
        ResendEmail {
            callers: Authenticator::new(&self.keys),
            exports: &self.exports,
            files: &self.files,
            mail: &self.mail,
            back_office: None,
            system: &self.system,
            max_resends_a_day: self.max_resends_a_day,
            allowed: self.allowed.clone(),
        }
    }
}

async fn response_to(world: &World, event: &str) -> Value {
    let function = world.function();
    exports_http::testing::response_to("resend-email", event, async |request| function.handle(&request).await).await
}

fn code(response: &Value) -> Option<&str> {
    response["body"]["errors"][0]["code"].as_str()
}

fn only(world: &World) -> Export {
    let [export] = &world.exports.exports()[..] else { panic!("one export") };
    export.clone()
}

/// [`ready_export`] after the sweeper expired it.
fn expired_export() -> Export {
    Export { state: State::Expired { file: file(), link_expires_at: start() }, ..ready_export() }
}

/// So many resends on the day of the samples.
fn counts(resends: u32) -> BTreeMap<Timestamp, u32> {
    (resends > 0).then(|| (start().start_of_day(), resends)).into_iter().collect()
}

fn failed_without_file() -> State {
    State::Failed { failure: Failure::attempts_used_up(5), file: None }
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("without-body", (200, None)),
        ("with-cc", (200, None)),
        ("with-empty-cc", (200, None)),
        ("bad-cc", (400, Some("F-E-012"))),
        ("unknown-export", (404, Some("F-E-002"))),
        ("malformed-id", (404, Some("F-E-002"))),
        ("unknown-key", (401, Some("UNAUTHENTICATED"))),
        ("supplier", (403, Some("FORBIDDEN"))),
    ]);
    assert_eq!(sample_events("resend-email"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, expected_code)) in expected {
        let world = world(store(ready_export()));
        let response = response_to(&world, name).await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(status), expected_code), "{name}: {response}");
        assert_eq!(world.mail.mails().len(), usize::from(status == 200), "{name}");
        assert_eq!(only(&world) == ready_export(), status != 200, "{name}");
    }
}

#[tokio::test]
async fn resend_mails_caller_and_recorded_cc_a_new_link() {
    let world = world(store(expired_export()));
    let response = response_to(&world, "without-body").await;
    let expiry = start().plus(HOUR + export().settings.link_lifetime);

    let [mail] = &world.mail.mails()[..] else { panic!("one mail") };
    assert_eq!((mail.recipients.to(), mail.recipients.cc()), (&address("ben@example.com"), export().recipients.cc()));
    let link = format!("https://files.example/{}?from={}&until={expiry}", file().key, start().plus(HOUR));
    assert!(mail.text.contains(&link) && mail.text.contains("Ben"), "{}", mail.text);

    let recorded = only(&world);
    assert_eq!(
        (recorded.status(), recorded.link_expires_at(), recorded.next_check_at()),
        (Status::Ready, Some(expiry), Some(expiry))
    );
    assert_eq!(recorded.recipients, mail.recipients);
    assert_eq!((&recorded.requested_by, recorded.file()), (&operator("acme").user, Some(&file())));

    assert_eq!(
        (&response["body"]["status"], &response["body"]["linkExpiresAt"]),
        (&json!("READY"), &json!(expiry.to_string()))
    );
    assert_eq!(response["body"]["recipients"], json!({"to": "ben@example.com", "cc": ["cc@example.com"]}));
    assert_eq!(response["body"]["requestedBy"]["email"], "ann@example.com");
}

#[tokio::test]
async fn cc_in_body_replaces_recorded_cc() {
    let world = world(store(ready_export()));
    response_to(&world, "with-cc").await;
    assert_eq!(only(&world).recipients.cc(), [address("accounting@example.com")]);
    world.system.advance(HOUR);
    response_to(&world, "without-body").await;
    assert_eq!(only(&world).recipients.cc(), [address("accounting@example.com")]);
    world.system.advance(HOUR);
    response_to(&world, "with-empty-cc").await;
    assert_eq!(only(&world).recipients, Recipients::only(address("ben@example.com")));
    assert_eq!(world.mail.mails().len(), 3);
}

#[tokio::test]
async fn caller_in_recorded_cc_is_not_repeated() {
    let recipients = Recipients::new(address("ann@example.com"), [address("BEN@example.com")]).unwrap();
    let world = world(store(Export { recipients, ..ready_export() }));
    response_to(&world, "without-body").await;
    assert_eq!(world.mail.mails()[0].recipients, Recipients::only(address("ben@example.com")));
}

#[tokio::test]
async fn failed_export_with_file_becomes_ready() {
    let failure = Failure::email_not_sent("rejected");
    let failed = Export { state: State::Failed { failure, file: Some(file()) }, ..ready_export() };
    let world = world(store(failed));
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["body"]["status"], response["body"].get("failure")), (&json!("READY"), None));
    assert_eq!(only(&world).failure(), None);
}

#[tokio::test]
async fn link_expires_no_later_than_the_file() {
    let world = world(store(ready_export()));
    let expiry = start().plus(30 * 24 * HOUR);
    world.system.set(expiry.minus(HOUR));
    assert_eq!(response_to(&world, "without-body").await["body"]["linkExpiresAt"], expiry.to_string());
    world.system.set(expiry.minus(Duration::from_millis(1)));
    assert_eq!(response_to(&world, "without-body").await["statusCode"], 200, "link lifetimes are whole seconds");
    world.system.set(expiry);
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(410), Some("EXPORT_FILE_GONE")));
    assert_eq!(world.mail.mails().len(), 2);
}

#[tokio::test]
async fn deleted_file_is_gone_without_count_or_mail() {
    let failure = Failure::email_not_sent("rejected");
    let failed = Export { state: State::Failed { failure, file: Some(file()) }, ..ready_export() };
    for export in [ready_export(), expired_export(), failed] {
        let world = world(store(export.clone()));
        world.files.delete(&file().key);
        let response = response_to(&world, "without-body").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(410), Some("EXPORT_FILE_GONE")), "{response}");
        assert_eq!((only(&world), world.mail.mails().len()), (export, 0));
    }
}

#[tokio::test]
async fn denied_file_access_is_an_internal_error() {
    let world = world(store(ready_export()));
    world.files.lookup_failures.deny();
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(500), Some("INTERNAL")));
    assert_eq!((only(&world), world.mail.mails().len()), (ready_export(), 0));
}

#[tokio::test]
async fn file_is_looked_up_only_if_mail_is_resendable() {
    let no_file = Export { state: failed_without_file(), ..export() };
    let expired = ExportFile { expires_at: start(), ..file() };
    let state = State::Expired { file: expired, link_expires_at: start() };
    let expired = Export { state, ..expired_export() };
    for (export, lookups) in [(export(), 0), (no_file, 0), (expired, 0), (ready_export(), 1), (expired_export(), 1)] {
        let world = world(store(export));
        response_to(&world, "without-body").await;
        assert_eq!(world.files.lookups(), lookups);
    }
}

#[tokio::test]
async fn export_without_file_is_not_resendable() {
    let failed = Export { state: failed_without_file(), ..export() };
    for (export, retry_after) in [(export(), Some("5")), (failed, None)] {
        let world = world(store(export.clone()));
        let response = response_to(&world, "without-body").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(409), Some("EXPORT_NOT_RESENDABLE")));
        assert_eq!(response["headers"]["retry-after"].as_str(), retry_after);
        assert_eq!((only(&world), world.mail.mails().len()), (export, 0));
    }
}

#[tokio::test]
async fn body_is_checked_after_existence_and_before_status() {
    let world = world(store(export()));
    assert_eq!(response_to(&world, "bad-cc").await["statusCode"], 400);
    let other = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    let world = self::world(store(other));
    assert_eq!(response_to(&world, "bad-cc").await["statusCode"], 404);
}

#[tokio::test]
async fn export_of_other_tenant_looks_like_unknown_export() {
    let world = world(store(Export { tenant: "other".parse().unwrap(), ..ready_export() }));
    let response = response_to(&world, "without-body").await;
    assert_eq!(response["body"], response_to(&world, "unknown-export").await["body"]);
    assert_eq!(world.mail.mails(), []);
}

#[tokio::test]
async fn supplier_is_rejected() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let world = World { keys: keys(supplier), ..world(store(ready_export())) };
    assert_eq!(response_to(&world, "without-body").await["statusCode"], 403);
}

#[tokio::test]
async fn daily_limit_resets_at_midnight_utc() {
    let world = world(store(ready_export()));
    for _ in 0..3 {
        world.system.advance(Duration::from_secs(1));
        assert_eq!(response_to(&world, "without-body").await["statusCode"], 200);
    }
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(429), Some("TOO_MANY_RESENDS")));
    // It is 09:30:03.
    assert_eq!(response["headers"]["retry-after"], (14 * 3600 + 29 * 60 + 57).to_string());
    assert_eq!(world.mail.mails().len(), 3);
    world.system.set("2026-10-09T00:00:00.000Z".parse().unwrap());
    assert_eq!(response_to(&world, "without-body").await["statusCode"], 200);
}

#[tokio::test]
async fn unsent_mail_changes_only_the_count() {
    for (service, retry_after) in [(MailService::Rejects, None), (MailService::IsDown, Some("5"))] {
        let world = world(store(expired_export()));
        world.mail.behave(service);
        let response = response_to(&world, "with-cc").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(503), Some("EMAIL_NOT_SENT")), "{service:?}");
        assert_eq!(response["headers"]["retry-after"].as_str(), retry_after);
        assert!(!response["body"].to_string().contains("suppression"));
        let counted = only(&world);
        assert_eq!(counted.resends, counts(1));
        assert_eq!(Export { resends: counts(0), ..counted }, expired_export());
    }
}

#[tokio::test]
async fn transient_error_before_mail_counts_and_sends_nothing() {
    let without_signer = world(store(ready_export()));
    without_signer.files.link_failures.inject();
    let without_count = world(store(ready_export()));
    without_count.exports.failures.inject_after(1);
    let without_files = world(store(ready_export()));
    without_files.files.lookup_failures.inject();
    for world in [without_signer, without_count, without_files] {
        let response = response_to(&world, "without-body").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(503), Some("SERVICE_UNAVAILABLE")));
        assert_eq!((only(&world), world.mail.mails().len()), (ready_export(), 0));
    }
}

#[tokio::test]
async fn corrupt_record_is_an_internal_error_without_mail() {
    let world = world(store(ready_export()));
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(500), Some("INTERNAL")));
    assert_eq!((only(&world), world.mail.mails().len()), (ready_export(), 0));
}

#[tokio::test]
async fn sent_but_unrecorded_mail_is_reported() {
    let world = world(store(expired_export()));
    world.exports.failures.inject_after(2);
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(500), Some("EMAIL_SENT_NOT_RECORDED")));
    assert!(response["body"]["errors"][0]["detail"].as_str().unwrap().starts_with("The e-mail was sent"));
    assert_eq!((only(&world).status(), world.mail.mails().len()), (Status::Expired, 1));
}

#[tokio::test]
async fn mail_is_recorded_by_the_third_attempt() {
    for (failing, status) in [(2, 200), (3, 500)] {
        // The first write counts the resend.
        let world = with_concurrent_writes(expired_export(), move |write, store| {
            if write == 0 {
                store.failures.inject_for(failing);
            }
        });
        let (log, _guard) = Log::capture();
        assert_eq!(response_to(&world, "without-body").await["statusCode"], status);
        let attempts: Vec<_> = log.events().iter().filter_map(|line| line["attempt"].as_u64()).collect();
        assert_eq!(attempts, [1, 2]);
        assert_eq!(world.mail.mails().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_is_prepared_for_fifteen_seconds_fails_without_a_mail() {
    let world = world(store(expired_export()));
    world.exports.hangs.inject();
    let started = tokio::time::Instant::now();
    let response = response_to(&world, "without-body").await;
    assert_eq!(started.elapsed(), Duration::from_secs(15));
    assert_eq!((&response["statusCode"], code(&response)), (&json!(503), Some("SERVICE_UNAVAILABLE")));
    assert_eq!(world.mail.mails(), []);
}

#[tokio::test(start_paused = true)]
async fn mail_is_recorded_within_eight_seconds_or_not_at_all() {
    let world = world(store(expired_export()));
    world.exports.hangs.inject_after(1);
    let started = tokio::time::Instant::now();
    let response = response_to(&world, "without-body").await;
    assert_eq!(started.elapsed(), Duration::from_secs(8));
    assert_eq!(code(&response), Some("EMAIL_SENT_NOT_RECORDED"));
    assert_eq!(world.mail.mails().len(), 1);
}

/// A store in which `change` runs before each write, like a concurrent request.
fn with_concurrent_writes(export: Export, change: impl Fn(u64, &MemoryStore) + Send + Sync + 'static) -> World {
    let store = store(export);
    store.before_apply(change);
    world(store)
}

fn apply(store: &MemoryStore, step: impl Fn(&Export) -> Option<Step>) {
    for export in store.exports() {
        if let Some(changed) = step(&export).and_then(|step| step.apply(&export)) {
            store.put_export(changed);
        }
    }
}

#[tokio::test]
async fn concurrent_resends_are_counted_within_the_limit() {
    let now = start().plus(HOUR);
    let others_count = |times: u64| {
        move |write: u64, store: &MemoryStore| {
            for _ in 0..(if write == 0 { times } else { 0 }) {
                apply(store, |export| lifecycle::count_resend(export, now, 100).ok());
            }
        }
    };
    let world = with_concurrent_writes(ready_export(), others_count(2));
    assert_eq!(response_to(&world, "without-body").await["statusCode"], 200);
    assert_eq!(only(&world).resends, counts(3));

    let world = with_concurrent_writes(ready_export(), others_count(3));
    assert_eq!(response_to(&world, "without-body").await["statusCode"], 429);
    assert_eq!(world.mail.mails().len(), 0);
}

#[tokio::test]
async fn later_link_of_concurrent_resend_is_kept() {
    let later = start().plus(5 * 24 * HOUR);
    let recipients = Recipients::only(address("eve@example.com"));
    let world = with_concurrent_writes(expired_export(), move |write, store| {
        if write == 1 {
            apply(store, |_| Some(lifecycle::resent(start().plus(HOUR), recipients.clone(), later)));
        }
    });
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], &response["body"]["status"]), (&json!(200), &json!("READY")));
    assert_eq!(response["body"]["linkExpiresAt"], later.to_string());
    assert_eq!(response["body"]["recipients"]["to"], "eve@example.com");
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test]
async fn concurrent_sweep_does_not_expire_the_new_link() {
    let expired = Export { state: ready_until(start()), ..ready_export() };
    for sweep_before in [0, 1] {
        let sweep = |store: &MemoryStore| apply(store, |_| Some(lifecycle::expire(start().plus(HOUR), start())));
        let world = with_concurrent_writes(expired.clone(), move |write, store| {
            if write == sweep_before {
                sweep(store);
            }
        });
        let response = response_to(&world, "without-body").await;
        assert_eq!(
            (&response["statusCode"], &response["body"]["status"]),
            (&json!(200), &json!("READY")),
            "{sweep_before}"
        );
        sweep(&world.exports);
        assert_eq!(world.exports.exports()[0].status(), Status::Ready, "{sweep_before}");
    }
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    let resent = world(store(expired_export()));
    assert_is_documented(&response_to(&resent, "with-cc").await, "ResentExport");
    assert_is_documented(&response_to(&resent, "bad-cc").await, "CcNotAList");
    assert_is_documented(&response_to(&World { max_resends_a_day: 1, ..resent }, "with-cc").await, "TooManyResends");

    assert_is_documented(&response_to(&world(store(export())), "without-body").await, "ExportNotYetMailed");
    let failed = Export { state: failed_without_file(), ..export() };
    assert_is_documented(&response_to(&world(store(failed)), "without-body").await, "ExportWithoutFile");
    let gone = world(store(expired_export()));
    gone.system.advance(31 * 24 * HOUR);
    assert_is_documented(&response_to(&gone, "without-body").await, "ExportFileGone");

    for (service, example) in [(MailService::Rejects, "EmailRejected"), (MailService::IsDown, "EmailNotConfirmed")] {
        let unmailed = world(store(ready_export()));
        unmailed.mail.behave(service);
        assert_is_documented(&response_to(&unmailed, "without-body").await, example);
    }
    let unrecorded = world(store(ready_export()));
    unrecorded.exports.failures.inject_after(2);
    assert_is_documented(&response_to(&unrecorded, "without-body").await, "EmailSentNotRecorded");
}

#[tokio::test]
async fn log_lines_name_the_request_and_the_one_that_launched_the_export() {
    let (log, _guard) = Log::capture();
    response_to(&world(store(ready_export())), "without-body").await;
    let lines = log.events();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let span = &line["spans"][0];
        assert_eq!((&span["requestId"], &span["launchRequestId"]), (&json!("JKJaXmPLvHcESHA="), &json!("launch")));
    }
}

#[tokio::test]
async fn permanent_error_of_the_mail_service_is_an_internal_error() {
    let world = world(store(ready_export()));
    world.mail.behave(MailService::IsMisconfigured);
    let response = response_to(&world, "without-body").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(500), Some("INTERNAL")));
}
