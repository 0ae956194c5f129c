//! Invariants of the whole system. They hold at any moment, whatever was rejected, lost, duplicated, delayed or killed.
//!
//! | invariant | |
//! |---|---|
//! | [`OnePending`](Invariant::OnePending) | a tenant has at most one PENDING export of a type |
//! | [`LockNamesPending`](Invariant::LockNamesPending) | the lock names the PENDING export; without one, there is no lock |
//! | [`AcceptedFinishes`](Invariant::AcceptedFinishes) | every accepted export has a record, and becomes READY or FAILED within its deadline plus one sweep |
//! | [`FileIsComplete`](Invariant::FileIsComplete) | a recorded file is in the bucket until its expiry, and matches the size, SHA-256, rows and totals on the record; it holds every row that was committed before the read and created up to `asOf`, once, in creation order |
//! | [`ReadyWasMailed`](Invariant::ReadyWasMailed) | a READY export has a file, and an e-mail to its recipients was accepted, with a link to the file that is valid until the recorded link expiry |
//! | [`FailureHasReason`](Invariant::FailureHasReason) | a FAILED export has a failure with a message, and no other export has a failure; a cancelled export names who cancelled it, and has no file; one with invalid rows names their file, which is in the bucket until its expiry |
//! | [`NoLeftovers`](Invariant::NoLeftovers) | an export that is not PENDING has no checkpoint, and a leftover job message for it has no effect |
//! | [`AttemptsAreBounded`](Invariant::AttemptsAreBounded) | an export never has more attempts without progress than allowed |
//! | [`LinksAreValid`](Invariant::LinksAreValid) | a link leads to a recorded file, and expires neither before the time stated in its e-mail nor after its file; the recorded link expiry never moves back, and an export is not EXPIRED before it |
//!
//! [`violations`] checks a [`Snapshot`] of the tables, the bucket and the sent e-mails. The simulation calls it
//! after every change, and the fault runs for the state of the local stack.
//!
//! A [`Snapshot`] cannot contain corrupt records. If one is PENDING, it becomes FAILED within its deadline plus one
//! sweep, its lock and checkpoint are deleted, and its requester is not notified.
//!
//! Unreferenced leftovers of a crash (parts of an upload that no checkpoint names, an object that no record names) are
//! not checked: the lifecycle rules of the bucket delete them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::email::Recipients;
use crate::export::{Export, Lease, State, Status};
use crate::export_type::ExportType;
use crate::failure::{Failure, FailureCode};
use crate::file::ExportFile;
use crate::id::{ExportId, TenantId};
use crate::lifecycle::{AcquireError, RetryPolicy, acquire};
use crate::time::Timestamp;
use crate::totals::Totals;

/// The state of the whole system at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The time of the snapshot.
    pub now: Timestamp,
    /// When the last successful sweep started, if there was one.
    pub swept_at: Option<Timestamp>,
    /// Whether no failure was injected for so long that every export must have finished.
    pub is_quiet: bool,
    /// The most attempts of an export without progress.
    pub max_attempts: u32,
    /// The exports whose acceptance was returned to a caller.
    pub accepted: Vec<(&'a TenantId, ExportId)>,
    /// The link expiries that were returned to callers.
    pub reported_links: Vec<(&'a TenantId, ExportId, Timestamp)>,
    /// The records of the exports.
    pub exports: Vec<&'a Export>,
    /// The locks, each with the export that it names.
    pub locks: Vec<(&'a TenantId, ExportType, ExportId)>,
    /// The exports that have a checkpoint.
    pub checkpoints: Vec<(&'a TenantId, ExportId)>,
    /// All rows in the source tables; all were committed before the first read. `None` if the rows of the files are checked
    /// elsewhere.
    pub rows: Option<Vec<&'a CommittedRow>>,
    /// The objects in the bucket, by key.
    pub objects: BTreeMap<&'a str, &'a ObjectContents>,
    /// The e-mails that the e-mail service accepted.
    pub mails: Vec<&'a SentMail>,
}

/// A row in a source table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommittedRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of the row.
    pub id: String,
    /// The time of creation.
    pub created_at: Timestamp,
}

/// The contents of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectContents {
    /// The size in bytes.
    pub bytes: u64,
    /// The SHA-256, in the format of [`ExportFile::sha256`].
    pub sha256: String,
    /// The totals by currency and status, computed from its rows.
    pub totals: Totals,
    /// The id of each row.
    pub row_ids: Vec<String>,
}

/// An e-mail that the e-mail service accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// The recipients.
    pub recipients: Recipients,
    /// The links to files in it.
    pub links: Vec<Link>,
}

