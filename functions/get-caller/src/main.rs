//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::ApiKeysTable;
use aws::settings::Settings;
use get_caller::GetCaller;
use http::auth::Authenticator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let callers = Authenticator::new(ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?));
    let function = GetCaller { callers, clock: SystemClock };
    function.callers.warm_up().await;
    http::run(async |request| function.handle(&request).await).await
}
