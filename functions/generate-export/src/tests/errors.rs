//! Transient and permanent errors.

use exports_domain::testing::FailureInjector;

use super::*;

#[tokio::test]
async fn transient_error_releases_the_lease_and_enqueues_with_a_delay() {
    let world = world(3);
    world.rows.failures.inject_after(1);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.lease(), record.attempts), (Status::Pending, None, 1));
    assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(record.next_check_at(), Some(start().plus(2 * MINUTE)), "the sweeper comes after the queue");
    world.rows.failures.stop();
    // A message that comes too early, such as one that the sweeper sent while the export waited, costs no attempt.
    world.system.advance(MINUTE - Duration::from_millis(1));
    world.deliver_for("early", 5 * MINUTE).await;
    assert_eq!(world.record(), record);
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Ready);
}

#[tokio::test]
async fn error_of_the_last_attempt_fails_the_export() {
    let world = world(3);
    world.files.failures.inject();
    for request in ["r1", "r2", "r3"] {
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
    assert_eq!(world.queue.enqueued().len(), 2);
}

#[tokio::test]
async fn failure_whose_response_was_lost_is_mailed() {
    let world = world(3);
    world.rows.failures.inject();
    // Two attempts and their delays come before.
    let now = start().plus(2 * MINUTE);
    let tenant = export().tenant;
    // The first attempt writes twice: it acquires the lease and releases it. Further ones find an earlier owner before.
    world.exports.before_apply(move |write, store| {
        if write == 7 {
            let record = store.export(&tenant, &export().id).unwrap();
            let failure = Failure::attempts_used_up(record.attempts);
            store.put_export(lifecycle::fail(&record, now, FailedBy::Owner, failure).changed(&record));
        }
    });
    for request in ["r1", "r2", "r3"] {
        world.deliver(request).await;
    }
    assert_eq!(world.record().status(), Status::Failed);
    assert_eq!(world.mail.mails().len(), 1);
}

/// Makes a dependency fail permanently.
type Break = fn(&World);

#[tokio::test]
async fn permanent_error_fails_the_second_attempt_after_five_minutes() {
    let breaks: [(&str, Break); 3] = [
        ("payouts", |world| world.rows.failures.deny()),
        ("files", |world| world.files.failures.deny()),
        ("links", |world| world.files.link_failures.deny()),
    ];
    for (name, break_it) in breaks {
        let world = with_parts_of(300, world(9));
        break_it(&world);
        world.deliver("r1").await;
        let record = world.record();
        assert_eq!((record.status(), record.lease()), (Status::Pending, None), "{name}");
        assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, 5 * MINUTE)], "{name}");
        assert_eq!(record.next_check_at(), Some(start().plus(6 * MINUTE)), "{name}: the sweeper comes after the queue");
        // A message that comes too early, such as a duplicate, does nothing.
        world.system.advance(5 * MINUTE - Duration::from_millis(1));
        world.deliver_for("early", 5 * MINUTE).await;
        assert_eq!(world.record().fencing_token, 1, "{name}");
        world.system.advance(Duration::from_millis(1));
        break_it(&world);
        world.deliver("r2").await;
        let record = world.record();
        let failure = record.failure().cloned().unwrap();
        assert_eq!((record.status(), failure.code), (Status::Failed, FailureCode::InternalError), "{name}");
        assert!(!failure.code.is_retryable());
        assert!(failure.message.contains("permission") && !failure.message.contains("denied"), "{failure:?}");
        assert_eq!((record.fencing_token, world.mail.mails().len()), (2, 1), "{name}");
        assert!(world.lock_is_free(), "{name}");
    }
}

#[tokio::test]
async fn permission_granted_before_the_second_attempt_is_enough() {
    let world = world(3);
    world.files.link_failures.deny();
    world.deliver("r1").await;
    world.files.link_failures.stop();
    world.system.advance(5 * MINUTE);
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.files.files().len()), (Status::Ready, 1));
}

#[tokio::test]
async fn permanent_error_is_kept_across_a_killed_attempt() {
    let world = world(3);
    world.rows.failures.deny();
    world.deliver("r1").await;
    // The second attempt acquires the lease, and is killed.
    let taken = exports_domain::export::Lease { owner: "r2".into(), until: start().plus(10 * MINUTE) };
    let leased = with_work(world.record(), |pending| pending.lease = Some(taken));
    world.exports.put_export(Export { fencing_token: 2, attempts: 2, ..leased });
    world.system.advance(10 * MINUTE);
    world.deliver("r3").await;
    assert_eq!(world.record().status(), Status::Failed);
    assert!(world.record().failure().cloned().unwrap().message.contains("permission"));
}

