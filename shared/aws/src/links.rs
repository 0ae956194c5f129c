//! Download links that live for days.
//!
//! A presigned URL dies with the credentials that signed it, and a function's role has credentials for hours. So links
//! are signed with the key of a user that may only read the exports' objects; Secrets Manager keeps that key.
//!
//! A test holds every link to the one that the SDK's client of S3 makes.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::file::ExportFile;
use exports_domain::ports::FileLinks;
use exports_domain::time::Timestamp;
use serde::Deserialize;

use crate::config::MAX_WARM_UP;
use crate::error::dependency_error;
use crate::files::StoredFiles;
use crate::presign::{GET_OBJECT, Place};

/// How long a key that was read is used: a rotated one is in force everywhere after that.
const KEY_IS_FRESH: Duration = Duration::from_secs(5 * 60);

/// The files of one bucket, for those who download them.
#[derive(Debug)]
pub struct Downloads {
    files: StoredFiles,
    signer: LinkSigner,
}

impl Downloads {
    /// The files of `bucket`. The signing key is in `secret` (name or ARN).
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: &str, secret: String) -> Self {
        Self { files: StoredFiles::new(config, bucket), signer: LinkSigner::new(config, secret, bucket) }
    }

    /// Connects to S3 and reads the signing key while the function starts, when it has a whole CPU. Errors are ignored.
    pub async fn warm_up(&self, now: Timestamp) {
        tokio::join!(self.files.warm_up(), self.signer.warm_up(now));
    }
}

#[async_trait]
impl FileLinks for Downloads {
    async fn file_exists(&self, file: &ExportFile) -> Result<bool, DependencyError> {
        self.files.exists(&file.key).await
    }

    async fn sign_link(&self, file: &ExportFile, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError> {
        self.signer.sign_link(file, now, expiry).await
    }
}

/// Signs links to the files of one bucket.
#[derive(Debug)]
struct LinkSigner {
    secrets: aws_sdk_secretsmanager::Client,
    secret: String,
    place: Place,
    signing: Mutex<Option<Signing>>,
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
    fn new(config: &SdkConfig, secret: String, bucket: &str) -> Self {
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        Self { secrets, secret, place: Place::new(config, bucket), signing: Mutex::new(None) }
    }

    /// Reads the key before the first link is wanted, while the function starts. What comes of it does not matter.
    async fn warm_up(&self, now: Timestamp) {
        // As short as a start may be: a secret that is not answered for is the first request's to report.
        let _ = tokio::time::timeout(MAX_WARM_UP, self.key(now)).await;
    }

    async fn key(&self, now: Timestamp) -> Result<Identity, DependencyError> {
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

    async fn read_key(&self) -> Result<Key, DependencyError> {
        let secret = self
            .secrets
            .get_secret_value()
            .secret_id(&self.secret)
            .send()
            .await
            .map_err(|error| dependency_error("read the link signer's key", error))?;
        let text = secret.secret_string.unwrap_or_default();
        // The parser's error could quote the secret.
        serde_json::from_str(&text).map_err(|_| {
            DependencyError::permanent(
                "read the link signer's key",
                r#"the secret is not {"accessKeyId": "…", "secretAccessKey": "…"}"#,
            )
        })
    }
}

impl LinkSigner {
    async fn sign_link(&self, file: &ExportFile, now: Timestamp, end: Timestamp) -> Result<String, DependencyError> {
        let signer = self.key(now).await?;
        // A link has whole seconds, and begins with the one that `now` is in.
        let life = Duration::from_secs((end.seconds() - now.seconds()).try_into().unwrap_or(0));
        let signed = self.place.presigned(GET_OBJECT, &file.key, &signer, now, life);
        let target = signed.map_err(|error| DependencyError::permanent("sign the link", error))?;
        Ok(format!("{}{target}", self.place.url))
    }
}
