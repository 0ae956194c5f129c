//! What every implementation of a port promises, written once: the in-memory fakes, the simulated ports and the
//! adapters run the same checks.
//!
//! The ports are those that return what was stored: [`FileStore`], [`ExportStore`], [`ApiKeyStore`] and [`RowSource`].
//! `JobQueue`, `MailSender` and `System` return nothing of that kind. What the adapters of the first two send to AWS is
//! held by the golden requests of `shared/aws/src/wire.rs`; `System` sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::ops::Bound;
use std::time::Duration;

use crc_fast::CrcAlgorithm::Crc64Nvme;

use super::{checkpoint, export, file, operator, start, with_work};
use crate::caller::{ApiKeyRecord, KeyHash};
use crate::checkpoint::Checkpoint;
use crate::export::{Export, Lease, Progress, Status};
use crate::export_type::{ExportType, FileColumns};
use crate::failure::Failure;
use crate::file::{NewFile, unfinished_key};
use crate::history::{HistoryFilter, Order};
use crate::id::{ExportId, TenantId};
use crate::idempotency::{IDEMPOTENCY_WINDOW, Idempotency};
use crate::lifecycle::{self, FailedBy};
use crate::ports::{
    AcceptError, ApiKeyStore, ApplyError, CompleteError, ExportStore, FileStore, KeyRange, Part, RowKey, RowPage,
    RowSource, TriedStep, Upload,
};
use crate::row_selection::RowSelection;
use crate::time::Timestamp;

/// Checks a bucket without files in which all parts of a file but the last must have at least `min_part_size` bytes
/// (5 MiB in S3).
pub async fn file_store(files: &dyn FileStore, min_part_size: usize) {
    file_exists_until_it_is_deleted(files).await;
    unfinished_object_is_returned_until_it_is_deleted(files).await;
    link_names_the_file(files).await;
    completed_upload_is_a_file(files, min_part_size).await;
    all_parts_are_listed_by_number(files).await;
    part_number_is_limited(files).await;
    upload_is_complete_only_with_its_own_parts(files, min_part_size).await;
    aborted_upload_makes_no_file(files).await;
}

/// The file of an export's owner with this fencing token.
fn file_of(owner: u64) -> NewFile {
    NewFile::of(&Export { fencing_token: owner, ..export() })
}

async fn file_exists_until_it_is_deleted(files: &dyn FileStore) {
    let file = file_of(1);
    let found = async || (files.file_size(&file.key).await.unwrap(), files.file_exists(&file.key).await.unwrap());
    assert_eq!(found().await, (None, false));
    for bytes in ["first", "", "last one"] {
        files.put_file(&file, bytes.into()).await.unwrap();
        assert_eq!(found().await, (Some(bytes.len() as u64), true), "the last write counts");
    }
    for _ in 0..2 {
        files.delete_file(&file.key).await.unwrap();
        assert_eq!(found().await, (None, false), "also if it is deleted again");
    }
}

async fn unfinished_object_is_returned_until_it_is_deleted(files: &dyn FileStore) {
    let key = unfinished_key(&export().tenant, &export().id, 1, 9);
    assert_eq!(files.get_unfinished(&key).await.unwrap(), None);
    for bytes in ["first", "", "last one"] {
        files.put_unfinished(&key, bytes.into()).await.unwrap();
        assert_eq!(files.get_unfinished(&key).await.unwrap(), Some(bytes.into()), "the last write counts");
    }
    for _ in 0..2 {
        files.delete_unfinished(&key).await.unwrap();
        assert_eq!(files.get_unfinished(&key).await.unwrap(), None, "also if it is deleted again");
    }
}

async fn link_names_the_file(files: &dyn FileStore) {
    let key = file_of(1).key;
    let link = files.sign_link(&key, start(), start().plus(Duration::from_secs(60))).await.unwrap();
    assert!(link.contains(&key), "{link}");
}

