use std::time::Duration;

use super::*;
use crate::export::Failure;
use crate::testing::{export, file, operator, ready_export, start};

/// What a [`World`] is made of.
#[derive(Clone)]
struct Parts {
    now: Timestamp,
    swept_at: Option<Timestamp>,
    is_quiet: bool,
    most_tries: u32,
    accepted: Vec<(TenantId, ExportId)>,
    told: Vec<(TenantId, ExportId, Timestamp)>,
    exports: Vec<Export>,
    locks: Vec<(TenantId, ExportId)>,
    checkpoints: Vec<(TenantId, ExportId)>,
    payouts: Vec<Committed>,
    objects: BTreeMap<String, Contents>,
    mails: Vec<Accepted>,
}

impl Parts {
    fn check(&self) -> Vec<Violation> {
        violations(&World {
            now: self.now,
            swept_at: self.swept_at,
            is_quiet: self.is_quiet,
            most_tries: self.most_tries,
            accepted: self.accepted.iter().map(|(tenant, id)| (tenant, *id)).collect(),
            told: self.told.iter().map(|(tenant, id, end)| (tenant, *id, *end)).collect(),
            exports: self.exports.iter().collect(),
            locks: self.locks.iter().map(|(tenant, id)| (tenant, id.export_type(), *id)).collect(),
            checkpoints: self.checkpoints.iter().map(|(tenant, id)| (tenant, *id)).collect(),
            payouts: self.payouts.iter().collect(),
            objects: self.objects.iter().map(|(key, contents)| (key.as_str(), contents)).collect(),
            mails: self.mails.iter().collect(),
        })
    }

    /// The invariants that do not hold, once each.
    fn broken(&self) -> Vec<Invariant> {
        let broken: BTreeSet<Invariant> = self.check().iter().map(|violation| violation.invariant).collect();
        broken.into_iter().collect()
    }
}

fn another() -> ExportId {
    ExportId::new(ExportType::MarketplacePayouts, start(), &[9; 10])
}

/// A ready export, whole and mailed, and a pending one of the same tenant.
fn sound() -> Parts {
    let ready = ready_export();
    let pending = Export { id: another(), ..export() };
    let tenant = || ready.tenant.clone();
    let end = ready.link_expires_at.unwrap();
    let ids = ["po_1", "po_2", "po_3"];
    let contents = Contents {
        bytes: file().bytes,
        sha256: file().sha256,
        totals: file().totals,
        payouts: ids.map(str::to_owned).to_vec(),
    };
    let committed = |id: &str, tenant: TenantId, created_at| Committed { tenant, id: id.to_owned(), created_at };
    let mut payouts: Vec<Committed> = ids.iter().map(|id| committed(id, tenant(), start())).collect();
    payouts.push(committed("po_later", tenant(), start().plus(Duration::from_millis(1))));
    payouts.push(committed("po_other", operator("other").tenant, start()));
    let link = Link { key: file().key, said_end: end, end };
    Parts {
        now: start().plus(Duration::from_secs(120)),
        swept_at: Some(start().plus(Duration::from_secs(60))),
        is_quiet: false,
        most_tries: Tries::MOST,
        accepted: vec![(tenant(), ready.id), (tenant(), pending.id)],
        told: vec![(tenant(), ready.id, end)],
        locks: vec![(tenant(), pending.id)],
        checkpoints: vec![(tenant(), pending.id)],
        payouts,
        objects: [(file().key, contents)].into(),
        mails: vec![Accepted { recipients: ready.recipients.clone(), links: vec![link] }],
        exports: vec![ready, pending],
    }
}

fn broken_by(change: impl FnOnce(&mut Parts)) -> Vec<Invariant> {
    let mut parts = sound();
    change(&mut parts);
    parts.broken()
}

fn object(parts: &mut Parts) -> &mut Contents {
    parts.objects.get_mut(&file().key).unwrap()
}

#[test]
fn sound_world_has_no_violation() {
    assert_eq!(sound().check(), []);
    let failed = Export { status: Status::Failed, due_at: None, failure: Some(Failure::tries_used_up(5)), ..export() };
    let ended = |parts: &mut Parts| {
        parts.exports[1] = Export { id: another(), ..failed };
        parts.locks.clear();
        parts.checkpoints.clear();
        parts.is_quiet = true;
    };
    assert_eq!(broken_by(ended), []);
}

#[test]
fn second_pending_export_is_found() {
    let second = ExportId::new(ExportType::MarketplacePayouts, start(), &[10; 10]);
    let broken = broken_by(|parts| parts.exports.push(Export { id: second, ..export() }));
    assert_eq!(broken, [Invariant::OnePending, Invariant::LockNamesPending]);
    // Another tenant's is none.
    let of_another = Export { tenant: operator("other").tenant, ..export() };
    let broken = broken_by(|parts| {
        parts.locks.push((of_another.tenant.clone(), of_another.id));
        parts.exports.push(of_another);
    });
    assert_eq!(broken, []);
}

#[test]
fn lock_that_names_no_pending_export_is_found() {
    assert_eq!(broken_by(|parts| parts.locks.clear()), [Invariant::LockNamesPending]);
    assert_eq!(broken_by(|parts| parts.locks[0].1 = export().id), [Invariant::LockNamesPending]);
    let broken = broken_by(|parts| {
        parts.exports.pop();
        parts.accepted.pop();
        parts.checkpoints.clear();
    });
    assert_eq!(broken, [Invariant::LockNamesPending]);
}

