//! In-memory ports and sample values for the tests of the functions (feature `testing`).
//!
//! The ports behave as their traits document ([`conformance`]). A [`FailureInjector`] makes their calls fail.
#![expect(clippy::unwrap_used, clippy::panic, reason = "an invalid sample must fail the test that uses it")]

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::caller::{Caller, ClientType, Person};
use crate::checkpoint::{Checkpoint, UnfinishedPart};
use crate::email::{EmailAddress, Recipients};
use crate::error::DependencyError;
use crate::export::{Export, ExportSettings, Pending, State, Status};
use crate::export_type::{Column, ColumnKind, ExportType, FileColumns, Required, RowStatus};
use crate::failure::{Failure, FailureCode};
use crate::file::{ExportFile, InvalidRowsFile, NewFile, ReadInterval, unfinished_key};
use crate::id::ExportId;
use crate::invalid_rows::InvalidRows;
use crate::options::ExportOptions;
use crate::ports::{RowKey, Upload};
use crate::row::{ID, Value};
use crate::time::Timestamp;
use crate::totals::{Total, Totals};

pub mod conformance;
mod failures;
mod files;
mod mailbox;
mod queue;
mod rows;
mod store;
mod system;
#[cfg(test)]
mod tests;

pub use failures::FailureInjector;
pub use files::{MemoryFiles, StoredFile};
pub use mailbox::{MailService, MemoryMailbox};
pub use queue::{EnqueuedJob, MemoryQueue};
pub use rows::MemoryRows;
pub use store::{CheckCursor, MemoryStore};
pub use system::FakeSystem;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of DynamoDB for a start key outside the range of a query.
fn invalid_start_key(action: &'static str) -> DependencyError {
    let message = "The provided starting key is outside query boundaries based on provided conditions";
    DependencyError::permanent(action, message)
}

/// Runs a future that is ready at its first poll.
///
/// # Panics
/// If it is pending.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is pending"),
    }
}

/// The type of the samples.
const TYPE: ExportType = ExportType::MarketplacePayouts;

/// A row.
pub type Row = Vec<Value<'static>>;

/// A row status of the samples' type.
#[must_use]
pub fn row_status(name: &str) -> RowStatus {
    TYPE.definition().status(name).unwrap()
}

/// The start time of the samples: 2026-10-08T08:30:00.000Z.
#[must_use]
pub fn start() -> Timestamp {
    "2026-10-08T08:30:00.000Z".parse().unwrap()
}

/// Parses an e-mail address.
#[must_use]
pub fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

/// The operator Ann, ann@example.com, of `tenant`.
#[must_use]
pub fn operator(tenant: &str) -> Caller {
    Caller {
        tenant: tenant.parse().unwrap(),
        client: ClientType::Operator,
        user: Person { email: address("ann@example.com"), name: "Ann".parse().unwrap() },
    }
}

/// The default settings: a link lifetime of 72 h, a file retention of 30 days and a time limit of 6 h.
#[must_use]
pub fn settings() -> ExportSettings {
    const HOUR: Duration = Duration::from_secs(3600);
    ExportSettings::new(72 * HOUR, 30 * 24 * HOUR, 6 * HOUR, false)
}

/// A pending export of the tenant `acme`, requested at [`start`] by [`operator`] with cc@example.com in CC:
/// `mpo_01a11aa2-3340-7707-8707-070707070707`. The request `launch` launched it.
#[must_use]
pub fn export() -> Export {
    let caller = operator("acme");
    let recipients = Recipients::new(caller.user.email.clone(), [address("cc@example.com")]).unwrap();
    let id = ExportId::new(TYPE, start(), &[7; 10]);
    let export = Export::accept(id, &caller, recipients, ExportOptions::default(), settings(), Duration::from_secs(60));
    Export { launch_request_id: Some("launch".to_owned()), ..export }
}

/// [`export`] as the first build recorded it: with the columns of version 1 and without the request that launched it.
/// The golden stored forms are of this version, whatever columns are added.
#[must_use]
pub fn export_of_version_1() -> Export {
    Export { columns: FileColumns { export_type: TYPE, version: 1 }, launch_request_id: None, ..export() }
}

/// [`export`] while its first owner works on it.
fn first_owned() -> Export {
    Export { fencing_token: 1, ..export() }
}

/// The file of [`export`], as its first owner writes it.
#[must_use]
pub fn new_file() -> NewFile {
    NewFile::of(&first_owned())
}

/// The file of [`export`]: three settled payouts of 41.15 EUR each.
#[must_use]
pub fn file() -> ExportFile {
    let export = export();
    let mut totals = Totals::default();
    let total = Total { count: 3, minor: 12_345 };
    let _ = totals.add("EUR".parse().unwrap(), row_status("SETTLED"), total);
    let NewFile { key, name, .. } = new_file();
    ExportFile {
        key,
        name,
        rows: 3,
        bytes: 1000,
        sha256: "ab".repeat(32),
        totals,
        read: Some(ReadInterval { from: start(), to: start().plus(Duration::from_secs(60)) }),
        expires_at: start().plus(export.settings.file_retention),
    }
}

