//! Settings, clients, run.

use std::time::Duration;

use aws::bucket::ExportsBucket;
use aws::clock::SystemClock;
use aws::dynamodb::{ExportsTable, PayoutsTable};
use aws::links::LinkSigner;
use aws::mail::Mailer;
use aws::queue::JobsQueue;
use aws::settings::Settings;
use domain::lifecycle::{RING_AFTER, Tries};
use generate_export::Generator;
use generate_export::job::Limits;
use generate_export::write_file::FileLimits;
use lambda_runtime::{Error, service_fn};

/// Small enough that three of them fit into a small function, large enough that S3's 10,000 parts hold 78 GiB: some 350
/// million payouts.
const PART_SIZE: usize = 8 * 1024 * 1024;
const MOST_PARTS: u32 = 10_000;

/// A partition gives about 12 MB/s: more readers would mostly wait, and take from the payments service.
const READERS: usize = 4;

/// What S3 may take to complete a file of many parts: "several minutes" (API Reference, CompleteMultipartUpload). Of an
/// invocation's five, an invocation that does nothing else has that long and more.
const COMPLETION_TAKES: Duration = Duration::from_secs(180);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let bucket = settings.text("EXPORTS_BUCKET")?;
    let limits = Limits {
        tries: Tries {
            most: settings.number_or("MAX_TRIES", Tries::MOST)?,
            backoff: settings.spans_or("RETRY_BACKOFF", &Tries::BACKOFF)?,
            permanent_wait: settings.span_or("PERMANENT_ERROR_WAIT", Tries::PERMANENT_WAIT)?,
        },
        lease_grace: settings.span_or("LEASE_GRACE", Duration::from_secs(15))?,
        ring_after: settings.span_or("RING_AFTER", RING_AFTER)?,
        file: FileLimits {
            part_size: settings.number_or("PART_SIZE", PART_SIZE)?,
            most_parts: settings.number_or("MOST_PARTS", MOST_PARTS)?,
            readers: settings.number_or("READERS", READERS)?,
            checkpoint_every: settings.span_or("CHECKPOINT_EVERY", Duration::from_secs(5))?,
            hand_over_before: settings.span_or("HAND_OVER_BEFORE", Duration::from_secs(45))?,
            completion_takes: settings.span_or("COMPLETION_TAKES", COMPLETION_TAKES)?,
        },
    };
    let generator = Generator {
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        bell: JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?),
        payouts: PayoutsTable::new(&config, settings.text("PAYOUTS_TABLE")?),
        files: ExportsBucket::new(&config, bucket.clone()),
        links: LinkSigner::new(&config, settings.text("LINK_SIGNER_SECRET")?, bucket),
        mailer: Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET")),
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        clock: SystemClock,
        limits,
    };
    let generator = &generator;
    lambda_runtime::run(service_fn(async |event| Ok::<_, Error>(generate_export::handle(generator, event).await))).await
}