/// Size and checksum of a file.
fn sums(content: &[u8]) -> (u64, u64) {
    (content.len() as u64, crc_fast::checksum(Crc64Nvme, content))
}

async fn complete(
    files: &dyn FileStore,
    upload: &Upload,
    parts: &[&Part],
    (bytes, crc64): (u64, u64),
) -> Result<(), CompleteError> {
    let parts: Vec<Part> = parts.iter().copied().cloned().collect();
    files.complete_upload(upload, &parts, bytes, crc64, Duration::from_secs(60)).await
}

fn is_lost(completed: &Result<(), CompleteError>) -> bool {
    matches!(completed, Err(CompleteError::UploadLost(_)))
}

async fn completed_upload_is_a_file(files: &dyn FileStore, min_part_size: usize) {
    let file = file_of(2);
    let upload = files.start_upload(&file).await.unwrap();
    assert_eq!(files.list_parts(&upload).await.unwrap(), Some(vec![]));
    let [a, b, c] = [vec![b'a'; min_part_size], vec![b'b'; min_part_size], b"c".to_vec()];
    let third = files.upload_part(&upload, 3, c.clone()).await.unwrap();
    let first = files.upload_part(&upload, 1, a.clone()).await.unwrap();
    let second = files.upload_part(&upload, 2, b.clone()).await.unwrap();
    let content = [a, b, c].concat();
    let (size, min_size) = (content.len() as u64, min_part_size as u64);
    assert_eq!([&first, &second, &third].map(|part| (part.number, part.bytes)), [(1, min_size), (2, min_size), (3, 1)]);
    let parts = vec![first.clone(), second.clone(), third.clone()];
    assert_eq!(files.list_parts(&upload).await.unwrap(), Some(parts));
    assert_eq!(files.file_size(&file.key).await.unwrap(), None, "it is no file yet");

    complete(files, &upload, &[&first, &second, &third], sums(&content)).await.unwrap();
    assert_eq!(files.file_size(&file.key).await.unwrap(), Some(size));
    assert_eq!(files.list_parts(&upload).await.unwrap(), None, "the upload is over");
    assert!(files.upload_part(&upload, 1, b"late".to_vec()).await.is_err_and(|error| !error.is_permanent()));
    files.abort_upload(&upload).await.unwrap();
    assert_eq!(files.file_size(&file.key).await.unwrap(), Some(size), "the file is kept");
}

/// S3 lists up to 1,000 parts at once.
async fn all_parts_are_listed_by_number(files: &dyn FileStore) {
    let upload = files.start_upload(&file_of(3)).await.unwrap();
    let mut parts = Vec::new();
    for number in (1..=1001).rev() {
        parts.push(files.upload_part(&upload, number, number.to_string().into()).await.unwrap());
    }
    parts.reverse();
    assert_eq!(files.list_parts(&upload).await.unwrap(), Some(parts));
}

async fn part_number_is_limited(files: &dyn FileStore) {
    let upload = files.start_upload(&file_of(4)).await.unwrap();
    for number in [1, 10_000] {
        files.upload_part(&upload, number, b"x".to_vec()).await.unwrap();
    }
    for number in [0, 10_001] {
        let rejected = files.upload_part(&upload, number, b"x".to_vec()).await;
        assert!(rejected.is_err_and(|error| error.is_permanent()), "{number}");
    }
}

