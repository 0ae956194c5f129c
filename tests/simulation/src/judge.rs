//! What must hold: the domain's invariants after every change, the file against an independent writer, and bounds on
//! leases, mails and re-enqueued jobs.

use std::collections::BTreeMap;

use exports_domain::export::{Export, Status};
use exports_domain::export_type::ExportType;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::invariants::{Link, ObjectContents, SentMail, Snapshot, violations};
use exports_domain::lifecycle::{Change, Guard, Step};
use exports_domain::mail::Mail;
use exports_domain::time::Timestamp;
use exports_domain::totals::{Total, Totals};
use generate_export::limits::Limits;
use sha2::{Digest, Sha256};

use crate::broken::Broken;
use crate::call::{Call, Fault};
use crate::clients::{Op, Phase};
use crate::rows::{Millis, index_of};
use crate::world::{MAX_SKEW, MINUTE, Process, TENANTS, World, time};
use exports_domain::lifecycle::transition::Transition;

/// The time by which clocks may differ.
fn skew() -> std::time::Duration {
    std::time::Duration::from_millis(MAX_SKEW)
}

/// What happened to one export.
#[derive(Debug, Default)]
struct Facts {
    accepted_at: Millis,
    changed_at: Millis,
    first_read: Option<Millis>,
    recorded_at: Option<Millis>,
    lease_until: Option<Timestamp>,
    leases_without_progress: u32,
    re_enqueued_check: Option<Timestamp>,
    ready_mails: u32,
    resent_mails: u32,
    failure_mails: u32,
    /// How often a response, a process or a lease was lost after the mail may have been sent.
    lost_after_mail: u32,
}

/// What was seen so far, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub violations: Vec<String>,
    objects: BTreeMap<String, ObjectContents>,
    mails: Vec<SentMail>,
    /// The exports whose acceptance was returned to a caller.
    pub accepted: Vec<(TenantId, ExportId)>,
    /// The link expiries that were returned to callers.
    pub reported_links: Vec<(TenantId, ExportId, Timestamp)>,
    /// When the last sweep started that did everything.
    pub swept_at: Option<Timestamp>,
    /// The keys whose revocation was returned: tenant, operator, time.
    pub revoked: Vec<(usize, usize, Millis)>,
    facts: BTreeMap<ExportId, Facts>,
    /// Whether something changed since the last check.
    pub is_changed: bool,
}

/// How long a revoked key may still be accepted.
const REVOKED_WITHIN: Millis = MINUTE;

impl Judge {
    /// Checks that a key that was revoked for long is rejected.
    pub(crate) fn check_key(&mut self, (tenant, operator): (usize, usize), started: Millis, status: i64) {
        let was_revoked = self
            .revoked
            .iter()
            .any(|(of, number, at)| (*of, *number) == (tenant, operator) && at + REVOKED_WITHIN < started);
        if was_revoked && (200..300).contains(&status) {
            self.violations.push(format!("a key that was revoked more than a minute ago got the response {status}"));
        }
    }

    /// When an export was accepted and last changed, if it was accepted.
    pub(crate) fn times(&self, id: &ExportId) -> Option<(Millis, Millis)> {
        self.facts.get(id).map(|facts| (facts.accepted_at, facts.changed_at))
    }

    /// The record of an export was removed.
    pub(crate) fn forget(&mut self, export: &Export) {
        self.accepted.retain(|(_, id)| *id != export.id);
        self.reported_links.retain(|(_, id, _)| *id != export.id);
        self.mails.retain(|mail| !mail.links.iter().any(|link| link.key.contains(&export.id.to_string())));
    }

    fn of(&mut self, id: &ExportId) -> &mut Facts {
        self.facts.entry(*id).or_default()
    }

    pub(crate) fn object_deleted(&mut self, key: &str) {
        self.objects.remove(key);
        self.is_changed = true;
    }

