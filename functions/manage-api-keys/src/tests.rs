use std::fs;
use std::path::Path;

use exports_domain::testing::{FakeSystem, MemoryStore, address, operator, start};
use serde_json::json;

use super::*;

#[derive(Default)]
struct World {
    keys: MemoryStore,
    system: FakeSystem,
}

impl World {
    async fn handle(&self, event: Value) -> Result<Response, ManageError> {
        ManageApiKeys { keys: &self.keys, system: &self.system }.handle(event).await
    }
}

fn sample(name: &str) -> Value {
    let events = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/manage-api-keys"));
    serde_json::from_slice(&fs::read(events.join(format!("{name}.json"))).unwrap()).unwrap()
}

async fn message(world: &World, event: Value) -> String {
    Diagnostic::from(world.handle(event).await.unwrap_err()).error_message
}

#[tokio::test]
async fn issue_returns_the_key_and_stores_only_its_hash() {
    let world = World::default();
    let issued = serde_json::to_value(world.handle(sample("issue")).await.unwrap()).unwrap();
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
    let record = ApiKeyRecord::new(hash, operator("acme"), start());
    assert_eq!(world.keys.api_keys(), [record]);
}

#[tokio::test]
async fn key_with_an_expiry_is_valid_until_then() {
    for (expires_at, expected) in
        [("2026-10-08T08:30:00.001Z", "2026-10-08T08:30:00.001Z"), ("2026-12-31", "2026-12-31T23:59:59.999Z")]
    {
        let world = World::default();
        let mut event = sample("issue-with-expiry");
        event["expiresAt"] = json!(expires_at);
        assert_eq!(response(&world, event).await["expiresAt"], expected);
        assert_eq!(world.keys.api_keys()[0].expires_at, Some(expected.parse().unwrap()));
    }
}

