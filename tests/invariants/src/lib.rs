//! [`domain::invariants`], checked on a dump of a running system.
//!
//! The dump is one JSON document:
//!
//! | name | |
//! |---|---|
//! | `now` | when it was made |
//! | `quiet` | whether nothing was disturbed for so long that every export must have ended |
//! | `mostTries` | how often the work on an export may be taken without getting further, if not as often as by default |
//! | `sweptAt` | when the last undisturbed sweep began; may be missing |
//! | `items` | every item of the Exports table, in DynamoDB's JSON, binary values in base 64 |
//! | `accepted` | `{tenantId, exportId}` of every export that a caller was told is accepted |
//! | `told` | `{tenantId, exportId, linkExpiresAt}` as callers were told; may be missing |
//! | `payouts` | every item of the Payouts table |
//! | `objects` | `{key, path}` of every object, and a file with its bytes |
//! | `mails` | `{to, cc, keys, linkEnds, saidEnds}` of every accepted mail: for each link the object's key, its end by its signature, and its end as the mail says it; without the last, the two are taken to be the same |
//!
//! Other names are not looked at.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::PathBuf;
use std::str::FromStr;

use aws::dynamodb::inspection::{Found, NotRead, read};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::email::{EmailAddress, Recipients};
use domain::file::{Total, Totals};
use domain::invariants::{Accepted, Committed, Contents, Link, Violation, World, violations};
use domain::lifecycle::Tries;
use domain::money::{Currency, parse_whole_number};
use domain::time::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Why a dump cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum NotChecked {
    /// It is not of the form above.
    #[error("the dump is not of the form that is documented: {0}")]
    Form(#[from] serde_json::Error),
    /// An item is none that the product writes.
    #[error("item {0} of the Exports table: {1}")]
    Item(usize, NotRead),
    /// The bytes of an object cannot be read.
    #[error("object {0}: {1}: {2}")]
    Object(String, PathBuf, #[source] io::Error),
    /// An object is no file that the product writes.
    #[error("object {0}: row {1}: {2}")]
    Row(String, usize, String),
    /// A mail has no recipient, or not an end for each link.
    #[error("mail {0}: there is a recipient, and keys, linkEnds and saidEnds have a value for each link")]
    Mail(usize),
}

/// The invariants that do not hold of the dump.
///
/// # Errors
/// [`NotChecked`] if it cannot be read.
pub fn check(dump: impl Read) -> Result<Vec<Violation>, NotChecked> {
    let dump: Dump = serde_json::from_reader(dump)?;
    let mut found = Vec::new();
    for (place, item) in dump.items.iter().enumerate() {
        found.push(read(&item.0).map_err(|error| NotChecked::Item(place, error))?);
    }
    let objects = dump.objects.iter().map(|object| Ok((object.key.as_str(), object.contents()?)));
    let objects = objects.collect::<Result<BTreeMap<_, _>, NotChecked>>()?;
    let mails = dump.mails.into_iter().enumerate().map(|(place, mail)| mail.accepted().ok_or(NotChecked::Mail(place)));
    let mails = mails.collect::<Result<Vec<_>, _>>()?;
    let payouts: Vec<Committed> = dump.payouts.into_iter().map(PayoutItem::committed).collect();
    let mut world = World {
        now: dump.now.0,
        swept_at: dump.swept_at.map(|at| at.0),
        is_quiet: dump.quiet,
        most_tries: dump.most_tries,
        accepted: dump.accepted.iter().map(|named| (&named.tenant_id.0, named.export_id.0)).collect(),
        told: dump.told.iter().map(|told| (&told.tenant_id.0, told.export_id.0, told.link_expires_at.0)).collect(),
        exports: Vec::new(),
        locks: Vec::new(),
        checkpoints: Vec::new(),
        payouts: payouts.iter().collect(),
        objects: objects.iter().map(|(key, contents)| (*key, contents)).collect(),
        mails: mails.iter().collect(),
    };
    for item in &found {
        match item {
            Found::Export(export) => world.exports.push(export),
            Found::Lock(tenant, export_type, id) => world.locks.push((tenant, *export_type, *id)),
            Found::Checkpoint(tenant, id) => world.checkpoints.push((tenant, *id)),
            Found::Idempotency => {}
        }
    }
    Ok(violations(&world))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dump {
    now: Parsed<Timestamp>,
    quiet: bool,
    swept_at: Option<Parsed<Timestamp>>,
    #[serde(default = "most_tries")]
    most_tries: u32,
    items: Vec<Item>,
    accepted: Vec<Named>,
    #[serde(default)]
    told: Vec<Told>,
    payouts: Vec<PayoutItem>,
    objects: Vec<Object>,
    mails: Vec<Mail>,
}

const fn most_tries() -> u32 {
    Tries::MOST
}

/// A value that is written as text.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    tenant_id: Parsed<domain::id::TenantId>,
    export_id: Parsed<domain::id::ExportId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    tenant_id: Parsed<domain::id::TenantId>,
    export_id: Parsed<domain::id::ExportId>,
    link_expires_at: Parsed<Timestamp>,
}

/// An item in DynamoDB's JSON.
struct Item(HashMap<String, AttributeValue>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attributes = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let attributes = attributes.into_iter().map(|(name, value)| match attribute(&value) {
            Some(value) => Ok((name, value)),
            None => Err(serde::de::Error::custom(format!("{name} is no attribute in DynamoDB's JSON: {value}"))),
        });
        Ok(Self(attributes.collect::<Result<_, _>>()?))
    }
}

/// A value in DynamoDB's JSON, of the types that the product writes.
fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object().filter(|value| value.len() == 1)?.iter().next()?;
    let text = || value.as_str().map(str::to_owned);
    Some(match kind.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(text()?),
        "B" => AttributeValue::B(Blob::new(aws_smithy_types::base64::decode(text()?).ok()?)),
        "BOOL" => AttributeValue::Bool(value.as_bool()?),
        "NULL" => AttributeValue::Null(value.as_bool()?),
        "L" => AttributeValue::L(value.as_array()?.iter().map(attribute).collect::<Option<_>>()?),
        "M" => {
            let members = value.as_object()?.iter().map(|(name, value)| Some((name.clone(), attribute(value)?)));
            AttributeValue::M(members.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The attributes of a payout that the invariants are about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayoutItem {
    tenant_id: TextAttribute<domain::id::TenantId>,
    payout_id: TextAttribute<String>,
    created_at: TextAttribute<Timestamp>,
}

#[derive(Deserialize)]
#[serde(bound = "T: FromStr<Err: std::fmt::Display>")]
struct TextAttribute<T> {
    #[serde(rename = "S")]
    text: Parsed<T>,
}

impl PayoutItem {
    fn committed(self) -> Committed {
        Committed { tenant: self.tenant_id.text.0, id: self.payout_id.text.0, created_at: self.created_at.text.0 }
    }
}

#[derive(Deserialize)]
struct Object {
    key: String,
    path: PathBuf,
}

impl Object {
    /// What is in it, found out from its bytes alone.
    fn contents(&self) -> Result<Contents, NotChecked> {
        let not_read = |error| NotChecked::Object(self.key.clone(), self.path.clone(), error);
        let bytes = std::fs::read(&self.path).map_err(not_read)?;
        let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(text);
        let (mut totals, mut payouts) = (Totals::default(), Vec::new());
        for (place, row) in reader.deserialize().enumerate() {
            let not_a_row = |reason: String| NotChecked::Row(self.key.clone(), place + 1, reason);
            let row: Row = row.map_err(|error| not_a_row(error.to_string()))?;
            let currency: Currency = row.currency.parse().map_err(|_| not_a_row(row.currency.clone()))?;
            let status = row.status.parse().map_err(|_| not_a_row(row.status.clone()))?;
            let minor = parse_whole_number(&format!("{}E{}", row.amount, currency.exponent()));
            let total = Total { count: 1, minor: minor.ok_or_else(|| not_a_row(row.amount.clone()))? };
            if !totals.add(currency, status, total) {
                return Err(not_a_row("the sum is beyond what can be held".to_owned()));
            }
            payouts.push(without_guard(row.payout_id));
        }
        let digest = Sha256::digest(&bytes);
        Ok(Contents { bytes: bytes.len() as u64, sha256: domain::hex::digits(&digest), totals, payouts })
    }
}

/// The columns that the invariants are about.
#[derive(Deserialize)]
struct Row {
    payout_id: String,
    status: String,
    amount: String,
    currency: String,
}

/// The id without the mark that keeps a spreadsheet from running it.
fn without_guard(cell: String) -> String {
    let guarded = cell.strip_prefix('\'').filter(|id| id.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
    guarded.map(str::to_owned).unwrap_or(cell)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    to: Vec<Parsed<EmailAddress>>,
    cc: Vec<Parsed<EmailAddress>>,
    keys: Vec<String>,
    link_ends: Vec<Parsed<Timestamp>>,
    said_ends: Option<Vec<Parsed<Timestamp>>>,
}

impl Mail {
    fn accepted(self) -> Option<Accepted> {
        let said_ends = self.said_ends.as_ref().unwrap_or(&self.link_ends);
        if self.keys.len() != self.link_ends.len() || self.keys.len() != said_ends.len() {
            return None;
        }
        let ends = self.link_ends.iter().zip(said_ends);
        let link = |(key, (end, said_end)): (String, (&Parsed<Timestamp>, &Parsed<Timestamp>))| Link {
            key,
            said_end: said_end.0,
            end: end.0,
        };
        let links = self.keys.into_iter().zip(ends).map(link).collect();
        let mut to = self.to.into_iter().map(|address| address.0);
        let main = to.next()?;
        let copies = to.chain(self.cc.into_iter().map(|address| address.0));
        Some(Accepted { recipients: Recipients::new(main, copies).ok()?, links })
    }
}
