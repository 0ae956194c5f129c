use super::*;
use crate::caller::{Caller, ClientType, Person};
use crate::email::Recipients;
use crate::export::ExportSettings;
use crate::export_type::ExportType;
use crate::failure::FailureCode;
use crate::file::ReadInterval;
use crate::id::ExportId;
use crate::options::ExportOptions;
use crate::testing::{ready_until, state, with_work};
use crate::totals::Totals;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-10-08T08:30:00.000Z".parse().unwrap()
}

fn minutes(n: u64) -> Timestamp {
    start().plus(Duration::from_secs(60 * n))
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 3,
        backoff: vec![Duration::from_secs(15), Duration::from_secs(60)],
        permanent_wait: Duration::from_secs(300),
    }
}

fn lease(until: Timestamp) -> Lease {
    Lease { owner: "request-1".into(), until }
}

/// The progress after so many rows, half of which are in the file.
fn progress(rows_read: u64) -> Progress {
    Progress { rows_read, rows_written: rows_read / 2 }
}

/// A newly accepted export.
pub fn export() -> Export {
    let email = "ann@example.com".parse::<crate::email::EmailAddress>().unwrap();
    let recipients = Recipients::new(email.clone(), ["cc@example.com".parse().unwrap()]).unwrap();
    let caller = Caller {
        tenant: "acme".parse().unwrap(),
        client: ClientType::Operator,
        user: Person { email, name: "Ann".parse().unwrap() },
    };
    let id = ExportId::new(ExportType::MarketplacePayouts, start(), &[7; 10]);
    let settings = ExportSettings::new(72 * HOUR, 720 * HOUR, 6 * HOUR, false);
    Export::accept(id, &caller, recipients, ExportOptions::default(), settings, HOUR / 60)
}

/// A complete file.
pub fn file() -> ExportFile {
    ExportFile {
        key: "exports/acme/mpo/1.csv".into(),
        name: "marketplace-payouts-acme-20261008T083000Z.csv".into(),
        rows: 3,
        bytes: 1000,
        sha256: "ab".repeat(32),
        totals: Totals::default(),
        read: Some(ReadInterval { from: start(), to: start().plus(HOUR) }),
        expires_at: start().plus(720 * HOUR),
    }
}

fn acquired(now: Timestamp, export: &Export) -> Export {
    acquire(export, now, lease(now.plus(HOUR / 12)), &retry()).unwrap().apply(export).unwrap()
}

fn permanent_error_at(export: &Export) -> Option<Timestamp> {
    export.pending().unwrap().permanent_error_at
}

fn released(export: &Export, now: Timestamp, retry_at: Timestamp) -> Export {
    release(export, now, ErrorKind::Transient, retry_at, retry_at).apply(export).unwrap()
}

fn released_after_permanent_error(export: &Export, now: Timestamp) -> Export {
    let retry_at = now.plus(HOUR / 12);
    release(export, now, ErrorKind::Permanent, retry_at, retry_at).apply(export).unwrap()
}

fn failure() -> Failure {
    Failure { code: FailureCode::GenerationFailed, message: "m".into(), cancelled_by: None, invalid_rows: None }
}

#[test]
fn accept_creates_a_pending_export() {
    let export = export();
    assert_eq!((export.status(), export.fencing_token, export.attempts), (Status::Pending, 0, 0));
    assert_eq!(export.next_check_at(), Some(minutes(1)));
    assert_eq!(export.deadline, start().plus(6 * HOUR));
    assert_eq!(export.as_of(), start());
}

#[test]
fn acquire_increments_fencing_token_and_attempts() {
    let export = acquired(minutes(0), &export());
    assert_eq!((export.fencing_token, export.attempts), (1, 1));
    assert_eq!(export.lease(), Some(&lease(minutes(5))));
    assert_eq!(export.next_check_at(), Some(minutes(5)));
}

