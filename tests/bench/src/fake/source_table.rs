//! `Query` on the source table.
//!
//! **Partition limit.** A partition gives 3,000 read units of 4 KiB per second, strongly consistent, which is 12.288 MB
//! (Developer Guide, "Best practices for designing and using partition keys effectively"). A page is served if any units
//! are left, and may consume more than are left. With no units left, the response is what AWS sends to an SDK that knows no
//! better: `ProvisionedThroughputExceededException` with the reason `TableReadKeyRangeThroughputExceeded` (API Reference,
//! ThrottlingReason).
//!
//! Unused units of one second accumulate. AWS documents more, up to 300 seconds ("Burst and adaptive capacity"), but does
//! not promise it: one second is the cautious choice. Splits for heat, which raise the limit, are not simulated.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use exports_aws::dynamodb::PARTITION_BYTES_PER_SECOND;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Conditions, FakeResponse, REGION, lock};
use crate::source_rows::{SourceRows, TENANT};

/// Bytes per read unit with strong consistency. Twice as many without.
const UNIT_BYTES: u64 = 4096;
/// Read units per second and partition.
pub(crate) const UNITS_PER_SECOND: f64 = (PARTITION_BYTES_PER_SECOND / UNIT_BYTES) as f64;

#[derive(Debug)]
pub(super) struct FakeSourceTable {
    rows: SourceRows,
    conditions: Conditions,
    units: Mutex<Units>,
}

/// The remaining read units, as of `at`, and all that were consumed.
#[derive(Debug)]
struct Units {
    left: f64,
    consumed: f64,
    at: Instant,
}

/// The supported parameters. A request with any other is rejected.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Query {
    table_name: String,
    key_condition_expression: String,
    #[serde(default)]
    expression_attribute_names: HashMap<String, String>,
    expression_attribute_values: HashMap<String, Text>,
    exclusive_start_key: Option<HashMap<String, Text>>,
    scan_index_forward: Option<bool>,
    limit: Option<u64>,
    #[serde(default)]
    consistent_read: bool,
    return_consumed_capacity: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

impl FakeSourceTable {
    pub(super) fn new(rows: SourceRows, conditions: Conditions) -> Self {
        let units = Units { left: UNITS_PER_SECOND, consumed: 0.0, at: Instant::now() };
        Self { rows, conditions, units: Mutex::new(units) }
    }

    /// Returns the name under which the call is counted, and the response.
    pub(super) async fn query(&self, body: &[u8]) -> (String, FakeResponse) {
        let page = serde_json::from_slice::<Query>(body).map_err(|error| error.to_string()).and_then(|query| {
            if self.conditions.partition_limit && !self.has_units() {
                return Ok(None);
            }
            self.page(&query).map(Some)
        });
        let response = match page {
            Ok(Some(page)) => response(StatusCode::OK, page),
            Ok(None) => {
                let problem = json!({
                    "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                    "message": "The level of configured provisioned throughput for the table was exceeded.",
                    "ThrottlingReasons": [{
                        "reason": "TableReadKeyRangeThroughputExceeded",
                        "resource": format!("arn:aws:dynamodb:{REGION}:123456789012:table/{}", self.rows.export_type().slug()),
                    }],
                });
                let problem = response(StatusCode::BAD_REQUEST, problem.to_string().into_bytes());
                return ("Query (throttled)".to_owned(), problem);
            }
            Err(message) => {
                let problem = json!({ "__type": "com.amazon.coral.validate#ValidationException", "message": message });
                response(StatusCode::BAD_REQUEST, problem.to_string().into_bytes())
            }
        };
        tokio::time::sleep(self.conditions.page_latency).await;
        ("Query".to_owned(), response)
    }