async fn upload_is_complete_only_with_its_own_parts(files: &dyn FileStore, min_part_size: usize) {
    let file = file_of(5);
    let upload = files.start_upload(&file).await.unwrap();
    let a = vec![b'a'; min_part_size];
    let first = files.upload_part(&upload, 1, a.clone()).await.unwrap();
    let replaced = files.upload_part(&upload, 2, b"b".to_vec()).await.unwrap();
    let second = files.upload_part(&upload, 2, b"c".to_vec()).await.unwrap();
    let third = Part { number: 3, ..second.clone() };
    let (size, crc64) = sums(&[&a[..], b"c"].concat());
    for (problem, parts, sums) in [
        ("a part that was replaced", &[&first, &replaced][..], sums(&[&a[..], b"b"].concat())),
        ("a part that was not uploaded", &[&first, &second, &third], sums(&[&a[..], b"cc"].concat())),
        ("parts in another order", &[&second, &first], (size, crc64)),
        ("another size", &[&first, &second], (size + 1, crc64)),
        ("another checksum", &[&first, &second], (size, !crc64)),
    ] {
        let completed = complete(files, &upload, parts, sums).await;
        assert!(is_lost(&completed), "{problem}: {completed:?}");
        assert_eq!(files.file_size(&file.key).await.unwrap(), None, "{problem}");
    }
    let completed = complete(files, &upload, &[], sums(b"")).await;
    assert!(completed.is_err() && !is_lost(&completed), "no part: {completed:?}");
    complete(files, &upload, &[&first, &second], (size, crc64)).await.unwrap();

    let upload = files.start_upload(&file_of(6)).await.unwrap();
    let small = vec![b'a'; min_part_size - 1];
    let first = files.upload_part(&upload, 1, small.clone()).await.unwrap();
    let second = files.upload_part(&upload, 2, small.clone()).await.unwrap();
    let completed = complete(files, &upload, &[&first, &second], sums(&small.repeat(2))).await;
    assert!(is_lost(&completed), "only the last part may be smaller: {completed:?}");
}

async fn aborted_upload_makes_no_file(files: &dyn FileStore) {
    let file = file_of(7);
    let upload = files.start_upload(&file).await.unwrap();
    let other = files.start_upload(&file).await.unwrap();
    let part = files.upload_part(&upload, 1, b"a".to_vec()).await.unwrap();
    let other_part = files.upload_part(&other, 1, b"other".to_vec()).await.unwrap();
    for _ in 0..2 {
        files.abort_upload(&upload).await.unwrap();
        assert_eq!(files.list_parts(&upload).await.unwrap(), None, "also if it is aborted again");
    }
    assert!(files.upload_part(&upload, 2, b"b".to_vec()).await.is_err_and(|error| !error.is_permanent()));
    let completed = complete(files, &upload, &[&part], sums(b"a")).await;
    assert!(is_lost(&completed), "{completed:?}");
    assert_eq!(files.file_size(&file.key).await.unwrap(), None);
    complete(files, &other, &[&other_part], sums(b"other")).await.unwrap();
    assert_eq!(files.file_size(&file.key).await.unwrap(), Some(5), "another upload of the same file goes on");
}

/// Checks a store without exports. Each check has tenants of its own.
pub async fn export_store<S: ExportStore>(exports: &S) {
    missing_export_is_not_written(exports).await;
    second_export_is_rejected_until_the_first_ends(exports).await;
    first_owner_acquires_the_lease_without_a_read(exports).await;
    export_accepted_before_is_returned_before_other_errors(exports).await;
    idempotency_key_is_valid_for_a_day(exports).await;
    list_ends_after_the_last_export_of_the_period(exports).await;
    checkpoint_is_stored_with_its_step_or_not_at_all(exports).await;
    step_that_leaves_pending_deletes_the_checkpoint(exports).await;
    due_checks_are_listed_once_earliest_first(exports).await;
    only_the_current_check_of_an_export_is_listed(exports).await;
    rest_of_a_sequence_is_listed_while_exports_end(exports).await;
    check_cursor_after_now_is_rejected(exports).await;
}

/// A PENDING export that `tenant` launched at `at`.
fn export_of(tenant: &str, at: Timestamp, random: u8) -> Export {
    let id = ExportId::new(export().id.export_type(), at, &[random; 10]);
    Export { id, tenant: operator(tenant).tenant, ..export() }
}

async fn fail<S: ExportStore>(exports: &S, export: &Export) {
    let step = lifecycle::fail(export, start(), FailedBy::Owner, Failure::attempts_used_up(1));
    exports.apply_step(&export.tenant, &export.id, &step).await.unwrap();
}

