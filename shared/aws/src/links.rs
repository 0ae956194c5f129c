//! Signs download links that are valid for days.
//!
//! A presigned URL expires with the credentials that signed it, and a function's role credentials last for hours. So
//! links are signed with the key of an IAM user that may only read the exports' objects. The key is in Secrets Manager.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::time::Timestamp;
use serde::Deserialize;

use crate::config::MAX_WARM_UP;
use crate::error::dependency_error;
use crate::presign::{BucketUrl, GET_OBJECT};

/// How long the signing key is cached. A rotated key is used everywhere after this time.
const KEY_CACHE_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Signs links to the files of one bucket.
#[derive(Debug)]
pub(crate) struct LinkSigner {
    secrets: aws_sdk_secretsmanager::Client,
    secret: String,
    bucket: BucketUrl,
    cached_key: Mutex<Option<CachedKey>>,
}

#[derive(Clone)]
struct CachedKey {
    key: Identity,
    read_at: Timestamp,
}

impl fmt::Debug for CachedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedKey").field("read_at", &self.read_at).finish_non_exhaustive()
    }
}

/// The secret's JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignerSecret {
    access_key_id: String,
    secret_access_key: String,
}

impl LinkSigner {
    pub(crate) fn new(config: &SdkConfig, secret: String, bucket: &str) -> Self {
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        Self { secrets, secret, bucket: BucketUrl::new(config, bucket), cached_key: Mutex::new(None) }
    }

    pub(crate) async fn warm_up(&self, now: Timestamp) {
        let _ = tokio::time::timeout(MAX_WARM_UP, self.key(now)).await;
    }

    async fn key(&self, now: Timestamp) -> Result<Identity, DependencyError> {
        let cached = self.cached_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(cached) = cached.filter(|cached| now.since(cached.read_at) < KEY_CACHE_LIFETIME) {
            return Ok(cached.key);
        }
        let SignerSecret { access_key_id, secret_access_key } = self.read_key().await?;
        let key = Identity::from(Credentials::new(access_key_id, secret_access_key, None, None, "link signer"));
        let cached = CachedKey { key: key.clone(), read_at: now };
        *self.cached_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        Ok(key)
    }

    async fn read_key(&self) -> Result<SignerSecret, DependencyError> {
        let secret = self
            .secrets
            .get_secret_value()
            .secret_id(&self.secret)
            .send()
            .await
            .map_err(|error| dependency_error("read the link signer's key", error))?;
        let text = secret.secret_string.unwrap_or_default();
        // Without the parser's error, which may quote the secret.
        serde_json::from_str(&text).map_err(|_| {
            DependencyError::permanent(
                "read the link signer's key",
                r#"the secret is not {"accessKeyId": "…", "secretAccessKey": "…"}"#,
            )
        })
    }

    /// A URL that anybody can download the file with this object key with, from `now` until `expiry`.
    pub(crate) async fn sign_link(
        &self,
        key: &str,
        now: Timestamp,
        expiry: Timestamp,
    ) -> Result<String, DependencyError> {
        let signer = self.key(now).await?;
        // SigV4 has whole seconds, and truncates `now`.
        let lifetime = Duration::from_secs((expiry.seconds() - now.seconds()).try_into().unwrap_or(0));
        let signed = self.bucket.presign(&GET_OBJECT, key, &signer, now, lifetime);
        let target = signed.map_err(|error| DependencyError::permanent("sign the link", error))?;
        Ok(format!("{}{target}", self.bucket.url))
    }
}
