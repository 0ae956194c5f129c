//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::{ApiKeysTable, ExportsTable};
use aws::ids::RandomExportIds;
use aws::queue::JobsQueue;
use aws::settings::Settings;
use create_export::CreateExport;
use domain::email::AllowedDomains;
use domain::export::Terms;
use domain::lifecycle::RING_AFTER;
use http::auth::Authenticator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let history_retention = settings.span("HISTORY_RETENTION")?;
    let function = CreateExport {
        callers: Authenticator::new(ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?)),
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        bell: JobsQueue::new(&config, settings.text("JOBS_QUEUE_URL")?),
        ids: RandomExportIds,
        clock: SystemClock,
        terms: Terms::new(
            settings.span("LINK_LIFE")?,
            settings.span("FILE_RETENTION")?,
            settings.span("EXPORT_DEADLINE")?,
            settings.flag("BYTE_ORDER_MARK")?,
        )
        .with_history_retention(Some(history_retention).filter(|retention| !retention.is_zero())),
        ring_after: settings.span_or("RING_AFTER", RING_AFTER)?,
        allowed: settings.parsed_or("ALLOWED_RECIPIENT_DOMAINS", AllowedDomains::default(), str::parse)?,
    };
    function.callers.warm_up().await;
    http::run(async |request| function.handle(&request).await).await
}
