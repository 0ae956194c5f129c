//! Compares what this build writes and reads with the stored forms in `golden/stored`.
//!
//! A deployment or a rollback during an export leaves items that another build wrote. So a stored form is a contract:
//! these files are never rewritten, not even with `UPDATE_GOLDENS=1`. A form that changes gets a new version with files
//! of its own, and builds read the old files as long as such items can exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_smithy_types::base64;
use exports_domain::export::ExportSettings;
use exports_domain::filter::{FilterField, FilterValue};
use exports_domain::idempotency::Idempotency;
use exports_domain::testing::export_of_version_1;
use serde_json::{Value, json};

use super::*;
use crate::dynamodb::inspection::item_from_json;
use crate::dynamodb::record::{checkpoint_sort, idempotency_sort};

/// The content of a golden file.
fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/stored/{name}.json"));
    fs::read_to_string(path).unwrap_or_default()
}

fn golden_item(name: &str) -> Item {
    item_from_json(serde_json::from_str::<BTreeMap<String, Value>>(&golden(name)).unwrap()).unwrap()
}

/// An item in the form of its golden file: DynamoDB JSON, with sorted names and binary values in Base64.
fn text_of(item: &Item) -> String {
    serde_json::to_string_pretty(&json_of(item)).unwrap() + "\n"
}

fn json_of(item: &Item) -> Value {
    let sorted: BTreeMap<_, _> = item.iter().map(|(name, value)| (name, value_of(value))).collect();
    json!(sorted)
}

fn value_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": base64::encode(bytes)}),
        AttributeValue::Bool(flag) => json!({"BOOL": flag}),
        AttributeValue::Null(is_null) => json!({"NULL": is_null}),
        AttributeValue::L(values) => json!({"L": values.iter().map(value_of).collect::<Vec<_>>()}),
        AttributeValue::M(item) => json!({"M": json_of(item)}),
        other => panic!("{other:?}"),
    }
}

/// The golden files that this build would write differently.
fn changed(written: &[(&str, Item)]) -> String {
    let differs = |(name, item): &(&str, Item)| {
        let now = text_of(item);
        (golden(name) != now).then(|| format!("golden/stored/{name}.json:\n{now}"))
    };
    written.iter().filter_map(differs).collect()
}

fn assert_unchanged(written: &[(&str, Item)]) {
    let changed = changed(written);
    assert!(
        changed.is_empty(),
        "This build writes another stored form than deployed builds read. Do not change the golden files: give the form a \
         new version, read both, and add files for the new one. It is now\n{changed}"
    );
}

fn minutes(minutes: u64) -> Timestamp {
    start().plus(Duration::from_secs(60 * minutes))
}

/// A step of the life cycle, from the record before it.
type Next = fn(&Export) -> Step;

const ACQUIRE: Next = |export| {
    let lease = Lease { owner: "request-id".into(), until: minutes(6) };
    lifecycle::acquire(export, minutes(1), lease, &retry_policy(5)).unwrap()
};
const CONTINUE: Next = |export| {
    let progress = Progress { rows_read: 3, rows_written: 3 };
    lifecycle::continue_later(export, minutes(2), progress, true, minutes(3))
};
const RECORD_FILE: Next = |export| lifecycle::record_file(export, minutes(2), ExportFile { read: None, ..file() }, 9);
const RECORD_FILE_WITH_READ: Next = |export| lifecycle::record_file(export, minutes(2), file(), 9);
const READY: Next = |export| lifecycle::ready(export, minutes(3), minutes(60));
const EXPIRE: Next = |_| lifecycle::expire(minutes(60), minutes(60));
const FAIL: Next = |export| lifecycle::fail(export, minutes(3), FailedBy::Owner, Failure::attempts_used_up(5));
const FAIL_XLSX: Next =
    |export| lifecycle::fail(export, minutes(3), FailedBy::Owner, Failure::too_many_rows_for_xlsx(1_000_000));
