//! [`read_page`] must read every page as the SDK does.

use std::fmt::Write as _;

use exports_domain::filter::RowFilter;
use exports_domain::options::ExportOptions;
use proptest::prelude::*;

use exports_domain::export_type::{ColumnKind, Definition};

use super::reference::read_with_sdk;
use super::*;

fn columns() -> FileColumns {
    FileColumns::current(ExportType::ALL[0])
}

fn any_columns() -> impl Strategy<Value = FileColumns> {
    prop::sample::select(ExportType::ALL.map(FileColumns::current).to_vec())
}

fn all() -> RowSelection {
    RowSelection::all(columns())
}

/// The rows in EUR with two of the statuses.
fn some(columns: FileColumns) -> RowSelection {
    let definition = columns.export_type.definition();
    let filter = RowFilter {
        statuses: definition.row_statuses().take(2).collect(),
        currencies: ["EUR".parse().unwrap()].into(),
        ..RowFilter::default()
    };
    RowSelection::of(columns, &ExportOptions { filter, ..ExportOptions::default() })
}

/// The JSON of a string. `escapes` selects characters to escape that need not be.
pub(in crate::dynamodb) fn string(text: &str, escapes: u64) -> String {
    let mut json = String::from("\"");
    for (index, c) in text.chars().enumerate() {
        let escape = escapes >> (index % 64) & 1 == 1;
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\n' if escape => json.push_str("\\n"),
            '/' if escape => json.push_str("\\/"),
            c if escape || c < ' ' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn any_string() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "\\PC{0,12}",
        "[=+@;\"\\\\/\r\n\t -]{0,8}",
        "[\u{10000}-\u{10ffff}a-z]{0,6}",
        Just("x".repeat(5000)),
    ];
    (text, prop_oneof![Just(0_u64), any::<u64>()]).prop_map(|(text, escapes)| string(&text, escapes))
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,38}",
        "-?[0-9]{1,10}\\.[0-9]{1,10}",
        "-?[1-9](\\.[0-9]{1,5})?E[+-]?[0-9]{1,3}",
        Just("-0".to_owned()),
    ]
}

/// An attribute value of any type of DynamoDB.
pub(in crate::dynamodb) fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any_string().prop_map(|text| format!("{{\"S\":{text}}}")),
        any_number().prop_map(|number| format!("{{\"N\":\"{number}\"}}")),
        Just("{\"NULL\":true}".to_owned()),
        Just("{\"NULL\":false}".to_owned()),
        any::<bool>().prop_map(|flag| format!("{{\"BOOL\":{flag}}}")),
        Just("{\"B\":\"AQID\"}".to_owned()),
        prop::collection::vec(any_string(), 1..3).prop_map(|texts| format!("{{\"SS\":[{}]}}", texts.join(","))),
        Just("{\"NS\":[\"1\",\"2\"]}".to_owned()),
        Just("{\"BS\":[\"AQID\"]}".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("{{\"L\":[{}]}}", values.join(","))),
            prop::collection::vec((any_string(), inner), 0..3).prop_map(|members| {
                let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{\"M\":{{{}}}}}", members.join(","))
            }),
        ]
    })
}

/// Usually a value that the column allows; sometimes another one, or none.
fn column_value(definition: &'static Definition, column: &Column) -> impl Strategy<Value = Option<String>> + use<> {
    let one_of =
        |texts: Vec<&'static str>| prop::sample::select(texts).prop_map(|text| format!("{{\"S\":\"{text}\"}}")).boxed();
    let good = match column.kind {
        ColumnKind::Amount | ColumnKind::OtherAmount | ColumnKind::Count => {
            any_number().prop_map(|number| format!("{{\"N\":\"{number}\"}}")).boxed()
        }
        ColumnKind::Status => one_of(definition.statuses.iter().map(|status| status.name).collect()),
        ColumnKind::OneOf(values) => one_of(values.to_vec()),
        ColumnKind::Currency => one_of(vec!["EUR", "JPY", "KWD", "XXX"]),
        ColumnKind::Time => prop_oneof![
            Just("2024-02-29T23:59:59.999Z"),
            Just("2026-10-08T08:30:00.000Z"),
            Just("2026-02-30T00:00:00.000Z")
        ]
        .prop_map(|time| format!("{{\"S\":\"{time}\"}}"))
        .boxed(),
        ColumnKind::Text => any_string().prop_map(|text| format!("{{\"S\":{text}}}")).boxed(),
    };
    prop_oneof![20 => good.prop_map(Some), 1 => Just(None), 2 => any_value().prop_map(Some)]
}

