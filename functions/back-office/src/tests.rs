use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use exports_domain::csv_advice;
use exports_domain::export_type::{Column, Definition, ExportType, Required, StatusDefinition};
use exports_domain::filter::{AccountType, FilterField, FilterKind, RowFilter};
use exports_domain::options::FileFormat;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use strum::VariantArray as _;

use super::*;
use assets::{ASSETS, INDEX};

fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/back-office").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn response_to(event: Value) -> ApiGatewayV2httpResponse {
    response(&serde_json::from_value(event).unwrap())
}

/// The event of a request for `path`, relative to `/back-office/`.
fn request(path: &str, headers: Value) -> Value {
    let mut event = event("page");
    event["rawPath"] = json!(format!("/back-office/{path}"));
    event["routeKey"] = json!("GET /back-office/{proxy+}");
    event["pathParameters"] = json!({"proxy": path});
    event["headers"] = headers;
    event
}

fn asset(name: &str) -> String {
    format!("assets/{VERSION}/{name}")
}

fn header<'a>(response: &'a ApiGatewayV2httpResponse, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The decoded body.
fn content(response: &ApiGatewayV2httpResponse) -> Vec<u8> {
    let Some(Body::Binary(bytes)) = &response.body else { panic!("{response:?}") };
    assert!(response.is_base64_encoded, "API Gateway requires binary bodies to be base64");
    let mut content = Vec::new();
    match header(response, "content-encoding") {
        Some("gzip") => GzDecoder::new(&bytes[..]).read_to_end(&mut content).map(|_| ()).unwrap(),
        None => content.clone_from(bytes),
        other => panic!("{other:?}"),
    }
    content
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test option, not a setting of a function")]
fn types_of_the_page_equal_the_definitions() {
    let formats: Vec<_> = FileFormat::VARIANTS.iter().map(|format| format.as_str()).collect();
    let types: String = ExportType::ALL.iter().map(|export_type| type_js(export_type.definition())).collect();
    let expected = format!(
        "// The export types, the file formats and how to open a CSV file. Generated from their definitions by \
         `tests/run --update unit`.\n\nexport const FORMATS = {formats:?};\n\nexport const MAX_SUPPLIERS = {};\n\nexport \
         const CSV_ADVICE = {};\n\nexport const TYPES = [\n{types}];\n",
        RowFilter::MAX_SUPPLIERS,
        csv_advice_js(),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/types.js");
    if std::env::var("UPDATE_GOLDENS").is_ok_and(|value| value == "1") {
        fs::write(&path, &expected).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), expected);
}

fn csv_advice_js() -> String {
    let program = |(name, advice): &csv_advice::Advice| format!("    [{name:?}, {advice:?}],\n");
    let programs: String = csv_advice::PROGRAMS.iter().map(program).collect();
    let (warning, check) = (csv_advice::WARNING, csv_advice::CHECK);
    format!("{{\n  warning: {warning:?},\n  programs: [\n{programs}  ],\n  check: {check:?},\n}}")
}

fn type_js(definition: &Definition) -> String {
    let Definition { slug, id_prefix, title, singular, plural, columns, statuses, .. } = definition;
    let columns = columns.iter().map(|Column { header, description, required, .. }| {
        let may_be_empty = *required != Required::Always;
        format!("{{ name: {header:?}, description: {description:?}, mayBeEmpty: {may_be_empty} }}")
    });
    let status = |StatusDefinition { name, description }: &StatusDefinition| {
        format!("{{ name: {name:?}, description: {description:?} }}")
    };
    let fields = FilterField::ALL.iter().filter(|field| definition.filter(field.kind()).is_some());
    let filter = |field: &FilterField| {
        let values: Vec<&str> = match field.kind() {
            FilterKind::Statuses => statuses.iter().map(|status| status.name).collect(),
            FilterKind::SourceBalanceAccountType | FilterKind::TargetBalanceAccountType => {
                AccountType::VARIANTS.iter().map(Into::into).collect()
            }
            FilterKind::CreatedAt | FilterKind::Currencies | FilterKind::SupplierIds | FilterKind::Amount => Vec::new(),
        };
        format!("{{ field: {:?}, values: {values:?} }}", field.name())
    };
    let list = |name: &str, entries: Vec<String>| {
        let lines: String = entries.iter().map(|entry| format!("      {entry},\n")).collect();
        format!("    {name}: [\n{lines}    ],\n")
    };
    format!(
        "  {{\n    slug: {slug:?},\n    idPrefix: {id_prefix:?},\n    title: {title:?},\n    singular: {singular:?},\n    \
         plural: {plural:?},\n{}{}{}  }},\n",
        list("columns", columns.collect()),
        list("statuses", statuses.iter().map(status).collect()),
        list("filters", fields.map(filter).collect()),
    )
}

#[test]
fn every_sample_event_gets_its_expected_status() {
    let expected = BTreeMap::from([("page", 200), ("unknown-version", 404), ("unknown-path", 404)]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/back-office");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.keys().map(Into::into).collect());
    for (name, status) in expected {
        assert_eq!(response_to(event(name)).status_code, status, "{name}");
    }
}

#[test]
fn page_is_not_cached_and_assets_are_immutable() {
    let page = response_to(event("page"));
    assert_eq!((header(&page, "cache-control"), header(&page, "etag")), (Some("no-store"), None));
    assert_eq!(header(&page, "content-type"), Some("text/html; charset=utf-8"));
    for file in ASSETS {
        let response = response_to(request(&asset(file.name), json!({})));
        assert_eq!(response.status_code, 200, "{}", file.name);
        assert_eq!(header(&response, "cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(header(&response, "etag"), Some(format!("\"{VERSION}\"").as_str()));
        assert_eq!(content(&response), file.plain);
    }
}

#[test]
fn page_references_every_asset_exactly_once() {
    let page = String::from_utf8(content(&response_to(event("page")))).unwrap();
    for file in ASSETS {
        let named = page.matches(&format!("\"back-office/assets/{VERSION}/{}\"", file.name)).count();
        assert_eq!(named, 1, "{}", file.name);
    }
    assert_eq!(page.matches("/assets/").count(), ASSETS.len(), "the page references a missing asset");
}

#[test]
fn modules_are_joined_into_one_script_in_order_of_their_imports() {
    let script = content(&response_to(request(&asset("app.js"), json!({}))));
    let script = str::from_utf8(&script).unwrap();
    for line in script.lines() {
        assert!(!line.starts_with("import ") && !line.starts_with("export "), "{line}");
    }
    let places =
        ["function h(", "class Api ", "class ExportsPage ", "\njoinTabs({"].map(|text| script.find(text).unwrap());
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn asset_with_matching_etag_is_not_modified() {
    let tag = format!("\"{VERSION}\"");
    for cached in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let response = response_to(request(&asset("app.js"), json!({"if-none-match": cached})));
        assert_eq!((response.status_code, response.body.is_none()), (304, true), "{cached}");
        assert_eq!(header(&response, "etag"), Some(tag.as_str()));
    }
    let response = response_to(request(&asset("app.js"), json!({"if-none-match": "\"other\""})));
    assert_eq!(response.status_code, 200);
}

#[test]
fn asset_is_compressed_if_client_accepts_gzip() {
    for (accepted, encoding) in [
        (json!({"accept-encoding": "gzip, deflate, br"}), Some("gzip")),
        (json!({"accept-encoding": "br;q=1.0, GZIP;q=0.8"}), Some("gzip")),
        (json!({"accept-encoding": "gzip;q=0, identity"}), None),
        (json!({"accept-encoding": "identity"}), None),
        (json!({}), None),
    ] {
        let response = response_to(request(&asset("app.css"), accepted.clone()));
        assert_eq!(header(&response, "content-encoding"), encoding, "{accepted}");
        assert_eq!(header(&response, "vary"), Some("accept-encoding"));
        assert!(content(&response).starts_with(b"/*"));
    }
}

#[test]
fn unknown_asset_path_is_not_found() {
    for path in [
        "assets",
        "assets/",
        &format!("assets/{VERSION}"),
        &asset(""),
        &asset("index.html"),
        &asset("missing.js"),
        &asset("APP.JS"),
        &asset("app.js/"),
        &asset("../app.js"),
        &asset("..%2Fapp.js"),
        &format!("assets//{VERSION}/app.js"),
        "assets/0000000000000000/app.js",
        "../../etc/passwd",
        "\u{0}",
    ] {
        let response = response_to(request(path, json!({})));
        assert_eq!(response.status_code, 404, "{path:?}");
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
    }
}

/// The headers of every response, and those of what a browser may render as a page.
const SECURITY_HEADERS: [(&str, &str); 2] =
    [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")];
const PAGE_SECURITY_HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

#[test]
fn page_and_not_found_have_all_security_headers() {
    for event in [event("page"), event("unknown-path"), event("unknown-version")] {
        let response = response_to(event);
        for (name, value) in SECURITY_HEADERS.iter().chain(&PAGE_SECURITY_HEADERS) {
            assert_eq!(header(&response, name), Some(*value), "{name}");
        }
    }
}

#[test]
fn every_response_has_nosniff_and_same_origin_headers() {
    let not_modified = request(&asset("app.js"), json!({"if-none-match": format!("\"{VERSION}\"")}));
    for event in [request("", json!({})), request(&asset("app.js"), json!({})), not_modified] {
        let response = response_to(event);
        for (name, value) in SECURITY_HEADERS {
            assert_eq!(header(&response, name), Some(value), "{name}");
        }
    }
}

#[test]
fn trailing_slash_redirects_to_page() {
    let mut with_slash = event("page");
    with_slash["rawPath"] = json!("/back-office/");
    for event in [with_slash, request("", json!({}))] {
        let response = response_to(event);
        assert_eq!((response.status_code, header(&response, "location")), (308, Some("../back-office")));
    }
}

/// The policy would block these, but only when a browser runs the page.
#[test]
fn files_have_no_inline_code_style_or_external_urls() {
    for file in ASSETS.iter().chain([&INDEX]) {
        let text = str::from_utf8(file.plain).unwrap().replace("http://www.w3.org/2000/svg", "");
        for banned in
            ["http://", "https://", " style=", "<style", "innerHTML", "eval(", " onclick=", " onload=", "javascript:"]
        {
            assert!(!text.contains(banned), "{} in {}", banned, file.name);
        }
        if file.name == "index.html" {
            assert_eq!(text.matches("<script").count(), text.matches("<script type=\"module\" src=").count());
        }
    }
}

/// The page loads in these requests, which is its limit on a slow line.
#[test]
fn page_has_three_assets() {
    assert_eq!(ASSETS.iter().map(|file| file.name).collect::<Vec<_>>(), ["app.css", "app.js", "icon.svg"]);
}

/// The limit for the page is 60 kB over the wire, including headers.
#[test]
fn page_and_assets_stay_under_48_kb_compressed() {
    let bytes: usize = ASSETS.iter().chain([&INDEX]).map(|file| file.gzip.len()).sum();
    assert!(bytes < 48_000, "{bytes} bytes");
}

/// The page validates addresses too. tests/e2e runs the same cases against it in a browser.
#[test]
fn address_cases_match_the_rules_of_the_api() {
    let table = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("address-cases.json")).unwrap();
    let cases: Vec<(String, Option<String>)> = serde_json::from_slice(&table).unwrap();
    assert!(cases.len() > 50);
    for (text, reason) in cases {
        let actual = text.parse::<exports_domain::email::EmailAddress>().err().map(|reason| format!("{reason:?}"));
        assert_eq!(actual, reason, "{text:?}");
    }
}

/// The page formats sizes too. tests/e2e runs the same cases against it in a browser.
#[test]
fn size_cases_match_the_mail() {
    let table = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("size-cases.json")).unwrap();
    let cases: Vec<(u64, String)> = serde_json::from_slice(&table).unwrap();
    assert!(cases.len() > 10);
    for (bytes, shown) in cases {
        assert_eq!(exports_domain::summary::size(bytes), shown);
    }
}
