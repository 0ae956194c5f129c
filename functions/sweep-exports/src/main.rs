//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::ExportsTable;
use aws::mail::Mailer;
use aws::queue::JobsQueue;
use aws::settings::Settings;
use domain::lifecycle::{RING_AFTER, Tries};
use lambda_runtime::{Error, service_fn};
use sweep_exports::Sweeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let sweeper = Sweeper {
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        bell: JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?),
        mailer: Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET")),
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        clock: SystemClock,
        most_tries: settings.number_or("MAX_TRIES", Tries::MOST)?,
        ring_after: settings.span_or("RING_AFTER", RING_AFTER)?,
    };
    let sweeper = &sweeper;
    lambda_runtime::run(service_fn(async |event| sweep_exports::handle(sweeper, event).await.map_err(Error::from)))
        .await
}