const INVALID_ROWS: Next = |export| lifecycle::fail(export, minutes(3), FailedBy::Owner, invalid_rows_failure());
const CANCEL: Next = |export| lifecycle::cancel(export, minutes(3), Failure::cancelled(operator("acme").user)).unwrap();
const RELEASE: Next = |export| lifecycle::release(export, minutes(2), ErrorKind::Permanent, minutes(7), minutes(8));
/// As earlier builds released it.
const RELEASE_WITHOUT_RETRY_TIME: Next = |export| {
    let mut step = lifecycle::release(export, minutes(2), ErrorKind::Permanent, minutes(7), minutes(7));
    step.changes.retain(|change| !matches!(change, lifecycle::Change::RetryAt(_)));
    step
};
const COUNT_RESEND: Next = |export| lifecycle::count_resend(export, minutes(61), 10).unwrap();
const RESENT: Next = |_| lifecycle::resent(minutes(61), Recipients::only(address("bob@example.com")), minutes(120));

/// An export with every filter there is, and a history retention.
fn export_with_every_option() -> Export {
    let export_type = ExportType::FundingTransfers;
    let text = |value: &str| FilterValue::One(value.to_owned());
    let texts = |values: &[&str]| FilterValue::Many(values.iter().map(ToString::to_string).collect());
    let fields = FilterField::ALL.iter().map(|field| {
        let value = match field.name() {
            "createdAtFrom" => text("2026-09-01T00:00:00.000Z"),
            "createdAtTo" => text("2026-09-30T23:59:59.999Z"),
            "statuses" => texts(&["PENDING", "FAILED"]),
            "currencies" => texts(&["EUR"]),
            "supplierIds" => texts(&["sup_1", "sup_2"]),
            "amountMin" => text("-0.50"),
            "amountMax" => text("1000"),
            "sourceBalanceAccountType" => text("MARKETPLACE"),
            "targetBalanceAccountType" => text("SUPPLIER"),
            other => panic!("give {other} a value"),
        };
        (field.name(), value)
    });
    let filter = RowFilter::from_fields(export_type.definition(), fields).unwrap();
    let id = ExportId::new(export_type, start(), &[7; 10]);
    let settings = ExportSettings { byte_order_mark: true, ..export().settings };
    let settings = settings.with_history_retention(Some(Duration::from_secs(90 * 86_400)));
    let columns = FileColumns { export_type, version: 1 };
    let options = ExportOptions { filter, ..ExportOptions::default() };
    Export { id, columns, settings, options, ..export_of_version_1() }
}

/// An export to XLSX.
fn export_to_xlsx() -> Export {
    let options = ExportOptions { format: FileFormat::Xlsx, ..ExportOptions::default() };
    Export { options, ..export_of_version_1() }
}

/// Each golden record, with the export that was accepted and the steps that led to it.
fn records() -> Vec<(&'static str, Export, Vec<Next>)> {
    let case = |name, steps: &[Next]| (name, export_of_version_1(), steps.to_vec());
    let ready = [ACQUIRE, RECORD_FILE, READY];
    let launched = Export { launch_request_id: export().launch_request_id, ..export_of_version_1() };
    vec![
        case("export-pending", &[]),
        ("export-with-launch-request", launched, vec![]),
        case("export-leased", &[ACQUIRE]),
        case("export-continued", &[ACQUIRE, CONTINUE]),
        case("export-after-permanent-error", &[ACQUIRE, RELEASE_WITHOUT_RETRY_TIME]),
        case("export-after-error", &[ACQUIRE, RELEASE]),
        case("export-with-file", &[ACQUIRE, RECORD_FILE]),
        case("export-with-file-and-read-times", &[ACQUIRE, RECORD_FILE_WITH_READ]),
        case("export-ready", &ready),
        case("export-expired", &[&ready[..], &[EXPIRE]].concat()),
        case("export-resent", &[&ready[..], &[COUNT_RESEND, RESENT]].concat()),
        case("export-failed", &[ACQUIRE, FAIL]),
        case("export-failed-for-invalid-rows", &[ACQUIRE, INVALID_ROWS]),
        case("export-cancelled", &[ACQUIRE, CANCEL]),
        ("export-with-every-option", export_with_every_option(), vec![]),
        ("export-with-every-option-failed", export_with_every_option(), vec![ACQUIRE, FAIL]),
        ("export-to-xlsx-failed", export_to_xlsx(), vec![ACQUIRE, FAIL_XLSX]),
    ]
}