    /// A fault of a call of this process.
    pub(crate) fn on_fault(&mut self, process: &Process, call: Call, fault: Option<Fault>) {
        let concerns_mail = matches!(call, Call::SendMail | Call::Apply(Transition::Ready));
        let stops = matches!(fault, Some(Fault::Kill | Fault::Stall | Fault::Hangs | Fault::Slow));
        if let Some(id) = process.export.filter(|_| concerns_mail || stops) {
            self.of(&id).lost_after_mail += 1;
        }
    }

    /// A process was killed.
    pub(crate) fn on_kill(&mut self, process: &Process) {
        if let Some(id) = process.export {
            self.of(&id).lost_after_mail += 1;
        }
    }

    /// A guard rejected a step.
    pub(crate) fn on_conflict(&mut self, id: ExportId, transition: Transition) {
        if transition == Transition::Ready {
            self.of(&id).lost_after_mail += 1;
        }
    }

    fn add(&mut self, subject: &ExportId, what: impl std::fmt::Display) {
        self.violations.push(format!("{subject}: {what}"));
    }
}

/// An export was accepted.
pub(crate) fn accepted(world: &mut World, export: &Export) {
    let now = world.now;
    world.judge.facts.insert(export.id, Facts { accepted_at: now, changed_at: now, ..Facts::default() });
    // If its process stood still for so long, the sweeps before did not see it.
    world.judge.swept_at = world.judge.swept_at.filter(|at| *at < export.deadline);
    world.judge.is_changed = true;
}

/// A process reads rows.
pub(crate) fn reads_rows(world: &mut World) {
    let now = world.now;
    if let Some(id) = world.processes[world.current].export {
        world.judge.of(&id).first_read.get_or_insert(now);
    }
}

/// A step was applied.
pub(crate) fn applied(world: &mut World, transition: Transition, step: &Step, before: &Export) {
    let (now, max_attempts) = (world.now, world.config.max_attempts);
    let Some(after) = world.store.export(&before.tenant, &before.id) else { return };
    let id = after.id;
    world.judge.is_changed = true;
    if world.config.compares_records && world.broken.is_none() {
        let Limits { retry, .. } = world.config.limits();
        let found = Transition::between(before, &after, &retry, world.config.max_resends_a_day);
        if found.is_none() {
            world.judge.add(&id, format!("no transition leads to the record after {transition:?}"));
        }
    }
    let facts = world.judge.of(&id);
    facts.changed_at = now;
    let mut wrong = None;
    match transition {
        Transition::Acquire => {
            facts.leases_without_progress += 1;
            if facts.leases_without_progress > max_attempts {
                wrong =
                    Some(format!("its lease was acquired {} times without progress", facts.leases_without_progress));
            }
            // By a clock that is fast, a lease ends that much earlier.
            if let Some(until) = facts.lease_until.filter(|until| *until > time(now).plus(skew())) {
                wrong = Some(format!(
                    "its lease was acquired while another one was live until {until} (clock skew allowed)"
                ));
            }
            facts.lease_until = step.changes.iter().find_map(|change| match change {
                Change::Lease(lease) => lease.as_ref().map(|lease| lease.until),
                _ => None,
            });
        }
        Transition::AdvanceCheckpoint => facts.leases_without_progress = 0,
        Transition::ContinueLater | Transition::Release => {
            facts.lease_until = None;
            if step.changes.contains(&Change::Attempts(0)) {
                facts.leases_without_progress = 0;
            }
        }
        Transition::RecordFile => {
            if before.file().is_some_and(|file| Some(&file.key) != after.file().map(|file| &file.key)) {
                wrong = Some("another file was recorded before".to_owned());
            }
            facts.recorded_at = Some(now);
        }
        Transition::ReEnqueue => {
            let check = step.guards.iter().find_map(|guard| match guard {
                Guard::NextCheckIs(at) => Some(*at),
                _ => None,
            });
            if check.is_some() && facts.re_enqueued_check == check {
                wrong = Some("the same check was re-enqueued twice".to_owned());
            }
            facts.re_enqueued_check = check;
        }
        _ => {}
    }
    let (first_read, filter) = (facts.first_read.unwrap_or(0), world.operations.filter_of(&id));
    let scope = scope_of(&after);
    if let Some(wrong) = wrong {
        world.judge.add(&id, wrong);
    }
    if transition == Transition::RecordFile {
        check_file(world, &after);
    }
    let has_invalid = || world.tables[&scope].has_invalid(filter, after.as_of(), (first_read, now));
    if after.failure().is_some_and(|failure| failure.invalid_rows.is_some())
        && before.status() == Status::Pending
        && !has_invalid()
    {
        world.judge.add(&id, "failed for invalid rows, but no row was invalid");
    }
    world.provoke(transition, scope, &after);
    let has_file = after.file().is_some();
    let Some(launch) = world.operations.launch_of(&id) else { return };
    match transition {
        Transition::RecordFile => world.operations.add(scope, Op::RecordFile(launch)),
        Transition::Ready => world.operations.add(scope, Op::End(launch, Phase::Ready)),
        Transition::FailByOwner
        | Transition::FailAttemptsUsedUp
        | Transition::FailAtDeadline
        | Transition::FailByAdministrator => {
            world.operations.add(scope, Op::End(launch, Phase::Failed { has_file }));
        }
        _ => {}
    }
}

