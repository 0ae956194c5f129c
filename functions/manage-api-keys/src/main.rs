//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::ApiKeysTable;
use aws::settings::Settings;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use manage_api_keys::ManageApiKeys;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let keys = ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?);
    let function = &ManageApiKeys { keys, clock: SystemClock };
    lambda_runtime::run(service_fn(async |event: LambdaEvent<_>| function.handle(event.payload).await)).await
}
