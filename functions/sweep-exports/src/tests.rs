use exports_domain::export::Lease;
use exports_domain::failure::FailureCode;
use exports_domain::id::ExportId;
use exports_domain::testing::{
    FakeSystem, MailService, MemoryMailbox, MemoryQueue, MemoryStore, export, ready_export, ready_until, start, state,
    with_work,
};
use exports_telemetry::testing::Log;
use tokio::time::Instant;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    exports: MemoryStore,
    queue: MemoryQueue,
    mail: MemoryMailbox,
    system: FakeSystem,
}

/// A store with these exports, `minutes` after [`start`].
fn world(exports: impl IntoIterator<Item = Export>, minutes: u32) -> World {
    let store = MemoryStore::default();
    exports.into_iter().for_each(|export| store.put_export(export));
    let system = FakeSystem::default();
    system.advance(minutes * MINUTE);
    World { exports: store, queue: MemoryQueue::default(), mail: MemoryMailbox::default(), system }
}

impl World {
    fn sweeper(&self) -> Sweeper<'_, MemoryStore> {
        Sweeper {
            exports: &self.exports,
            queue: &self.queue,
            mail: &self.mail,
            back_office: None,
            system: &self.system,
            max_attempts: 3,
            re_enqueue_after: MINUTE,
        }
    }

    async fn sweep(&self, ends_at: Timestamp) -> Result<Swept, DependencyError> {
        self.sweeper().sweep(ends_at).await
    }

    async fn swept(&self) -> Swept {
        self.sweep(self.system.now().plus(MINUTE)).await.unwrap()
    }

    fn record(&self) -> Export {
        self.exports.exports().remove(0)
    }
}

fn checked_at(export: Export, next_check_at: Timestamp) -> Export {
    with_work(export, |pending| pending.next_check_at = next_check_at)
}

/// [`export`] after its first owner acquired this lease.
fn owned(lease: Lease, next_check_at: Timestamp) -> Export {
    let owned = with_work(checked_at(export(), next_check_at), |pending| pending.lease = Some(lease));
    Export { attempts: 1, fencing_token: 1, ..owned }
}

#[tokio::test]
async fn pending_export_is_re_enqueued_with_growing_delays() {
    let world = world([export()], 0);
    assert_eq!(world.swept().await, Swept::default());
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await, Swept { re_enqueued: 1, ..Swept::default() });
    assert_eq!(world.queue.enqueued(), [(export().tenant, export().id, Duration::ZERO)]);
    assert_eq!(world.record().next_check_at(), Some(start().plus(2 * MINUTE)));
    assert_eq!(world.swept().await, Swept::default(), "a second sweep does nothing");
    world.system.advance(19 * MINUTE);
    assert_eq!(world.swept().await.re_enqueued, 1);
    assert_eq!(world.record().next_check_at(), Some(start().plus(25 * MINUTE)));
    world.system.advance(280 * MINUTE);
    assert_eq!(world.swept().await.re_enqueued, 1);
    assert_eq!(world.record().next_check_at(), Some(start().plus(310 * MINUTE)), "ten minutes at most");
}

#[tokio::test]
async fn leased_export_is_re_enqueued_after_lease_expires() {
    let lease = Lease { owner: "r".into(), until: start().plus(5 * MINUTE) };
    let next_check_at = lease.until;
    let world = world([owned(lease, next_check_at)], 4);
    assert_eq!(world.swept().await, Swept::default());
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await.re_enqueued, 1);
}