async fn missing_export_is_not_written<S: ExportStore>(exports: &S) {
    let missing = export_of("missing", start(), 1);
    assert_eq!(exports.find_export(&missing.tenant, &missing.id).await.unwrap(), None);
    for step in [lifecycle::expire(start(), start()), lifecycle::ready(&missing, start(), start())] {
        let applied = exports.apply_step(&missing.tenant, &missing.id, &step).await;
        assert!(matches!(applied, Err(ApplyError::Conflict(None))), "{applied:?}");
    }
    assert_eq!(exports.find_export(&missing.tenant, &missing.id).await.unwrap(), None);
}

async fn second_export_is_rejected_until_the_first_ends<S: ExportStore>(exports: &S) {
    let [first, second] = [1, 2].map(|random| export_of("locked", start(), random));
    exports.accept_export(&first, None).await.unwrap();
    assert_eq!(exports.find_export(&first.tenant, &first.id).await.unwrap(), Some(first.clone()));
    let rejected = exports.accept_export(&second, None).await;
    assert!(matches!(rejected, Err(AcceptError::AlreadyPending(id)) if id == first.id), "{rejected:?}");
    assert_eq!(exports.find_export(&second.tenant, &second.id).await.unwrap(), None);
    fail(exports, &first).await;
    exports.accept_export(&second, None).await.unwrap();
}

async fn first_owner_acquires_the_lease_without_a_read<S: ExportStore>(exports: &S) {
    let export = export_of("leased", start(), 1);
    let lease = Lease { owner: "r".into(), until: start().plus(Duration::from_secs(60)) };
    let acquire = lifecycle::acquire_first(start(), lease);
    let attempt = async || exports.try_step(&export.tenant, &export.id, &acquire).await;
    assert!(matches!(attempt().await, Ok(TriedStep::Rejected(None))));
    exports.accept_export(&export, None).await.unwrap();
    let acquired = acquire.changed(&export);
    assert!(matches!(attempt().await, Ok(TriedStep::Applied(record)) if *record == acquired));
    assert_eq!(exports.find_export(&export.tenant, &export.id).await.unwrap().as_ref(), Some(&acquired));
    // As if the response was lost.
    assert!(matches!(attempt().await, Ok(TriedStep::Rejected(Some(record))) if *record == acquired));
}

fn idempotency(key: &str, fingerprint: &str) -> Idempotency {
    Idempotency { key: key.into(), fingerprint: fingerprint.into() }
}

async fn export_accepted_before_is_returned_before_other_errors<S: ExportStore>(exports: &S) {
    let [first, second, third] = [1, 2, 3].map(|random| export_of("repeated", start(), random));
    let accept = async |export: &Export, sent: Idempotency| exports.accept_export(export, Some(&sent)).await;
    accept(&first, idempotency("k", "body")).await.unwrap();
    let again = accept(&second, idempotency("k", "body")).await;
    assert!(matches!(again, Err(AcceptError::AlreadyAccepted(id)) if id == first.id), "{again:?}");
    let reused = accept(&second, idempotency("k", "other body")).await;
    assert!(matches!(reused, Err(AcceptError::KeyReused)), "{reused:?}");
    let other_key = accept(&second, idempotency("l", "body")).await;
    assert!(matches!(other_key, Err(AcceptError::AlreadyPending(id)) if id == first.id), "{other_key:?}");
    // No idempotency record is written for a rejected request.
    fail(exports, &first).await;
    accept(&third, idempotency("l", "another body")).await.unwrap();
}