#[tokio::test]
async fn unrecorded_permanent_error_counts_as_an_attempt() {
    let world = world(3);
    world.rows.failures.deny();
    // The lease is acquired; releasing it is not recorded.
    world.exports.failures.inject_after(1);
    world.deliver("r1").await;
    world.exports.failures.stop();
    assert_eq!((world.record().attempts, world.record().pending().unwrap().permanent_error_at), (1, None));
    world.system.advance(6 * MINUTE);
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Pending, "it is the first one recorded");
    world.system.advance(5 * MINUTE);
    world.deliver("r3").await;
    assert_eq!(world.record().status(), Status::Failed);
}

#[tokio::test]
async fn last_attempt_leaves_no_file_that_is_not_recorded() {
    let (mut unrecorded, mut cancelled) = (0, 0);
    for calls in 1..20 {
        // Before each write, and never.
        for cancelled_at in 0..=20 {
            let mut world = world(4);
            world.limits.retry.max_attempts = 1;
            world.exports.failures.inject_once_after(calls);
            world.exports.before_apply(move |number, store| {
                let record = store.export(&export().tenant, &export().id).unwrap();
                let step = lifecycle::cancel(&record, start(), Failure::cancelled(operator("acme").user));
                if let Some(step) = step.ok().filter(|_| number == cancelled_at) {
                    // May be the call that fails.
                    let _ = block_on(store.apply_step(&record.tenant, &record.id, &step));
                }
            });
            world.deliver("r1").await;
            let record = world.record();
            if record.ended_without_file_under(1) {
                unrecorded += 1;
                cancelled += u32::from(record.is_cancelled());
                assert_eq!(world.files.files().len(), 0, "call {calls} failed, cancelled at write {cancelled_at}");
            }
        }
    }
    assert!(cancelled > 10 && unrecorded > cancelled + 4, "{cancelled} of {unrecorded}");
}

#[tokio::test]
async fn last_attempt_deletes_the_file_whose_response_was_lost() {
    let mut world = world(4);
    world.limits.retry.max_attempts = 1;
    world.files.lost_responses.inject();
    world.deliver("r1").await;
    assert!(world.record().ended_without_file_under(1));
    assert_eq!(world.files.files().len(), 0);
}

#[tokio::test]
async fn last_attempt_deletes_the_complete_file_that_it_cannot_find() {
    let mut world = with_parts_of(400, world(40));
    world.limits.retry.max_attempts = 1;
    world.files.lost_responses.inject();
    world.deliver("r1").await;
    assert_eq!((world.record().status(), world.files.files().len()), (Status::Pending, 1), "its checkpoint advanced");
    world.files.failures.inject_once_after(0);
    world.deliver("r2").await;
    assert!(world.record().ended_without_file_under(2));
    assert_eq!(world.files.files().len(), 0);
}

#[tokio::test]
async fn permanent_error_of_the_queue_is_logged_as_an_error() {
    for (fail, level, message) in [
        (FailureInjector::deny as fn(&_), "ERROR", "jobs cannot be sent"),
        (FailureInjector::inject, "WARN", "job not sent"),
    ] {
        let world = world(1);
        world.rows.failures.inject();
        fail(&world.queue.failures);
        let (log, _guard) = Log::capture();
        world.deliver("r").await;
        let events = log.events();
        assert_eq!(events.iter().find(|line| line["message"] == message).unwrap()["level"], level);
    }
}

#[tokio::test]
async fn log_distinguishes_an_ended_export_from_a_lost_lease() {
    let ended = lifecycle::fail(&export(), start(), FailedBy::Administrator, Failure::failed_by_administrator(None));
    for (record, message) in [
        (ended.changed(&export()), "stopped: the export has ended"),
        (Export { fencing_token: 2, ..export() }, "lost the lease"),
    ] {
        let world = world(1);
        world.exports.before_apply(move |write, store| {
            if write == 1 {
                store.put_export(record.clone());
            }
        });
        let (log, _guard) = Log::capture();
        world.deliver("r").await;
        assert!(log.events().iter().any(|line| line["message"] == message), "{message}");
    }
}
