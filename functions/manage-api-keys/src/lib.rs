//! Issues API keys. Has no route: only those whom IAM lets invoke the function reach it.
//!
//! `{"action": "issue", "tenantId": "acme", "email": "ann@example.com", "name": "Ann", "client": "OPERATOR"}` is answered
//! with the same and `apiKey`, the one time that the key is told: what is stored is its hash. A bad request fails the
//! invocation, and its message names every field that is wrong.

use domain::caller::{ApiKeyRecord, Caller, KeyHash, Person};
use domain::ports::{Clock, Outage, StoreApiKey};
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

/// A key that was issued.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    api_key: String,
    tenant_id: String,
    email: String,
    name: String,
    client: &'static str,
    created_at: String,
}

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// What is wrong with the request, each with the field it is about.
    #[error("bad request: {}", .0.join("; "))]
    BadRequest(Vec<String>),
    /// The key could not be made or stored.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<NotDone> for Diagnostic {
    fn from(error: NotDone) -> Self {
        let error_type = match error {
            NotDone::BadRequest(_) => "BadRequest",
            NotDone::Outage(_) => "Outage",
        };
        Self { error_type: error_type.to_owned(), error_message: telemetry::Chain(&error).to_string() }
    }
}

impl<S: StoreApiKey, C: Clock> ManageApiKeys<S, C> {
    /// Carries out one request.
    ///
    /// # Errors
    /// [`NotDone`]; nothing has been stored then, unless an outage hid that it was.
    pub async fn handle(&self, event: Value) -> Result<Issued, NotDone> {
        match request::parse(event).map_err(NotDone::BadRequest)? {
            Action::Issue(issue) => self.issue(issue).await,
        }
    }

    async fn issue(&self, Issue { tenant, email, name, client }: Issue) -> Result<Issued, NotDone> {
        let api_key = new_key()?;
        let record = ApiKeyRecord {
            hash: KeyHash::from_digest(Sha256::digest(&api_key).into()),
            caller: Caller { tenant, client, user: Person { email, name } },
            created_at: self.clock.now(),
            revoked_at: None,
        };
        self.keys.store_api_key(&record).await?;

        let ApiKeyRecord { caller: Caller { tenant, user, client }, created_at, .. } = record;
        info!(tenantId = %tenant, client = client.as_str(), "API key issued");
        Ok(Issued {
            api_key,
            tenant_id: tenant.to_string(),
            email: user.email.to_string(),
            name: user.name.as_str().to_owned(),
            client: client.as_str(),
            created_at: created_at.to_string(),
        })
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