async fn idempotency_key_is_valid_for_a_day<S: ExportStore>(exports: &S) {
    let at = |after| export_of("day", start().plus(after), 1);
    exports.accept_export(&at(Duration::ZERO), Some(&idempotency("k", "body"))).await.unwrap();
    fail(exports, &at(Duration::ZERO)).await;
    let almost = at(IDEMPOTENCY_WINDOW - Duration::from_millis(1));
    let again = exports.accept_export(&almost, Some(&idempotency("k", "body"))).await;
    assert!(matches!(again, Err(AcceptError::AlreadyAccepted(_))), "{again:?}");
    exports.accept_export(&at(IDEMPOTENCY_WINDOW), Some(&idempotency("k", "other body"))).await.unwrap();
}

async fn list_ends_after_the_last_export_of_the_period<S: ExportStore>(exports: &S) {
    let at = |seconds| export_of("listed", start().plus(Duration::from_secs(seconds)), 1);
    let [before, first, last, after] = [0, 1, 2, 3].map(at);
    for export in [&first, &last] {
        exports.accept_export(export, None).await.unwrap();
        fail(exports, export).await;
    }
    for (order, from, to, outside) in
        [(Order::OldestFirst, &first, &last, &before), (Order::NewestFirst, &last, &first, &after)]
    {
        let filter = HistoryFilter {
            export_type: first.id.export_type(),
            statuses: vec![],
            created_from: Some(first.created_at()),
            created_to: Some(last.created_at()),
            order,
        };
        let list = async |after: Option<&Export>| {
            exports.list_exports(&first.tenant, &filter, after.map(|after| &after.id), 1, start()).await
        };
        for (after, exports, next_after) in
            [(None, vec![from.id], Some(from.id)), (Some(from), vec![to.id], None), (Some(to), vec![], None)]
        {
            let page = list(after).await.unwrap();
            let found: Vec<_> = page.exports.iter().map(|export| export.id).collect();
            assert_eq!((found, page.next_after), (exports, next_after), "{order:?}");
        }
        assert!(list(Some(outside)).await.is_err_and(|error| error.is_permanent()), "{order:?}");
    }
}

async fn checkpoint_is_stored_with_its_step_or_not_at_all<S: ExportStore>(exports: &S) {
    let export = export_of("continued", start(), 1);
    let apply = async |read: &Export, checkpoint: &Checkpoint| {
        let progress = Progress { rows_read: checkpoint.rows_read, rows_written: checkpoint.rows_written };
        let step = lifecycle::advance_checkpoint(read, start(), progress);
        exports.apply_with_checkpoint(&read.tenant, &read.id, &step, checkpoint).await.map(|()| step.changed(read))
    };
    let find = async || {
        let record = exports.find_export(&export.tenant, &export.id).await.unwrap();
        (record, exports.find_checkpoint(&export.tenant, &export.id).await.unwrap())
    };
    let missing = apply(&export, &checkpoint()).await;
    assert!(matches!(missing, Err(ApplyError::Conflict(None))), "{missing:?}");
    assert_eq!(find().await, (None, None));
    exports.accept_export(&export, None).await.unwrap();
    let other_owner = Export { fencing_token: 1, ..export.clone() };
    let with_less = Checkpoint { upload: None, parts: 0, unfinished: None, rows_read: 99, ..checkpoint() };
    let mut expected = (Some(export.clone()), None);
    for checkpoint in [checkpoint(), with_less] {
        let rejected = apply(&other_owner, &checkpoint).await;
        assert!(matches!(&rejected, Err(ApplyError::Conflict(now)) if now.as_deref() == expected.0.as_ref()));
        assert_eq!(find().await, expected, "the step was rejected");
        let advanced = apply(&export, &checkpoint).await.unwrap();
        expected = (Some(advanced), Some(checkpoint));
        assert_eq!(find().await, expected, "the last checkpoint counts");
    }
}

