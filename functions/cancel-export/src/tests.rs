use std::collections::BTreeMap;

use exports_domain::caller::{Caller, ClientType};
use exports_domain::checkpoint::{Checkpoint, UnfinishedPart};
use exports_domain::export::{Lease, Progress, Status};
use exports_domain::file::unfinished_key;
use exports_domain::id::ExportId;
use exports_domain::lifecycle::{FailedBy, Step};
use exports_domain::ports::{FileStore as _, RowKey};
use exports_domain::testing::{
    FakeSystem, MailService, MemoryFiles, MemoryMailbox, MemoryStore, address, block_on, export, file, new_file,
    operator, ready_export, start, state, with_work,
};
use exports_domain::totals::Totals;
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
}

const MINUTE: Duration = Duration::from_secs(60);

fn ben() -> Person {
    Person { email: address("ben@example.com"), name: "Ben".parse().unwrap() }
}

/// The caller is Ben, and the requester of the export is Ann. The time is one minute after [`start`].
fn world(export: Export) -> World {
    let (exports, system) = (MemoryStore::default(), FakeSystem::default());
    exports.put_export(export);
    system.advance(MINUTE);
    World {
        keys: keys(Caller { user: ben(), ..operator("acme") }),
        exports,
        files: MemoryFiles::default(),
        mail: MemoryMailbox::default(),
        system,
    }
}

impl World {
    fn function(&self) -> CancelExport<'_, MemoryStore, MemoryStore, MemoryFiles> {
        CancelExport {
            callers: Authenticator::new(&self.keys),
            exports: &self.exports,
            files: &self.files,
            mail: &self.mail,
            back_office: None,
            system: &self.system,
        }
    }

    fn record(&self) -> Export {
        self.exports.export(&export().tenant, &export().id).unwrap()
    }

    /// The unfinished file of an earlier owner, and its checkpoint.
    fn with_unfinished_file(self) -> Self {
        let key = unfinished_key(&export().tenant, &export().id, 1, 1);
        block_on(self.files.put_unfinished(&key, b"x".to_vec())).unwrap();
        let upload = block_on(self.files.start_upload(&new_file())).unwrap();
        let checkpoint = Checkpoint {
            upload: Some(upload),
            parts: 1,
            unfinished: Some(UnfinishedPart { key, bytes: 1, crc64: 0 }),
            read_from: Some(start()),
            after: RowKey("2026-10-08T08:30:00.000Z#po_1".to_owned()),
            rows_read: 1,
            rows_written: 1,
            bytes: 1,
            totals: Totals::default(),
            sha256: Vec::new(),
            crc64: 0,
            invalid_rows: Default::default(),
            is_complete: false,
        };
        let step = lifecycle::advance_checkpoint(&self.record(), start(), Progress { rows_read: 1, rows_written: 1 });
        block_on(self.exports.apply_with_checkpoint(&export().tenant, &export().id, &step, &checkpoint)).unwrap();
        self
    }
}

async fn response_to(world: &World, event: &str) -> Value {
    let function = world.function();
    exports_http::testing::response_to("cancel-export", event, async |request| function.handle(&request).await).await
}

fn code(response: &Value) -> Option<&str> {
    response["body"]["errors"][0]["code"].as_str()
}

/// [`export`] with an owner whose lease is live for this long after [`start`].
fn owned(lease: Duration) -> Export {
    let lease = Lease { owner: "owner".into(), until: start().plus(lease) };
    Export { fencing_token: 1, attempts: 1, ..with_work(export(), |pending| pending.lease = Some(lease)) }
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("cancel", (200, None)),
        ("unknown-export", (404, Some("F-E-002"))),
        ("malformed-id", (404, Some("F-E-002"))),
        ("unknown-key", (401, Some("UNAUTHENTICATED"))),
        ("supplier", (403, Some("FORBIDDEN"))),
    ]);
    assert_eq!(sample_events("cancel-export"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, expected_code)) in expected {
        let world = world(export());
        let response = response_to(&world, name).await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(status), expected_code), "{name}: {response}");
        assert_eq!(world.record().status() == Status::Pending, status != 200, "{name}");
        assert_eq!(world.mail.mails().len(), usize::from(status == 200), "{name}");
    }
}