#[test]
fn next_check_is_at_the_deadline_if_the_lease_is_longer() {
    let export = acquired(minutes(359), &export());
    assert_eq!(export.lease(), Some(&lease(minutes(364))));
    assert_eq!(export.next_check_at(), Some(minutes(360)));
}

#[test]
fn acquire_first_does_what_acquire_does_to_a_record_without_owners() {
    let fresh = export();
    let first = acquire_first(minutes(0), lease(minutes(5)));
    assert_eq!(first.apply(&fresh).unwrap(), acquired(minutes(0), &fresh));
    let held = acquired(minutes(0), &fresh);
    for (name, record) in [
        ("leased", held.clone()),
        ("released", released(&held, minutes(1), minutes(2))),
        ("ended", Export { state: state(Status::Ready), ..fresh.clone() }),
        ("deadline within the lease", Export { deadline: minutes(5), ..fresh }),
    ] {
        assert_eq!(first.apply(&record), None, "{name}");
    }
}

#[test]
fn acquire_fails_if_the_record_does_not_allow_it() {
    let fresh = export();
    let held = acquired(minutes(0), &fresh);
    let acquire_at = |export: &Export, now| acquire(export, now, lease(now), &retry()).unwrap_err();
    assert_eq!(acquire_at(&held, minutes(4)), AcquireError::Leased);
    assert!(acquire(&held, minutes(5), lease(minutes(9)), &retry()).is_ok());
    assert_eq!(acquire_at(&Export { attempts: 3, ..fresh.clone() }, minutes(0)), AcquireError::AttemptsUsedUp);
    assert_eq!(acquire_at(&fresh, minutes(360)), AcquireError::DeadlinePassed);
    assert_eq!(acquire_at(&Export { state: state(Status::Ready), ..fresh }, minutes(0)), AcquireError::Ended);
}

#[test]
fn acquire_succeeds_once_for_two_readers_of_a_record() {
    let read = export();
    let step = acquire(&read, minutes(0), lease(minutes(5)), &retry()).unwrap();
    let after = step.apply(&read).unwrap();
    assert_eq!(step.apply(&after), None);
    assert_eq!(step.apply(&released(&after, minutes(1), minutes(2))), None);
}

#[test]
fn acquire_returns_the_file_recorded_since_the_read() {
    let late_owner = acquired(minutes(0), &export());
    let read = late_owner.clone();
    let recorded = record_file(&late_owner, minutes(6), file(), 5).apply(&late_owner).unwrap();
    let acquire_at = |read: &Export| acquire(read, minutes(6), lease(minutes(11)), &retry()).unwrap();
    for read in [&read, &recorded] {
        assert_eq!(acquire_at(read).apply(&recorded).unwrap().file(), Some(&file()));
    }
}

#[test]
fn former_owner_cannot_write() {
    let first = acquired(minutes(0), &export());
    let second = acquired(minutes(6), &first);
    for step in [
        release(&first, minutes(7), ErrorKind::Transient, minutes(8), minutes(9)),
        release(&first, minutes(7), ErrorKind::Permanent, minutes(8), minutes(9)),
        record_file(&first, minutes(7), file(), 5),
        record_progress(&first, minutes(7), progress(9)),
        advance_checkpoint(&first, minutes(7), progress(9)),
        continue_later(&first, minutes(7), progress(9), true, minutes(8)),
        ready(&with_work(first.clone(), |pending| pending.file = Some(file())), minutes(7), minutes(100)),
        fail(&first, minutes(7), FailedBy::Owner, failure()),
    ] {
        assert_eq!(step.apply(&second), None);
    }
}

#[test]
fn acquire_fails_if_a_late_checkpoint_reset_the_attempts_since_the_read() {
    let owner = acquired(minutes(0), &export());
    let read = released(&owner, minutes(1), minutes(2));
    let late = advance_checkpoint(&owner, minutes(1), Progress { rows_read: 1, rows_written: 1 }).apply(&read).unwrap();
    let acquire_it = |read: &Export| acquire(read, minutes(6), lease(minutes(11)), &retry()).unwrap();
    assert_eq!((read.attempts, late.attempts), (1, 0));
    assert_eq!(acquire_it(&read).apply(&late), None);
    assert_eq!(acquire_it(&late).apply(&late).unwrap().attempts, 1);
}

