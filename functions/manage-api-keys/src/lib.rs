//! Issues, lists and revokes API keys. It has no route: only IAM principals may invoke it.
//!
//! | request | response |
//! |---|---|
//! | `{"action": "issue", "tenantId": "acme", "email": "ann@example.com", "name": "Ann", "client": "OPERATOR"}` | the key's metadata, and `apiKey` |
//! | `{"action": "list", "tenantId": "acme"}` | `{"tenantId": …, "apiKeys": […]}`: the metadata of every key, oldest first; eventually consistent |
//! | `{"action": "revoke", "keyId": …}` | the key's metadata; a repeated request returns the time of the first revocation |
//! | `{"action": "revoke-person", "tenantId": "acme", "email": "ann@example.com"}` | as `list`, for the keys of this person, all of them revoked now |
//! | `{"action": "revoke-tenant", "tenantId": "acme"}` | as `list`, all keys revoked now |
//!
//! `issue` may have `expiresAt`: a time, or a date, whose whole day (UTC) the key is valid. Without it, the key never
//! expires.
//!
//! The metadata of a key is `keyId`, `tenantId`, `email`, `name`, `client`, `createdAt`, and, if there is one, `expiresAt`,
//! `lastUsedOn` (the last day, in UTC, on which a use was recorded) and `revokedAt`. A revoked key is rejected everywhere within a minute. `apiKey` is returned once; only its hash is stored.
//! `keyId` is that hash: the SHA-256 of the key in lower-case hexadecimal digits. It is not a secret, because the key
//! cannot be derived from it. The `keyId` of a leaked key can be computed, so that the key can be revoked.
//!
//! An invalid request fails the invocation with a message that names every invalid field.

use exports_domain::caller::{ApiKeyRecord, Caller, KeyHash, Person};
use exports_domain::error::DependencyError;
use exports_domain::id::TenantId;
use exports_domain::ports::{ApiKeyStore, System};
use exports_domain::time::Timestamp;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::info;

mod request;

use request::{Action, Issue};

/// Issues, lists and revokes API keys.
pub struct ManageApiKeys<'a, K> {
    /// Where keys are kept.
    pub keys: &'a K,
    /// The clock.
    pub system: &'a dyn System,
}

/// The response to a valid request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// The new key.
    #[serde(rename_all = "camelCase")]
    Issued {
        /// The key in plain text.
        api_key: String,
        /// Its metadata.
        #[serde(flatten)]
        metadata: KeyMetadata,
    },
    /// A tenant's keys, or those that were revoked.
    #[serde(rename_all = "camelCase")]
    Listed {
        /// The tenant.
        tenant_id: String,
        /// The metadata of its keys.
        api_keys: Vec<KeyMetadata>,
    },
    /// The revoked key.
    Revoked(KeyMetadata),
}

