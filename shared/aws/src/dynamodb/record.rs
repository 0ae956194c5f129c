//! Converts export records and checkpoints to items of the Exports table and back, and builds the keys of all its
//! items.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::caller::Person;
use exports_domain::checkpoint::{CHECKPOINT_VERSION, Checkpoint, UnfinishedPart};
use exports_domain::email::{EmailAddress, Recipients};
use exports_domain::export::{Export, ExportSettings, Lease, Pending, State, Status};
use exports_domain::export_type::{Definition, ExportType, FileColumns};
use exports_domain::failure::Failure;
use exports_domain::file::{ExportFile, InvalidRowsFile, ReadInterval};
use exports_domain::filter::{FilterField, FilterValue, RowFilter};
use exports_domain::id::{ExportId, TenantId};
use exports_domain::invalid_rows::InvalidRows;
use exports_domain::options::{ExportOptions, OPTIONS_VERSION};
use exports_domain::ports::{CorruptRecord, RowKey, Upload};
use exports_domain::time::Timestamp;

use super::item::{
    Attribute, Attributes, Item, ItemError, get, get_flag, get_map, get_number, get_optional_number, get_optional_time,
    get_text, get_texts, number, parse_number, text,
};
use super::totals::{TOTALS, get_totals, totals_value};

/// The partition key of the Exports and the source tables.
pub(super) const TENANT: &str = "tenantId";
/// The sort key of the Exports and the source tables.
pub(super) const SORT: &str = "sk";
/// NextCheckIndex's partition key, `<status>#<shard>`. Only records that the sweeper must check have it.
pub(super) const NEXT_CHECK_STATE: &str = "nextCheckState";
/// NextCheckIndex's sort key.
pub(super) const NEXT_CHECK_AT: &str = "nextCheckAt";

/// When DynamoDB may delete the item, in seconds since 1970. A pending export has none: deleting it would leave its
/// lock, and block its tenant.
pub(super) const TTL: &str = "ttl";
/// The value that [`TTL`] of an export gets when it leaves PENDING.
pub(super) const KEEP_UNTIL: &str = "keepUntil";

/// The earliest time of the attempt after an error.
pub(super) const RETRY_AT: &str = "retryAt";

/// When the last attempt failed with a permanent error, if it did.
pub(super) const PERMANENT_ERROR_AT: &str = "permanentErrorAt";

/// The id of the request that launched the export. Records of earlier builds have none.
const LAUNCH_REQUEST_ID: &str = "launchRequestId";

/// When reading the rows of a file started, in the file of a record and in a checkpoint. Those of earlier builds have none.
const READ_FROM: &str = "readFrom";

/// The start of the names of the attributes that count resent e-mails.
const RESENDS: &str = "resends#";

/// The sort key of an export's record.
pub(super) fn export_sort(id: &ExportId) -> String {
    format!("EXPORT#{id}")
}

/// The export whose record has this sort key.
pub(super) fn parse_export_sort(sort: &str) -> Option<ExportId> {
    sort.strip_prefix("EXPORT#")?.parse().ok()
}

/// The sort key of the lock that names the tenant's pending export of this type.
pub(super) fn lock_sort(export_type: ExportType) -> String {
    format!("LOCK#{}", export_type.slug())
}

/// The sort key of an export's checkpoint.
pub(super) fn checkpoint_sort(id: &ExportId) -> String {
    format!("CHECKPOINT#{id}")
}

/// The sort key of a remembered idempotency key.
pub(super) fn idempotency_sort(export_type: ExportType, key: &str) -> String {
    format!("IDEMPOTENCY#{}#{key}", export_type.slug())
}

/// The first and last sort key that exports of this type created from `from` to `to` (inclusive) can have.
pub(super) fn export_sort_range(export_type: ExportType, from: Timestamp, to: Timestamp) -> (String, String) {
    let first = ExportId::new(export_type, from, &[0; 10]);
    let last = ExportId::new(export_type, to, &[0xff; 10]);
    (export_sort(&first), export_sort(&last))
}

/// The primary key of an item.
pub(super) fn key(tenant: &TenantId, sort: String) -> Item {
    Item::from([(TENANT.to_owned(), text(tenant)), (SORT.to_owned(), AttributeValue::S(sort))])
}

