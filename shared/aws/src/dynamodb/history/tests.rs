//! [`read_records`] must read every page as the SDK does.

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export::{Lease, State};
use exports_domain::failure::Failure;
use exports_domain::testing::{export, file, ready_export, start, with_work};
use proptest::prelude::*;

use super::*;
use crate::dynamodb::item::Item;
use crate::dynamodb::page::reference::sdk_output;
use crate::dynamodb::page::tests::{any_value, string};
use crate::dynamodb::record::to_item;

/// The JSON of a value. `escapes` selects characters to escape that need not be.
fn value_of(value: &AttributeValue, escapes: u64) -> String {
    match value {
        AttributeValue::S(text) => format!("{{\"S\":{}}}", string(text, escapes)),
        AttributeValue::N(number) => format!("{{\"N\":\"{number}\"}}"),
        AttributeValue::Bool(flag) => format!("{{\"BOOL\":{flag}}}"),
        AttributeValue::B(bytes) => format!("{{\"B\":\"{}\"}}", base64::encode(bytes)),
        AttributeValue::L(values) => {
            let values: Vec<_> = values.iter().map(|member| value_of(member, escapes)).collect();
            format!("{{\"L\":[{}]}}", values.join(","))
        }
        AttributeValue::M(item) => format!("{{\"M\":{}}}", object(&members(item, escapes))),
        other => panic!("no record has {other:?}"),
    }
}

fn members(item: &Item, escapes: u64) -> Vec<(String, String)> {
    item.iter().map(|(name, attribute)| (string(name, escapes), value_of(attribute, escapes))).collect()
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn leased() -> Export {
    let lease = Lease { owner: "one \u{1f600}".into(), until: start() };
    with_work(export(), |pending| pending.lease = Some(lease))
}

fn failed() -> Export {
    let failure = Failure::deadline_passed(export().settings.time_limit);
    let resends = [(start().start_of_day(), 2)].into();
    let state = State::Failed { failure, file: Some(file()) };
    Export { state, resends, ..ready_export() }
}

/// A record as written, possibly with an attribute that is missing, of another type, or unknown.
fn any_record() -> impl Strategy<Value = String> {
    let good = prop::sample::select(vec![export(), leased(), ready_export(), failed()]);
    let escapes = prop_oneof![Just(0_u64), any::<u64>()];
    let change = prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)];
    let other = prop_oneof![Just(None), any_value().prop_map(Some)];
    let more = prop::collection::vec(("[a-z]{1,5}", any_value()), 0..3);
    (good, escapes, change, other, more).prop_map(|(good, escapes, change, other, more)| {
        let mut members = members(&to_item(&good), escapes);
        if let Some(change) = change {
            let (name, _) = members.swap_remove(change.index(members.len()));
            members.extend(other.map(|other| (name, other)));
        }
        members.extend(more.into_iter().map(|(name, value)| (format!("\"x{name}\""), value)));
        object(&members)
    })
}

fn any_page() -> impl Strategy<Value = String> {
    let records = prop::collection::vec(any_record(), 0..4);
    (records, prop::option::of("[A-Z#a-z0-9_-]{0,20}")).prop_map(|(records, last)| {
        let key =
            last.map(|sort| format!(r#","LastEvaluatedKey":{{"tenantId":{{"S":"acme"}},"sk":{{"S":"{sort}"}}}}"#));
        let key = key.unwrap_or_default();
        format!(r#"{{"Count":{},"Items":[{}]{key},"ScannedCount":7}}"#, records.len(), records.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn read_records_of_any_page_equals_the_sdk(body in any_page()) {
        let output = sdk_output(&body).unwrap();
        let last = output.last_evaluated_key().map(|key| get_text(key, SORT).unwrap().to_owned());
        let sort = |item: &Item| get_text(item, SORT).ok().map(str::to_owned);
        let records = output.items().iter().map(|item| Some((sort(item)?, read(item)))).collect::<Option<_>>();
        let expected = records.map(|records| RecordPage { records, last });
        prop_assert_eq!(read_records(body.as_bytes()).ok(), expected);
    }

    #[test]
    fn read_records_of_malformed_body_does_not_panic(body in any_page(), at: prop::sample::Index, byte: u8) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read_records(&bytes);
        prop_assert!(read_records(&bytes[..at]).is_err());
    }
}

#[test]
fn read_records_of_another_response_is_an_error() {
    for body in ["", "null", "[]", "{", "{}x", r#"{"Items":{}}"#, r#"{"Items":[{"sk":"x"}]}"#] {
        assert!(read_records(body.as_bytes()).is_err(), "{body}");
    }
    let key = r#"{"Items":[],"LastEvaluatedKey":{"tenantId":{"S":"acme"}}}"#;
    assert!(read_records(key.as_bytes()).is_err());
}