/// A link in an e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The key of the linked object.
    pub key: String,
    /// The expiry stated in the e-mail.
    pub stated_expiry: Timestamp,
    /// The expiry of the signature.
    pub expiry: Timestamp,
}

/// An invariant; see the [table](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "documented in the table of the module")]
pub enum Invariant {
    OnePending,
    LockNamesPending,
    AcceptedFinishes,
    FileIsComplete,
    ReadyWasMailed,
    FailureHasReason,
    NoLeftovers,
    AttemptsAreBounded,
    LinksAreValid,
}

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The violated invariant.
    pub invariant: Invariant,
    /// The violator: tenant and export, or a link in an e-mail.
    pub subject: String,
    /// The observed state.
    pub details: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.invariant, self.subject, self.details)
    }
}

/// The violations in `snapshot`; empty if all invariants hold.
#[must_use]
pub fn violations(snapshot: &Snapshot<'_>) -> Vec<Violation> {
    let mut findings = Findings::default();
    check_locks(snapshot, &mut findings);
    for export in &snapshot.exports {
        check_finishes(snapshot, export, &mut findings);
        check_failure(export, &mut findings);
        check_invalid_rows(snapshot, export, &mut findings);
        check_leftovers(snapshot, export, &mut findings);
        if export.attempts > snapshot.max_attempts {
            let details =
                format!("has {} attempts, but at most {} are allowed", export.attempts, snapshot.max_attempts);
            findings.add(Invariant::AttemptsAreBounded, *export, details);
        }
        if let Some(file) = export.file() {
            check_file(snapshot, export, file, &mut findings);
        }
        if let State::Ready { file, link_expires_at } | State::Expired { file, link_expires_at } = &export.state {
            check_mail(snapshot, export, file, *link_expires_at, &mut findings);
        }
    }
    for (tenant, id) in &snapshot.accepted {
        if find(snapshot, tenant, *id).is_none() {
            findings.add(Invariant::AcceptedFinishes, &(*tenant, *id), "was accepted, but has no record");
        }
    }
    check_links(snapshot, &mut findings);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Violation>);

trait Subject {
    fn name(&self) -> String;
}

impl Subject for Export {
    fn name(&self) -> String {
        (&self.tenant, self.id).name()
    }
}

impl Subject for (&TenantId, ExportId) {
    fn name(&self) -> String {
        format!("{} {}", self.0, self.1)
    }
}

impl Subject for str {
    fn name(&self) -> String {
        self.to_owned()
    }
}

impl Findings {
    fn add(&mut self, invariant: Invariant, subject: &(impl Subject + ?Sized), details: impl Into<String>) {
        self.0.push(Violation { invariant, subject: subject.name(), details: details.into() });
    }
}

fn find<'a>(snapshot: &Snapshot<'a>, tenant: &TenantId, id: ExportId) -> Option<&'a Export> {
    snapshot.exports.iter().find(|export| export.id == id && export.tenant == *tenant).copied()
}

fn check_locks(snapshot: &Snapshot<'_>, findings: &mut Findings) {
    let pending: Vec<&&Export> = snapshot.exports.iter().filter(|export| export.status() == Status::Pending).collect();
    for (index, export) in pending.iter().enumerate() {
        let is_same = |(tenant, export_type): (&TenantId, ExportType)| {
            *tenant == export.tenant && export_type == export.id.export_type()
        };
        if let Some(other) = pending.iter().take(index).find(|other| is_same((&other.tenant, other.id.export_type()))) {
            findings.add(Invariant::OnePending, **export, format!("is PENDING, and so is {}", other.id));
        }
        match snapshot.locks.iter().find(|(tenant, export_type, _)| is_same((tenant, *export_type))) {
            None => findings.add(Invariant::LockNamesPending, **export, "is PENDING, but there is no lock"),
            Some((_, _, named)) if *named != export.id => {
                findings.add(Invariant::LockNamesPending, **export, format!("is PENDING, but the lock names {named}"));
            }
            Some(_) => {}
        }
    }
    for (tenant, _, named) in &snapshot.locks {
        if !pending.iter().any(|export| export.id == *named && export.tenant == **tenant) {
            findings.add(Invariant::LockNamesPending, &(*tenant, *named), "is named by the lock, but is not PENDING");
        }
    }
}

