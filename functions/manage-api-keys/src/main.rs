//! Settings, clients, run.

use exports_aws::dynamodb::ApiKeysTable;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use manage_api_keys::ManageApiKeys;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let keys = ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?);
    let function = &ManageApiKeys { keys: &keys, system: &LambdaSystem };
    lambda_runtime::run(service_fn(async |event: LambdaEvent<_>| function.handle(event.payload).await)).await
}
