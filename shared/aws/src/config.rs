//! The configuration that all AWS clients share: region, credentials, connections, retries and time-outs.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
#[cfg(feature = "mail")]
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::settings::{SettingError, Settings};

/// ring instead of AWS-LC: half the code, and no initialization when the process starts. The system CA certificates are
/// read once per process, however many HTTPS clients there are.
const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// How long opening a connection may take. The same for all clients: the SDK shares connections only among calls with equal
/// time-outs for connecting and reading, and later calls must be able to use the connection that the warm-up opened.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pins the SDK's defaults, so that updating its crates does not change them unnoticed.
pub(crate) fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The clients' common configuration, from the environment that Lambda sets for every function.
///
/// Lambda sets the role's credentials and the region, and replaces the process before the credentials expire, so there
/// is no provider chain. Each attempt has its own time-out, because a connection that went stale while the function was
/// frozen must not block a request.
///
/// # Errors
/// [`SettingError`] if a variable that Lambda sets is missing.
pub fn sdk_config(settings: Settings) -> Result<SdkConfig, SettingError> {
    let credentials = Credentials::new(
        settings.text("AWS_ACCESS_KEY_ID")?,
        settings.text("AWS_SECRET_ACCESS_KEY")?,
        settings.optional("AWS_SESSION_TOKEN"),
        None,
        "Lambda environment",
    );
    let config = configured(credentials, settings.text("AWS_REGION")?, settings.optional("AWS_ENDPOINT_URL"));
    Ok(config.into_builder().service_config(Environment(settings)).build())
}

/// How long initialization may wait for connections and keys that it fetches ahead of the first request.
#[cfg(any(feature = "bucket", feature = "dynamodb"))]
pub(crate) const MAX_WARM_UP: Duration = Duration::from_secs(1);

/// The endpoint URL of a service, if it is not AWS's own.
#[cfg(feature = "bucket")]
pub(crate) fn endpoint_url(config: &SdkConfig, service_id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id(service_id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let service_url = config.service_config().zip(key.build().ok()).and_then(|(all, key)| all.load_config(key));
    service_url.or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Settings of one service, under AWS's names for them, such as `AWS_ENDPOINT_URL_DYNAMODB`.
#[derive(Debug)]
struct Environment(Settings);

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        self.0.optional(&format!("{}_{}", key.env(), key.service_id().to_uppercase().replace(' ', "_")))
    }
}

/// An HTTPS client that opens a new connection for every request. An idle time-out is not enough: its clock may stop
/// while Lambda freezes the process.
#[cfg(feature = "mail")]
pub(crate) fn connection_per_request() -> SharedHttpClient {
    HttpClientBuilder::new().pool_max_idle_per_host(0).tls_provider(TLS).build_https()
}

pub(crate) fn configured(credentials: Credentials, region: String, endpoint_url: Option<String>) -> SdkConfig {
    let time_outs = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(20))
        .build();
    // All clients but the mailer's share this one, and so their connections to a service.
    let https = HttpClientBuilder::new().tls_provider(TLS).build_https();
    let mut config = SdkConfig::builder()
        .behavior_version(behavior_version())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(https)
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .timeout_config(time_outs);
    config.set_endpoint_url(endpoint_url);
    config.build()
}

/// The same configuration for a service on `endpoint_url`, with test credentials.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn local(endpoint_url: String) -> SdkConfig {
    configured(Credentials::new("test", "test", None, None, "test"), "eu-west-1".to_owned(), Some(endpoint_url))
}

#[cfg(all(test, feature = "bucket"))]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Asked;

    impl LoadServiceConfig for Asked {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            Some(format!("{} {} {}", key.service_id(), key.env(), key.profile()))
        }
    }

    #[test]
    fn endpoint_of_a_service_precedes_that_of_all() {
        let config = local("http://all".to_owned());
        assert_eq!(endpoint_url(&config, "S3").as_deref(), Some("http://all"));
        let config = config.into_builder().service_config(Asked).build();
        assert_eq!(endpoint_url(&config, "S3").as_deref(), Some("S3 AWS_ENDPOINT_URL endpoint_url"));
    }

    /// Only a new process can have another environment: this test starts itself.
    #[test]
    fn endpoint_of_a_service_is_that_of_its_variable() {
        const THIS: &str = "config::tests::endpoint_of_a_service_is_that_of_its_variable";
        if std::env::var_os("AWS_ENDPOINT_URL_S3").is_some() {
            let config = sdk_config(Settings::from_env()).unwrap();
            assert_eq!(endpoint_url(&config, "S3").as_deref(), Some("http://only-s3"));
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([THIS, "--exact"]).envs([
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL_S3", "http://only-s3"),
        ]);
        assert!(child.status().unwrap().success());
    }

    #[test]
    fn setting_of_a_service_has_its_name_at_the_end() {
        // Cargo sets CARGO_PKG_NAME for every test.
        let key = ServiceConfigKey::builder().service_id("Pkg Name").env("CARGO").profile("x").build().unwrap();
        let found = Environment(Settings::from_env()).load_config(key);
        assert_eq!(found.as_deref(), Some(env!("CARGO_PKG_NAME")));
    }
}
