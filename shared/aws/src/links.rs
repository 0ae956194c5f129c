//! Download links that live for days.
//!
//! A presigned URL dies with the credentials that signed it, and a function's role has credentials for hours. So links
//! are signed with the key of a user that may only read the exports' objects; Secrets Manager keeps that key.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_types::SdkConfig;
use domain::file::ExportFile;
use domain::ports::{Outage, SignLink};
use domain::time::Timestamp;
use serde::Deserialize;

use crate::clock::system_time;

/// How long a key that was read is used: a rotated one is in force everywhere after that.
const KEY_IS_FRESH: Duration = Duration::from_secs(5 * 60);

/// Signs links to the files of one bucket.
#[derive(Debug)]
pub struct LinkSigner {
    secrets: aws_sdk_secretsmanager::Client,
    secret: String,
    config: SdkConfig,
    bucket: String,
    signing: Mutex<Option<Signing>>,
}

/// A client that has the signer's key, and since when.
#[derive(Clone, Debug)]
struct Signing {
    client: aws_sdk_s3::Client,
    read_at: Timestamp,
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
        Self { secrets, secret, config: config.clone(), bucket, signing: Mutex::new(None) }
    }

    async fn client(&self, now: Timestamp) -> Result<aws_sdk_s3::Client, Outage> {
        let known = self.signing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.since(known.read_at) < KEY_IS_FRESH) {
            return Ok(known.client);
        }
        let key = self.read_key().await?;
        let credentials = Credentials::new(key.access_key_id, key.secret_access_key, None, None, "link signer");
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let signing = Signing { client: client.clone(), read_at: now };
        *self.signing.lock().unwrap_or_else(PoisonError::into_inner) = Some(signing);
        Ok(client)
    }

    async fn read_key(&self) -> Result<Key, Outage> {
        let secret = self
            .secrets
            .get_secret_value()
            .secret_id(&self.secret)
            .send()
            .await
            .map_err(|error| Outage::new("read the link signer's key", error))?;
        let text = secret.secret_string.unwrap_or_default();
        // The parser's error could quote the secret.
        serde_json::from_str(&text).map_err(|_| {
            Outage::new(
                "read the link signer's key",
                r#"the secret is not {"accessKeyId": "…", "secretAccessKey": "…"}"#,
            )
        })
    }
}

impl SignLink for LinkSigner {
    async fn sign_link(&self, file: &ExportFile, now: Timestamp, end: Timestamp) -> Result<String, Outage> {
        let outage = |source: Box<dyn std::error::Error + Send + Sync>| Outage::new("sign the link", source);
        // A link has whole seconds, and begins with the one that `now` is in.
        let life = Duration::from_secs((end.seconds() - now.seconds()).try_into().unwrap_or(0));
        let life = PresigningConfig::builder()
            .start_time(system_time(now))
            .expires_in(life)
            .build()
            .map_err(|error| outage(error.into()))?;
        let request = self
            .client(now)
            .await?
            .get_object()
            .bucket(&self.bucket)
            .key(&file.key)
            .presigned(life)
            .await
            .map_err(|error| outage(error.into()))?;
        Ok(request.uri().to_owned())
    }
}
