use std::collections::{BTreeMap, BTreeSet};

use exports_domain::filter::FilterField;
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
    let codes: Vec<_> = exports_domain::failure::FailureCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(enumeration("Export/properties/failure/properties/code"), Some(json!(codes)));
    let types: Vec<_> = definitions().map(|definition| definition.slug).collect();
    assert_eq!(enumeration("Export/properties/exportType"), Some(json!(types)));
    let mut statuses = Vec::new();
    for status in definitions().flat_map(|definition| definition.statuses) {
        if !statuses.contains(&status.name) {
            statuses.push(status.name);
        }
    }
    assert_eq!(enumeration("ExportFile/properties/totals/items/properties/status"), Some(json!(statuses)));
}

#[test]
fn document_has_the_statuses_columns_and_ids_of_each_type() {
    let document = document();
    let conditions = document.pointer("/components/schemas/Export/allOf").unwrap().as_array().unwrap();
    for definition in definitions() {
        let is_of_type = |condition: &&Value| condition["if"]["properties"]["exportType"]["const"] == definition.slug;
        let properties = &conditions.iter().find(is_of_type).unwrap()["then"]["properties"];
        let statuses: Vec<_> = definition.statuses.iter().map(|status| status.name).collect();
        let totals = &properties["file"]["properties"]["totals"]["items"]["properties"];
        assert_eq!(totals["status"]["enum"], json!(statuses), "{}", definition.slug);
        assert_eq!(properties["exportId"]["pattern"], format!("^{}_", definition.id_prefix));

        let description = document["paths"][format!("/v1/payments/{}/export", definition.slug)]["post"]["description"]
            .as_str()
            .unwrap();
        let columns = definition.columns.iter().map(|column| (column.header, column.description));
        let statuses = definition.statuses.iter().map(|status| (status.name, status.description));
        let expected: Vec<_> =
            columns.chain(statuses).map(|(name, meaning)| format!("- `{name}`: {meaning}")).collect();
        let listed: Vec<_> = description.lines().filter(|line| line.starts_with("- ")).collect();
        assert_eq!(listed, expected, "{}", definition.slug);
    }
}

#[test]
fn filters_of_each_type_are_described() {
    let document = document();
    let referenced =
        |value: &Value| document.pointer(value["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).cloned();
    for definition in definitions() {
        let body = &document["paths"][format!("/v1/payments/{}/export", definition.slug)]["post"]["requestBody"];
        let launch = referenced(&body["content"]["application/json"]["schema"]).unwrap();
        let fields = referenced(&launch["properties"]["filter"]["anyOf"][0]).unwrap()["properties"].clone();
        let described: BTreeSet<_> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        let known = FilterField::ALL.iter().filter(|field| definition.filter(field.kind()).is_some());
        assert_eq!(described, known.map(|field| field.name()).collect(), "{}", definition.slug);
        let statuses: Vec<_> = definition.statuses.iter().map(|status| status.name).collect();
        assert_eq!(fields["statuses"]["items"]["enum"], json!(statuses), "{}", definition.slug);
    }
}

/// Differences between types are in their descriptions and filters only.
#[test]
fn routes_of_all_types_are_described_alike() {
    let document = document();
    let [first, others @ ..] = &definitions().map(|definition| definition.slug).collect::<Vec<_>>()[..] else {
        panic!("no type")
    };
    let of_type = |slug: &str, tail: &str| {
        let mut operations = document["paths"][format!("/v1/payments/{slug}/export{tail}")].clone();
        for operation in operations.as_object_mut().unwrap().values_mut() {
            for part in ["operationId", "tags", "description"] {
                operation[part] = Value::Null;
            }
            for part in ["/responses/202/links/detail/operationId", "/requestBody/content"] {
                if let Some(part) = operation.pointer_mut(part) {
                    *part = Value::Null;
                }
            }
        }
        operations
    };
    for (slug, tail) in others.iter().flat_map(|slug| [(slug, ""), (slug, "/{exportId}")]) {
        assert_eq!(of_type(slug, tail), of_type(first, tail), "{slug}");
    }
}
