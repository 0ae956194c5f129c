//! Continuing after a crash.

use super::*;

#[tokio::test]
async fn bucket_error_at_any_call_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 0..100 {
        let world = with_parts_of(400, world(40));
        world.files.failures.inject_after(calls);
        world.deliver("r1").await;
        let disturbed = world.record().status() == Status::Pending;
        world.files.failures.stop();
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Ready, "{calls} calls");
        assert_eq!(stored(&world), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls: the file is in parts");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn table_error_at_any_call_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 1..100 {
        let world = with_parts_of(400, world(40));
        world.exports.failures.inject_after(calls);
        let invocation = Invocation { request_id: "r1".into(), ends_at: start().plus(5 * MINUTE) };
        let _ = world.generator().run(&export().tenant, &export().id, &invocation).await;
        let disturbed = world.record().status() == Status::Pending;
        world.exports.failures.stop();
        world.system.advance(6 * MINUTE);
        world.deliver("r2").await;
        assert_eq!(world.record().status(), Status::Ready, "{calls} calls");
        assert_eq!(stored(&world), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn crash_repeats_only_the_work_since_the_last_checkpoint() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    let checkpoint = world.exports.checkpoint(&export().tenant, &export().id).unwrap();
    assert!(checkpoint.rows_written > 0 && checkpoint.rows_written < 40, "{}", checkpoint.rows_written);
    world.rows.failures.stop();
    let before = world.rows.reads();
    world.deliver("r2").await;
    let left = (40 - checkpoint.rows_written) / 2;
    let reads = world.rows.reads() - before;
    assert!(reads <= left + 8, "{reads} reads for {left} pages that were left");
    assert_eq!(stored(&world), undisturbed(40).await);
    assert_eq!(world.record().file().cloned().unwrap().key, new_file().key);
}

/// An item of the golden stored forms, as earlier builds wrote it.
fn stored_item(name: &str) -> StoredItem {
    let path = format!("{}/../../shared/aws/golden/stored/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    inspection::read(&inspection::item_from_json(json).unwrap()).unwrap()
}

/// The world with a golden record, and with a golden checkpoint of its file, whose first bytes are those of `whole`.
pub(super) async fn begun_by_an_earlier_build(world: World, checkpoint: &str, whole: &[u8]) -> World {
    let StoredItem::Export(record) = stored_item("export-continued") else { panic!("not a record") };
    world.exports.put_export(*record);
    let StoredItem::Checkpoint(tenant, id, Some(checkpoint)) = stored_item(checkpoint) else {
        panic!("not a checkpoint")
    };
    let bytes = &whole[..usize::try_from(checkpoint.bytes).unwrap()];
    let unfinished = checkpoint.unfinished.as_ref().map_or(0, |part| part.bytes);
    let (part, unfinished) = bytes.split_at(bytes.len() - usize::try_from(unfinished).unwrap());
    if let Some(upload) = &checkpoint.upload {
        let file = NewFile { key: upload.key.clone(), ..new_file() };
        assert_eq!(&world.files.start_upload(&file).await.unwrap(), upload);
        world.files.upload_part(upload, 1, part.to_vec()).await.unwrap();
    }
    if let Some(stored) = &checkpoint.unfinished {
        world.files.put_unfinished(&stored.key, unfinished.to_vec()).await.unwrap();
    }
    let step = Step { guards: Vec::new(), changes: Vec::new() };
    world.exports.apply_with_checkpoint(&tenant, &id, &step, &checkpoint).await.unwrap();
    world.system.advance(MINUTE);
    world
}

#[tokio::test]
async fn file_started_by_an_earlier_build_is_finished() {
    let at_once = world(6);
    at_once.exports.put_export(export_of_version_1());
    at_once.deliver("r").await;
    let (whole, reads_at_once) = (stored(&at_once), at_once.rows.reads());
    for name in
        ["checkpoint-with-unfinished-part", "checkpoint-with-upload", "checkpoint-with-upload-and-unfinished-part"]
    {
        let world = begun_by_an_earlier_build(world(6), name, &whole).await;
        world.deliver("r").await;
        assert_eq!((world.record().status(), stored(&world)), (Status::Ready, whole.clone()), "{name}");
        let (record, at_once) = (world.record(), at_once.record());
        let (file, at_once) = (record.file().unwrap(), at_once.file().unwrap());
        assert_eq!((&file.sha256, &file.totals, file.rows), (&at_once.sha256, &at_once.totals, at_once.rows), "{name}");
        assert_eq!(world.record().rows_read, 6);
        // The checkpoint does not have this time. No row is read before the acceptance.
        assert_eq!(file.read.map(|read| read.from), Some(record.created_at()), "{name}");
        assert!(world.rows.reads() < reads_at_once, "{name}: the first rows are read again");
        assert_eq!((world.files.unfinished_uploads(), world.files.unfinished().len()), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn failed_last_attempt_aborts_the_upload() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    for _ in 0..4 {
        assert_eq!(world.record().status(), Status::Pending);
        world.deliver("r").await;
    }
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert!(record.rows_written > 0, "there was a checkpoint");
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn part_replaced_by_a_stalled_owner_restarts_the_file() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    world.files.change_part(1, |part| part.truncate(4));
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(stored(&world), undisturbed(40).await);
    assert_eq!(world.record().file().cloned().unwrap().key, NewFile::of(&Export { fencing_token: 2, ..export() }).key);
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn part_of_other_bytes_is_found_by_the_checksum_of_the_file() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    // Of the same size: when the next owner lists the parts, it looks as good as any other.
    world.files.change_part(1, |part| part.reverse());
    world.rows.failures.stop();
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Pending);
    world.deliver("r3").await;
    assert_eq!(stored(&world), undisturbed(40).await);
    assert_eq!(world.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn lost_upload_restarts_the_file() {
    let world = with_parts_of(400, world(40));
    world.rows.failures.inject_after(12);
    world.deliver("r1").await;
    world.files.forget_uploads();
    world.rows.failures.stop();
    world.system.advance(MINUTE);
    world.deliver("r2").await;
    assert_eq!(stored(&world), undisturbed(40).await);
    let read = world.record().file().and_then(|file| file.read).unwrap();
    assert_eq!(read.from, start().plus(MINUTE), "the rows are read again");
}
