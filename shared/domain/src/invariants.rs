//! What holds of the whole system at any moment, whatever was refused, lost, doubled, delayed or killed on the way.
//!
//! | invariant | |
//! |---|---|
//! | [`OnePending`](Invariant::OnePending) | a tenant has at most one PENDING export of a type |
//! | [`LockNamesPending`](Invariant::LockNamesPending) | while one is PENDING, the lock names it; while none is, there is no lock |
//! | [`AcceptedEnds`](Invariant::AcceptedEnds) | whatever was accepted is on record, and ends READY or FAILED within its deadline and one sweep |
//! | [`FileIsWhole`](Invariant::FileIsWhole) | a recorded file is in the bucket until its end: size, SHA-256, rows and totals are the record's, and it holds every payout that was committed before the read and created up to `asOf`, once, in the order of creation |
//! | [`ReadyWasMailed`](Invariant::ReadyWasMailed) | a READY export has a file, and its recipients' mail, with a link to it that lives as long as the record says, was accepted |
//! | [`FailureIsTold`](Invariant::FailureIsTold) | a FAILED export has a reason that a person can act on, and no other export has one |
//! | [`NothingIsLeft`](Invariant::NothingIsLeft) | an export that is not PENDING has no checkpoint, which would name an upload, and a message that still names it does nothing |
//! | [`TriesAreBounded`](Invariant::TriesAreBounded) | the work on an export is never taken more often than it may be without getting further |
//! | [`LinksLive`](Invariant::LinksLive) | a link leads to a recorded file, does not end before its mail says, nor after its file; the end that the record tells never moves back, and an export is not EXPIRED before it |
//!
//! [`violations`] checks them on a [`World`]: the tables, the bucket and the mails as they are at one moment. The model
//! check of the protocol calls it on every state that it reaches, and the tests with injected faults on what they find
//! in the local stack.
//!
//! A record that cannot be read has no place in a [`World`]. Of it holds that, if it is PENDING, it ends FAILED within its
//! deadline and one sweep, and its lock and checkpoint go with it; its requester is not told.
//!
//! What a crash may leave behind and nothing refers to (parts of an upload that no checkpoint names, an object that no
//! record names) is not looked at: the bucket's lifecycle deletes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::email::Recipients;
use crate::export::{Export, FailureCode, Lease, Status};
use crate::file::{ExportFile, Totals};
use crate::id::{ExportId, ExportType, TenantId};
use crate::lifecycle::{NotTaken, Tries, take};
use crate::time::Timestamp;

/// All there is, at one moment.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// That moment.
    pub now: Timestamp,
    /// When the last sweep began that nothing disturbed.
    pub swept_at: Option<Timestamp>,
    /// Whether nothing was disturbed for so long that every export must have ended.
    pub is_quiet: bool,
    /// How often the work on an export may be taken without getting further.
    pub most_tries: u32,
    /// The exports that callers were told are accepted.
    pub accepted: Vec<(&'a TenantId, ExportId)>,
    /// The link's ends that callers were told, by the record's word.
    pub told: Vec<(&'a TenantId, ExportId, Timestamp)>,
    /// The records.
    pub exports: Vec<&'a Export>,
    /// The locks: whose, and the export that each names.
    pub locks: Vec<(&'a TenantId, ExportType, ExportId)>,
    /// The exports that have a checkpoint.
    pub checkpoints: Vec<(&'a TenantId, ExportId)>,
    /// The payouts that are in the table; each was there before any file was begun.
    pub payouts: Vec<&'a Committed>,
    /// The bucket, by key.
    pub objects: BTreeMap<&'a str, &'a Contents>,
    /// The mails that the mail service accepted.
    pub mails: Vec<&'a Accepted>,
}

/// A payout in the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes, as [`ExportFile::sha256`] has it.
    pub sha256: String,
    /// Count and sum by currency and status.
    pub totals: Totals,
    /// The ids of its payouts, a row each.
    pub payouts: Vec<String>,
}

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Who gets it.
    pub recipients: Recipients,
    /// The links in it.
    pub links: Vec<Link>,
}

/// A link in a mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The object it leads to.
    pub key: String,
    /// When it ends by what the mail says.
    pub said_end: Timestamp,
    /// When it ends by its signature.
    pub end: Timestamp,
}

/// One of the rules, stated above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "stated once, in the module's table")]
pub enum Invariant {
    OnePending,
    LockNamesPending,
    AcceptedEnds,
    FileIsWhole,
    ReadyWasMailed,
    FailureIsTold,
    NothingIsLeft,
    TriesAreBounded,
    LinksLive,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Of what: tenant and export, or a mail.
    pub subject: String,
    /// What is to be seen instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.invariant, self.subject, self.seen)
    }
}

