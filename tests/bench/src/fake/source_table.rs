//! `Query` on the source table.
//!
//! **Partition limit.** DynamoDB limits a partition to 3,000 read units per second, which is 12 MB strongly consistent.
//! As there, a page is served if any units are left, and may consume more than are left. With no units left, the
//! response is `ProvisionedThroughputExceededException`. Unused units of one second accumulate.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Conditions, FakeResponse, lock};
use crate::source_rows::{SourceRows, TENANT};

/// Read units per second and partition.
const UNITS_PER_SECOND: f64 = 3000.0;
/// Bytes per read unit with strong consistency. Twice as many without.
const UNIT_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct FakeSourceTable {
    rows: SourceRows,
    conditions: Conditions,
    units: Mutex<Units>,
}

/// The remaining read units, as of `at`.
#[derive(Debug)]
struct Units {
    left: f64,
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
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

impl FakeSourceTable {
    pub(super) fn new(rows: SourceRows, conditions: Conditions) -> Self {
        let units = Units { left: UNITS_PER_SECOND, at: Instant::now() };
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
                    "message": "The partition's read limit is exceeded.",
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
        if self.conditions.partition_limit {
            let units = written.size.max(1).div_ceil(UNIT_BYTES);
            // At most a few hundred.
            let units = f64::from(u32::try_from(units).unwrap_or(u32::MAX));
            lock(&self.units).left -= if query.consistent_read { units } else { units / 2.0 };
        }
        let mut page = Vec::with_capacity(items.len() + 300);
        page.extend_from_slice(format!(r#"{{"Count":{},"Items":["#, written.count).as_bytes());
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
    use crate::source_rows::Spread;
    use exports_domain::export_type::ExportType;
    use http_body_util::BodyExt;
    use serde_json::Value;

    const TYPE: ExportType = ExportType::FundingTransfers;

    fn table(conditions: Conditions) -> FakeSourceTable {
        FakeSourceTable::new(SourceRows::new(TYPE, false, 5000, Spread::Even).unwrap(), conditions)
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
        let table = table(Conditions { partition_limit: true, ..Conditions::default() });
        *lock(&table.units) = Units { left: 1.0, at: Instant::now() };
        assert_eq!(query(&table, "#tenantId = :tenant", json!({})).await.0, StatusCode::OK);
        // A page is 256 units, strongly consistent.
        assert!(lock(&table.units).left < -100.0);
        *lock(&table.units) = Units { left: -3000.0, at: Instant::now() };
        let (status, problem) = query(&table, "#tenantId = :tenant", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["__type"].as_str().unwrap().ends_with("#ProvisionedThroughputExceededException"), "{problem}");
    }
}