#[tokio::test]
async fn expiry_that_is_malformed_or_not_in_the_future_is_rejected() {
    let world = World::default();
    for (expires_at, expected) in [
        (json!("2026-10-08T08:30:00.000Z"), "bad request: expiresAt: must be in the future"),
        (json!("2026-10-07"), "bad request: expiresAt: must be in the future"),
        (json!("tomorrow"), "bad request: expiresAt: must be a time with an offset"),
        (json!(30), "bad request: expiresAt: must be a string"),
    ] {
        let mut event = sample("issue");
        event["expiresAt"] = expires_at;
        let message = message(&world, event).await;
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(world.keys.api_keys(), []);
}

#[tokio::test]
async fn list_has_expiry_and_day_of_last_use() {
    let world = World::default();
    let expires_at = Some(start().plus(std::time::Duration::from_secs(86_400)));
    let last_used_on = Some(start().start_of_day());
    world.keys.put_api_key(ApiKeyRecord { expires_at, last_used_on, ..record("key", "acme") });
    let listed = &response(&world, sample("list")).await["apiKeys"][0];
    let days = (&listed["expiresAt"], &listed["lastUsedOn"]);
    assert_eq!(days, (&json!("2026-10-09T08:30:00.000Z"), &json!("2026-10-08")));
}

#[test]
fn new_keys_are_unique_and_use_the_whole_alphabet() {
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
    ApiKeyRecord::new(hash, operator(tenant), start())
}

async fn response(world: &World, event: Value) -> Value {
    serde_json::to_value(world.handle(event).await.unwrap()).unwrap()
}

#[tokio::test]
async fn list_returns_metadata_of_one_tenant() {
    let world = World::default();
    let issued = response(&world, sample("issue")).await;
    world.system.advance(std::time::Duration::from_secs(1));
    world.keys.put_api_key(record("other", "other"));
    let second = response(&world, sample("issue")).await;
    let listed = response(&world, sample("list")).await;
    let metadata = |issued: &Value| {
        let mut metadata = issued.clone();
        metadata.as_object_mut().unwrap().remove("apiKey");
        metadata
    };
    assert_eq!(listed, json!({"tenantId": "acme", "apiKeys": [metadata(&issued), metadata(&second)]}));
}

#[tokio::test]
async fn list_of_tenant_without_keys_is_empty() {
    let listed = response(&World::default(), sample("list")).await;
    assert_eq!(listed, json!({"tenantId": "acme", "apiKeys": []}));
}

#[tokio::test]
async fn repeated_revoke_keeps_the_first_time() {
    let world = World::default();
    // The sample revokes the key of the sample events.
    let key = "0123456789abcdefghjkmnpqrstvwxyz".repeat(2);
    world.keys.put_api_key(record(&key, "acme"));
    let first = response(&world, sample("revoke")).await;
    assert_eq!((&first["revokedAt"], &first["tenantId"]), (&json!("2026-10-08T08:30:00.000Z"), &json!("acme")));
    assert_eq!(first.get("apiKey"), None);
    world.system.advance(std::time::Duration::from_secs(60));
    assert_eq!(response(&world, sample("revoke")).await, first);
    assert_eq!(world.keys.api_keys()[0].revoked_at, Some(start()));
}

/// Keys of two people of `acme`, one of them with two, and of another tenant, named by their hashes' keys.
fn with_keys_of_several_people() -> World {
    let world = World::default();
    let ben = || {
        let mut caller = operator("acme");
        caller.user.email = address("ben@example.com");
        caller
    };
    for (key, caller) in [("a1", operator("acme")), ("a2", operator("acme")), ("b", ben()), ("o", operator("other"))] {
        world.keys.put_api_key(ApiKeyRecord { caller, ..record(key, "acme") });
    }
    world
}

fn is_revoked(world: &World, key: &str) -> bool {
    let hash = record(key, "acme").hash;
    world.keys.api_keys().iter().any(|record| record.hash == hash && record.revoked_at.is_some())
}

#[tokio::test]
async fn revoke_person_revokes_all_keys_of_that_person_in_the_tenant() {
    let world = with_keys_of_several_people();
    let mut event = sample("revoke-person");
    event["email"] = json!("Ann@EXAMPLE.com");
    let revoked = response(&world, event).await;
    let keys = revoked["apiKeys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["revokedAt"]), (2, &json!("2026-10-08T08:30:00.000Z")));
    assert_eq!(["a1", "a2", "b", "o"].map(|key| is_revoked(&world, key)), [true, true, false, false]);
}

#[tokio::test]
async fn revoke_tenant_revokes_all_keys_of_the_tenant() {
    let world = with_keys_of_several_people();
    let event = sample("revoke-tenant");
    let revoked = response(&world, event.clone()).await;
    assert_eq!((&revoked["tenantId"], revoked["apiKeys"].as_array().unwrap().len()), (&json!("acme"), 3));
    assert_eq!(["a1", "a2", "b", "o"].map(|key| is_revoked(&world, key)), [true, true, true, false]);
    world.system.advance(std::time::Duration::from_secs(60));
    assert_eq!(response(&world, event).await, revoked, "a repeated request keeps the first time");
}

#[tokio::test]
async fn revoke_person_without_address_is_rejected() {
    let world = with_keys_of_several_people();
    let missing = message(&world, json!({"action": "revoke-person", "tenantId": "acme"})).await;
    assert_eq!(missing, "bad request: email: missing");
    let unknown = message(&world, json!({"action": "revoke-tenant", "tenantId": "acme", "email": "a@b.c"})).await;
    assert_eq!(unknown, "bad request: email: unknown field");
    assert!(!is_revoked(&world, "a1"));
}

#[tokio::test]
async fn revoke_of_unknown_key_is_rejected() {
    let world = World::default();
    assert_eq!(message(&world, sample("revoke")).await, "bad request: keyId: unknown key");
    let bad = json!({"action": "revoke", "keyId": "0123456789ABCDEF", "tenantId": "acme"});
    let message = message(&world, bad).await;
    assert!(message.contains("keyId: must be a key hash") && message.contains("tenantId: unknown field"), "{message}");
}

#[tokio::test]
async fn bad_request_names_every_invalid_field() {
    let world = World::default();
    let message = message(&world, sample("issue-invalid-fields")).await;
    assert!(message.starts_with("bad request: tenantId: a tenant id has"), "{message}");
    for field in [
        "email: an address must have",
        "name: missing",
        "client: must be OPERATOR, ACCOUNT or SUPPLIER",
        "key: unknown field",
    ] {
        assert!(message.contains(&format!("; {field}")), "{message}");
    }
    assert_eq!(world.keys.api_keys(), []);
}

#[tokio::test]
async fn malformed_request_is_rejected() {
    let world = World::default();
    for (event, expected) in [
        (json!(null), "bad request: must be a JSON object"),
        (json!([]), "bad request: must be a JSON object"),
        (json!({}), "bad request: action: missing"),
        (
            json!({"action": "forget", "tenantId": "acme"}),
            "bad request: action: must be issue, list, revoke, revoke-person or revoke-tenant",
        ),
        (json!({"action": 1}), "bad request: action: must be a string"),
    ] {
        assert_eq!(message(&world, event).await, expected);
    }
    assert_eq!(world.keys.api_keys(), []);
}

#[tokio::test]
async fn transient_error_is_reported_with_its_cause() {
    let world = World::default();
    world.keys.failures.inject();
    let diagnostic = Diagnostic::from(world.handle(sample("issue")).await.unwrap_err());
    assert_eq!(diagnostic.error_type, "TransientError");
    assert_eq!(diagnostic.error_message, "could not write the API key: injected failure");
    world.keys.failures.deny();
    let diagnostic = Diagnostic::from(world.handle(sample("issue")).await.unwrap_err());
    assert_eq!(diagnostic.error_type, "PermanentError");
}
