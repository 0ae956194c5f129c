//! Settings, clients, run.

use create_export::CreateExport;
use exports_aws::dynamodb::{ApiKeysTable, ExportsTable};
use exports_aws::queue::JobsQueue;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use exports_domain::email::AllowedDomains;
use exports_domain::export::ExportSettings;
use exports_domain::lifecycle::RE_ENQUEUE_AFTER;
use exports_http::auth::Authenticator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), exports_http::Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let keys = ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?);
    let exports = ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?);
    let queue = JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?);
    let history_retention = settings.duration("HISTORY_RETENTION")?;
    let function = CreateExport {
        callers: Authenticator::new(&keys),
        exports: &exports,
        queue: &queue,
        system: &LambdaSystem,
        settings: ExportSettings::new(
            settings.duration("LINK_LIFETIME")?,
            settings.duration("FILE_RETENTION")?,
            settings.duration("EXPORT_DEADLINE")?,
            settings.flag("BYTE_ORDER_MARK")?,
        )
        .with_history_retention(Some(history_retention).filter(|retention| !retention.is_zero())),
        re_enqueue_after: settings.duration_or("RE_ENQUEUE_AFTER", RE_ENQUEUE_AFTER)?,
        allowed: settings.parsed_or("ALLOWED_RECIPIENT_DOMAINS", AllowedDomains::default(), str::parse)?,
    };
    function.callers.warm_up().await;
    exports_http::run(async |request| function.callers.recording_use(&request, function.handle(&request)).await).await
}
