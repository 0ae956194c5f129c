//! Settings, clients, run.

use cancel_export::CancelExport;
use exports_aws::bucket::ExportsBucket;
use exports_aws::dynamodb::{ApiKeysTable, ExportsTable};
use exports_aws::mail::Mailer;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use exports_http::auth::Authenticator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), exports_http::Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let keys = ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?);
    let exports = ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?);
    let files = ExportsBucket::new(&config, settings.text("EXPORTS_BUCKET")?);
    let mail = Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET"));
    let function = CancelExport {
        callers: Authenticator::new(&keys),
        exports: &exports,
        files: &files,
        mail: &mail,
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        system: &LambdaSystem,
    };
    function.callers.warm_up().await;
    exports_http::run(async |request| function.callers.recording_use(&request, function.handle(&request)).await).await
}
