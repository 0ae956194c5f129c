use super::*;
use crate::caller::{Caller, ClientType, Person};
use crate::email::Recipients;
use crate::export::{FailureCode, Terms};
use crate::file::Totals;
use crate::id::{ExportId, ExportType};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-10-08T08:30:00.000Z".parse().unwrap()
}

fn minutes(n: u64) -> Timestamp {
    start().plus(Duration::from_secs(60 * n))
}

fn tries() -> Tries {
    Tries {
        most: 3,
        backoff: vec![Duration::from_secs(15), Duration::from_secs(60)],
        permanent_wait: Duration::from_secs(300),
    }
}

fn lease(until: Timestamp) -> Lease {
    Lease { holder: "request-1".into(), until }
}

/// An export as it was accepted.
pub fn export() -> Export {
    let email = "ann@example.com".parse::<crate::email::EmailAddress>().unwrap();
    let recipients = Recipients::new(email.clone(), ["cc@example.com".parse().unwrap()]).unwrap();
    let caller = Caller {
        tenant: "acme".parse().unwrap(),
        client: ClientType::Operator,
        user: Person { email, name: "Ann".parse().unwrap() },
    };
    let id = ExportId::new(ExportType::MarketplacePayouts, start(), &[7; 10]);
    Export::accept(id, &caller, recipients, Terms::new(72 * HOUR, 720 * HOUR, 6 * HOUR, false), HOUR / 60)
}

/// A whole file.
pub fn file() -> ExportFile {
    ExportFile {
        key: "exports/acme/mpo/1.csv".into(),
        name: "marketplace-payouts-acme-20261008T083000Z.csv".into(),
        rows: 3,
        bytes: 1000,
        sha256: "ab".repeat(32),
        totals: Totals::default(),
        expires_at: start().plus(720 * HOUR),
    }
}

fn taken(now: Timestamp, export: &Export) -> Export {
    take(export, now, lease(now.plus(HOUR / 12)), &tries()).unwrap().apply(export).unwrap()
}

fn gave_up(export: &Export, now: Timestamp, retry_at: Timestamp) -> Export {
    give_up(export, now, ErrorKind::Transient, retry_at).apply(export).unwrap()
}

fn met_permanent_error(export: &Export, now: Timestamp) -> Export {
    give_up(export, now, ErrorKind::Permanent, now.plus(HOUR / 12)).apply(export).unwrap()
}

fn failure() -> Failure {
    Failure { code: FailureCode::GenerationFailed, message: "m".into() }
}

#[test]
fn accepted_export_is_pending_and_due_after_the_first_ring() {
    let export = export();
    assert_eq!((export.status, export.fence, export.tries), (Status::Pending, 0, 0));
    assert_eq!(export.due_at, Some(minutes(1)));
    assert_eq!(export.deadline, start().plus(6 * HOUR));
    assert_eq!(export.as_of(), start());
}

#[test]
fn taking_raises_the_fence_counts_a_try_and_is_due_when_the_lease_is_over() {
    let export = taken(minutes(0), &export());
    assert_eq!((export.fence, export.tries), (1, 1));
    assert_eq!(export.lease, Some(lease(minutes(5))));
    assert_eq!(export.due_at, Some(minutes(5)));
}

#[test]
fn sweeper_looks_at_the_deadline_even_when_a_lease_runs_longer() {
    let export = taken(minutes(359), &export());
    assert_eq!(export.lease, Some(lease(minutes(364))));
    assert_eq!(export.due_at, Some(minutes(360)));
}

#[test]
fn taking_is_refused_while_leased_finished_used_up_or_too_late() {
    let fresh = export();
    let held = taken(minutes(0), &fresh);
    let take_at = |export: &Export, now| take(export, now, lease(now), &tries()).unwrap_err();
    assert_eq!(take_at(&held, minutes(4)), NotTaken::Leased);
    assert!(take(&held, minutes(5), lease(minutes(9)), &tries()).is_ok());
    assert_eq!(take_at(&Export { tries: 3, ..fresh.clone() }, minutes(0)), NotTaken::TriesUsedUp);
    assert_eq!(take_at(&fresh, minutes(360)), NotTaken::DeadlinePassed);
    assert_eq!(take_at(&Export { status: Status::Ready, ..fresh }, minutes(0)), NotTaken::Finished);
}