/// Shards of NextCheckIndex per status, because DynamoDB limits the writes to one partition. Must never decrease: the
/// sweeper would not find the exports in the removed shards.
pub(super) const CHECK_SHARDS: u8 = 8;

/// NextCheckIndex's partition key of an export in `status`.
#[must_use]
pub fn next_check_state(status: Status, id: &ExportId) -> String {
    check_shard(status, id.random_byte() % CHECK_SHARDS)
}

/// The key of a shard of NextCheckIndex.
pub(super) fn check_shard(status: Status, shard: u8) -> String {
    format!("{status}#{shard}")
}

/// A new export's record as an item.
pub(super) fn to_item(export: &Export) -> Item {
    let mut item = key(&export.tenant, export_sort(&export.id));
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("exportId", text(export.id));
    put("exportType", text(export.id.export_type().slug()));
    put("requestedBy", person_value(&export.requested_by));
    put("recipientTo", text(export.recipients.to()));
    put("recipientsCc", cc_value(&export.recipients));
    if let Some(request_id) = &export.launch_request_id {
        put(LAUNCH_REQUEST_ID, text(request_id));
    }
    put("createdAt", text(export.created_at()));
    put("updatedAt", text(export.updated_at));
    put("deadline", text(export.deadline));
    put("options", options_value(&export.options));
    put("columnsVersion", number(export.columns.version));
    put("byteOrderMark", AttributeValue::Bool(export.settings.byte_order_mark));
    put("linkLifetimeSeconds", number(export.settings.link_lifetime.as_secs()));
    put("fileRetentionSeconds", number(export.settings.file_retention.as_secs()));
    put("timeLimitSeconds", number(export.settings.time_limit.as_secs()));
    if let Some(retention) = export.settings.history_retention {
        put("historyRetentionSeconds", number(retention.as_secs()));
    }
    if let Some(keep_until) = export.keep_until() {
        put(KEEP_UNTIL, number(keep_until.seconds()));
    }
    put("status", text(export.status()));
    put("fencingToken", number(export.fencing_token));
    put("attempts", number(export.attempts));
    put("rowsRead", number(export.rows_read));
    put("rowsWritten", number(export.rows_written));
    if let Some(at) = export.next_check_at() {
        put(NEXT_CHECK_AT, text(at));
        put(NEXT_CHECK_STATE, AttributeValue::S(next_check_state(export.status(), &export.id)));
    }
    if let Some(lease) = export.lease() {
        put("leaseHolder", text(&lease.owner));
        put("leaseUntil", text(lease.until));
    }
    if let Some(file) = export.file() {
        put("file", file_value(file));
    }
    if let Some(expires_at) = export.link_expires_at() {
        put("linkExpiresAt", text(expires_at));
    }
    if let Some(failure) = export.failure() {
        put("failure", failure_value(failure));
    }
    for (day, count) in &export.resends {
        put(&resends_name(*day), number(count));
    }
    if let Some(at) = export.pending().and_then(|pending| pending.retry_at) {
        put(RETRY_AT, text(at));
    }
    if let Some(at) = export.pending().and_then(|pending| pending.permanent_error_at) {
        put(PERMANENT_ERROR_AT, text(at));
    }
    item
}

/// The export recorded in an item. For a corrupt record, the error has the attributes that are still valid.
pub(super) fn read(item: &dyn Attributes) -> Result<Export, CorruptRecord> {
    from_item(item).map_err(|ItemError(attribute)| CorruptRecord {
        attribute,
        status: get(item, "status").ok(),
        deadline: get(item, "deadline").ok(),
    })
}

