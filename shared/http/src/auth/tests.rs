use super::*;
use crate::tests::request;
use exports_domain::testing::{MemoryStore, operator, start};
use exports_telemetry::testing::Log;
use serde_json::json;

fn key(letter: char) -> String {
    letter.to_string().repeat(KEY_LENGTH)
}

fn record(key: &str) -> ApiKeyRecord {
    ApiKeyRecord::new(hash_of(key), operator("acme"), start())
}

/// A store with the key `aaa…`.
fn store() -> MemoryStore {
    let store = MemoryStore::default();
    store.put_api_key(record(&key('a')));
    store
}

fn call(key: &str, client: &str) -> Request {
    request(json!({"dj-api-key": key, "dj-client": client}), None)
}

fn seconds(n: u64) -> Timestamp {
    start().plus(Duration::from_secs(n))
}

#[tokio::test]
async fn operator_with_valid_key_is_authenticated() {
    let caller = Authenticator::new(&store()).operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    assert_eq!(caller, operator("acme"));
}

#[tokio::test]
async fn missing_unknown_or_malformed_key_is_rejected() {
    let store = store();
    let callers = Authenticator::new(&store);
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
        assert!(matches!(error, AuthError::UnknownCaller), "{headers} {error:?}");
    }
    assert_eq!(callers.keys.key_reads(), 1, "malformed keys are not looked up");
}

#[tokio::test]
async fn client_other_than_operator_is_rejected() {
    let store = store();
    let callers = Authenticator::new(&store);
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
        assert!(matches!(error, AuthError::Forbidden), "{client:?} {error:?}");
    }
}

#[tokio::test]
async fn known_key_is_cached_for_45_seconds() {
    let store = store();
    let callers = Authenticator::new(&store);
    for (at, reads) in [(0, 1), (44, 1), (45, 2), (89, 2), (90, 3)] {
        callers.operator(&call(&key('a'), "OPERATOR"), seconds(at)).await.unwrap();
        assert_eq!(callers.keys.key_reads(), reads, "after {at} s");
    }
    callers.operator(&call(&key('a'), "OPERATOR"), seconds(1)).await.unwrap();
    assert_eq!(callers.keys.key_reads(), 4, "an entry from the future is stale");
}

#[tokio::test]
async fn warm_up_reads_once_and_caches_nothing() {
    let store = store();
    let callers = Authenticator::new(&store);
    callers.warm_up().await;
    assert_eq!(callers.keys.key_reads(), 1);
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    callers.operator(&call("", "OPERATOR"), start()).await.unwrap_err();
    assert_eq!(callers.keys.key_reads(), 2, "the lookup of the warm-up is not cached");
}

#[tokio::test]
async fn unknown_key_is_cached_for_45_seconds() {
    let store = store();
    let callers = Authenticator::new(&store);
    for (at, reads) in [(0, 1), (44, 1), (45, 2)] {
        callers.operator(&call(&key('b'), "OPERATOR"), seconds(at)).await.unwrap_err();
        assert_eq!(callers.keys.key_reads(), reads, "after {at} s");
    }
}

#[tokio::test]
async fn revoked_key_is_rejected_after_45_seconds() {
    let store = store();
    let callers = Authenticator::new(&store);
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    callers.keys.put_api_key(ApiKeyRecord { revoked_at: Some(seconds(1)), ..record(&key('a')) });
    let error = callers.operator(&call(&key('a'), "OPERATOR"), seconds(45)).await.unwrap_err();
    assert!(matches!(error, AuthError::UnknownCaller), "{error:?}");
}

#[tokio::test]
async fn unknown_keys_are_bounded_and_evict_no_known_key() {
    let store = store();
    let callers = Authenticator::new(&store);
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    for n in 0..3 * MAX_UNKNOWN {
        callers.operator(&call(&format!("{n:064}"), "OPERATOR"), start()).await.unwrap_err();
    }
    assert_eq!(lock(&callers.unknown).entries.len(), MAX_UNKNOWN);
    let reads = callers.keys.key_reads();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
    assert_eq!(callers.keys.key_reads(), reads);
}

#[tokio::test]
async fn failed_lookup_is_not_cached() {
    let store = store();
    let callers = Authenticator::new(&store);
    callers.keys.failures.inject();
    let error = callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap_err();
    assert!(matches!(error, AuthError::Dependency(_)), "{error:?}");
    callers.keys.failures.stop();
    callers.operator(&call(&key('a'), "OPERATOR"), start()).await.unwrap();
}