fn any_item(columns: FileColumns) -> impl Strategy<Value = String> {
    let definition = columns.export_type.definition();
    let columns: Vec<_> = columns
        .list()
        .iter()
        .map(|column| column_value(definition, column).prop_map(|value| (column.attribute, value)))
        .collect();
    let extra = prop::collection::vec(("[a-z]{1,5}", any_value()), 0..3);
    let white = prop::sample::select(vec!["", " ", "\n\t "]);
    let sort = prop_oneof![9 => Just(None), 1 => any_string().prop_map(Some)];
    (columns, extra, sort, white, any::<bool>()).prop_shuffle_members()
}

/// Joins the members of an item in any order, with white space between them.
trait ShuffleMembers: Sized {
    fn prop_shuffle_members(self) -> BoxedStrategy<String>;
}

type ItemParts = (Vec<(&'static str, Option<String>)>, Vec<(String, String)>, Option<String>, &'static str, bool);

/// The JSON of the sort key that fits the item's values, as far as it has them.
fn own_sort_key(columns: &[(&'static str, Option<String>)]) -> String {
    let text = |value: Option<&(&str, Option<String>)>| {
        let value = value.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
        value.strip_prefix("{\"S\":\"").and_then(|value| value.strip_suffix("\"}")).unwrap_or_default().to_owned()
    };
    let created_at = columns.iter().find(|(name, _)| *name == "createdAt");
    format!("\"{}#{}\"", text(created_at), text(columns.first()))
}

impl<S: Strategy<Value = ItemParts> + 'static> ShuffleMembers for S {
    fn prop_shuffle_members(self) -> BoxedStrategy<String> {
        self.prop_flat_map(|(columns, extra, sort, white, shuffled)| {
            let sort = sort.unwrap_or_else(|| own_sort_key(&columns));
            let mut members: Vec<String> =
                vec!["\"tenantId\":{\"S\":\"acme\"}".into(), format!("\"sk\":{{\"S\":{sort}}}")];
            members
                .extend(columns.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\"{white}:{}", value?))));
            members.extend(extra.into_iter().map(|(name, value)| format!("\"x{name}\":{value}")));
            let members = if shuffled { Just(members).prop_shuffle().boxed() } else { Just(members).boxed() };
            members.prop_map(move |members| format!("{{{white}{}{white}}}", members.join(&format!("{white},"))))
        })
        .boxed()
    }
}

fn any_page() -> impl Strategy<Value = (FileColumns, String)> {
    any_columns().prop_flat_map(|columns| (Just(columns), any_page_of(columns)))
}