#[test]
fn two_who_read_the_same_record_cannot_both_take_it() {
    let read = export();
    let step = take(&read, minutes(0), lease(minutes(5)), &tries()).unwrap();
    let after = step.apply(&read).unwrap();
    assert_eq!(step.apply(&after), None);
    assert_eq!(step.apply(&gave_up(&after, minutes(1), minutes(2))), None);
}

#[test]
fn work_is_not_taken_by_one_who_does_not_know_of_the_file() {
    let late_owner = taken(minutes(0), &export());
    let read = late_owner.clone();
    let recorded = record_file(&late_owner, minutes(6), file()).apply(&late_owner).unwrap();
    let take_at = |read: &Export| take(read, minutes(6), lease(minutes(11)), &tries()).unwrap();
    assert_eq!(take_at(&read).apply(&recorded), None, "read before the file was recorded");
    assert_eq!(take_at(&recorded).apply(&recorded).unwrap().file, Some(file()));
}

#[test]
fn former_owner_changes_nothing() {
    let first = taken(minutes(0), &export());
    let second = taken(minutes(6), &first);
    for step in [
        give_up(&first, minutes(7), ErrorKind::Transient, minutes(8)),
        give_up(&first, minutes(7), ErrorKind::Permanent, minutes(8)),
        record_file(&first, minutes(7), file()),
        progress(&first, minutes(7), 9),
        advance(&first, minutes(7), 9),
        hand_over(&first, minutes(7), 9, true, minutes(8)),
        ready(&Export { file: Some(file()), ..first.clone() }, minutes(7), minutes(100)),
        fail(&first, minutes(7), Authority::Owner, failure()),
    ] {
        assert_eq!(step.apply(&second), None);
    }
}

#[test]
fn giving_up_frees_the_work_but_keeps_the_tries() {
    let export = taken(minutes(0), &export());
    let export = gave_up(&export, minutes(1), minutes(2));
    assert_eq!((export.lease.as_ref(), export.tries, export.due_at), (None, 1, Some(minutes(2))));
    assert_eq!(taken(minutes(2), &export).tries, 2);
}

#[test]
fn permanent_error_is_followed_by_one_more_attempt_five_minutes_later() {
    let first = taken(minutes(0), &export());
    assert_eq!(tries().wait_after_error(&first, minutes(1), ErrorKind::Permanent), Some(HOUR / 12));
    let read = met_permanent_error(&first, minutes(1));
    assert_eq!((read.permanent_error_at, read.due_at, read.tries), (Some(minutes(1)), Some(minutes(6)), 1));
    let too_early = minutes(6).minus(Duration::from_millis(1));
    assert_eq!(take(&read, too_early, lease(minutes(11)), &tries()).unwrap_err(), NotTaken::TooSoon);
    let second = taken(minutes(6), &read);
    assert_eq!(tries().wait_after_error(&second, minutes(7), ErrorKind::Permanent), None);
    assert_eq!(tries().wait_after_error(&second, minutes(7), ErrorKind::Transient), Some(HOUR / 60));
}

#[test]
fn permanent_error_is_known_to_later_attempts_whatever_happens_to_the_one_in_between() {
    let read = met_permanent_error(&taken(minutes(0), &export()), minutes(1));
    let second = taken(minutes(6), &read);
    for third in [taken(minutes(12), &second), taken(minutes(8), &gave_up(&second, minutes(7), minutes(8)))] {
        assert_eq!(tries().wait_after_error(&Export { tries: 1, ..third }, minutes(13), ErrorKind::Permanent), None);
    }
    for forgot in [advance(&second, minutes(7), 9), hand_over(&second, minutes(7), 9, true, minutes(8))] {
        assert_eq!(forgot.apply(&second).unwrap().permanent_error_at, None, "the work got further since");
    }
    let stood_still = hand_over(&second, minutes(7), 9, false, minutes(8)).apply(&second).unwrap();
    assert_eq!(stood_still.permanent_error_at, Some(minutes(1)));
}

