//! Tests the tables against an embedded DynamoDB, and compares them with the in-memory implementations of the ports.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use exports_domain::caller::{ApiKeyRecord, KeyHash, Person};
use exports_domain::checkpoint::{Checkpoint, UnfinishedPart};
use exports_domain::email::Recipients;
use exports_domain::error::ErrorKind;
use exports_domain::export::{Export, Lease, Pending, Progress, State, Status};
use exports_domain::export_type::{ExportType, FileColumns};
use exports_domain::failure::Failure;
use exports_domain::file::{ExportFile, NewFile, unfinished_key};
use exports_domain::filter::{RowFilter, SupplierId};
use exports_domain::history::{HistoryFilter, Order};
use exports_domain::id::ExportId;
use exports_domain::invalid_rows::InvalidRows;
use exports_domain::lifecycle::{self, CorruptFailedBy, FailedBy, RetryPolicy, Step};
use exports_domain::money::Currency;
use exports_domain::options::{ExportOptions, FileFormat};
use exports_domain::ports::{
    AcceptError, ApiKeyStore, ApplyError, CorruptRecord, ExportStore, KeyRange, ReadError, RowKey, RowSource, Upload,
};
use exports_domain::row::Value;
use exports_domain::row_encoder::RowEncoder;
use exports_domain::row_selection::RowSelection;
use exports_domain::testing::{
    MemoryStore, address, checkpoint, conformance, export, file, invalid_rows_failure, new_file, operator,
    ready_export, ready_until, row, row_status, settings, start, state, with_work,
};
use exports_domain::time::Timestamp;
use exports_domain::totals::{Total, Totals};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::item::{Item, ItemError, text};
use super::record::{
    CHECK_SHARDS, NEXT_CHECK_AT, NEXT_CHECK_STATE, SORT, checkpoint_item, export_sort, from_item, key, lock_sort,
    next_check_state, to_item,
};
use super::*;
use crate::testing::{StubHttpClient, response};

mod stored;
mod strict;

/// An embedded DynamoDB with empty tables. It ends with the test's runtime.
struct LocalTables {
    client: aws_sdk_dynamodb::Client,
    exports: ExportsTable,
    rows: SourceTables,
    api_keys: ApiKeysTable,
}

async fn local_tables() -> LocalTables {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    let config = crate::config::local(url);
    let strict = strict::StrictHttpClient(config.http_client().unwrap());
    let config = config.into_builder().http_client(strict).build();
    let client = aws_sdk_dynamodb::Client::new(&config);
    create_table(&client, "Exports", &["tenantId", "sk"], Some(("NextCheckIndex", ["nextCheckState", "nextCheckAt"])))
        .await;
    for export_type in ExportType::ALL {
        create_table(&client, source_table(export_type), &["tenantId", "sk"], None).await;
    }
    create_table(&client, "ApiKeys", &["keyHash"], Some(("TenantIndex", ["tenantId", "createdAt"]))).await;
    LocalTables {
        client,
        exports: ExportsTable::new(&config, "Exports".into()),
        rows: source_tables(&config),
        api_keys: ApiKeysTable::new(&config, "ApiKeys".into()),
    }
}

fn source_tables(config: &aws_types::SdkConfig) -> SourceTables {
    SourceTables::named(config, ExportType::ALL.map(|t| source_table(t).to_owned()).to_vec())
}

const fn source_table(export_type: ExportType) -> &'static str {
    export_type.definition().table_setting
}

fn schema(names: &[&str]) -> Vec<KeySchemaElement> {
    let element =
        |(name, kind): (&&str, _)| KeySchemaElement::builder().attribute_name(*name).key_type(kind).build().unwrap();
    names.iter().zip([KeyType::Hash, KeyType::Range]).map(element).collect()
}

