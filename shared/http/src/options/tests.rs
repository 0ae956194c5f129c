use super::*;
use crate::body::Fields;
use crate::validation::ValidationError;
use exports_domain::export_type::ExportType;
use exports_domain::filter::{FilterDefinition, FilterKind};
use exports_domain::testing::row_status;
use proptest::prelude::*;

use ValidationCode::{Enumeration, Format, Missing, Range, Size};

/// Marketplace payouts with every filter.
static ALL_FILTERS: Definition = Definition {
    filters: &[
        FilterDefinition { kind: FilterKind::CreatedAt, attributes: &["createdAt"] },
        FilterDefinition { kind: FilterKind::Statuses, attributes: &["status"] },
        FilterDefinition { kind: FilterKind::Currencies, attributes: &["currency"] },
        FilterDefinition { kind: FilterKind::SupplierIds, attributes: &["reference"] },
        FilterDefinition { kind: FilterKind::Amount, attributes: &["amountMinor"] },
        FilterDefinition { kind: FilterKind::SourceBalanceAccountType, attributes: &["balanceAccount"] },
        FilterDefinition { kind: FilterKind::TargetBalanceAccountType, attributes: &["balanceAccount"] },
    ],
    ..*ExportType::MarketplacePayouts.definition()
};

fn parse_with(definition: &Definition, filter: &str) -> Result<RowFilter, Vec<(ValidationCode, String)>> {
    let code_and_field = |error: ValidationError| (error.code, error.field.unwrap());
    parse_in_full(definition, filter).map_err(|errors| errors.into_iter().map(code_and_field).collect())
}