/// The export recorded in an item.
pub(super) fn from_item(item: &dyn Attributes) -> Result<Export, ItemError> {
    let seconds = |name| get_number(item, name).map(Duration::from_secs);
    let cc = get_texts(item, "recipientsCc")?.into_iter().map(str::parse).collect::<Result<Vec<EmailAddress>, _>>();
    let cc = cc.map_err(|_| ItemError("recipientsCc"))?;
    let id: ExportId = get(item, "exportId")?;
    let definition = id.export_type().definition();
    Ok(Export {
        id,
        options: options(item, definition)?,
        columns: columns(item, id.export_type())?,
        tenant: get(item, TENANT)?,
        requested_by: get_map(item, "requestedBy", person)?.ok_or(ItemError("requestedBy"))?,
        recipients: Recipients::new(get(item, "recipientTo")?, cc).map_err(|_| ItemError("recipientsCc"))?,
        settings: ExportSettings {
            byte_order_mark: get_flag(item, "byteOrderMark")?,
            link_lifetime: seconds("linkLifetimeSeconds")?,
            file_retention: seconds("fileRetentionSeconds")?,
            time_limit: seconds("timeLimitSeconds")?,
            history_retention: get_optional_number(item, "historyRetentionSeconds")?.map(Duration::from_secs),
        },
        launch_request_id: item
            .attribute(LAUNCH_REQUEST_ID)
            .map(|_| get_text(item, LAUNCH_REQUEST_ID).map(str::to_owned))
            .transpose()?,
        state: state(item, definition)?,
        updated_at: get(item, "updatedAt")?,
        deadline: get(item, "deadline")?,
        fencing_token: get_number(item, "fencingToken")?,
        attempts: get_number(item, "attempts")?,
        rows_read: get_number(item, "rowsRead")?,
        rows_written: get_number(item, "rowsWritten")?,
        resends: resends(item)?,
    })
}

/// The status with the attributes it requires. Attributes of earlier states that are still recorded are ignored.
fn state(item: &dyn Attributes, definition: &Definition) -> Result<State, ItemError> {
    let file = get_map(item, "file", |item| file(item, definition))?;
    let mailed = |file: Option<ExportFile>| Ok((file.ok_or(ItemError("file"))?, get(item, "linkExpiresAt")?));
    Ok(match get(item, "status")? {
        Status::Pending => State::Pending(Pending {
            lease: lease(item)?,
            next_check_at: get(item, NEXT_CHECK_AT)?,
            retry_at: get_optional_time(item, RETRY_AT)?,
            permanent_error_at: get_optional_time(item, PERMANENT_ERROR_AT)?,
            file,
        }),
        Status::Ready => {
            let (file, link_expires_at) = mailed(file)?;
            State::Ready { file, link_expires_at }
        }
        Status::Failed => {
            State::Failed { failure: get_map(item, "failure", failure)?.ok_or(ItemError("failure"))?, file }
        }
        Status::Expired => {
            let (file, link_expires_at) = mailed(file)?;
            State::Expired { file, link_expires_at }
        }
    })
}

fn lease(item: &dyn Attributes) -> Result<Option<Lease>, ItemError> {
    let until = get_optional_time(item, "leaseUntil")?;
    until.map(|until| Ok(Lease { owner: get_text(item, "leaseHolder")?.to_owned(), until })).transpose()
}

/// The columns of the export's file. Unknown ones are corrupt: this build would leave columns out.
fn columns(item: &dyn Attributes, export_type: ExportType) -> Result<FileColumns, ItemError> {
    let columns = FileColumns { export_type, version: get_number(item, "columnsVersion")? };
    let known = 1..=FileColumns::current(export_type).version;
    if known.contains(&columns.version) { Ok(columns) } else { Err(ItemError("columnsVersion")) }
}

fn options_value(options: &ExportOptions) -> AttributeValue {
    let field = |(field, value): (FilterField, FilterValue)| {
        let value = match value {
            FilterValue::One(value) => AttributeValue::S(value),
            FilterValue::Many(values) => AttributeValue::L(values.into_iter().map(AttributeValue::S).collect()),
        };
        (field.name().to_owned(), value)
    };
    let ExportOptions { filter, format } = options;
    map_value([
        ("version", number(OPTIONS_VERSION)),
        ("filter", AttributeValue::M(filter.fields().into_iter().map(field).collect())),
        ("format", text(format)),
    ])
}

/// The options of the export. Unknown ones are corrupt: this build would export more than was requested.
fn options(item: &dyn Attributes, definition: &Definition) -> Result<ExportOptions, ItemError> {
    const KNOWN: [&str; 3] = ["version", "filter", "format"];
    let options = get_map(item, "options", |item| {
        if get_number::<u32>(item, "version")? != OPTIONS_VERSION
            || item.names().iter().any(|name| !KNOWN.contains(name))
        {
            return Err(ItemError("version"));
        }
        let filter = get_map(item, "filter", |item| {
            let field = |name| Some((name, filter_value(item, name)?));
            let fields = item.names().into_iter().map(field).collect::<Option<Vec<_>>>();
            fields.and_then(|fields| RowFilter::from_fields(definition, fields)).ok_or(ItemError("filter"))
        })?;
        Ok(ExportOptions { filter: filter.ok_or(ItemError("filter"))?, format: get(item, "format")? })
    });
    options.ok().flatten().ok_or(ItemError("options"))
}