#[test]
fn release_removes_the_lease_and_keeps_the_attempts() {
    let export = acquired(minutes(0), &export());
    let export = released(&export, minutes(1), minutes(2));
    assert_eq!((export.lease(), export.attempts, export.next_check_at()), (None, 1, Some(minutes(2))));
    assert_eq!(acquired(minutes(2), &export).attempts, 2);
}

#[test]
fn no_attempt_starts_before_the_delay_after_an_error_is_over() {
    for kind in [ErrorKind::Transient, ErrorKind::Permanent] {
        let first = acquired(minutes(0), &export());
        let read = release(&first, minutes(1), kind, minutes(2), minutes(3)).apply(&first).unwrap();
        assert_eq!((read.pending().unwrap().retry_at, read.next_check_at()), (Some(minutes(2)), Some(minutes(3))));
        let too_early = minutes(2).minus(Duration::from_millis(1));
        assert_eq!(acquire(&read, too_early, lease(minutes(7)), &retry()).unwrap_err(), AcquireError::TooSoon);
        // Once it is over, it no longer matters.
        let second = acquired(minutes(2), &read);
        let continued = continue_later(&second, minutes(3), progress(9), false, minutes(4)).apply(&second).unwrap();
        assert_eq!(acquired(minutes(3), &continued).attempts, 3);
    }
}

#[test]
fn permanent_error_gets_one_more_attempt_after_a_delay() {
    let first = acquired(minutes(0), &export());
    assert_eq!(retry().wait_after_error(&first, minutes(1), ErrorKind::Permanent), Some(HOUR / 12));
    let read = released_after_permanent_error(&first, minutes(1));
    assert_eq!(
        (permanent_error_at(&read), read.next_check_at(), read.attempts),
        (Some(minutes(1)), Some(minutes(6)), 1)
    );
    let too_early = minutes(6).minus(Duration::from_millis(1));
    assert_eq!(acquire(&read, too_early, lease(minutes(11)), &retry()).unwrap_err(), AcquireError::TooSoon);
    let second = acquired(minutes(6), &read);
    assert_eq!(retry().wait_after_error(&second, minutes(7), ErrorKind::Permanent), None);
    assert_eq!(retry().wait_after_error(&second, minutes(7), ErrorKind::Transient), Some(HOUR / 60));
}

#[test]
fn permanent_error_is_kept_until_the_checkpoint_advances() {
    let read = released_after_permanent_error(&acquired(minutes(0), &export()), minutes(1));
    let second = acquired(minutes(6), &read);
    for third in [acquired(minutes(12), &second), acquired(minutes(8), &released(&second, minutes(7), minutes(8)))] {
        assert_eq!(retry().wait_after_error(&Export { attempts: 1, ..third }, minutes(13), ErrorKind::Permanent), None);
    }
    for step in [
        advance_checkpoint(&second, minutes(7), progress(9)),
        continue_later(&second, minutes(7), progress(9), true, minutes(8)),
    ] {
        assert_eq!(permanent_error_at(&step.apply(&second).unwrap()), None, "the checkpoint has advanced since");
    }
    let without_progress = continue_later(&second, minutes(7), progress(9), false, minutes(8)).apply(&second).unwrap();
    assert_eq!(permanent_error_at(&without_progress), Some(minutes(1)));
}

#[test]
fn acquire_fails_if_an_error_was_recorded_since_the_read() {
    let late_owner = acquired(minutes(0), &export());
    let acquire_it = acquire(&late_owner, minutes(6), lease(minutes(11)), &retry()).unwrap();
    assert_eq!(acquire_it.apply(&released_after_permanent_error(&late_owner, minutes(6))), None);
}