fn parse_in_full(definition: &Definition, filter: &str) -> Result<RowFilter, Vec<ValidationError>> {
    let mut errors = ValidationErrors::default();
    let Fields(mut fields) = serde_json::from_str(&format!(r#"{{"filter":{filter}}}"#)).unwrap();
    let filter = parse_filter(fields.remove(0).1, definition, &mut errors);
    errors.into_result(filter)
}

fn parse(filter: &str) -> Result<RowFilter, Vec<(ValidationCode, String)>> {
    parse_with(&ALL_FILTERS, filter)
}

fn errors(filter: &str) -> Vec<(ValidationCode, String)> {
    parse(filter).expect_err(filter)
}

#[test]
fn absent_null_and_empty_filters_are_equal() {
    for filter in ["null", "{}", r#"{"statuses":null,"createdAtFrom":null,"amountMin":null}"#] {
        assert_eq!(parse(filter), Ok(RowFilter::default()), "{filter}");
    }
    // Null is also not set for a filter of another type.
    let own = ExportType::MarketplacePayouts.definition();
    assert_eq!(parse_with(own, r#"{"supplierIds":null}"#), Ok(RowFilter::default()));
}

#[test]
fn filter_is_parsed_into_its_normal_form() {
    let filter = parse(
        r#"{"createdAtFrom":"2026-10-01","createdAtTo":"2026-10-31T23:59:59+02:00","statuses":["FAILED","SETTLED","FAILED"],
            "currencies":["EUR"],"supplierIds":["b","a","b"],"amountMin":"-1.50","amountMax":"007",
            "sourceBalanceAccountType":"SUPPLIER","targetBalanceAccountType":"MARKETPLACE"}"#,
    )
    .unwrap();
    assert_eq!(filter.statuses, ["SETTLED", "FAILED"].map(row_status).into());
    let shown = json!({
        "createdAtFrom": "2026-10-01T00:00:00.000Z",
        "createdAtTo": "2026-10-31T21:59:59.999Z",
        "statuses": ["SETTLED", "FAILED"],
        "currencies": ["EUR"],
        "supplierIds": ["a", "b"],
        "amountMin": "-1.5",
        "amountMax": "7",
        "sourceBalanceAccountType": "SUPPLIER",
        "targetBalanceAccountType": "MARKETPLACE",
    });
    assert_eq!(filter_json(&filter), shown);
    assert_eq!(parse(&shown.to_string()), Ok(filter));
}

#[test]
fn unknown_status_is_answered_with_the_known_ones() {
    let errors = parse_in_full(&ALL_FILTERS, r#"{"statuses":["PAID"]}"#).unwrap_err();
    assert_eq!(errors.first().unwrap().detail, "must be one of COMPUTED, PENDING, SETTLED, FAILED, INSUFFICIENT_FUNDS");
}

#[test]
fn invalid_field_is_reported_with_its_code() {
    for (filter, code, field) in [
        ("[]", Format, "filter"),
        ("7", Format, "filter"),
        (r#"{"country":["FR"]}"#, Enumeration, "filter.country"),
        (r#"{"country":null}"#, Enumeration, "filter.country"),
        (r#"{"statuses":[]}"#, Missing, "filter.statuses"),
        (r#"{"statuses":"SETTLED"}"#, Format, "filter.statuses"),
        (r#"{"statuses":{}}"#, Format, "filter.statuses"),
        (r#"{"statuses":["SETTLED","PAID"]}"#, Enumeration, "filter.statuses[1]"),
        (r#"{"statuses":["settled"]}"#, Enumeration, "filter.statuses[0]"),
        (r#"{"statuses":[null]}"#, Format, "filter.statuses[0]"),
        (r#"{"statuses":["SETTLED"],"statuses":["FAILED"]}"#, Format, "filter.statuses"),
        (r#"{"currencies":["EUR","eur"]}"#, Enumeration, "filter.currencies[1]"),
        (r#"{"currencies":["XXX"]}"#, Enumeration, "filter.currencies[0]"),
        (r#"{"supplierIds":[""]}"#, Format, "filter.supplierIds[0]"),
        (r#"{"supplierIds":[]}"#, Missing, "filter.supplierIds"),
        (r#"{"createdAtFrom":"yesterday"}"#, Format, "filter.createdAtFrom"),
        (r#"{"createdAtTo":20261008}"#, Format, "filter.createdAtTo"),
        (r#"{"createdAtFrom":"2026-10-09","createdAtTo":"2026-10-08"}"#, Range, "filter.createdAtTo"),
        (r#"{"amountMin":1,"currencies":["EUR"]}"#, Format, "filter.amountMin"),
        (r#"{"amountMin":"1.","currencies":["EUR"]}"#, Format, "filter.amountMin"),
        (r#"{"amountMin":"2","amountMax":"1","currencies":["EUR"]}"#, Range, "filter.amountMax"),
        (r#"{"amountMin":"1"}"#, Missing, "filter.currencies"),
        (r#"{"amountMax":"1","currencies":null}"#, Missing, "filter.currencies"),
        (r#"{"amountMax":"1","currencies":["EUR","USD"]}"#, Missing, "filter.currencies"),
        (r#"{"amountMax":"1","currencies":[]}"#, Missing, "filter.currencies"),
        (r#"{"amountMax":"1","currencies":["?"]}"#, Enumeration, "filter.currencies[0]"),
        (r#"{"sourceBalanceAccountType":"BANK"}"#, Enumeration, "filter.sourceBalanceAccountType"),
        (r#"{"targetBalanceAccountType":1}"#, Format, "filter.targetBalanceAccountType"),
    ] {
        assert_eq!(errors(filter), [(code, field.to_owned())], "{filter}");
    }
}

#[test]
fn every_invalid_field_is_reported() {
    let filter = r#"{"createdAtFrom":"2026-10-09","createdAtTo":"2026-10-08","statuses":["A","B"],"currencies":[],"x":1,
                     "amountMin":"z"}"#;
    let expected = [
        (Enumeration, "filter.statuses[0]"),
        (Enumeration, "filter.statuses[1]"),
        (Missing, "filter.currencies"),
        (Enumeration, "filter.x"),
        (Format, "filter.amountMin"),
        (Range, "filter.createdAtTo"),
    ];
    assert_eq!(errors(filter), expected.map(|(code, field)| (code, field.to_owned())));
}

#[test]
fn filter_of_another_type_is_rejected() {
    let own = ExportType::MarketplacePayouts.definition();
    for field in ["supplierIds", "amountMin", "amountMax", "sourceBalanceAccountType", "targetBalanceAccountType"] {
        let error = [(Enumeration, format!("filter.{field}"))];
        assert_eq!(parse_with(own, &json!({field: "x"}).to_string()), Err(error.into()), "{field}");
    }
}

#[test]
fn period_between_two_milliseconds_is_accepted() {
    let filter =
        parse(r#"{"createdAtFrom":"2026-10-08T08:30:00.0001Z","createdAtTo":"2026-10-08T08:30:00.0002Z"}"#).unwrap();
    assert!(filter.created_at_from > filter.created_at_to);
}

#[test]
fn filter_accepts_50_different_suppliers() {
    let ids = |count: usize| (0..count).map(|number| format!("sup_{number}")).collect::<Vec<_>>();
    let repeated = [ids(50), ids(50)].concat();
    assert_eq!(parse(&json!({"supplierIds": repeated}).to_string()).unwrap().supplier_ids.len(), 50);
    assert_eq!(errors(&json!({"supplierIds": ids(51)}).to_string()), [(Size, "filter.supplierIds".to_owned())]);
}

#[test]
fn normal_form_omits_defaults() {
    assert_eq!(normal_form(&ExportOptions::default()), Map::new());
    let filter = parse(r#"{"statuses":["FAILED"]}"#).unwrap();
    let options = ExportOptions { filter, ..ExportOptions::default() };
    assert_eq!(Value::Object(normal_form(&options)), json!({"filter": {"statuses": ["FAILED"]}}));
}

proptest! {
    #[test]
    fn arbitrary_filter_is_accepted_or_has_errors(
        name in prop::sample::select(FilterField::ALL), text in "\\PC{0,20}|[A-Z]{3,8}|[0-9.-]{1,12}",
    ) {
        for value in [json!(text), json!([text]), json!({ "a": text })] {
            match parse(&json!({name.name(): value}).to_string()) {
                Ok(filter) => prop_assert_eq!(parse(&filter_json(&filter).to_string()), Ok(filter)),
                Err(errors) => prop_assert!(!errors.is_empty()),
            }
        }
    }
}

#[test]
fn filter_accepts_a_single_amount() {
    let filter = parse(r#"{"amountMin":"1.50","amountMax":"1.5","currencies":["EUR"]}"#).unwrap();
    assert_eq!(filter.amount_min, filter.amount_max);
}