/// The invariants that do not hold of `world`.
#[must_use]
pub fn violations(world: &World<'_>) -> Vec<Violation> {
    let mut findings = Findings::default();
    locks(world, &mut findings);
    for export in &world.exports {
        ends(world, export, &mut findings);
        failure(export, &mut findings);
        left(world, export, &mut findings);
        if export.tries > world.most_tries {
            let seen = format!("was taken {} times, and may be {} times", export.tries, world.most_tries);
            findings.add(Invariant::TriesAreBounded, *export, seen);
        }
        if let Some(file) = &export.file {
            file_is_whole(world, export, file, &mut findings);
        }
        if matches!(export.status, Status::Ready | Status::Expired) {
            mailed(world, export, &mut findings);
        }
    }
    for (tenant, id) in &world.accepted {
        if find(world, tenant, *id).is_none() {
            findings.add(Invariant::AcceptedEnds, &(*tenant, *id), "was accepted, and there is no record of it");
        }
    }
    links(world, &mut findings);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Violation>);

/// What a violation is of.
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
    fn add(&mut self, invariant: Invariant, subject: &(impl Subject + ?Sized), seen: impl Into<String>) {
        self.0.push(Violation { invariant, subject: subject.name(), seen: seen.into() });
    }
}

fn find<'a>(world: &World<'a>, tenant: &TenantId, id: ExportId) -> Option<&'a Export> {
    world.exports.iter().find(|export| export.id == id && export.tenant == *tenant).copied()
}

fn locks(world: &World<'_>, findings: &mut Findings) {
    let pending: Vec<&&Export> = world.exports.iter().filter(|export| export.status == Status::Pending).collect();
    for (place, export) in pending.iter().enumerate() {
        let is_same = |(tenant, export_type): (&TenantId, ExportType)| {
            *tenant == export.tenant && export_type == export.id.export_type()
        };
        if let Some(other) = pending.iter().take(place).find(|other| is_same((&other.tenant, other.id.export_type()))) {
            findings.add(Invariant::OnePending, **export, format!("is PENDING, and {} is, too", other.id));
        }
        match world.locks.iter().find(|(tenant, export_type, _)| is_same((tenant, *export_type))) {
            None => findings.add(Invariant::LockNamesPending, **export, "is PENDING, and there is no lock"),
            Some((_, _, named)) if *named != export.id => {
                findings.add(Invariant::LockNamesPending, **export, format!("is PENDING, and the lock names {named}"));
            }
            Some(_) => {}
        }
    }
    for (tenant, _, named) in &world.locks {
        if !pending.iter().any(|export| export.id == *named && export.tenant == **tenant) {
            findings.add(Invariant::LockNamesPending, &(*tenant, *named), "is named by the lock, and is not PENDING");
        }
    }
}

fn ends(world: &World<'_>, export: &Export, findings: &mut Findings) {
    if export.status != Status::Pending {
        return;
    }
    let deadline = export.deadline;
    if world.is_quiet {
        findings.add(Invariant::AcceptedEnds, export, "is PENDING, though nothing disturbs its end any more");
    }
    if let Some(swept_at) = world.swept_at.filter(|swept_at| deadline <= *swept_at) {
        findings.add(
            Invariant::AcceptedEnds,
            export,
            format!("is PENDING, though its deadline was {deadline} and a sweep began at {swept_at}"),
        );
    }
    match export.due_at {
        Some(due_at) if due_at <= deadline => {}
        _ => findings.add(
            Invariant::AcceptedEnds,
            export,
            format!("is PENDING, and the sweeper does not look at it by its deadline, {deadline}"),
        ),
    }
}

fn failure(export: &Export, findings: &mut Findings) {
    match (export.status, &export.failure) {
        (Status::Failed, None) => findings.add(Invariant::FailureIsTold, export, "is FAILED without a reason"),
        (Status::Failed, Some(failure)) if failure.message.trim().is_empty() => {
            findings.add(Invariant::FailureIsTold, export, format!("is FAILED as {:?} without a word", failure.code));
        }
        (Status::Failed, Some(failure)) if failure.code == FailureCode::EmailNotSent && export.file.is_none() => {
            findings.add(Invariant::FailureIsTold, export, "is FAILED for its mail, and has no file to mail");
        }
        (Status::Failed, Some(_)) | (_, None) => {}
        (status, Some(_)) => findings.add(Invariant::FailureIsTold, export, format!("is {status} with a failure")),
    }
}

fn left(world: &World<'_>, export: &Export, findings: &mut Findings) {
    if export.status == Status::Pending {
        return;
    }
    if world.checkpoints.iter().any(|(tenant, id)| *id == export.id && **tenant == export.tenant) {
        findings.add(Invariant::NothingIsLeft, export, format!("is {}, and has a checkpoint", export.status));
    }
    let lease = Lease { holder: "a message".to_owned(), until: world.now };
    let tries = Tries { most: u32::MAX, backoff: Vec::new(), permanent_wait: Duration::ZERO };
    if take(export, world.now, lease, &tries) != Err(NotTaken::Finished) {
        let seen = format!("is {}, and a message that is left would begin it again", export.status);
        findings.add(Invariant::NothingIsLeft, export, seen);
    }
}

