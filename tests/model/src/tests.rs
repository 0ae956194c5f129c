//! The protocol holds its invariants within bounds, and would not without its safeguards.
#![expect(clippy::disallowed_macros, reason = "a test prints how large its model is")]

use std::time::Instant;

use crate::{Broken, Protocol};
use exports_domain::invariants::Invariant;
use stateright::{Checker, HasDiscoveries, Model};

/// Two generators write one small file, and an administrator may end it.
const SMALL_FILE: Protocol = Protocol { generators: 2, endings: 1, invalid_rows: 1, ..Protocol::SMALLEST };

/// Two exports are asked for, and two generators write them.
const TWO_EXPORTS: Protocol =
    Protocol { requests: 2, generators: 2, invalid_rows: 1, last_tick: 2, time_limit: 1, ..Protocol::SMALLEST };

/// Two generators write one file in parts.
const PARTS: Protocol = Protocol { generators: 2, parts: 2, invalid_rows: 1, last_tick: 2, ..Protocol::SMALLEST };

/// Two generators write one file, and an invocation ends between parts.
const UNFINISHED_PART: Protocol =
    Protocol { generators: 2, unfinished_parts: 1, invalid_rows: 1, last_tick: 2, ..Protocol::SMALLEST };

/// A caller cancels an export at any moment, and the next one is asked for.
const CANCELLED: Protocol =
    Protocol { requests: 2, cancellations: 1, invalid_rows: 1, last_tick: 2, time_limit: 1, ..Protocol::SMALLEST };

/// Two mails are sent again at once.
const RESENDS: Protocol = Protocol { resends: 2, resend_requests: 2, invalid_rows: 1, ..Protocol::SMALLEST };

/// All at once: two exports are asked for, two generators and a sweeper work, a mail is sent again, and an administrator
/// ends an export.
const ALL: Protocol = Protocol {
    requests: 2,
    generators: 2,
    resends: 1,
    resend_requests: 1,
    endings: 1,
    last_tick: 2,
    time_limit: 1,
    ..Protocol::SMALLEST
};

/// Explores all states within bounds; none may break an invariant.
fn explore(name: &str, protocol: Protocol, reached: &[&str]) {
    let began = Instant::now();
    let checker = protocol.checker().threads(2).spawn_dfs().join();
    eprintln!(
        "{name}: {} states, {} transitions, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
    );
    let discoveries = checker.discoveries();
    if let Some(path) = discoveries.get(Protocol::HOLD) {
        let violations = checker.model().violations(path.last_state());
        panic!("{name}: {violations:#?}\n{:#?}", path.clone().into_actions());
    }
    for status in reached {
        assert!(discoveries.contains_key(status), "{name}: never {status}");
    }
}

const ENDS: [&str; 3] = ["an export is READY", "an export is FAILED", "an export is EXPIRED"];

#[test]
fn small_file_holds_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("a small file", SMALL_FILE, &ENDS);
}

#[test]
fn two_exports_hold_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("two exports", TWO_EXPORTS, &ENDS);
}

#[test]
fn file_in_parts_holds_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("a file in parts", PARTS, &ENDS);
}

#[test]
fn file_continued_between_parts_holds_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("a small file, continued", UNFINISHED_PART, &ENDS[..2]);
    explore("a file in parts, continued", Protocol { parts: 2, ..UNFINISHED_PART }, &ENDS[..2]);
}

#[test]
fn one_object_for_the_unfinished_parts_of_all_owners_is_found() {
    let within = Protocol { unfinished_parts: 2, invalid_rows: 0, most_fence: 3, ..UNFINISHED_PART };
    find(Broken::UnfinishedPart, within, &[Invariant::FileIsComplete]);
}

#[test]
fn cancelled_export_holds_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("a cancelled export", CANCELLED, &ENDS);
    let parts = Protocol { requests: 1, generators: 2, parts: 2, ..CANCELLED };
    explore("a cancelled export, in parts", parts, &ENDS);
}

#[test]
fn cancellation_of_an_export_with_a_file_is_found() {
    let within = Protocol { cancellations: 1, ..Protocol::SMALLEST };
    find(Broken::CancelFileGuard, within, &[Invariant::FailureHasReason]);
}

#[test]
fn resends_hold_the_invariants_whatever_is_late_lost_or_doubled() {
    explore("resends", RESENDS, &ENDS);
}

/// More invalid_rows, owners, sweepers and time: millions of states, for minutes and gigabytes.
#[test]
#[ignore = "takes minutes"]
fn wider_bounds_hold_the_invariants() {
    explore("a small file, wider", Protocol { invalid_rows: 2, sweepers: 2, most_fence: 3, ..SMALL_FILE }, &ENDS);
    explore("two exports, wider", Protocol { endings: 1, last_tick: 3, time_limit: 2, ..TWO_EXPORTS }, &ENDS);
    explore("a file in parts, wider", Protocol { invalid_rows: 2, most_fence: 3, last_tick: 3, ..PARTS }, &ENDS);
    let continued = Protocol { unfinished_parts: 2, most_fence: 3, ..UNFINISHED_PART };
    explore("a small file, continued, wider", continued.clone(), &ENDS[..2]);
    explore("a file in parts, continued, wider", Protocol { parts: 2, ..continued }, &ENDS[..2]);
    explore("resends, wider", Protocol { generators: 2, endings: 1, last_tick: 4, ..RESENDS }, &ENDS);
}

