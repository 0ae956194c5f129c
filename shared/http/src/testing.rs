//! Test support for the routes: sample events and their caller. Only tests may enable the feature `testing`.
#![expect(clippy::unwrap_used, reason = "an invalid sample fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use exports_domain::caller::{ApiKeyRecord, Caller};
use exports_domain::testing::{MemoryStore, start};
use serde_json::Value;

use crate::auth::hash_of;
use crate::{ApiError, Request, Success, serve};

/// The API key of the sample events.
pub const KEY: &str = "0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjkmnpqrstvwxyz";

/// A store in which [`KEY`] belongs to `caller`.
#[must_use]
pub fn keys(caller: Caller) -> MemoryStore {
    let keys = MemoryStore::default();
    keys.put_api_key(ApiKeyRecord::new(hash_of(KEY), caller, start()));
    keys
}

/// The time limit of a handler.
const LIMIT: Duration = Duration::from_millis(28_500);

fn events(function: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).join(function)
}

/// The names of a function's sample events.
#[must_use]
pub fn sample_events(function: &str) -> BTreeSet<String> {
    let files = fs::read_dir(events(function)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The response to a sample event of a function, with its body parsed as JSON.
pub async fn response_to(
    function: &str,
    event: &str,
    handler: impl AsyncFn(Request) -> Result<Success, ApiError>,
) -> Value {
    response_to_changed(function, event, |_| {}, handler).await
}

/// The response to a sample event that `change` modifies first.
pub async fn response_to_changed(
    function: &str,
    event: &str,
    change: impl FnOnce(&mut Value),
    handler: impl AsyncFn(Request) -> Result<Success, ApiError>,
) -> Value {
    let event = fs::read(events(function).join(format!("{event}.json"))).unwrap();
    let mut event = serde_json::from_slice(&event).unwrap();
    change(&mut event);
    let response = serve(serde_json::from_value(event).unwrap(), LIMIT, handler).await;
    let mut response = serde_json::to_value(response).unwrap();
    if let Some(body) = response.get_mut("body") {
        *body = serde_json::from_str(body.as_str().unwrap()).unwrap();
    }
    response
}

/// Asserts that an example in the OpenAPI document is the body of this response.
///
/// # Panics
/// If they differ.
pub fn assert_is_documented(response: &Value, example: &str) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../functions/describe-api/openapi.json");
    let document: Value = serde_json::from_slice(&fs::read(document).unwrap()).unwrap();
    let documented = document.pointer(&format!("/components/examples/{example}/value"));
    let body = response.get("body").unwrap();
    assert_eq!(documented, Some(body), "openapi.json, example {example} should be: {body:#}");
}
