use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use domain::export::{Export, FailureCode, Status};
use domain::file::object_key;
use domain::lifecycle::Tries;
use domain::payout::Value;
use domain::ports::Clock;
use domain::testing::{
    FixedClock, MailService, MemoryBell, MemoryFiles, MemoryLinks, MemoryMailbox, MemoryPayouts, MemoryStore, export,
    operator, payout, ready_export, start, with_value,
};
use lambda_runtime::{Context, LambdaEvent};

use super::*;
use crate::job::Limits;
use crate::write_file::FileLimits;

type Fake = Generator<MemoryStore, MemoryBell, MemoryPayouts, MemoryFiles, MemoryLinks, MemoryMailbox, FixedClock>;

const MINUTE: Duration = Duration::from_secs(60);

/// A generator for a tenant with `payouts` payouts, in pages of two, and its pending export.
fn generator(payouts: u64) -> Fake {
    let rows = (0..payouts).map(|i| payout(&format!("po_{i}"), start_less(payouts - i)));
    let exports = MemoryStore::default();
    exports.put_export(export());
    Generator {
        exports,
        bell: MemoryBell::default(),
        payouts: MemoryPayouts::new(&operator("acme").tenant, rows).in_pages_of(2),
        files: MemoryFiles::default(),
        links: MemoryLinks::default(),
        mailer: MemoryMailbox::default(),
        back_office: None,
        clock: FixedClock::default(),
        limits: Limits {
            tries: Tries { most: 3, backoff: vec![MINUTE], permanent_wait: 5 * MINUTE },
            lease_grace: Duration::from_secs(15),
            ring_after: MINUTE,
            file: FileLimits {
                part_size: 1 << 20,
                most_parts: 10_000,
                readers: 3,
                checkpoint_every: Duration::ZERO,
                hand_over_before: Duration::from_secs(45),
                completion_takes: 3 * MINUTE,
            },
        },
    }
}

fn start_less(minutes: u64) -> Timestamp {
    Timestamp::from_millis(start().millis() - i64::try_from(minutes * 60_000).unwrap())
}

impl Fake {
    fn record(&self) -> Export {
        self.exports.export(&export().tenant, &export().id).unwrap()
    }

    fn lock_is_free(&self) -> bool {
        self.exports.locked_by(&export().tenant, export().id.export_type()).is_none()
    }

    /// What the bell does: a new invocation, with five minutes of time.
    async fn deliver(&self, request_id: &str) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.clock.now().plus(5 * MINUTE) };
        self.run(&export().tenant, &export().id, &invocation).await.unwrap();
    }
}

/// The same with parts of this size, which its bucket insists on.
fn with_parts_of(part_size: usize, generator: Fake) -> Fake {
    let file = FileLimits { part_size, ..generator.limits.file };
    let limits = Limits { file, ..generator.limits.clone() };
    Generator { limits, files: MemoryFiles::with_least_part(part_size), ..generator }
}

#[tokio::test]
async fn generator_writes_the_file_mails_it_and_frees_the_lock() {
    let generator = generator(5);
    generator.deliver("r1").await;
    let record = generator.record();
    assert_eq!((record.status, record.rows_written), (Status::Ready, 5));
    assert!(generator.lock_is_free());
    let file = record.file.unwrap();
    let stored = generator.files.files();
    let stored = &stored[&file.key];
    assert_eq!(file.key, object_key(&export().tenant, &export().id, 1));
    assert_eq!((stored.bytes.len() as u64, stored.bytes.iter().filter(|b| **b == b'\n').count()), (file.bytes, 6));
    assert_eq!(file.expires_at, start().plus(export().terms.file_retention));
    let mails = generator.mailer.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].recipients, export().recipients);
    let link_end = start().plus(export().terms.link_life);
    assert_eq!(record.link_expires_at, Some(link_end));
    assert!(mails[0].text.contains(&format!("until={link_end}")));
}

