//! The scenarios: calls of the ports, and AWS's responses.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use exports_domain::caller::{ApiKeyRecord, KeyHash};
use exports_domain::checkpoint::{Checkpoint, UnfinishedPart};
use exports_domain::email::Recipients;
use exports_domain::error::ErrorKind;
use exports_domain::export::{Export, Lease, Pending, Progress, Status};
use exports_domain::export_type::{ExportType, FileColumns};
use exports_domain::failure::{Failure, FailureCode};
use exports_domain::file::{NewFile, unfinished_key};
use exports_domain::filter::RowFilter;
use exports_domain::history::{HistoryFilter, Order};
use exports_domain::idempotency::Idempotency;
use exports_domain::invalid_rows::InvalidRows;
use exports_domain::lifecycle::{self, CorruptFailedBy, FailedBy, RetryPolicy, Step};
use exports_domain::mail::Mail;
use exports_domain::options::{ExportOptions, FileFormat};
use exports_domain::ports::{
    ApiKeyStore as _, ExportStore as _, FileStore as _, JobQueue as _, KeyRange, MailSender as _, Part, RowKey,
    RowSource as _, Upload,
};
use exports_domain::row_selection::RowSelection;
use exports_domain::testing::{address, export, file, new_file, operator, ready_export, row_status, start, with_work};
use exports_domain::time::Timestamp;
use serde_json::json;

use super::network::{Response, without_signature};
use crate::bucket::ExportsBucket;
use crate::dynamodb::{ApiKeysTable, CheckCursor, ExportsTable, SourceTables};
use crate::mail::Mailer;
use crate::queue::JobsQueue;

/// The result of a scenario: the link, if it makes one.
type Outcome = Result<Option<String>, Box<dyn Error>>;
type Run = Box<dyn Fn(SdkConfig) -> Pin<Box<dyn Future<Output = Outcome>>>>;

/// One call of a port method.
pub(super) struct Scenario {
    /// The port method, followed by a dot and the case if there are several. Names the golden file.
    pub name: String,
    /// The life cycle function that made the step, if the method applies one.
    pub step: Option<String>,
    /// AWS's responses, in order.
    pub responses: Vec<Response>,
    /// Creates the adapter and calls the method.
    pub run: Run,
}

fn tables(config: &SdkConfig) -> (ExportsTable, SourceTables, ApiKeysTable) {
    (
        ExportsTable::new(config, "Exports".to_owned()),
        SourceTables::named(config, ExportType::ALL.map(|t| t.definition().table_setting.to_owned()).to_vec()),
        ApiKeysTable::new(config, "ApiKeys".to_owned()),
    )
}

fn exports(config: &SdkConfig) -> ExportsTable {
    tables(config).0
}

/// The start of the fourth sequence of checks.
fn check_cursor(exports: &ExportsTable, status: Status) -> CheckCursor {
    exports.check_cursors(status).swap_remove(3)
}

fn bucket(config: &SdkConfig) -> ExportsBucket {
    ExportsBucket::new(config, "exports".to_owned())
}

fn mailer(config: &SdkConfig, configuration_set: Option<&str>) -> Mailer {
    let sender = "exports@marketplace.example".to_owned();
    // `Mailer::new` would use a real HTTP client.
    Mailer::with_http_client(config.http_client().unwrap(), config, sender, configuration_set.map(str::to_owned))
}

fn ok(body: serde_json::Value) -> Response {
    Response::new(200, body.to_string())
}

