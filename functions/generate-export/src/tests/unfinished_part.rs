//! The part that an invocation stores when it stops between parts.

use super::*;

/// A change of the unfinished parts.
type Corrupt = fn(&MemoryFiles);

const CORRUPTIONS: [(&str, Corrupt); 3] = [
    ("deleted", MemoryFiles::forget_unfinished),
    ("another size", |files| files.replace_unfinished(b"x")),
    ("another content", |files| {
        let mut bytes = files.unfinished().into_values().next().unwrap_or_default();
        bytes.reverse();
        files.replace_unfinished(&bytes);
    }),
];

#[tokio::test]
async fn changed_unfinished_part_restarts_the_file() {
    for part_size in [250, 1 << 20] {
        for (name, corrupt) in CORRUPTIONS {
            let world = with_part_size(part_size, in_short_invocations(40));
            world.leave_unfinished_part().await;
            let before = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
            assert_eq!(before.upload.is_some(), part_size == 250);
            corrupt(&world.files);
            world.deliver("r").await;
            assert_eq!((world.record().status(), world.record().file().unwrap().rows), (Status::Ready, 40), "{name}");
            assert_eq!(stored(&world), undisturbed(40).await, "{name}");
            assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0), "{name}");
        }
    }
}

#[tokio::test]
async fn repeatedly_lost_unfinished_part_uses_up_the_attempts() {
    let world = in_short_invocations_without_parts(200);
    for attempts in [0, 1, 2, 3] {
        world.deliver_for("r", Duration::from_secs(9)).await;
        assert_eq!(world.record().attempts, attempts, "only the first invocation advances");
        world.files.forget_unfinished();
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(world.lock_is_free());
}

#[tokio::test]
async fn unfinished_part_that_the_last_attempt_cannot_read_is_deleted() {
    for part_size in [250, 1 << 20] {
        let world = with_part_size(part_size, in_short_invocations(40));
        world.leave_unfinished_part().await;
        world.files.unfinished_failures.inject();
        while world.record().status() == Status::Pending {
            assert_eq!(world.files.unfinished().len(), 1, "a later attempt may read it");
            world.deliver("r").await;
        }
        assert_eq!(world.record().failure().cloned().unwrap().code, FailureCode::GenerationFailed);
        assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
    }
}

/// A world with an unfinished part whose owner recorded the file, but died, or did not learn that.
async fn with_unfinished_part_of_a_recorded_file(part_size: usize) -> World {
    let world = with_part_size(part_size, in_short_invocations(40));
    world.leave_unfinished_part().await;
    let record = world.record();
    world.exports.put_export(with_work(record, |pending| pending.file = Some(ExportFile { rows: 40, ..file() })));
    world
}

#[tokio::test]
async fn unfinished_part_is_deleted_by_the_next_owner_of_a_recorded_file() {
    for part_size in [250, 1 << 20] {
        let world = with_unfinished_part_of_a_recorded_file(part_size).await;
        world.deliver("r").await;
        assert_eq!(world.record().status(), Status::Ready);
        assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_part_of_a_recorded_file_is_deleted_after_the_mail() {
    let world = with_unfinished_part_of_a_recorded_file(1 << 20).await;
    world.files.hang("delete the unfinished part");
    assert!(tokio::time::timeout(MINUTE, world.deliver("r")).await.is_err());
    assert_eq!((world.record().status(), world.mail.mails().len()), (Status::Ready, 1));
}

#[tokio::test(start_paused = true)]
async fn unfinished_part_not_stored_in_time_costs_an_attempt_and_is_deleted() {
    let world = in_short_invocations_without_parts(100);
    world.files.hang("write the unfinished part");
    world.deliver_for("r", Duration::from_secs(9)).await;
    let record = world.record();
    assert_eq!((record.status(), record.lease(), record.attempts), (Status::Pending, None, 1));
    assert_eq!(world.queue.enqueued(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None);
    assert_eq!(world.files.unfinished().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn next_invocation_is_enqueued_before_the_obsolete_part_is_deleted() {
    let world = in_short_invocations_without_parts(200);
    world.leave_unfinished_part().await;
    let enqueued = world.queue.enqueued().len();
    world.files.hang("delete the unfinished part");
    tokio::time::timeout(MINUTE, world.deliver_for("r", Duration::from_secs(9))).await.unwrap_err();
    assert_eq!(world.queue.enqueued().len(), enqueued + 1);
}

#[tokio::test]
async fn last_attempt_deletes_the_unfinished_part() {
    for part_size in [250, 1 << 20] {
        let world = with_part_size(part_size, in_short_invocations(100));
        world.leave_unfinished_part().await;
        world.rows.failures.inject();
        for _ in 0..3 {
            assert_eq!(world.record().status(), Status::Pending);
            world.deliver("r").await;
        }
        assert_eq!((world.record().status(), world.files.unfinished().len()), (Status::Failed, 0));
        assert_eq!(world.files.unfinished_uploads(), 0);
    }
}

#[tokio::test]
async fn owner_that_lost_its_lease_keeps_what_its_successor_continues() {
    let world = in_short_invocations(100);
    world.leave_unfinished_part().await;
    assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (1, 1));
    // The owner stalls between reading the checkpoint and its unfinished part. Another one continues in between, and
    // deletes the part that it replaced.
    world.files.forget_unfinished();
    world.exports.before_apply(|number, store| {
        // The first write finds an earlier owner, the second one acquires the lease.
        if number == 2 {
            let record = store.export(&export().tenant, &export().id).unwrap();
            store.put_export(Export { fencing_token: record.fencing_token + 1, ..record });
        }
    });
    world.deliver_for("stalled", Duration::from_secs(9)).await;
    assert_eq!(world.record().status(), Status::Pending);
    assert_eq!(world.files.unfinished_uploads(), 1, "its own upload is aborted, and the successor's is not");
    assert_eq!(world.files.unfinished().len(), 0, "no checkpoint names its own unfinished part");
}

#[tokio::test]
async fn log_names_the_objects_that_are_not_deleted() {
    let world = in_short_invocations(100);
    world.leave_unfinished_part().await;
    let upload = world.files.upload_keys().remove(0);
    let part = world.files.unfinished().into_keys().next().unwrap();
    world.files.failures.inject();
    let (log, _guard) = Log::capture();
    for _ in 0..3 {
        world.deliver("r").await;
    }
    assert_eq!(world.record().status(), Status::Failed);
    assert_eq!(keys_in(&log), [upload.clone(), part, upload], "the upload may have become the file");
}
