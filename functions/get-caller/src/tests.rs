use std::collections::BTreeMap;

use exports_domain::caller::ClientType;
use exports_domain::testing::{FakeSystem, operator};
use exports_http::testing::{assert_is_documented, keys, sample_events};
use serde_json::{Value, json};

use super::*;

async fn response_to(caller: Caller, event: &str) -> Value {
    let (keys, system) = (keys(caller), FakeSystem::default());
    let function = GetCaller { callers: Authenticator::new(&keys), system: &system };
    exports_http::testing::response_to("get-caller", event, async |request| function.handle(&request).await).await
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([("caller", 200), ("unknown-key", 401), ("supplier", 403)]);
    assert_eq!(sample_events("get-caller"), expected.keys().map(ToString::to_string).collect());
    for (name, status) in expected {
        let response = response_to(operator("acme"), name).await;
        assert_eq!(response["statusCode"], status, "{name}: {response}");
    }
}

#[tokio::test]
async fn operator_gets_the_user_of_the_key() {
    let response = response_to(operator("acme"), "caller").await;
    let expected = json!({"tenantId": "acme", "email": "ann@example.com", "name": "Ann", "client": "OPERATOR"});
    assert_eq!(response["body"], expected);
}

#[tokio::test]
async fn key_of_other_client_type_is_rejected() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let response = response_to(supplier, "caller").await;
    assert_eq!(response["statusCode"], 403);
    assert!(!response["body"].to_string().contains("acme"));
}

#[tokio::test]
async fn openapi_example_matches_real_response() {
    assert_is_documented(&response_to(operator("acme"), "caller").await, "Caller");
}