#[test]
fn full_cache_evicts_stale_entries_then_the_oldest() {
    let hash = |n: u8| KeyHash::from_digest([n; 32]);
    let mut cache = Cache::new(2);
    cache.put(hash(1), seconds(0), 1);
    cache.put(hash(2), seconds(10), 2);
    cache.put(hash(2), seconds(20), 2);
    assert_eq!(cache.get(&hash(1), seconds(20)), Some(1), "replacing an entry evicts none");
    cache.put(hash(3), seconds(20), 3);
    assert_eq!([1, 2, 3].map(|n| cache.get(&hash(n), seconds(20))), [None, Some(2), Some(3)]);
    cache.put(hash(4), seconds(65), 4);
    assert_eq!(cache.entries.len(), 1);
}

#[tokio::test]
async fn key_is_rejected_from_its_expiry_on() {
    let store = MemoryStore::default();
    store.put_api_key(ApiKeyRecord { expires_at: Some(seconds(10)), ..record(&key('a')) });
    let callers = Authenticator::new(&store);
    let before = Timestamp::from_millis(seconds(10).millis() - 1);
    callers.operator(&call(&key('a'), "OPERATOR"), before).await.unwrap();
    let error = callers.operator(&call(&key('a'), "OPERATOR"), seconds(10)).await.unwrap_err();
    assert!(matches!(error, AuthError::UnknownCaller), "{error:?}");
}

/// The result of a request with the key `aaa…` while its use is recorded.
async fn served(callers: &Authenticator<'_, MemoryStore>, now: Timestamp) -> Result<Caller, AuthError> {
    let request = call(&key('a'), "OPERATOR");
    callers.recording_use(&request, callers.operator(&request, now)).await
}

#[tokio::test]
async fn first_use_of_a_day_is_recorded_once() {
    const DAY: u64 = 86_400;
    let store = store();
    let callers = Authenticator::new(&store);
    for (at, writes) in [(0, 1), (1, 1), (60, 1), (DAY, 2), (DAY + 1, 2)] {
        served(&callers, seconds(at)).await.unwrap();
        let today = seconds(at).start_of_day();
        assert_eq!((store.key_use_writes(), store.api_keys()[0].last_used_on), (writes, Some(today)), "after {at} s");
    }
    served(&Authenticator::new(&store), seconds(DAY)).await.unwrap();
    assert_eq!(store.key_use_writes(), 2, "another process reads the record of the first");
}

#[tokio::test]
async fn use_of_a_rejected_key_is_not_recorded() {
    let store = MemoryStore::default();
    store.put_api_key(ApiKeyRecord { revoked_at: Some(start()), ..record(&key('a')) });
    served(&Authenticator::new(&store), start()).await.unwrap_err();
    served(&Authenticator::new(&MemoryStore::default()), start()).await.unwrap_err();
    assert_eq!((store.key_use_writes(), store.api_keys()[0].last_used_on), (0, None));
}

#[tokio::test]
async fn failed_record_of_a_use_is_logged_and_attempted_after_the_next_lookup() {
    let (log, _guard) = Log::capture();
    let store = store();
    let callers = Authenticator::new(&store);
    let request = call(&key('a'), "OPERATOR");
    let handler = async {
        let caller = callers.operator(&request, start()).await;
        store.failures.inject();
        caller
    };
    callers.recording_use(&request, handler).await.unwrap();
    store.failures.stop();
    assert_eq!(log.events()[0]["message"], "the use of the API key was not recorded");
    served(&callers, seconds(44)).await.unwrap();
    assert_eq!((store.key_use_writes(), store.api_keys()[0].last_used_on), (1, None));
    served(&callers, seconds(45)).await.unwrap();
    assert_eq!(store.api_keys()[0].last_used_on, Some(start().start_of_day()));
}

#[tokio::test(start_paused = true)]
async fn slow_record_of_a_use_runs_beside_the_handler_and_ends_after_250_ms() {
    for (handler_takes, expected) in [(0, 250), (200, 250), (250, 250), (900, 900)] {
        let store = store();
        store.let_key_use_hang();
        let callers = Authenticator::new(&store);
        let request = call(&key('a'), "OPERATOR");
        let began = tokio::time::Instant::now();
        let handler = async {
            callers.operator(&request, start()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(handler_takes)).await;
        };
        callers.recording_use(&request, handler).await;
        let took = began.elapsed().as_millis();
        assert!((expected..expected + 2).contains(&took), "{handler_takes} ms: {took} ms");
    }
}