#[tokio::test]
async fn export_with_attempts_used_up_fails() {
    let world = world([Export { attempts: 3, fencing_token: 3, ..export() }], 1);
    assert_eq!(world.swept().await, Swept { failed: 1, ..Swept::default() });
    let record = world.record();
    assert_eq!(
        (record.status(), record.failure().cloned().unwrap().code),
        (Status::Failed, FailureCode::GenerationFailed)
    );
    assert_eq!(world.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert_eq!(world.mail.mails().len(), 1);
    assert!(world.queue.enqueued().is_empty());
}

#[tokio::test]
async fn leased_export_past_its_deadline_fails() {
    let lease = Lease { owner: "r".into(), until: start().plus(365 * MINUTE) };
    let next_check_at = start().plus(360 * MINUTE);
    let world = world([owned(lease, next_check_at)], 360);
    assert_eq!(world.swept().await, Swept { failed: 1, ..Swept::default() });
    let failure = world.record().failure().cloned().unwrap();
    assert_eq!(failure.code, FailureCode::DeadlinePassed);
    assert_eq!(failure.message, "The export did not finish within its time limit of 6 hours.");
}

/// A world with a pending export whose record has a corrupt `attribute` and whose next check time has come.
fn corrupt_world(attribute: &'static str) -> World {
    let world = world([checked_at(export(), start())], 0);
    world.exports.corrupt(&export().tenant, &export().id, attribute);
    world
}

#[tokio::test]
async fn corrupt_pending_export_is_an_error_until_its_deadline() {
    let world = corrupt_world("recipientTo");
    for minutes in [0, 1, 358] {
        world.system.advance(minutes * MINUTE);
        assert_eq!(world.swept().await, Swept { errors: 1, ..Swept::default() });
        assert_eq!((world.record().status(), world.record().next_check_at()), (Status::Pending, Some(start())));
    }
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await, Swept { failed: 1, ..Swept::default() });
    let record = world.record();
    assert_eq!((record.status(), record.next_check_at()), (Status::Failed, None));
    assert_eq!(record.updated_at, world.system.now());
    assert_eq!(record.failure().cloned().unwrap().code, FailureCode::DeadlinePassed);
    assert_eq!(world.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert!(world.mail.mails().is_empty(), "the address is corrupt");
    assert!(world.queue.enqueued().is_empty());
    assert_eq!(world.swept().await, Swept::default());
}

#[tokio::test]
async fn log_names_the_corrupt_record_and_attribute() {
    let (log, _guard) = Log::capture();
    let world = corrupt_world("recipientTo");
    world.swept().await;
    world.system.set(export().deadline);
    world.swept().await;
    let errors: Vec<_> = log.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    for line in errors {
        let (tenant, id) = (export().tenant.to_string(), export().id.to_string());
        let span = &line["spans"][0];
        assert_eq!([&span["tenantId"], &span["exportId"], &line["attribute"]], [&tenant, &id, "recipientTo"], "{line}");
    }
}

#[tokio::test]
async fn log_lines_of_an_export_name_the_request_that_launched_it() {
    let (log, _guard) = Log::capture();
    let world = world([export()], 1);
    world.swept().await;
    world.mail.behave(MailService::IsDown);
    world.system.set(export().deadline);
    world.swept().await;
    // The failure mail is attempted once.
    world.system.advance(MINUTE);
    world.swept().await;
    let lines = log.events();
    let of_export: Vec<_> = lines.iter().filter(|line| line["spans"][0]["exportId"].is_string()).collect();
    let messages: Vec<_> = of_export.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["export enqueued again", "export failed", "the failure mail was not sent"]);
    for line in of_export {
        assert_eq!(line["spans"][0]["launchRequestId"], "launch", "{line}");
    }
}

#[tokio::test]
async fn corrupt_deadline_fails_after_the_longest_deadline() {
    let world = corrupt_world("deadline");
    world.system.advance(Duration::from_secs(8 * 86_400) - MINUTE);
    assert_eq!(world.swept().await, Swept { errors: 1, ..Swept::default() });
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await, Swept { failed: 1, ..Swept::default() });
    assert_eq!(world.record().failure().cloned().unwrap().code, FailureCode::DeadlinePassed);
}

/// The index is stale: it still lists the export as pending.
#[tokio::test]
async fn corrupt_export_that_is_not_pending_is_unchanged() {
    let world = world([], 9 * 24 * 60);
    let check = ScheduledCheck { tenant: export().tenant, id: export().id, at: start() };
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        let before = Export { state: state(status), ..ready_export() };
        world.exports.put_export(before.clone());
        world.exports.corrupt(&check.tenant, &check.id, "deadline");
        assert!(matches!(world.sweeper().check(&check, Status::Pending).await, Ok(Outcome::Unchanged)));
        assert_eq!(world.record(), before);
    }
}

#[tokio::test]
async fn corrupt_ready_export_expires() {
    let world = world([ready_export()], 72 * 60);
    world.exports.corrupt(&export().tenant, &export().id, "recipientTo");
    assert_eq!(world.swept().await, Swept { expired: 1, ..Swept::default() });
    assert_eq!((world.record().status(), world.record().next_check_at()), (Status::Expired, None));
}

#[tokio::test]
async fn ready_export_expires_with_its_link() {
    let world = world([ready_export()], 72 * 60 - 1);
    assert_eq!(world.swept().await, Swept::default());
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await, Swept { expired: 1, ..Swept::default() });
    assert_eq!((world.record().status(), world.record().next_check_at()), (Status::Expired, None));
}

#[tokio::test]
async fn failed_enqueue_is_repeated_by_a_later_sweep() {
    let world = world([export()], 1);
    world.queue.failures.inject();
    assert_eq!(world.swept().await, Swept { errors: 1, ..Swept::default() });
    world.queue.failures.stop();
    world.system.advance(MINUTE);
    assert_eq!(world.swept().await.re_enqueued, 1);
}

#[tokio::test]
async fn all_pages_of_scheduled_checks_are_processed() {
    let many = (0..u8::MAX).flat_map(|a| [0_u8, 8, 16].map(|b| (a, b))).map(|(a, b)| {
        let mut random = [7; 10];
        (random[4], random[9]) = (a, b);
        let id = ExportId::new(export().id.export_type(), start(), &random);
        Export { id, ..ready_export() }
    });
    let world = world(many, 72 * 60);
    assert_eq!(world.swept().await, Swept { expired: 765, ..Swept::default() });
}

