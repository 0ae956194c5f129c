//! Checks [`exports_domain::invariants`] on a dump of a running system, and that each change of a record was a
//! [transition](Transition::between) of the state machine.
//!
//! The dump is a JSON document. Unknown names are ignored.
//!
//! | name | value |
//! |---|---|
//! | `now` | the time of the dump |
//! | `quiet` | whether no failure was injected for so long that every export must have finished |
//! | `maxAttempts` | the most attempts of an export without progress; optional, with the product's default |
//! | `sweptAt` | when the last successful sweep started; optional |
//! | `items` | all items of the Exports table, as DynamoDB JSON with binary values in Base64 |
//! | `versions` | lists of consecutive versions of a record, as items, of which the last is the present one; optional |
//! | `accepted` | `{tenantId, exportId}` of every export whose acceptance was returned to a caller |
//! | `reportedLinks` | `{tenantId, exportId, linkExpiresAt}` of the link expiries returned to callers; optional |
//! | `payouts` | all items of the Payouts table |
//! | `objects` | `{key, path}` of every object, with the path of a file with its contents |
//! | `mails` | `{to, cc, keys, linkExpiries, statedExpiries}` of every accepted e-mail: for each link, the object key, the expiry of its signature, and the expiry stated in the e-mail; `statedExpiries` is optional and defaults to `linkExpiries` |

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use calamine::{RangeDeserializerBuilder, Reader as _};
use exports_aws::dynamodb::inspection::{StoredItem, StoredItemError, item_from_json, read};
use exports_domain::email::{EmailAddress, Recipients};
use exports_domain::id::ExportId;
use exports_domain::invariants::{CommittedRow, Link, ObjectContents, SentMail, Snapshot, violations};
use exports_domain::lifecycle::RetryPolicy;
use exports_domain::lifecycle::transition::Transition;
use exports_domain::money::{Currency, parse_whole_number};
use exports_domain::time::Timestamp;
use exports_domain::totals::{Total, Totals};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Why a dump cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The JSON is invalid or does not have the documented structure.
    #[error("invalid dump: {0}")]
    Json(#[from] serde_json::Error),
    /// An item is not one that the product writes.
    #[error("item {0} of the Exports table: {1}")]
    Item(usize, StoredItemError),
    /// The bytes of an object cannot be read.
    #[error("object {0}: {1}: {2}")]
    Object(String, PathBuf, #[source] io::Error),
    /// A row of an object is invalid. Row numbers start at 1.
    #[error("object {0}: row {1}: {2}")]
    Row(String, usize, String),
    /// A mail has no recipient, or not the same number of keys and expiries.
    #[error("mail {0}: must have a recipient, and keys, linkExpiries and statedExpiries of the same length")]
    Mail(usize),
}

/// The violated invariants.
///
/// # Errors
/// [`CheckError`] if the dump is invalid.
pub fn check(dump: impl Read) -> Result<Vec<String>, CheckError> {
    let dump: Dump = serde_json::from_reader(dump)?;
    let read_all = |items: &[Item]| -> Result<Vec<StoredItem>, CheckError> {
        let read = |(index, item): (usize, &Item)| read(&item.0).map_err(|error| CheckError::Item(index, error));
        items.iter().enumerate().map(read).collect()
    };
    let found = read_all(&dump.items)?;
    let mut unexplained = Vec::new();
    if let Some(lists) = &dump.versions {
        let mut last = HashMap::new();
        for versions in lists {
            let versions = read_all(versions)?;
            unexplained.extend(versions.windows(2).filter_map(|pair| unexplained_change(pair, dump.max_attempts)));
            if let Some(StoredItem::Export(export)) = versions.last() {
                last.insert(export.id, export.clone());
            }
        }
        unexplained.extend(found.iter().filter_map(|item| match item {
            StoredItem::Export(export) if last.get(&export.id) != Some(export) => Some(format!(
                "NotRecorded: {} {}: its last version is not the present record",
                export.tenant, export.id
            )),
            _ => None,
        }));
    }
    let objects = dump.objects.iter().map(|object| Ok((object.key.as_str(), object.contents()?)));
    let objects = objects.collect::<Result<BTreeMap<_, _>, CheckError>>()?;
    let mails = dump.mails.into_iter().enumerate().map(|(index, mail)| mail.sent().ok_or(CheckError::Mail(index)));
    let mails = mails.collect::<Result<Vec<_>, _>>()?;
    let payouts: Vec<CommittedRow> = dump.payouts.into_iter().map(PayoutItem::committed).collect();
    let mut snapshot = Snapshot {
        now: dump.now.0,
        swept_at: dump.swept_at.map(|at| at.0),
        is_quiet: dump.quiet,
        max_attempts: dump.max_attempts,
        accepted: dump.accepted.iter().map(|named| (&named.tenant_id.0, named.export_id.0)).collect(),
        reported_links: dump
            .reported_links
            .iter()
            .map(|link| (&link.tenant_id.0, link.export_id.0, link.link_expires_at.0))
            .collect(),
        exports: Vec::new(),
        locks: Vec::new(),
        checkpoints: Vec::new(),
        rows: Some(payouts.iter().collect()),
        objects: objects.iter().map(|(key, contents)| (*key, contents)).collect(),
        mails: mails.iter().collect(),
    };
    for item in &found {
        match item {
            StoredItem::Export(export) => snapshot.exports.push(export),
            StoredItem::Lock(tenant, export_type, id) => snapshot.locks.push((tenant, *export_type, *id)),
            StoredItem::Checkpoint(tenant, id, _) => snapshot.checkpoints.push((tenant, *id)),
            StoredItem::Idempotency => {}
        }
    }
    Ok(violations(&snapshot).iter().map(ToString::to_string).chain(unexplained).collect())
}

/// The change between two versions of a record, if it is no transition.
fn unexplained_change(versions: &[StoredItem], max_attempts: u32) -> Option<String> {
    let [StoredItem::Export(before), StoredItem::Export(after)] = versions else { return None };
    // The product's waits are shorter in the fault runs, and a case has few resends.
    let retry = RetryPolicy { max_attempts, backoff: Vec::new(), permanent_wait: Duration::ZERO };
    match Transition::between(before, after, &retry, u32::MAX) {
        Some(_) => None,
        None => Some(format!("NotATransition: {} {}: from {before:?} to {after:?}", after.tenant, after.id)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dump {
    now: Parsed<Timestamp>,
    quiet: bool,
    swept_at: Option<Parsed<Timestamp>>,
    #[serde(default = "max_attempts")]
    max_attempts: u32,
    items: Vec<Item>,
    versions: Option<Vec<Vec<Item>>>,
    accepted: Vec<ExportName>,
    #[serde(default)]
    reported_links: Vec<ReportedLink>,
    payouts: Vec<PayoutItem>,
    objects: Vec<Object>,
    mails: Vec<Mail>,
}

const fn max_attempts() -> u32 {
    RetryPolicy::MAX_ATTEMPTS
}

/// A value parsed from a JSON string.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportName {
    tenant_id: Parsed<exports_domain::id::TenantId>,
    export_id: Parsed<ExportId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReportedLink {
    tenant_id: Parsed<exports_domain::id::TenantId>,
    export_id: Parsed<ExportId>,
    link_expires_at: Parsed<Timestamp>,
}

/// An item in DynamoDB JSON.
struct Item(HashMap<String, AttributeValue>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attributes = BTreeMap::<String, Value>::deserialize(deserializer)?;
        item_from_json(attributes).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The attributes of a payout that the invariants use.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayoutItem {
    tenant_id: TextAttribute<exports_domain::id::TenantId>,
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
    fn committed(self) -> CommittedRow {
        CommittedRow { tenant: self.tenant_id.text.0, id: self.payout_id.text.0, created_at: self.created_at.text.0 }
    }
}

#[derive(Deserialize)]
struct Object {
    key: String,
    path: PathBuf,
}

impl Object {
    /// Computes the contents from the bytes alone.
    fn contents(&self) -> Result<ObjectContents, CheckError> {
        let error = |error| CheckError::Object(self.key.clone(), self.path.clone(), error);
        let bytes = std::fs::read(&self.path).map_err(error)?;
        let sha256 = exports_domain::hex::encode(&Sha256::digest(&bytes));
        if self.key.ends_with("-invalid-rows.csv") {
            let (totals, row_ids) = (Totals::default(), Vec::new());
            return Ok(ObjectContents { bytes: bytes.len() as u64, sha256, totals, row_ids });
        }
        let id = self.key.split('/').nth(2).and_then(|id| id.parse::<ExportId>().ok());
        let definition = id
            .ok_or_else(|| CheckError::Row(self.key.clone(), 0, "the key names no export".to_owned()))?
            .export_type()
            .definition();
        let (mut totals, mut row_ids) = (Totals::default(), Vec::new());
        let is_workbook = self.key.ends_with(".xlsx");
        let rows = if is_workbook { rows_of_workbook(&bytes) } else { rows_of_csv(&bytes) };
        for (index, row) in rows.into_iter().enumerate() {
            let invalid = |reason: String| CheckError::Row(self.key.clone(), index + 1, reason);
            let row = row.map_err(invalid)?;
            let currency: Currency = row.currency.parse().map_err(|_| invalid(row.currency.clone()))?;
            let status = definition.status(&row.status).ok_or_else(|| invalid(row.status.clone()))?;
            let minor = parse_whole_number(&format!("{}E{}", row.amount, currency.exponent()));
            let total = Total { count: 1, minor: minor.ok_or_else(|| invalid(row.amount.clone()))? };
            if !totals.add(currency, status, total) {
                return Err(invalid("the sum overflows".to_owned()));
            }
            row_ids.push(if is_workbook { row.payout_id } else { without_guard(row.payout_id) });
        }
        Ok(ObjectContents { bytes: bytes.len() as u64, sha256, totals, row_ids })
    }
}

/// The columns that the invariants use.
#[derive(Deserialize)]
struct Row {
    payout_id: String,
    status: String,
    amount: String,
    currency: String,
}

fn rows_of_csv(bytes: &[u8]) -> Vec<Result<Row, String>> {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(text);
    reader.deserialize().map(|row| row.map_err(|error| error.to_string())).collect()
}

fn rows_of_workbook(bytes: &[u8]) -> Vec<Result<Row, String>> {
    let read = || -> Result<Vec<Result<Row, String>>, calamine::Error> {
        let mut book = calamine::Xlsx::new(Cursor::new(bytes))?;
        let Some(sheet) = book.worksheet_range_at(0) else { return Ok(Vec::new()) };
        let sheet = sheet?;
        let rows = RangeDeserializerBuilder::new().from_range(&sheet)?;
        Ok(rows.map(|row: Result<Row, _>| row.map_err(|error| error.to_string())).collect())
    };
    read().unwrap_or_else(|error| vec![Err(error.to_string())])
}

/// Removes the `'` that keeps a spreadsheet from running the cell as a formula.
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
    link_expiries: Vec<Parsed<Timestamp>>,
    stated_expiries: Option<Vec<Parsed<Timestamp>>>,
}

impl Mail {
    fn sent(self) -> Option<SentMail> {
        let stated_expiries = self.stated_expiries.as_ref().unwrap_or(&self.link_expiries);
        if self.keys.len() != self.link_expiries.len() || self.keys.len() != stated_expiries.len() {
            return None;
        }
        let expiries = self.link_expiries.iter().zip(stated_expiries);
        let link = |(key, (expiry, stated_expiry)): (String, (&Parsed<Timestamp>, &Parsed<Timestamp>))| Link {
            key,
            stated_expiry: stated_expiry.0,
            expiry: expiry.0,
        };
        let links = self.keys.into_iter().zip(expiries).map(link).collect();
        let mut to = self.to.into_iter().map(|address| address.0);
        let main = to.next()?;
        let cc = to.chain(self.cc.into_iter().map(|address| address.0));
        Some(SentMail { recipients: Recipients::new(main, cc).ok()?, links })
    }
}