#[test]
fn permanent_error_that_is_recorded_late_keeps_off_the_one_who_does_not_know_of_it() {
    let late_owner = taken(minutes(0), &export());
    let take_it = take(&late_owner, minutes(6), lease(minutes(11)), &tries()).unwrap();
    assert_eq!(take_it.apply(&met_permanent_error(&late_owner, minutes(6))), None);
}

#[test]
fn permanent_error_ends_the_export_where_no_second_attempt_fits_in() {
    let last_try = taken(minutes(0), &Export { tries: 2, ..export() });
    assert_eq!(tries().wait_after_error(&last_try, minutes(1), ErrorKind::Permanent), None);
    let late = taken(minutes(350), &export());
    assert_eq!(tries().wait_after_error(&late, minutes(354), ErrorKind::Permanent), Some(HOUR / 12));
    assert_eq!(tries().wait_after_error(&late, minutes(355), ErrorKind::Permanent), None);
}

#[test]
fn tries_begin_anew_when_the_checkpoint_moves_forward() {
    let export = taken(minutes(0), &Export { tries: 1, ..export() });
    let after = advance(&export, minutes(1), 500).apply(&export).unwrap();
    assert_eq!((after.tries, after.rows_written, &after.lease), (0, 500, &export.lease));
    assert_eq!(progress(&export, minutes(1), 400).apply(&export).unwrap().tries, 2);
}

#[test]
fn hop_that_did_not_get_further_has_spent_a_try() {
    let export = taken(minutes(0), &Export { tries: 1, ..export() });
    let hop = |advanced| hand_over(&export, minutes(4), 9, advanced, minutes(5)).apply(&export).unwrap();
    assert_eq!((hop(true).tries, hop(true).lease, hop(true).due_at), (0, None, Some(minutes(5))));
    assert_eq!(hop(false).tries, 2);
}

#[test]
fn ready_needs_the_file_and_frees_the_lock() {
    let export = taken(minutes(0), &export());
    assert_eq!(ready(&export, minutes(1), minutes(100)).apply(&export), None);
    let export = record_file(&export, minutes(1), file()).apply(&export).unwrap();
    assert_eq!(export.rows_written, 3);
    let step = ready(&export, minutes(2), minutes(100));
    assert!(step.ends_work);
    let export = step.apply(&export).unwrap();
    assert_eq!((export.status, export.lease.as_ref()), (Status::Ready, None));
    assert_eq!((export.link_expires_at, export.due_at), (Some(minutes(100)), Some(minutes(100))));
}

#[test]
fn failing_needs_a_right_to_and_frees_the_lock() {
    let held = taken(minutes(0), &Export { tries: 2, ..export() });
    let by = |authority, now| fail(&held, now, authority, failure());
    let used_up = Authority::TriesUsedUp { most: 3 };
    assert!(by(Authority::Owner, minutes(1)).apply(&held).is_some());
    assert!(by(used_up, minutes(1)).apply(&held).is_none(), "the last try still runs");
    assert!(by(used_up, minutes(5)).apply(&held).is_some());
    assert!(by(Authority::TriesUsedUp { most: 4 }, minutes(5)).apply(&held).is_none());
    assert!(by(Authority::DeadlinePassed, minutes(359)).apply(&held).is_none());
    let export = by(Authority::DeadlinePassed, minutes(360)).apply(&held).unwrap();
    assert_eq!((export.status, export.due_at, export.failure), (Status::Failed, None, Some(failure())));
    assert!(by(Authority::Owner, minutes(1)).ends_work);
}

#[test]
fn administrator_ends_what_is_pending_whoever_works_on_it_and_nothing_else() {
    let fresh = export();
    let held = record_file(&taken(minutes(0), &fresh), minutes(1), file()).apply(&taken(minutes(0), &fresh)).unwrap();
    // Read before the work was taken: an administrator's word does not depend on who works.
    let step = fail(&fresh, minutes(1), Authority::Administrator, failure());
    assert!(step.ends_work);
    for record in [&fresh, &held] {
        let ended = step.apply(record).unwrap();
        assert_eq!((ended.status, ended.due_at, ended.lease.as_ref()), (Status::Failed, None, None));
        assert_eq!((ended.failure.as_ref(), &ended.file), (Some(&failure()), &record.file));
    }
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        assert_eq!(step.apply(&Export { status, ..held.clone() }), None);
    }
}