type Index<'a> = (&'a str, [&'a str; 2]);

async fn create_table(client: &aws_sdk_dynamodb::Client, name: &str, keys: &[&str], index: Option<Index<'_>>) {
    let attribute = |name: &&str| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let attributes = keys.iter().chain(index.iter().flat_map(|(_, keys)| keys)).map(attribute).collect();
    let index = index.map(|(name, keys)| {
        let projection = Projection::builder().projection_type(ProjectionType::All).build();
        let index = GlobalSecondaryIndex::builder().index_name(name).projection(projection);
        vec![index.set_key_schema(Some(schema(&keys))).build().unwrap()]
    });
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .set_key_schema(Some(schema(keys)))
        .set_global_secondary_indexes(index)
        .send()
        .await
        .unwrap();
}

impl LocalTables {
    async fn put_export(&self, export: &Export) {
        self.put_item(to_item(export)).await;
    }

    async fn put_item(&self, item: Item) {
        self.client.put_item().table_name("Exports").set_item(Some(item)).send().await.unwrap();
    }

    async fn put_row(&self, export_type: ExportType, item: Item) {
        self.client.put_item().table_name(source_table(export_type)).set_item(Some(item)).send().await.unwrap();
    }

    async fn export_item(&self, export: &Export) -> Item {
        self.item(key(&export.tenant, export_sort(&export.id))).await
    }

    async fn item(&self, key: Item) -> Item {
        let found = self.client.get_item().table_name("Exports").set_key(Some(key)).send().await.unwrap();
        found.item.unwrap()
    }

    async fn delete(&self, key: Item) {
        self.client.delete_item().table_name("Exports").set_key(Some(key)).send().await.unwrap();
    }

    async fn lock(&self, export: &Export) -> Option<String> {
        let key = key(&export.tenant, lock_sort(export.id.export_type()));
        let found = self.client.get_item().table_name("Exports").set_key(Some(key)).send().await.unwrap();
        found.item.and_then(|item| item.get("exportId")?.as_s().ok().cloned())
    }
}

const PROGRESS: Progress = Progress { rows_read: 9, rows_written: 7 };

fn checked_at(export: Export, next_check_at: Timestamp) -> Export {
    with_work(export, |pending| pending.next_check_at = next_check_at)
}

fn export_with_id(random: u8) -> Export {
    let id = ExportId::new(export().id.export_type(), start(), &[random; 10]);
    Export { id, ..export() }
}

/// An export in any of these statuses with any combination of its fields' values.
fn any_export(statuses: &'static [Status]) -> impl Strategy<Value = Export> {
    let minutes = || (0_u64..12).prop_map(|minutes| start().plus(Duration::from_secs(60 * minutes)));
    let lease = prop::option::of(minutes().prop_map(|until| Lease { owner: "r".into(), until }));
    let times = (minutes(), prop::option::of(minutes()), prop::option::of(minutes()), minutes());
    let days = prop::sample::select(vec![start().start_of_day(), Timestamp::from_millis(0)]);
    let resends = prop::collection::btree_map(days, 1_u32..4, 0..3);
    let status = prop::sample::select(statuses);
    (status, 0_u64..3, 0_u32..4, lease, times, resends, any::<[bool; 2]>()).prop_map(
        |(status, fencing_token, attempts, lease, times, resends, [has_file, mark])| {
            let mut export = export();
            export.settings.byte_order_mark = mark;
            let (at, retry_at, permanent_error_at, deadline) = times;
            let some_file = has_file.then(file);
            let state = match status {
                Status::Pending => {
                    State::Pending(Pending { lease, next_check_at: at, retry_at, permanent_error_at, file: some_file })
                }
                Status::Ready => ready_until(at),
                Status::Failed => State::Failed {
                    failure: match attempts {
                        0 => invalid_rows_failure(),
                        attempts => Failure::attempts_used_up(attempts),
                    },
                    file: some_file,
                },
                Status::Expired => State::Expired { file: file(), link_expires_at: at },
            };
            Export { state, fencing_token, attempts, deadline, resends, ..export }
        },
    )
}

fn retry_policy(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, backoff: vec![], permanent_wait: Duration::from_secs(60) }
}

/// A step of any kind, made from `read`.
fn step(read: &Export, choice: u8, now: Timestamp) -> Step {
    let policy = retry_policy(2);
    let later = now.plus(Duration::from_secs(90));
    let lease = Lease { owner: "me".into(), until: later };
    match choice % 15 {
        0 => lifecycle::release(read, now, ErrorKind::Transient, now, later),
        13 => lifecycle::release(read, now, ErrorKind::Permanent, now, later),
        1 => lifecycle::record_file(read, now, file(), 5),
        2 => lifecycle::ready(read, now, later),
        3 => lifecycle::fail(read, now, FailedBy::Owner, invalid_rows_failure()),
        4 => lifecycle::fail(read, now, FailedBy::AttemptsUsedUp { max: 2 }, Failure::attempts_used_up(2)),
        5 => lifecycle::fail(read, now, FailedBy::DeadlinePassed, Failure::email_not_sent("no")),
        6 => lifecycle::re_enqueue(read, read.next_check_at().unwrap_or(now), later),
        7 => lifecycle::resent(now, Recipients::only(address("bob@example.com")), later),
        9 => lifecycle::fail(read, now, FailedBy::Administrator, Failure::failed_by_administrator(None)),
        11 => lifecycle::fail_corrupt(now, CorruptFailedBy::DeadlinePassed, Failure::deadline_passed_corrupt()),
        12 => lifecycle::fail_corrupt(now, CorruptFailedBy::Administrator, Failure::failed_by_administrator(None)),
        14 => lifecycle::cancel(read, now, Failure::cancelled(read.requested_by.clone()))
            .unwrap_or_else(|_| lifecycle::record_progress(read, now, PROGRESS)),
        8 => {
            lifecycle::count_resend(read, now, 3).unwrap_or_else(|_| lifecycle::advance_checkpoint(read, now, PROGRESS))
        }
        _ => lifecycle::acquire(read, now, lease, &policy)
            .unwrap_or_else(|_| lifecycle::expire(now, read.link_expires_at().unwrap_or(now))),
    }
}