#[test]
fn permanent_error_is_final_without_another_attempt() {
    let last_attempt = acquired(minutes(0), &Export { attempts: 2, ..export() });
    assert_eq!(retry().wait_after_error(&last_attempt, minutes(1), ErrorKind::Permanent), None);
    let late = acquired(minutes(350), &export());
    assert_eq!(retry().wait_after_error(&late, minutes(354), ErrorKind::Permanent), Some(HOUR / 12));
    assert_eq!(retry().wait_after_error(&late, minutes(355), ErrorKind::Permanent), None);
}

#[test]
fn attempts_are_reset_when_the_checkpoint_advances() {
    let export = acquired(minutes(0), &Export { attempts: 1, ..export() });
    let after = advance_checkpoint(&export, minutes(1), progress(500)).apply(&export).unwrap();
    assert_eq!((after.attempts, after.rows_read, after.rows_written, after.lease()), (0, 500, 250, export.lease()));
    assert_eq!(record_progress(&export, minutes(1), progress(400)).apply(&export).unwrap().attempts, 2);
}

#[test]
fn progress_never_goes_backwards() {
    let export = acquired(minutes(0), &Export { rows_read: 100, rows_written: 50, ..export() });
    for (rows_read, expected) in [(80, (100, 50)), (100, (100, 50)), (120, (120, 60))] {
        for step in [
            record_progress(&export, minutes(1), progress(rows_read)),
            advance_checkpoint(&export, minutes(1), progress(rows_read)),
            continue_later(&export, minutes(1), progress(rows_read), true, minutes(2)),
        ] {
            let after = step.apply(&export).unwrap();
            assert_eq!((after.rows_read, after.rows_written), expected);
        }
    }
    let recorded = record_file(&export, minutes(1), file(), 5).apply(&export).unwrap();
    assert_eq!(recorded.rows_read, 100);
}

#[test]
fn progress_that_takes_effect_late_is_rejected() {
    let export = acquired(minutes(0), &export());
    let later = advance_checkpoint(&export, minutes(2), progress(200)).apply(&export).unwrap();
    for step in [
        record_progress(&export, minutes(1), progress(100)),
        advance_checkpoint(&export, minutes(1), progress(100)),
        continue_later(&export, minutes(1), progress(100), true, minutes(2)),
    ] {
        assert!(step.apply(&export).is_some());
        assert_eq!(step.apply(&later), None);
    }
}

#[test]
fn continue_later_without_progress_costs_an_attempt() {
    let export = acquired(minutes(0), &Export { attempts: 1, ..export() });
    let continued =
        |advanced| continue_later(&export, minutes(4), progress(9), advanced, minutes(5)).apply(&export).unwrap();
    assert_eq!(
        (continued(true).attempts, continued(true).lease(), continued(true).next_check_at()),
        (0, None, Some(minutes(5)))
    );
    assert_eq!(continued(false).attempts, 2);
}

#[test]
fn ready_requires_a_file_and_releases_the_lock() {
    let export = acquired(minutes(0), &export());
    assert_eq!(ready(&export, minutes(1), minutes(100)).apply(&export), None);
    let export = record_file(&export, minutes(1), file(), 5).apply(&export).unwrap();
    assert_eq!((export.rows_read, export.rows_written), (5, 3));
    let step = ready(&export, minutes(2), minutes(100));
    assert!(step.leaves_pending());
    let export = step.apply(&export).unwrap();
    assert_eq!((export.status(), export.lease()), (Status::Ready, None));
    assert_eq!((export.link_expires_at(), export.next_check_at()), (Some(minutes(100)), Some(minutes(100))));
}