fn filter_value(item: &dyn Attributes, name: &str) -> Option<FilterValue> {
    let text = |value| if let Attribute::Text(text) = value { Some(text.to_owned()) } else { None };
    match item.attribute(name)? {
        Attribute::List(values) => values.into_iter().map(text).collect::<Option<_>>().map(FilterValue::Many),
        value => text(value).map(FilterValue::One),
    }
}

fn map_value<const N: usize>(attributes: [(&str, AttributeValue); N]) -> AttributeValue {
    AttributeValue::M(attributes.map(|(name, value)| (name.to_owned(), value)).into())
}

fn person_value(person: &Person) -> AttributeValue {
    map_value([("email", text(&person.email)), ("name", text(person.name.as_str()))])
}

fn person(item: &dyn Attributes) -> Result<Person, ItemError> {
    Ok(Person { email: get(item, "email")?, name: get(item, "name")? })
}

pub(super) fn cc_value(recipients: &Recipients) -> AttributeValue {
    AttributeValue::L(recipients.cc().iter().map(text).collect())
}

/// The attribute that counts the resent e-mails of the day that starts at `day`. Each day has its own, so that one
/// conditional ADD counts the first of a day like all others.
pub(super) fn resends_name(day: Timestamp) -> String {
    format!("{RESENDS}{day}")
}

fn resends(item: &dyn Attributes) -> Result<BTreeMap<Timestamp, u32>, ItemError> {
    let count = |name: &str| {
        let day = name.strip_prefix(RESENDS)?.parse().map_err(|_| ItemError(RESENDS));
        Some(day.and_then(|day| Ok((day, parse_number(item, name).ok_or(ItemError(RESENDS))?))))
    };
    item.names().into_iter().filter_map(count).collect()
}

