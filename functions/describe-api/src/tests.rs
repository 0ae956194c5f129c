use std::collections::{BTreeMap, BTreeSet};

use http::testing::{assert_is_documented, sample_events};
use serde_json::{Value, json};

use super::*;

async fn answer_to(event: &str) -> Value {
    http::testing::answer_to("describe-api", event, async |request| handle(&request)).await
}

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([
        ("document", (200, None, None)),
        ("no-such-path", (404, Some("F-E-002"), None)),
        ("delete-exports", (405, Some("METHOD_NOT_ALLOWED"), Some("POST, GET"))),
        ("head-of-the-document", (405, Some("METHOD_NOT_ALLOWED"), Some("GET"))),
        ("path-spelled-in-another-way", (404, Some("F-E-002"), None)),
    ]);
    assert_eq!(sample_events("describe-api"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, code, allow)) in expected {
        let answer = answer_to(name).await;
        let told = answer["body"]["errors"][0]["code"].as_str();
        assert_eq!((&answer["statusCode"], told), (&json!(status), code), "{name}: {answer}");
        assert_eq!(answer["headers"]["allow"].as_str(), allow, "{name}");
        assert_eq!(answer["headers"]["cache-control"], "no-store", "{name}");
    }
}

#[tokio::test]
async fn document_is_served_as_it_stands_in_the_repository() {
    assert_eq!(answer_to("document").await["body"], document());
}

#[test]
fn document_has_the_routes_of_the_api_and_no_others() {
    let mut described = BTreeSet::new();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            described.insert((path.clone(), method.to_uppercase()));
        }
    }
    let of_the_api = routes::ROUTES.iter().filter(|route| route.path.starts_with("/v1/"));
    assert_eq!(described, of_the_api.map(|route| (route.path.to_owned(), route.method.to_owned())).collect());
}

#[tokio::test]
async fn examples_of_the_description_are_real_answers() {
    assert_is_documented(&answer_to("no-such-path").await, "NoSuchRoute");
    assert_is_documented(&answer_to("delete-exports").await, "MethodNotAllowed");
}

#[test]
fn document_has_the_enumerations_of_the_domain() {
    let document = document();
    let enumeration = |pointer: &str| document.pointer(&format!("/components/schemas/{pointer}/enum")).cloned();
    let statuses = domain::export::Status::ALL.map(|status| status.as_str());
    assert_eq!(enumeration("ExportStatus"), Some(json!(statuses)));
    let codes = domain::export::FailureCode::ALL.map(|code| code.as_str());
    assert_eq!(enumeration("Export/properties/failure/properties/code"), Some(json!(codes)));
    let types = domain::id::ExportType::ALL.map(|export_type| export_type.slug());
    assert_eq!(enumeration("Export/properties/exportType"), Some(json!(types)));
    let payouts = domain::payout::PayoutStatus::ALL.map(|status| status.as_str());
    assert_eq!(enumeration("ExportFile/properties/totals/items/properties/status"), Some(json!(payouts)));
}
