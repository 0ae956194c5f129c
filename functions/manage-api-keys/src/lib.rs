//! Issues, lists and revokes API keys. Has no route: only those whom IAM lets invoke the function reach it.
//!
//! | request | answer |
//! |---|---|
//! | `{"action": "issue", "tenantId": "acme", "email": "ann@example.com", "name": "Ann", "client": "OPERATOR"}` | the key's facts, and `apiKey` |
//! | `{"action": "list", "tenantId": "acme"}` | `{"tenantId": …, "apiKeys": […]}`, the facts of every key, the oldest first; a key issued a moment ago may not be there yet |
//! | `{"action": "revoke", "keyId": …}` | the key's facts; again: the same, with the time of the first revocation |
//!
//! A key's facts are `keyId`, `tenantId`, `email`, `name`, `client`, `createdAt`, and `revokedAt` once it is revoked. A
//! revoked key opens nothing any more within a minute. `apiKey` is told this one time: what is stored is its hash.
//! `keyId` is that hash, the SHA-256 of the key in lower-case hexadecimal digits: whoever finds a key in the wrong place
//! can work its `keyId` out and revoke it. It is no secret, because no key can be made from it.
//!
//! A bad request fails the invocation, and its message names every field that is wrong.

use domain::caller::{ApiKeyRecord, Caller, KeyHash, Person};
use domain::id::TenantId;
use domain::ports::{Clock, ListApiKeys, Outage, RevokeApiKey, StoreApiKey};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::info;

mod request;

use request::{Action, Issue};

/// Manages API keys.
#[derive(Debug)]
pub struct ManageApiKeys<S, C> {
    /// The keys' records.
    pub keys: S,
    /// Tells the time.
    pub clock: C,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Done {
    /// A key was issued.
    #[serde(rename_all = "camelCase")]
    Issued {
        /// The key itself.
        api_key: String,
        /// Its facts.
        #[serde(flatten)]
        facts: Facts,
    },
    /// A tenant's keys were listed.
    #[serde(rename_all = "camelCase")]
    Listed {
        /// The tenant.
        tenant_id: String,
        /// The facts of its keys.
        api_keys: Vec<Facts>,
    },
    /// A key was revoked, now or before.
    Revoked(Facts),
}

/// What is told of a key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    key_id: String,
    tenant_id: String,
    email: String,
    name: String,
    client: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl From<ApiKeyRecord> for Facts {
    fn from(record: ApiKeyRecord) -> Self {
        let ApiKeyRecord { hash, caller: Caller { tenant, user, client }, created_at, revoked_at } = record;
        Self {
            key_id: hash.as_str().to_owned(),
            tenant_id: tenant.to_string(),
            email: user.email.to_string(),
            name: user.name.as_str().to_owned(),
            client: client.as_str(),
            created_at: created_at.to_string(),
            revoked_at: revoked_at.map(|time| time.to_string()),
        }
    }
}

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// What is wrong with the request, each with the field it is about.
    #[error("bad request: {}", .0.join("; "))]
    BadRequest(Vec<String>),
    /// No key has this id.
    #[error("bad request: keyId: no such key")]
    NoSuchKey,
    /// The key could not be made, or the keys not be reached.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<NotDone> for Diagnostic {
    fn from(error: NotDone) -> Self {
        let error_type = match error {
            NotDone::BadRequest(_) | NotDone::NoSuchKey => "BadRequest",
            NotDone::Outage(_) => "Outage",
        };
        Self { error_type: error_type.to_owned(), error_message: telemetry::Chain(&error).to_string() }
    }
}

impl<S, C> ManageApiKeys<S, C>
where
    S: StoreApiKey + ListApiKeys + RevokeApiKey,
    C: Clock,
{
    /// Carries out one request.
    ///
    /// # Errors
    /// [`NotDone`]; nothing has been changed then, unless an outage hid that it was.
    pub async fn handle(&self, event: Value) -> Result<Done, NotDone> {
        match request::parse(event).map_err(NotDone::BadRequest)? {
            Action::Issue(issue) => self.issue(issue).await,
            Action::List(tenant) => self.list(tenant).await,
            Action::Revoke(hash) => self.revoke(hash).await,
        }
    }

    async fn issue(&self, Issue { tenant, email, name, client }: Issue) -> Result<Done, NotDone> {
        let api_key = new_key()?;
        let record = ApiKeyRecord {
            hash: KeyHash::from_digest(Sha256::digest(&api_key).into()),
            caller: Caller { tenant, client, user: Person { email, name } },
            created_at: self.clock.now(),
            revoked_at: None,
        };
        self.keys.store_api_key(&record).await?;
        info!(tenantId = %record.caller.tenant, client = client.as_str(), "API key issued");
        Ok(Done::Issued { api_key, facts: record.into() })
    }

    async fn list(&self, tenant: TenantId) -> Result<Done, NotDone> {
        let records = self.keys.list_api_keys(&tenant).await?;
        let tenant_id = tenant.to_string();
        Ok(Done::Listed { tenant_id, api_keys: records.into_iter().map(Facts::from).collect() })
    }

    async fn revoke(&self, hash: KeyHash) -> Result<Done, NotDone> {
        let record = self.keys.revoke_api_key(&hash, self.clock.now()).await?.ok_or(NotDone::NoSuchKey)?;
        info!(tenantId = %record.caller.tenant, "API key revoked");
        Ok(Done::Revoked(record.into()))
    }
}

/// A new key: 64 characters of 5 random bits each.
///
/// Its letters and digits are those that are not taken for one another and that no shell, URL or header treats
/// specially (Crockford's base 32, in lower case).
fn new_key() -> Result<String, Outage> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0_u8; 64];
    getrandom::fill(&mut random).map_err(|error| Outage::new("make an API key", error))?;
    Ok(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).copied().map(char::from).collect())
}

#[cfg(test)]
mod tests;
