use super::*;
use crate::tests::request;
use crate::validation::MAX_VALIDATION_ERRORS;
use exports_domain::export_type::ExportType;
use exports_domain::options::FileFormat;
use exports_domain::testing::address;
use proptest::prelude::*;
use serde_json::json;

fn parse(body: &str) -> Result<Option<Recipients>, BodyError> {
    let request = request(json!({"content-type": "application/json"}), Some(body));
    recipients(&request, &address("ann@example.com"), &AllowedDomains::default())
}

fn errors(body: &str) -> Vec<(ValidationCode, Option<String>, String)> {
    match parse(body) {
        Err(BodyError::ValidationErrors(errors)) => errors.into_iter().map(|f| (f.code, f.field, f.detail)).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

/// The codes and fields of the errors.
fn codes_and_fields(body: &str) -> Vec<(ValidationCode, Option<String>)> {
    errors(body).into_iter().map(|(code, field, _)| (code, field)).collect()
}

fn cc(addresses: impl IntoIterator<Item = String>) -> String {
    json!({"cc": addresses.into_iter().collect::<Vec<_>>()}).to_string()
}

fn numbered(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|i| format!("cc{i}@example.com"))
}

#[test]
fn absent_body_is_accepted_with_any_content_type() {
    for (headers, body) in [
        (json!({}), None),
        (json!({}), Some("")),
        (json!({"content-type": "application/json"}), Some("")),
        (json!({"content-type": "text/plain"}), None),
    ] {
        assert_eq!(
            recipients(&request(headers, body), &address("ann@example.com"), &AllowedDomains::default()),
            Ok(None)
        );
    }
}

#[test]
fn absent_cc_differs_from_empty_cc() {
    assert_eq!(parse("{}"), Ok(None));
    assert_eq!(parse(" { } "), Ok(None));
    assert_eq!(parse(r#"{"cc":null}"#), Ok(None));
    assert_eq!(parse(r#"{"cc":[]}"#), Ok(Some(Recipients::only(address("ann@example.com")))));
}

#[test]
fn cc_is_trimmed_and_deduplicated() {
    let body = r#"{"cc":[" b@x.com ", "B@X.com", "ANN@example.com", "c@x.com"]}"#;
    assert_eq!(parse(body).unwrap().unwrap().cc(), ["b@x.com", "c@x.com"].map(address));
}

#[test]
fn cc_accepts_49_addresses_and_rejects_50() {
    assert_eq!(parse(&cc(numbered(49))).unwrap().unwrap().cc().len(), 49);
    let repeated = numbered(49).chain(numbered(49)).chain(["ann@example.com".to_owned()]);
    assert_eq!(parse(&cc(repeated)).unwrap().unwrap().cc().len(), 49);
    assert_eq!(codes_and_fields(&cc(numbered(50))), [(ValidationCode::Size, Some("cc".into()))]);
    assert!(errors(&cc(numbered(50)))[0].2.contains("not 50"));
}

#[test]
fn cc_with_10000_addresses_is_bounded() {
    assert_eq!(codes_and_fields(&cc(vec![String::new(); 10_000])).len(), MAX_VALIDATION_ERRORS);
    assert_eq!(parse(&cc(vec!["a@b.c".into(); 10_000])), Err(BodyError::TooLarge));
    assert_eq!(parse(&cc(vec!["a@b.c".into(); 8_000])).unwrap().unwrap().cc().len(), 1);
    let different = (0..5_000).map(|i| format!("{i:x}@b.c"));
    assert_eq!(codes_and_fields(&cc(different)), [(ValidationCode::Size, Some("cc".into()))]);
}

#[test]
fn every_invalid_field_is_reported() {
    let body = r#"{"cc":["a@b.c","",7,null,"A <a@b.c>"],"bcc":[],"to":"a@b.c"}"#;
    let field = |name: &str| (ValidationCode::Format, Some(name.to_owned()));
    assert_eq!(codes_and_fields(body), ["cc[1]", "cc[2]", "cc[3]", "cc[4]", "bcc", "to"].map(field));
}

#[test]
fn cc_of_wrong_type_is_rejected() {
    for body in [r#"{"cc":"a@b.c"}"#, r#"{"cc":{}}"#, r#"{"cc":1}"#] {
        assert_eq!(codes_and_fields(body), [(ValidationCode::Format, Some("cc".into()))], "{body}");
    }
}

#[test]
fn duplicate_cc_is_rejected() {
    for body in [r#"{"cc":["a@b.c"],"cc":["d@b.c"]}"#, r#"{"cc":null,"cc":[]}"#] {
        assert_eq!(codes_and_fields(body), [(ValidationCode::Format, Some("cc".into()))]);
    }
}

#[test]
fn body_other_than_json_object_is_rejected() {
    let deep = format!(r#"{{"cc":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in
        [" ", "{", "cc=a@b.c", "[]", "null", "\"a\"", "{}{}", "{'cc':[]}", "\u{feff}{}", r#"{"n":1e999}"#, &deep]
    {
        assert_eq!(codes_and_fields(body), [(ValidationCode::Format, None)], "{body:.20}");
    }
    let binary = Request::from(crate::tests::event(
        json!({"headers": {"content-type": "application/json"}, "body": "/////w==", "isBase64Encoded": true}),
    ));
    assert!(matches!(
        recipients(&binary, &address("ann@example.com"), &AllowedDomains::default()),
        Err(BodyError::ValidationErrors(_))
    ));
}

#[test]
fn body_of_other_media_type_is_rejected() {
    let with_type = |content_type: &str| {
        recipients(
            &request(json!({"content-type": content_type}), Some("{}")),
            &address("ann@example.com"),
            &AllowedDomains::default(),
        )
    };
    for good in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"; v=1",
    ] {
        assert_eq!(with_type(good), Ok(None), "{good}");
    }
    for bad in ["", "text/plain", "application/jsonp", "application/xml", "application/json; charset=utf-16"] {
        assert_eq!(with_type(bad), Err(BodyError::UnsupportedMediaType), "{bad}");
    }
    assert_eq!(
        recipients(&request(json!({}), Some("{}")), &address("ann@example.com"), &AllowedDomains::default()),
        Err(BodyError::UnsupportedMediaType)
    );
}

#[test]
fn body_over_64_kib_is_rejected_with_any_content_type() {
    let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    assert_eq!(parse(&body(65_536)), Ok(None));
    assert_eq!(parse(&body(65_537)), Err(BodyError::TooLarge));
    let untyped = request(json!({}), Some(&body(65_537)));
    assert_eq!(recipients(&untyped, &address("ann@example.com"), &AllowedDomains::default()), Err(BodyError::TooLarge));
}

#[test]
fn long_unknown_field_name_is_shortened() {
    let body = json!({"x".repeat(1000): 1}).to_string();
    assert_eq!(codes_and_fields(&body), [(ValidationCode::Format, Some("x".repeat(64)))]);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(body in "\\PC{0,200}") {
        let _ = parse(&body);
    }

    #[test]
    fn arbitrary_cc_is_accepted_or_has_errors(
        elements in prop::collection::vec(prop_oneof![
            Just(json!(null)), Just(json!(1)), "[a-zA-Z@. ,<>\"é]{0,20}".prop_map(Value::from),
            "[a-z]{1,3}@[a-z]{1,3}\\.[a-z]{2}".prop_map(Value::from),
        ], 0..200),
    ) {
        let good = |e: &Value| e.as_str().is_some_and(|text| text.parse::<EmailAddress>().is_ok());
        let bad = elements.iter().filter(|element| !good(element)).count();
        match parse(&json!({"cc": elements}).to_string()) {
            Ok(recipients) => {
                prop_assert_eq!(bad, 0);
                prop_assert!(recipients.unwrap().cc().len() <= Recipients::MAX_CC);
            }
            Err(BodyError::ValidationErrors(errors)) => {
                let formats = errors.iter().filter(|error| error.code == ValidationCode::Format).count();
                prop_assert_eq!(formats, bad.min(MAX_VALIDATION_ERRORS));
                prop_assert!(!errors.is_empty() && errors.len() <= MAX_VALIDATION_ERRORS);
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn cc_at_disallowed_domain_is_rejected() {
    let allowed: AllowedDomains = "example.com,example.org".parse().unwrap();
    let parse = |body: &str| {
        let request = request(json!({"content-type": "application/json"}), Some(body));
        recipients(&request, &address("ann@elsewhere.example"), &allowed)
    };
    let body = r#"{"cc":["a@example.com","b@evil.example","c@Example.ORG","x","d@sub.example.com"]}"#;
    let Err(BodyError::ValidationErrors(errors)) = parse(body) else { panic!("accepted") };
    let codes_and_fields: Vec<_> = errors.iter().map(|error| (error.code, error.field.as_deref())).collect();
    let (enumeration, format) = (ValidationCode::Enumeration, ValidationCode::Format);
    assert_eq!(codes_and_fields, [(enumeration, Some("cc[1]")), (format, Some("cc[3]")), (enumeration, Some("cc[4]"))]);
    assert_eq!(errors[0].detail, "CC recipients at this domain are not allowed; ask your administrator");
    // The main recipient may have any domain.
    let accepted = parse(r#"{"cc":["ann@elsewhere.example","a@example.com"]}"#).unwrap().unwrap();
    assert_eq!(accepted.cc(), [address("a@example.com")]);
}

#[test]
fn recorded_cc_at_disallowed_domain_is_rejected() {
    let recorded = Recipients::new(address("ann@x.com"), ["a@example.com", "b@example.net"].map(address)).unwrap();
    assert_eq!(check_recorded_cc(&recorded, &AllowedDomains::default()), Ok(()));
    let Err(BodyError::ValidationErrors(errors)) = check_recorded_cc(&recorded, &"example.com".parse().unwrap()) else {
        panic!("accepted")
    };
    assert_eq!(errors.into_iter().map(|error| error.field).collect::<Vec<_>>(), [Some("cc[1]".to_owned())]);
}

fn parse_launch(body: &str) -> Result<Launch, BodyError> {
    let request = request(json!({"content-type": "application/json"}), Some(body));
    let definition = ExportType::MarketplacePayouts.definition();
    launch(&request, definition, &address("ann@example.com"), &AllowedDomains::default())
}

#[test]
fn launch_without_options_has_the_defaults() {
    let expected =
        Launch { recipients: Recipients::only(address("ann@example.com")), options: ExportOptions::default() };
    for body in ["", "{}", r#"{"cc":null,"filter":null,"format":null}"#, r#"{"filter":{},"format":"CSV"}"#] {
        assert_eq!(parse_launch(body).as_ref(), Ok(&expected), "{body}");
    }
}

#[test]
fn every_invalid_field_of_a_launch_is_reported() {
    let body = r#"{"cc":["x"],"filter":{"statuses":[]},"format":"PDF","bcc":[],"format":"CSV"}"#;
    let Err(BodyError::ValidationErrors(errors)) = parse_launch(body) else { panic!("accepted") };
    let codes_and_fields: Vec<_> = errors.iter().map(|error| (error.code, error.field.as_deref())).collect();
    let expected = [
        (ValidationCode::Format, Some("cc[0]")),
        (ValidationCode::Missing, Some("filter.statuses")),
        (ValidationCode::Enumeration, Some("format")),
        (ValidationCode::Format, Some("bcc")),
        (ValidationCode::Format, Some("format")),
    ];
    assert_eq!(codes_and_fields, expected);
}

#[test]
fn format_is_parsed() {
    for (format, expected) in [("CSV", FileFormat::Csv), ("XLSX", FileFormat::Xlsx)] {
        let launch = parse_launch(&format!(r#"{{"format":"{format}"}}"#)).unwrap();
        assert_eq!(launch.options.format, expected);
    }
}

#[test]
fn format_of_wrong_type_or_unknown_name_is_rejected() {
    for (format, code) in
        [("7", ValidationCode::Format), ("{}", ValidationCode::Format), ("\"csv\"", ValidationCode::Enumeration)]
    {
        let Err(BodyError::ValidationErrors(errors)) = parse_launch(&format!(r#"{{"format":{format}}}"#)) else {
            panic!("accepted")
        };
        assert_eq!((errors[0].code, errors[0].field.as_deref()), (code, Some("format")), "{format}");
    }
}

#[test]
fn resend_has_no_options() {
    let unknown = ["filter", "format"].map(|name| (ValidationCode::Format, Some(name.to_owned())));
    assert_eq!(codes_and_fields(r#"{"filter":{},"format":"CSV"}"#), unknown);
}
