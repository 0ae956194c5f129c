use std::fs;
use std::path::Path;

use domain::export::{Export, Lease};
use domain::lifecycle::{Tries, take};
use domain::ports::{AcceptExport, ExportIds};
use domain::testing::{
    FixedClock, MailService, MemoryMailbox, MemoryStore, SequentialIds, export, file, ready_export, start,
};
use serde_json::json;

use super::*;

type Fake = EndExport<MemoryStore, MemoryMailbox, FixedClock>;

fn function(export: Export) -> Fake {
    let exports = MemoryStore::default();
    exports.put_export(export);
    EndExport { exports, mailer: MemoryMailbox::default(), back_office: None, clock: FixedClock::default() }
}

fn sample(name: &str) -> Value {
    let events = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/end-export"));
    serde_json::from_slice(&fs::read(events.join(format!("{name}.json"))).unwrap()).unwrap()
}

async fn end(function: &Fake, event: Value) -> Result<Value, String> {
    let ended = function.handle(LambdaEvent::new(event, lambda_runtime::Context::default())).await;
    ended.map(|ended| serde_json::to_value(ended).unwrap()).map_err(|error| Diagnostic::from(error).error_message)
}

fn record(function: &Fake) -> Export {
    function.exports.export(&export().tenant, &export().id).unwrap()
}

/// An export that somebody works on, with its file recorded.
fn held() -> Export {
    let lease = Lease { holder: "r".into(), until: start().plus(std::time::Duration::from_secs(300)) };
    let tries = Tries { most: 5, backoff: Vec::new(), permanent_wait: std::time::Duration::ZERO };
    let step = take(&export(), start(), lease, &tries).unwrap();
    Export { file: Some(file()), ..step.changed(&export()) }
}

#[tokio::test]
async fn pending_export_ends_whoever_works_on_it_and_keeps_its_file() {
    let function = function(held());
    let ended = end(&function, sample("end")).await.unwrap();
    let message = "An administrator ended the export: The payouts are being corrected.";
    assert_eq!(
        ended,
        json!({
            "tenantId": "acme",
            "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
            "status": "FAILED",
            "createdAt": "2026-10-08T08:30:00.000Z",
            "updatedAt": "2026-10-08T08:30:00.000Z",
            "failure": {"code": "ENDED_BY_ADMINISTRATOR", "message": message, "retryable": true},
            "requesterTold": true,
        })
    );
    let record = record(&function);
    assert_eq!((record.status, record.lease.as_ref(), record.due_at), (Status::Failed, None, None));
    assert_eq!((record.failure.unwrap().message.as_str(), record.file), (message, Some(file())));
    let mails = function.mailer.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].recipients.to(), mails[0].recipients.cc()), (&record.requested_by.email, [].as_slice()));
    assert!(mails[0].text.contains(message), "{}", mails[0].text);
}

#[tokio::test]
async fn tenant_can_launch_the_next_export_at_once() {
    let function = function(export());
    let id = SequentialIds::default().next(export().id.export_type(), start()).unwrap();
    let next = Export { id, ..export() };
    assert!(function.exports.accept_export(&next, None).await.is_err());
    end(&function, json!({"tenantId": "acme", "exportId": export().id.to_string()})).await.unwrap();
    function.exports.accept_export(&next, None).await.unwrap();
    assert_eq!(record(&function).failure.unwrap().message, "An administrator ended the export.");
}

