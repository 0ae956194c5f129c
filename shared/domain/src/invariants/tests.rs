use std::time::Duration;

use super::*;
use crate::testing::{export, file, operator, ready_export, ready_until, start, state, with_work};

/// The owned data behind a [`Snapshot`].
#[derive(Clone)]
struct Parts {
    now: Timestamp,
    swept_at: Option<Timestamp>,
    is_quiet: bool,
    max_attempts: u32,
    accepted: Vec<(TenantId, ExportId)>,
    reported_links: Vec<(TenantId, ExportId, Timestamp)>,
    exports: Vec<Export>,
    locks: Vec<(TenantId, ExportId)>,
    checkpoints: Vec<(TenantId, ExportId)>,
    rows: Vec<CommittedRow>,
    objects: BTreeMap<String, ObjectContents>,
    mails: Vec<SentMail>,
}

impl Parts {
    fn check(&self) -> Vec<Violation> {
        violations(&Snapshot {
            now: self.now,
            swept_at: self.swept_at,
            is_quiet: self.is_quiet,
            max_attempts: self.max_attempts,
            accepted: self.accepted.iter().map(|(tenant, id)| (tenant, *id)).collect(),
            reported_links: self.reported_links.iter().map(|(tenant, id, expiry)| (tenant, *id, *expiry)).collect(),
            exports: self.exports.iter().collect(),
            locks: self.locks.iter().map(|(tenant, id)| (tenant, id.export_type(), *id)).collect(),
            checkpoints: self.checkpoints.iter().map(|(tenant, id)| (tenant, *id)).collect(),
            rows: Some(self.rows.iter().collect()),
            objects: self.objects.iter().map(|(key, contents)| (key.as_str(), contents)).collect(),
            mails: self.mails.iter().collect(),
        })
    }

    /// The violated invariants, without duplicates.
    fn violated(&self) -> Vec<Invariant> {
        let violated: BTreeSet<Invariant> = self.check().iter().map(|violation| violation.invariant).collect();
        violated.into_iter().collect()
    }
}

fn second_id() -> ExportId {
    ExportId::new(ExportType::MarketplacePayouts, start(), &[9; 10])
}

/// A mailed ready export with its file, and a pending export of the same tenant.
fn valid() -> Parts {
    let ready = ready_export();
    let pending = Export { id: second_id(), ..export() };
    let tenant = || ready.tenant.clone();
    let expiry = ready.link_expires_at().unwrap();
    let ids = ["po_1", "po_2", "po_3"];
    let contents = ObjectContents {
        bytes: file().bytes,
        sha256: file().sha256,
        totals: file().totals,
        row_ids: ids.map(str::to_owned).to_vec(),
    };
    let committed = |id: &str, tenant: TenantId, created_at| CommittedRow { tenant, id: id.to_owned(), created_at };
    let mut rows: Vec<CommittedRow> = ids.iter().map(|id| committed(id, tenant(), start())).collect();
    rows.push(committed("po_later", tenant(), start().plus(Duration::from_millis(1))));
    rows.push(committed("po_other", operator("other").tenant, start()));
    let link = Link { key: file().key, stated_expiry: expiry, expiry };
    Parts {
        now: start().plus(Duration::from_secs(120)),
        swept_at: Some(start().plus(Duration::from_secs(60))),
        is_quiet: false,
        max_attempts: RetryPolicy::MAX_ATTEMPTS,
        accepted: vec![(tenant(), ready.id), (tenant(), pending.id)],
        reported_links: vec![(tenant(), ready.id, expiry)],
        locks: vec![(tenant(), pending.id)],
        checkpoints: vec![(tenant(), pending.id)],
        rows,
        objects: [(file().key, contents)].into(),
        mails: vec![SentMail { recipients: ready.recipients.clone(), links: vec![link] }],
        exports: vec![ready, pending],
    }
}

fn violated_by(change: impl FnOnce(&mut Parts)) -> Vec<Invariant> {
    let mut parts = valid();
    change(&mut parts);
    parts.violated()
}

