use std::io::Write;
use std::sync::{Arc, Mutex};

use domain::export::{FailureCode, Lease};
use domain::id::{ExportId, TenantId};
use domain::lifecycle::Step;
use domain::ports::{DuePage, NotRead};
use domain::testing::{FixedClock, MemoryBell, MemoryMailbox, MemoryStore, export, ready_export, start};
use serde_json::Value;
use tokio::time::Instant;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

type Fake = Sweeper<MemoryStore, MemoryBell, MemoryMailbox, FixedClock>;

/// A sweeper in front of these exports, `minutes` after the samples begin.
fn sweeper(exports: impl IntoIterator<Item = Export>, minutes: u32) -> Fake {
    let store = MemoryStore::default();
    exports.into_iter().for_each(|export| store.put_export(export));
    let clock = FixedClock::default();
    clock.advance(minutes * MINUTE);
    Sweeper {
        exports: store,
        bell: MemoryBell::default(),
        mailer: MemoryMailbox::default(),
        back_office: None,
        clock,
        most_tries: 3,
        ring_after: MINUTE,
    }
}

impl Fake {
    async fn swept(&self) -> Swept {
        self.sweep(self.clock.now().plus(MINUTE)).await.unwrap()
    }

    fn record(&self) -> Export {
        self.exports.exports().remove(0)
    }
}

#[tokio::test]
async fn pending_export_that_nobody_took_is_rung_for_again_with_growing_waits() {
    let sweeper = sweeper([export()], 0);
    assert_eq!(sweeper.swept().await, Swept::default());
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await, Swept { rung: 1, ..Swept::default() });
    assert_eq!(sweeper.bell.rings(), [(export().tenant, export().id, Duration::ZERO)]);
    assert_eq!(sweeper.record().due_at, Some(start().plus(2 * MINUTE)));
    assert_eq!(sweeper.swept().await, Swept::default(), "a second sweep has nothing to do");
    sweeper.clock.advance(19 * MINUTE);
    assert_eq!(sweeper.swept().await.rung, 1);
    assert_eq!(sweeper.record().due_at, Some(start().plus(25 * MINUTE)));
}

#[tokio::test]
async fn export_in_work_is_left_alone_until_its_lease_is_over() {
    let lease = Lease { holder: "r".into(), until: start().plus(5 * MINUTE) };
    let due_at = Some(lease.until);
    let sweeper = sweeper([Export { lease: Some(lease), due_at, tries: 1, fence: 1, ..export() }], 4);
    assert_eq!(sweeper.swept().await, Swept::default());
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await.rung, 1);
}

#[tokio::test]
async fn export_whose_tries_are_used_up_ends() {
    let sweeper = sweeper([Export { tries: 3, fence: 3, ..export() }], 1);
    assert_eq!(sweeper.swept().await, Swept { failed: 1, ..Swept::default() });
    let record = sweeper.record();
    assert_eq!((record.status, record.failure.unwrap().code), (Status::Failed, FailureCode::GenerationFailed));
    assert_eq!(sweeper.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert_eq!(sweeper.mailer.mails().len(), 1);
    assert!(sweeper.bell.rings().is_empty());
}

#[tokio::test]
async fn export_past_its_deadline_ends_whoever_works_on_it() {
    let lease = Lease { holder: "r".into(), until: start().plus(365 * MINUTE) };
    let due_at = Some(start().plus(360 * MINUTE));
    let sweeper = sweeper([Export { lease: Some(lease), due_at, tries: 1, fence: 1, ..export() }], 360);
    assert_eq!(sweeper.swept().await, Swept { failed: 1, ..Swept::default() });
    let failure = sweeper.record().failure.unwrap();
    assert_eq!(failure.code, FailureCode::DeadlinePassed);
    assert_eq!(failure.message, "The export was not finished within the 6 hours that it may take.");
}

/// A sweeper in front of a pending export that cannot be read because of `attribute`, and is due at once.
fn sweeper_of_spoilt(attribute: &'static str) -> Fake {
    let sweeper = sweeper([Export { due_at: Some(start()), ..export() }], 0);
    sweeper.exports.spoil(&export().tenant, &export().id, attribute);
    sweeper
}

#[tokio::test]
async fn record_that_cannot_be_read_is_an_error_until_its_deadline_ends_it() {
    let sweeper = sweeper_of_spoilt("recipientTo");
    for minutes in [0, 1, 358] {
        sweeper.clock.advance(minutes * MINUTE);
        assert_eq!(sweeper.swept().await, Swept { errors: 1, ..Swept::default() });
        assert_eq!((sweeper.record().status, sweeper.record().due_at), (Status::Pending, Some(start())));
    }
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await, Swept { failed: 1, ..Swept::default() });
    let record = sweeper.record();
    assert_eq!((record.status, record.due_at), (Status::Failed, None));
    assert_eq!(record.updated_at, sweeper.clock.now());
    assert_eq!(record.failure.unwrap().code, FailureCode::DeadlinePassed);
    assert_eq!(sweeper.exports.locked_by(&record.tenant, record.id.export_type()), None);
    assert!(sweeper.mailer.mails().is_empty(), "whom to tell cannot be read");
    assert!(sweeper.bell.rings().is_empty());
    assert_eq!(sweeper.swept().await, Swept::default());
}

