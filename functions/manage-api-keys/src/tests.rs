use std::fs;
use std::path::Path;

use domain::testing::{FixedClock, MemoryStore, operator, start};
use serde_json::json;

use super::*;

type Fake = ManageApiKeys<MemoryStore, FixedClock>;

fn function() -> Fake {
    ManageApiKeys { keys: MemoryStore::default(), clock: FixedClock::default() }
}

fn sample(name: &str) -> Value {
    let events = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/manage-api-keys"));
    serde_json::from_slice(&fs::read(events.join(format!("{name}.json"))).unwrap()).unwrap()
}

async fn message(function: &Fake, event: Value) -> String {
    Diagnostic::from(function.handle(event).await.unwrap_err()).error_message
}

#[tokio::test]
async fn issued_key_is_told_once_and_only_its_hash_is_stored() {
    let function = function();
    let issued = serde_json::to_value(function.handle(sample("issue")).await.unwrap()).unwrap();
    let key = issued["apiKey"].as_str().unwrap();
    assert_eq!(
        issued,
        json!({
            "apiKey": key,
            "keyId": KeyHash::from_digest(Sha256::digest(key).into()).as_str(),
            "tenantId": "acme",
            "email": "ann@example.com",
            "name": "Ann",
            "client": "OPERATOR",
            "createdAt": "2026-10-08T08:30:00.000Z",
        })
    );
    let hash = KeyHash::from_digest(Sha256::digest(key).into());
    let record = ApiKeyRecord { hash, caller: operator("acme"), created_at: start(), revoked_at: None };
    assert_eq!(function.keys.api_keys(), [record]);
}

#[test]
fn keys_are_64_plain_characters_that_use_the_whole_alphabet_and_never_repeat() {
    let keys: Vec<String> = (0..100).map(|_| new_key().unwrap()).collect();
    for key in &keys {
        assert_eq!(key.len(), 64);
        assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{key}");
    }
    assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
    let letters: std::collections::HashSet<char> = keys.iter().flat_map(|key| key.chars()).collect();
    assert_eq!(letters.len(), 32);
}

fn record(key: &str, tenant: &str) -> ApiKeyRecord {
    let hash = KeyHash::from_digest(Sha256::digest(key).into());
    ApiKeyRecord { hash, caller: operator(tenant), created_at: start(), revoked_at: None }
}

async fn answer(function: &Fake, event: Value) -> Value {
    serde_json::to_value(function.handle(event).await.unwrap()).unwrap()
}

#[tokio::test]
async fn list_tells_the_keys_of_one_tenant_without_the_keys() {
    let function = function();
    let issued = answer(&function, sample("issue")).await;
    function.clock.advance(std::time::Duration::from_secs(1));
    function.keys.put_api_key(record("other", "other"));
    let second = answer(&function, sample("issue")).await;
    let listed = answer(&function, sample("list")).await;
    let facts = |issued: &Value| {
        let mut facts = issued.clone();
        facts.as_object_mut().unwrap().remove("apiKey");
        facts
    };
    assert_eq!(listed, json!({"tenantId": "acme", "apiKeys": [facts(&issued), facts(&second)]}));
}

#[tokio::test]
async fn list_of_a_tenant_without_keys_is_empty() {
    let listed = answer(&function(), sample("list")).await;
    assert_eq!(listed, json!({"tenantId": "acme", "apiKeys": []}));
}

#[tokio::test]
async fn revoked_key_stays_revoked_since_the_first_time() {
    let function = function();
    // The sample revokes the key that all sample requests carry.
    let key = "0123456789abcdefghjkmnpqrstvwxyz".repeat(2);
    function.keys.put_api_key(record(&key, "acme"));
    let first = answer(&function, sample("revoke")).await;
    assert_eq!((&first["revokedAt"], &first["tenantId"]), (&json!("2026-10-08T08:30:00.000Z"), &json!("acme")));
    assert_eq!(first.get("apiKey"), None);
    function.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(answer(&function, sample("revoke")).await, first);
    assert_eq!(function.keys.api_keys()[0].revoked_at, Some(start()));
}

#[tokio::test]
async fn key_that_was_never_issued_cannot_be_revoked() {
    let function = function();
    assert_eq!(message(&function, sample("revoke")).await, "bad request: keyId: no such key");
    let bad = json!({"action": "revoke", "keyId": "0123456789ABCDEF", "tenantId": "acme"});
    let told = message(&function, bad).await;
    assert!(
        told.contains("keyId: not the hash of a key") && told.contains("tenantId: there is no such field"),
        "{told}"
    );
}

#[tokio::test]
async fn bad_request_names_every_field_that_is_wrong() {
    let function = function();
    let message = message(&function, sample("issue-with-faults")).await;
    assert!(message.starts_with("bad request: tenantId: a tenant id has"), "{message}");
    for field in ["email: an address has", "name: missing", "client: not a client type", "key: there is no such field"]
    {
        assert!(message.contains(&format!("; {field}")), "{message}");
    }
    assert_eq!(function.keys.api_keys(), []);
}

#[tokio::test]
async fn request_of_another_shape_is_refused_with_what_is_expected() {
    let function = function();
    for (event, expected) in [
        (json!(null), "bad request: a JSON object is expected"),
        (json!([]), "bad request: a JSON object is expected"),
        (json!({}), "bad request: action: missing"),
        (json!({"action": "forget", "tenantId": "acme"}), "bad request: action: not an action: issue, list or revoke"),
        (json!({"action": 1}), "bad request: action: a string is expected"),
    ] {
        assert_eq!(message(&function, event).await, expected);
    }
    assert_eq!(function.keys.api_keys(), []);
}

#[tokio::test]
async fn outage_is_told_with_its_cause() {
    let function = function();
    function.keys.fuse.blow();
    let diagnostic = Diagnostic::from(function.handle(sample("issue")).await.unwrap_err());
    assert_eq!(diagnostic.error_type, "Outage");
    assert_eq!(diagnostic.error_message, "could not write the API key: the fuse has blown");
}
