//! Authentication by API key.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exports_domain::caller::{ApiKeyRecord, Caller, ClientType, KeyHash};
use exports_domain::error::DependencyError;
use exports_domain::ports::ApiKeyStore;
use exports_domain::time::Timestamp;
use exports_telemetry::Chain;
use futures_util::future::{Either, select};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tracing::warn;

use crate::api_error::ApiError;
use crate::request::Request;

/// How long a lookup is cached. A revoked key is rejected everywhere after this time.
const CACHE_TTL: Duration = Duration::from_secs(45);

/// How many keys are cached.
const MAX_KNOWN: usize = 1000;

/// How many unknown keys are cached. They have a cache of their own, so that guessed keys do not evict real ones.
const MAX_UNKNOWN: usize = 100;

/// How long a cold start waits for the connection to the table.
const MAX_WARM_UP: Duration = Duration::from_secs(1);

/// How long a response waits at most for the record of its key's use.
const MAX_RECORD_USE: Duration = Duration::from_millis(250);

/// The number of characters in an API key.
const KEY_LENGTH: usize = 64;

/// The first use of a key on a day, as far as this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    hash: KeyHash,
    day: Timestamp,
}

/// Why a caller is rejected.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The key is missing, unknown, expired or revoked.
    #[error("no valid API key")]
    UnknownCaller,
    /// `dj-client` is missing or not `OPERATOR`, or the key is not an operator's.
    #[error("the caller is not an operator")]
    Forbidden,
    /// The key could not be looked up.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::UnknownCaller => Self::Unauthenticated,
            AuthError::Forbidden => Self::Forbidden,
            AuthError::Dependency(error) => error.into(),
        }
    }
}

/// The hash under which a key is stored and looked up.
#[must_use]
pub fn hash_of(key: &str) -> KeyHash {
    KeyHash::from_digest(Sha256::digest(key).into())
}

/// Authenticates callers by API key. Each lookup is cached for 45 seconds.
///
/// Keys are looked up by hash, so timing does not reveal how close a guess is.
#[derive(Debug)]
pub struct Authenticator<'a, K> {
    keys: &'a K,
    known: Mutex<Cache<ApiKeyRecord>>,
    unknown: Mutex<Cache<()>>,
}

impl<'a, K: ApiKeyStore> Authenticator<'a, K> {
    /// Creates an authenticator with empty caches.
    #[must_use]
    pub fn new(keys: &'a K) -> Self {
        Self { keys, known: Mutex::new(Cache::new(MAX_KNOWN)), unknown: Mutex::new(Cache::new(MAX_UNKNOWN)) }
    }

    /// Opens the connection to the table by looking up a key that does not exist. Lambda gives a function a full CPU
    /// during initialization, but only a fraction of one during a request. Errors are ignored.
    pub async fn warm_up(&self) {
        // If the table does not respond, the first request reports it.
        let _ = timeout(MAX_WARM_UP, self.keys.find_api_key(&hash_of(""))).await;
    }

    /// Authenticates the operator who sent the request, and adds the tenant to the request's log lines.
    ///
    /// # Errors
    /// [`AuthError`]. The key is checked before the client type.
    pub async fn operator(&self, request: &Request, now: Timestamp) -> Result<Caller, AuthError> {
        Ok(self.operator_key(request, now).await?.caller)
    }

    /// Like [`operator`](Self::operator), but returns the whole record of the key.
    ///
    /// # Errors
    /// As [`operator`](Self::operator).
    pub async fn operator_key(&self, request: &Request, now: Timestamp) -> Result<ApiKeyRecord, AuthError> {
        let key = request.header("dj-api-key").filter(|key| key.len() == KEY_LENGTH);
        let key = key.ok_or(AuthError::UnknownCaller)?;
        let record = self.find(hash_of(key), now).await?.ok_or(AuthError::UnknownCaller)?;
        if !record.is_valid_at(now) {
            return Err(AuthError::UnknownCaller);
        }
        self.note_use(request, &record, now.start_of_day());
        exports_telemetry::record_tenant(&record.caller.tenant);
        let client = request.header("dj-client").and_then(|text| text.parse().ok());
        match (client, record.caller.client) {
            (Some(ClientType::Operator), ClientType::Operator) => Ok(record),
            _ => Err(AuthError::Forbidden),
        }
    }

    /// Runs the handler of a request while the day on which the key is used is recorded, unless it already is.
    ///
    /// The write starts with the handler's first call after the authentication, and ends before the response: Lambda
    /// freezes the process then. It is abandoned after 250 ms. Neither an error nor a time-out affects the request.
    pub async fn recording_use<T>(&self, request: &Request, handler: impl Future<Output = T>) -> T {
        let record = async { self.record_use(request.key_use.wait().await).await };
        match select(pin!(handler), pin!(record)).await {
            Either::Left((response, record)) => {
                if request.key_use.initialized() {
                    record.await;
                }
                response
            }
            Either::Right(((), handler)) => handler.await,
        }
    }

    /// Notes that the use of the key has to be recorded, once for each cached lookup and day.
    fn note_use(&self, request: &Request, record: &ApiKeyRecord, today: Timestamp) {
        if record.last_used_on < Some(today) {
            lock(&self.known).change(&record.hash, |cached| cached.last_used_on = Some(today));
            // A request has one caller.
            let _ = request.key_use.set(KeyUse { hash: record.hash.clone(), day: today });
        }
    }

    async fn record_use(&self, key_use: &KeyUse) {
        match timeout(MAX_RECORD_USE, self.keys.record_api_key_use(&key_use.hash, key_use.day)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %Chain(&error), "the use of the API key was not recorded"),
            Err(_) => warn!("the use of the API key was not recorded in time"),
        }
    }

    async fn find(&self, hash: KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, DependencyError> {
        if let Some(record) = lock(&self.known).get(&hash, now) {
            return Ok(Some(record));
        }
        if lock(&self.unknown).get(&hash, now).is_some() {
            return Ok(None);
        }
        let found = self.keys.find_api_key(&hash).await?;
        match &found {
            Some(record) => lock(&self.known).put(hash, now, record.clone()),
            None => lock(&self.unknown).put(hash, now, ()),
        }
        Ok(found)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Recent lookups, each with its time.
#[derive(Debug)]
struct Cache<V> {
    capacity: usize,
    entries: HashMap<KeyHash, (Timestamp, V)>,
}

impl<V: Clone> Cache<V> {
    fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new() }
    }

    fn get(&self, hash: &KeyHash, now: Timestamp) -> Option<V> {
        self.entries.get(hash).filter(|(read_at, _)| is_fresh(*read_at, now)).map(|(_, value)| value.clone())
    }

    fn change(&mut self, hash: &KeyHash, change: impl FnOnce(&mut V)) {
        if let Some((_, value)) = self.entries.get_mut(hash) {
            change(value);
        }
    }

    fn put(&mut self, hash: KeyHash, now: Timestamp, value: V) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&hash) {
            self.entries.retain(|_, (read_at, _)| is_fresh(*read_at, now));
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&hash) {
            let oldest = self.entries.iter().min_by_key(|(_, (read_at, _))| *read_at).map(|(hash, _)| hash.clone());
            oldest.and_then(|hash| self.entries.remove(&hash));
        }
        self.entries.insert(hash, (now, value));
    }
}

/// An entry from the future, after the clock was set back, is stale.
fn is_fresh(read_at: Timestamp, now: Timestamp) -> bool {
    read_at <= now && now.since(read_at) < CACHE_TTL
}

#[cfg(test)]
mod tests;