#[test]
fn record_that_cannot_be_read_is_ended_by_its_status_and_its_deadline_alone() {
    let held = taken(minutes(359), &export());
    let by = |authority, now| fail_unread(now, authority, failure());
    assert_eq!(by(UnreadAuthority::DeadlinePassed, minutes(359)).apply(&held), None);
    for (authority, now) in [
        (UnreadAuthority::DeadlinePassed, minutes(360)),
        (UnreadAuthority::AnyDeadlinePassed, minutes(1)),
        (UnreadAuthority::Administrator, minutes(1)),
    ] {
        let step = by(authority, now);
        assert!(step.ends_work);
        let expected = fail(&held, now, Authority::Administrator, failure()).apply(&held);
        assert_eq!(step.apply(&held), expected, "{authority:?}");
        for status in [Status::Ready, Status::Failed, Status::Expired] {
            assert_eq!(step.apply(&Export { status, ..held.clone() }), None);
        }
    }
}

#[test]
fn ready_export_reads_as_expired_from_its_links_end_on() {
    let export = Export { status: Status::Ready, link_expires_at: Some(minutes(10)), ..export() };
    assert_eq!(export.status_at(minutes(9)), Status::Ready);
    assert_eq!(export.status_at(minutes(10)), Status::Expired);
    assert_eq!(expire(minutes(11), minutes(10)).apply(&export).unwrap().status, Status::Expired);
    let resent = Export { link_expires_at: Some(minutes(20)), ..export };
    assert_eq!(expire(minutes(11), minutes(10)).apply(&resent), None, "a later link was made");
}

#[test]
fn two_sweeps_ring_once() {
    let read = export();
    let step = ring(&read, minutes(1), minutes(2));
    let after = step.apply(&read).unwrap();
    assert_eq!(after.due_at, Some(minutes(2)));
    assert_eq!(step.apply(&after), None);
    assert_eq!(ring(&read, minutes(1), minutes(999)).apply(&read).unwrap().due_at, Some(read.deadline));
}

fn ready_export() -> Export {
    let export = taken(minutes(0), &export());
    let export = record_file(&export, minutes(1), file()).apply(&export).unwrap();
    ready(&export, minutes(1), minutes(100)).apply(&export).unwrap()
}

#[test]
fn resending_needs_an_end_and_a_file_that_is_still_there() {
    let ready = ready_export();
    let count = |export: &Export, now| count_resend(export, now, 2).map(|_| ());
    assert_eq!(count(&export(), minutes(1)), Err(NotResendable::Pending));
    assert_eq!(
        count(&Export { file: None, status: Status::Failed, ..ready.clone() }, minutes(1)),
        Err(NotResendable::NoFile)
    );
    assert_eq!(count(&ready, file().expires_at), Err(NotResendable::FileGone));
    for status in [Status::Ready, Status::Expired, Status::Failed] {
        assert_eq!(count(&Export { status, ..ready.clone() }, minutes(1)), Ok(()));
    }
}

#[test]
fn resends_are_bounded_a_day_and_counted_one_by_one() {
    let first = ready_export();
    let step = count_resend(&first, minutes(1), 2).unwrap();
    let second = step.apply(&first).unwrap();
    assert_eq!(step.apply(&second), None, "another was counted meanwhile");
    let third = count_resend(&second, minutes(2), 2).unwrap().apply(&second).unwrap();
    assert_eq!(count_resend(&third, minutes(3), 2), Err(NotResendable::TooOften));
    let tomorrow = start().plus(24 * HOUR);
    assert_eq!(count_resend(&third, tomorrow, 2).unwrap().apply(&third).unwrap().resends.unwrap().count, 1);
}