/// A checkpoint of [`export`] with a value for each field.
#[must_use]
pub fn checkpoint() -> Checkpoint {
    let export = first_owned();
    Checkpoint {
        upload: Some(Upload { key: new_file().key, id: "u".to_owned() }),
        parts: 2,
        unfinished: Some(UnfinishedPart {
            key: unfinished_key(&export.tenant, &export.id, 1, 9),
            bytes: 100,
            crc64: u64::MAX,
        }),
        read_from: Some(start()),
        after: RowKey("2026-10-08T08:30:00.000Z#po_1".to_owned()),
        rows_read: 9,
        rows_written: 7,
        bytes: 900,
        totals: file().totals,
        sha256: vec![0, 1, 255],
        crc64: u64::MAX,
        invalid_rows: InvalidRows { count: 2, first: vec!["a".into(), "b".into()], ..InvalidRows::default() },
        is_complete: false,
    }
}

/// The state of [`export`] in this status, with [`file()`] and a link until [`start`] plus its link lifetime; a pending
/// one is [`export`]'s.
#[must_use]
pub fn state(status: Status) -> State {
    let link_expires_at = start().plus(settings().link_lifetime);
    let message = "The export failed after 5 attempts.".to_owned();
    let failure = Failure { code: FailureCode::GenerationFailed, message, cancelled_by: None, invalid_rows: None };
    match status {
        Status::Pending => export().state,
        Status::Ready => State::Ready { file: file(), link_expires_at },
        Status::Failed => State::Failed { failure, file: Some(file()) },
        Status::Expired => State::Expired { file: file(), link_expires_at },
    }
}

/// The state of a ready export with [`file()`] and a link until `link_expires_at`.
#[must_use]
pub fn ready_until(link_expires_at: Timestamp) -> State {
    State::Ready { file: file(), link_expires_at }
}

/// `export`, whose work `change` changes.
///
/// # Panics
/// If it is not pending.
pub fn with_work(mut export: Export, change: impl FnOnce(&mut Pending)) -> Export {
    let State::Pending(pending) = &mut export.state else { panic!("not pending: {export:?}") };
    change(pending);
    export
}

/// The failure of [`export`] for two invalid rows.
#[must_use]
pub fn invalid_rows_failure() -> Failure {
    let export = export();
    let file = InvalidRowsFile {
        count: 2,
        is_complete: true,
        key: NewFile::invalid_rows(&first_owned()).key,
        expires_at: start().plus(export.settings.file_retention),
    };
    let message = "2 payouts cannot be written: \"po_1\" (currency unknown), \"po_2\" (status missing).".to_owned();
    Failure { code: FailureCode::InvalidRows, message, cancelled_by: None, invalid_rows: Some(file) }
}

/// [`export`] as READY one minute after [`start`], with [`file()`] and a link until [`start`] plus its link lifetime.
#[must_use]
pub fn ready_export() -> Export {
    Export {
        state: state(Status::Ready),
        updated_at: start().plus(Duration::from_secs(60)),
        fencing_token: 1,
        attempts: 1,
        rows_read: 3,
        rows_written: 3,
        ..export()
    }
}

/// A settled payout of 41.15 EUR.
#[must_use]
pub fn payout(id: &str, created_at: Timestamp) -> Row {
    let time = Value::Text(created_at.to_string().leak());
    vec![
        Value::Text(id.to_owned().leak()),
        Value::Text("REF-1"),
        Value::Text("SETTLED"),
        Value::Number("4115"),
        Value::Text("EUR"),
        time,
        time,
        Value::Number("7"),
        Value::Text("BA_MKP"),
        Value::Missing,
        Value::Missing,
        time,
        Value::Missing,
        Value::Missing,
        time,
    ]
}

/// A row of any type with the type's first status, 41.15 EUR, 1.00 EUR for each other amount, and no optional values.
#[must_use]
pub fn row(export_type: ExportType, id: &str, created_at: Timestamp) -> Row {
    let definition = export_type.definition();
    let value = |column: &Column| match column.kind {
        _ if column.required != Required::Always => Value::Missing,
        ColumnKind::Text => Value::Text(column.header),
        ColumnKind::Status => Value::Text(definition.statuses.first().unwrap().name),
        ColumnKind::OneOf(values) => Value::Text(values.first().unwrap()),
        ColumnKind::Amount => Value::Number("4115"),
        ColumnKind::OtherAmount => Value::Number("100"),
        ColumnKind::Currency => Value::Text("EUR"),
        ColumnKind::Count => Value::Number("7"),
        ColumnKind::Time => Value::Text(created_at.to_string().leak()),
    };
    let id = Value::Text(id.to_owned().leak());
    std::iter::once(id).chain(definition.columns.iter().skip(1).map(value)).collect()
}

/// `row` with `value` for this attribute.
#[must_use]
pub fn with_value(mut row: Row, attribute: &str, value: Value<'static>) -> Row {
    for (cell, column) in row.iter_mut().zip(TYPE.definition().columns) {
        if column.attribute == attribute {
            *cell = value;
        }
    }
    row
}

/// The sort key of a row: its creation time and id, as far as it has them.
#[must_use]
pub fn sort_key(export_type: ExportType, row: &[Value<'_>]) -> String {
    let columns = export_type.definition().columns;
    let text = |index: Option<usize>| match index.and_then(|index| row.get(index)) {
        Some(Value::Text(text)) => *text,
        _ => "",
    };
    let created_at = columns.iter().position(|column| column.attribute == "createdAt");
    format!("{}#{}", text(created_at), text(Some(ID)))
}
