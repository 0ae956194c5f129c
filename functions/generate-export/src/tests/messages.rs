//! Messages of the queue.

use super::*;

#[tokio::test]
async fn second_delivery_of_a_finished_export_does_nothing() {
    let world = world(1);
    world.deliver("r1").await;
    let record = world.record();
    world.deliver("r2").await;
    assert_eq!(world.record(), record);
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test]
async fn delivery_during_a_live_lease_does_nothing() {
    let world = world(1);
    let lease = exports_domain::export::Lease { owner: "other".into(), until: start().plus(MINUTE) };
    let leased = with_work(export(), |pending| pending.lease = Some(lease));
    world.exports.put_export(Export { fencing_token: 1, attempts: 1, ..leased });
    let record = world.record();
    world.deliver("r2").await;
    assert_eq!(world.record(), record);
    world.system.advance(MINUTE);
    world.deliver("r3").await;
    assert_eq!((world.record().status(), world.record().fencing_token), (Status::Ready, 2));
}

#[tokio::test]
async fn export_that_another_invocation_acquires_first_is_left_to_it() {
    let world = world(1);
    world.exports.put_export(Export { fencing_token: 1, attempts: 1, ..export() });
    world.exports.before_apply(|number, store| {
        // The first write finds an earlier owner, the second one acquires the lease.
        if number == 1 {
            let lease = exports_domain::export::Lease { owner: "other".into(), until: start().plus(5 * MINUTE) };
            let record = store.export(&export().tenant, &export().id).unwrap();
            let retry = RetryPolicy { max_attempts: 3, backoff: Vec::new(), permanent_wait: MINUTE };
            store.put_export(lifecycle::acquire(&record, start(), lease, &retry).unwrap().changed(&record));
        }
    });
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!(
        (record.status(), record.fencing_token, record.lease().unwrap().owner.as_str()),
        (Status::Pending, 2, "other")
    );
    assert_eq!((world.rows.reads(), world.mail.mails().len()), (0, 0));
}

#[tokio::test]
async fn lease_is_ours_although_the_response_was_lost() {
    let world = world(1);
    world.exports.before_apply(|number, store| {
        if number == 0 {
            let until = start().plus(5 * MINUTE + Duration::from_secs(15));
            let lease = exports_domain::export::Lease { owner: "r1".into(), until };
            store.put_export(lifecycle::acquire_first(start(), lease).changed(&export()));
        }
    });
    world.deliver("r1").await;
    assert_eq!((world.record().status(), world.record().fencing_token), (Status::Ready, 1));
}

fn event(bodies: &[&str]) -> LambdaEvent<SqsEvent> {
    let record = |(index, body): (usize, &&str)| serde_json::json!({ "messageId": format!("m{index}"), "body": body });
    let records: Vec<_> = bodies.iter().enumerate().map(record).collect();
    let mut context = Context::default();
    context.request_id = "r1".into();
    context.deadline = u64::try_from(start().plus(5 * MINUTE).millis()).unwrap();
    LambdaEvent::new(serde_json::from_value(serde_json::json!({ "Records": records })).unwrap(), context)
}

#[tokio::test]
async fn invalid_messages_of_a_batch_fail_alone() {
    let world = world(1);
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let unknown = r#"{"version":1,"tenantId":"acme","exportId":"mpo_01a11f3a-7000-7abc-8def-0123456789ab"}"#;
    let response = handle(&world.generator(), event(&["text", unknown, &good, "{}"])).await;
    let failed: Vec<_> = response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m0", "m3"]);
    assert_eq!(world.record().status(), Status::Ready);
}

#[tokio::test]
async fn message_fails_while_the_record_cannot_be_read() {
    let world = world(1);
    world.exports.failures.inject();
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let (log, _guard) = Log::capture();
    let response = handle(&world.generator(), event(&[&good])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    let counted: Vec<_> = log.lines().iter().filter_map(|line| line["MessagesFailed"].as_u64()).collect();
    assert_eq!(counted, [1]);
}

#[tokio::test]
async fn message_for_a_corrupt_pending_record_fails() {
    let world = world(1);
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let response = handle(&world.generator(), event(&[&message])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    // The first delivery acquires the lease before it can know. Further ones cost no attempt.
    let record = world.record();
    assert_eq!((record.status(), record.attempts), (Status::Pending, 1));
    let response = handle(&world.generator(), event(&[&message])).await;
    assert_eq!((response.batch_item_failures.len(), world.record()), (1, record));
}

#[tokio::test]
async fn message_for_a_corrupt_finished_record_is_done() {
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        let world = world(1);
        let ended = Export { state: state(status), ..ready_export() };
        world.exports.put_export(ended.clone());
        world.exports.corrupt(&ended.tenant, &ended.id, "recipientTo");
        let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, ended.id);
        let response = handle(&world.generator(), event(&[&message])).await;
        assert_eq!(response.batch_item_failures.len(), 0, "{status}");
        assert_eq!((world.record(), world.mail.mails().len()), (ended, 0));
    }
}

#[tokio::test]
async fn log_lines_of_a_job_name_the_request_that_launched_the_export() {
    let without = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let with = format!(r#"{{"version":2,"tenantId":"acme","exportId":"{}","launchRequestId":"launch"}}"#, export().id);
    // The message names it if the record cannot be read.
    for (message, is_corrupt) in [(&without, false), (&with, false), (&with, true)] {
        let (log, _guard) = Log::capture();
        let world = world(1);
        if is_corrupt {
            world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
        }
        handle(&world.generator(), event(&[message])).await;
        let lines = log.events();
        assert!(!lines.is_empty(), "{message}");
        for line in lines {
            let span = &line["spans"][0];
            assert_eq!((&span["requestId"], &span["launchRequestId"]), (&"m0".into(), &"launch".into()), "{line}");
        }
    }
}
