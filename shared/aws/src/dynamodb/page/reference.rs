//! The reference for the page reader: decodes a page with the SDK's types, row by row.
#![expect(clippy::unwrap_used, reason = "used by tests and the fuzzer only")]

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use exports_domain::export_type::Column;
use exports_domain::row::Value;
use exports_domain::row_encoder::RowEncoder;
use exports_domain::row_selection::RowSelection;

use super::Page;
use crate::dynamodb::item::Item;
use crate::dynamodb::record::SORT;

/// An HTTP client that returns this body to every request.
#[derive(Clone, Debug)]
struct FixedResponseClient(String);

impl HttpConnector for FixedResponseClient {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(self.0.clone()))))
    }
}

impl HttpClient for FixedResponseClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// The body as the SDK reads it; `None` if it cannot.
pub(in crate::dynamodb) fn sdk_output(body: &str) -> Option<QueryOutput> {
    let config = crate::config::local("http://127.0.0.1:1".into());
    let config = aws_sdk_dynamodb::config::Builder::from(&config)
        .http_client(FixedResponseClient(body.to_owned()))
        .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.query().table_name("Payouts").send()).ok()
}

/// The page that the SDK reads from a body; `None` if it cannot read it, or an item has no sort key.
pub(in crate::dynamodb) fn read_with_sdk(body: &str, selection: &RowSelection) -> Option<Page> {
    let output = sdk_output(body)?;
    let mut lines = RowEncoder::new(selection, 0);
    let sort = |item: &Item| item.get(SORT).and_then(|value| value.as_s().ok()).cloned();
    for item in output.items() {
        let value = |column: &Column| match item.get(column.attribute) {
            None | Some(AttributeValue::Null(true)) => Value::Missing,
            Some(AttributeValue::S(text)) => Value::Text(text),
            Some(AttributeValue::N(number)) => Value::Number(number),
            Some(_) => Value::Other,
        };
        let row: Vec<_> = selection.columns.list().iter().map(value).collect();
        lines.push(&row, &sort(item)?);
    }
    let first = output.items().first().and_then(sort);
    let last = output.last_evaluated_key().map(|key| sort(key).unwrap());
    let read_units = output.consumed_capacity().and_then(|consumed| consumed.capacity_units());
    Some(Page { encoded: lines.finish(), first, last, read_units })
}
