//! Continuing in the next invocation.

use super::*;

#[tokio::test]
async fn more_than_twenty_invocations_write_the_same_file() {
    let world = in_short_invocations(300);
    let mut invocations = 0;
    let (mut ended_with_a_part, mut ended_between_parts) = (false, false);
    while world.record().status() == Status::Pending {
        invocations += 1;
        assert!(invocations < 100, "{:?}", world.record());
        world.deliver_for(&format!("r{invocations}"), Duration::from_secs(9)).await;
        let record = world.record();
        assert!(record.attempts <= 1, "an invocation that advances costs no attempt");
        if let Some(checkpoint) = world.exports.checkpoint(&record.tenant, &record.id) {
            let has_unfinished_part = checkpoint.unfinished.is_some();
            assert_eq!(world.files.unfinished().len(), usize::from(has_unfinished_part));
            ended_with_a_part |= !has_unfinished_part;
            ended_between_parts |= has_unfinished_part;
        }
    }
    assert!(ended_with_a_part && ended_between_parts, "both are covered");
    assert!(invocations > 20, "{invocations}");
    assert_eq!(world.record().status(), Status::Ready);
    assert_eq!(stored(&world), undisturbed(300).await);
    assert_eq!((world.mail.mails().len(), world.files.unfinished_uploads()), (1, 0));
    assert_eq!(world.files.unfinished().len(), 0);
    assert_eq!(world.queue.enqueued().len(), invocations - 1);
    assert_eq!(world.exports.checkpoint(&export().tenant, &export().id), None);
}

#[tokio::test]
async fn file_is_read_from_the_first_invocation_to_the_last() {
    let world = in_short_invocations(300);
    world.deliver_for("r", Duration::from_secs(9)).await;
    let (first_ended_at, mut last_started_at) = (world.system.now(), world.system.now());
    while world.record().status() == Status::Pending {
        last_started_at = world.system.now();
        world.deliver_for("r", Duration::from_secs(9)).await;
    }
    let read = world.record().file().and_then(|file| file.read).unwrap();
    assert!(start() < read.from && read.from < first_ended_at, "{read:?}, {first_ended_at}");
    assert!(last_started_at < read.to && read.to < world.record().updated_at, "{read:?}, {last_started_at}");
}

#[tokio::test]
async fn filter_with_few_matches_advances_in_every_invocation() {
    let filter = || RowFilter { statuses: ["FAILED"].map(row_status).into(), ..RowFilter::default() };
    let rows = || {
        let rows = (0..300).map(|i| {
            let row = payout(&format!("po_{i:03}"), start_less(300 - i));
            if [7, 150, 299].contains(&i) { with_value(row, "status", Value::Text("FAILED")) } else { row }
        });
        MemoryRows::new(&operator("acme").tenant, rows).in_pages_of(2)
    };
    let whole = World { rows: rows(), ..filtered(0, filter()) };
    whole.deliver("r1").await;
    let world = in_short_invocations_without_parts(0);
    let world = World { rows: rows(), exports: filtered(0, filter()).exports, ..world };
    let mut rows_read = Vec::new();
    while world.record().status() == Status::Pending {
        assert!(rows_read.len() < 100, "{:?}", world.record());
        world.deliver_for(&format!("r{}", rows_read.len()), Duration::from_secs(9)).await;
        rows_read.push(world.record().rows_read);
        if world.record().status() == Status::Pending {
            assert_eq!((world.record().attempts, world.record().lease().cloned()), (0, None));
            let checkpoint = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
            assert_eq!(
                (checkpoint.upload, checkpoint.parts, checkpoint.rows_read),
                (None, 0, *rows_read.last().unwrap())
            );
            let part = checkpoint.unfinished.unwrap();
            assert_eq!(world.files.unfinished().keys().collect::<Vec<_>>(), [&part.key], "earlier ones are deleted");
        }
    }
    assert!(rows_read.len() > 20 && rows_read.is_sorted_by(|a, b| a < b), "{rows_read:?}");
    assert_eq!((world.record().status(), world.record().rows_read), (Status::Ready, 300));
    assert_eq!(lines(&world), ["po_007", "po_150", "po_299"]);
    assert_eq!(stored(&world), stored(&whole));
    assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
}

#[tokio::test]
async fn part_that_spans_invocations_is_written_once() {
    let (world, at_once) = (in_short_invocations_without_parts(100), world(100));
    at_once.deliver("r").await;
    // Two or three parts in all, and dozens of invocations.
    let world = with_part_size(5000, World { files: MemoryFiles::with_min_part_size(5000), ..world });
    let mut invocations = 0;
    while world.record().status() == Status::Pending {
        invocations += 1;
        assert!(invocations < 100, "{:?}", world.record());
        world.deliver_for("r", Duration::from_secs(9)).await;
    }
    let file = world.record().file().unwrap().clone();
    assert!(
        invocations > 10 && (2..5).contains(&world.files.files()[&file.key].parts.len()),
        "{invocations} invocations"
    );
    assert_eq!(stored(&world), stored(&at_once));
    assert_eq!(world.record().rows_read, 100);
    // A page that was read ahead may be read again by the next invocation.
    let readers = u64::try_from(world.limits.file.readers).unwrap();
    let most = at_once.rows.reads() + invocations * readers * 4;
    assert!(world.rows.reads() <= most, "{} reads, at most {most}", world.rows.reads());
    assert_eq!((world.files.unfinished().len(), world.files.unfinished_uploads()), (0, 0));
}

#[tokio::test]
async fn error_at_any_call_of_a_continuation_ends_with_the_same_file() {
    let whole = undisturbed(100).await;
    for part_size in [250, 1 << 20] {
        for is_bucket in [true, false] {
            for calls in 0..100 {
                let world = with_part_size(part_size, in_short_invocations(100));
                world.deliver_for("r1", Duration::from_secs(9)).await;
                let failures = if is_bucket { &world.files.failures } else { &world.exports.failures };
                failures.inject_after(calls);
                let invocation = Invocation {
                    request_id: "r2".to_owned(),
                    ends_at: world.system.now().plus(Duration::from_secs(9)),
                };
                let _ = world.generator().run(&export().tenant, &export().id, &invocation).await;
                failures.stop();
                let disturbed = world.record().attempts > 0 || world.record().fencing_token < 2;
                world.system.advance(6 * MINUTE);
                for _ in 0..100 {
                    world.deliver_for("r", Duration::from_secs(9)).await;
                }
                let case = format!("parts of {part_size}, bucket {is_bucket}, {calls} calls");
                assert_eq!(world.record().status(), Status::Ready, "{case}");
                assert_eq!(stored(&world), whole, "{case}");
                assert_eq!(world.files.unfinished_uploads(), 0, "{case}");
                if !disturbed && calls > 10 {
                    break;
                }
                assert!(calls < 99, "{case}: never undisturbed");
            }
        }
    }
}
