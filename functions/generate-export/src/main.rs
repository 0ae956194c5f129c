//! Settings, clients, run.

use std::num::NonZeroU64;
use std::time::Duration;

use exports_aws::bucket::ExportsBucket;
use exports_aws::dynamodb::{ExportsTable, PARTITION_BYTES_PER_SECOND, SourceTables};
use exports_aws::mail::Mailer;
use exports_aws::queue::JobsQueue;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use exports_domain::lifecycle::{RE_ENQUEUE_AFTER, RetryPolicy};
use exports_domain::ports::System as _;
use generate_export::Generator;
use generate_export::limits::{FileLimits, Limits};
use lambda_runtime::{Error, service_fn};

/// Small enough that three of them fit into a small function, large enough that S3's 10,000 parts hold 78 GiB: some 350
/// million rows.
const PART_SIZE: usize = 8 * 1024 * 1024;
const MAX_PARTS: u32 = 10_000;

/// So many rows are read, written and uploaded within one invocation. A worksheet has 1,048,576 rows.
const MAX_XLSX_ROWS: u64 = 1_000_000;

/// Enough for a partition's limit of twelve full pages per second, also if a page takes a third of a second.
const READERS: usize = 4;

/// How much of a partition's limit one export may take, in percent. A tenant has at most one pending export of a type, so
/// it is the share of all exports.
const READ_SHARE: u64 = 50;

/// How long S3 may take to complete a file of many parts: "several minutes" (API Reference, CompleteMultipartUpload). Of an
/// invocation's five, an invocation that does nothing else has that long and more.
const COMPLETION_TAKES: Duration = Duration::from_secs(180);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let read_share = settings.parsed_or("READ_SHARE", READ_SHARE, |text| text.parse().map(NonZeroU64::get))?;
    let limits = Limits {
        retry: RetryPolicy {
            max_attempts: settings.number_or("MAX_ATTEMPTS", RetryPolicy::MAX_ATTEMPTS)?,
            backoff: settings.durations_or("RETRY_BACKOFF", &RetryPolicy::BACKOFF)?,
            permanent_wait: settings.duration_or("PERMANENT_ERROR_WAIT", RetryPolicy::PERMANENT_WAIT)?,
        },
        lease_grace: settings.duration_or("LEASE_GRACE", Duration::from_secs(15))?,
        re_enqueue_after: settings.duration_or("RE_ENQUEUE_AFTER", RE_ENQUEUE_AFTER)?,
        file: FileLimits {
            part_size: settings.number_or("PART_SIZE", PART_SIZE)?,
            max_parts: settings.number_or("MAX_PARTS", MAX_PARTS)?,
            max_xlsx_rows: settings.number_or("MAX_XLSX_ROWS", MAX_XLSX_ROWS)?,
            readers: settings.number_or("READERS", READERS)?,
            bytes_per_second: PARTITION_BYTES_PER_SECOND * read_share / 100,
            checkpoint_every: settings.duration_or("CHECKPOINT_EVERY", Duration::from_secs(5))?,
            continue_before: settings.duration_or("CONTINUE_BEFORE", Duration::from_secs(45))?,
            completion_takes: settings.duration_or("COMPLETION_TAKES", COMPLETION_TAKES)?,
        },
    };
    let exports = ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?);
    let queue = JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?);
    let rows = SourceTables::new(&config, settings)?;
    let files = ExportsBucket::new(&config, settings.text("EXPORTS_BUCKET")?);
    let files = files.with_links(settings.text("LINK_SIGNER_SECRET")?);
    let mail = Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET"));
    let generator = &Generator {
        exports: &exports,
        queue: &queue,
        rows: &rows,
        files: &files,
        mail: &mail,
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        system: &LambdaSystem,
        limits,
    };
    tokio::join!(exports.warm_up(), files.warm_up(LambdaSystem.now()));
    lambda_runtime::run(service_fn(async |event| Ok::<_, Error>(generate_export::handle(generator, event).await))).await
}