async fn step_that_leaves_pending_deletes_the_checkpoint<S: ExportStore>(exports: &S) {
    let [first, second] = [1, 2].map(|random| export_of("ended", start(), random));
    let failed = lifecycle::fail(&first, start(), FailedBy::Owner, Failure::attempts_used_up(1));
    let ready = lifecycle::ready(&second, start(), start());
    for (export, end) in [(first, failed), (second, ready)] {
        let (tenant, id) = (&export.tenant, &export.id);
        let find = async || exports.find_checkpoint(tenant, id).await.unwrap();
        let step = lifecycle::advance_checkpoint(&export, start(), Progress { rows_read: 9, rows_written: 7 });
        let advance = async || exports.apply_with_checkpoint(tenant, id, &step, &checkpoint()).await;
        exports.accept_export(&export, None).await.unwrap();
        advance().await.unwrap();
        exports.apply_step(tenant, id, &lifecycle::record_file(&export, start(), file(), 9)).await.unwrap();
        assert_eq!(find().await, Some(checkpoint()), "the export is pending");
        exports.apply_step(tenant, id, &end).await.unwrap();
        assert_eq!(find().await, None);
        let late = advance().await;
        assert!(matches!(late, Err(ApplyError::Conflict(Some(_)))), "{late:?}");
        assert_eq!(find().await, None);
    }
}

/// So many milliseconds after [`start`].
fn millis(millis: u64) -> Timestamp {
    start().plus(Duration::from_millis(millis))
}

/// A pending export that is checked at `at`. Those with the same random bytes are in one sequence.
fn checked_at(tenant: &str, at: Timestamp, random: u8) -> Export {
    with_work(export_of(tenant, start(), random), |pending| pending.next_check_at = at)
}

/// The checks of tenants whose names start with `prefix`, from all sequences, read in pages of `limit`. In AWS the
/// index of checks is eventually consistent; in each store that runs the suite it is up to date.
async fn list_checks<S: ExportStore>(
    exports: &S,
    prefix: &str,
    status: Status,
    now: Timestamp,
    limit: u32,
) -> BTreeMap<TenantId, Timestamp> {
    let mut listed = BTreeMap::new();
    for mut cursor in exports.check_cursors(status) {
        let mut last = None;
        loop {
            let page = exports.scheduled_checks(&cursor, now, limit).await.unwrap();
            assert!(page.checks.len() <= limit as usize && page.corrupt == 0, "{page:?}");
            for check in page.checks {
                assert!(last <= Some(check.at), "{check:?} follows one at {last:?}");
                last = Some(check.at);
                if check.tenant.as_str().starts_with(prefix) {
                    assert_eq!(listed.insert(check.tenant, check.at), None, "listed again");
                }
            }
            let Some(next) = page.next else { break };
            cursor = next;
        }
    }
    listed
}

async fn due_checks_are_listed_once_earliest_first<S: ExportStore>(exports: &S) {
    let mut due = BTreeMap::new();
    for random in 0..16 {
        for (n, after) in [1, 2, 0, 1].into_iter().enumerate() {
            let export = checked_at(&format!("due-{random}-{n}"), millis(after), random);
            exports.accept_export(&export, None).await.unwrap();
            if after <= 1 {
                due.insert(export.tenant, millis(after));
            }
        }
    }
    for limit in [1, 2, 100] {
        assert_eq!(list_checks(exports, "due", Status::Pending, millis(1), limit).await, due, "in pages of {limit}");
    }
}

async fn only_the_current_check_of_an_export_is_listed<S: ExportStore>(exports: &S) {
    let export = checked_at("moved", millis(1), 1);
    let listed = async || {
        let list = async |status| list_checks(exports, "moved", status, millis(9), 9).await.into_values().next();
        (list(Status::Pending).await, list(Status::Ready).await)
    };
    exports.accept_export(&export, None).await.unwrap();
    assert_eq!(listed().await, (Some(millis(1)), None));
    for (step, expected) in [
        (lifecycle::re_enqueue(&export, millis(1), millis(2)), (Some(millis(2)), None)),
        (lifecycle::record_file(&export, start(), file(), 3), (Some(millis(2)), None)),
        (lifecycle::ready(&export, start(), millis(3)), (None, Some(millis(3)))),
        (lifecycle::resent(start(), export.recipients.clone(), millis(4)), (None, Some(millis(4)))),
        (lifecycle::expire(start(), millis(4)), (None, None)),
    ] {
        exports.apply_step(&export.tenant, &export.id, &step).await.unwrap();
        assert_eq!(listed().await, expected, "{step:?}");
    }
}

