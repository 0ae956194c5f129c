//! What must hold: the domain's invariants after every change, the file against an independent writer, and bounds on
//! leases, mails and re-enqueued jobs.

use std::collections::{BTreeMap, BTreeSet};

use exports_domain::export::{Export, Status};
use exports_domain::export_type::{ExportType, RowStatus};
use exports_domain::hex;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::invariants::{Link, ObjectContents, SentMail, Snapshot, violations};
use exports_domain::lifecycle::{Change, Guard, Step};
use exports_domain::mail::Mail;
use exports_domain::money::{Currency, Money};
use exports_domain::options::FileFormat;
use exports_domain::testing::StoredFile;
use exports_domain::time::Timestamp;
use exports_domain::totals::{Total, Totals};
use generate_export::limits::Limits;
use sha2::{Digest, Sha256};

use crate::broken::Broken;
use crate::call::{Call, Failure};
use crate::clients::{Op, Phase};
use crate::rows::{Millis, SEPARATOR};
use crate::workbook;
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
    retry_at: Option<Timestamp>,
    leases_without_progress: u32,
    re_enqueued_check: Option<Timestamp>,
    ready_mails: u32,
    resent_mails: u32,
    failure_mails: u32,
    /// How often a response, a process or a lease was lost after the mail may have been sent.
    lost_after_mail: u32,
    /// Whether the bucket's lifecycle rule may have to delete an upload.
    may_leave_uploads: bool,
}

/// The observations so far, and the violations found in them.
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
    /// When the latest export was accepted. A sweep that started before may not have seen it.
    pub accepted_at: Millis,
    /// The keys whose revocation began, and those for which it was returned, with its time.
    pub revoking: BTreeSet<Key>,
    pub revoked: Vec<(Key, Millis)>,
    /// The latest start of a request that each key was accepted for.
    uses: BTreeMap<Key, Millis>,
    /// Whether the record of a key's use may have been lost.
    may_lose_uses: bool,
    facts: BTreeMap<ExportId, Facts>,
    /// Whether something changed since the last check.
    pub is_changed: bool,
}

/// An API key, by its tenant's and its operator's number.
pub(crate) type Key = (usize, usize);

/// How long a revoked key may still be accepted.
const REVOKED_WITHIN: Millis = MINUTE;

