//! A state as the domain's invariants look at it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use exports_domain::email::Recipients;
use exports_domain::export::Export;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::invariants::{CommittedRow, Link, ObjectContents, SentMail, Snapshot, Violation, violations};
use exports_domain::testing::{address, operator, start};
use exports_domain::time::Timestamp;
use exports_domain::totals::Totals;

use crate::protocol::Protocol;
use crate::state::{Key, State, Tick};

// Parsed once: they are asked for in every state.
static START: LazyLock<Timestamp> = LazyLock::new(start);
static TENANT: LazyLock<TenantId> = LazyLock::new(|| operator("acme").tenant);
static AGAIN: LazyLock<Recipients> = LazyLock::new(|| Recipients::only(address("bob@example.com")));

/// The point in time that is meant.
pub(crate) fn time(tick: Tick) -> Timestamp {
    START.plus(Duration::from_secs(60 * u64::from(tick)))
}

/// The point in time that is so many seconds after the epoch.
pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1000 * seconds)
}

/// The object's key as it is recorded.
pub(crate) fn key_text(key: Key) -> String {
    format!("exports/{}/{}.csv", key.0, key.1)
}

/// The SHA-256 of a file of these parts; only files of the same parts have the same.
pub(crate) fn sha256(parts: &[u64]) -> String {
    format!("{parts:?}")
}

/// Whom the mail is sent to again.
pub(crate) fn recipients_again() -> Recipients {
    AGAIN.clone()
}

/// The invariants that do not hold.
pub(crate) fn check(protocol: &Protocol, state: &State) -> Vec<Violation> {
    let exports: Vec<&Export> = state.exports.iter().map(|record| &*record.0).collect();
    let named = |place: usize| exports.get(place).map(|export| (&export.tenant, export.id));
    let payouts: Vec<CommittedRow> = (0..protocol.payouts())
        .map(|number| CommittedRow { tenant: TENANT.clone(), id: payout(number), created_at: *START })
        .collect();
    let objects: Vec<(String, ObjectContents)> =
        state.objects.iter().map(|(key, parts)| object(protocol, *key, parts)).collect();
    let first_time =
        |place: usize| exports.get(place).map(|export| Recipients::only(export.requested_by.email.clone()));
    let mails: Vec<SentMail> = state
        .mails
        .iter()
        .filter_map(|mailed| {
            let recipients = if mailed.again { recipients_again() } else { first_time(mailed.place)? };
            let expiry = seconds(mailed.end);
            Some(SentMail { recipients, links: vec![Link { key: mailed.key.clone(), stated_expiry: expiry, expiry }] })
        })
        .collect();
    let accepted: Vec<(&TenantId, ExportId)> = (0..exports.len()).filter_map(named).collect();
    violations(&Snapshot {
        now: time(state.now),
        swept_at: state.swept_at.map(time),
        is_quiet: false,
        max_attempts: Protocol::retry().max_attempts,
        reported_links: state
            .told
            .iter()
            .filter_map(|(place, end)| named(*place).map(|(t, id)| (t, id, seconds(*end))))
            .collect(),
        locks: state.lock.and_then(named).map(|(tenant, id)| (tenant, id.export_type(), id)).into_iter().collect(),
        checkpoints: state.checkpoints.keys().filter_map(|place| named(*place)).collect(),
        rows: payouts.iter().collect(),
        objects: objects.iter().map(|(key, contents)| (key.as_str(), contents)).collect::<BTreeMap<_, _>>(),
        mails: mails.iter().collect(),
        accepted,
        exports,
    })
}

fn payout(number: usize) -> String {
    format!("po_{number}")
}

/// What is in an object: each part has a payout of its own, and a file written at once has them all.
fn object(protocol: &Protocol, key: Key, parts: &[u64]) -> (String, ObjectContents) {
    let there = if protocol.parts == 0 { protocol.payouts() } else { parts.len() };
    let contents = ObjectContents {
        bytes: parts.len() as u64,
        sha256: sha256(parts),
        totals: Totals::default(),
        row_ids: (0..there).map(payout).collect(),
    };
    (key_text(key), contents)
}