#[tokio::test]
async fn file_in_parts_has_the_same_bytes_as_one_written_at_once() {
    let at_once = generator(9);
    at_once.deliver("r1").await;
    let in_parts = with_parts_of(300, generator(9));
    in_parts.deliver("r1").await;
    let (whole, parts) = (at_once.record().file.unwrap(), in_parts.record().file.unwrap());
    assert_eq!(whole, parts);
    let stored = |generator: &Fake| generator.files.files()[&whole.key].clone();
    assert_eq!(stored(&at_once).bytes, stored(&in_parts).bytes);
    assert!(stored(&in_parts).parts.len() > 2);
    assert_eq!(in_parts.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn tenant_without_payouts_gets_the_header_alone() {
    let generator = generator(0);
    generator.deliver("r1").await;
    let file = generator.record().file.unwrap();
    assert_eq!(generator.files.files()[&file.key].bytes, domain::file::opening(false).as_bytes());
    assert_eq!(file.rows, 0);
}

#[tokio::test]
async fn second_delivery_of_a_finished_export_does_nothing() {
    let generator = generator(1);
    generator.deliver("r1").await;
    let record = generator.record();
    generator.deliver("r2").await;
    assert_eq!(generator.record(), record);
    assert_eq!(generator.mailer.mails().len(), 1);
}

#[tokio::test]
async fn delivery_while_another_works_does_nothing() {
    let generator = generator(1);
    let lease = domain::export::Lease { holder: "other".into(), until: start().plus(MINUTE) };
    generator.exports.put_export(Export { lease: Some(lease), fence: 1, tries: 1, ..export() });
    let record = generator.record();
    generator.deliver("r2").await;
    assert_eq!(generator.record(), record);
    generator.clock.advance(MINUTE);
    generator.deliver("r3").await;
    assert_eq!((generator.record().status, generator.record().fence), (Status::Ready, 2));
}

#[tokio::test]
async fn payouts_that_cannot_be_written_fail_the_export_and_leave_no_object() {
    let tenant = operator("acme").tenant;
    let rows = (0..7).map(|i| {
        let row = payout(&format!("po_{i}"), start_less(10 - i));
        if i % 3 == 2 { with_value(row, "currency", Value::Text("XXX")) } else { row }
    });
    let payouts = MemoryPayouts::new(&tenant, rows).in_pages_of(2);
    let base = generator(0);
    let generator = with_parts_of(100, Generator { payouts, ..base });
    generator.deliver("r1").await;
    let record = generator.record();
    let failure = record.failure.unwrap();
    assert_eq!((record.status, failure.code), (Status::Failed, FailureCode::PayoutsNotWritable));
    assert!(failure.message.starts_with("2 payouts cannot be written: po_2 (currency unknown), po_5"), "{failure:?}");
    assert!(generator.lock_is_free() && generator.files.files().is_empty());
    assert_eq!(generator.files.unfinished_uploads(), 0);
    let mails = generator.mailer.mails();
    assert_eq!((mails.len(), mails[0].recipients.cc().len()), (1, 0));
}

#[tokio::test]
async fn fault_that_may_pass_gives_the_lease_up_and_rings_with_a_delay() {
    let generator = generator(3);
    generator.payouts.fuse.blow_after(1);
    generator.deliver("r1").await;
    let record = generator.record();
    assert_eq!((record.status, record.lease.as_ref(), record.tries), (Status::Pending, None, 1));
    assert_eq!(generator.bell.rings(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(record.due_at, Some(start().plus(2 * MINUTE)), "the sweeper comes after the bell");
    generator.payouts.fuse.mend();
    generator.deliver("r2").await;
    assert_eq!(generator.record().status, Status::Ready);
}

#[tokio::test]
async fn last_try_that_fails_ends_the_export() {
    let generator = generator(3);
    generator.files.fuse.blow();
    for request in ["r1", "r2", "r3"] {
        generator.deliver(request).await;
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert!(generator.lock_is_free());
    assert_eq!(generator.bell.rings().len(), 2);
}

#[tokio::test]
async fn file_that_cannot_be_completed_again_and_again_uses_up_the_tries() {
    let undisturbed = with_parts_of(300, generator(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let generator = with_parts_of(300, generator(9));
    // The upload is begun and its parts are written; completing it fails.
    generator.files.fuse.blow_after(1 + parts);
    generator.deliver("r1").await;
    assert_eq!((generator.record().tries, generator.record().fence), (0, 1), "the first try got further");
    for request in ["r2", "r3", "r4"] {
        assert_eq!(generator.record().status, Status::Pending);
        // The parts are listed; completing fails.
        generator.files.fuse.blow_after(1);
        generator.deliver(request).await;
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert!(generator.lock_is_free());
}

#[tokio::test]
async fn upload_whose_completion_failed_is_completed_by_the_next_without_reading() {
    let whole = undisturbed(9).await;
    let undisturbed = with_parts_of(300, generator(9));
    undisturbed.deliver("r").await;
    let parts = undisturbed.files.files().values().next().unwrap().parts.len() as u64;
    let generator = with_parts_of(300, generator(9));
    generator.files.fuse.blow_after(1 + parts);
    generator.deliver("r1").await;
    assert!(generator.exports.checkpoint(&export().tenant, &export().id).unwrap().is_whole);
    generator.files.fuse.mend();
    let reads = generator.payouts.reads();
    generator.deliver("r2").await;
    assert_eq!((generator.record().status, generator.payouts.reads()), (Status::Ready, reads));
    assert_eq!(stored(&generator), whole);
}

#[tokio::test]
async fn file_is_completed_by_the_next_invocation_if_there_is_too_little_time_for_it() {
    let whole = undisturbed(9).await;
    // The time is looked at some ten times before the file is whole: nearly all of it is left then, or a third.
    for (tick, is_left_to_the_next) in [(1, false), (18, true)] {
        let generator = with_parts_of(300, generator(9));
        generator.clock.tick(Duration::from_secs(tick));
        generator.deliver("r1").await;
        assert_eq!(generator.record().status == Status::Pending, is_left_to_the_next, "{tick} s");
        assert_eq!(generator.files.completion_limits().is_empty(), is_left_to_the_next);
        if is_left_to_the_next {
            let record = generator.record();
            assert_eq!((record.lease.as_ref(), record.tries), (None, 0), "that costs no try");
            assert_eq!(generator.bell.rings(), [(record.tenant, record.id, Duration::ZERO)]);
            let reads = generator.payouts.reads();
            // However little time it has for that, the next one completes it.
            generator.clock.tick(Duration::from_secs(55));
            generator.deliver("r2").await;
            assert_eq!(generator.payouts.reads(), reads);
        }
        assert_eq!((generator.record().status, generator.files.completion_limits().len()), (Status::Ready, 1));
        assert!(generator.files.completion_limits()[0] <= 5 * MINUTE - Duration::from_secs(10));
        assert_eq!(stored(&generator), whole);
    }
}

/// What a fault does to a generator.
type Break = fn(&Fake);

#[tokio::test]
async fn permanent_error_fails_the_export_at_the_second_attempt_five_minutes_later() {
    let breaks: [(&str, Break); 3] = [
        ("payouts", |generator| generator.payouts.fuse.deny()),
        ("files", |generator| generator.files.fuse.deny()),
        ("links", |generator| generator.links.fuse.deny()),
    ];
    for (name, break_it) in breaks {
        let generator = with_parts_of(300, generator(9));
        break_it(&generator);
        generator.deliver("r1").await;
        let record = generator.record();
        assert_eq!((record.status, record.lease), (Status::Pending, None), "{name}");
        assert_eq!(generator.bell.rings(), [(record.tenant, record.id, 5 * MINUTE)], "{name}");
        assert_eq!(record.due_at, Some(start().plus(6 * MINUTE)), "{name}: the sweeper comes after the bell");
        // A message that comes too early, as a doubled one may, does nothing.
        generator.clock.advance(5 * MINUTE - Duration::from_millis(1));
        generator.deliver("early").await;
        assert_eq!(generator.record().fence, 1, "{name}");
        generator.clock.advance(Duration::from_millis(1));
        break_it(&generator);
        generator.deliver("r2").await;
        let record = generator.record();
        let failure = record.failure.unwrap();
        assert_eq!((record.status, failure.code), (Status::Failed, FailureCode::GenerationFailed), "{name}");
        assert!(failure.message.contains("permission") && !failure.message.contains("denied"), "{failure:?}");
        assert_eq!((record.fence, generator.mailer.mails().len()), (2, 1), "{name}");
        assert!(generator.lock_is_free(), "{name}");
    }
}

#[tokio::test]
async fn permission_that_is_there_at_the_second_attempt_makes_the_export_ready() {
    let generator = generator(3);
    generator.links.fuse.deny();
    generator.deliver("r1").await;
    generator.links.fuse.mend();
    generator.clock.advance(5 * MINUTE);
    generator.deliver("r2").await;
    assert_eq!((generator.record().status, generator.files.files().len()), (Status::Ready, 1));
}

#[tokio::test]
async fn permanent_error_is_remembered_over_an_attempt_that_died() {
    let generator = generator(3);
    generator.payouts.fuse.deny();
    generator.deliver("r1").await;
    // The second attempt holds the lease, and is never heard of again.
    let taken = domain::export::Lease { holder: "r2".into(), until: start().plus(10 * MINUTE) };
    generator.exports.put_export(Export { lease: Some(taken), fence: 2, tries: 2, ..generator.record() });
    generator.clock.advance(10 * MINUTE);
    generator.deliver("r3").await;
    assert_eq!(generator.record().status, Status::Failed);
    assert!(generator.record().failure.unwrap().message.contains("permission"));
}

#[tokio::test]
async fn attempt_that_died_before_its_permanent_error_was_recorded_is_one_of_the_tries() {
    let generator = generator(3);
    generator.payouts.fuse.deny();
    // The lease is taken; giving it up is not recorded.
    generator.exports.fuse.blow_after(2);
    generator.deliver("r1").await;
    generator.exports.fuse.mend();
    assert_eq!((generator.record().tries, generator.record().permanent_error_at), (1, None));
    generator.clock.advance(6 * MINUTE);
    generator.deliver("r2").await;
    assert_eq!(generator.record().status, Status::Pending, "the first that is known");
    generator.clock.advance(5 * MINUTE);
    generator.deliver("r3").await;
    assert_eq!(generator.record().status, Status::Failed);
}

#[tokio::test]
async fn finished_upload_that_may_not_be_looked_at_is_neither_thrown_away_nor_written_again() {
    let whole = undisturbed(9).await;
    let generator = with_parts_of(300, generator(9));
    generator.links.fuse.blow();
    generator.deliver("r1").await;
    generator.links.fuse.mend();
    // As if recording the file had failed: the file is there, and so is its checkpoint.
    let record = generator.record();
    let file = record.file.clone().unwrap();
    generator.exports.put_export(Export { file: None, ..record });
    // The upload is gone, and a look at its file is denied.
    generator.files.fuse.deny_after(1);
    generator.clock.advance(MINUTE);
    generator.deliver("r2").await;
    assert_eq!((generator.record().status, generator.files.files().len()), (Status::Pending, 1));
    generator.files.fuse.mend();
    generator.clock.advance(5 * MINUTE);
    let reads = generator.payouts.reads();
    generator.deliver("r3").await;
    assert_eq!((generator.record().status, generator.payouts.reads()), (Status::Ready, reads));
    assert_eq!((generator.record().file.unwrap().key, stored(&generator)), (file.key, whole));
}

#[tokio::test]
async fn upload_that_is_lost_again_and_again_uses_up_the_tries() {
    // A bucket that refuses parts of this size when it comes to completing them.
    let generator = Generator { files: MemoryFiles::with_least_part(10_000), ..with_parts_of(300, generator(9)) };
    for request in ["r1", "r2", "r3", "r4"] {
        assert_eq!(generator.record().status, Status::Pending);
        generator.deliver(request).await;
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert_eq!(generator.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn mail_that_may_pass_later_is_tried_again_without_writing_the_file_again() {
    let generator = generator(3);
    generator.mailer.answer(MailService::IsDown);
    generator.deliver("r1").await;
    let record = generator.record();
    assert!(record.status == Status::Pending && record.file.is_some());
    generator.mailer.answer(MailService::Accepts);
    generator.payouts.fuse.blow();
    generator.deliver("r2").await;
    assert_eq!(generator.record().status, Status::Ready);
    assert_eq!((generator.files.files().len(), generator.mailer.mails().len()), (1, 1));
}

#[tokio::test]
async fn refused_mail_fails_the_export_with_its_file() {
    let generator = generator(3);
    generator.mailer.answer(MailService::Refuses);
    generator.deliver("r1").await;
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::EmailNotSent));
    assert!(record.file.is_some() && generator.lock_is_free());
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
async fn batch_with_bad_messages_fails_those_alone() {
    let generator = generator(1);
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let unknown = r#"{"version":1,"tenantId":"acme","exportId":"mpo_01a11f3a-7000-7abc-8def-0123456789ab"}"#;
    let response = handle(&generator, event(&["ring", unknown, &good, "{}"])).await;
    let failed: Vec<_> = response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m0", "m3"]);
    assert_eq!(generator.record().status, Status::Ready);
}

#[tokio::test]
async fn message_is_left_to_the_queue_while_the_record_cannot_be_read() {
    let generator = generator(1);
    generator.exports.fuse.blow();
    let good = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let response = handle(&generator, event(&[&good])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
}

#[tokio::test]
async fn message_for_a_record_that_is_spoilt_is_left_to_the_queue_and_the_record_to_the_sweeper() {
    let generator = generator(1);
    generator.exports.spoil(&export().tenant, &export().id, "recipientTo");
    let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, export().id);
    let response = handle(&generator, event(&[&message])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(generator.record(), export());
}

#[tokio::test]
async fn message_for_a_record_that_is_spoilt_and_has_ended_is_done() {
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        let generator = generator(1);
        let ended = Export { status, ..ready_export() };
        generator.exports.put_export(ended.clone());
        generator.exports.spoil(&ended.tenant, &ended.id, "recipientTo");
        let message = format!(r#"{{"version":1,"tenantId":"acme","exportId":"{}"}}"#, ended.id);
        let response = handle(&generator, event(&[&message])).await;
        assert_eq!(response.batch_item_failures.len(), 0, "{status}");
        assert_eq!((generator.record(), generator.mailer.mails().len()), (ended, 0));
    }
}

/// A generator that has five seconds an invocation and spends one on each page: some four pages a hop.
fn hopping(payouts: u64) -> Fake {
    let generator = with_parts_of(250, generator(payouts));
    let file = FileLimits { hand_over_before: Duration::from_secs(1), ..generator.limits.file };
    let limits = Limits { file, ..generator.limits.clone() };
    let clock = FixedClock::default();
    clock.tick(Duration::from_secs(1));
    Generator { limits, clock, ..generator }
}

/// The bytes that an undisturbed run writes.
async fn undisturbed(payouts: u64) -> Vec<u8> {
    let generator = generator(payouts);
    generator.deliver("r1").await;
    let file = generator.record().file.unwrap();
    generator.files.files()[&file.key].bytes.clone()
}

fn stored(generator: &Fake) -> Vec<u8> {
    let file = generator.record().file.unwrap();
    let stored = generator.files.files()[&file.key].clone();
    assert_eq!(stored.bytes.len() as u64, file.bytes);
    stored.bytes
}

impl Fake {
    async fn deliver_for(&self, request_id: &str, time: Duration) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.clock.now().plus(time) };
        self.run(&export().tenant, &export().id, &invocation).await.unwrap();
    }
}

#[tokio::test]
async fn chain_of_more_than_twenty_hops_writes_the_same_file() {
    let generator = hopping(300);
    let mut hops = 0;
    while generator.record().status == Status::Pending {
        hops += 1;
        assert!(hops < 100, "{:?}", generator.record());
        generator.deliver_for(&format!("hop {hops}"), Duration::from_secs(9)).await;
        let record = generator.record();
        assert!(record.tries <= 1, "a hop that gets further costs no try");
    }
    assert!(hops > 20, "{hops}");
    assert_eq!(generator.record().status, Status::Ready);
    assert_eq!(stored(&generator), undisturbed(300).await);
    assert_eq!((generator.mailer.mails().len(), generator.files.unfinished_uploads()), (1, 0));
    assert_eq!(generator.bell.rings().len(), hops - 1);
    assert_eq!(generator.exports.checkpoint(&export().tenant, &export().id), None);
}

#[tokio::test]
async fn hop_that_cannot_get_further_spends_a_try_until_they_are_used_up() {
    let generator = hopping(200);
    for hop in 1..=3 {
        generator.deliver_for("r", Duration::from_millis(1500)).await;
        assert_eq!(generator.record().fence, hop);
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert!(generator.lock_is_free());
}

#[tokio::test]
async fn work_that_stops_at_any_call_to_the_bucket_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 0..100 {
        let generator = with_parts_of(400, generator(40));
        generator.files.fuse.blow_after(calls);
        generator.deliver("r1").await;
        let disturbed = generator.record().status == Status::Pending;
        generator.files.fuse.mend();
        generator.deliver("r2").await;
        assert_eq!(generator.record().status, Status::Ready, "{calls} calls");
        assert_eq!(stored(&generator), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls: the file is in parts");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn work_that_stops_at_any_call_to_the_tables_ends_with_the_same_file() {
    let whole = undisturbed(40).await;
    for calls in 1..100 {
        let generator = with_parts_of(400, generator(40));
        generator.exports.fuse.blow_after(calls);
        let invocation = Invocation { request_id: "r1".into(), ends_at: start().plus(5 * MINUTE) };
        let _ = generator.run(&export().tenant, &export().id, &invocation).await;
        let disturbed = generator.record().status == Status::Pending;
        generator.exports.fuse.mend();
        generator.clock.advance(6 * MINUTE);
        generator.deliver("r2").await;
        assert_eq!(generator.record().status, Status::Ready, "{calls} calls");
        assert_eq!(stored(&generator), whole, "{calls} calls");
        if !disturbed {
            assert!(calls > 10, "{calls} calls");
            return;
        }
    }
    panic!("the file is never written undisturbed");
}

#[tokio::test]
async fn crash_repeats_only_the_work_since_the_last_checkpoint() {
    let generator = with_parts_of(400, generator(40));
    generator.payouts.fuse.blow_after(12);
    generator.deliver("r1").await;
    let checkpoint = generator.exports.checkpoint(&export().tenant, &export().id).unwrap();
    assert!(checkpoint.rows > 0 && checkpoint.rows < 40, "{}", checkpoint.rows);
    generator.payouts.fuse.mend();
    let before = generator.payouts.reads();
    generator.deliver("r2").await;
    let left = (40 - checkpoint.rows) / 2;
    let reads = generator.payouts.reads() - before;
    assert!(reads <= left + 8, "{reads} reads for {left} pages that were left");
    assert_eq!(stored(&generator), undisturbed(40).await);
    assert_eq!(generator.record().file.unwrap().key, object_key(&export().tenant, &export().id, 1));
}

#[tokio::test]
async fn last_try_that_fails_throws_the_upload_away() {
    let generator = with_parts_of(400, generator(40));
    generator.payouts.fuse.blow_after(12);
    for _ in 0..4 {
        assert_eq!(generator.record().status, Status::Pending);
        generator.deliver("r").await;
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert!(record.rows_written > 0, "there was a checkpoint");
    assert_eq!(generator.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn part_that_a_stalled_owner_replaced_is_noticed_and_the_file_begins_anew() {
    let generator = with_parts_of(400, generator(40));
    generator.payouts.fuse.blow_after(12);
    generator.deliver("r1").await;
    generator.files.spoil_part(1);
    generator.payouts.fuse.mend();
    generator.deliver("r2").await;
    assert_eq!(stored(&generator), undisturbed(40).await);
    assert_eq!(generator.record().file.unwrap().key, object_key(&export().tenant, &export().id, 2));
    assert_eq!(generator.files.unfinished_uploads(), 0);
}

#[tokio::test]
async fn upload_that_is_gone_begins_anew() {
    let generator = with_parts_of(400, generator(40));
    generator.payouts.fuse.blow_after(12);
    generator.deliver("r1").await;
    generator.files.forget_uploads();
    generator.payouts.fuse.mend();
    generator.deliver("r2").await;
    assert_eq!(stored(&generator), undisturbed(40).await);
}

#[tokio::test]
async fn file_of_more_parts_than_there_may_be_fails_with_its_bound_and_leaves_nothing() {
    let generator = with_parts_of(400, generator(40));
    let file = FileLimits { most_parts: 3, ..generator.limits.file };
    let generator = Generator { limits: Limits { file, ..generator.limits.clone() }, ..generator };
    generator.deliver("r1").await;
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::FileTooLarge));
    assert_eq!((generator.files.unfinished_uploads(), generator.files.files().len()), (0, 0));
}

#[tokio::test]
async fn progress_is_on_the_record_while_the_work_goes_on() {
    let generator = with_parts_of(1 << 20, generator(40));
    generator.payouts.fuse.blow_after(9);
    generator.deliver("r1").await;
    let record = generator.record();
    assert!(record.rows_written > 0 && record.rows_written < 40, "{}", record.rows_written);
}
