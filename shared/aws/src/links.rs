//! Download links that live for days.
//!
//! A presigned URL dies with the credentials that signed it, and a function's role has credentials for hours. So links
//! are signed with the key of a user that may only read the exports' objects; Secrets Manager keeps that key.
//!
//! A link is made with the SDK's signer, not with its client of S3: that would be a fifth of the binary of a route that
//! sends S3 nothing. A test holds every link to the one that the client makes.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http::{label, query};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use domain::file::ExportFile;
use domain::ports::{Outage, SignLink};
use domain::time::Timestamp;
use serde::Deserialize;

use crate::clock::system_time;
use crate::config::endpoint_url;
use crate::error::outage;

/// How long a key that was read is used: a rotated one is in force everywhere after that.
const KEY_IS_FRESH: Duration = Duration::from_secs(5 * 60);

/// How long a start waits for the key.
const LONGEST_WARM_UP: Duration = Duration::from_secs(1);

/// What S3 takes at most: seven days.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Signs links to the files of one bucket.
#[derive(Debug)]
pub struct LinkSigner {
    secrets: aws_sdk_secretsmanager::Client,
    secret: String,
    place: Place,
    signing: Mutex<Option<Signing>>,
}

/// Where the files are.
#[derive(Clone, Debug)]
struct Place {
    region: String,
    /// The bucket's address, without a slash at its end.
    url: String,
}

/// The signer's key, and since when it is known.
#[derive(Clone)]
struct Signing {
    key: Identity,
    read_at: Timestamp,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("read_at", &self.read_at).finish_non_exhaustive()
    }
}

/// The secret's text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

impl LinkSigner {
    /// A signer whose key is in `secret` (name or ARN), for the files of `bucket`.
    #[must_use]
    pub fn new(config: &SdkConfig, secret: String, bucket: String) -> Self {
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        Self { secrets, secret, place: Place::new(config, &bucket), signing: Mutex::new(None) }
    }

    /// Reads the key before the first link is wanted, while the function starts. What comes of it does not matter.
    pub async fn warm_up(&self, now: Timestamp) {
        // As short as a start may be: a secret that is not answered for is the first request's to report.
        let _ = tokio::time::timeout(LONGEST_WARM_UP, self.key(now)).await;
    }

    async fn key(&self, now: Timestamp) -> Result<Identity, Outage> {
        let known = self.signing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.since(known.read_at) < KEY_IS_FRESH) {
            return Ok(known.key);
        }
        let Key { access_key_id, secret_access_key } = self.read_key().await?;
        let key = Identity::from(Credentials::new(access_key_id, secret_access_key, None, None, "link signer"));
        let signing = Signing { key: key.clone(), read_at: now };
        *self.signing.lock().unwrap_or_else(PoisonError::into_inner) = Some(signing);
        Ok(key)
    }

    async fn read_key(&self) -> Result<Key, Outage> {
        let secret = self
            .secrets
            .get_secret_value()
            .secret_id(&self.secret)
            .send()
            .await
            .map_err(|error| outage("read the link signer's key", error))?;
        let text = secret.secret_string.unwrap_or_default();
        // The parser's error could quote the secret.
        serde_json::from_str(&text).map_err(|_| {
            Outage::permanent(
                "read the link signer's key",
                r#"the secret is not {"accessKeyId": "…", "secretAccessKey": "…"}"#,
            )
        })
    }
}

impl Place {
    fn new(config: &SdkConfig, bucket: &str) -> Self {
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

    /// A link to the object with this key, good for `life` from `now` on.
    fn link(&self, key: &str, signer: &Identity, now: Timestamp, life: Duration) -> Result<String, Outage> {
        let outage = |source: Box<dyn std::error::Error + Send + Sync>| Outage::permanent("sign the link", source);
        if life > LONGEST_LIFE {
            return Err(outage(format!("{} s are more than S3 lets a link live", life.as_secs()).into()));
        }
        let key = label::fmt_string(key, label::EncodingStrategy::Greedy);
        let mut url = format!("{}/{key}?x-id=GetObject", self.url);
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
            .build()
            .map_err(|error| outage(error.into()))?;
        let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::UnsignedPayload)
            .map_err(|error| outage(error.into()))?;
        let signed = sign(request, &params.into()).map_err(|error| outage(error.into()))?;
        for (name, value) in signed.output().params() {
            url = format!("{url}&{name}={}", query::fmt_string(value));
        }
        Ok(url)
    }
}

impl SignLink for LinkSigner {
    async fn sign_link(&self, file: &ExportFile, now: Timestamp, end: Timestamp) -> Result<String, Outage> {
        let signer = self.key(now).await?;
        // A link has whole seconds, and begins with the one that `now` is in.
        let life = Duration::from_secs((end.seconds() - now.seconds()).try_into().unwrap_or(0));
        self.place.link(&file.key, &signer, now, life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{configured, local};
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
                    for life in [Duration::from_secs(1), Duration::from_secs(900), LONGEST_LIFE] {
                        let link = Place::new(config, bucket).link(key, &credentials().into(), now, life).unwrap();
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
        let refused = place.link("a.csv", &credentials().into(), now, LONGEST_LIFE + Duration::from_secs(1));
        assert!(refused.is_err_and(|outage| outage.to_string().contains("sign the link")));
    }
}