/// The export after these steps, and the steps.
fn after(accepted: &Export, steps: &[Next]) -> (Export, Vec<Step>) {
    let mut export = accepted.clone();
    let mut made = Vec::new();
    for next in steps {
        let step = next(&export);
        export = step.apply(&export).unwrap();
        made.push(step);
    }
    (export, made)
}

/// The size of the file after the second and the third row, and the states of its hashes.
const AFTER_TWO_ROWS: (u64, &str, u64) = (
    421,
    "iJ4JxzkFGjxPMJW3mQH7mNiHwPju2IAweo4xywMWYbwGAAAAAAAAACUtMDhUMDg6MjU6MDBaOzs7MjAyNi0xMC0wOFQwODoyNTowMFoKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    13_178_048_800_338_307_507,
);
const AFTER_THREE_ROWS: (u64, &str, u64) = (
    547,
    "a0twU/W/q9E5UUAcAecLQJNF8SeAKa9FjoAg8u7HOnoIAAAAAAAAACM4VDA4OjI2OjAwWjs7OzIwMjYtMTAtMDhUMDg6MjY6MDBaCgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    5_160_240_958_552_914_918,
);

/// The same of the file of invalid rows, if the currency of the third row is unknown.
const AFTER_AN_INVALID_ROW: (u64, &str, u64) = (
    52,
    "Z+YJaoWuZ7ty8248OvVPpX9SDlGMaAWbq9mDHxnN4FsAAAAAAAAAADRpZDtjb2x1bW47cHJvYmxlbTt2YWx1ZQpwb18yO2N1cnJlbmN5O3Vua25vd247Jz1YWFgKAAAAAAAAAAAAAAA=",
    16_089_024_156_875_107_866,
);