fn object(parts: &mut Parts) -> &mut ObjectContents {
    parts.objects.get_mut(&file().key).unwrap()
}

#[test]
fn valid_snapshot_has_no_violation() {
    assert_eq!(valid().check(), []);
    let failed = Export { state: State::Failed { failure: Failure::attempts_used_up(5), file: None }, ..export() };
    let finished = |parts: &mut Parts| {
        parts.exports[1] = Export { id: second_id(), ..failed };
        parts.locks.clear();
        parts.checkpoints.clear();
        parts.is_quiet = true;
    };
    assert_eq!(violated_by(finished), []);
}

#[test]
fn second_pending_export_is_a_violation() {
    let second = ExportId::new(ExportType::MarketplacePayouts, start(), &[10; 10]);
    let violated = violated_by(|parts| parts.exports.push(Export { id: second, ..export() }));
    assert_eq!(violated, [Invariant::OnePending, Invariant::LockNamesPending]);
    // A pending export of another tenant is allowed.
    let of_other_tenant = Export { tenant: operator("other").tenant, ..export() };
    let violated = violated_by(|parts| {
        parts.locks.push((of_other_tenant.tenant.clone(), of_other_tenant.id));
        parts.exports.push(of_other_tenant);
    });
    assert_eq!(violated, []);
}

#[test]
fn lock_without_a_pending_export_is_a_violation() {
    assert_eq!(violated_by(|parts| parts.locks.clear()), [Invariant::LockNamesPending]);
    assert_eq!(violated_by(|parts| parts.locks[0].1 = export().id), [Invariant::LockNamesPending]);
    let violated = violated_by(|parts| {
        parts.exports.pop();
        parts.accepted.pop();
        parts.checkpoints.clear();
    });
    assert_eq!(violated, [Invariant::LockNamesPending]);
}

#[test]
fn lost_or_stalled_export_is_a_violation() {
    assert_eq!(violated_by(|parts| parts.accepted.push((export().tenant, third_id()))), [Invariant::AcceptedFinishes]);
    assert_eq!(violated_by(|parts| parts.is_quiet = true), [Invariant::AcceptedFinishes]);
    assert_eq!(violated_by(|parts| parts.swept_at = Some(export().deadline)), [Invariant::AcceptedFinishes]);
    let late = export().deadline.plus(Duration::from_millis(1));
    let checked_late = with_work(valid().exports.swap_remove(1), |pending| pending.next_check_at = late);
    assert_eq!(violated_by(|parts| parts.exports[1] = checked_late), [Invariant::AcceptedFinishes]);
}

fn third_id() -> ExportId {
    ExportId::new(ExportType::MarketplacePayouts, start(), &[11; 10])
}

#[test]
fn missing_or_different_file_is_a_violation_until_expiry() {
    let changes: [fn(&mut Parts); 12] = [
        |parts| parts.objects.clear(),
        |parts| object(parts).bytes -= 1,
        |parts| object(parts).sha256 = "cd".repeat(32),
        |parts| object(parts).totals = Totals::default(),
        |parts| object(parts).row_ids.swap(0, 1),
        |parts| parts.rows[0].created_at = start().plus(Duration::from_millis(1)),
        |parts| parts.rows[2].created_at = start().minus(Duration::from_millis(1)),
        |parts| drop(object(parts).row_ids.pop()),
        |parts| object(parts).row_ids.push("po_3".into()),
        |parts| object(parts).row_ids[0] = "po_later".into(),
        |parts| object(parts).row_ids[0] = "po_other".into(),
        |parts| object(parts).row_ids[0] = "po_unknown".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(violated_by(change), [Invariant::FileIsComplete], "{number}");
        let after_expiry = |parts: &mut Parts| {
            change(parts);
            parts.now = file().expires_at;
            parts.swept_at = None;
        };
        assert_eq!(violated_by(after_expiry), [], "{number}");
    }
    let missing = violated_by(|parts| {
        object(parts).row_ids.pop();
        let (file, link_expires_at) = (file(), ready_export().link_expires_at().unwrap());
        parts.exports[0].state = State::Ready { file: ExportFile { rows: file.rows - 1, ..file }, link_expires_at };
    });
    assert_eq!(missing, [Invariant::FileIsComplete], "a row is missing from both the file and the count");
}

