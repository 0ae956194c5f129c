//! Presigns requests for objects of the exports bucket.
//!
//! With the SDK's signer instead of its S3 client, which would be a fifth of the binary of a route that only signs
//! links and checks whether files exist. A test compares the links with those of the S3 client.

use std::error::Error;
use std::time::Duration;

use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http::{label, query};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use exports_domain::time::Timestamp;

use crate::config::endpoint_url;
use crate::system::system_time;

/// S3's limit for presigned URLs (User Guide, "Download and upload objects with presigned URLs").
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// An S3 operation on one object: its method, and the query string that the SDK sends with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectOperation {
    pub(crate) method: &'static str,
    query: &'static str,
}

pub(crate) const GET_OBJECT: ObjectOperation = ObjectOperation { method: "GET", query: "?x-id=GetObject" };

pub(crate) const HEAD_OBJECT: ObjectOperation = ObjectOperation { method: "HEAD", query: "" };

/// The URL and region of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct BucketUrl {
    region: String,
    /// Without a trailing slash.
    pub(crate) url: String,
}

impl BucketUrl {
    pub(crate) fn new(config: &SdkConfig, bucket: &str) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let url = match endpoint_url(config, "S3") {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => {
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                // S3's wildcard certificate does not match bucket names with dots.
                if bucket.contains('.') {
                    format!("https://s3.{region}.{domain}/{bucket}")
                } else {
                    format!("https://{bucket}.s3.{region}.{domain}")
                }
            }
        };
        Self { region, url }
    }

    /// The path and query of a presigned request for the object with this key, relative to [`Self::url`]. Valid for
    /// `lifetime` from `now`.
    ///
    /// # Errors
    /// If `lifetime` is more than 7 days, or the request cannot be signed.
    pub(crate) fn presign(
        &self,
        operation: ObjectOperation,
        key: &str,
        signer: &Identity,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, Box<dyn Error + Send + Sync>> {
        if lifetime > MAX_LIFETIME {
            return Err(format!("a link lifetime of {} s exceeds S3's limit of 7 days", lifetime.as_secs()).into());
        }
        let key = label::fmt_string(key, label::EncodingStrategy::Greedy);
        let mut target = format!("/{key}{}", operation.query);
        let url = format!("{}{target}", self.url);
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(lifetime);
        settings.signature_location = SignatureLocation::QueryParams;
        // S3 does not normalize or double-encode paths.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = SigningParams::builder()
            .identity(signer)
            .region(&self.region)
            .name("s3")
            .time(system_time(now))
            .settings(settings)
            .build()?;
        let body = SignableBody::UnsignedPayload;
        let request = SignableRequest::new(operation.method, url.as_str(), std::iter::empty(), body)?;
        let signed = sign(request, &params.into())?;
        let mut separator = if operation.query.is_empty() { '?' } else { '&' };
        for (name, value) in signed.output().params() {
            target = format!("{target}{separator}{name}={}", query::fmt_string(value));
            separator = '&';
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{configured, local};
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_s3::presigning::PresigningConfig;

    fn credentials() -> Credentials {
        Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, None, "test")
    }

    fn in_region(region: &str) -> SdkConfig {
        configured(credentials(), region.to_owned(), None)
    }

    /// The link that the SDK's S3 client signs.
    async fn sdk_link(config: &SdkConfig, bucket: &str, key: &str, now: Timestamp, lifetime: Duration) -> String {
        let config = aws_sdk_s3::config::Builder::from(config)
            .credentials_provider(SharedCredentialsProvider::new(credentials()))
            .build();
        let presigning = PresigningConfig::builder().start_time(system_time(now)).expires_in(lifetime).build().unwrap();
        let request = aws_sdk_s3::Client::from_conf(config).get_object().bucket(bucket).key(key);
        request.presigned(presigning).await.unwrap().uri().to_owned()
    }

    #[tokio::test]
    async fn presigned_link_equals_the_sdk_link() {
        let now = Timestamp::from_millis(1_791_448_200_123);
        let configs = [
            in_region("eu-west-1"),
            in_region("us-east-1"),
            in_region("cn-north-1"),
            in_region("us-gov-west-1"),
            local("http://127.0.0.1:4566".to_owned()),
        ];
        let keys = ["exports/acme/mpo_01a11aa2-3340-7707-8707-070707070707/1.csv", "a b/ü+&=?%/~._-:@,;'()*!$/x.csv"];
        for config in &configs {
            // For an endpoint URL, the SDK uses even a name with dots as a subdomain.
            let dotted = config.endpoint_url().is_none().then_some("exports.example.com");
            for bucket in ["exports-123456789012-eu-west-1"].into_iter().chain(dotted) {
                for key in keys {
                    for lifetime in [Duration::from_secs(1), Duration::from_secs(900), MAX_LIFETIME] {
                        let bucket_url = BucketUrl::new(config, bucket);
                        let target = bucket_url.presign(GET_OBJECT, key, &credentials().into(), now, lifetime).unwrap();
                        let link = format!("{}{target}", bucket_url.url);
                        assert_eq!(link, sdk_link(config, bucket, key, now, lifetime).await);
                    }
                }
            }
        }
    }

    #[test]
    fn presign_for_more_than_seven_days_is_an_error() {
        let bucket_url = BucketUrl::new(&in_region("eu-west-1"), "exports");
        let now = Timestamp::from_millis(1_791_448_200_123);
        let lifetime = MAX_LIFETIME + Duration::from_secs(1);
        let rejected = bucket_url.presign(GET_OBJECT, "a.csv", &credentials().into(), now, lifetime);
        assert!(rejected.is_err_and(|error| error.to_string().contains("604801 s")));
    }
}