fn xml(body: &str) -> Response {
    Response::new(200, format!(r#"<?xml version="1.0" encoding="UTF-8"?>{body}"#))
}

/// DynamoDB's response to a cancelled transaction, with a reason for each write.
fn cancelled(codes: &[&str]) -> Response {
    let reasons: Vec<_> = codes.iter().map(|code| json!({"Code": code})).collect();
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    Response::new(400, json!({"__type": kind, "CancellationReasons": reasons}).to_string())
        .header("x-amzn-errortype", "TransactionCanceledException")
}

/// A scenario that makes no step and returns no link.
macro_rules! scenario {
    ($name:expr, [$($response:expr),*], |$config:ident| $call:expr) => {
        Scenario {
            name: $name.to_owned(),
            step: None,
            responses: vec![$($response),*],
            run: Box::new(move |$config| Box::pin(async move {
                $call.await?;
                Ok(None)
            })),
        }
    };
}

/// Every port method that calls AWS, with every form of its requests.
pub(super) fn scenarios() -> Vec<Scenario> {
    [api_keys(), accepting(), reading(), steps(), files(), others()].into_iter().flatten().collect()
}

fn api_keys() -> Vec<Scenario> {
    let item = json!({
        "keyHash": {"S": "00".repeat(32)}, "tenantId": {"S": "acme"}, "client": {"S": "OPERATOR"},
        "email": {"S": "ann@example.com"}, "name": {"S": "Ann"}, "createdAt": {"S": start().to_string()},
    });
    let last = json!({"keyHash": {"S": "00"}, "tenantId": {"S": "acme"}, "createdAt": {"S": start().to_string()}});
    vec![
        scenario!("find_api_key", [ok(json!({}))], |config| tables(&config).2.find_api_key(&key_hash())),
        scenario!("store_api_key", [ok(json!({}))], |config| tables(&config).2.store_api_key(&ApiKeyRecord::new(
            key_hash(),
            operator("acme"),
            start()
        ))),
        scenario!("store_api_key.expiry", [ok(json!({}))], |config| async move {
            let record = ApiKeyRecord::new(key_hash(), operator("acme"), start());
            tables(&config).2.store_api_key(&ApiKeyRecord { expires_at: Some(later()), ..record }).await
        }),
        scenario!("record_api_key_use", [ok(json!({}))], |config| tables(&config)
            .2
            .record_api_key_use(&key_hash(), start().start_of_day())),
        scenario!(
            "list_api_keys",
            [ok(json!({"Items": [], "LastEvaluatedKey": last})), ok(json!({"Items": []}))],
            |config| tables(&config).2.list_api_keys(&export().tenant)
        ),
        scenario!("revoke_api_key", [ok(json!({"Attributes": item}))], |config| tables(&config)
            .2
            .revoke_api_key(&key_hash(), start())),
    ]
}

fn key_hash() -> KeyHash {
    KeyHash::from_digest([7; 32])
}

fn accepting() -> Vec<Scenario> {
    vec![
        scenario!("accept_export", [ok(json!({}))], |config| exports(&config).accept_export(&export(), None)),
        scenario!("accept_export.filter", [ok(json!({}))], |config| async move {
            let filter = RowFilter {
                created_at_from: Some(start().minus(days(7))),
                created_at_to: Some(start()),
                statuses: ["SETTLED", "FAILED"].map(row_status).into(),
                currencies: ["EUR".parse().unwrap()].into(),
                ..RowFilter::default()
            };
            let options = ExportOptions { filter, ..ExportOptions::default() };
            exports(&config).accept_export(&Export { options, ..export() }, None).await
        }),
        scenario!("accept_export.idempotency-key", [ok(json!({}))], |config| async move {
            let kept = Export { settings: export().settings.with_history_retention(Some(days(90))), ..export() };
            let idempotency = Idempotency { key: "key-hash".to_owned(), fingerprint: "fingerprint".to_owned() };
            exports(&config).accept_export(&kept, Some(&idempotency)).await
        }),
    ]
}

fn days(number: u32) -> Duration {
    Duration::from_secs(86_400) * number
}

fn reading() -> Vec<Scenario> {
    let last = json!({"tenantId": {"S": "acme"}, "sk": {"S": "EXPORT#mpo_01a11aa2-3340-7707-8707-070707070707"}});
    let next = json!({"Items": [], "Count": 0, "LastEvaluatedKey": last});
    let end = || ok(json!({"Items": [], "Count": 0}));
    let mut scenarios = vec![
        scenario!("find_export", [ok(json!({}))], |config| exports(&config)
            .find_export(&export().tenant, &export().id)),
        scenario!("find_checkpoint", [ok(json!({}))], |config| exports(&config)
            .find_checkpoint(&export().tenant, &export().id)),
        scenario!("list_exports", [end()], |config| exports(&config).list_exports(
            &export().tenant,
            &history(Vec::new()),
            None,
            20,
            start()
        )),
        scenario!("list_exports.without-bounds", [end()], |config| async move {
            let filter = HistoryFilter { created_from: None, created_to: None, ..history(Vec::new()) };
            exports(&config).list_exports(&export().tenant, &filter, None, 20, start()).await
        }),
        scenario!("list_exports.filtered", [ok(next), end()], |config| async move {
            let (filter, after) = (history(vec![Status::Failed]), export().id);
            exports(&config).list_exports(&export().tenant, &filter, Some(&after), 20, start()).await
        }),
        scenario!("scheduled_checks", [end()], |config| async move {
            let cursor = check_cursor(&exports(&config), Status::Pending);
            exports(&config).scheduled_checks(&cursor, start(), 100).await
        }),
        scenario!("scheduled_checks.next-page", [end()], |config| async move {
            let last = [
                ("tenantId", export().tenant.to_string()),
                ("sk", format!("EXPORT#{}", export().id)),
                ("nextCheckState", "READY#3".to_owned()),
                ("nextCheckAt", start().to_string()),
            ];
            let last = last.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).into();
            let cursor = CheckCursor { after: Some(last), ..check_cursor(&exports(&config), Status::Ready) };
            exports(&config).scheduled_checks(&cursor, start(), 100).await
        }),
        scenario!("read_page", [end()], |config| async move {
            let range = KeyRange { after: None, up_to: RowKey("2026-10-08T08:30:00.001Z".to_owned()) };
            tables(&config).1.read_page(&export().row_selection(), &export().tenant, &range).await
        }),
        scenario!("read_page.after", [end()], |config| async move {
            let range = KeyRange {
                after: Some(RowKey("2026-10-07T08:30:00.000Z#po_1".to_owned())),
                up_to: RowKey("2026-10-08T08:30:00.001Z".to_owned()),
            };
            tables(&config).1.read_page(&export().row_selection(), &export().tenant, &range).await
        }),
    ];
    // The other types differ in their table only.
    scenarios.extend(ExportType::ALL.into_iter().filter(|other| *other != export().id.export_type()).map(|other| {
        scenario!(format!("read_page.{}", other.slug()), [end()], |config| async move {
            let range = KeyRange { after: None, up_to: RowKey("2026-10-08T08:30:00.001Z".to_owned()) };
            let selection = RowSelection::all(FileColumns::current(other));
            tables(&config).1.read_page(&selection, &export().tenant, &range).await
        })
    }));
    scenarios
}

fn history(statuses: Vec<Status>) -> HistoryFilter {
    HistoryFilter {
        export_type: ExportType::MarketplacePayouts,
        statuses,
        created_from: Some(start().minus(days(7))),
        created_to: Some(start()),
        order: Order::NewestFirst,
    }
}

/// [`export`] while its generator holds the lease.
fn owned() -> Export {
    Export { fencing_token: 1, attempts: 1, ..with_work(export(), |pending| pending.lease = Some(lease())) }
}

const PROGRESS: Progress = Progress { rows_read: 9, rows_written: 7 };

fn lease() -> Lease {
    Lease { owner: "request-id".to_owned(), until: later() }
}

fn later() -> Timestamp {
    start().plus(Duration::from_secs(315))
}

fn much_later() -> Timestamp {
    start().plus(Duration::from_secs(3600))
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        upload: Some(upload()),
        parts: 2,
        unfinished: Some(UnfinishedPart { key: part_key(), bytes: 20, crc64: 7 }),
        read_from: Some(start()),
        after: RowKey("2026-10-08T08:30:00.000Z#po_1".to_owned()),
        rows_read: 9,
        rows_written: 7,
        bytes: 900,
        totals: file().totals,
        sha256: vec![0, 1, 255],
        crc64: u64::MAX,
        invalid_rows: InvalidRows::default(),
        is_complete: false,
    }
}