#[tokio::test]
async fn log_names_the_record_that_cannot_be_read_and_its_attribute() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    let _logged = tracing::subscriber::set_default(telemetry::subscriber(move || Writer(writer.clone())));
    let sweeper = sweeper_of_spoilt("recipientTo");
    sweeper.swept().await;
    sweeper.clock.set(export().deadline);
    sweeper.swept().await;
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let errors: Vec<_> = lines.filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "{log}");
    for line in errors {
        let (tenant, id) = (export().tenant.to_string(), export().id.to_string());
        assert_eq!([&line["tenantId"], &line["exportId"], &line["attribute"]], [&tenant, &id, "recipientTo"], "{line}");
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn record_whose_deadline_cannot_be_read_ends_once_any_deadline_would_have_passed() {
    let sweeper = sweeper_of_spoilt("deadline");
    sweeper.clock.advance(BEYOND_DEADLINES - MINUTE);
    assert_eq!(sweeper.swept().await, Swept { errors: 1, ..Swept::default() });
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await, Swept { failed: 1, ..Swept::default() });
    assert_eq!(sweeper.record().failure.unwrap().code, FailureCode::DeadlinePassed);
}

/// An index that is behind: it has the export as pending and due, which has ended since.
#[tokio::test]
async fn record_that_cannot_be_read_and_has_ended_is_left_as_it_is() {
    let sweeper = sweeper([], 9 * 24 * 60);
    let due = Due { tenant: export().tenant, id: export().id, due_at: start() };
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        let before = Export { status, ..ready_export() };
        sweeper.exports.put_export(before.clone());
        sweeper.exports.spoil(&due.tenant, &due.id, "deadline");
        assert!(matches!(sweeper.look_at(&due, Status::Pending).await, Ok(Outcome::Unchanged)));
        assert_eq!(sweeper.record(), before);
    }
}

#[tokio::test]
async fn ready_export_that_cannot_be_read_expires_all_the_same() {
    let sweeper = sweeper([ready_export()], 72 * 60);
    sweeper.exports.spoil(&export().tenant, &export().id, "recipientTo");
    assert_eq!(sweeper.swept().await, Swept { expired: 1, ..Swept::default() });
    assert_eq!((sweeper.record().status, sweeper.record().due_at), (Status::Expired, None));
}

#[tokio::test]
async fn ready_export_expires_with_its_link_and_not_before() {
    let sweeper = sweeper([ready_export()], 72 * 60 - 1);
    assert_eq!(sweeper.swept().await, Swept::default());
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await, Swept { expired: 1, ..Swept::default() });
    assert_eq!((sweeper.record().status, sweeper.record().due_at), (Status::Expired, None));
}

#[tokio::test]
async fn bell_that_fails_is_rung_by_a_later_sweep() {
    let sweeper = sweeper([export()], 1);
    sweeper.bell.fuse.blow();
    assert_eq!(sweeper.swept().await, Swept { errors: 1, ..Swept::default() });
    sweeper.bell.fuse.mend();
    sweeper.clock.advance(MINUTE);
    assert_eq!(sweeper.swept().await.rung, 1);
}

#[tokio::test]
async fn every_due_export_is_dealt_with_however_many_there_are() {
    let many = (0..u8::MAX).flat_map(|a| [0_u8, 8, 16].map(|b| (a, b))).map(|(a, b)| {
        let mut random = [7; 10];
        (random[4], random[9]) = (a, b);
        let id = ExportId::new(export().id.export_type(), start(), &random);
        Export { id, ..ready_export() }
    });
    let sweeper = sweeper(many, 72 * 60);
    assert_eq!(sweeper.swept().await, Swept { expired: 765, ..Swept::default() });
}

/// A store that some records of cannot be read or changed.
#[derive(Debug)]
struct Spoilt {
    store: MemoryStore,
    bad: Vec<ExportId>,
    /// Whether the index answers for all that is pending, and not only for what is due.
    tells_age: bool,
}

impl Spoilt {
    fn check(&self, id: &ExportId) -> Result<(), Outage> {
        if self.bad.contains(id) { Err(Outage::new("read the export", "it is spoilt")) } else { Ok(()) }
    }
}

impl DueExports for Spoilt {
    async fn due_exports(
        &self,
        status: Status,
        shard: u8,
        now: Timestamp,
        after: Option<&DuePlace>,
        limit: u32,
    ) -> Result<DuePage, Outage> {
        if limit == PENDING_PAGE && !self.tells_age {
            std::future::pending::<()>().await;
        }
        self.store.due_exports(status, shard, now, after, limit).await
    }
}

impl FindExport for Spoilt {
    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, NotRead> {
        self.check(id)?;
        self.store.find_export(tenant, id).await
    }
}

impl ApplyStep for Spoilt {
    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        self.check(id).map_err(NotApplied::Outage)?;
        self.store.apply_step(tenant, id, step).await
    }
}

