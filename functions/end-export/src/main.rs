//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::ExportsTable;
use aws::mail::Mailer;
use aws::settings::Settings;
use end_export::EndExport;
use lambda_runtime::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let function = &EndExport {
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        mailer: Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET")),
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        clock: SystemClock,
    };
    lambda_runtime::run(service_fn(async |event| function.handle(event).await)).await
}
