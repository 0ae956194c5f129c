//! Settings, clients, run.

use aws::clock::SystemClock;
use aws::dynamodb::{ApiKeysTable, ExportsTable};
use aws::files::StoredFiles;
use aws::links::LinkSigner;
use aws::mail::Mailer;
use aws::settings::Settings;
use domain::email::AllowedDomains;
use domain::ports::Clock as _;
use http::auth::Authenticator;
use resend_email::{MOST_RESENDS_A_DAY, ResendEmail};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), http::Error> {
    telemetry::init();
    let settings = Settings::from_env();
    let config = aws::sdk_config(settings)?;
    let bucket = settings.text("EXPORTS_BUCKET")?;
    let function = ResendEmail {
        callers: Authenticator::new(ApiKeysTable::new(&config, settings.text("API_KEYS_TABLE")?)),
        exports: ExportsTable::new(&config, settings.text("EXPORTS_TABLE")?),
        files: StoredFiles::new(&config, bucket.clone()),
        links: LinkSigner::new(&config, settings.text("LINK_SIGNER_SECRET")?, bucket),
        mailer: Mailer::new(&config, settings.text("SENDER")?, settings.optional("MAIL_CONFIGURATION_SET")),
        back_office: settings.parsed_or("BACK_OFFICE_URL", None, |text| text.parse().map(Some))?,
        clock: SystemClock,
        most_a_day: settings.number_or("MAX_RESENDS_A_DAY", MOST_RESENDS_A_DAY)?,
        allowed: settings.parsed_or("ALLOWED_RECIPIENT_DOMAINS", AllowedDomains::default(), str::parse)?,
    };
    tokio::join!(function.callers.warm_up(), function.files.warm_up(), function.links.warm_up(SystemClock.now()));
    http::run(async |request| function.handle(&request).await).await
}