#[test]
fn fail_requires_a_valid_reason_and_releases_the_lock() {
    let held = acquired(minutes(0), &Export { attempts: 2, ..export() });
    let by = |failed_by, now| fail(&held, now, failed_by, failure());
    let used_up = FailedBy::AttemptsUsedUp { max: 3 };
    assert!(by(FailedBy::Owner, minutes(1)).apply(&held).is_some());
    assert!(by(used_up, minutes(1)).apply(&held).is_none(), "the last attempt is still running");
    assert!(by(used_up, minutes(5)).apply(&held).is_some());
    assert!(by(FailedBy::AttemptsUsedUp { max: 4 }, minutes(5)).apply(&held).is_none());
    assert!(by(FailedBy::DeadlinePassed, minutes(359)).apply(&held).is_none());
    let export = by(FailedBy::DeadlinePassed, minutes(360)).apply(&held).unwrap();
    assert_eq!((export.status(), export.next_check_at(), export.failure()), (Status::Failed, None, Some(&failure())));
    assert!(by(FailedBy::Owner, minutes(1)).leaves_pending());
}

#[test]
fn administrator_fails_only_a_pending_export_leased_or_not() {
    let fresh = export();
    let held =
        record_file(&acquired(minutes(0), &fresh), minutes(1), file(), 5).apply(&acquired(minutes(0), &fresh)).unwrap();
    // Decided before the lease was acquired, because the guards do not depend on the owner.
    let step = fail(&fresh, minutes(1), FailedBy::Administrator, failure());
    assert!(step.leaves_pending());
    for record in [&fresh, &held] {
        let failed = step.apply(record).unwrap();
        assert_eq!((failed.status(), failed.next_check_at(), failed.lease()), (Status::Failed, None, None));
        assert_eq!((failed.failure(), failed.file()), (Some(&failure()), record.file()));
    }
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        assert_eq!(step.apply(&Export { state: state(status), ..held.clone() }), None);
    }
}

fn cancelled() -> Failure {
    Failure::cancelled(Person { email: "ben@example.com".parse().unwrap(), name: "Ben".parse().unwrap() })
}

#[test]
fn cancel_fails_a_pending_export_leased_or_not() {
    let fresh = export();
    let held = acquired(minutes(0), &fresh);
    for record in [&fresh, &held] {
        let step = cancel(record, minutes(1), cancelled()).unwrap();
        assert!(step.leaves_pending());
        let after = step.apply(record).unwrap();
        assert_eq!((after.status(), after.failure()), (Status::Failed, Some(&cancelled())));
        assert_eq!((after.lease(), after.next_check_at(), after.updated_at), (None, None, minutes(1)));
        assert_eq!(after.fencing_token, record.fencing_token, "its owner recognizes the cancellation");
        assert!(after.is_cancelled() && after.ended_without_file_under(record.fencing_token));
    }
}

#[test]
fn cancel_applies_only_if_the_owner_is_the_same() {
    let (fresh, held) = (export(), acquired(minutes(0), &export()));
    let released = continue_later(&held, minutes(1), progress(2), true, minutes(2)).apply(&held).unwrap();
    let acquired_again = acquired(minutes(2), &released);
    for (read, changed) in [(&fresh, &held), (&held, &released), (&released, &acquired_again)] {
        let step = cancel(read, minutes(1), cancelled()).unwrap();
        assert!(step.apply(read).is_some());
        assert_eq!(step.apply(changed), None);
    }
    let progressed = record_progress(&held, minutes(1), progress(2)).apply(&held).unwrap();
    assert!(cancel(&held, minutes(1), cancelled()).unwrap().apply(&progressed).is_some());
}

#[test]
fn cancel_after_the_end_or_with_a_file_fails() {
    let cancel = |export: &Export| cancel(export, minutes(2), cancelled()).unwrap_err();
    let with_file = with_work(export(), |pending| pending.file = Some(file()));
    assert_eq!(cancel(&with_file), CancelError::FileRecorded);
    for status in [Status::Ready, Status::Failed, Status::Expired] {
        assert_eq!(cancel(&Export { state: state(status), ..with_file.clone() }), CancelError::Ended);
    }
    let failed = fail(&export(), minutes(1), FailedBy::Administrator, failure()).apply(&export()).unwrap();
    assert_eq!(cancel(&failed), CancelError::Ended);
    let before = super::cancel(&export(), minutes(1), cancelled()).unwrap().apply(&export()).unwrap();
    assert_eq!(cancel(&before), CancelError::AlreadyCancelled);
}