#[test]
fn ready_export_without_a_mail_is_a_violation() {
    let changes: [fn(&mut Parts); 5] = [
        |parts| parts.mails.clear(),
        |parts| parts.mails[0].links.clear(),
        |parts| parts.mails[0].recipients = Recipients::only(operator("acme").user.email),
        |parts| parts.exports[0].state = ready_until(file().expires_at),
        |parts| {
            parts.exports[0].state = state(Status::Expired);
            parts.now = parts.exports[0].link_expires_at().unwrap();
            parts.mails.clear();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(violated_by(change), [Invariant::ReadyWasMailed], "{number}");
    }
}

#[test]
fn failed_export_without_a_reason_is_a_violation() {
    let fail = |failure: Failure| {
        violated_by(|parts| {
            parts.exports[1].state = State::Failed { failure, file: None };
            parts.locks.clear();
            parts.checkpoints.clear();
        })
    };
    let blank =
        Failure { code: FailureCode::GenerationFailed, message: " ".into(), cancelled_by: None, invalid_rows: None };
    for failure in [blank, Failure::email_not_sent("no")] {
        assert_eq!(fail(failure.clone()), [Invariant::FailureHasReason], "{failure:?}");
    }
    assert_eq!(fail(Failure::attempts_used_up(5)), []);
    let cancelled = Failure::cancelled(export().requested_by);
    assert_eq!(fail(cancelled.clone()), []);
    for failure in [
        Failure { cancelled_by: None, invalid_rows: None, ..cancelled.clone() },
        Failure { cancelled_by: cancelled.cancelled_by.clone(), ..Failure::attempts_used_up(5) },
    ] {
        assert_eq!(fail(failure.clone()), [Invariant::FailureHasReason], "{failure:?}");
    }
    let with_file = State::Failed { failure: cancelled, file: Some(file()) };
    let violated = violated_by(|parts| {
        parts.exports[0].state = with_file;
        parts.reported_links.clear();
    });
    assert_eq!(violated, [Invariant::FailureHasReason]);
}

#[test]
fn checkpoint_of_a_finished_export_is_a_violation() {
    let violated = violated_by(|parts| parts.checkpoints.push((export().tenant, export().id)));
    assert_eq!(violated, [Invariant::NoLeftovers]);
}

fn dead_link() -> Link {
    Link { key: "exports/x".into(), stated_expiry: start(), expiry: start() }
}

#[test]
fn expired_or_dead_link_is_a_violation() {
    let changes: [fn(&mut Parts); 6] = [
        |parts| parts.exports[0].state = state(Status::Expired),
        |parts| parts.mails[0].links[0].stated_expiry = file().expires_at,
        |parts| parts.mails[0].links[0].expiry = file().expires_at.plus(Duration::from_secs(1)),
        |parts| parts.mails.push(SentMail { links: vec![dead_link()], ..parts.mails[0].clone() }),
        |parts| parts.reported_links[0].2 = file().expires_at,
        |parts| parts.reported_links.push((export().tenant, second_id(), start())),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(violated_by(change), [Invariant::LinksAreValid], "{number}");
    }
}

#[test]
fn violation_names_invariant_export_and_details() {
    let mut parts = valid();
    parts.locks.clear();
    let lines: Vec<String> = parts.check().iter().map(ToString::to_string).collect();
    assert_eq!(lines, [format!("LockNamesPending: acme {}: is PENDING, but there is no lock", second_id())]);
}

#[test]
fn too_many_attempts_are_a_violation() {
    assert_eq!(violated_by(|parts| parts.exports[1].attempts = RetryPolicy::MAX_ATTEMPTS), []);
    assert_eq!(
        violated_by(|parts| parts.exports[1].attempts = RetryPolicy::MAX_ATTEMPTS + 1),
        [Invariant::AttemptsAreBounded]
    );
}
