//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::{ApiKeysTable, ExportsTable};
use aws::settings::Settings;
use http::auth::Authenticator;
use list_exports::ListExportHistory;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let function = ListExportHistory {
        callers: Authenticator::new(ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?)),
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        clock: SystemClock,
    };
    function.callers.warm_up().await;
    http::run(async |request| function.handle(&request).await).await
}