/// Attributes with values that the product never writes.
fn corruptions() -> [(&'static str, AttributeValue); 7] {
    [
        ("options", AttributeValue::M(Item::from([("version".to_owned(), AttributeValue::N("2".into()))]))),
        ("recipientTo", AttributeValue::S("nobody".into())),
        ("requestedBy", AttributeValue::Null(true)),
        ("fencingToken", AttributeValue::S("1".into())),
        ("file", AttributeValue::S("file".into())),
        ("nextCheckAt", AttributeValue::S("soon".into())),
        ("deadline", AttributeValue::S("tomorrow".into())),
    ]
}

/// The result of a step; a conflict has the record as it is.
fn unwrap_conflict(applied: Result<(), ApplyError>) -> Result<(), Option<Box<Export>>> {
    applied.map_err(|error| match error {
        ApplyError::Conflict(export) => export,
        ApplyError::Dependency(error) => panic!("{error:?}"),
    })
}

#[test]
fn apply_step_in_the_table_equals_the_life_cycle() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(local_tables());
    let exports = || any_export(Status::ALL);
    let cases = (exports(), exports(), any::<u8>(), 0_u64..12, any::<bool>());
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner
        .run(&cases, |(record, read, choice, minutes, is_fresh)| {
            let read = if is_fresh { record.clone() } else { read };
            let step = step(&read, choice, start().plus(Duration::from_secs(60 * minutes)));
            let memory = MemoryStore::default();
            memory.put_export(record.clone());
            runtime.block_on(async {
                table.put_export(&record).await;
                let expected = unwrap_conflict(memory.apply_step(&record.tenant, &record.id, &step).await);
                let got = unwrap_conflict(table.exports.apply_step(&record.tenant, &record.id, &step).await);
                prop_assert_eq!(got, expected);
                let now = table.exports.find_export(&record.tenant, &record.id).await.unwrap();
                prop_assert_eq!(&now, &memory.export(&record.tenant, &record.id));
                prop_assert_eq!(
                    index_key(&table.export_item(&record).await),
                    now.as_ref().and_then(expected_index_key)
                );
                Ok::<(), TestCaseError>(())
            })
        })
        .unwrap();
}

/// The item's key in NextCheckIndex, if it is in the index.
fn index_key(item: &Item) -> Option<(String, String)> {
    let part = |name| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    part(NEXT_CHECK_STATE).zip(part(NEXT_CHECK_AT))
}

/// The key in NextCheckIndex at which the sweeper looks for the export.
fn expected_index_key(export: &Export) -> Option<(String, String)> {
    export.next_check_at().map(|at| (next_check_state(export.status(), &export.id), at.to_string()))
}

/// The item's `ttl`: no attribute, an attribute that DynamoDB ignores, or the second after which it may delete the
/// item.
fn ttl(item: &HashMap<String, AttributeValue>) -> Option<Option<i64>> {
    item.get("ttl").map(|value| value.as_n().ok().map(|seconds| seconds.parse().unwrap()))
}