    fn page(&self, query: &Query) -> Result<Vec<u8>, String> {
        let table = self.rows.export_type().slug();
        if query.table_name != table {
            return Err(format!("Query is implemented for {table} only, not for {}", query.table_name));
        }
        let backward = query.scan_index_forward == Some(false);
        let mut range = self.range(query)?;
        if let Some(start) = &query.exclusive_start_key {
            let start = &start.get("sk").ok_or("ExclusiveStartKey has no sk")?.text;
            if backward {
                range.end = range.end.min(self.rows.first_from(start));
            } else {
                range.start = range.start.max(self.rows.first_after(start));
            }
        }
        let max_rows = query.limit.unwrap_or(u64::MAX);
        let mut items = Vec::with_capacity(2 << 20);
        let written = self.rows.write_items(range, backward, self.conditions.page_bytes, max_rows, &mut items);
        let units = written.size.max(1).div_ceil(UNIT_BYTES) as f64;
        let units = if query.consistent_read { units } else { units / 2.0 };
        {
            let mut all = lock(&self.units);
            all.left -= units;
            all.consumed += units;
        }
        let mut page = Vec::with_capacity(items.len() + 300);
        page.push(b'{');
        if query.return_consumed_capacity.as_deref() == Some("TOTAL") {
            let consumed = format!(r#""ConsumedCapacity":{{"CapacityUnits":{units:.1},"TableName":"{table}"}},"#);
            page.extend_from_slice(consumed.as_bytes());
        }
        page.extend_from_slice(format!(r#""Count":{},"Items":["#, written.count).as_bytes());
        page.append(&mut items);
        page.push(b']');
        if let Some(last) = written.last.filter(|_| written.full) {
            let sort = self.rows.sort_key(last);
            let key = format!(r#","LastEvaluatedKey":{{"sk":{{"S":"{sort}"}},"tenantId":{{"S":"{TENANT}"}}}}"#);
            page.extend_from_slice(key.as_bytes());
        }
        page.extend_from_slice(format!(r#","ScannedCount":{}}}"#, written.count).as_bytes());
        Ok(page)
    }

    /// The rows that match the key condition.
    fn range(&self, query: &Query) -> Result<std::ops::Range<u64>, String> {
        let unsupported = || format!("unsupported key condition: {}", query.key_condition_expression);
        let value = |name: &str| {
            query.expression_attribute_values.get(name).map(|value| value.text.as_str()).ok_or_else(unsupported)
        };
        // boto3 encloses conditions in parentheses.
        let condition = query.key_condition_expression.as_str();
        let condition = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(condition);
        let mut words = condition
            .split_ascii_whitespace()
            .map(|word| query.expression_attribute_names.get(word).map_or(word, String::as_str));
        let mut next = || words.next().unwrap_or_default();
        let ("tenantId", "=", tenant) = (next(), next(), next()) else { return Err(unsupported()) };
        let data = &self.rows;
        let rows = match (next(), next(), next(), next(), next(), next()) {
            ("", ..) => 0..data.rows(),
            ("AND", "sk", "<", end, "", _) => 0..data.first_from(value(end)?),
            ("AND", "sk", "<=", end, "", _) => 0..data.first_after(value(end)?),
            ("AND", "sk", ">", from, "", _) => data.first_after(value(from)?)..data.rows(),
            ("AND", "sk", ">=", from, "", _) => data.first_from(value(from)?)..data.rows(),
            ("AND", "sk", "BETWEEN", from, "AND", end) => data.first_from(value(from)?)..data.first_after(value(end)?),
            _ => return Err(unsupported()),
        };
        Ok(if value(tenant)? == TENANT { rows } else { 0..0 })
    }

    /// The read units consumed so far.
    pub(super) fn consumed_units(&self) -> f64 {
        lock(&self.units).consumed
    }

    fn has_units(&self) -> bool {
        let mut units = lock(&self.units);
        let now = Instant::now();
        units.left = (units.left + now.duration_since(units.at).as_secs_f64() * UNITS_PER_SECOND).min(UNITS_PER_SECOND);
        units.at = now;
        units.left > 0.0
    }
}

/// A response with the checksum that some SDKs verify.
fn response(status: StatusCode, body: Vec<u8>) -> FakeResponse {
    let checksum = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &body);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amz-crc32", checksum.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_rows::{Filter, Spread};
    use exports_domain::export_type::ExportType;
    use http_body_util::BodyExt;
    use serde_json::Value;

    const TYPE: ExportType = ExportType::FundingTransfers;

    fn table(conditions: Conditions) -> FakeSourceTable {
        FakeSourceTable::new(SourceRows::new(TYPE, Filter::Off, 5000, Spread::Even).unwrap(), conditions)
    }

    async fn query(table: &FakeSourceTable, condition: &str, more: Value) -> (StatusCode, Value) {
        let mut query = json!({
            "TableName": TYPE.slug(),
            "ConsistentRead": true,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": { "#tenantId": "tenantId", "#sk": "sk" },
            "ExpressionAttributeValues": {
                ":tenant": { "S": TENANT },
                ":a": { "S": table.rows.sort_key(10) },
                ":b": { "S": table.rows.sort_key(20) },
            },
        });
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (_, response) = table.query(query.to_string().as_bytes()).await;
        let status = response.status();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn key_condition_selects_rows() {
        let table = table(Conditions::default());
        for (condition, count) in [
            ("#tenantId = :tenant AND #sk < :b", 20),
            ("#tenantId = :tenant AND #sk <= :b", 21),
            ("(#tenantId = :tenant AND #sk BETWEEN :a AND :b)", 11),
            ("#tenantId = :a AND #sk <= :b", 0),
        ] {
            let (_, page) = query(&table, condition, json!({})).await;
            assert_eq!((&page["Count"], &page["LastEvaluatedKey"]), (&json!(count), &Value::Null), "{condition}");
            assert_eq!(page["Items"].as_array().unwrap().len(), count, "{condition}");
        }
        let (status, problem) = query(&table, "#tenantId = :tenant AND begins_with(#sk, :a)", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["__type"].as_str().unwrap().ends_with("#ValidationException"), "{problem}");
    }

    #[tokio::test]
    async fn pages_are_consecutive_in_both_directions() {
        let table = table(Conditions { page_bytes: 10_000, ..Conditions::default() });
        for forward in [true, false] {
            let (mut rows, mut start) = (Vec::new(), Value::Null);
            loop {
                let more = json!({ "ExclusiveStartKey": start, "ScanIndexForward": forward, "Limit": 30 });
                let (_, page) = query(&table, "#tenantId = :tenant", more).await;
                rows.extend(page["Items"].as_array().unwrap().iter().map(|item| item["sk"]["S"].to_string()));
                start = page["LastEvaluatedKey"].clone();
                if start.is_null() {
                    break;
                }
            }
            assert_eq!(rows.len(), 5000);
            assert!(rows.is_sorted_by(|a, b| (a < b) == forward));
        }
    }

    #[tokio::test]
    async fn query_without_units_left_is_throttled() {
        let table = table(Conditions::default());
        lock(&table.units).left = 1.0;
        assert_eq!(query(&table, "#tenantId = :tenant", json!({})).await.0, StatusCode::OK);
        // More than the units of the time until the next query, however long that takes.
        lock(&table.units).left = -1e9;
        let (status, problem) = query(&table, "#tenantId = :tenant", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["__type"].as_str().unwrap().ends_with("#ProvisionedThroughputExceededException"), "{problem}");
        assert_eq!(problem["ThrottlingReasons"][0]["reason"], "TableReadKeyRangeThroughputExceeded");
    }

    #[tokio::test]
    async fn page_reports_the_units_that_it_consumes() {
        let table = table(Conditions::default());
        let (_, page) = query(&table, "#tenantId = :tenant", json!({ "ReturnConsumedCapacity": "TOTAL" })).await;
        let units = page["ConsumedCapacity"]["CapacityUnits"].as_f64().unwrap();
        assert!((250.0..=257.0).contains(&units) && (units - table.consumed_units()).abs() < 0.1, "{units}");
        let (_, page) = query(&table, "#tenantId = :tenant", json!({ "ConsistentRead": false })).await;
        assert_eq!(page["ConsumedCapacity"], Value::Null);
        assert!((units * 1.5 - table.consumed_units()).abs() < 0.1);
    }
}