#[test]
fn either_the_file_is_recorded_or_the_export_is_cancelled() {
    let held = acquired(minutes(0), &export());
    let cancel = cancel(&held, minutes(1), cancelled()).unwrap();
    let record = record_file(&held, minutes(1), file(), 9);
    assert_eq!(cancel.apply(&record.apply(&held).unwrap()), None);
    assert_eq!(record.apply(&cancel.apply(&held).unwrap()), None);
}

#[test]
fn nothing_changes_a_cancelled_export() {
    let held = acquired(minutes(0), &export());
    let after = cancel(&held, minutes(1), cancelled()).unwrap().apply(&held).unwrap();
    let own = with_work(held.clone(), |pending| pending.file = Some(file()));
    let mut steps = vec![
        release(&held, minutes(2), ErrorKind::Transient, minutes(3), minutes(4)),
        record_progress(&held, minutes(2), progress(9)),
        advance_checkpoint(&held, minutes(2), progress(9)),
        continue_later(&held, minutes(2), progress(9), true, minutes(3)),
        record_file(&held, minutes(2), file(), 9),
        ready(&own, minutes(2), minutes(100)),
        fail(&held, minutes(2), FailedBy::Owner, failure()),
        fail(&held, minutes(999), FailedBy::AttemptsUsedUp { max: 1 }, failure()),
        fail(&held, minutes(999), FailedBy::DeadlinePassed, failure()),
        fail(&held, minutes(2), FailedBy::Administrator, failure()),
        fail_corrupt(minutes(2), CorruptFailedBy::Administrator, failure()),
        cancel(&held, minutes(2), cancelled()).unwrap(),
        expire(minutes(2), minutes(1)),
        resent(minutes(2), held.recipients.clone(), minutes(100)),
    ];
    steps.extend(acquire(&held, minutes(6), lease(minutes(11)), &retry()));
    steps.push(re_enqueue(&held, held.next_check_at().unwrap(), minutes(9)));
    for step in steps {
        assert_eq!(step.apply(&after), None, "{step:?}");
    }
    assert_eq!(count_resend(&after, minutes(2), 10), Err(ResendError::NoFile));
}

#[test]
fn fail_corrupt_needs_only_status_and_deadline() {
    let held = acquired(minutes(359), &export());
    let by = |failed_by, now| fail_corrupt(now, failed_by, failure());
    assert_eq!(by(CorruptFailedBy::DeadlinePassed, minutes(359)).apply(&held), None);
    for (failed_by, now) in [
        (CorruptFailedBy::DeadlinePassed, minutes(360)),
        (CorruptFailedBy::AnyDeadlinePassed, minutes(1)),
        (CorruptFailedBy::Administrator, minutes(1)),
    ] {
        let step = by(failed_by, now);
        assert!(step.leaves_pending());
        let expected = fail(&held, now, FailedBy::Administrator, failure()).apply(&held);
        assert_eq!(step.apply(&held), expected, "{failed_by:?}");
        for status in [Status::Ready, Status::Failed, Status::Expired] {
            assert_eq!(step.apply(&Export { state: state(status), ..held.clone() }), None);
        }
    }
}

#[test]
fn ready_export_expires_with_its_link() {
    let export = Export { state: ready_until(minutes(10)), ..export() };
    assert_eq!(export.status_at(minutes(9)), Status::Ready);
    assert_eq!(export.status_at(minutes(10)), Status::Expired);
    assert_eq!(expire(minutes(11), minutes(10)).apply(&export).unwrap().status(), Status::Expired);
    let resent = Export { state: ready_until(minutes(20)), ..export };
    assert_eq!(expire(minutes(11), minutes(10)).apply(&resent), None, "a later link was recorded");
}