/// The tenant and type of an export.
pub(crate) fn scope_of(export: &Export) -> (usize, usize) {
    let tenant = TENANTS.iter().position(|tenant| *tenant == export.tenant.as_str()).unwrap();
    (tenant, index_of(export.id.export_type()))
}

/// Compares the recorded file with the rows that it must have.
fn check_file(world: &mut World, export: &Export) {
    let Some(stored) = export.file().and_then(|file| world.files.file(&file.key)) else { return };
    let facts = &world.judge.facts[&export.id];
    let read = (facts.first_read.unwrap_or(0), facts.recorded_at.unwrap_or(world.now));
    let filter = world.operations.filter_of(&export.id);
    let text = String::from_utf8_lossy(&stored.bytes);
    if let Err(wrong) = world.tables[&scope_of(export)].check(&text, filter, export.as_of(), read) {
        world.judge.add(&export.id, format!("its file {wrong}\n{text}"));
    }
}

/// An object was written.
pub(crate) fn object_written(world: &mut World, key: &str) {
    let Some(stored) = world.files.file(key) else { return };
    let mut parts = key.split('/').skip(1);
    let (Some(tenant), Some(id)) = (parts.next(), parts.next().and_then(|id| id.parse::<ExportId>().ok())) else {
        return;
    };
    world.judge.objects.insert(key.to_owned(), contents(id.export_type(), &stored.bytes));
    world.judge.is_changed = true;
    let export = tenant.parse().ok().and_then(|tenant| world.store.export(&tenant, &id));
    if let Some(export) = export.filter(|export| export.file().is_some_and(|file| file.key == key)) {
        check_file(world, &export);
    }
    if world.is_broken(Broken::KeyPerOwner) {
        let folder = key.rsplit_once('/').map_or(key, |(folder, _)| folder).to_owned();
        let others = world.judge.objects.keys().filter(|other| other.starts_with(&folder) && *other != key);
        for other in others.cloned().collect::<Vec<_>>() {
            world.files.put(&other, stored.clone());
            world.judge.objects.insert(other, contents(id.export_type(), &stored.bytes));
        }
    }
}

/// The contents of an object, from its bytes alone.
fn contents(export_type: ExportType, bytes: &[u8]) -> ObjectContents {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(|line| line.split(';').collect::<Vec<_>>());
    let headers = lines.next().unwrap_or_default();
    let column = |name: &str| headers.iter().position(|header| *header == name);
    let columns = (column("currency"), column("status"), column("amount"));
    let (mut totals, mut row_ids) = (Totals::default(), Vec::new());
    for line in lines {
        // A quoted cell of the samples contains one separator.
        let shift = usize::from(line.iter().any(|cell| cell.starts_with('"')));
        row_ids.push(line[0].to_owned());
        let cell = |index: Option<usize>| index.and_then(|index| line.get(index + shift)).copied().unwrap_or_default();
        let (currency, status) = (cell(columns.0).parse(), export_type.definition().status(cell(columns.1)));
        let minor = cell(columns.2).replace('.', "").parse();
        if let (Ok(currency), Some(status), Ok(minor)) = (currency, status, minor) {
            let _ = totals.add(currency, status, Total { count: 1, minor });
        }
    }
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ObjectContents { bytes: bytes.len() as u64, sha256, totals, row_ids }
}