#[test]
fn ttl_is_set_when_the_work_ends_and_after_both_retentions() {
    const DAY: Duration = Duration::from_secs(86_400);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(local_tables());
    let retention = prop::option::of((1_u32..60).prop_map(|days| DAY * days));
    let cases = (any_export(&[Status::Pending]), retention, any::<u8>(), 0_u64..12);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    runner
        .run(&cases, |(record, retention, choice, minutes)| {
            let settings = record.settings.with_history_retention(retention);
            let record = Export { settings, ..record };
            let step = step(&record, choice, start().plus(Duration::from_secs(60 * minutes)));
            runtime.block_on(async {
                table.put_export(&record).await;
                let applied = table.exports.apply_step(&record.tenant, &record.id, &step).await;
                let key = key(&record.tenant, export_sort(&record.id));
                let got = table.client.get_item().table_name("Exports").set_key(Some(key)).send().await.unwrap();
                let item = got.item.unwrap();
                let now = from_item(&item).unwrap();
                prop_assert_eq!(now.settings, record.settings);
                if now.status() == Status::Pending || applied.is_err() {
                    prop_assert_eq!(ttl(&item), None);
                    return Ok::<(), TestCaseError>(());
                }
                let end = ttl(&item).unwrap();
                prop_assert_eq!(end, now.keep_until().map(Timestamp::seconds));
                if let (Some(end), Some(retention)) = (end, retention) {
                    prop_assert!(end >= record.created_at().plus(retention).seconds());
                    let last_file = record.deadline.plus(record.settings.file_retention);
                    prop_assert!(end > last_file.seconds());
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn tables_behave_as_their_ports_promise() {
    let table = local_tables().await;
    conformance::export_store(&table.exports).await;
    conformance::api_key_store(&table.api_keys).await;
}

#[tokio::test]
async fn corrupt_api_key_does_not_hide_others() {
    let table = local_tables().await;
    let [valid, used, corrupt] =
        [1, 2, 3].map(|random| ApiKeyRecord::new(KeyHash::from_digest([random; 32]), operator("acme"), start()));
    for record in [&valid, &used, &corrupt] {
        table.api_keys.store_api_key(record).await.unwrap();
    }
    for (record, name) in [(&used, "lastUsedOn"), (&corrupt, "createdAt")] {
        let update = table.client.update_item().table_name("ApiKeys").key("keyHash", text(record.hash.as_str()));
        let update = update.update_expression("SET #name = :value").expression_attribute_names("#name", name);
        update.expression_attribute_values(":value", text("x")).send().await.unwrap();
    }
    let mut listed = table.api_keys.list_api_keys(&operator("acme").tenant).await.unwrap();
    listed.sort_by_key(|record| record.hash.as_str().to_owned());
    let mut expected = [valid, used.clone()];
    expected.sort_by_key(|record| record.hash.as_str().to_owned());
    assert_eq!(listed, expected);
    assert_eq!(table.api_keys.find_api_key(&used.hash).await.unwrap(), Some(used), "a wrong day of use is ignored");
    assert!(table.api_keys.find_api_key(&corrupt.hash).await.unwrap_err().is_permanent());
}

#[tokio::test]
async fn source_table_behaves_as_its_port_promises() {
    let (table, export_type) = (local_tables().await, export().id.export_type());
    let mut tenants = Vec::new();
    for (tenant, numbers) in [("acme", 0..4), ("globex", 2..4)] {
        let mut keys = BTreeSet::new();
        for n in numbers {
            let mut item = payout(tenant, &format!("po_{n}"), start().plus(Duration::from_secs(n / 2)));
            item.insert("unknown".to_owned(), text("x".repeat(if tenant == "acme" { 350_000 } else { 1 })));
            keys.insert(RowKey(item[SORT].as_s().unwrap().clone()));
            table.put_row(export_type, item).await;
        }
        tenants.push((tenant.parse().unwrap(), keys));
    }
    let page = table.rows.read_page(&export().row_selection(), &export().tenant, &every_row()).await.unwrap();
    assert!(page.next.is_some(), "the rows fill more than a page");
    conformance::row_source(&table.rows, export_type, &tenants).await;
}

#[tokio::test]
async fn rejected_step_of_a_corrupt_record_reports_its_status() {
    let table = local_tables().await;
    let export = Export { fencing_token: 1, ..export() };
    let corrupt = ("recipientTo".to_owned(), AttributeValue::S("nobody".into()));
    table.put_item(to_item(&export).into_iter().chain([corrupt]).collect()).await;
    let acquire = lifecycle::acquire_first(start(), Lease { owner: "r".into(), until: start() });
    let rejected = table.exports.try_step(&export.tenant, &export.id, &acquire).await;
    let is_pending = |record: &CorruptRecord| record.status == Some(Status::Pending);
    assert!(matches!(&rejected, Err(ReadError::Corrupt(record)) if is_pending(record)), "{rejected:?}");
}

#[tokio::test]
async fn corrupt_record_fails_at_its_deadline_and_frees_its_tenant() {
    let table = local_tables().await;
    let (first, second) = (export_with_id(1), export_with_id(2));
    let policy = retry_policy(5);
    let lease = Lease { owner: "r".into(), until: first.deadline.plus(Duration::from_secs(60)) };
    let just_before = first.deadline.minus(Duration::from_millis(1));
    let apply = async |step: &Step| table.exports.apply_step(&first.tenant, &first.id, step).await;
    let fail_at = |now, failed_by| lifecycle::fail_corrupt(now, failed_by, Failure::deadline_passed_corrupt());
    for (attribute, value) in corruptions() {
        table.exports.accept_export(&first, None).await.unwrap();
        let acquire = lifecycle::acquire(&first, start(), lease.clone(), &policy).unwrap();
        let owned = acquire.changed(&first);
        apply(&acquire).await.unwrap();
        let advance = lifecycle::advance_checkpoint(&owned, start(), PROGRESS);
        table.exports.apply_with_checkpoint(&first.tenant, &first.id, &advance, &checkpoint()).await.unwrap();
        let item = table.export_item(&first).await;
        let corrupt: Item = item.into_iter().chain([(attribute.to_owned(), value)]).collect();
        table.put_item(corrupt.clone()).await;

        let deadline = (attribute != "deadline").then_some(first.deadline);
        let expected = CorruptRecord { attribute, status: Some(Status::Pending), deadline };
        let found = table.exports.find_export(&first.tenant, &first.id).await;
        assert!(matches!(found, Err(ReadError::Corrupt(corrupt)) if corrupt == expected), "{found:?}");

        let early = apply(&fail_at(just_before, CorruptFailedBy::DeadlinePassed)).await;
        assert!(matches!(early, Err(ApplyError::Dependency(_))), "{attribute}: {early:?}");
        assert_eq!(table.export_item(&first).await, corrupt);
        let rejected = table.exports.accept_export(&second, None).await;
        assert!(matches!(rejected, Err(AcceptError::AlreadyPending(id)) if id == first.id));

        let failed_by =
            if deadline.is_some() { CorruptFailedBy::DeadlinePassed } else { CorruptFailedBy::AnyDeadlinePassed };
        apply(&fail_at(first.deadline, failed_by)).await.unwrap();
        let ended = table.export_item(&first).await;
        assert_eq!(ended.get("status"), Some(&text("FAILED")), "{attribute}");
        assert_eq!(ended.get("updatedAt"), Some(&text(first.deadline)));
        let failure = ended["failure"].as_m().unwrap();
        assert_eq!(failure["code"], text("DEADLINE_PASSED"));
        assert!(
            ["nextCheckAt", "nextCheckState", "leaseHolder", "leaseUntil"]
                .iter()
                .all(|name| !ended.contains_key(*name))
        );
        assert_eq!(table.exports.find_checkpoint(&first.tenant, &first.id).await.unwrap(), None);
        let sequence = usize::from(first.id.random_byte() % CHECK_SHARDS);
        let cursor = table.exports.check_cursors(Status::Pending).swap_remove(sequence);
        let page = table.exports.scheduled_checks(&cursor, first.deadline, 9).await.unwrap();
        assert_eq!((page.checks, page.corrupt), (vec![], 0));

        table.exports.accept_export(&second, None).await.unwrap();
        let fail = lifecycle::fail(&second, start(), FailedBy::Owner, Failure::attempts_used_up(1));
        table.exports.apply_step(&second.tenant, &second.id, &fail).await.unwrap();
        for export in [&first, &second] {
            table.delete(key(&export.tenant, export_sort(&export.id))).await;
        }
    }
}

#[tokio::test]
async fn corrupt_ready_record_expires_with_its_link() {
    let table = local_tables().await;
    let record = ready_export();
    let link_expiry = record.link_expires_at().unwrap();
    for (attribute, value) in corruptions() {
        let item = to_item(&record).into_iter().chain([(attribute.to_owned(), value)]).collect();
        table.put_item(item).await;
        let fail =
            lifecycle::fail_corrupt(link_expiry, CorruptFailedBy::Administrator, Failure::deadline_passed_corrupt());
        table.exports.apply_step(&record.tenant, &record.id, &fail).await.unwrap_err();
        let expire = lifecycle::expire(link_expiry, link_expiry);
        table.exports.apply_step(&record.tenant, &record.id, &expire).await.unwrap();
        let expired = table.export_item(&record).await;
        assert_eq!((expired.get("status"), expired.get("nextCheckAt")), (Some(&text("EXPIRED")), None), "{attribute}");
    }
}

#[tokio::test]
async fn list_exports_reports_corrupt_records_separately() {
    let table = local_tables().await;
    let (corrupt, good) = (export_with_id(1), export_with_id(2));
    table.put_export(&good).await;
    let filter = HistoryFilter {
        export_type: ExportType::MarketplacePayouts,
        statuses: Vec::new(),
        created_from: None,
        created_to: None,
        order: Order::OldestFirst,
    };
    for (attribute, value) in corruptions() {
        table.put_item(to_item(&corrupt).into_iter().chain([(attribute.to_owned(), value)]).collect()).await;
        let now = corrupt.deadline;
        let page = table.exports.list_exports(&good.tenant, &filter, None, 1, now).await.unwrap();
        assert_eq!(page.exports, std::slice::from_ref(&good), "{attribute}");
        let deadline = (attribute != "deadline").then_some(corrupt.deadline);
        let expected = CorruptRecord { attribute, status: Some(Status::Pending), deadline };
        assert_eq!((page.corrupt, page.next_after), (vec![(export_sort(&corrupt.id), expected)], None));
    }
}

fn accepted_at(at: Timestamp, random: u8) -> Export {
    let id = ExportId::new(ExportType::MarketplacePayouts, at, &[random; 10]);
    Export { id, ..export() }
}

#[tokio::test]
async fn concurrent_resends_never_exceed_the_limit_of_their_day() {
    let table = local_tables().await;
    let read = ready_export();
    table.put_export(&read).await;
    let (today, tomorrow) = (start(), start().plus(Duration::from_secs(86_400)));
    let count = async |n: u32| {
        // The clocks of two functions differ around midnight.
        let now = if n.is_multiple_of(2) { today } else { tomorrow };
        let step = lifecycle::count_resend(&read, now, 5).unwrap();
        unwrap_conflict(table.exports.apply_step(&read.tenant, &read.id, &step).await).is_ok()
    };
    let counted = futures_util::future::join_all((0..40).map(count)).await;
    assert_eq!(counted.into_iter().filter(|is_counted| *is_counted).count(), 10);
    let stored = table.exports.find_export(&read.tenant, &read.id).await.unwrap().unwrap();
    assert_eq!(stored.resends, [(today.start_of_day(), 5), (tomorrow.start_of_day(), 5)].into());
}

#[test]
fn list_exports_in_the_table_equals_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(local_tables());
    let memory = MemoryStore::default();
    let minutes = |n: u64| start().plus(Duration::from_secs(60 * n));
    for n in 0..40_u8 {
        let status = Status::ALL[usize::from(n) % 4];
        let state = if status == Status::Ready { ready_until(minutes(n.into())) } else { state(status) };
        let export = Export { state, ..accepted_at(minutes(u64::from(n) / 2), n) };
        memory.put_export(export.clone());
        memory.put_export(Export { tenant: "other".parse().unwrap(), ..export.clone() });
        runtime.block_on(table.put_export(&export));
    }
    let statuses = prop::collection::vec(prop::sample::select(Status::ALL.to_vec()), 0..3);
    let bound = || prop::option::of((0_u64..25).prop_map(minutes));
    let cases = (statuses, bound(), bound(), any::<bool>(), 1_usize..15, 0_u64..60);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    runner
        .run(&cases, |(statuses, created_from, created_to, oldest_first, size, now)| {
            let order = if oldest_first { Order::OldestFirst } else { Order::NewestFirst };
            let export_type = ExportType::MarketplacePayouts;
            let filter = HistoryFilter { export_type, statuses, created_from, created_to, order };
            let (tenant, now) = (export().tenant, minutes(now));
            runtime.block_on(async {
                let mut after = None;
                loop {
                    let got = table.exports.list_exports(&tenant, &filter, after.as_ref(), size, now).await.unwrap();
                    let expected = memory.list_exports(&tenant, &filter, after.as_ref(), size, now).await.unwrap();
                    prop_assert_eq!(&got, &expected);
                    match got.next_after {
                        Some(next) => after = Some(next),
                        None => return Ok(()),
                    }
                }
            })
        })
        .unwrap();
}

#[tokio::test]
async fn list_exports_with_sparse_filter_reads_2000_records() {
    let table = local_tables().await;
    for n in 0..2100_u64 {
        let at = start().plus(Duration::from_secs(n));
        let status = if n == 2050 { Status::Failed } else { Status::Expired };
        table.put_export(&Export { state: state(status), ..accepted_at(at, 1) }).await;
    }
    let filter = HistoryFilter {
        export_type: ExportType::MarketplacePayouts,
        statuses: vec![Status::Failed],
        created_from: None,
        created_to: None,
        order: Order::OldestFirst,
    };
    let list = async |after: Option<ExportId>| {
        let now = start().plus(Duration::from_secs(9999));
        table.exports.list_exports(&export().tenant, &filter, after.as_ref(), 10, now).await.unwrap()
    };
    let first = list(None).await;
    assert_eq!(
        (first.exports.len(), first.next_after.map(|id| id.created_at())),
        (0, Some(start().plus(Duration::from_secs(1999))))
    );
    let second = list(first.next_after).await;
    assert_eq!((second.exports.len(), second.next_after), (1, None));
}

#[tokio::test]
async fn failing_an_export_keeps_the_lock_of_another() {
    let table = local_tables().await;
    let (stray, locked) = (export_with_id(1), export_with_id(2));
    table.exports.accept_export(&locked, None).await.unwrap();
    table.put_export(&stray).await;
    let step = lifecycle::fail(&stray, start(), FailedBy::Owner, Failure::attempts_used_up(1));
    table.exports.apply_step(&stray.tenant, &stray.id, &step).await.unwrap();
    let ended = table.exports.find_export(&stray.tenant, &stray.id).await.unwrap().unwrap();
    assert_eq!(ended.status(), Status::Failed);
    assert_eq!(table.lock(&locked).await, Some(locked.id.to_string()));
}

#[tokio::test]
async fn scheduled_checks_with_a_corrupt_key_returns_the_others() {
    let table = local_tables().await;
    let minutes = |n: u64| start().plus(Duration::from_secs(60 * n));
    // An export type that this version does not know.
    let mut unknown = to_item(&checked_at(export_with_id(16), minutes(1)));
    unknown.insert(SORT.to_owned(), text("EXPORT#pay_0190"));
    table.put_item(unknown).await;
    table.put_export(&checked_at(export_with_id(8), minutes(2))).await;
    let cursor = table.exports.check_cursors(Status::Pending).swap_remove(0);
    let found = table.exports.scheduled_checks(&cursor, minutes(3), 9).await.unwrap();
    assert_eq!((found.checks.len(), found.corrupt, found.next), (1, 1, None));
}

#[test]
fn corrupt_item_error_names_the_attribute() {
    let good = to_item(&ready_export());
    assert_eq!(from_item(&good).unwrap(), ready_export());
    for (name, value) in [
        ("status", AttributeValue::S("DONE".into())),
        ("fencingToken", AttributeValue::S("1".into())),
        ("deadline", AttributeValue::S("tomorrow".into())),
        ("recipientsCc", AttributeValue::L(vec![AttributeValue::S("x".into())])),
        ("linkExpiresAt", AttributeValue::Null(true)),
    ] {
        let mut item = good.clone();
        item.insert(name.into(), value);
        assert_eq!(
            from_item(&item).unwrap_err().to_string(),
            format!("the item's attribute {name} is missing or malformed")
        );
    }
}

fn filtered_export() -> Export {
    let filter = RowFilter {
        created_at_from: Some(start().minus(Duration::from_secs(86_400))),
        statuses: ["SETTLED", "FAILED"].map(row_status).into(),
        currencies: ["EUR"].map(|code| code.parse().unwrap()).into(),
        ..RowFilter::default()
    };
    Export { options: ExportOptions { filter, ..ExportOptions::default() }, ..export() }
}

#[test]
fn options_are_recorded() {
    assert_eq!(from_item(&to_item(&filtered_export())).unwrap(), filtered_export());
}

/// The size of an item as DynamoDB counts it (Developer Guide, "DynamoDB Item sizes and formats").
fn item_size(item: &Item) -> usize {
    fn value_size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            // At most: two digits a byte, and one byte more.
            AttributeValue::N(number) => number.len(),
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + value_size(value)).sum::<usize>(),
            AttributeValue::M(values) => {
                3 + values.iter().map(|(name, value)| 1 + name.len() + value_size(value)).sum::<usize>()
            }
            _ => 1,
        }
    }
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

/// All options, recipients and names at their limits.
fn largest_export(export_type: ExportType) -> Export {
    let definition = export_type.definition();
    let character = "\u{10000}";
    let address = |number: usize| {
        let local = format!("{number:064}");
        let domain = format!("{}.{}.{}", "x".repeat(63), "x".repeat(63), "x".repeat(61));
        address(&format!("{local}@{domain}"))
    };
    let mut caller = operator(&"t".repeat(64));
    caller.user = Person { email: address(0), name: character.repeat(100).parse().unwrap() };
    let recipients = Recipients::new(address(0), (1..=Recipients::MAX_CC).map(address)).unwrap();
    let suppliers = (0..RowFilter::MAX_SUPPLIERS).map(|number| {
        let id = format!("{number:02}{}", character.repeat(SupplierId::MAX_CHARACTERS - 2));
        id.parse().unwrap()
    });
    let filter = RowFilter {
        created_at_from: Some(start()),
        created_at_to: Some(start()),
        statuses: definition.row_statuses().collect(),
        currencies: currencies().into_iter().collect(),
        supplier_ids: suppliers.collect(),
        ..RowFilter::default()
    };
    let options = ExportOptions { filter, ..ExportOptions::default() };
    let id = ExportId::new(export_type, start(), &[7; 10]);
    let settings = settings().with_history_retention(Some(Duration::from_secs(u64::MAX)));
    Export::accept(id, &caller, recipients, options, settings, Duration::from_secs(60))
}

/// Every currency that exports can have.
fn currencies() -> Vec<Currency> {
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
    codes.filter_map(|code| code.parse().ok()).collect()
}

/// More invalid rows than a record names, with nothing valid and long ids.
fn most_invalid_rows(export_type: ExportType) -> InvalidRows {
    let columns = FileColumns::current(export_type);
    let mut row = vec![Value::Other; columns.list().len()];
    let id = "\u{10000}".repeat(300);
    row[0] = Value::Text(&id);
    let mut encoder = RowEncoder::new(&RowSelection::all(columns), 0);
    (0..30).for_each(|_| encoder.push(&row, &id));
    InvalidRows { count: u64::MAX, ..encoder.finish().invalid_rows }
}

/// Totals of every currency and status, each with more rows than a file can have and a sum of 64 bits.
fn largest_totals(export_type: ExportType) -> Totals {
    let mut totals = Totals::default();
    for currency in currencies() {
        for status in export_type.definition().row_statuses() {
            assert!(totals.add(currency, status, Total { count: u64::MAX >> 1, minor: i128::from(i64::MIN) }));
        }
    }
    totals
}

#[test]
fn largest_record_of_an_export_with_invalid_rows_is_under_64_kib() {
    for export_type in ExportType::ALL {
        let rows = most_invalid_rows(export_type);
        let export = Export { fencing_token: u64::MAX, ..largest_export(export_type) };
        let key = NewFile::invalid_rows(&export).key;
        let failure = Failure::invalid_rows(&rows, export_type.definition(), key, start());
        let export = Export { state: State::Failed { failure, file: None }, ..export };
        let size = item_size(&to_item(&export));
        assert!(size < 64 * 1024, "{export_type:?}: {size} bytes");
    }
}

#[test]
fn largest_record_of_a_resent_export_is_under_64_kib() {
    for export_type in ExportType::ALL {
        let export = Export { fencing_token: u64::MAX, ..largest_export(export_type) };
        let NewFile { key, name, .. } = NewFile::of(&export);
        let file =
            ExportFile { key, name, rows: u64::MAX, bytes: u64::MAX, totals: largest_totals(export_type), ..file() };
        // The first e-mail was rejected, for a reason of the most characters that are kept.
        let failure = Failure::email_not_sent(&"\u{10000}".repeat(300));
        let days = [start(), start().minus(Duration::from_secs(86_400))];
        let resends = days.map(|time| (time.start_of_day(), u32::MAX)).into();
        let size =
            item_size(&to_item(&Export { state: State::Failed { failure, file: Some(file) }, resends, ..export }));
        assert!(size < 64 * 1024, "{export_type:?}: {size} bytes");
    }
}

#[test]
fn largest_checkpoint_is_under_64_kib() {
    for export_type in ExportType::ALL {
        let export = Export { fencing_token: u64::MAX, ..largest_export(export_type) };
        let key = NewFile::of(&export).key;
        let Export { tenant, id, .. } = export;
        let checkpoint = Checkpoint {
            upload: Some(Upload { key, id: "x".repeat(1024) }),
            parts: u32::MAX,
            unfinished: Some(UnfinishedPart {
                key: unfinished_key(&tenant, &id, u64::MAX, u64::MAX),
                bytes: u64::MAX,
                crc64: u64::MAX,
            }),
            read_from: Some(start()),
            // The longest sort key.
            after: RowKey("x".repeat(1024)),
            rows_read: u64::MAX,
            rows_written: u64::MAX,
            bytes: u64::MAX,
            totals: largest_totals(export_type),
            sha256: vec![0; 104],
            crc64: u64::MAX,
            invalid_rows: most_invalid_rows(export_type),
            is_complete: false,
        };
        let size = item_size(&checkpoint_item(&tenant, &id, &checkpoint));
        assert!(size < 64 * 1024, "{export_type:?}: {size} bytes");
    }
}

#[test]
fn unknown_options_are_corrupt() {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let map = |name: &str, value| AttributeValue::M(Item::from([(name.to_owned(), value)]));
    for (name, value) in [
        ("version", AttributeValue::N("2".into())),
        ("version", text("1")),
        ("format", text("PARQUET")),
        ("locale", text("fr")),
        ("filter", text("all")),
        ("filter", map("country", text("FR"))),
        ("filter", map("statuses", AttributeValue::L(vec![text("PAID")]))),
        ("filter", map("statuses", AttributeValue::L(vec![AttributeValue::N("1".into())]))),
        ("filter", map("createdAtFrom", AttributeValue::N("1".into()))),
    ] {
        let mut item = to_item(&filtered_export());
        let Some(AttributeValue::M(options)) = item.get_mut("options") else { panic!("no options") };
        options.insert(name.to_owned(), value.clone());
        assert_eq!(from_item(&item), Err(ItemError("options")), "{name}: {value:?}");
    }
    for missing in ["version", "format", "filter"] {
        let mut item = to_item(&filtered_export());
        let Some(AttributeValue::M(options)) = item.get_mut("options") else { panic!("no options") };
        options.remove(missing);
        assert_eq!(from_item(&item), Err(ItemError("options")), "{missing}");
    }
}

type Attributes = HashMap<String, AttributeValue>;

fn payout(tenant: &str, id: &str, created_at: Timestamp) -> Attributes {
    let time = AttributeValue::S(created_at.to_string());
    let mut item: Attributes =
        export().columns.list().iter().map(|column| (column.attribute.to_owned(), time.clone())).collect();
    for (name, value) in [
        ("tenantId", tenant),
        ("sk", &format!("{created_at}#{id}")),
        ("payoutId", id),
        ("reference", "R"),
        ("status", "SETTLED"),
        ("currency", "EUR"),
        ("balanceAccount", "BA_MKP"),
        ("pspReference", "psp"),
        ("failureReason", "none"),
    ] {
        item.insert(name.to_owned(), AttributeValue::S(value.to_owned()));
    }
    item.insert("amountMinor".to_owned(), AttributeValue::N("1250".to_owned()));
    item.insert("orderCount".to_owned(), AttributeValue::N("3".to_owned()));
    item
}

fn every_row() -> KeyRange {
    KeyRange { after: None, up_to: RowKey("9".to_owned()) }
}

#[tokio::test]
async fn read_page_encodes_a_row_and_counts_what_it_read() {
    let table = local_tables().await;
    let mut sparse = payout("acme", "po_b", start());
    sparse.remove("pspReference");
    sparse.insert("failureReason".into(), AttributeValue::Null(true));
    sparse.insert("unknown".into(), AttributeValue::M(Attributes::new()));
    table.put_row(export().id.export_type(), sparse).await;
    let page = table.rows.read_page(&export().row_selection(), &export().tenant, &every_row()).await.unwrap();
    let time = start().to_seconds_text();
    assert_eq!(
        str::from_utf8(page.encoded.cells.csv()).unwrap(),
        format!("po_b;R;SETTLED;12.50;EUR;{time};{time};3;BA_MKP;;;{time};{time};{time};{time}\n")
    );
    assert_eq!(page.read_bytes, 4096);
}

#[tokio::test]
async fn read_page_reads_the_table_of_the_type() {
    let table = local_tables().await;
    for export_type in ExportType::ALL {
        let values = row(export_type, export_type.slug(), start());
        let mut item = HashMap::from([
            ("tenantId".to_owned(), text("acme")),
            ("sk".to_owned(), text(format!("{}#{}", start(), export_type.slug()))),
        ]);
        for (column, value) in export_type.definition().columns.iter().zip(values) {
            let attribute = match value {
                Value::Text(value) => text(value),
                Value::Number(value) => AttributeValue::N(value.to_owned()),
                Value::Missing | Value::Other => AttributeValue::Null(true),
            };
            item.insert(column.attribute.to_owned(), attribute);
        }
        table.put_row(export_type, item).await;
    }
    for export_type in ExportType::ALL {
        let selection = RowSelection::all(FileColumns::current(export_type));
        let page = table.rows.read_page(&selection, &export().tenant, &every_row()).await.unwrap();
        assert_eq!((page.encoded.rows, page.encoded.invalid_rows.count), (1, 0), "{export_type:?}");
        assert_eq!(page.first, Some(RowKey(format!("{}#{}", start(), export_type.slug()))));
    }
}

#[tokio::test]
async fn find_checkpoint_ignores_other_versions_and_corrupt_items() {
    let table = local_tables().await;
    for (name, value) in [
        ("version", AttributeValue::N("0".into())),
        ("version", AttributeValue::N("2".into())),
        ("sha256State", AttributeValue::S("x".into())),
        ("parts", AttributeValue::Null(true)),
        ("upload", AttributeValue::M(Item::new())),
        ("unfinished", AttributeValue::Null(true)),
    ] {
        let mut item = checkpoint_item(&export().tenant, &export().id, &checkpoint());
        item.insert(name.into(), value);
        table.client.put_item().table_name("Exports").set_item(Some(item)).send().await.unwrap();
        assert_eq!(table.exports.find_checkpoint(&export().tenant, &export().id).await.unwrap(), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_read_is_retried_and_reported() {
    assert_eq!(PARTITION_BYTES_PER_SECOND, 12_288_000);
    for (status, code, is_busy) in [
        (400, "ThrottlingException", true),
        (400, "ProvisionedThroughputExceededException", true),
        (500, "InternalServerError", false),
    ] {
        let calls = AtomicU32::new(0);
        let aws = StubHttpClient::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => {
                response(status, format!(r#"{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "m"}}"#))
            }
            _ => response(200, r#"{"Items": [], "Count": 0}"#),
        });
        let rows = source_tables(&aws.config());
        let page = rows.read_page(&export().row_selection(), &export().tenant, &every_row()).await.unwrap();
        // Without a statement of the units, a page counts as a full one.
        assert_eq!((page.is_source_busy, aws.requests(), page.read_bytes), (is_busy, 2, 1 << 20), "{code}");
    }
}

#[tokio::test]
async fn rejected_read_is_a_permanent_error_with_its_cause() {
    let body = r#"{"__type": "com.amazonaws.dynamodb.v20120810#ValidationException", "message": "no such attribute"}"#;
    let aws = StubHttpClient::new(move |_| response(400, body));
    let rows = source_tables(&aws.config());
    let read = rows.read_page(&export().row_selection(), &export().tenant, &every_row()).await;
    let Err(error) = read else { panic!("the read succeeded") };
    assert!(error.is_permanent());
    let error: &dyn std::error::Error = &error;
    let causes: Vec<_> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    assert!(causes.concat().contains("no such attribute"), "{causes:?}");
}

#[tokio::test]
async fn warm_up_sends_one_request() {
    let aws = StubHttpClient::new(|_| response(200, "{}"));
    ExportsTable::new(&aws.config(), "Exports".into()).warm_up().await;
    assert_eq!(aws.requests(), 1);
}