async fn rest_of_a_sequence_is_listed_while_exports_end<S: ExportStore>(exports: &S) {
    for limit in [1, 2] {
        let mut pending = BTreeMap::new();
        for n in 0..5 {
            let export = checked_at(&format!("rest-{limit}-{n}"), millis(n / 2), 1);
            exports.accept_export(&export, None).await.unwrap();
            pending.insert(export.tenant.clone(), export);
        }
        for mut cursor in exports.check_cursors(Status::Pending) {
            loop {
                let page = exports.scheduled_checks(&cursor, millis(2), limit).await.unwrap();
                for check in page.checks {
                    if let Some(export) = pending.remove(&check.tenant) {
                        fail(exports, &export).await;
                    }
                }
                let Some(next) = page.next else { break };
                cursor = next;
            }
        }
        assert!(pending.is_empty(), "in pages of {limit}: {pending:?}");
    }
    assert_eq!(list_checks(exports, "rest", Status::Pending, millis(2), 100).await, BTreeMap::new());
}

async fn check_cursor_after_now_is_rejected<S: ExportStore>(exports: &S) {
    for tenant in ["cursor-1", "cursor-2"] {
        exports.accept_export(&checked_at(tenant, start(), 1), None).await.unwrap();
    }
    let mut found = false;
    for cursor in exports.check_cursors(Status::Pending) {
        let page = exports.scheduled_checks(&cursor, start(), 1).await.unwrap();
        let (Some(last), Some(next)) = (page.checks.last(), page.next) else { continue };
        exports.scheduled_checks(&next, last.at, 1).await.unwrap();
        let rejected = exports.scheduled_checks(&next, last.at.minus(Duration::from_millis(1)), 1).await;
        assert!(rejected.is_err_and(|error| error.is_permanent()), "{next:?}");
        found = true;
    }
    assert!(found, "a sequence has a second page");
}

/// Checks a store without API keys.
pub async fn api_key_store<S: ApiKeyStore>(keys: &S) {
    api_key_is_found_by_hash_and_stored_once(keys).await;
    api_key_keeps_its_expiry_and_the_last_day_of_use(keys).await;
    api_key_keeps_the_time_of_its_first_revocation(keys).await;
}

fn api_key(tenant: &str, random: u8) -> ApiKeyRecord {
    let created_at = start().plus(Duration::from_secs(random.into()));
    ApiKeyRecord::new(KeyHash::from_digest([random; 32]), operator(tenant), created_at)
}

async fn api_key_is_found_by_hash_and_stored_once<S: ApiKeyStore>(keys: &S) {
    let record = api_key("stored", 1);
    assert_eq!(keys.find_api_key(&record.hash).await.unwrap(), None);
    for again in [record.clone(), ApiKeyRecord { revoked_at: Some(start()), ..record.clone() }] {
        keys.store_api_key(&again).await.unwrap();
        assert_eq!(keys.find_api_key(&record.hash).await.unwrap().as_ref(), Some(&record));
    }
}

async fn api_key_keeps_its_expiry_and_the_last_day_of_use<S: ApiKeyStore>(keys: &S) {
    let record = ApiKeyRecord { expires_at: Some(start()), ..api_key("used", 2) };
    let today = start().start_of_day();
    let tomorrow = today.plus(Duration::from_secs(86_400));
    keys.record_api_key_use(&record.hash, today).await.unwrap();
    assert_eq!(keys.find_api_key(&record.hash).await.unwrap(), None, "a use makes no record");
    keys.store_api_key(&record).await.unwrap();
    for (day, last) in [(today, today), (tomorrow, tomorrow), (today, tomorrow)] {
        keys.record_api_key_use(&record.hash, day).await.unwrap();
        let expected = ApiKeyRecord { last_used_on: Some(last), ..record.clone() };
        assert_eq!(keys.find_api_key(&record.hash).await.unwrap(), Some(expected));
    }
}

