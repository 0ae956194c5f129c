//! The plain path, which the hot one is held against: a page by the SDK's own types, row by row.
#![expect(clippy::unwrap_used, reason = "only tests and the fuzzer come here")]

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use exports_domain::file::CsvEncoder;
use exports_domain::payout::{COLUMNS, Row, Value};

use super::Page;
use crate::dynamodb::item::Item;
use crate::dynamodb::record::SORT;

/// An HTTP client whose every response has this body.
#[derive(Clone, Debug)]
struct Canned(String);

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(self.0.clone()))))
    }
}

impl HttpClient for Canned {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// What the SDK reads in the body.
pub(in crate::dynamodb) fn sdk(body: &str) -> Option<QueryOutput> {
    let config = crate::config::local("http://127.0.0.1:1".into());
    let config = aws_sdk_dynamodb::config::Builder::from(&config)
        .http_client(Canned(body.to_owned()))
        .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.query().table_name("Payouts").send()).ok()
}

/// What the SDK's types make of a body; `None` if the SDK cannot read it, or an item has no sort key.
pub(in crate::dynamodb) fn read_plainly(body: &str) -> Option<Page> {
    let output = sdk(body)?;
    let mut lines = CsvEncoder::default();
    let sort = |item: &Item| item.get(SORT).and_then(|value| value.as_s().ok()).cloned();
    for item in output.items() {
        let row: Row<'_> = COLUMNS.map(|column| match item.get(column.attribute) {
            None | Some(AttributeValue::Null(true)) => Value::Missing,
            Some(AttributeValue::S(text)) => Value::Text(text),
            Some(AttributeValue::N(number)) => Value::Number(number),
            Some(_) => Value::Other,
        });
        lines.push(&row, &sort(item)?);
    }
    let first = output.items().first().and_then(sort);
    let last = output.last_evaluated_key().map(|key| sort(key).unwrap());
    Some(Page { encoded: lines.finish(), first, last })
}
