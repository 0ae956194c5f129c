//! Who calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::caller::{ApiKeyRecord, Caller, ClientType, KeyHash};
use domain::ports::{FindApiKey, Outage};
use domain::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::request::Request;

/// How long an answer about a key is believed: a revoked key opens nothing any more after that, anywhere.
const BELIEVED_FOR: Duration = Duration::from_secs(45);

/// How many keys are remembered.
const MOST_KNOWN: usize = 1000;

/// How many texts that are no keys are remembered. Apart from the keys: who makes texts up cannot push a key out.
const MOST_UNKNOWN: usize = 100;

/// How long a start waits for the connection.
const LONGEST_WARM_UP: Duration = Duration::from_secs(1);

/// The length of every key.
const KEY_LENGTH: usize = 64;

/// Why a request is not carried out for its caller.
#[derive(Debug, thiserror::Error)]
pub enum NotAuthorized {
    /// No key, or one that was never issued or is revoked.
    #[error("no valid API key")]
    UnknownCaller,
    /// `dj-client` is missing or not `OPERATOR`, or the key is not an operator's.
    #[error("not an operator's call")]
    NotAnOperator,
    /// The key could not be looked up.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<NotAuthorized> for Problem {
    fn from(error: NotAuthorized) -> Self {
        match error {
            NotAuthorized::UnknownCaller => Self::Unauthenticated,
            NotAuthorized::NotAnOperator => Self::Forbidden,
            NotAuthorized::Outage(outage) => outage.into(),
        }
    }
}

/// What is stored of a key, and what it is found by.
#[must_use]
pub fn hash_of(key: &str) -> KeyHash {
    KeyHash::from_digest(Sha256::digest(key).into())
}

/// Tells callers by their keys, and remembers them for a while: a process looks a key up at most once in 45 s.
///
/// A key is found by its hash, so that how long it takes tells nothing about how near a guess is.
#[derive(Debug)]
pub struct Authenticator<K> {
    keys: K,
    known: Mutex<Recent<ApiKeyRecord>>,
    unknown: Mutex<Recent<()>>,
}

impl<K: FindApiKey> Authenticator<K> {
    /// One that looks keys up in `keys`.
    pub fn new(keys: K) -> Self {
        Self { keys, known: Mutex::new(Recent::new(MOST_KNOWN)), unknown: Mutex::new(Recent::new(MOST_UNKNOWN)) }
    }

    /// Looks up a key that nobody has, so that the connection is there before the first caller comes: a function has a
    /// whole processor while it starts, and a fraction of one in a request. What comes of it does not matter.
    pub async fn warm_up(&self) {
        // As short as a start may be: a table that does not answer is the first request's to report.
        let _ = tokio::time::timeout(LONGEST_WARM_UP, self.keys.find_api_key(&hash_of(""))).await;
    }

    /// The operator who sent the request. The logs of the request carry the tenant from here on.
    ///
    /// # Errors
    /// [`NotAuthorized`], for the key before the kind of client.
    pub async fn operator(&self, request: &Request, now: Timestamp) -> Result<Caller, NotAuthorized> {
        Ok(self.operators_key(request, now).await?.caller)
    }

    /// The same, with the key by which the operator is known.
    ///
    /// # Errors
    /// As [`operator`](Self::operator).
    pub async fn operators_key(&self, request: &Request, now: Timestamp) -> Result<ApiKeyRecord, NotAuthorized> {
        let key = request.header("dj-api-key").filter(|key| key.len() == KEY_LENGTH);
        let key = key.ok_or(NotAuthorized::UnknownCaller)?;
        let record = self.find(hash_of(key), now).await?.ok_or(NotAuthorized::UnknownCaller)?;
        if record.revoked_at.is_some() {
            return Err(NotAuthorized::UnknownCaller);
        }
        telemetry::note_tenant(&record.caller.tenant);
        let named = request.header("dj-client").and_then(|text| text.parse().ok());
        match (named, record.caller.client) {
            (Some(ClientType::Operator), ClientType::Operator) => Ok(record),
            _ => Err(NotAuthorized::NotAnOperator),
        }
    }

    async fn find(&self, hash: KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, Outage> {
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

/// What was found out lately, and when.
#[derive(Debug)]
struct Recent<V> {
    most: usize,
    entries: HashMap<KeyHash, (Timestamp, V)>,
}

impl<V: Clone> Recent<V> {
    fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new() }
    }

    fn get(&self, hash: &KeyHash, now: Timestamp) -> Option<V> {
        self.entries.get(hash).filter(|(read_at, _)| is_believed(*read_at, now)).map(|(_, value)| value.clone())
    }

    fn put(&mut self, hash: KeyHash, now: Timestamp, value: V) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&hash) {
            self.entries.retain(|_, (read_at, _)| is_believed(*read_at, now));
        }
        if self.entries.len() >= self.most && !self.entries.contains_key(&hash) {
            let oldest = self.entries.iter().min_by_key(|(_, (read_at, _))| *read_at).map(|(hash, _)| hash.clone());
            oldest.and_then(|hash| self.entries.remove(&hash));
        }
        self.entries.insert(hash, (now, value));
    }
}

/// A clock that was put back believes nothing that seems to come from the future.
fn is_believed(read_at: Timestamp, now: Timestamp) -> bool {
    read_at <= now && now.since(read_at) < BELIEVED_FOR
}

#[cfg(test)]
mod tests;
