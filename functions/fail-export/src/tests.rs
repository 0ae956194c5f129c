use std::fs;
use std::path::Path;

use exports_domain::export::{Export, Lease};
use exports_domain::lifecycle::{RetryPolicy, acquire};
use exports_domain::ports::{ExportStore, System as _};
use exports_domain::testing::{
    FakeSystem, MailService, MemoryMailbox, MemoryStore, export, file, ready_export, start, state, with_work,
};
use serde_json::json;

use super::*;

struct World {
    exports: MemoryStore,
    mail: MemoryMailbox,
    system: FakeSystem,
}

fn world(export: Export) -> World {
    let exports = MemoryStore::default();
    exports.put_export(export);
    World { exports, mail: MemoryMailbox::default(), system: FakeSystem::default() }
}

fn sample(name: &str) -> Value {
    let events = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/fail-export"));
    serde_json::from_slice(&fs::read(events.join(format!("{name}.json"))).unwrap()).unwrap()
}

impl World {
    async fn handle(&self, event: Value) -> Result<FailedExport, FailExportError> {
        let Self { exports, mail, system } = self;
        let function = FailExport { exports, mail, back_office: None, system };
        function.handle(LambdaEvent::new(event, lambda_runtime::Context::default())).await
    }
}

async fn fail(world: &World, event: Value) -> Result<Value, String> {
    let failed = world.handle(event).await;
    failed.map(|failed| serde_json::to_value(failed).unwrap()).map_err(|error| Diagnostic::from(error).error_message)
}

fn record(world: &World) -> Export {
    world.exports.export(&export().tenant, &export().id).unwrap()
}

/// An export that is leased and has a recorded file.
fn leased() -> Export {
    let lease = Lease { owner: "r".into(), until: start().plus(std::time::Duration::from_secs(300)) };
    let retry = RetryPolicy { max_attempts: 5, backoff: Vec::new(), permanent_wait: std::time::Duration::ZERO };
    let step = acquire(&export(), start(), lease, &retry).unwrap();
    with_work(step.changed(&export()), |pending| pending.file = Some(file()))
}

#[tokio::test]
async fn leased_export_fails_and_keeps_its_file() {
    let world = world(leased());
    let failed = fail(&world, sample("fail")).await.unwrap();
    let message = "An administrator failed the export: The payouts are being corrected.";
    assert_eq!(
        failed,
        json!({
            "tenantId": "acme",
            "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
            "status": "FAILED",
            "createdAt": "2026-10-08T08:30:00.000Z",
            "updatedAt": "2026-10-08T08:30:00.000Z",
            "failure": {"code": "FAILED_BY_ADMINISTRATOR", "message": message, "retryable": true},
            "requesterMailed": true,
        })
    );
    let record = record(&world);
    assert_eq!((record.status(), record.lease(), record.next_check_at()), (Status::Failed, None, None));
    assert_eq!((record.failure().cloned().unwrap().message.as_str(), record.file()), (message, Some(&file())));
    let mails = world.mail.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].recipients.to(), mails[0].recipients.cc()), (&record.requested_by.email, [].as_slice()));
    assert!(mails[0].text.contains(message), "{}", mails[0].text);
}

#[tokio::test]
async fn failing_an_export_releases_the_lock() {
    let world = world(export());
    let id = FakeSystem::default().new_export_id(export().id.export_type(), start()).unwrap();
    let next = Export { id, ..export() };
    assert!(world.exports.accept_export(&next, None).await.is_err());
    fail(&world, json!({"tenantId": "acme", "exportId": export().id.to_string()})).await.unwrap();
    world.exports.accept_export(&next, None).await.unwrap();
    assert_eq!(record(&world).failure().cloned().unwrap().message, "An administrator failed the export.");
}

