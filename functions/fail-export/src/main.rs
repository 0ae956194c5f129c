//! Settings, clients, run.

use exports_aws::dynamodb::ExportsTable;
use exports_aws::mail::Mailer;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use fail_export::FailExport;
use lambda_runtime::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let exports = ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?);
    let mail = Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET"));
    let function = &FailExport {
        exports: &exports,
        mail: &mail,
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        system: &LambdaSystem,
    };
    lambda_runtime::run(service_fn(async |event| function.handle(event).await)).await
}