fn any_page_of(columns: FileColumns) -> impl Strategy<Value = String> {
    let items = prop::collection::vec(any_item(columns), 0..5);
    let last = prop::option::of(any_string());
    (items, last, any::<bool>()).prop_map(|(items, last, has_extra)| {
        let mut body = format!("{{\"Count\":{},\"Items\":[{}],\"ScannedCount\":7", items.len(), items.join(","));
        if let Some(last) = last {
            let _ = write!(body, ",\"LastEvaluatedKey\":{{\"tenantId\":{{\"S\":\"acme\"}},\"sk\":{{\"S\":{last}}}}}");
        }
        if has_extra {
            body.push_str(",\"ConsumedCapacity\":{\"TableName\":\"P\",\"CapacityUnits\":1.5}");
        }
        body + "}"
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn read_page_of_any_page_equals_the_sdk((columns, body) in any_page()) {
        for selection in [RowSelection::all(columns), some(columns)] {
            let expected = read_with_sdk(&body, &selection);
            prop_assert!(expected.is_some());
            prop_assert_eq!(read_page(body.as_bytes(), &selection).ok(), expected);
        }
    }

    #[test]
    fn read_page_of_malformed_page_equals_the_sdk_or_is_an_error(
        (columns, body) in any_page(), at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let selection = RowSelection::all(columns);
        if let (Ok(page), Ok(body)) = (read_page(&bytes, &selection), str::from_utf8(&bytes))
            && let Some(expected) = read_with_sdk(body, &selection)
        {
            prop_assert_eq!(page, expected);
        }
        prop_assert!(read_page(&bytes[..at], &selection).is_err());
    }

    #[test]
    fn read_page_of_any_bytes_does_not_panic(bytes: Vec<u8>, columns in any_columns()) {
        let _ = read_page(&bytes, &RowSelection::all(columns));
    }
}

#[test]
fn read_page_of_the_fuzzing_corpus_equals_the_sdk() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/page");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let body = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for selection in ExportType::ALL.map(|export_type| RowSelection::all(FileColumns::current(export_type))) {
            assert_eq!(read_page(body.as_bytes(), &selection).ok(), read_with_sdk(&body, &selection), "{body}");
        }
    }
}

/// Otherwise each row would be read by the slow path.
#[test]
fn fast_member_reads_every_column_of_every_type() {
    let text = "a text that is longer than a word";
    for export_type in ExportType::ALL {
        for (index, column) in export_type.definition().columns.iter().enumerate() {
            let body = format!("\"{}\":{{\"S\":\"{text}\"}}}}", column.attribute);
            let mut json = JsonReader::new(body.as_bytes()).unwrap();
            let member = json.fast_member(NameTable::of(export_type));
            assert_eq!(member, Some((Field::Column(index), Value::Text(text))), "{column:?}");
        }
        for name in ["supplierPayoutIdentifier", "createdA", "createdAtx", "sourceBalanceAccountTypes"] {
            let body = format!("\"{name}\":{{\"S\":\"xxxxxxxxxxxxxxxx\"}}");
            assert_eq!(JsonReader::new(body.as_bytes()).unwrap().fast_member(NameTable::of(export_type)), None);
        }
    }
}

#[test]
fn read_page_without_items_can_have_a_next_page() {
    let body = r#"{"Count":0,"Items":[],"LastEvaluatedKey":{"sk":{"S":"k"},"tenantId":{"S":"t"}}}"#;
    let page = read_page(body.as_bytes(), &all()).unwrap();
    assert_eq!((page.encoded.rows, page.first, page.last.as_deref()), (0, None, Some("k")));
}

#[test]
fn read_page_of_another_response_is_an_error() {
    for body in [
        "",
        "null",
        "[]",
        "{",
        "{}x",
        r#"{"Items":{}}"#,
        r#"{"Items":[],"Items":[]}"#,
        r#"{"Items":[{}]}"#,
        r#"{"Items":[{"sk":{"N":"1"}}]}"#,
        "\u{feff}{}",
    ] {
        assert!(read_page(body.as_bytes(), &all()).is_err(), "{body}");
    }
    assert!(read_page(b"{\"a\":\"\xff\"}", &all()).is_err());
}

proptest! {
    #[test]
    fn end_of_a_value_is_the_first_quote_or_backslash(text in "(a|é|!|#|]|\"){0,40}[\"\\\\]?(a|\"|\\\\){0,40}") {
        prop_assert_eq!(before_special(text.as_bytes()), text.find(['"', '\\']));
    }
}

#[test]
fn last_of_two_attributes_of_one_name_wins() {
    let item = r#""sk":{"S":"k"},"reference" :{"N":"1"},"reference":{"S":"b"}"#;
    let body = format!(r#"{{"Items":[{{{item}}}]}}"#);
    assert_eq!(read_page(body.as_bytes(), &all()).ok(), read_with_sdk(&body, &all()));
}