#[test]
fn two_sweeps_re_enqueue_once() {
    let read = export();
    let step = re_enqueue(&read, minutes(1), minutes(2));
    let after = step.apply(&read).unwrap();
    assert_eq!(after.next_check_at(), Some(minutes(2)));
    assert_eq!(step.apply(&after), None);
    assert_eq!(re_enqueue(&read, minutes(1), minutes(999)).apply(&read).unwrap().next_check_at(), Some(read.deadline));
}

fn ready_export() -> Export {
    let export = acquired(minutes(0), &export());
    let export = record_file(&export, minutes(1), file(), 5).apply(&export).unwrap();
    ready(&export, minutes(1), minutes(100)).apply(&export).unwrap()
}

#[test]
fn resend_requires_a_finished_export_with_a_file() {
    let ready = ready_export();
    let count = |export: &Export, now| count_resend(export, now, 2).map(|_| ());
    assert_eq!(count(&export(), minutes(1)), Err(ResendError::Pending));
    let failed = State::Failed { failure: failure(), file: None };
    assert_eq!(count(&Export { state: failed, ..ready.clone() }, minutes(1)), Err(ResendError::NoFile));
    assert_eq!(count(&ready, file().expires_at), Err(ResendError::FileGone));
    for status in [Status::Ready, Status::Expired, Status::Failed] {
        assert_eq!(count(&Export { state: state(status), ..ready.clone() }, minutes(1)), Ok(()));
    }
}

#[test]
fn resends_are_limited_per_day() {
    let first = ready_export();
    let step = count_resend(&first, minutes(1), 2).unwrap();
    let second = step.apply(&first).unwrap();
    let third = step.apply(&second).unwrap();
    assert_eq!(step.apply(&third), None, "others were counted since the read");
    assert_eq!(count_resend(&third, minutes(3), 2), Err(ResendError::TooOften));
    let tomorrow = start().plus(24 * HOUR);
    let next_day = count_resend(&third, tomorrow, 2).unwrap().apply(&third).unwrap();
    assert_eq!(next_day.resends, [(start().start_of_day(), 2), (tomorrow.start_of_day(), 1)].into());
    assert_eq!(step.apply(&next_day), None, "a late request of the day before");
    let day_after = start().plus(48 * HOUR);
    let last = count_resend(&next_day, day_after, 2).unwrap().apply(&next_day).unwrap();
    assert_eq!(last.resends, [(tomorrow.start_of_day(), 1), (day_after.start_of_day(), 1)].into());
}

#[test]
fn resent_export_is_ready_with_the_later_link_expiry() {
    let failed = Export { state: state(Status::Failed), ..ready_export() };
    let to = Recipients::only("bob@example.com".parse().unwrap());
    let early = resent(minutes(5), to.clone(), minutes(200));
    let late = resent(minutes(6), to.clone(), minutes(300));
    let after = late.apply(&failed).unwrap();
    assert_eq!(
        (after.status(), after.link_expires_at(), after.next_check_at()),
        (Status::Ready, Some(minutes(300)), Some(minutes(300)))
    );
    assert_eq!((after.failure(), &after.recipients), (None, &to));
    assert_eq!(early.apply(&after), None);
    let other = resent(minutes(7), Recipients::only("eve@example.com".parse().unwrap()), minutes(300));
    assert_eq!(
        other.apply(&after).unwrap().recipients.to().as_str(),
        "eve@example.com",
        "the last of two equal expiries"
    );
    assert_eq!(late.apply(&early.apply(&failed).unwrap()).unwrap().link_expires_at(), Some(minutes(300)));
    let expired = expire(minutes(101), minutes(100)).apply(&ready_export()).unwrap();
    assert_eq!(early.apply(&expired).unwrap().status(), Status::Ready);
}

#[test]
fn backoff_grows_up_to_its_last_delay() {
    let waits = [1, 2, 3, 9].map(|attempts| retry().wait_after(attempts).as_secs());
    assert_eq!(waits, [15, 60, 60, 60]);
}

