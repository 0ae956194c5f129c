//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::{ApiKeysTable, ExportsTable};
use aws::files::StoredFiles;
use aws::links::LinkSigner;
use aws::settings::Settings;
use domain::ports::Clock as _;
use get_export::GetExport;
use http::auth::Authenticator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let bucket = settings.text("EXPORTS_BUCKET")?;
    let function = GetExport {
        callers: Authenticator::new(ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?)),
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        files: StoredFiles::new(&config, bucket.clone()),
        links: LinkSigner::new(&config, settings.text("LINK_SIGNER_SECRET")?, bucket),
        clock: SystemClock,
    };
    tokio::join!(function.callers.warm_up(), function.files.warm_up(), function.links.warm_up(SystemClock.now()));
    http::run(async |request| function.handle(&request).await).await
}
