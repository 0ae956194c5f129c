//! Settings, clients, run.

use exports_aws::dynamodb::ExportsTable;
use exports_aws::mail::Mailer;
use exports_aws::queue::JobsQueue;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use exports_domain::lifecycle::{RE_ENQUEUE_AFTER, RetryPolicy};
use lambda_runtime::{Error, service_fn};
use sweep_exports::Sweeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let exports = ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?);
    let queue = JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?);
    let mail = Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET"));
    let sweeper = &Sweeper {
        exports: &exports,
        queue: &queue,
        mail: &mail,
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        system: &LambdaSystem,
        max_attempts: settings.number_or("MAX_ATTEMPTS", RetryPolicy::MAX_ATTEMPTS)?,
        re_enqueue_after: settings.duration_or("RE_ENQUEUE_AFTER", RE_ENQUEUE_AFTER)?,
    };
    lambda_runtime::run(service_fn(async |event| sweep_exports::handle(sweeper, event).await.map_err(Error::from)))
        .await
}
