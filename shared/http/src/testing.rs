//! What the tests of every route begin with: the sample events, and the caller they come from.
//!
//! Only tests may depend on it (feature `testing`).
#![expect(clippy::unwrap_used, reason = "a sample that cannot be read should end the test that asked for it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use domain::caller::{ApiKeyRecord, Caller};
use domain::testing::{MemoryStore, start};
use serde_json::Value;

use crate::auth::{Authenticator, hash_of};
use crate::{Problem, Request, Success, serve};

/// The API key that the sample events carry.
pub const KEY: &str = "0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjkmnpqrstvwxyz";

/// An authenticator that knows [`KEY`] as the key of `caller`.
#[must_use]
pub fn callers(caller: Caller) -> Authenticator<MemoryStore> {
    let keys = MemoryStore::default();
    keys.put_api_key(ApiKeyRecord { hash: hash_of(KEY), caller, created_at: start(), revoked_at: None });
    Authenticator::new(keys)
}

/// How long a function may work on a sample event.
const LIMIT: Duration = Duration::from_secs(10);

fn events(function: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).join(function)
}

/// The names of a function's sample events.
#[must_use]
pub fn sample_events(function: &str) -> BTreeSet<String> {
    let files = fs::read_dir(events(function)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The answer to one of a function's sample events, as API Gateway gets it, with the body read as JSON.
pub async fn answer_to<E: Into<Problem>>(
    function: &str,
    event: &str,
    handler: impl AsyncFn(Request) -> Result<Success, E>,
) -> Value {
    answer_to_changed(function, event, |_| {}, handler).await
}

/// The answer to one of a function's sample events, as `change` leaves it.
pub async fn answer_to_changed<E: Into<Problem>>(
    function: &str,
    event: &str,
    change: impl FnOnce(&mut Value),
    handler: impl AsyncFn(Request) -> Result<Success, E>,
) -> Value {
    let event = fs::read(events(function).join(format!("{event}.json"))).unwrap();
    let mut event = serde_json::from_slice(&event).unwrap();
    change(&mut event);
    let answer = serve(serde_json::from_value(event).unwrap(), LIMIT, handler).await;
    let mut answer = serde_json::to_value(answer).unwrap();
    if let Some(body) = answer.get_mut("body") {
        *body = serde_json::from_str(body.as_str().unwrap()).unwrap();
    }
    answer
}

/// Holds an answer's body against an example of the API's description: its examples are real answers.
///
/// # Panics
/// If they differ.
pub fn assert_is_documented(answer: &Value, example: &str) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../functions/describe-api/openapi.json");
    let document: Value = serde_json::from_slice(&fs::read(document).unwrap()).unwrap();
    let documented = document.pointer(&format!("/components/examples/{example}/value"));
    let body = answer.get("body").unwrap();
    assert_eq!(documented, Some(body), "the answer to put into openapi.json as {example}: {body:#}");
}