/// A step that an owner, a former owner, a sweeper or a request can attempt at any time.
fn any_step(export: &Export, choice: u8, now: Timestamp) -> Option<Step> {
    let recipients = export.recipients.clone();
    Some(match choice % 17 {
        0 => acquire(export, now, lease(now.plus(HOUR / 12)), &retry()).ok()?,
        1 if choice > 128 => release(export, now, ErrorKind::Permanent, now.plus(HOUR / 12), now.plus(HOUR / 10)),
        1 => release(export, now, ErrorKind::Transient, now.plus(HOUR / 60), now.plus(HOUR / 30)),
        2 => record_file(export, now, file(), 5),
        3 => ready(export, now, now.plus(HOUR)),
        4 => fail(export, now, FailedBy::Owner, failure()),
        5 => fail(export, now, FailedBy::AttemptsUsedUp { max: 3 }, failure()),
        6 => re_enqueue(export, export.next_check_at()?, now.plus(HOUR / 60)),
        7 => count_resend(export, now, 3).ok()?,
        9 => record_progress(export, now, progress(7)),
        10 => advance_checkpoint(export, now, progress(8)),
        12 => fail(export, now, FailedBy::Administrator, failure()),
        11 => continue_later(export, now, progress(9), choice > 128, now.plus(HOUR / 60)),
        8 => resent(now, recipients, now.plus(HOUR)),
        13 => fail_corrupt(now, CorruptFailedBy::DeadlinePassed, failure()),
        14 => fail_corrupt(now, CorruptFailedBy::Administrator, failure()),
        15 => cancel(export, now, cancelled()).ok()?,
        _ => expire(now, export.link_expires_at()?),
    })
}

proptest! {
    #[test]
    fn record_stays_consistent_under_any_steps(moves in prop::collection::vec((any::<u8>(), 0_u64..20, any::<bool>()), 1..40)) {
        let (mut now, mut record, mut stale) = (start(), export(), export());
        for (choice, minutes_later, from_stale) in moves {
            now = now.plus(Duration::from_secs(60 * minutes_later));
            let read = if from_stale { stale.clone() } else { record.clone() };
            let Some(step) = any_step(&read, choice, now) else { continue };
            let Some(after) = step.apply(&record) else { continue };
            prop_assert!(after.fencing_token >= record.fencing_token);
            prop_assert!(after.attempts <= 3);
            // A finished export changes only when its link expires or its e-mail is resent.
            match (record.status(), after.status()) {
                (Status::Pending, _) | (_, Status::Ready) | (Status::Ready, Status::Expired) => {}
                (before, after) => prop_assert_eq!(before, after),
            }
            if let (Some(before), Some(after)) = (record.link_expires_at(), after.link_expires_at()) {
                prop_assert!(after >= before);
            }
            if let State::Pending(pending) = &after.state {
                prop_assert!(pending.next_check_at <= after.deadline);
            }
            prop_assert!(!after.is_cancelled() || after.file().is_none());
            stale = std::mem::replace(&mut record, after);
        }
    }
}

#[test]
fn guards_exclude_their_bounds() {
    let export = Export { attempts: 2, state: ready_until(minutes(10)), ..crate::testing::export() };
    assert!(Guard::AttemptsBelow(3).holds(&export) && !Guard::AttemptsBelow(2).holds(&export));
    assert!(
        Guard::LinkExpiryBefore(minutes(11)).holds(&export) && !Guard::LinkExpiryBefore(minutes(10)).holds(&export)
    );
}

#[test]
fn record_outlives_its_file_by_a_day() {
    let export = crate::testing::export();
    assert_eq!(export.keep_until(), None);
    let settings = export.settings.with_history_retention(Some(24 * HOUR));
    // After the deadline, the file's 30 days, and one day.
    assert_eq!(Export { settings, ..export }.keep_until(), Some(start().plus((6 + 31 * 24) * HOUR)));
}
