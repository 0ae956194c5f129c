use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::*;
use assets::{ASSETS, INDEX};

fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/back-office").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn answer_to(event: Value) -> ApiGatewayV2httpResponse {
    answer(&serde_json::from_value(event).unwrap())
}

/// The event of a browser that asks for what is at `path` below the page.
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

fn header<'a>(answer: &'a ApiGatewayV2httpResponse, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The body as the browser has it in the end.
fn content(answer: &ApiGatewayV2httpResponse) -> Vec<u8> {
    let Some(Body::Binary(bytes)) = &answer.body else { panic!("{answer:?}") };
    assert!(answer.is_base64_encoded, "an HTTP API sends bytes only if it is told that they are encoded");
    let mut content = Vec::new();
    match header(answer, "content-encoding") {
        Some("gzip") => GzDecoder::new(&bytes[..]).read_to_end(&mut content).map(|_| ()).unwrap(),
        None => content.clone_from(bytes),
        other => panic!("{other:?}"),
    }
    content
}

#[test]
fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([("page", 200), ("unknown-version", 404), ("unknown-path", 404)]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/back-office");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.keys().map(Into::into).collect());
    for (name, status) in expected {
        assert_eq!(answer_to(event(name)).status_code, status, "{name}");
    }
}

#[test]
fn page_is_never_cached_and_its_assets_for_ever() {
    let page = answer_to(event("page"));
    assert_eq!((header(&page, "cache-control"), header(&page, "etag")), (Some("no-store"), None));
    assert_eq!(header(&page, "content-type"), Some("text/html; charset=utf-8"));
    for file in ASSETS {
        let answer = answer_to(request(&asset(file.name), json!({})));
        assert_eq!(answer.status_code, 200, "{}", file.name);
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(header(&answer, "etag"), Some(format!("\"{VERSION}\"").as_str()));
        assert_eq!(content(&answer), file.plain);
    }
}

#[test]
fn page_names_every_asset_by_its_address() {
    let page = String::from_utf8(content(&answer_to(event("page")))).unwrap();
    for file in ASSETS {
        let named = page.matches(&format!("\"back-office/assets/{VERSION}/{}\"", file.name)).count();
        assert_eq!(
            named, 1,
            "{}: a module that the page does not name is found late, after those that import it",
            file.name
        );
    }
    assert_eq!(page.matches("/assets/").count(), ASSETS.len(), "the page names what is not there");
}

#[test]
fn known_version_of_an_asset_is_not_sent_again() {
    let tag = format!("\"{VERSION}\"");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let answer = answer_to(request(&asset("app.js"), json!({"if-none-match": known})));
        assert_eq!((answer.status_code, answer.body.is_none()), (304, true), "{known}");
        assert_eq!(header(&answer, "etag"), Some(tag.as_str()));
    }
    let answer = answer_to(request(&asset("app.js"), json!({"if-none-match": "\"other\""})));
    assert_eq!(answer.status_code, 200);
}

#[test]
fn compressed_form_is_sent_to_those_who_take_it() {
    for (accepted, encoding) in [
        (json!({"accept-encoding": "gzip, deflate, br"}), Some("gzip")),
        (json!({"accept-encoding": "br;q=1.0, GZIP;q=0.8"}), Some("gzip")),
        (json!({"accept-encoding": "gzip;q=0, identity"}), None),
        (json!({"accept-encoding": "identity"}), None),
        (json!({}), None),
    ] {
        let answer = answer_to(request(&asset("app.css"), accepted.clone()));
        assert_eq!(header(&answer, "content-encoding"), encoding, "{accepted}");
        assert_eq!(header(&answer, "vary"), Some("accept-encoding"));
        assert!(content(&answer).starts_with(b"/*"));
    }
}

#[test]
fn paths_that_are_no_asset_are_not_found() {
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
        let answer = answer_to(request(path, json!({})));
        assert_eq!(answer.status_code, 404, "{path:?}");
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    }
}

#[test]
fn page_tells_the_browser_what_it_may_not_do() {
    for event in [event("page"), event("unknown-path"), event("unknown-version")] {
        let answer = answer_to(event);
        let policy = header(&answer, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"));
        for lax in ["unsafe", "http:", "data:", "*"] {
            assert!(!policy.contains(lax), "{lax}");
        }
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
        assert!(header(&answer, "permissions-policy").unwrap().contains("camera=()"));
    }
}

#[test]
fn every_answer_is_taken_for_what_it_says_it_is_and_by_nobody_else() {
    let not_modified = request(&asset("app.js"), json!({"if-none-match": format!("\"{VERSION}\"")}));
    for event in [event("page"), event("unknown-path"), request(&asset("app.js"), json!({})), not_modified] {
        let answer = answer_to(event);
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "cross-origin-resource-policy"), Some("same-origin"));
    }
}

#[test]
fn slash_at_the_end_leads_to_the_page() {
    let mut of_the_page = event("page");
    of_the_page["rawPath"] = json!("/back-office/");
    for event in [of_the_page, request("", json!({}))] {
        let answer = answer_to(event);
        assert_eq!((answer.status_code, header(&answer, "location")), (308, Some("../back-office")));
    }
}

/// What the policy would stop, and nobody would see until a browser runs it.
#[test]
fn files_have_no_inline_code_or_style_and_name_no_other_host() {
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

/// The promise is 60 kB for the page as a whole; what else goes over the wire is headers.
#[test]
fn page_and_assets_stay_light() {
    let bytes: usize = ASSETS.iter().chain([&INDEX]).map(|file| file.gzip.len()).sum();
    assert!(bytes < 48_000, "{bytes} bytes");
}

/// The page checks addresses as they are entered; tests/e2e holds its module to the same table in a browser.
#[test]
fn address_cases_are_the_rules_of_the_api() {
    let table = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("address-cases.json")).unwrap();
    let cases: Vec<(String, Option<String>)> = serde_json::from_slice(&table).unwrap();
    assert!(cases.len() > 50);
    for (text, reason) in cases {
        let told = text.parse::<domain::email::EmailAddress>().err().map(|reason| format!("{reason:?}"));
        assert_eq!(told, reason, "{text:?}");
    }
}