#[tokio::test]
async fn pending_export_that_cannot_be_read_ends_at_once_and_its_answer_says_why_nobody_was_told() {
    let function = function(held());
    function.exports.spoil(&export().tenant, &export().id, "recipientTo");
    let ended = end(&function, sample("end")).await.unwrap();
    let message = "An administrator ended the export: The payouts are being corrected.";
    assert_eq!(
        ended,
        json!({
            "tenantId": "acme",
            "exportId": "mpo_01a11aa2-3340-7707-8707-070707070707",
            "status": "FAILED",
            "createdAt": "2026-10-08T08:30:00.000Z",
            "updatedAt": "2026-10-08T08:30:00.000Z",
            "failure": {"code": "ENDED_BY_ADMINISTRATOR", "message": message, "retryable": true},
            "requesterTold": false,
            "unreadableAttribute": "recipientTo",
        })
    );
    let record = record(&function);
    assert_eq!((record.status, record.lease.as_ref(), record.due_at), (Status::Failed, None, None));
    assert_eq!((record.failure.unwrap().message.as_str(), record.file), (message, Some(file())));
    assert_eq!(function.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert_eq!(function.mailer.mails(), []);
}

#[tokio::test]
async fn export_that_cannot_be_read_and_is_not_known_to_be_pending_stays_as_it_is() {
    for (status, attribute, refusal) in [
        (
            Status::Failed,
            "recipientTo",
            "bad request: exportId: the export is FAILED, and only one that is PENDING can be ended",
        ),
        (Status::Pending, "status", "could not read the export: the record's attribute status is missing or malformed"),
    ] {
        let before = Export { status, ..ready_export() };
        let function = function(before.clone());
        function.exports.spoil(&before.tenant, &before.id, attribute);
        assert_eq!(end(&function, sample("end")).await, Err(refusal.to_owned()));
        assert_eq!(record(&function), before);
    }
}

#[tokio::test]
async fn failed_mail_is_told_and_changes_nothing_else() {
    for service in [MailService::Refuses, MailService::IsDown] {
        let function = function(export());
        function.mailer.answer(service);
        let ended = end(&function, sample("end")).await.unwrap();
        assert_eq!((&ended["status"], &ended["requesterTold"]), (&json!("FAILED"), &json!(false)));
        assert_eq!(record(&function).status, Status::Failed);
    }
}

#[tokio::test]
async fn export_that_has_ended_stays_as_it_is() {
    let past = ready_export().link_expires_at.unwrap();
    for (status, now, shown) in [
        (Status::Ready, start(), "READY"),
        (Status::Ready, past, "EXPIRED"),
        (Status::Expired, past, "EXPIRED"),
        (Status::Failed, start(), "FAILED"),
    ] {
        let before = Export { status, ..ready_export() };
        let function = function(before.clone());
        function.clock.set(now);
        let expected =
            format!("bad request: exportId: the export is {shown}, and only one that is PENDING can be ended");
        assert_eq!(end(&function, sample("end")).await, Err(expected));
        assert_eq!(record(&function), before);
        assert_eq!(function.mailer.mails(), []);
    }
}

#[tokio::test]
async fn unknown_export_or_one_of_another_tenant_is_refused() {
    let function = function(export());
    let id = export().id.to_string();
    let other = "mpo_01a11aa2-3340-7707-8707-070707070708".to_owned();
    for (tenant, id) in [("acme", other), ("other", id)] {
        let refused = end(&function, json!({"tenantId": tenant, "exportId": id})).await;
        assert_eq!(refused, Err("bad request: exportId: the tenant has no such export".to_owned()));
    }
    assert_eq!(record(&function), export());
}

#[tokio::test]
async fn bad_request_is_refused_and_names_every_field_at_fault() {
    let function = function(export());
    let faults = [
        "bad request: tenantId: a tenant id has 1 to 64 characters, each a letter, a digit, '-' or '_'",
        "exportId: not an export id",
        "reason: a reason has 1 to 200 characters, no control characters, and is not blank",
        "force: there is no such field",
    ];
    assert_eq!(end(&function, sample("with-faults")).await, Err(faults.join("; ")));
    for (event, message) in [
        (json!([]), "bad request: a JSON object is expected"),
        (json!({}), "bad request: tenantId: missing; exportId: missing"),
        (
            json!({"tenantId": 1, "exportId": null}),
            "bad request: tenantId: a string is expected; exportId: a string is expected",
        ),
    ] {
        assert_eq!(end(&function, event).await, Err(message.to_owned()));
    }
    assert_eq!(record(&function), export());
}

#[tokio::test]
async fn error_type_says_whether_asking_again_can_help() {
    let function = function(export());
    let error_type = async || {
        let refused = function.handle(LambdaEvent::new(sample("end"), lambda_runtime::Context::default())).await;
        Diagnostic::from(refused.unwrap_err()).error_type
    };
    for calls in [0, 1] {
        function.exports.fuse.blow_after(calls);
        assert_eq!(error_type().await, "Outage");
        function.exports.fuse.deny_after(calls);
        assert_eq!(error_type().await, "PermanentError");
    }
    function.exports.fuse.mend();
    function.exports.spoil(&export().tenant, &export().id, "status");
    assert_eq!(error_type().await, "PermanentError");
}

#[tokio::test]
async fn outage_is_told_and_no_mail_is_sent() {
    let function = function(export());
    for calls in [0, 1] {
        function.exports.fuse.blow_after(calls);
        let attempt = ["read", "write"][usize::try_from(calls).unwrap()];
        assert_eq!(
            end(&function, sample("end")).await,
            Err(format!("could not {attempt} the export: the fuse has blown"))
        );
    }
    assert_eq!(record(&function), export());
    assert_eq!(function.mailer.mails(), []);
}