fn file_is_whole(world: &World<'_>, export: &Export, file: &ExportFile, findings: &mut Findings) {
    if file.expires_at <= world.now {
        return;
    }
    let mut broken = |seen: String| findings.add(Invariant::FileIsWhole, export, seen);
    let Some(object) = world.objects.get(file.key.as_str()) else {
        return broken(format!("there is no object {}, which is kept until {}", file.key, file.expires_at));
    };
    if object.bytes != file.bytes {
        broken(format!("{} has {} bytes, and {} on record", file.key, object.bytes, file.bytes));
    }
    if object.sha256 != file.sha256 {
        broken(format!("the SHA-256 of {} is {}, and {} on record", file.key, object.sha256, file.sha256));
    }
    if object.payouts.len() as u64 != file.rows {
        broken(format!("{} has {} rows, and {} on record", file.key, object.payouts.len(), file.rows));
    }
    if object.totals != file.totals {
        broken(format!("the totals of {} are {:?}, and {:?} on record", file.key, object.totals, file.totals));
    }
    let is_in = |payout: &&&Committed| payout.tenant == export.tenant && payout.created_at <= export.as_of();
    let mut in_order: Vec<&Committed> = world.payouts.iter().filter(is_in).copied().collect();
    in_order.sort_by_key(|payout| (payout.created_at, payout.id.as_str()));
    let in_order: Vec<&str> = in_order.into_iter().map(|payout| payout.id.as_str()).collect();
    let expected: BTreeSet<&str> = in_order.iter().copied().collect();
    let (mut found, mut are_others) = (BTreeSet::new(), false);
    for id in &object.payouts {
        if !found.insert(id.as_str()) {
            are_others = true;
            broken(format!("{} holds the payout {id} more than once", file.key));
        } else if !expected.contains(id.as_str()) {
            are_others = true;
            broken(format!("{} holds {id}, which is no payout up to {}", file.key, export.as_of()));
        }
    }
    for id in expected.difference(&found) {
        are_others = true;
        broken(format!("{} does not hold the payout {id}", file.key));
    }
    if !are_others && !in_order.iter().eq(&object.payouts) {
        broken(format!("{} holds its payouts in another order than that of their creation", file.key));
    }
}

fn mailed(world: &World<'_>, export: &Export, findings: &mut Findings) {
    let (Some(file), Some(link_end)) = (&export.file, export.link_expires_at) else {
        let seen = format!("is {} without a file or a link's end", export.status);
        return findings.add(Invariant::ReadyWasMailed, export, seen);
    };
    let has_link = |mail: &&Accepted| {
        mail.recipients == export.recipients
            && mail.links.iter().any(|link| link.key == file.key && link.end >= link_end)
    };
    if !world.mails.iter().copied().any(|mail| has_link(&mail)) {
        findings.add(
            Invariant::ReadyWasMailed,
            export,
            format!(
                "is {}, and no mail was accepted for {} with a link to {} that lives until {link_end}",
                export.status,
                export.recipients.to(),
                file.key
            ),
        );
    }
}

fn links(world: &World<'_>, findings: &mut Findings) {
    for mail in &world.mails {
        for link in &mail.links {
            let subject = format!("the link to {} in a mail to {}", link.key, mail.recipients.to());
            if link.end < link.said_end {
                let seen = format!("ends at {}, and its mail says {}", link.end, link.said_end);
                findings.add(Invariant::LinksLive, subject.as_str(), seen);
            }
            let file = world.exports.iter().filter_map(|export| export.file.as_ref()).find(|file| file.key == link.key);
            match file {
                None => findings.add(Invariant::LinksLive, subject.as_str(), "leads to a file of no export"),
                Some(file) if file.expires_at < link.end => {
                    let seen = format!("lives until {}, and the file until {}", link.end, file.expires_at);
                    findings.add(Invariant::LinksLive, subject.as_str(), seen);
                }
                Some(_) => {}
            }
        }
    }
    for export in world.exports.iter().filter(|export| export.status == Status::Expired) {
        if let Some(end) = export.link_expires_at.filter(|end| *end > world.now) {
            findings.add(Invariant::LinksLive, *export, format!("is EXPIRED, and its link lives until {end}"));
        }
    }
    for (tenant, id, end) in &world.told {
        let known = find(world, tenant, *id).and_then(|export| export.link_expires_at);
        if known.is_none_or(|known| known < *end) {
            let known = known.map_or_else(|| "none".to_owned(), |known| known.to_string());
            findings.add(
                Invariant::LinksLive,
                &(*tenant, *id),
                format!("told {end} as its link's end, and now {known}"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
