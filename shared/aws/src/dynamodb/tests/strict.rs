//! Rejects a Query whose start key is at or beyond the end of its range, as DynamoDB does
//! (github.com/aws/aws-sdk-ruby/issues/2456) and the embedded one does not.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::Value;

use crate::testing::response;

/// Forwards the requests that DynamoDB accepts.
#[derive(Debug)]
pub(super) struct StrictHttpClient(pub SharedHttpClient);

#[derive(Debug)]
struct StrictConnector(SharedHttpConnector);

impl HttpClient for StrictHttpClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(StrictConnector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for StrictConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.body().bytes().is_some_and(is_rejected) {
            let message = "The provided starting key is outside query boundaries based on provided conditions";
            let body =
                format!(r#"{{"__type": "com.amazon.coral.validate#ValidationException", "message": "{message}"}}"#);
            return HttpConnectorFuture::ready(Ok(response(400, body)));
        }
        self.0.call(request)
    }
}

/// Whether the start key of this query is at or beyond the end of its range.
fn is_rejected(body: &[u8]) -> bool {
    let Ok(query) = serde_json::from_slice::<Value>(body) else { return false };
    let condition = query["KeyConditionExpression"].as_str().unwrap_or_default();
    // All queries of this crate have the form `#partition = :value AND #sort …`.
    let Some((_, range)) = condition.split_once(" AND ") else { return false };
    let words: Vec<&str> = range.split(' ').collect();
    let value = |word: &str| query["ExpressionAttributeValues"][word]["S"].as_str();
    let (lowest, highest) = match words[..] {
        [_, "BETWEEN", low, "AND", high] => (value(low), value(high)),
        [_, "<" | "<=", high] => (None, value(high)),
        _ => panic!("unsupported condition: {condition}"),
    };
    let name = query["ExpressionAttributeNames"][words[0]].as_str().unwrap_or_default();
    let Some(start) = query["ExclusiveStartKey"][name]["S"].as_str() else { return false };
    if query["ScanIndexForward"] == Value::Bool(false) {
        lowest.is_some_and(|lowest| start <= lowest)
    } else {
        highest.is_some_and(|highest| start >= highest)
    }
}