/// The metadata of a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyMetadata {
    key_id: String,
    tenant_id: String,
    email: String,
    name: String,
    client: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl From<ApiKeyRecord> for KeyMetadata {
    fn from(record: ApiKeyRecord) -> Self {
        let ApiKeyRecord { hash, caller, created_at, expires_at, last_used_on, revoked_at } = record;
        let Caller { tenant, user, client } = caller;
        Self {
            key_id: hash.as_str().to_owned(),
            tenant_id: tenant.to_string(),
            email: user.email.to_string(),
            name: user.name.as_str().to_owned(),
            client: client.as_str(),
            created_at: created_at.to_string(),
            expires_at: expires_at.map(|time| time.to_string()),
            last_used_on: last_used_on.map(Timestamp::to_date_text),
            revoked_at: revoked_at.map(|time| time.to_string()),
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The validation errors of the request.
    #[error("bad request: {}", .0.join("; "))]
    BadRequest(Vec<String>),
    /// There is no key with this id.
    #[error("bad request: keyId: unknown key")]
    UnknownKey,
    /// The table or the system's randomness failed.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

impl From<ManageError> for Diagnostic {
    fn from(error: ManageError) -> Self {
        let error_type = match &error {
            ManageError::BadRequest(_) | ManageError::UnknownKey => "BadRequest",
            ManageError::Dependency(error) if error.is_permanent() => "PermanentError",
            ManageError::Dependency(_) => "TransientError",
        };
        Self { error_type: error_type.to_owned(), error_message: exports_telemetry::Chain(&error).to_string() }
    }
}

impl<K: ApiKeyStore> ManageApiKeys<'_, K> {
    /// Handles one request.
    ///
    /// # Errors
    /// [`ManageError`]. Nothing was changed, unless the error is a lost response to the write, or some of several keys
    /// are revoked: the request can be repeated.
    pub async fn handle(&self, event: Value) -> Result<Response, ManageError> {
        match request::parse(event).map_err(ManageError::BadRequest)? {
            Action::Issue(issue) => self.issue(issue).await,
            Action::List(tenant) => self.list(tenant).await,
            Action::Revoke(hash) => self.revoke(hash).await,
            Action::RevokePerson(tenant, email) => {
                self.revoke_all(tenant, |key| key.caller.user.email.is_same_mailbox(&email)).await
            }
            Action::RevokeTenant(tenant) => self.revoke_all(tenant, |_| true).await,
        }
    }

    async fn issue(&self, issue: Issue) -> Result<Response, ManageError> {
        let Issue { tenant, email, name, client, expires_at } = issue;
        let now = self.system.now();
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(ManageError::BadRequest(vec!["expiresAt: must be in the future".to_owned()]));
        }
        let api_key = new_key()?;
        let hash = KeyHash::from_digest(Sha256::digest(&api_key).into());
        let caller = Caller { tenant, client, user: Person { email, name } };
        let record = ApiKeyRecord { expires_at, ..ApiKeyRecord::new(hash, caller, now) };
        self.keys.store_api_key(&record).await?;
        info!(tenantId = %record.caller.tenant, client = client.as_str(), "API key issued");
        Ok(Response::Issued { api_key, metadata: record.into() })
    }

    async fn list(&self, tenant: TenantId) -> Result<Response, ManageError> {
        let records = self.keys.list_api_keys(&tenant).await?;
        let tenant_id = tenant.to_string();
        Ok(Response::Listed { tenant_id, api_keys: records.into_iter().map(KeyMetadata::from).collect() })
    }

    async fn revoke(&self, hash: KeyHash) -> Result<Response, ManageError> {
        let record = self.keys.revoke_api_key(&hash, self.system.now()).await?.ok_or(ManageError::UnknownKey)?;
        info!(tenantId = %record.caller.tenant, "API key revoked");
        Ok(Response::Revoked(record.into()))
    }

    async fn revoke_all(
        &self,
        tenant: TenantId,
        is_chosen: impl Fn(&ApiKeyRecord) -> bool,
    ) -> Result<Response, ManageError> {
        let mut api_keys = Vec::new();
        for key in self.keys.list_api_keys(&tenant).await?.into_iter().filter(is_chosen) {
            api_keys.extend(self.keys.revoke_api_key(&key.hash, self.system.now()).await?.map(KeyMetadata::from));
        }
        info!(tenantId = %tenant, keys = api_keys.len(), "API keys revoked");
        Ok(Response::Listed { tenant_id: tenant.to_string(), api_keys })
    }
}

/// Generates a key: 64 characters with 5 random bits each.
///
/// The alphabet is Crockford's base 32 in lower case. It has no look-alikes and needs no escaping in shells, URLs and
/// headers.
fn new_key() -> Result<String, DependencyError> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0_u8; 64];
    getrandom::fill(&mut random).map_err(|error| DependencyError::transient("make an API key", error))?;
    Ok(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).copied().map(char::from).collect())
}

#[cfg(test)]
mod tests;