#[tokio::test]
async fn failing_records_do_not_block_others() {
    // More than a page of failing records before the valid one, in the same shard.
    let ids: Vec<_> = (0..=PAGE)
        .map(|n| {
            let mut random = [0; 10];
            random[5..9].copy_from_slice(&n.to_be_bytes());
            ExportId::new(export().id.export_type(), start(), &random)
        })
        .collect();
    let world = world([], 72 * 60);
    for (n, id) in ids.iter().enumerate() {
        let next_check_at = start().plus(Duration::from_secs(n as u64));
        world.exports.put_export(Export { id: *id, state: ready_until(next_check_at), ..ready_export() });
    }
    assert!(ids.iter().all(|id| id.random_byte() == ids[0].random_byte()), "in one shard");
    let (valid, broken) = ids.split_last().unwrap();
    broken.iter().for_each(|id| world.exports.break_export(*id));
    let swept = world.sweep(world.system.now().plus(MINUTE)).await.unwrap();
    assert_eq!(swept, Swept { expired: 1, errors: u64::from(PAGE), ..Swept::default() });
    let records = world.exports.exports();
    assert_eq!(
        records.iter().filter(|record| record.status() == Status::Expired).map(|r| r.id).collect::<Vec<_>>(),
        [*valid]
    );
}

#[tokio::test]
async fn sweep_without_enough_time_stops() {
    let world = world([export()], 1);
    let ends_at = world.system.now().plus(TIME_TO_FINISH);
    assert_eq!(world.sweep(ends_at).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn oldest_pending_includes_leased_exports() {
    let lease = Lease { owner: "r".into(), until: start().plus(90 * MINUTE) };
    let next_check_at = lease.until;
    let world = world([owned(lease, next_check_at)], 85);
    assert_eq!(world.sweeper().oldest_pending().await, Some(85 * MINUTE));
    world.exports.failures.inject();
    assert_eq!(world.sweeper().oldest_pending().await, None, "an unknown age is not zero");
}

#[tokio::test]
async fn oldest_pending_is_zero_without_pending_exports() {
    let world = world([ready_export()], 5);
    assert_eq!(world.sweeper().oldest_pending().await, Some(Duration::ZERO));
}

#[tokio::test]
async fn oldest_pending_is_found_behind_a_page_of_younger_ones() {
    // In one shard, all with an earlier next check time than the oldest.
    let younger = (0..=PENDING_PAGE).map(|number| {
        let mut random = [0; 10];
        random[5..9].copy_from_slice(&number.to_be_bytes());
        let id = ExportId::new(export().id.export_type(), start().plus(80 * MINUTE), &random);
        checked_at(Export { id, ..export() }, start().plus(90 * MINUTE))
    });
    let oldest = ExportId::new(export().id.export_type(), start(), &[0; 10]);
    let oldest = checked_at(Export { id: oldest, ..export() }, start().plus(99 * MINUTE));
    let world = world(younger.chain([oldest]), 85);
    assert_eq!(world.sweeper().oldest_pending().await, Some(85 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn oldest_pending_is_unknown_after_time_out() {
    let world = world([export()], 1);
    world.exports.hang_checks(PENDING_PAGE);
    let started = Instant::now();
    assert_eq!(world.sweeper().oldest_pending_before(world.system.now().plus(MINUTE)).await, None);
    assert_eq!(started.elapsed(), MINUTE - TIME_TO_FINISH);
}

#[tokio::test(start_paused = true)]
async fn hanging_age_query_does_not_delay_the_sweep() {
    let world = world([export()], 1);
    world.exports.hang_checks(PENDING_PAGE);
    let sweep = world.sweep(world.system.now().plus(MINUTE));
    timeout(Duration::from_millis(50), sweep).await.unwrap_err();
    assert_eq!(world.queue.enqueued().len(), 1);
    // The sweep itself finishes in time.
    world.sweep(world.system.now().plus(MINUTE)).await.unwrap();
}

#[tokio::test]
async fn unreadable_shard_fails_the_sweep() {
    let world = world([export()], 1);
    world.exports.failures.inject();
    assert!(world.sweep(start().plus(9 * MINUTE)).await.is_err());
}

#[tokio::test]
async fn checks_that_name_no_export_are_errors() {
    let world = world([], 0);
    world.exports.put_corrupt_checks(2);
    assert_eq!(world.swept().await, Swept { errors: 2, ..Swept::default() });
}

#[tokio::test]
async fn export_that_something_else_changes_first_is_unchanged() {
    let world = world([ready_export()], 72 * 60);
    let resent = Export { state: ready_until(start().plus(6000 * MINUTE)), ..ready_export() };
    world.exports.before_apply(move |_, store| store.put_export(resent.clone()));
    assert_eq!(world.swept().await, Swept { unchanged: 1, ..Swept::default() });
}