#[test]
fn resent_export_is_ready_with_the_later_end_and_without_its_failure() {
    let failed = Export { status: Status::Failed, failure: Some(failure()), link_expires_at: None, ..ready_export() };
    let to = Recipients::only("bob@example.com".parse().unwrap());
    let early = resent(minutes(5), to.clone(), minutes(200));
    let late = resent(minutes(6), to.clone(), minutes(300));
    let after = late.apply(&failed).unwrap();
    assert_eq!(
        (after.status, after.link_expires_at, after.due_at),
        (Status::Ready, Some(minutes(300)), Some(minutes(300)))
    );
    assert_eq!((after.failure.as_ref(), &after.recipients), (None, &to));
    assert_eq!(early.apply(&after), None);
    let other = resent(minutes(7), Recipients::only("eve@example.com".parse().unwrap()), minutes(300));
    assert_eq!(other.apply(&after).unwrap().recipients.to().as_str(), "eve@example.com", "of two that end together");
    assert_eq!(late.apply(&early.apply(&failed).unwrap()).unwrap().link_expires_at, Some(minutes(300)));
    let expired = expire(minutes(101), minutes(100)).apply(&ready_export()).unwrap();
    assert_eq!(early.apply(&expired).unwrap().status, Status::Ready);
}

#[test]
fn waiting_grows_and_then_stays() {
    let waits = [1, 2, 3, 9].map(|tried| tries().wait_after(tried).as_secs());
    assert_eq!(waits, [15, 60, 60, 60]);
}

/// What an owner, a sweeper or a former owner may try at any time.
fn any_step(export: &Export, choice: u8, now: Timestamp) -> Option<Step> {
    let recipients = export.recipients.clone();
    Some(match choice % 16 {
        0 => take(export, now, lease(now.plus(HOUR / 12)), &tries()).ok()?,
        1 if choice > 128 => give_up(export, now, ErrorKind::Permanent, now.plus(HOUR / 12)),
        1 => give_up(export, now, ErrorKind::Transient, now.plus(HOUR / 60)),
        2 => record_file(export, now, file()),
        3 => ready(export, now, now.plus(HOUR)),
        4 => fail(export, now, Authority::Owner, failure()),
        5 => fail(export, now, Authority::TriesUsedUp { most: 3 }, failure()),
        6 => ring(export, export.due_at?, now.plus(HOUR / 60)),
        7 => count_resend(export, now, 3).ok()?,
        9 => progress(export, now, 7),
        10 => advance(export, now, 8),
        12 => fail(export, now, Authority::Administrator, failure()),
        11 => hand_over(export, now, 9, choice > 128, now.plus(HOUR / 60)),
        8 => resent(now, recipients, now.plus(HOUR)),
        13 => fail_unread(now, UnreadAuthority::DeadlinePassed, failure()),
        14 => fail_unread(now, UnreadAuthority::Administrator, failure()),
        _ => expire(now, export.link_expires_at?),
    })
}

proptest! {
    #[test]
    fn record_stays_sound_whatever_is_tried(moves in prop::collection::vec((any::<u8>(), 0_u64..20, any::<bool>()), 1..40)) {
        let (mut now, mut record, mut stale) = (start(), export(), export());
        for (choice, minutes_later, from_stale) in moves {
            now = now.plus(Duration::from_secs(60 * minutes_later));
            let read = if from_stale { stale.clone() } else { record.clone() };
            let Some(step) = any_step(&read, choice, now) else { continue };
            let Some(after) = step.apply(&record) else { continue };
            for change in &step.changes {
                if let Change::Due { status, .. } = change {
                    prop_assert_eq!(*status, after.status, "the sweeper would look for it in another place");
                }
            }
            prop_assert!(after.fence >= record.fence);
            prop_assert!(after.tries <= 3);
            // Finished is finished: only a link's end, or a further mail, changes it.
            match (record.status, after.status) {
                (Status::Pending, _) | (_, Status::Ready) | (Status::Ready, Status::Expired) => {}
                (before, after) => prop_assert_eq!(before, after),
            }
            if let (Some(before), Some(after)) = (record.link_expires_at, after.link_expires_at) {
                prop_assert!(after >= before);
            }
            match after.status {
                Status::Pending => prop_assert!(after.due_at.is_some_and(|due| due <= after.deadline)),
                Status::Ready => prop_assert!(after.file.is_some() && after.due_at == after.link_expires_at),
                Status::Failed => prop_assert!(after.failure.is_some() && after.due_at.is_none()),
                Status::Expired => prop_assert!(after.due_at.is_none()),
            }
            prop_assert!(after.status == Status::Pending || after.lease.is_none());
            stale = std::mem::replace(&mut record, after);
        }
    }
}
