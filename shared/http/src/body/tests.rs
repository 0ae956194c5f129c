use super::*;
use crate::fault::MOST_FAULTS;
use crate::tests::request;
use domain::testing::address;
use proptest::prelude::*;
use serde_json::json;

fn parse(body: &str) -> Result<Option<Recipients>, BadBody> {
    let request = request(json!({"content-type": "application/json"}), Some(body));
    recipients(&request, &address("ann@example.com"), &AllowedDomains::default())
}

fn faults(body: &str) -> Vec<(FaultCode, Option<String>, String)> {
    match parse(body) {
        Err(BadBody::Faults(faults)) => faults.into_iter().map(|f| (f.code, f.field, f.detail)).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

/// The codes and fields of the faults.
fn places(body: &str) -> Vec<(FaultCode, Option<String>)> {
    faults(body).into_iter().map(|(code, field, _)| (code, field)).collect()
}

fn cc(addresses: impl IntoIterator<Item = String>) -> String {
    json!({"cc": addresses.into_iter().collect::<Vec<_>>()}).to_string()
}

fn numbered(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|i| format!("cc{i}@example.com"))
}

#[test]
fn absent_body_says_nothing_whatever_its_type() {
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
fn body_without_cc_says_nothing_and_one_with_an_empty_cc_says_no_copies() {
    assert_eq!(parse("{}"), Ok(None));
    assert_eq!(parse(" { } "), Ok(None));
    assert_eq!(parse(r#"{"cc":[]}"#), Ok(Some(Recipients::only(address("ann@example.com")))));
}

#[test]
fn copies_are_trimmed_and_dropped_if_they_are_there_already() {
    let body = r#"{"cc":[" b@x.com ", "B@X.com", "ANN@example.com", "c@x.com"]}"#;
    assert_eq!(parse(body).unwrap().unwrap().cc(), ["b@x.com", "c@x.com"].map(address));
}

#[test]
fn forty_nine_copies_are_taken_and_fifty_are_too_many() {
    assert_eq!(parse(&cc(numbered(49))).unwrap().unwrap().cc().len(), 49);
    let repeated = numbered(49).chain(numbered(49)).chain(["ann@example.com".to_owned()]);
    assert_eq!(parse(&cc(repeated)).unwrap().unwrap().cc().len(), 49);
    assert_eq!(places(&cc(numbered(50))), [(FaultCode::Size, Some("cc".into()))]);
    assert!(faults(&cc(numbered(50)))[0].2.contains("not 50"));
}

#[test]
fn ten_thousand_copies_are_told_in_bounded_time_and_room() {
    assert_eq!(places(&cc(vec![String::new(); 10_000])).len(), MOST_FAULTS);
    assert_eq!(parse(&cc(vec!["a@b.c".into(); 10_000])), Err(BadBody::TooLarge));
    assert_eq!(parse(&cc(vec!["a@b.c".into(); 8_000])).unwrap().unwrap().cc().len(), 1);
    let different = (0..5_000).map(|i| format!("{i:x}@b.c"));
    assert_eq!(places(&cc(different)), [(FaultCode::Size, Some("cc".into()))]);
}

#[test]
fn every_fault_is_told_with_its_field() {
    let body = r#"{"cc":["a@b.c","",7,null,"A <a@b.c>"],"bcc":[],"to":"a@b.c"}"#;
    let field = |name: &str| (FaultCode::Format, Some(name.to_owned()));
    assert_eq!(places(body), ["cc[1]", "cc[2]", "cc[3]", "cc[4]", "bcc", "to"].map(field));
}

#[test]
fn cc_of_another_type_is_refused() {
    for body in [r#"{"cc":"a@b.c"}"#, r#"{"cc":null}"#, r#"{"cc":{}}"#, r#"{"cc":1}"#] {
        assert_eq!(places(body), [(FaultCode::Format, Some("cc".into()))], "{body}");
    }
}

#[test]
fn repeated_cc_is_refused_instead_of_losing_one() {
    assert_eq!(places(r#"{"cc":["a@b.c"],"cc":["d@b.c"]}"#), [(FaultCode::Format, Some("cc".into()))]);
}

#[test]
fn body_that_is_no_json_object_is_refused() {
    let deep = format!(r#"{{"cc":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in
        [" ", "{", "cc=a@b.c", "[]", "null", "\"a\"", "{}{}", "{'cc':[]}", "\u{feff}{}", r#"{"n":1e999}"#, &deep]
    {
        assert_eq!(places(body), [(FaultCode::Format, None)], "{body:.20}");
    }
    let binary = Request::from(crate::tests::event(
        json!({"headers": {"content-type": "application/json"}, "body": "/////w==", "isBase64Encoded": true}),
    ));
    assert!(matches!(
        recipients(&binary, &address("ann@example.com"), &AllowedDomains::default()),
        Err(BadBody::Faults(_))
    ));
}

#[test]
fn body_of_another_media_type_is_refused() {
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
        assert_eq!(with_type(bad), Err(BadBody::NotJson), "{bad}");
    }
    assert_eq!(
        recipients(&request(json!({}), Some("{}")), &address("ann@example.com"), &AllowedDomains::default()),
        Err(BadBody::NotJson)
    );
}

#[test]
fn body_over_64_kib_is_too_large_whatever_its_type() {
    let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    assert_eq!(parse(&body(MOST_BYTES)), Ok(None));
    assert_eq!(parse(&body(MOST_BYTES + 1)), Err(BadBody::TooLarge));
    let untyped = request(json!({}), Some(&body(MOST_BYTES + 1)));
    assert_eq!(recipients(&untyped, &address("ann@example.com"), &AllowedDomains::default()), Err(BadBody::TooLarge));
}

#[test]
fn name_of_an_unknown_field_is_told_shortened() {
    let body = json!({"x".repeat(1000): 1}).to_string();
    assert_eq!(places(&body), [(FaultCode::Format, Some("x".repeat(64)))]);
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_without_panic(body in "\\PC{0,200}") {
        let _ = parse(&body);
    }

    #[test]
    fn any_json_is_taken_or_refused_with_faults(
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
            Err(BadBody::Faults(faults)) => {
                let formats = faults.iter().filter(|fault| fault.code == FaultCode::Format).count();
                prop_assert_eq!(formats, bad.min(MOST_FAULTS));
                prop_assert!(!faults.is_empty() && faults.len() <= MOST_FAULTS);
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn copy_at_another_domain_than_the_allowed_ones_is_a_fault_of_its_place() {
    let allowed: AllowedDomains = "example.com,example.org".parse().unwrap();
    let take = |body: &str| {
        let request = request(json!({"content-type": "application/json"}), Some(body));
        recipients(&request, &address("ann@elsewhere.example"), &allowed)
    };
    let body = r#"{"cc":["a@example.com","b@evil.example","c@Example.ORG","x","d@sub.example.com"]}"#;
    let Err(BadBody::Faults(faults)) = take(body) else { panic!("taken") };
    let places: Vec<_> = faults.iter().map(|fault| (fault.code, fault.field.as_deref())).collect();
    let (enumeration, format) = (FaultCode::Enumeration, FaultCode::Format);
    assert_eq!(places, [(enumeration, Some("cc[1]")), (format, Some("cc[3]")), (enumeration, Some("cc[4]"))]);
    // The caller's own address is no copy, wherever it is.
    let taken = take(r#"{"cc":["ann@elsewhere.example","a@example.com"]}"#).unwrap().unwrap();
    assert_eq!(taken.cc(), [address("a@example.com")]);
}

#[test]
fn kept_copy_at_a_domain_that_is_allowed_no_more_is_a_fault_of_its_place() {
    let kept = Recipients::new(address("ann@x.com"), ["a@example.com", "b@example.net"].map(address)).unwrap();
    assert_eq!(check_kept(&kept, &AllowedDomains::default()), Ok(()));
    let Err(BadBody::Faults(faults)) = check_kept(&kept, &"example.com".parse().unwrap()) else { panic!("taken") };
    assert_eq!(faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>(), [Some("cc[1]".to_owned())]);
}