/// The e-mail service accepted a mail.
pub(crate) fn mail_accepted(world: &mut World, mail: &Mail) {
    let process = world.processes[world.current].name;
    let days = 1
        + (world.time().plus(skew()).start_of_day().since(mail.export.created_at().start_of_day())).as_secs() / 86_400;
    let resends = u64::from(world.config.max_resends_a_day) * days;
    let judge = &mut world.judge;
    let links: Vec<Link> = mail.text.lines().filter_map(|line| link(line, &mail.text)).collect();
    let facts = judge.of(&mail.export);
    let (sent, most, kind) = match (links.is_empty(), process) {
        (true, _) => {
            facts.failure_mails += 1;
            (facts.failure_mails, 1, "failure mails")
        }
        (false, "resend-email") => {
            facts.resent_mails += 1;
            (facts.resent_mails, u32::try_from(resends).unwrap(), "resent mails")
        }
        (false, _) => {
            facts.ready_mails += 1;
            (facts.ready_mails, 1 + facts.lost_after_mail, "mails with a link")
        }
    };
    if sent > most {
        judge.add(&mail.export, format!("{sent} {kind}, at most {most} expected"));
    }
    judge.mails.push(SentMail { recipients: mail.recipients.clone(), links });
    judge.is_changed = true;
}

/// The link in a line of a mail.
fn link(line: &str, text: &str) -> Option<Link> {
    let (key, query) = line.strip_prefix("https://files.example/")?.split_once('?')?;
    let expiry: Timestamp = query.split_once("until=")?.1.parse().ok()?;
    // The mail states it to the minute.
    let stated = expiry.format("until %-d %B %Y, %H:%M UTC");
    let stated_expiry = if text.contains(&stated) { expiry } else { expiry.plus(skew()) };
    Some(Link { key: key.to_owned(), stated_expiry, expiry })
}

/// Checks the invariants, if something changed that can break them.
pub(crate) fn check(world: &mut World, is_quiet: bool) {
    if !std::mem::take(&mut world.judge.is_changed) && !is_quiet {
        return;
    }
    let exports = world.store.exports();
    let tenants: Vec<TenantId> = TENANTS.iter().map(|tenant| tenant.parse().unwrap()).collect();
    let (judge, store) = (&world.judge, &world.store);
    let locks = tenants.iter().flat_map(|tenant| {
        ExportType::ALL.into_iter().filter_map(move |of| Some((tenant, of, store.locked_by(tenant, of)?)))
    });
    let has_checkpoint = |export: &&Export| store.checkpoint(&export.tenant, &export.id).is_some();
    let snapshot = Snapshot {
        // A fast clock lets exports and links expire earlier.
        now: world.time().plus(skew()),
        swept_at: judge.swept_at,
        is_quiet,
        max_attempts: world.config.max_attempts,
        accepted: judge.accepted.iter().map(|(tenant, id)| (tenant, *id)).collect(),
        reported_links: judge.reported_links.iter().map(|(tenant, id, at)| (tenant, *id, *at)).collect(),
        exports: exports.iter().collect(),
        locks: locks.collect(),
        checkpoints: exports.iter().filter(has_checkpoint).map(|export| (&export.tenant, export.id)).collect(),
        rows: None,
        objects: judge.objects.iter().map(|(key, contents)| (key.as_str(), contents)).collect(),
        mails: judge.mails.iter().collect(),
    };
    let found: Vec<String> = violations(&snapshot).iter().map(ToString::to_string).collect();
    world.judge.violations.extend(found);
}
