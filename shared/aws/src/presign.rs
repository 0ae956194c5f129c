//! Presigns requests for objects of the exports bucket.
//!
//! With the SDK's signer instead of its S3 client, which would be a fifth of the binary of a route that only signs
//! links, checks whether files exist or deletes them. AWS's SDK for Java presigns all of these operations (`S3Presigner`).
//! A test compares the links with those of the S3 client.

use std::borrow::Cow;
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
#[derive(Clone, Debug)]
pub(crate) struct ObjectOperation {
    pub(crate) method: &'static str,
    query: Cow<'static, str>,
}

impl ObjectOperation {
    const fn new(method: &'static str, query: &'static str) -> Self {
        Self { method, query: Cow::Borrowed(query) }
    }
}

pub(crate) const GET_OBJECT: ObjectOperation = ObjectOperation::new("GET", "?x-id=GetObject");

pub(crate) const HEAD_OBJECT: ObjectOperation = ObjectOperation::new("HEAD", "");

pub(crate) const DELETE_OBJECT: ObjectOperation = ObjectOperation::new("DELETE", "?x-id=DeleteObject");

pub(crate) fn abort_multipart_upload(upload_id: &str) -> ObjectOperation {
    let query = format!("?x-id=AbortMultipartUpload&uploadId={}", query::fmt_string(upload_id));
    ObjectOperation { method: "DELETE", query: query.into() }
}

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
        operation: &ObjectOperation,
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
    use crate::testing::{StubHttpClient, response};
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_s3::presigning::PresigningConfig;

    /// Of an upload or a version.
    const ID: &str = "a b+c/ü&d=e?f%g~._-";

    fn credentials() -> Credentials {
        let token = Some("IQoJb3JpZ2luX2VjEXAMPLE+/==".to_owned());
        Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token, None, "test")
    }

    fn in_region(region: &str) -> SdkConfig {
        configured(credentials(), region.to_owned(), None)
    }

    fn sdk_client(config: &SdkConfig) -> aws_sdk_s3::Client {
        let credentials = SharedCredentialsProvider::new(credentials());
        aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(config).credentials_provider(credentials).build(),
        )
    }

    /// Operations, and the links to them that the SDK's S3 client signs.
    async fn sdk_links(
        config: &SdkConfig,
        bucket: &str,
        key: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> [(ObjectOperation, String); 4] {
        let client = sdk_client(config);
        let presigning = PresigningConfig::builder().start_time(system_time(now)).expires_in(lifetime).build().unwrap();
        let get = client.get_object().bucket(bucket).key(key).presigned(presigning.clone()).await.unwrap();
        let head = client.head_object().bucket(bucket).key(key).presigned(presigning.clone()).await.unwrap();
        let delete = client.delete_object().bucket(bucket).key(key);
        // It presigns no request with an upload's ID. A version's is encoded in the same way.
        let versioned = delete.clone().version_id(ID).presigned(presigning.clone()).await.unwrap();
        let abort = abort_multipart_upload(ID).query.replace("AbortMultipartUpload&uploadId", "DeleteObject&versionId");
        let delete = delete.presigned(presigning).await.unwrap();
        let with_id = ObjectOperation { query: abort.into(), ..DELETE_OBJECT };
        [(GET_OBJECT, get), (HEAD_OBJECT, head), (DELETE_OBJECT, delete), (with_id, versioned)].map(
            |(operation, request)| {
                assert_eq!((request.method(), request.headers().count()), (operation.method, 0));
                (operation, request.uri().to_owned())
            },
        )
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
        let keys = [
            "exports/acme/mpo_01a11aa2-3340-7707-8707-070707070707/1.csv",
            "a b/ü+&=?%/~._-:@,;'()*!$/x.csv",
            "a//b/./../c.csv",
        ];
        for config in &configs {
            // For an endpoint URL, the SDK uses even a name with dots as a subdomain.
            let dotted = config.endpoint_url().is_none().then_some("exports.example.com");
            for bucket in ["exports-123456789012-eu-west-1"].into_iter().chain(dotted) {
                for key in keys {
                    for lifetime in [Duration::from_secs(1), Duration::from_secs(900), MAX_LIFETIME] {
                        let bucket_url = BucketUrl::new(config, bucket);
                        for (operation, sdk_link) in sdk_links(config, bucket, key, now, lifetime).await {
                            let signer = credentials().into();
                            let target = bucket_url.presign(&operation, key, &signer, now, lifetime).unwrap();
                            assert_eq!(format!("{}{target}", bucket_url.url), sdk_link);
                        }
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn abort_has_the_method_and_url_of_the_sdk() {
        let config = in_region("eu-west-1");
        let bucket_url = BucketUrl::new(&config, "exports");
        let operation = abort_multipart_upload(ID);
        let now = Timestamp::from_millis(1_791_448_200_123);
        let target = bucket_url.presign(&operation, "a b.csv", &credentials().into(), now, MAX_LIFETIME).unwrap();
        let (method, link) = (operation.method, format!("{}{target}", bucket_url.url));
        let aws = StubHttpClient::new(move |sent| {
            assert_eq!((sent.method(), Some(sent.uri())), (method, link.split("&X-Amz-").next()));
            response(204, "")
        });
        let client = sdk_client(&config.into_builder().http_client(aws.clone()).build());
        client.abort_multipart_upload().bucket("exports").key("a b.csv").upload_id(ID).send().await.unwrap();
        assert_eq!(aws.requests(), 1);
    }

    #[test]
    fn presign_for_more_than_seven_days_is_an_error() {
        let bucket_url = BucketUrl::new(&in_region("eu-west-1"), "exports");
        let now = Timestamp::from_millis(1_791_448_200_123);
        let lifetime = MAX_LIFETIME + Duration::from_secs(1);
        let rejected = bucket_url.presign(&GET_OBJECT, "a.csv", &credentials().into(), now, lifetime);
        assert!(rejected.is_err_and(|error| error.to_string().contains("604801 s")));
    }
}
