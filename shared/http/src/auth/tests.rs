use super::*;
use crate::tests::request;
use domain::testing::{MemoryStore, operator, start};
use serde_json::json;

fn key(letter: char) -> String {
    letter.to_string().repeat(KEY_LENGTH)
}

fn record(key: &str) -> ApiKeyRecord {
    ApiKeyRecord { hash: hash_of(key), caller: operator("acme"), created_at: start(), revoked_at: None }
}

/// An authenticator that knows the key `aaa…`.
fn authenticator() -> Authenticator<MemoryStore> {
    let store = MemoryStore::default();
    store.put_api_key(record(&key('a')));
    Authenticator::new(store)
}

fn call(key: &str, client: &str) -> Request {
    request(json!({"dj-api-key": key, "dj-client": client}), None)
}

fn seconds(n: u64) -> Timestamp {
    start().plus(Duration::from_secs(n))
}

#[tokio::test]
async fn key_of_an_operator_tells_the_caller() {
    let caller = authenticator().operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    assert_eq!(caller, operator("acme"));
}

#[tokio::test]
async fn missing_unknown_or_malformed_key_is_an_unknown_caller() {
    let callers = authenticator();
    for headers in [
        json!({"dj-client": "OPERATOR"}),
        json!({}),
        json!({"dj-client": "SUPPLIER"}),
        json!({"dj-api-key": key('b'), "dj-client": "OPERATOR"}),
        json!({"dj-api-key": "", "dj-client": "OPERATOR"}),
        json!({"dj-api-key": "a".repeat(63), "dj-client": "OPERATOR"}),
        json!({"dj-api-key": format!("{},{}", key('a'), key('a')), "dj-client": "OPERATOR"}),
        json!({"dj-api-key": "é".repeat(32), "dj-client": "OPERATOR"}),
    ] {
        let error = callers.operator(&request(headers.clone(), None), start()).await.unwrap_err();
        assert!(matches!(error, NotAuthorized::UnknownCaller), "{headers} {error:?}");
    }
    assert_eq!(callers.keys.key_reads(), 1, "only what has the form of a key is looked up");
}

#[tokio::test]
async fn call_that_is_not_an_operators_is_refused() {
    let callers = authenticator();
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    callers.keys.put_api_key(ApiKeyRecord { caller: supplier, ..record(&key('s')) });
    for (key, client) in [
        (key('a'), Some("SUPPLIER")),
        (key('a'), Some("operator")),
        (key('a'), Some("")),
        (key('a'), None),
        (key('s'), Some("OPERATOR")),
        (key('s'), Some("SUPPLIER")),
    ] {
        let mut headers = json!({"dj-api-key": key});
        if let Some(client) = client {
            headers["dj-client"] = json!(client);
        }
        let error = callers.operator(&request(headers, None), start()).await.unwrap_err();
        assert!(matches!(error, NotAuthorized::NotAnOperator), "{client:?} {error:?}");
    }
}

#[tokio::test]
async fn known_key_is_read_once_in_45_seconds() {
    let callers = authenticator();
    for (at, reads) in [(0, 1), (44, 1), (45, 2), (89, 2), (90, 3)] {
        callers.operator(&call(&key('a'), "OPERATOR"), seconds(at)).await.unwrap();
        assert_eq!(callers.keys.key_reads(), reads, "after {at} s");
    }
    callers.operator(&call(&key('a'), "OPERATOR"), seconds(1)).await.unwrap();
    assert_eq!(callers.keys.key_reads(), 4, "what was read in the future is not believed");
}

#[tokio::test]
async fn warm_up_reads_once_and_says_nothing_of_any_key() {
    let callers = authenticator();
    callers.warm_up().await;
    assert_eq!(callers.keys.key_reads(), 1, "the connection is there");
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    callers.operator(&call("", "OPERATOR"), start()).await.unwrap_err();
    assert_eq!(callers.keys.key_reads(), 2, "what it found out about no key is not used");
}

#[tokio::test]
async fn unknown_key_is_read_once_in_45_seconds() {
    let callers = authenticator();
    for (at, reads) in [(0, 1), (44, 1), (45, 2)] {
        callers.operator(&call(&key('b'), "OPERATOR"), seconds(at)).await.unwrap_err();
        assert_eq!(callers.keys.key_reads(), reads, "after {at} s");
    }
}

#[tokio::test]
async fn revoked_key_opens_nothing_after_45_seconds() {
    let callers = authenticator();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    callers.keys.put_api_key(ApiKeyRecord { revoked_at: Some(seconds(1)), ..record(&key('a')) });
    let error = callers.operator(&call(&key('a'), "OPERATOR"), seconds(45)).await.unwrap_err();
    assert!(matches!(error, NotAuthorized::UnknownCaller), "{error:?}");
}

#[tokio::test]
async fn made_up_keys_take_bounded_room_and_push_no_key_out() {
    let callers = authenticator();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    for n in 0..3 * MOST_UNKNOWN {
        callers.operator(&call(&format!("{n:064}"), "OPERATOR"), start()).await.unwrap_err();
    }
    assert_eq!(lock(&callers.unknown).entries.len(), MOST_UNKNOWN);
    let reads = callers.keys.key_reads();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    assert_eq!(callers.keys.key_reads(), reads);
}

#[tokio::test]
async fn outage_is_not_remembered() {
    let callers = authenticator();
    callers.keys.fuse.blow();
    let error = callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap_err();
    assert!(matches!(error, NotAuthorized::Outage(_)), "{error:?}");
    callers.keys.fuse.mend();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
}

#[test]
fn full_memory_forgets_the_stale_first_and_then_the_oldest() {
    let hash = |n: u8| KeyHash::from_digest([n; 32]);
    let mut recent = Recent::new(2);
    recent.put(hash(1), seconds(0), 1);
    recent.put(hash(2), seconds(10), 2);
    recent.put(hash(2), seconds(20), 2);
    assert_eq!(recent.get(&hash(1), seconds(20)), Some(1), "one that is there already needs no room");
    recent.put(hash(3), seconds(20), 3);
    assert_eq!([1, 2, 3].map(|n| recent.get(&hash(n), seconds(20))), [None, Some(2), Some(3)]);
    recent.put(hash(4), seconds(65), 4);
    assert_eq!(recent.entries.len(), 1);
}