fn check_finishes(snapshot: &Snapshot<'_>, export: &Export, findings: &mut Findings) {
    if export.status() != Status::Pending {
        return;
    }
    let deadline = export.deadline;
    if snapshot.is_quiet {
        findings.add(Invariant::AcceptedFinishes, export, "is still PENDING in a quiet system");
    }
    if let Some(swept_at) = snapshot.swept_at.filter(|swept_at| deadline <= *swept_at) {
        findings.add(
            Invariant::AcceptedFinishes,
            export,
            format!("is PENDING, but a sweep started at {swept_at} after its deadline {deadline}"),
        );
    }
    if let Some(next_check_at) = export.next_check_at().filter(|next_check_at| *next_check_at > deadline) {
        let details = format!("is PENDING, but its next check {next_check_at} is after its deadline {deadline}");
        findings.add(Invariant::AcceptedFinishes, export, details);
    }
}

fn check_failure(export: &Export, findings: &mut Findings) {
    let State::Failed { failure, file } = &export.state else { return };
    let Failure { code, message, cancelled_by, invalid_rows: _ } = failure;
    let mut add = |details| findings.add(Invariant::FailureHasReason, export, details);
    if message.trim().is_empty() {
        add(format!("is FAILED as {code:?} without a message"));
    }
    if *code == FailureCode::EmailNotSent && file.is_none() {
        add("is FAILED as EMAIL_NOT_SENT, but has no file".to_owned());
    }
    if (*code == FailureCode::Cancelled) != cancelled_by.is_some() {
        let by = if cancelled_by.is_some() { "somebody" } else { "nobody" };
        add(format!("is FAILED as {code:?}, and {by} cancelled it"));
    }
    if *code == FailureCode::Cancelled && file.is_some() {
        add("is cancelled, but has a file".to_owned());
    }
}

fn check_invalid_rows(snapshot: &Snapshot<'_>, export: &Export, findings: &mut Findings) {
    let Some(failure) = export.failure() else { return };
    let details = match (&failure.invalid_rows, failure.code == FailureCode::InvalidRows) {
        (Some(file), true) if file.expires_at > snapshot.now && !snapshot.objects.contains_key(file.key.as_str()) => {
            format!("the object {} does not exist, but expires at {}", file.key, file.expires_at)
        }
        (Some(_), true) | (None, false) => return,
        (None, true) => "is FAILED for invalid rows, but names no file of them".to_owned(),
        (Some(file), false) => format!("is FAILED as {:?}, but names {}", failure.code, file.key),
    };
    findings.add(Invariant::FailureHasReason, export, details);
}

fn check_leftovers(snapshot: &Snapshot<'_>, export: &Export, findings: &mut Findings) {
    if export.status() == Status::Pending {
        return;
    }
    if snapshot.checkpoints.iter().any(|(tenant, id)| *id == export.id && **tenant == export.tenant) {
        findings.add(Invariant::NoLeftovers, export, format!("is {}, but has a checkpoint", export.status()));
    }
    let lease = Lease { owner: "leftover message".to_owned(), until: snapshot.now };
    let retry = RetryPolicy { max_attempts: u32::MAX, backoff: Vec::new(), permanent_wait: Duration::ZERO };
    if acquire(export, snapshot.now, lease, &retry) != Err(AcquireError::Ended) {
        let details = format!("is {}, but a leftover job message would restart it", export.status());
        findings.add(Invariant::NoLeftovers, export, details);
    }
}