impl Judge {
    /// Checks that a request was accepted or rejected as its key required. It began at `times.0` and ends at `times.1`.
    pub(crate) fn check_key(&mut self, key: Key, expiry: Option<Millis>, times: (Millis, Millis), status: i64) {
        let (started, now) = times;
        let is_accepted = (200..300).contains(&status);
        let was_revoked = self.revoked.iter().any(|(of, at)| *of == key && at + REVOKED_WITHIN < started);
        if was_revoked && is_accepted {
            self.violations.push(format!("a key that was revoked more than a minute ago got the response {status}"));
        }
        if expiry.is_some_and(|expiry| expiry + MAX_SKEW < started) && is_accepted {
            self.violations.push(format!("a key that has expired got the response {status}"));
        }
        let is_valid = !self.revoking.contains(&key) && expiry.is_none_or(|expiry| now + MAX_SKEW < expiry);
        if is_valid && status == 401 {
            self.violations.push("a valid key got the response 401".to_owned());
        }
        if is_accepted {
            let latest = self.uses.entry(key).or_default();
            *latest = started.max(*latest);
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

    /// A failure of a call of this process.
    pub(crate) fn on_failure(&mut self, process: &Process, call: Call, failure: Option<Failure>) {
        let concerns_mail = matches!(call, Call::SendMail | Call::Apply(Transition::Ready));
        let stops = matches!(failure, Some(Failure::Kill | Failure::Stall | Failure::Hangs | Failure::Slow));
        if let Some(id) = process.export.filter(|_| concerns_mail || stops) {
            self.of(&id).lost_after_mail += 1;
        }
        self.may_lose_uses |= stops || call == Call::RecordApiKeyUse;
        if let Some(id) = process.subject {
            self.of(&id).may_leave_uploads = true;
        }
    }

    /// A process was killed.
    pub(crate) fn on_kill(&mut self, process: &Process) {
        self.may_lose_uses = true;
        if let Some(id) = process.export {
            self.of(&id).lost_after_mail += 1;
        }
        if let Some(id) = process.subject {
            self.of(&id).may_leave_uploads = true;
        }
    }

    /// The checkpoint of this export cannot be read.
    pub(crate) fn checkpoint_unknown(&mut self, id: &ExportId) {
        self.of(id).may_leave_uploads = true;
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
    world.judge.accepted_at = now;
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
    let mut wrong = (after.rows_read < before.rows_read).then(|| "its progress went backwards".to_owned());
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
            if let Some(at) = facts.retry_at.filter(|at| *at > time(now).plus(skew())) {
                wrong = Some(format!("its lease was acquired before {at}, the time of the retry (clock skew allowed)"));
            }
            facts.lease_until = step.changes.iter().find_map(|change| match change {
                Change::Lease(lease) => lease.as_ref().map(|lease| lease.until),
                _ => None,
            });
        }
        Transition::AdvanceCheckpoint => facts.leases_without_progress = 0,
        Transition::ContinueLater | Transition::Release => {
            facts.lease_until = None;
            facts.retry_at = step.changes.iter().find_map(|change| match change {
                Change::RetryAt(at) => Some(*at),
                _ => None,
            });
            if step.changes.contains(&Change::Attempts(0)) {
                facts.leases_without_progress = 0;
            }
            // A repetition that takes effect late sets the time of the next check back: one more message, without effect.
            if before.lease().is_none() {
                facts.re_enqueued_check = None;
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
    // Only its owner is sure to know the upload.
    facts.may_leave_uploads |= matches!(
        transition,
        Transition::FailAttemptsUsedUp
            | Transition::FailAtDeadline
            | Transition::FailByAdministrator
            | Transition::Cancel
    );
    let first_read = facts.first_read.unwrap_or(0);
    if let Some(wrong) = wrong {
        world.judge.add(&id, wrong);
    }
    let Some(launch) = world.operations.launch_of(&id) else { return };
    let (scope, options) = world.operations.launched_with(launch);
    if transition == Transition::RecordFile {
        check_file(world, &after);
    }
    let has_invalid = || world.tables[&scope].has_invalid(options, after.as_of(), (first_read, now));
    if after.failure().is_some_and(|failure| failure.invalid_rows.is_some())
        && before.status() == Status::Pending
        && !has_invalid()
    {
        world.judge.add(&id, "failed for invalid rows, but no row was invalid");
    }
    world.provoke(transition, scope, &after);
    let has_file = after.file().is_some();
    match transition {
        Transition::RecordFile => world.operations.add(launch, Op::RecordFile),
        Transition::Ready => world.operations.add(launch, |launch| Op::End(launch, Phase::Ready)),
        Transition::FailByOwner
        | Transition::FailAttemptsUsedUp
        | Transition::FailAtDeadline
        | Transition::FailByAdministrator => {
            world.operations.add(launch, |launch| Op::End(launch, Phase::Failed { has_file }));
        }
        _ => {}
    }
}

/// Compares the recorded file with the rows that it must have.
fn check_file(world: &mut World, export: &Export) {
    let Some(stored) = export.file().and_then(|file| world.files.file(&file.key)) else { return };
    let Some(launch) = world.operations.launch_of(&export.id) else { return };
    let (scope, options) = world.operations.launched_with(launch);
    let facts = &world.judge.facts[&export.id];
    let read = (facts.first_read.unwrap_or(0), facts.recorded_at.unwrap_or(world.now));
    let text = match options.format {
        FileFormat::Csv => String::from_utf8_lossy(&stored.bytes).into_owned(),
        FileFormat::Xlsx => match workbook::read(export.id.export_type(), &stored.bytes) {
            Ok(sheets) => {
                let key = export.file().map(|file| file.key.as_str()).unwrap_or_default();
                let totals = world.judge.objects.get(key).map(|contents| totals(&contents.totals));
                if totals != Some(sheets.totals) || sheets.row_count != (sheets.rows.lines().count() - 1).to_string() {
                    world.judge.add(&export.id, "its sheet of totals does not match its rows");
                }
                sheets.rows
            }
            Err(wrong) => return world.judge.add(&export.id, format!("its file {wrong}")),
        },
    };
    if let Err(wrong) = world.tables[&scope].check(&text, options, export.as_of(), read) {
        world.judge.add(&export.id, format!("its file {wrong}\n{text}"));
    }
}

/// The rows of a sheet of totals.
fn totals(totals: &Totals) -> Vec<String> {
    let row = |(currency, status, Total { count, minor }): (Currency, RowStatus, Total)| {
        let amount = Money { minor, currency }.to_string();
        [currency.code(), status.name(), &count.to_string(), &amount].join(SEPARATOR)
    };
    totals.iter().map(row).collect()
}

/// An object was written.
pub(crate) fn object_written(world: &mut World, key: &str) {
    let Some(stored) = world.files.file(key) else { return };
    let mut parts = key.split('/').skip(1);
    let (Some(tenant), Some(id)) = (parts.next(), parts.next().and_then(|id| id.parse::<ExportId>().ok())) else {
        return;
    };
    world.judge.objects.insert(key.to_owned(), contents(id.export_type(), &stored));
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
            world.judge.objects.insert(other, contents(id.export_type(), &stored));
        }
    }
}

/// The contents of an object, from its bytes alone.
fn contents(export_type: ExportType, StoredFile { bytes, format, .. }: &StoredFile) -> ObjectContents {
    let (text, separator) = match format {
        FileFormat::Csv => (String::from_utf8_lossy(bytes).into_owned(), ";"),
        FileFormat::Xlsx => {
            (workbook::read(export_type, bytes).map(|sheets| sheets.rows).unwrap_or_default(), SEPARATOR)
        }
    };
    let mut lines = text.lines().map(|line| line.split(separator).collect::<Vec<_>>());
    let headers = lines.next().unwrap_or_default();
    let column = |name: &str| headers.iter().position(|header| *header == name);
    let columns = (column("currency"), column("status"), column("amount"));
    let (mut totals, mut row_ids) = (Totals::default(), Vec::new());
    for line in lines {
        // A quoted cell of the samples contains one `;`.
        let shift = usize::from(line.iter().any(|cell| cell.starts_with('"')));
        row_ids.push(line[0].to_owned());
        let cell = |index: Option<usize>| index.and_then(|index| line.get(index + shift)).copied().unwrap_or_default();
        let (currency, status) = (cell(columns.0).parse(), export_type.definition().status(cell(columns.1)));
        let minor = cell(columns.2).replace('.', "").parse();
        if let (Ok(currency), Some(status), Ok(minor)) = (currency, status, minor) {
            let _ = totals.add(currency, status, Total { count: 1, minor });
        }
    }
    let sha256 = hex::encode(&Sha256::digest(bytes));
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
    if is_quiet {
        check_leftovers(world);
        check_uses(world);
    }
}

/// No upload is left of exports whose owners were not disturbed.
fn check_leftovers(world: &mut World) {
    for key in world.files.upload_keys() {
        let Some(id) = key.split('/').nth(2).and_then(|id| id.parse::<ExportId>().ok()) else { continue };
        if !world.judge.of(&id).may_leave_uploads {
            world.judge.add(&id, format!("has ended, but left {key}"));
        }
    }
}

/// The last day on which a key was used is recorded.
fn check_uses(world: &mut World) {
    let latest_day = world.time().plus(skew()).start_of_day();
    for (key, started) in &world.judge.uses {
        let recorded = world.last_use(*key);
        let used_on = time(*started).minus(skew()).start_of_day();
        let is_lost = recorded < Some(used_on) && !world.judge.may_lose_uses;
        if is_lost || recorded > Some(latest_day) {
            let recorded = recorded.map_or_else(|| "none".to_owned(), Timestamp::to_date_text);
            world
                .judge
                .violations
                .push(format!("a key was used on {}, but its record has {recorded}", used_on.to_date_text()));
            return;
        }
    }
}
