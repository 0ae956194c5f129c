use std::collections::{BTreeMap, BTreeSet};

use exports_http::testing::{assert_is_documented, sample_events};
use serde_json::{Value, json};

use super::*;

async fn response_to(event: &str) -> Value {
    exports_http::testing::response_to("describe-api", event, async |request| handle(&request)).await
}

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[tokio::test]
async fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([
        ("document", (200, None, None)),
        ("no-such-path", (404, Some("F-E-002"), None)),
        ("delete-exports", (405, Some("METHOD_NOT_ALLOWED"), Some("POST, GET"))),
        ("head-document", (405, Some("METHOD_NOT_ALLOWED"), Some("GET"))),
        ("known-path-on-default-route", (404, Some("F-E-002"), None)),
    ]);
    assert_eq!(sample_events("describe-api"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, code, allow)) in expected {
        let response = response_to(name).await;
        let actual = response["body"]["errors"][0]["code"].as_str();
        assert_eq!((&response["statusCode"], actual), (&json!(status), code), "{name}: {response}");
        assert_eq!(response["headers"]["allow"].as_str(), allow, "{name}");
        assert_eq!(response["headers"]["cache-control"], "no-store", "{name}");
    }
}

#[tokio::test]
async fn document_is_served_unchanged() {
    assert_eq!(response_to("document").await["body"], document());
}

#[test]
fn document_lists_exactly_the_api_routes() {
    let mut documented = BTreeSet::new();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            documented.insert((path.clone(), method.to_uppercase()));
        }
    }
    let api_routes = routes::routes().filter(|route| route.path.starts_with("/v1/"));
    assert_eq!(documented, api_routes.map(|route| (route.path, route.method.to_owned())).collect());
}

#[tokio::test]
async fn openapi_examples_match_real_responses() {
    assert_is_documented(&response_to("no-such-path").await, "RouteNotFound");
    assert_is_documented(&response_to("delete-exports").await, "MethodNotAllowed");
}

fn definitions() -> impl Iterator<Item = &'static exports_domain::export_type::Definition> {
    exports_domain::export_type::ExportType::ALL.into_iter().map(|export_type| export_type.definition())
}

#[test]
fn document_enums_match_the_domain() {
    let document = document();
    let enumeration = |pointer: &str| document.pointer(&format!("/components/schemas/{pointer}/enum")).cloned();
    let statuses: Vec<_> = exports_domain::export::Status::ALL.iter().map(|status| status.as_str()).collect();
    assert_eq!(enumeration("ExportStatus"), Some(json!(statuses)));
    let codes: Vec<_> = exports_domain::export::FailureCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(enumeration("Export/properties/failure/properties/code"), Some(json!(codes)));
    let types: Vec<_> = definitions().map(|definition| definition.slug).collect();
    assert_eq!(enumeration("Export/properties/exportType"), Some(json!(types)));
    let mut statuses: Vec<_> =
        definitions().flat_map(|definition| definition.statuses).map(|status| status.name).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let mut documented: Vec<String> =
        serde_json::from_value(enumeration("ExportFile/properties/totals/items/properties/status").unwrap()).unwrap();
    documented.sort_unstable();
    assert_eq!(documented, statuses);
}
