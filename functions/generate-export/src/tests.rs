use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use domain::export::{Export, FailureCode, Status};
use domain::file::object_key;
use domain::lifecycle::Tries;
use domain::payout::Value;
use domain::ports::Clock;
use domain::testing::{
    FixedClock, MailService, MemoryBell, MemoryFiles, MemoryLinks, MemoryMailbox, MemoryPayouts, MemoryStore, export,
    operator, payout, start, with_value,
};
use lambda_runtime::{Context, LambdaEvent};

use super::*;
use crate::job::Limits;

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
        clock: FixedClock::default(),
        limits: Limits {
            tries: Tries { most: 3, backoff: vec![MINUTE] },
            lease_grace: Duration::from_secs(15),
            ring_after: MINUTE,
            part_size: 1 << 20,
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
    async fn ring(&self, request_id: &str) {
        let invocation = Invocation { request_id: request_id.to_owned(), ends_at: self.clock.now().plus(5 * MINUTE) };
        self.run(&export().tenant, &export().id, &invocation).await.unwrap();
    }
}

#[tokio::test]
async fn generator_writes_the_file_mails_it_and_frees_the_lock() {
    let generator = generator(5);
    generator.ring("r1").await;
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
    at_once.ring("r1").await;
    let in_parts = Generator { limits: Limits { part_size: 300, ..at_once.limits.clone() }, ..generator(9) };
    in_parts.ring("r1").await;
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
    generator.ring("r1").await;
    let file = generator.record().file.unwrap();
    assert_eq!(generator.files.files()[&file.key].bytes, domain::file::opening(false).as_bytes());
    assert_eq!(file.rows, 0);
}

#[tokio::test]
async fn second_delivery_of_a_finished_export_does_nothing() {
    let generator = generator(1);
    generator.ring("r1").await;
    let record = generator.record();
    generator.ring("r2").await;
    assert_eq!(generator.record(), record);
    assert_eq!(generator.mailer.mails().len(), 1);
}

#[tokio::test]
async fn delivery_while_another_works_does_nothing() {
    let generator = generator(1);
    let lease = domain::export::Lease { holder: "other".into(), until: start().plus(MINUTE) };
    generator.exports.put_export(Export { lease: Some(lease), fence: 1, tries: 1, ..export() });
    let record = generator.record();
    generator.ring("r2").await;
    assert_eq!(generator.record(), record);
    generator.clock.advance(MINUTE);
    generator.ring("r3").await;
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
    let limits = Limits { part_size: 100, ..base.limits.clone() };
    let generator = Generator { payouts, limits, ..base };
    generator.ring("r1").await;
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
    generator.ring("r1").await;
    let record = generator.record();
    assert_eq!((record.status, record.lease.as_ref(), record.tries), (Status::Pending, None, 1));
    assert_eq!(generator.bell.rings(), [(record.tenant.clone(), record.id, MINUTE)]);
    assert_eq!(record.due_at, Some(start().plus(2 * MINUTE)), "the sweeper comes after the bell");
    generator.payouts.fuse.mend();
    generator.ring("r2").await;
    assert_eq!(generator.record().status, Status::Ready);
}

#[tokio::test]
async fn last_try_that_fails_ends_the_export() {
    let generator = generator(3);
    generator.files.fuse().blow();
    for request in ["r1", "r2", "r3"] {
        generator.ring(request).await;
    }
    let record = generator.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert!(generator.lock_is_free());
    assert_eq!(generator.bell.rings().len(), 2);
}

#[tokio::test]
async fn mail_that_may_pass_later_is_tried_again_without_writing_the_file_again() {
    let generator = generator(3);
    generator.mailer.answer(MailService::IsDown);
    generator.ring("r1").await;
    let record = generator.record();
    assert!(record.status == Status::Pending && record.file.is_some());
    generator.mailer.answer(MailService::Accepts);
    generator.payouts.fuse.blow();
    generator.ring("r2").await;
    assert_eq!(generator.record().status, Status::Ready);
    assert_eq!((generator.files.files().len(), generator.mailer.mails().len()), (1, 1));
}

#[tokio::test]
async fn refused_mail_fails_the_export_with_its_file() {
    let generator = generator(3);
    generator.mailer.answer(MailService::Refuses);
    generator.ring("r1").await;
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
