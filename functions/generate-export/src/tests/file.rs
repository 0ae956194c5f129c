//! The file of an undisturbed export.

use super::*;
use crate::part_uploads::PartUploads;
use crate::stopped::Stopped;
use crate::upload_state::UploadState;

#[tokio::test]
async fn export_becomes_ready_with_its_file_and_mail() {
    let world = world(5);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.rows_written), (Status::Ready, 5));
    assert!(world.lock_is_free());
    let file = record.file().cloned().unwrap();
    let stored = world.files.files();
    let stored = &stored[&file.key];
    assert_eq!(file.key, new_file().key);
    assert_eq!((stored.bytes.len() as u64, stored.bytes.iter().filter(|b| **b == b'\n').count()), (file.bytes, 6));
    assert_eq!(file.expires_at, start().plus(export().settings.file_retention));
    let mails = world.mail.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].recipients, export().recipients);
    let link_expiry = start().plus(export().settings.link_lifetime);
    assert_eq!(record.link_expires_at(), Some(link_expiry));
    assert!(mails[0].text.contains(&format!("until={link_expiry}")));
}

#[tokio::test]
async fn small_export_takes_six_calls() {
    let mut world = world(1);
    world.limits.file.checkpoint_every = MINUTE;
    // The lease, the file's record and READY; the rows; the file. The sixth is the e-mail.
    world.exports.failures.inject_after(3);
    world.rows.failures.inject_after(1);
    world.files.failures.inject_after(1);
    world.deliver("r1").await;
    assert_eq!((world.record().status(), world.mail.mails().len()), (Status::Ready, 1));
}

#[tokio::test]
async fn file_in_parts_equals_one_written_at_once() {
    let at_once = world(9);
    at_once.deliver("r1").await;
    let in_parts = with_parts_of(300, world(9));
    in_parts.deliver("r1").await;
    let (whole, parts) = (at_once.record().file().cloned().unwrap(), in_parts.record().file().cloned().unwrap());
    assert_eq!(whole, parts);
    let stored = |world: &World| world.files.files()[&whole.key].clone();
    assert_eq!(stored(&at_once).bytes, stored(&in_parts).bytes);
    assert!(stored(&in_parts).parts.len() > 2);
    assert_eq!(in_parts.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn file_and_mail_show_when_rows_were_read() {
    let world = world(40);
    world.system.tick(Duration::from_secs(1));
    world.deliver("r1").await;
    let record = world.record();
    let read = record.file().and_then(|file| file.read).unwrap();
    // A second a page.
    assert!(start() < read.from && read.to >= read.from.plus(Duration::from_secs(20)), "{read:?}");
    assert!(read.to < record.updated_at, "{read:?}");
    let shown = [read.from, read.to].map(|time| time.format("%-d %B %Y, %H:%M:%S UTC")).join(" and ");
    let mail = &world.mail.mails()[0].text;
    assert!(mail.contains(&format!("as read between {shown}")), "{mail}");
}

#[tokio::test]
async fn tenant_without_rows_gets_only_the_header() {
    let world = world(0);
    world.deliver("r1").await;
    let file = world.record().file().cloned().unwrap();
    assert_eq!(
        world.files.files()[&file.key].bytes,
        exports_domain::csv_encoder::csv_header(export().columns, false).as_bytes()
    );
    assert_eq!(file.rows, 0);
}

#[tokio::test]
async fn file_of_too_many_parts_fails_and_leaves_nothing() {
    let world = with_parts_of(400, world(40));
    let file = FileLimits { max_parts: 3, ..world.limits.file };
    let world = World { limits: Limits { file, ..world.limits.clone() }, ..world };
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.failure().cloned().unwrap().code), (Status::Failed, FailureCode::FileTooLarge));
    assert_eq!((world.files.unfinished_uploads(), world.files.files().len()), (0, 0));
}

#[tokio::test]
async fn failure_of_a_too_large_file_names_the_limit() {
    let world = world(0);
    let limits = FileLimits { max_parts: 3, part_size: 1 << 30, ..world.limits.file };
    let mut uploads = PartUploads::new(&world.files, &limits, new_file());
    let mut state = UploadState::default();
    for _ in 0..3 {
        state.append(b"part");
        uploads.start(&mut state).await.unwrap();
    }
    let Err(Stopped::Failed(failure)) = uploads.start(&mut state).await else { panic!() };
    assert_eq!(failure.message, "The file would exceed 3 GiB, the maximum size of an export.");
}

#[tokio::test]
async fn progress_is_recorded_while_rows_are_written() {
    let world = with_parts_of(1 << 20, world(40));
    world.rows.failures.inject_after(9);
    world.deliver("r1").await;
    let record = world.record();
    assert!(record.rows_written > 0 && record.rows_written < 40, "{}", record.rows_written);
}

#[tokio::test]
async fn third_part_waits_for_one_of_two_in_flight() {
    let world = world(0);
    let mut uploads = PartUploads::new(&world.files, &world.limits.file, new_file());
    let mut state = UploadState::default();
    for uploaded in [0, 0, 1, 2] {
        state.append(b"part");
        uploads.start(&mut state).await.unwrap();
        assert_eq!(state.parts.len(), uploaded);
    }
}

#[tokio::test]
async fn log_counts_the_recipients() {
    let (log, _guard) = Log::capture();
    world(1).deliver("r").await;
    let events = log.events();
    assert_eq!(events.iter().find(|line| line["message"] == "export is READY").unwrap()["recipients"], 2);
}