async fn api_key_keeps_the_time_of_its_first_revocation<S: ApiKeyStore>(keys: &S) {
    let (oldest, newest, others) = (api_key("revoked", 3), api_key("revoked", 4), api_key("another", 5));
    for record in [&newest, &oldest, &others] {
        keys.store_api_key(record).await.unwrap();
    }
    let revoked = ApiKeyRecord { revoked_at: Some(start()), ..oldest.clone() };
    for now in [start(), start().plus(Duration::from_secs(1))] {
        assert_eq!(keys.revoke_api_key(&oldest.hash, now).await.unwrap().as_ref(), Some(&revoked));
    }
    assert_eq!(keys.list_api_keys(&oldest.caller.tenant).await.unwrap(), [revoked, newest]);
    let missing = api_key("revoked", 6).hash;
    assert_eq!(keys.revoke_api_key(&missing, start()).await.unwrap(), None);
    assert_eq!(keys.find_api_key(&missing).await.unwrap(), None);
}

/// Checks a source whose rows of this type have these keys, for each tenant. It should have rows of several tenants
/// with keys among each other, and more of one tenant than fit into a page.
pub async fn row_source(rows: &dyn RowSource, export_type: ExportType, tenants: &[(TenantId, BTreeSet<RowKey>)]) {
    let selection = RowSelection::all(FileColumns::current(export_type));
    // Before all keys, at each, and directly after it.
    let around = |key: &RowKey| [key.clone(), RowKey(format!("{}!", key.0))];
    let keys = tenants.iter().flat_map(|(_, keys)| keys);
    let bounds: BTreeSet<RowKey> = iter::once(RowKey("0".to_owned())).chain(keys.flat_map(around)).collect();
    for (tenant, keys) in tenants {
        for after in iter::once(None).chain(bounds.iter().map(Some)) {
            for up_to in &bounds {
                let range = KeyRange { after: after.cloned(), up_to: up_to.clone() };
                if after.is_none_or(|after| after < up_to) {
                    range_is_read_in_order_up_to_its_end(rows, &selection, tenant, range, keys).await;
                } else {
                    let rejected = rows.read_page(&selection, tenant, &range).await;
                    assert!(rejected.is_err_and(|error| error.is_permanent()), "{range:?}");
                }
            }
        }
    }
}

/// The ids of the rows of a page, which are in the first column.
fn ids(page: &RowPage) -> Vec<&str> {
    let lines = str::from_utf8(page.encoded.cells.csv()).unwrap().lines();
    lines.map(|line| line.split(';').next().unwrap()).collect()
}

async fn range_is_read_in_order_up_to_its_end(
    rows: &dyn RowSource,
    selection: &RowSelection,
    tenant: &TenantId,
    mut range: KeyRange,
    keys: &BTreeSet<RowKey>,
) {
    let after = range.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut unread = keys.range((after, Bound::Included(&range.up_to)));
    loop {
        let page = rows.read_page(selection, tenant, &range).await.unwrap();
        let ids = ids(&page);
        let expected: Vec<&RowKey> = unread.by_ref().take(ids.len()).collect();
        let expected_ids: Vec<&str> = expected.iter().map(|key| key.0.split_once('#').unwrap().1).collect();
        assert_eq!((ids, page.first.as_ref()), (expected_ids, expected.first().copied()), "{tenant}, {range:?}");
        let Some(next) = page.next else { break };
        assert!(range.after.as_ref() < Some(&next), "{tenant}, {range:?}: the next page starts at {next:?}");
        range.after = Some(next);
        if range.is_empty() {
            break;
        }
    }
    assert_eq!(unread.next(), None, "{tenant}, {range:?}");
}