#[tokio::test]
async fn corrupt_pending_export_fails_without_mail() {
    let world = world(leased());
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let failed = fail(&world, sample("fail")).await.unwrap();
    let message = "An administrator failed the export: The payouts are being corrected.";
    assert_eq!(
        failed,
        json!({
            "tenantId": "acme",
            "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
            "status": "FAILED",
            "createdAt": "2026-10-08T08:30:00.000Z",
            "updatedAt": "2026-10-08T08:30:00.000Z",
            "failure": {"code": "FAILED_BY_ADMINISTRATOR", "message": message, "retryable": true},
            "requesterMailed": false,
            "corruptAttribute": "recipientTo",
        })
    );
    let record = record(&world);
    assert_eq!((record.status(), record.lease(), record.next_check_at()), (Status::Failed, None, None));
    assert_eq!((record.failure().cloned().unwrap().message.as_str(), record.file()), (message, Some(&file())));
    assert_eq!(world.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert_eq!(world.mail.mails(), []);
}

#[tokio::test]
async fn corrupt_export_that_is_not_pending_is_unchanged() {
    for (status, attribute, message) in [
        (
            Status::Failed,
            "recipientTo",
            "bad request: exportId: the export is FAILED; only a PENDING export can be failed",
        ),
        (Status::Pending, "status", "corrupt record: the attribute status is missing or malformed"),
    ] {
        let before = Export { state: state(status), ..ready_export() };
        let world = world(before.clone());
        world.exports.corrupt(&before.tenant, &before.id, attribute);
        assert_eq!(fail(&world, sample("fail")).await, Err(message.to_owned()));
        assert_eq!(record(&world), before);
    }
}

#[tokio::test]
async fn unsent_mail_is_reported_and_the_export_fails() {
    for service in [MailService::Rejects, MailService::IsDown] {
        let world = world(export());
        world.mail.behave(service);
        let failed = fail(&world, sample("fail")).await.unwrap();
        assert_eq!((&failed["status"], &failed["requesterMailed"]), (&json!("FAILED"), &json!(false)));
        assert_eq!(record(&world).status(), Status::Failed);
    }
}

#[tokio::test]
async fn export_that_is_not_pending_is_unchanged() {
    let past = ready_export().link_expires_at().unwrap();
    for (status, now, shown) in [
        (Status::Ready, start(), "READY"),
        (Status::Ready, past, "EXPIRED"),
        (Status::Expired, past, "EXPIRED"),
        (Status::Failed, start(), "FAILED"),
    ] {
        let before = Export { state: state(status), ..ready_export() };
        let world = world(before.clone());
        world.system.set(now);
        let expected = format!("bad request: exportId: the export is {shown}; only a PENDING export can be failed");
        assert_eq!(fail(&world, sample("fail")).await, Err(expected));
        assert_eq!(record(&world), before);
        assert_eq!(world.mail.mails(), []);
    }
}

#[tokio::test]
async fn unknown_export_is_rejected() {
    let world = world(export());
    let id = export().id.to_string();
    let other = "mpo_01a11aa2-3340-7707-8707-070707070708".to_owned();
    for (tenant, id) in [("acme", other), ("other", id)] {
        let result = fail(&world, json!({"tenantId": tenant, "exportId": id})).await;
        assert_eq!(result, Err("bad request: exportId: the tenant has no export with this ID".to_owned()));
    }
    assert_eq!(record(&world), export());
}

#[tokio::test]
async fn bad_request_names_every_invalid_field() {
    let world = world(export());
    let errors = [
        "bad request: tenantId: a tenant id has 1 to 64 characters, each a letter, a digit, '-' or '_'",
        "exportId: not an export id",
        "reason: must have 1 to 200 characters, without control characters, and must not be blank",
        "force: unknown field",
    ];
    assert_eq!(fail(&world, sample("invalid-fields")).await, Err(errors.join("; ")));
    for (event, message) in [
        (json!([]), "bad request: must be a JSON object"),
        (json!({}), "bad request: tenantId: missing; exportId: missing"),
        (
            json!({"tenantId": 1, "exportId": null}),
            "bad request: tenantId: must be a string; exportId: must be a string",
        ),
    ] {
        assert_eq!(fail(&world, event).await, Err(message.to_owned()));
    }
    assert_eq!(record(&world), export());
}

#[tokio::test]
async fn error_type_says_whether_a_retry_can_help() {
    let world = world(export());
    let error_type = async || {
        let result = world.handle(sample("fail")).await;
        Diagnostic::from(result.unwrap_err()).error_type
    };
    for calls in [0, 1] {
        world.exports.failures.inject_after(calls);
        assert_eq!(error_type().await, "TransientError");
        world.exports.failures.deny_after(calls);
        assert_eq!(error_type().await, "PermanentError");
    }
    world.exports.failures.stop();
    world.exports.corrupt(&export().tenant, &export().id, "status");
    assert_eq!(error_type().await, "PermanentError");
}

#[tokio::test]
async fn dependency_error_changes_nothing_and_sends_no_mail() {
    let world = world(export());
    for calls in [0, 1] {
        world.exports.failures.inject_after(calls);
        let operation = ["read", "write"][usize::try_from(calls).unwrap()];
        assert_eq!(
            fail(&world, sample("fail")).await,
            Err(format!("could not {operation} the export: injected failure"))
        );
    }
    assert_eq!(record(&world), export());
    assert_eq!(world.mail.mails(), []);
}
