//! Exports that are cancelled while they are written.

use super::*;

#[tokio::test]
async fn export_cancelled_at_any_write_leaves_nothing() {
    for parts_of in [400, 1 << 20] {
        // Undisturbed, and with a transient error in the middle.
        for reads in [u64::MAX, 12] {
            let mut outcomes = Vec::new();
            for write in 0..100 {
                let world = with_parts_of(parts_of, world(40));
                world.rows.failures.inject_after(reads);
                let outcome = cancel_at(write, &world);
                world.deliver("r1").await;
                let Some(outcome) = *outcome.lock().unwrap() else { break };
                let (record, case) = (world.record(), format!("parts of {parts_of}, write {write}"));
                match outcome {
                    Ok(()) => {
                        assert!(record.is_cancelled() && record.file().is_none(), "{case}: {record:?}");
                        assert!(world.lock_is_free(), "{case}");
                        assert_eq!(world.exports.checkpoint(&record.tenant, &record.id), None, "{case}");
                        assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0), "{case}");
                        assert_eq!((world.mail.mails().len(), world.queue.enqueued().len()), (0, 0), "{case}");
                        // A leftover job message changes nothing.
                        world.deliver("r2").await;
                        assert_eq!(world.record(), record, "{case}");
                    }
                    Err(error) => {
                        assert_eq!((error, record.status()), (CancelError::FileRecorded, Status::Ready), "{case}");
                    }
                }
                outcomes.push(outcome.is_ok());
            }
            // Only READY is written once the file is recorded.
            let cancellable = outcomes.iter().filter(|is_ok| **is_ok).count();
            assert!(cancellable > 5 || parts_of > 400, "{outcomes:?}");
            assert_eq!(outcomes.len() - cancellable, usize::from(reads == u64::MAX), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn owner_stops_at_the_next_checkpoint_after_a_cancellation() {
    let undisturbed = with_parts_of(400, world(40));
    undisturbed.deliver("r").await;
    let world = with_parts_of(400, world(40));
    let _ = cancel_at(1, &world);
    world.deliver("r").await;
    assert!(world.record().is_cancelled());
    assert!(world.rows.reads() < undisturbed.rows.reads() / 2, "{} reads", world.rows.reads());
}

#[tokio::test]
async fn next_export_keeps_its_files_when_the_cancelled_one_stops() {
    let world = with_parts_of(400, world(40));
    let next = Export { id: ExportId::new(export().id.export_type(), start(), &[9; 10]), ..export() };
    let accepted = next.clone();
    world.exports.before_apply(move |number, store| {
        if number == 3 {
            let record = store.export(&export().tenant, &export().id).unwrap();
            let step = lifecycle::cancel(&record, start(), Failure::cancelled(operator("acme").user)).unwrap();
            block_on(store.apply_step(&record.tenant, &record.id, &step)).unwrap();
            block_on(store.accept_export(&accepted, None)).unwrap();
        }
    });
    world.deliver("r1").await;
    assert!(world.record().is_cancelled());
    let invocation = Invocation { request_id: "r2".into(), ends_at: start().plus(5 * MINUTE) };
    world.generator().run(&next.tenant, &next.id, &invocation).await.unwrap();
    let record = world.exports.export(&next.tenant, &next.id).unwrap();
    assert_eq!(record.status(), Status::Ready);
    assert_eq!(world.files.files().keys().collect::<Vec<_>>(), [&record.file().cloned().unwrap().key]);
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn continued_export_cancelled_at_any_write_leaves_nothing() {
    for part_size in [250, 1 << 20] {
        let mut cancelled = 0;
        // The first write finds an earlier owner, the second one acquires the lease.
        for write in 2..100 {
            let world = with_part_size(part_size, in_short_invocations(100));
            world.leave_unfinished_part().await;
            let outcome = cancel_at(write, &world);
            world.deliver_for("r", Duration::from_secs(9)).await;
            if outcome.lock().unwrap().is_none() {
                break;
            }
            cancelled += 1;
            let case = format!("parts of {part_size}, write {write}");
            assert!(world.record().is_cancelled(), "{case}");
            assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0), "{case}");
            assert_eq!(world.files.unfinished().len(), 0, "{case}");
        }
        assert!(cancelled > 2, "{cancelled} writes");
    }
}

#[tokio::test]
async fn log_names_a_file_that_is_not_deleted() {
    let world = world(1);
    // When the file is written, before it is recorded.
    let _ = cancel_at(2, &world);
    world.files.failures.inject_after(1);
    let (log, _guard) = Log::capture();
    world.deliver("r").await;
    let left: Vec<_> = world.files.files().into_keys().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(keys_in(&log), left);
}