#[tokio::test]
async fn cancelled_export_is_failed_and_the_next_launch_is_accepted() {
    for pending in [export(), owned(5 * MINUTE)] {
        let world = world(pending.clone());
        let response = response_to(&world, "cancel").await;
        let body = &response["body"];
        assert_eq!((&body["status"], &body["failure"]["code"]), (&json!("FAILED"), &json!("CANCELLED")));
        assert_eq!(body["failure"]["cancelledBy"], json!({"email": "ben@example.com", "name": "Ben"}));
        assert_eq!(body["updatedAt"], start().plus(MINUTE).to_string());
        let record = world.record();
        assert_eq!((record.status(), record.failure()), (Status::Failed, Some(&Failure::cancelled(ben()))));
        assert_eq!((record.lease(), record.next_check_at()), (None, None));
        assert_eq!(record.fencing_token, pending.fencing_token);
        let next = Export { id: ExportId::new(export().id.export_type(), start(), &[9; 10]), ..export() };
        world.exports.accept_export(&next, None).await.unwrap();
    }
}

#[tokio::test]
async fn requester_is_mailed_unless_they_cancelled() {
    let other = world(export());
    response_to(&other, "cancel").await;
    let [mail] = &other.mail.mails()[..] else { panic!("one mail") };
    assert_eq!((mail.recipients.to(), mail.recipients.cc()), (&export().requested_by.email, &[][..]));
    assert!(mail.text.contains("Ben cancelled the export."), "{}", mail.text);

    let requested_by = Person { email: address("Ben@Example.com"), name: "Benjamin".parse().unwrap() };
    let own = world(Export { requested_by, ..export() });
    assert_eq!(response_to(&own, "cancel").await["statusCode"], 200);
    assert_eq!(own.mail.mails(), []);
}

#[tokio::test]
async fn unsent_mail_does_not_fail_the_request() {
    for service in [MailService::Rejects, MailService::IsDown] {
        let world = world(export());
        world.mail.behave(service);
        assert_eq!(response_to(&world, "cancel").await["statusCode"], 200, "{service:?}");
        assert!(world.record().is_cancelled());
    }
}

#[tokio::test]
async fn repeated_cancellation_returns_the_first_one_and_mails_nobody() {
    let world = world(export());
    let first = response_to(&world, "cancel").await;
    world.system.advance(MINUTE);
    let user = Person { email: address("eve@example.com"), name: "Eve".parse().unwrap() };
    let eve = World { keys: keys(Caller { user, ..operator("acme") }), ..world };
    let record = eve.record();
    assert_eq!(response_to(&eve, "cancel").await["body"], first["body"]);
    assert_eq!((eve.record(), eve.mail.mails().len()), (record, 1));
}

#[tokio::test]
async fn export_with_a_file_or_an_end_is_not_cancellable() {
    let failed = Export { state: state(Status::Failed), ..export() };
    let mailing = with_work(owned(5 * MINUTE), |pending| pending.file = Some(file()));
    for other in [mailing, ready_export(), Export { state: state(Status::Expired), ..ready_export() }, failed] {
        let world = world(other.clone());
        let response = response_to(&world, "cancel").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(409), Some("EXPORT_NOT_CANCELLABLE")));
        assert_eq!((world.record(), world.mail.mails().len()), (other, 0));
    }
}

#[tokio::test]
async fn unfinished_file_without_owner_is_deleted() {
    for lease_over in [owned(MINUTE), with_work(owned(MINUTE), |pending| pending.lease = None)] {
        let world = world(lease_over).with_unfinished_file();
        assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
        assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (0, 0));
        assert_eq!(world.exports.checkpoint(&export().tenant, &export().id), None);
    }
}

