//! `Query` on the Payouts table.
//!
//! **The limit of a partition.** DynamoDB gives one partition 3,000 read units a second: 12 MB strongly consistent. Here
//! as there, a page is served as long as anything is left of the units, and costs what it holds, even if that is more
//! than is left; while nothing is left, callers get `ProvisionedThroughputExceededException` and have to wait. Unused
//! units are kept for one second.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Conditions, FakeResponse, PAYOUTS_TABLE, lock};
use crate::payouts::{Payouts, TENANT};

/// What one partition gives a second.
const UNITS_A_SECOND: f64 = 3000.0;
/// How many bytes one read unit gives if the read is strongly consistent; twice as many if it is not.
const UNIT: u64 = 4096;

#[derive(Debug)]
pub(super) struct PayoutsTable {
    payouts: Payouts,
    conditions: Conditions,
    units: Mutex<Units>,
}

/// What is left of a partition's read units.
#[derive(Debug)]
struct Units {
    left: f64,
    at: Instant,
}

/// The parts of a request that are known here; any other is refused rather than passed over.
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

impl PayoutsTable {
    pub(super) fn new(payouts: Payouts, conditions: Conditions) -> Self {
        let units = Units { left: UNITS_A_SECOND, at: Instant::now() };
        Self { payouts, conditions, units: Mutex::new(units) }
    }

    /// The name to count the call under, and its response.
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
                    "message": "The partition gives no more for now.",
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
        if query.table_name != PAYOUTS_TABLE {
            return Err(format!("Query is played for {PAYOUTS_TABLE} only, not for {}", query.table_name));
        }
        let backward = query.scan_index_forward == Some(false);
        let mut range = self.range(query)?;
        if let Some(start) = &query.exclusive_start_key {
            let start = &start.get("sk").ok_or("ExclusiveStartKey has no sk")?.text;
            if backward {
                range.end = range.end.min(self.payouts.first_from(start));
            } else {
                range.start = range.start.max(self.payouts.first_after(start));
            }
        }
        let most_rows = query.limit.unwrap_or(u64::MAX);
        let mut items = Vec::with_capacity(2 << 20);
        let stretch = self.payouts.write_items(range, backward, self.conditions.page_bytes, most_rows, &mut items);
        if self.conditions.partition_limit {
            let units = stretch.size.max(1).div_ceil(UNIT);
            // At most a few hundred: nothing is lost.
            let units = f64::from(u32::try_from(units).unwrap_or(u32::MAX));
            lock(&self.units).left -= if query.consistent_read { units } else { units / 2.0 };
        }
        let mut page = Vec::with_capacity(items.len() + 300);
        page.extend_from_slice(format!(r#"{{"Count":{},"Items":["#, stretch.count).as_bytes());
        page.append(&mut items);
        page.push(b']');
        if let Some(last) = stretch.last.filter(|_| stretch.full) {
            let sort = self.payouts.sort_key(last);
            let key = format!(r#","LastEvaluatedKey":{{"sk":{{"S":"{sort}"}},"tenantId":{{"S":"{TENANT}"}}}}"#);
            page.extend_from_slice(key.as_bytes());
        }
        page.extend_from_slice(format!(r#","ScannedCount":{}}}"#, stretch.count).as_bytes());
        Ok(page)
    }

    /// The rows that a condition asks for.
    fn range(&self, query: &Query) -> Result<std::ops::Range<u64>, String> {
        let unknown = || format!("a condition that the benchmark does not know: {}", query.key_condition_expression);
        let value = |name: &str| {
            query.expression_attribute_values.get(name).map(|value| value.text.as_str()).ok_or_else(unknown)
        };
        // boto3 puts its conditions in brackets.
        let condition = query.key_condition_expression.as_str();
        let condition = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(condition);
        let mut words = condition
            .split_ascii_whitespace()
            .map(|word| query.expression_attribute_names.get(word).map_or(word, String::as_str));
        let mut next = || words.next().unwrap_or_default();
        let ("tenantId", "=", tenant) = (next(), next(), next()) else { return Err(unknown()) };
        let payouts = &self.payouts;
        let rows = match (next(), next(), next(), next(), next(), next()) {
            ("", ..) => 0..payouts.rows(),
            ("AND", "sk", "<", end, "", _) => 0..payouts.first_from(value(end)?),
            ("AND", "sk", "<=", end, "", _) => 0..payouts.first_after(value(end)?),
            ("AND", "sk", ">", from, "", _) => payouts.first_after(value(from)?)..payouts.rows(),
            ("AND", "sk", ">=", from, "", _) => payouts.first_from(value(from)?)..payouts.rows(),
            ("AND", "sk", "BETWEEN", from, "AND", end) => {
                payouts.first_from(value(from)?)..payouts.first_after(value(end)?)
            }
            _ => return Err(unknown()),
        };
        Ok(if value(tenant)? == TENANT { rows } else { 0..0 })
    }

    fn has_units(&self) -> bool {
        let mut units = lock(&self.units);
        let now = Instant::now();
        units.left = (units.left + now.duration_since(units.at).as_secs_f64() * UNITS_A_SECOND).min(UNITS_A_SECOND);
        units.at = now;
        units.left > 0.0
    }
}

/// As DynamoDB responses, with the checksum that some SDKs verify.
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
    use crate::payouts::Spread;
    use http_body_util::BodyExt;
    use serde_json::Value;

    fn table(conditions: Conditions) -> PayoutsTable {
        PayoutsTable::new(Payouts::new(5000, Spread::Even), conditions)
    }

    async fn query(table: &PayoutsTable, condition: &str, more: Value) -> (StatusCode, Value) {
        let mut query = json!({
            "TableName": "Payouts",
            "ConsistentRead": true,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": { "#tenantId": "tenantId", "#sk": "sk" },
            "ExpressionAttributeValues": {
                ":tenant": { "S": TENANT },
                ":a": { "S": table.payouts.sort_key(10) },
                ":b": { "S": table.payouts.sort_key(20) },
            },
        });
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (_, response) = table.query(query.to_string().as_bytes()).await;
        let status = response.status();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn condition_selects_its_rows() {
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
    async fn pages_follow_one_another_in_both_directions() {
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
    async fn partition_serves_while_anything_is_left_and_throttles_then() {
        let table = table(Conditions { partition_limit: true, ..Conditions::default() });
        lock(&table.units).left = 1.0;
        assert_eq!(query(&table, "#tenantId = :tenant", json!({})).await.0, StatusCode::OK);
        // 256 units a page, strongly consistent.
        assert!(lock(&table.units).left < -100.0);
        lock(&table.units).left = -3000.0;
        let (status, problem) = query(&table, "#tenantId = :tenant", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["__type"].as_str().unwrap().ends_with("#ProvisionedThroughputExceededException"), "{problem}");
    }
}
