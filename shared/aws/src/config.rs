//! What all clients share: region, credentials, retries and time-outs.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use crate::settings::{SettingError, Settings};

/// The SDK's defaults as of this date: an update of the crates changes nothing unseen.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The clients' common configuration, from what Lambda gives every function.
///
/// Lambda puts the role's credentials and the region into the environment and replaces the process before they run
/// out, so no chain of providers is looked through. An attempt has its own time-out: a connection that went stale while
/// the function was frozen must not hold a request.
///
/// # Errors
/// [`SettingError`] outside a Lambda environment.
pub fn sdk_config(settings: Settings) -> Result<SdkConfig, SettingError> {
    let credentials = Credentials::new(
        settings.text("AWS_ACCESS_KEY_ID")?,
        settings.text("AWS_SECRET_ACCESS_KEY")?,
        settings.optional("AWS_SESSION_TOKEN"),
        None,
        "Lambda environment",
    );
    Ok(configured(credentials, settings.text("AWS_REGION")?, settings.optional("AWS_ENDPOINT_URL")))
}

fn configured(credentials: Credentials, region: String, endpoint_url: Option<String>) -> SdkConfig {
    let time_outs = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(20))
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(behavior_version())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .timeout_config(time_outs);
    config.set_endpoint_url(endpoint_url);
    config.build()
}

/// The same for a service that runs in the test's own process.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn local(endpoint_url: String) -> SdkConfig {
    configured(Credentials::new("test", "test", None, None, "test"), "eu-west-1".to_owned(), Some(endpoint_url))
}