#[tokio::test]
async fn records_that_cannot_be_dealt_with_keep_no_other_waiting() {
    // More than a page of them, due before the good one, in the same shard.
    let ids: Vec<_> = (0..=PAGE)
        .map(|n| {
            let mut random = [0; 10];
            random[5..9].copy_from_slice(&n.to_be_bytes());
            ExportId::new(export().id.export_type(), start(), &random)
        })
        .collect();
    let Sweeper { exports: store, bell, mailer, back_office, clock, most_tries, ring_after } = sweeper([], 72 * 60);
    for (n, id) in ids.iter().enumerate() {
        let due_at = start().plus(Duration::from_secs(n as u64));
        store.put_export(Export { id: *id, link_expires_at: Some(due_at), due_at: Some(due_at), ..ready_export() });
    }
    assert!(ids.iter().all(|id| id.shard() == ids[0].shard()));
    let good = ids[ids.len() - 1];
    let exports = Spoilt { store, bad: ids[..ids.len() - 1].to_vec(), tells_age: true };
    let sweeper = Sweeper { exports, bell, mailer, back_office, clock, most_tries, ring_after };
    let swept = sweeper.sweep(sweeper.clock.now().plus(MINUTE)).await.unwrap();
    assert_eq!(swept, Swept { expired: 1, errors: u64::from(PAGE), ..Swept::default() });
    let records = sweeper.exports.store.exports();
    assert_eq!(
        records.iter().filter(|record| record.status == Status::Expired).map(|r| r.id).collect::<Vec<_>>(),
        [good]
    );
}

#[tokio::test]
async fn sweep_that_is_short_of_time_leaves_the_rest_to_the_next() {
    let sweeper = sweeper([export()], 1);
    let ends_at = sweeper.clock.now().plus(TIME_TO_FINISH);
    assert_eq!(sweeper.sweep(ends_at).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn age_of_the_oldest_pending_export_counts_what_is_in_work_too() {
    let lease = Lease { holder: "r".into(), until: start().plus(90 * MINUTE) };
    let due_at = Some(lease.until);
    let sweeper = sweeper([Export { lease: Some(lease), due_at, tries: 1, fence: 1, ..export() }], 85);
    assert_eq!(sweeper.oldest_pending().await, Some(85 * MINUTE));
    sweeper.exports.fuse.blow();
    assert_eq!(sweeper.oldest_pending().await, None, "an age that is not known is not young");
}

#[tokio::test]
async fn age_of_the_oldest_pending_export_is_zero_when_none_is() {
    let sweeper = sweeper([ready_export()], 5);
    assert_eq!(sweeper.oldest_pending().await, Some(Duration::ZERO));
}

#[tokio::test]
async fn oldest_pending_export_is_found_behind_any_number_of_younger_ones() {
    // In one shard, all of them with a next look before the oldest one's.
    let younger = (0..=PENDING_PAGE).map(|number| {
        let mut random = [0; 10];
        random[5..9].copy_from_slice(&number.to_be_bytes());
        let id = ExportId::new(export().id.export_type(), start().plus(80 * MINUTE), &random);
        Export { id, due_at: Some(start().plus(90 * MINUTE)), ..export() }
    });
    let oldest = ExportId::new(export().id.export_type(), start(), &[0; 10]);
    let oldest = Export { id: oldest, due_at: Some(start().plus(99 * MINUTE)), ..export() };
    let sweeper = sweeper(younger.chain([oldest]), 85);
    assert_eq!(sweeper.oldest_pending().await, Some(85 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn age_that_is_not_found_in_time_is_not_told() {
    let Sweeper { exports: store, bell, mailer, back_office, clock, most_tries, ring_after } = sweeper([export()], 1);
    let exports = Spoilt { store, bad: Vec::new(), tells_age: false };
    let sweeper = Sweeper { exports, bell, mailer, back_office, clock, most_tries, ring_after };
    let began = Instant::now();
    assert_eq!(sweeper.oldest_pending_before(sweeper.clock.now().plus(MINUTE)).await, None);
    assert_eq!(began.elapsed(), MINUTE - TIME_TO_FINISH);
}

#[tokio::test(start_paused = true)]
async fn index_that_does_not_tell_the_age_keeps_no_export_waiting() {
    let Sweeper { exports: store, bell, mailer, back_office, clock, most_tries, ring_after } = sweeper([export()], 1);
    let exports = Spoilt { store, bad: Vec::new(), tells_age: false };
    let sweeper = Sweeper { exports, bell, mailer, back_office, clock, most_tries, ring_after };
    let sweep = sweeper.sweep(sweeper.clock.now().plus(MINUTE));
    timeout(Duration::from_millis(50), sweep).await.unwrap_err();
    assert_eq!(sweeper.bell.rings().len(), 1);
    // The sweep itself ends in time.
    sweeper.sweep(sweeper.clock.now().plus(MINUTE)).await.unwrap();
}

#[tokio::test]
async fn shard_that_cannot_be_read_fails_the_sweep() {
    let sweeper = sweeper([export()], 1);
    sweeper.exports.fuse.blow();
    assert!(sweeper.sweep(start().plus(9 * MINUTE)).await.is_err());
}