#[tokio::test]
async fn unfinished_file_of_a_live_owner_is_left_to_it() {
    let world = world(owned(2 * MINUTE)).with_unfinished_file();
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (1, 1));
}

#[tokio::test]
async fn unfinished_file_is_deleted_if_its_owner_stops_in_the_meantime() {
    let world = world(owned(5 * MINUTE)).with_unfinished_file();
    change_before_write(&world, |export| Some(continue_later(export)));
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (0, 0));
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test]
async fn request_fails_if_the_owner_changes_before_each_of_three_writes() {
    let world = world(export());
    change_before_write(&world, |export| acquire(export).or_else(|| Some(continue_later(export))));
    let response = response_to(&world, "cancel").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(503), Some("SERVICE_UNAVAILABLE")));
    let record = world.record();
    assert_eq!((record.status(), record.fencing_token), (Status::Pending, 2));
    assert!(record.lease().is_some(), "there was no fourth write");
}

#[tokio::test]
async fn unfinished_file_that_is_not_deleted_is_logged_and_does_not_fail_the_request() {
    let world = world(owned(MINUTE)).with_unfinished_file();
    world.files.failures.deny();
    let (log, _guard) = Log::capture();
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    let lines = log.events();
    let keys: Vec<_> = lines.iter().filter_map(|line| line["key"].as_str()).collect();
    assert_eq!(keys, [&*new_file().key, &*unfinished_key(&export().tenant, &export().id, 1, 1)]);
    assert!(world.record().is_cancelled());
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test]
async fn cancellation_is_logged_with_its_code() {
    let world = world(owned(MINUTE));
    let (log, _guard) = Log::capture();
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    let lines = log.events();
    let line = lines.iter().find(|line| line["message"] == "export cancelled").unwrap();
    assert_eq!(line["code"], "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn clean_up_takes_at_most_eight_seconds() {
    let world = world(owned(MINUTE)).with_unfinished_file();
    world.files.hang("delete the unfinished part");
    let started = tokio::time::Instant::now();
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    assert_eq!(started.elapsed(), Duration::from_secs(8));
    assert!(world.record().is_cancelled());
}

#[tokio::test]
async fn export_that_is_not_cancelled_keeps_its_unfinished_file() {
    let world = world(owned(MINUTE)).with_unfinished_file();
    change_before_write(&world, |export| Some(lifecycle::record_file(export, start(), file(), 5)));
    assert_eq!(code(&response_to(&world, "cancel").await), Some("EXPORT_NOT_CANCELLABLE"));
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (1, 1));
}

/// Applies a step just before each of this function's writes.
fn change_before_write(world: &World, step: impl Fn(&Export) -> Option<Step> + Send + Sync + 'static) {
    world.exports.before_apply(move |number, store| {
        let record = store.export(&export().tenant, &export().id).unwrap();
        // The step is a write itself, with an odd number.
        if let Some(step) = step(&record).filter(|_| number % 2 == 0) {
            block_on(store.apply_step(&record.tenant, &record.id, &step)).unwrap();
        }
    });
}

fn acquire(export: &Export) -> Option<Step> {
    let lease = Lease { owner: "owner".into(), until: start().plus(5 * MINUTE) };
    let retry = lifecycle::RetryPolicy { max_attempts: 5, backoff: Vec::new(), permanent_wait: Duration::ZERO };
    lifecycle::acquire(export, start(), lease, &retry).ok()
}

fn continue_later(export: &Export) -> Step {
    let progress = Progress { rows_read: 1, rows_written: 1 };
    lifecycle::continue_later(export, start(), progress, true, start().plus(MINUTE))
}

