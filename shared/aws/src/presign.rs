//! Presigned requests for objects of the exports bucket.
//!
//! They are made with the SDK's signer, not with its client of S3: that would be a fifth of the binary of a route that
//! does no more than make a link and look whether a file is there.

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

/// The longest that S3 lets a presigned URL live.
const MAX_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// An operation of S3 on one object: its method, and the query string that the SDK sends with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    query: &'static str,
}

/// Reads an object.
pub(crate) const GET_OBJECT: Operation = Operation { method: "GET", query: "?x-id=GetObject" };

/// Looks whether an object is there.
pub(crate) const HEAD_OBJECT: Operation = Operation { method: "HEAD", query: "" };

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    region: String,
    /// The bucket's address, without a slash at its end.
    pub(crate) url: String,
}

impl Place {
    /// The bucket of this name.
    pub(crate) fn new(config: &SdkConfig, bucket: &str) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let url = match endpoint_url(config, "S3") {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => {
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                // The certificate is for one label in front of S3's own name.
                if bucket.contains('.') {
                    format!("https://s3.{region}.{domain}/{bucket}")
                } else {
                    format!("https://{bucket}.s3.{region}.{domain}")
                }
            }
        };
        Self { region, url }
    }

    /// What to put behind the bucket's address, so that whoever has it can carry out `operation` on the object with this
    /// key, for `life` from `now` on.
    pub(crate) fn presigned(
        &self,
        operation: Operation,
        key: &str,
        signer: &Identity,
        now: Timestamp,
        life: Duration,
    ) -> Result<String, Box<dyn Error + Send + Sync>> {
        if life > MAX_LIFE {
            return Err(format!("{} s are more than S3 lets a link live", life.as_secs()).into());
        }
        let key = label::fmt_string(key, label::EncodingStrategy::Greedy);
        let mut target = format!("/{key}{}", operation.query);
        let url = format!("{}{target}", self.url);
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(life);
        settings.signature_location = SignatureLocation::QueryParams;
        // S3 takes a path as it is.
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

    /// The link that the SDK's client of S3 makes.
    async fn link_of_the_sdk(config: &SdkConfig, bucket: &str, key: &str, now: Timestamp, life: Duration) -> String {
        let config = aws_sdk_s3::config::Builder::from(config)
            .credentials_provider(SharedCredentialsProvider::new(credentials()))
            .build();
        let life = PresigningConfig::builder().start_time(system_time(now)).expires_in(life).build().unwrap();
        let request = aws_sdk_s3::Client::from_conf(config).get_object().bucket(bucket).key(key);
        request.presigned(life).await.unwrap().uri().to_owned()
    }

    #[tokio::test]
    async fn link_is_the_one_that_the_sdk_makes() {
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
            // In front of an endpoint's address the client puts even a name with dots.
            let dotted = config.endpoint_url().is_none().then_some("exports.example.com");
            for bucket in ["exports-123456789012-eu-west-1"].into_iter().chain(dotted) {
                for key in keys {
                    for life in [Duration::from_secs(1), Duration::from_secs(900), MAX_LIFE] {
                        let place = Place::new(config, bucket);
                        let target = place.presigned(GET_OBJECT, key, &credentials().into(), now, life).unwrap();
                        let link = format!("{}{target}", place.url);
                        assert_eq!(link, link_of_the_sdk(config, bucket, key, now, life).await);
                    }
                }
            }
        }
    }

    #[test]
    fn link_that_s3_would_refuse_is_not_made() {
        let place = Place::new(&in_region("eu-west-1"), "exports");
        let now = Timestamp::from_millis(1_791_448_200_123);
        let life = MAX_LIFE + Duration::from_secs(1);
        let refused = place.presigned(GET_OBJECT, "a.csv", &credentials().into(), now, life);
        assert!(refused.is_err_and(|error| error.to_string().contains("604801 s")));
    }
}