#[test]
fn accepted_export_that_is_gone_or_does_not_end_is_found() {
    assert_eq!(broken_by(|parts| parts.accepted.push((export().tenant, another_yet()))), [Invariant::AcceptedEnds]);
    assert_eq!(broken_by(|parts| parts.is_quiet = true), [Invariant::AcceptedEnds]);
    assert_eq!(broken_by(|parts| parts.swept_at = Some(export().deadline)), [Invariant::AcceptedEnds]);
    assert_eq!(broken_by(|parts| parts.exports[1].due_at = None), [Invariant::AcceptedEnds]);
    let late = export().deadline.plus(Duration::from_millis(1));
    assert_eq!(broken_by(|parts| parts.exports[1].due_at = Some(late)), [Invariant::AcceptedEnds]);
}

fn another_yet() -> ExportId {
    ExportId::new(ExportType::MarketplacePayouts, start(), &[11; 10])
}

#[test]
fn file_that_is_gone_or_other_than_recorded_is_found_until_its_end() {
    let changes: [fn(&mut Parts); 12] = [
        |parts| parts.objects.clear(),
        |parts| object(parts).bytes -= 1,
        |parts| object(parts).sha256 = "cd".repeat(32),
        |parts| object(parts).totals = Totals::default(),
        |parts| object(parts).payouts.swap(0, 1),
        |parts| parts.payouts[0].created_at = start().plus(Duration::from_millis(1)),
        |parts| parts.payouts[2].created_at = start().minus(Duration::from_millis(1)),
        |parts| drop(object(parts).payouts.pop()),
        |parts| object(parts).payouts.push("po_3".into()),
        |parts| object(parts).payouts[0] = "po_later".into(),
        |parts| object(parts).payouts[0] = "po_other".into(),
        |parts| object(parts).payouts[0] = "po_unknown".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(broken_by(change), [Invariant::FileIsWhole], "{number}");
        let after_its_end = |parts: &mut Parts| {
            change(parts);
            parts.now = file().expires_at;
            parts.swept_at = None;
        };
        assert_eq!(broken_by(after_its_end), [], "{number}");
    }
    let missing = broken_by(|parts| {
        object(parts).payouts.pop();
        parts.exports[0].file.as_mut().unwrap().rows -= 1;
    });
    assert_eq!(missing, [Invariant::FileIsWhole], "a payout is missing in the file and in the count");
}

#[test]
fn ready_export_whose_mail_was_not_accepted_is_found() {
    let changes: [fn(&mut Parts); 5] = [
        |parts| parts.mails.clear(),
        |parts| parts.mails[0].links.clear(),
        |parts| parts.mails[0].recipients = Recipients::only(operator("acme").user.email),
        |parts| parts.exports[0].link_expires_at = Some(file().expires_at),
        |parts| {
            parts.exports[0].status = Status::Expired;
            parts.now = parts.exports[0].link_expires_at.unwrap();
            parts.mails.clear();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(broken_by(change), [Invariant::ReadyWasMailed], "{number}");
    }
    let without_file = broken_by(|parts| {
        parts.exports[0].file = None;
        parts.mails.clear();
    });
    assert_eq!(without_file, [Invariant::ReadyWasMailed]);
}

#[test]
fn failure_without_a_reason_is_found() {
    let fail = |failure: Option<Failure>| {
        broken_by(|parts| {
            parts.exports[1] = Export { status: Status::Failed, failure, ..parts.exports[1].clone() };
            parts.locks.clear();
            parts.checkpoints.clear();
        })
    };
    let blank = Failure { code: FailureCode::GenerationFailed, message: " ".into() };
    for failure in [None, Some(blank), Some(Failure::email_not_sent("no"))] {
        assert_eq!(fail(failure.clone()), [Invariant::FailureIsTold], "{failure:?}");
    }
    assert_eq!(fail(Some(Failure::tries_used_up(5))), []);
    let ready_and_failed = broken_by(|parts| parts.exports[0].failure = Some(Failure::tries_used_up(5)));
    assert_eq!(ready_and_failed, [Invariant::FailureIsTold]);
}

#[test]
fn checkpoint_of_an_export_that_has_ended_is_found() {
    let broken = broken_by(|parts| parts.checkpoints.push((export().tenant, export().id)));
    assert_eq!(broken, [Invariant::NothingIsLeft]);
}

fn nowhere() -> Link {
    Link { key: "exports/x".into(), said_end: start(), end: start() }
}

#[test]
fn link_that_ends_too_early_or_leads_nowhere_is_found() {
    let changes: [fn(&mut Parts); 6] = [
        |parts| parts.exports[0].status = Status::Expired,
        |parts| parts.mails[0].links[0].said_end = file().expires_at,
        |parts| parts.mails[0].links[0].end = file().expires_at.plus(Duration::from_secs(1)),
        |parts| parts.mails.push(Accepted { links: vec![nowhere()], ..parts.mails[0].clone() }),
        |parts| parts.told[0].2 = file().expires_at,
        |parts| parts.told.push((export().tenant, another(), start())),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(broken_by(change), [Invariant::LinksLive], "{number}");
    }
}

#[test]
fn violation_tells_the_invariant_the_export_and_what_is_seen() {
    let mut parts = sound();
    parts.locks.clear();
    let lines: Vec<String> = parts.check().iter().map(ToString::to_string).collect();
    assert_eq!(lines, [format!("LockNamesPending: acme {}: is PENDING, and there is no lock", another())]);
}

#[test]
fn work_taken_more_often_than_it_may_be_is_found() {
    assert_eq!(broken_by(|parts| parts.exports[1].tries = Tries::MOST), []);
    assert_eq!(broken_by(|parts| parts.exports[1].tries = Tries::MOST + 1), [Invariant::TriesAreBounded]);
}