pub(super) fn failure_value(failure: &Failure) -> AttributeValue {
    let code_and_message = [("code", text(failure.code.as_str())), ("message", text(&failure.message))];
    let cancelled_by = failure.cancelled_by.as_ref().map(|person| ("cancelledBy", person_value(person)));
    let invalid_rows = failure.invalid_rows.as_ref().map(|rows| ("invalidRows", invalid_rows_file_value(rows)));
    let attributes = code_and_message.into_iter().chain(cancelled_by).chain(invalid_rows);
    AttributeValue::M(attributes.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn failure(item: &dyn Attributes) -> Result<Failure, ItemError> {
    Ok(Failure {
        code: get(item, "code")?,
        message: get_text(item, "message")?.to_owned(),
        cancelled_by: get_map(item, "cancelledBy", person)?,
        invalid_rows: get_map(item, "invalidRows", invalid_rows_file)?,
    })
}

fn invalid_rows_file_value(file: &InvalidRowsFile) -> AttributeValue {
    map_value([
        ("count", number(file.count)),
        ("isComplete", AttributeValue::Bool(file.is_complete)),
        ("key", text(&file.key)),
        ("expiresAt", text(file.expires_at)),
    ])
}

fn invalid_rows_file(item: &dyn Attributes) -> Result<InvalidRowsFile, ItemError> {
    Ok(InvalidRowsFile {
        count: get_number(item, "count")?,
        is_complete: get_flag(item, "isComplete")?,
        key: get_text(item, "key")?.to_owned(),
        expires_at: get(item, "expiresAt")?,
    })
}

pub(super) fn file_value(file: &ExportFile) -> AttributeValue {
    let attributes = [
        ("key", text(&file.key)),
        ("name", text(&file.name)),
        ("rows", number(file.rows)),
        ("bytes", number(file.bytes)),
        ("sha256", text(&file.sha256)),
        (TOTALS, totals_value(&file.totals)),
        ("expiresAt", text(file.expires_at)),
    ];
    let read = file.read.map(|ReadInterval { from, to }| [(READ_FROM, text(from)), ("readTo", text(to))]);
    let attributes = attributes.into_iter().chain(read.into_iter().flatten());
    AttributeValue::M(attributes.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn file(item: &dyn Attributes, definition: &Definition) -> Result<ExportFile, ItemError> {
    Ok(ExportFile {
        key: get_text(item, "key")?.to_owned(),
        name: get_text(item, "name")?.to_owned(),
        rows: get_number(item, "rows")?,
        bytes: get_number(item, "bytes")?,
        sha256: get_text(item, "sha256")?.to_owned(),
        totals: get_totals(item, definition)?,
        read: get_optional_time(item, READ_FROM)?
            .map(|from| get(item, "readTo").map(|to| ReadInterval { from, to }))
            .transpose()?,
        expires_at: get::<Timestamp>(item, "expiresAt")?,
    })
}

/// An export's checkpoint as an item.
pub(super) fn checkpoint_item(tenant: &TenantId, id: &ExportId, checkpoint: &Checkpoint) -> Item {
    let mut item = key(tenant, checkpoint_sort(id));
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("version", number(CHECKPOINT_VERSION));
    if let Some(Upload { key, id }) = &checkpoint.upload {
        put("upload", map_value([("key", text(key)), ("id", text(id))]));
    }
    put("parts", number(checkpoint.parts));
    if let Some(UnfinishedPart { key, bytes, crc64 }) = &checkpoint.unfinished {
        put("unfinished", map_value([("key", text(key)), ("bytes", number(bytes)), ("crc64", number(crc64))]));
    }
    if let Some(at) = checkpoint.read_from {
        put(READ_FROM, text(at));
    }
    put("after", text(&checkpoint.after.0));
    put("rowsRead", number(checkpoint.rows_read));
    put("rows", number(checkpoint.rows_written));
    put("bytes", number(checkpoint.bytes));
    put(TOTALS, totals_value(&checkpoint.totals));
    put("sha256State", AttributeValue::B(Blob::new(checkpoint.sha256.clone())));
    put("crc64State", number(checkpoint.crc64));
    let InvalidRows { count, first, .. } = &checkpoint.invalid_rows;
    if *count > 0 {
        let first = AttributeValue::L(first.iter().map(text).collect());
        put("invalidRows", map_value([("count", number(count)), ("first", first)]));
    }
    put("isWhole", AttributeValue::Bool(checkpoint.is_complete));
    item
}

/// The checkpoint recorded in an item.
///
/// # Errors
/// [`ItemError`] also if the checkpoint is of another version.
pub(super) fn checkpoint_from(item: &Item, definition: &Definition) -> Result<Checkpoint, ItemError> {
    if get_number::<u32>(item, "version")? != CHECKPOINT_VERSION {
        return Err(ItemError("version"));
    }
    let state = item.get("sha256State").and_then(|value| value.as_b().ok()).ok_or(ItemError("sha256State"))?;
    Ok(Checkpoint {
        upload: get_map(item, "upload", upload)?,
        parts: get_number(item, "parts")?,
        unfinished: get_map(item, "unfinished", unfinished)?,
        read_from: get_optional_time(item, READ_FROM)?,
        after: RowKey(get_text(item, "after")?.to_owned()),
        rows_read: get_number(item, "rowsRead")?,
        rows_written: get_number(item, "rows")?,
        bytes: get_number(item, "bytes")?,
        totals: get_totals(item, definition)?,
        sha256: state.as_ref().to_vec(),
        crc64: get_number(item, "crc64State")?,
        invalid_rows: get_map(item, "invalidRows", invalid_rows)?.unwrap_or_default(),
        is_complete: get_flag(item, "isWhole")?,
    })
}

fn upload(item: &dyn Attributes) -> Result<Upload, ItemError> {
    Ok(Upload { key: get_text(item, "key")?.to_owned(), id: get_text(item, "id")?.to_owned() })
}

fn invalid_rows(item: &dyn Attributes) -> Result<InvalidRows, ItemError> {
    let first = get_texts(item, "first")?.into_iter().map(str::to_owned).collect();
    Ok(InvalidRows { count: get_number(item, "count")?, first, ..InvalidRows::default() })
}

fn unfinished(item: &dyn Attributes) -> Result<UnfinishedPart, ItemError> {
    Ok(UnfinishedPart {
        key: get_text(item, "key")?.to_owned(),
        bytes: get_number(item, "bytes")?,
        crc64: get_number(item, "crc64")?,
    })
}