fn check_file(snapshot: &Snapshot<'_>, export: &Export, file: &ExportFile, findings: &mut Findings) {
    if file.expires_at <= snapshot.now {
        return;
    }
    let mut add = |details: String| findings.add(Invariant::FileIsComplete, export, details);
    let Some(object) = snapshot.objects.get(file.key.as_str()) else {
        return add(format!("the object {} does not exist, but expires at {}", file.key, file.expires_at));
    };
    if object.bytes != file.bytes {
        add(format!("{} has {} bytes, but {} on record", file.key, object.bytes, file.bytes));
    }
    if object.sha256 != file.sha256 {
        add(format!("the SHA-256 of {} is {}, but {} on record", file.key, object.sha256, file.sha256));
    }
    if object.row_ids.len() as u64 != file.rows {
        add(format!("{} has {} rows, but {} on record", file.key, object.row_ids.len(), file.rows));
    }
    if object.totals != file.totals {
        add(format!("the totals of {} are {:?}, but {:?} on record", file.key, object.totals, file.totals));
    }
    let Some(rows) = &snapshot.rows else { return };
    let is_included = |row: &&&CommittedRow| row.tenant == export.tenant && row.created_at <= export.as_of();
    let mut in_order: Vec<&CommittedRow> = rows.iter().filter(is_included).copied().collect();
    in_order.sort_by_key(|row| (row.created_at, row.id.as_str()));
    let in_order: Vec<&str> = in_order.into_iter().map(|row| row.id.as_str()).collect();
    let expected: BTreeSet<&str> = in_order.iter().copied().collect();
    let (mut found, mut differs) = (BTreeSet::new(), false);
    for id in &object.row_ids {
        if !found.insert(id.as_str()) {
            differs = true;
            add(format!("{} contains the row {id} more than once", file.key));
        } else if !expected.contains(id.as_str()) {
            differs = true;
            add(format!("{} contains {id}, which is not a row of the tenant up to {}", file.key, export.as_of()));
        }
    }
    for id in expected.difference(&found) {
        differs = true;
        add(format!("{} does not contain the row {id}", file.key));
    }
    if !differs && !in_order.iter().eq(&object.row_ids) {
        add(format!("{} does not contain its rows in creation order", file.key));
    }
}

fn check_mail(
    snapshot: &Snapshot<'_>,
    export: &Export,
    file: &ExportFile,
    link_expiry: Timestamp,
    findings: &mut Findings,
) {
    let has_link = |mail: &&SentMail| {
        mail.recipients == export.recipients
            && mail.links.iter().any(|link| link.key == file.key && link.expiry >= link_expiry)
    };
    if !snapshot.mails.iter().copied().any(|mail| has_link(&mail)) {
        findings.add(
            Invariant::ReadyWasMailed,
            export,
            format!(
                "is {}, but no e-mail to {} with a link to {} until {link_expiry} was accepted",
                export.status(),
                export.recipients.to(),
                file.key
            ),
        );
    }
}

fn check_links(snapshot: &Snapshot<'_>, findings: &mut Findings) {
    for mail in &snapshot.mails {
        for link in &mail.links {
            let subject = format!("the link to {} in an e-mail to {}", link.key, mail.recipients.to());
            if link.expiry < link.stated_expiry {
                let details = format!("expires at {}, but its e-mail states {}", link.expiry, link.stated_expiry);
                findings.add(Invariant::LinksAreValid, subject.as_str(), details);
            }
            let file = snapshot.exports.iter().filter_map(|export| export.file()).find(|file| file.key == link.key);
            match file {
                None => findings.add(Invariant::LinksAreValid, subject.as_str(), "does not lead to a recorded file"),
                Some(file) if file.expires_at < link.expiry => {
                    let details = format!("expires at {}, but its file at {}", link.expiry, file.expires_at);
                    findings.add(Invariant::LinksAreValid, subject.as_str(), details);
                }
                Some(_) => {}
            }
        }
    }
    for export in snapshot.exports.iter().filter(|export| export.status() == Status::Expired) {
        if let Some(expiry) = export.link_expires_at().filter(|expiry| *expiry > snapshot.now) {
            findings.add(Invariant::LinksAreValid, *export, format!("is EXPIRED, but its link expires at {expiry}"));
        }
    }
    for (tenant, id, reported) in &snapshot.reported_links {
        let known = find(snapshot, tenant, *id).and_then(|export| export.link_expires_at());
        if known.is_none_or(|known| known < *reported) {
            let known = known.map_or_else(|| "none".to_owned(), |known| known.to_string());
            findings.add(
                Invariant::LinksAreValid,
                &(*tenant, *id),
                format!("returned the link expiry {reported}, which is now {known}"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