/// The checkpoints of a file of six rows, with a part of two rows and an unfinished part of a third, with only one of
/// the two, or with the third as an invalid row. The generator's tests continue from them, so sizes, hash states and
/// checksums are those of real bytes.
fn checkpoints() -> [(&'static str, Checkpoint); 5] {
    let (tenant, id) = (export().tenant, export().id);
    let after = |rows: u64, (bytes, sha256, crc64): (u64, &str, u64)| {
        let mut totals = Totals::default();
        let total = Total { count: rows, minor: 4115 * i128::from(rows) };
        assert!(totals.add("EUR".parse().unwrap(), row_status("SETTLED"), total));
        let created_at = start().minus(Duration::from_secs(60 * (7 - rows)));
        Checkpoint {
            upload: None,
            parts: 0,
            unfinished: None,
            read_from: None,
            after: RowKey(format!("{created_at}#po_{}", rows - 1)),
            rows_read: rows,
            rows_written: rows,
            bytes,
            totals,
            sha256: base64::decode(sha256).unwrap(),
            crc64,
            invalid_rows: InvalidRows::default(),
            is_complete: false,
        }
    };
    let unfinished = |bytes, crc64| Some(UnfinishedPart { key: unfinished_key(&tenant, &id, 1, 3), bytes, crc64 });
    let upload = Some(Upload { key: new_file().key, id: "upload-1".into() });
    let (two, three) = (after(2, AFTER_TWO_ROWS), after(3, AFTER_THREE_ROWS));
    let first = vec!["\"po_2\" (currency unknown)".to_owned()];
    let invalid = Checkpoint {
        unfinished: unfinished(52, 2_357_719_916_834_443_749),
        rows_written: 2,
        totals: Totals::default(),
        invalid_rows: InvalidRows { count: 1, first, ..InvalidRows::default() },
        ..after(3, AFTER_AN_INVALID_ROW)
    };
    [
        (
            "checkpoint-with-unfinished-part",
            Checkpoint { unfinished: unfinished(547, 13_286_503_115_156_636_697), ..three.clone() },
        ),
        ("checkpoint-with-invalid-rows", invalid),
        ("checkpoint-with-upload", Checkpoint { upload: upload.clone(), parts: 1, ..two.clone() }),
        (
            "checkpoint-with-upload-and-read-time",
            Checkpoint { upload: upload.clone(), parts: 1, read_from: Some(minutes(1)), ..two },
        ),
        (
            "checkpoint-with-upload-and-unfinished-part",
            Checkpoint { upload, parts: 1, unfinished: unfinished(126, 11_766_665_851_432_784_925), ..three },
        ),
    ]
}

#[tokio::test]
async fn records_are_stored_as_ever_and_read_by_this_build() {
    let (mut written, mut expectations) = (Vec::new(), Vec::new());
    for (name, accepted, steps) in records() {
        let table = local_tables().await;
        let (expected, steps) = after(&accepted, &steps);
        table.exports.accept_export(&accepted, None).await.unwrap();
        for step in &steps {
            table.exports.apply_step(&accepted.tenant, &accepted.id, step).await.unwrap();
        }
        written.push((name, table.export_item(&accepted).await));
        expectations.push((name, expected));
    }
    assert_unchanged(&written);
    for (name, expected) in expectations {
        assert_eq!(from_item(&golden_item(name)), Ok(expected), "{name}");
    }
}

#[tokio::test]
async fn lock_and_idempotency_record_are_stored_as_ever_and_read_by_this_build() {
    let (first, second) = (export(), export_with_id(2));
    let (lock, idempotency_key) = (
        key(&first.tenant, lock_sort(first.id.export_type())),
        key(&first.tenant, idempotency_sort(first.id.export_type(), "key-hash")),
    );
    let idempotency =
        |fingerprint: &str| Idempotency { key: "key-hash".to_owned(), fingerprint: fingerprint.to_owned() };
    let sent = idempotency("fingerprint");
    let table = local_tables().await;
    table.exports.accept_export(&first, Some(&sent)).await.unwrap();
    let written = [("lock", table.item(lock).await), ("idempotency-record", table.item(idempotency_key).await)];
    assert_unchanged(&written);

    let table = local_tables().await;
    table.put_item(golden_item("lock")).await;
    let rejected = table.exports.accept_export(&second, None).await;
    assert!(matches!(rejected, Err(AcceptError::AlreadyPending(id)) if id == first.id));
    table.put_item(golden_item("idempotency-record")).await;
    let again = table.exports.accept_export(&second, Some(&sent)).await;
    assert!(matches!(again, Err(AcceptError::AlreadyAccepted(id)) if id == first.id));
    let other = table.exports.accept_export(&second, Some(&idempotency("another"))).await;
    assert!(matches!(other, Err(AcceptError::KeyReused)));
}

#[tokio::test]
async fn checkpoints_are_stored_as_ever_and_read_by_this_build() {
    let (tenant, id) = (export().tenant, export().id);
    let mut written = Vec::new();
    for (name, checkpoint) in checkpoints() {
        let table = local_tables().await;
        table.exports.accept_export(&export_of_version_1(), None).await.unwrap();
        let (owned, _) = after(&export_of_version_1(), &[ACQUIRE]);
        for step in [ACQUIRE(&export_of_version_1()), CONTINUE(&owned)] {
            table.exports.apply_with_checkpoint(&tenant, &id, &step, &checkpoint).await.unwrap();
        }
        written.push((name, table.item(key(&tenant, checkpoint_sort(&id))).await));
    }
    assert_unchanged(&written);
    let table = local_tables().await;
    for (name, checkpoint) in checkpoints() {
        table.put_item(golden_item(name)).await;
        assert_eq!(table.exports.find_checkpoint(&tenant, &id).await.unwrap(), Some(checkpoint), "{name}");
    }
}