fn part_key() -> String {
    unfinished_key(&export().tenant, &export().id, 1, 9)
}

/// The file of an export to XLSX.
fn xlsx_file() -> NewFile {
    let options = ExportOptions { format: FileFormat::Xlsx, ..ExportOptions::default() };
    NewFile::of(&Export { options, fencing_token: 1, ..export() })
}

fn upload() -> Upload {
    Upload { key: file().key, id: "upload-id".to_owned() }
}

/// Every transition, with every form of its condition and update.
fn steps() -> Vec<Scenario> {
    let (now, retry) = (start(), RetryPolicy { max_attempts: 5, backoff: Vec::new(), permanent_wait: Duration::ZERO });
    let with_error = |pending: &mut Pending| pending.retry_at = Some(now.minus(Duration::from_secs(3600)));
    let after_error = with_work(export(), with_error);
    let failure = || Failure {
        code: FailureCode::GenerationFailed,
        message: "Message.".to_owned(),
        cancelled_by: None,
        invalid_rows: None,
    };
    let by_ann = Failure {
        code: FailureCode::Cancelled,
        message: "Ann cancelled the export.".to_owned(),
        cancelled_by: Some(operator("acme").user),
        invalid_rows: None,
    };
    let bob = Recipients::new(address("bob@example.com"), [address("cc@example.com")]).unwrap();
    let days_ago = |days: u64| now.minus(Duration::from_secs(days * 24 * 60 * 60)).start_of_day();
    let resent_before = Export { resends: [1, 2, 3].map(|days| (days_ago(days), 1)).into(), ..ready_export() };
    let plain: Vec<(&str, &str, Step)> = vec![
        ("release", "", lifecycle::release(&owned(), now, ErrorKind::Transient, later(), much_later())),
        ("release", "permanent", lifecycle::release(&owned(), now, ErrorKind::Permanent, later(), much_later())),
        ("record_progress", "", lifecycle::record_progress(&owned(), now, PROGRESS)),
        ("continue_later", "", lifecycle::continue_later(&owned(), now, PROGRESS, false, later())),
        ("continue_later", "advanced", lifecycle::continue_later(&owned(), now, PROGRESS, true, later())),
        ("record_file", "", lifecycle::record_file(&owned(), now, file(), 5)),
        ("ready", "", lifecycle::ready(&owned(), now, later())),
        ("fail", "owner", lifecycle::fail(&owned(), now, FailedBy::Owner, failure())),
        ("fail", "attempts-used-up", lifecycle::fail(&owned(), now, FailedBy::AttemptsUsedUp { max: 5 }, failure())),
        ("fail", "deadline-passed", lifecycle::fail(&owned(), now, FailedBy::DeadlinePassed, failure())),
        ("fail", "administrator", lifecycle::fail(&owned(), now, FailedBy::Administrator, failure())),
        ("cancel", "", lifecycle::cancel(&export(), now, by_ann.clone()).unwrap()),
        ("cancel", "leased", lifecycle::cancel(&owned(), now, by_ann).unwrap()),
        ("fail_corrupt", "deadline-passed", lifecycle::fail_corrupt(now, CorruptFailedBy::DeadlinePassed, failure())),
        ("fail_corrupt", "administrator", lifecycle::fail_corrupt(now, CorruptFailedBy::Administrator, failure())),
        ("re_enqueue", "", lifecycle::re_enqueue(&export(), now, later())),
        ("expire", "", lifecycle::expire(now, now)),
        ("count_resend", "", lifecycle::count_resend(&ready_export(), now, 10).unwrap()),
        ("count_resend", "older-days", lifecycle::count_resend(&resent_before, now, 10).unwrap()),
        ("resent", "", lifecycle::resent(now, bob, later())),
    ];
    let mut scenarios: Vec<Scenario> = plain
        .into_iter()
        .map(|(step, case, made)| applied(name("apply_step", step, case), step, made, vec![ok(json!({}))]))
        .collect();
    let rejected = || {
        Response::new(
            400,
            json!({"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}).to_string(),
        )
    };
    let acquire = |export: &Export| lifecycle::acquire(export, now, lease(), &retry).unwrap();
    for (step, case, made) in [
        ("acquire_first", "", lifecycle::acquire_first(now, lease())),
        ("acquire", "", acquire(&export())),
        ("acquire", "after-error", acquire(&after_error)),
    ] {
        scenarios.push(Scenario {
            name: name("try_step", step, case),
            step: Some(step.to_owned()),
            responses: vec![rejected()],
            run: Box::new(move |config| {
                let made = made.clone();
                Box::pin(async move {
                    exports(&config).try_step(&export().tenant, &export().id, &made).await?;
                    Ok(None)
                })
            }),
        });
    }
    // The lock names another export and is kept.
    let fail = lifecycle::fail(&owned(), now, FailedBy::Owner, failure());
    let responses = vec![cancelled(&["None", "None", "ConditionalCheckFailed"]), ok(json!({}))];
    scenarios.push(applied(name("apply_step", "fail", "lock-is-anothers"), "fail", fail, responses));
    for (step, case, made) in [
        ("advance_checkpoint", "", lifecycle::advance_checkpoint(&owned(), now, PROGRESS)),
        ("record_progress", "", lifecycle::record_progress(&owned(), now, PROGRESS)),
        ("continue_later", "", lifecycle::continue_later(&owned(), now, PROGRESS, false, later())),
        ("continue_later", "advanced", lifecycle::continue_later(&owned(), now, PROGRESS, true, later())),
    ] {
        scenarios.push(Scenario {
            name: name("apply_with_checkpoint", step, case),
            step: Some(step.to_owned()),
            responses: vec![ok(json!({}))],
            run: Box::new(move |config| {
                let made = made.clone();
                Box::pin(async move {
                    let (tenant, id) = (export().tenant, export().id);
                    exports(&config).apply_with_checkpoint(&tenant, &id, &made, &checkpoint()).await?;
                    Ok(None)
                })
            }),
        });
    }
    scenarios
}

fn name(method: &str, step: &str, case: &str) -> String {
    if case.is_empty() { format!("{method}.{step}") } else { format!("{method}.{step}-{case}") }
}

fn applied(name: String, step: &str, made: Step, responses: Vec<Response>) -> Scenario {
    Scenario {
        name,
        step: Some(step.to_owned()),
        responses,
        run: Box::new(move |config| {
            let made = made.clone();
            Box::pin(async move {
                exports(&config).apply_step(&export().tenant, &export().id, &made).await?;
                Ok(None)
            })
        }),
    }
}

fn files() -> Vec<Scenario> {
    const LINE: &[u8] = b"payout_id;reference\n";
    const CRC64: u64 = 0x1122_3344_5566_7788;
    let listed = |number: u32, more: &str| {
        xml(&format!(
            "<ListPartsResult>{more}<Part><PartNumber>{number}</PartNumber><ETag>&quot;tag&quot;</ETag><Size>5</Size></Part></ListPartsResult>"
        ))
    };
    let more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>";
    let created = "<InitiateMultipartUploadResult><UploadId>upload-id</UploadId></InitiateMultipartUploadResult>";
    let completed = "<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>";
    vec![
        scenario!("put_file", [Response::new(200, "")], |config| bucket(&config).put_file(&new_file(), LINE.to_vec())),
        scenario!("put_file.xlsx", [Response::new(200, "")], |config| bucket(&config)
            .put_file(&xlsx_file(), LINE.to_vec())),
        scenario!("start_upload", [xml(created)], |config| bucket(&config).start_upload(&new_file())),
        scenario!("start_upload.xlsx", [xml(created)], |config| bucket(&config).start_upload(&xlsx_file())),
        scenario!("upload_part", [Response::new(200, "").header("etag", "\"tag\"")], |config| bucket(&config)
            .upload_part(&upload(), 1, LINE.to_vec())),
        scenario!("list_parts", [listed(1, more), listed(2, "<IsTruncated>false</IsTruncated>")], |config| bucket(
            &config
        )
        .list_parts(&upload())),
        scenario!("complete_upload", [xml(completed)], |config| async move {
            let parts = [1, 2].map(|number| Part { number, receipt: "\"tag\"".to_owned(), bytes: 5 << 20 });
            bucket(&config).complete_upload(&upload(), &parts, 10 << 20, CRC64, Duration::from_secs(60)).await
        }),
        scenario!("abort_upload", [Response::new(204, "")], |config| bucket(&config).abort_upload(&upload())),
        scenario!("put_unfinished", [Response::new(200, "")], |config| bucket(&config)
            .put_unfinished(&part_key(), LINE.to_vec())),
        scenario!("get_unfinished", [Response::new(200, "payout_id")], |config| bucket(&config)
            .get_unfinished(&part_key())),
        scenario!("delete_unfinished", [Response::new(204, "")], |config| bucket(&config)
            .delete_unfinished(&part_key())),
        scenario!("delete_file", [Response::new(204, "")], |config| bucket(&config).delete_file(&file().key)),
        scenario!("file_size", [Response::new(200, "").header("content-length", "20")], |config| bucket(&config)
            .file_size(&file().key)),
    ]
}

fn others() -> Vec<Scenario> {
    let secret = r#"{"accessKeyId": "AKIDSIGNER", "secretAccessKey": "secret"}"#;
    let sent = || ok(json!({"MessageId": "message-id"}));
    vec![
        scenario!("enqueue", [ok(json!({"MessageId": "message-id"}))], |config| JobsQueue::new(
            &config,
            "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs".to_owned()
        )
        .enqueue(&export(), Duration::from_secs(15))),
        scenario!("send_mail", [sent()], |config| async move {
            mailer(&config, Some("mails")).send_mail(&mail(export().recipients)).await
        }),
        scenario!("send_mail.no-cc", [sent()], |config| async move {
            mailer(&config, None).send_mail(&mail(Recipients::only(address("ann@example.com")))).await
        }),
        scenario!("file_exists", [Response::new(404, "")], |config| downloads(&config).file_exists(&file().key)),
        Scenario {
            name: "sign_link".to_owned(),
            step: None,
            responses: vec![ok(json!({"SecretString": secret}))],
            run: Box::new(|config| {
                Box::pin(async move {
                    let link = downloads(&config).sign_link(&file().key, start(), later()).await?;
                    Ok(Some(without_signature(&link)))
                })
            }),
        },
    ]
}

fn downloads(config: &SdkConfig) -> ExportsBucket {
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:link-signer-AbCdEf";
    bucket(config).with_links(secret.to_owned())
}

fn mail(recipients: Recipients) -> Mail {
    Mail {
        export: export().id,
        recipients,
        subject: "Subject".to_owned(),
        text: "Text".to_owned(),
        html: "<p>Text</p>".to_owned(),
    }
}