#[tokio::test]
async fn file_recorded_first_wins() {
    for ends in [false, true] {
        let world = world(owned(5 * MINUTE));
        change_before_write(&world, move |export| {
            let recorded = lifecycle::record_file(export, start(), file(), 5);
            let ready = lifecycle::ready(&recorded.changed(export), start(), start().plus(MINUTE));
            let changes = [recorded.changes, if ends { ready.changes } else { Vec::new() }].concat();
            Some(Step { changes, ..recorded })
        });
        let response = response_to(&world, "cancel").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(409), Some("EXPORT_NOT_CANCELLABLE")));
        assert_eq!((world.record().failure(), world.record().file()), (None, Some(&file())));
        assert_eq!(world.mail.mails(), []);
    }
}

#[tokio::test]
async fn other_failure_that_is_recorded_first_wins() {
    let world = world(owned(5 * MINUTE));
    change_before_write(&world, |export| {
        let failure = Failure::failed_by_administrator(None);
        Some(lifecycle::fail(export, start(), FailedBy::Administrator, failure))
    });
    assert_eq!(code(&response_to(&world, "cancel").await), Some("EXPORT_NOT_CANCELLABLE"));
    assert_eq!(
        (world.record().failure(), world.mail.mails().len()),
        (Some(&Failure::failed_by_administrator(None)), 0)
    );
}

#[tokio::test]
async fn first_of_two_concurrent_cancellations_is_returned_to_both() {
    let world = world(owned(5 * MINUTE));
    change_before_write(&world, |export| {
        lifecycle::cancel(export, start(), Failure::cancelled(operator("acme").user)).ok()
    });
    let response = response_to(&world, "cancel").await;
    assert_eq!(response["statusCode"], 200);
    assert_eq!(response["body"]["failure"]["cancelledBy"]["email"], "ann@example.com");
    assert_eq!(world.mail.mails(), []);
}

#[tokio::test]
async fn lease_acquired_in_the_meantime_does_not_prevent_the_cancellation() {
    let world = world(export());
    change_before_write(&world, acquire);
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 200);
    assert!(world.record().ended_without_file_under(1), "the owner recognizes its own fencing token");
}

#[tokio::test]
async fn export_of_other_tenant_looks_like_unknown_export() {
    let world = world(Export { tenant: "other".parse().unwrap(), ..export() });
    let response = response_to(&world, "cancel").await;
    assert_eq!(response["statusCode"], 404);
    assert_eq!(response["body"], response_to(&world, "unknown-export").await["body"]);
    assert_eq!(world.exports.exports()[0].status(), Status::Pending);
}

#[tokio::test]
async fn supplier_is_rejected() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let world = World { keys: keys(supplier), ..world(export()) };
    assert_eq!(response_to(&world, "cancel").await["statusCode"], 403);
    assert_eq!(world.record().status(), Status::Pending);
}

#[tokio::test]
async fn failing_table_is_503_without_mail() {
    for calls in [0, 1] {
        let world = world(export());
        world.exports.failures.inject_after(calls);
        let response = response_to(&world, "cancel").await;
        assert_eq!((&response["statusCode"], code(&response)), (&json!(503), Some("SERVICE_UNAVAILABLE")));
        assert_eq!((world.record(), world.mail.mails().len()), (export(), 0));
    }
}

#[tokio::test]
async fn corrupt_record_is_an_internal_error() {
    let world = world(export());
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let response = response_to(&world, "cancel").await;
    assert_eq!((&response["statusCode"], code(&response)), (&json!(500), Some("INTERNAL")));
    assert_eq!(world.record(), export());
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    assert_is_documented(&response_to(&world(owned(5 * MINUTE)), "cancel").await, "CancelledExport");
    let mailing = with_work(owned(5 * MINUTE), |pending| pending.file = Some(file()));
    assert_is_documented(&response_to(&world(mailing), "cancel").await, "ExportFileComplete");
    assert_is_documented(&response_to(&world(ready_export()), "cancel").await, "ExportEnded");
}
