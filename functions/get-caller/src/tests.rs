use std::collections::BTreeMap;

use domain::caller::ClientType;
use domain::testing::{FixedClock, MemoryStore, operator};
use http::testing::{assert_is_documented, callers, sample_events};
use serde_json::{Value, json};

use super::*;

async fn answer_to(caller: Caller, event: &str) -> Value {
    let function = GetCaller { callers: callers(caller), clock: FixedClock::default() };
    answer_of(&function, event).await
}

async fn answer_of(function: &GetCaller<MemoryStore, FixedClock>, event: &str) -> Value {
    http::testing::answer_to("get-caller", event, async |request| function.handle(&request).await).await
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([("caller", 200), ("unknown-key", 401), ("supplier", 403)]);
    assert_eq!(sample_events("get-caller"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let answer = answer_to(operator("acme"), name).await;
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
    }
}

#[tokio::test]
async fn operator_is_told_who_the_key_says() {
    let answer = answer_to(operator("acme"), "caller").await;
    let expected = json!({"tenantId": "acme", "email": "ann@example.com", "name": "Ann", "client": "OPERATOR"});
    assert_eq!(answer["body"], expected);
}

#[tokio::test]
async fn key_of_another_client_is_told_nothing() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let answer = answer_to(supplier, "caller").await;
    assert_eq!(answer["statusCode"], 403);
    assert!(!answer["body"].to_string().contains("acme"));
}

#[tokio::test]
async fn example_of_the_description_is_a_real_answer() {
    assert_is_documented(&answer_to(operator("acme"), "caller").await, "Caller");
}