#[test]
#[ignore = "takes minutes"]
fn all_at_once_hold_the_invariants() {
    explore("all at once", Protocol { invalid_rows: 1, ..ALL }, &ENDS);
    let parts = Protocol { requests: 1, parts: 2, invalid_rows: 1, last_tick: 3, time_limit: 2, ..ALL };
    explore("all at once, a file in parts", parts, &ENDS);
}

/// Without the safeguard, the shortest way to break an invariant breaks one of these.
fn find(broken: Broken, within: Protocol, expected: &[Invariant]) {
    let protocol = Protocol { broken: Some(broken), ..within };
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let Some(path) = checker.discovery(Protocol::HOLD) else {
        panic!("{broken:?}: not found in {} states", checker.unique_state_count());
    };
    let violations = checker.model().violations(path.last_state());
    eprintln!("{broken:?}: found in {} states: {}", checker.unique_state_count(), violations[0]);
    let are_expected = violations.iter().all(|violation| expected.contains(&violation.invariant));
    assert!(are_expected, "{broken:?}: {violations:#?}\n{:#?}", path.into_actions());
}

#[test]
fn missing_fence_guard_is_found() {
    let within = Protocol { generators: 2, ..Protocol::SMALLEST };
    find(Broken::FenceGuard, within, &[Invariant::LinksAreValid, Invariant::ReadyWasMailed]);
}

#[test]
fn steps_on_exports_that_have_ended_are_found() {
    let within = Protocol { generators: 2, endings: 1, ..Protocol::SMALLEST };
    find(Broken::PendingGuard, within, &[Invariant::LinksAreValid]);
}

#[test]
fn acceptance_whatever_the_lock_names_is_found() {
    let within = Protocol { requests: 2, ..Protocol::SMALLEST };
    find(Broken::LockCheck, within, &[Invariant::OnePending, Invariant::LockNamesPending]);
}

#[test]
fn lock_that_outlives_the_work_is_found() {
    let expected = [Invariant::LockNamesPending, Invariant::NoLeftovers];
    find(Broken::LockRelease, Protocol { endings: 1, ..Protocol::SMALLEST }, &expected);
}

#[test]
fn checkpoint_outside_its_steps_transaction_is_found() {
    let within = Protocol { parts: 2, endings: 1, ..Protocol::SMALLEST };
    find(Broken::CheckpointTransaction, within, &[Invariant::NoLeftovers]);
}

#[test]
fn ready_before_the_mail_is_found() {
    find(Broken::MailBeforeReady, Protocol::SMALLEST, &[Invariant::ReadyWasMailed]);
}

#[test]
fn links_end_that_moves_back_is_found() {
    let within = Protocol { resends: 2, resend_requests: 2, ..Protocol::SMALLEST };
    find(Broken::LinkEndOnlyForward, within, &[Invariant::LinksAreValid]);
}

#[test]
fn link_that_expires_though_a_later_one_was_made_is_found() {
    let within = Protocol { resends: 1, resend_requests: 1, ..Protocol::SMALLEST };
    find(Broken::LinkEndGuard, within, &[Invariant::LinksAreValid]);
}

#[test]
fn one_object_for_all_owners_is_found() {
    let within = Protocol { generators: 2, ..Protocol::SMALLEST };
    find(Broken::KeyPerFence, within, &[Invariant::FileIsComplete]);
}

#[test]
fn sweepers_look_after_the_deadline_is_found() {
    find(Broken::LookByDeadline, Protocol { invalid_rows: 1, ..Protocol::SMALLEST }, &[Invariant::AcceptedFinishes]);
}

#[test]
fn deadline_that_nobody_enforces_is_found() {
    find(Broken::Deadline, Protocol { invalid_rows: 1, ..Protocol::SMALLEST }, &[Invariant::AcceptedFinishes]);
}

#[test]
fn work_taken_however_often_it_was_is_found() {
    let within = Protocol { invalid_rows: 2, most_fence: 3, last_tick: 4, time_limit: 4, ..Protocol::SMALLEST };
    find(Broken::TriesGuard, within, &[Invariant::AttemptsAreBounded]);
}

/// Leases spare work: what one does who should not, the fencing_token keeps off.
#[test]
fn missing_lease_guard_breaks_nothing() {
    let within = Protocol { generators: 2, invalid_rows: 1, ..Protocol::SMALLEST };
    explore("without the lease's guard", Protocol { broken: Some(Broken::LeaseGuard), ..within }, &ENDS);
}
