//! Settings, clients, run.

use exports_aws::dynamodb::ApiKeysTable;
use exports_aws::settings::Settings;
use exports_aws::system::LambdaSystem;
use exports_http::auth::Authenticator;
use get_caller::GetCaller;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), exports_http::Error> {
    exports_telemetry::init();
    let settings = Settings::from_env();
    let config = exports_aws::sdk_config(settings)?;
    let keys = ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?);
    let function = GetCaller { callers: Authenticator::new(&keys), system: &LambdaSystem };
    function.callers.warm_up().await;
    exports_http::run(async |request| function.callers.recording_use(&request, function.handle(&request)).await).await
}
