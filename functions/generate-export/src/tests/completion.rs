//! Completing a multipart upload.

use super::*;

#[tokio::test]
async fn completion_that_keeps_failing_uses_up_the_attempts() {
    let undisturbed = with_parts_of(300, world(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let world = with_parts_of(300, world(9));
    // The parts are uploaded; completing the upload fails.
    world.files.failures.inject_after(1 + parts);
    world.deliver("r1").await;
    assert_eq!((world.record().attempts, world.record().fencing_token), (0, 1), "the first attempt advanced");
    for request in ["r2", "r3", "r4"] {
        assert_eq!(world.record().status(), Status::Pending);
        // The parts are listed; completing fails.
        world.files.failures.inject_after(1);
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
}

#[tokio::test]
async fn next_invocation_completes_the_upload_without_reading() {
    let whole = undisturbed(9).await;
    let undisturbed = with_parts_of(300, world(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let world = with_parts_of(300, world(9));
    world.files.failures.inject_after(1 + parts);
    world.deliver("r1").await;
    assert!(world.exports.checkpoint(&export().tenant, &export().id).unwrap().is_complete);
    world.files.failures.stop();
    let reads = world.rows.reads();
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.rows.reads()), (Status::Ready, reads));
    assert_eq!(stored(&world), whole);
}

#[tokio::test]
async fn upload_is_completed_later_when_time_is_short() {
    let whole = undisturbed(9).await;
    // The clock is read some ten times before the file is complete: nearly all time is left then, or a third.
    for (tick, is_left_to_the_next) in [(1, false), (18, true)] {
        let world = with_parts_of(300, world(9));
        world.system.tick(Duration::from_secs(tick));
        world.deliver("r1").await;
        assert_eq!(world.record().status() == Status::Pending, is_left_to_the_next, "{tick} s");
        assert_eq!(world.files.completion_limits().is_empty(), is_left_to_the_next);
        if is_left_to_the_next {
            let record = world.record();
            assert_eq!((record.lease(), record.attempts), (None, 0), "that costs no attempt");
            assert_eq!(world.queue.enqueued(), [(record.tenant, record.id, Duration::ZERO)]);
            let reads = world.rows.reads();
            // The next one completes it, however little time it has.
            world.system.tick(Duration::from_secs(55));
            world.deliver("r2").await;
            assert_eq!(world.rows.reads(), reads);
        }
        assert_eq!((world.record().status(), world.files.completion_limits().len()), (Status::Ready, 1));
        assert!(world.files.completion_limits()[0] <= 5 * MINUTE - Duration::from_secs(10));
        assert_eq!(stored(&world), whole);
    }
}

#[tokio::test]
async fn completed_upload_is_kept_while_access_to_it_is_denied() {
    let whole = undisturbed(9).await;
    let world = with_parts_of(300, world(9));
    world.files.link_failures.inject();
    world.deliver("r1").await;
    world.files.link_failures.stop();
    // As if recording the file had failed: file and checkpoint exist.
    let record = world.record();
    let file = record.file().cloned().unwrap();
    world.exports.put_export(with_work(record, |pending| pending.file = None));
    // The upload is gone, and access to its file is denied.
    world.files.failures.deny_after(1);
    world.system.advance(MINUTE);
    world.deliver("r2").await;
    assert_eq!((world.record().status(), world.files.files().len()), (Status::Pending, 1));
    world.files.failures.stop();
    world.system.advance(5 * MINUTE);
    let reads = world.rows.reads();
    world.deliver("r3").await;
    assert_eq!((world.record().status(), world.rows.reads()), (Status::Ready, reads));
    assert_eq!((world.record().file().cloned().unwrap().key, stored(&world)), (file.key, whole));
}

#[tokio::test]
async fn upload_that_is_lost_repeatedly_uses_up_the_attempts() {
    // A bucket that rejects parts of this size at completion.
    let world = World { files: MemoryFiles::with_min_part_size(10_000), ..with_parts_of(300, world(9)) };
    for request in ["r1", "r2", "r3", "r4"] {
        assert_eq!(world.record().status(), Status::Pending);
        world.deliver(request).await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert_eq!(world.files.unfinished_uploads(), 0);
}
