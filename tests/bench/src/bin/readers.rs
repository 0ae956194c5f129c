//! `cargo bench-readers`: measures the generator's page reader against the libraries that could replace it.
//!
//! Each contender turns the same page of a Query response into lines of CSV with the product's encoder: the product's
//! reader, a reader on `jiter`'s pull parser, and the SDK's own items, read by hand or with `serde_dynamo`.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bench::Error;
use bench::contender::sdk_config;
use bench::source_rows::{Filter, SourceRows, Spread};
use exports_aws::dynamodb::page_to_csv;
use exports_domain::export_type::{ExportType, FileColumns};
use exports_domain::row::Value;
use exports_domain::row_encoder::RowEncoder;
use exports_domain::row_selection::RowSelection;
use jiter::Jiter;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::Deserialize;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);

type Item = HashMap<String, AttributeValue>;
type Contender<'a> = (&'static str, Box<dyn Fn() -> Result<Vec<u8>, Error> + 'a>);

fn main() -> Result<(), Error> {
    let mut body = br#"{"Items":["#.to_vec();
    let rows = SourceRows::new(ExportType::MarketplacePayouts, Filter::Off, 100_000, Spread::Even)?
        .write_items(0..100_000, false, 1 << 20, u64::MAX, &mut body)
        .count;
    body.extend_from_slice(format!(r#"],"Count":{rows},"ScannedCount":{rows}}}"#).as_bytes());
    let columns = FileColumns::current(ExportType::MarketplacePayouts);
    let selection = RowSelection::all(columns);
    let sdk = Sdk::new(&body)?;
    let contenders: [Contender<'_>; 4] = [
        ("page reader", Box::new(|| page_to_csv(&body, &selection).ok_or_else(|| "invalid page".into()))),
        ("`jiter`", Box::new(|| with_jiter(&body, columns))),
        ("SDK, items read by hand", Box::new(|| Ok(by_hand(&sdk.items()?, columns)))),
        ("SDK, `serde_dynamo`", Box::new(|| with_serde_dynamo(sdk.items()?, columns))),
    ];
    let expected = page_to_csv(&body, &selection);
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for ((name, read), rates) in contenders.iter().zip(&mut rates) {
            if Some(read()?) != expected {
                return Err(format!("{name}: other lines").into());
            }
            rates.push(rows_per_second(rows, read)?);
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates.get(ROUNDS / 2).copied().unwrap_or_default()
    });
    let own = medians.first().copied().unwrap_or_default();
    print(&format!(
        "a page of {rows} rows, {} bytes\n\n| reader | rows per CPU second | page reader |\n|---|---|---|",
        body.len()
    ));
    for ((name, _), rate) in contenders.iter().zip(medians) {
        print(&format!("| {name} | {rate:.0} | {:.1} × |", own / rate));
    }
    Ok(())
}

fn rows_per_second(rows: u64, read: &dyn Fn() -> Result<Vec<u8>, Error>) -> Result<f64, Error> {
    let start = cpu()?;
    let mut pages = 0_u32;
    loop {
        read()?;
        pages += 1;
        let took = cpu()?.saturating_sub(start);
        if took >= ROUND {
            return Ok(f64::from(pages) * f64::from(u32::try_from(rows)?) / took.as_secs_f64());
        }
    }
}

/// The CPU time of this process so far.
fn cpu() -> Result<Duration, Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |time: TimeVal| -> Result<Duration, Error> {
        Ok(Duration::from_secs(time.tv_sec().try_into()?) + Duration::from_micros(time.tv_usec().try_into()?))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// A cell whose text is copied: `jiter` lends a string until the next one only.
#[derive(Default)]
struct Cell {
    text: String,
    kind: u8,
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self.kind {
            b'S' => Value::Text(&self.text),
            b'N' => Value::Number(&self.text),
            b'-' => Value::Missing,
            _ => Value::Other,
        }
    }
}

fn with_jiter(body: &[u8], columns: FileColumns) -> Result<Vec<u8>, Error> {
    let names: Vec<&str> = columns.list().iter().map(|column| column.attribute).chain(["sk"]).collect();
    let mut cells: Vec<Cell> = names.iter().map(|_| Cell::default()).collect();
    let mut lines = RowEncoder::new(&RowSelection::all(columns), body.len() / 2);
    let mut jiter = Jiter::new(body);
    let mut is_items = jiter.next_object()?.map(|name| name == "Items");
    while let Some(is_list) = is_items {
        if is_list {
            let mut item = jiter.next_array()?;
            while item.is_some() {
                read_item(&mut jiter, &names, &mut cells)?;
                if let Some((key, row)) = cells.split_last() {
                    let row: Vec<Value<'_>> = row.iter().map(Cell::value).collect();
                    lines.push(&row, &key.text);
                }
                item = jiter.array_step()?;
            }
        } else {
            jiter.next_skip()?;
        }
        is_items = jiter.next_key()?.map(|name| name == "Items");
    }
    jiter.finish()?;
    Ok(lines.finish().cells.csv().to_vec())
}

fn read_item(jiter: &mut Jiter<'_>, names: &[&str], cells: &mut [Cell]) -> Result<(), Error> {
    for cell in &mut *cells {
        cell.kind = b'-';
    }
    let place_of = |name: &str| names.iter().position(|known| *known == name);
    let mut at = jiter.next_object()?.map(place_of);
    while let Some(place) = at {
        let kind = match jiter.next_object()? {
            Some("S") => b'S',
            Some("N") => b'N',
            Some("NULL") => b'-',
            _ => b'?',
        };
        match place.and_then(|place| cells.get_mut(place)) {
            Some(cell) if matches!(kind, b'S' | b'N') => {
                cell.kind = kind;
                cell.text.clear();
                cell.text.push_str(jiter.next_str()?);
            }
            Some(cell) => {
                cell.kind = kind;
                jiter.next_skip()?;
            }
            None => jiter.next_skip()?,
        }
        jiter.next_key()?;
        at = jiter.next_key()?.map(place_of);
    }
    Ok(())
}

fn by_hand(items: &[Item], columns: FileColumns) -> Vec<u8> {
    let mut lines = RowEncoder::new(&RowSelection::all(columns), 0);
    for item in items {
        let value = |name| match item.get(name) {
            None | Some(AttributeValue::Null(true)) => Value::Missing,
            Some(AttributeValue::S(text)) => Value::Text(text),
            Some(AttributeValue::N(number)) => Value::Number(number),
            Some(_) => Value::Other,
        };
        let row: Vec<Value<'_>> = columns.list().iter().map(|column| value(column.attribute)).collect();
        let Value::Text(key) = value("sk") else { continue };
        lines.push(&row, key);
    }
    lines.finish().cells.csv().to_vec()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payout {
    sk: String,
    payout_id: String,
    reference: String,
    status: String,
    amount_minor: i64,
    currency: String,
    period_start: String,
    period_end: String,
    order_count: u64,
    balance_account: String,
    psp_reference: Option<String>,
    failure_reason: Option<String>,
    created_at: String,
    executed_at: Option<String>,
    settled_at: Option<String>,
    updated_at: String,
}

fn with_serde_dynamo(items: Vec<Item>, columns: FileColumns) -> Result<Vec<u8>, Error> {
    let mut lines = RowEncoder::new(&RowSelection::all(columns), 0);
    for payout in serde_dynamo::aws_sdk_dynamodb_1::from_items::<Payout>(items)? {
        let (amount, count) = (payout.amount_minor.to_string(), payout.order_count.to_string());
        let row = [
            Value::Text(&payout.payout_id),
            Value::Text(&payout.reference),
            Value::Text(&payout.status),
            Value::Number(&amount),
            Value::Text(&payout.currency),
            Value::Text(&payout.period_start),
            Value::Text(&payout.period_end),
            Value::Number(&count),
            Value::Text(&payout.balance_account),
            payout.psp_reference.as_deref().map_or(Value::Missing, Value::Text),
            payout.failure_reason.as_deref().map_or(Value::Missing, Value::Text),
            Value::Text(&payout.created_at),
            payout.executed_at.as_deref().map_or(Value::Missing, Value::Text),
            payout.settled_at.as_deref().map_or(Value::Missing, Value::Text),
            Value::Text(&payout.updated_at),
        ];
        lines.push(&row, &payout.sk);
    }
    Ok(lines.finish().cells.csv().to_vec())
}

/// The SDK's client, with this body as the response to every request.
struct Sdk {
    client: aws_sdk_dynamodb::Client,
    runtime: tokio::runtime::Runtime,
}

impl Sdk {
    fn new(body: &[u8]) -> Result<Self, Error> {
        let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config("http://127.0.0.1:1".to_owned()))
            .http_client(FixedResponse { status: StatusCode::try_from(200)?, body: body.to_vec() })
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client: aws_sdk_dynamodb::Client::from_conf(config), runtime })
    }

    fn items(&self) -> Result<Vec<Item>, Error> {
        Ok(self.runtime.block_on(self.client.query().table_name("Payouts").send())?.items.unwrap_or_default())
    }
}

#[derive(Clone, Debug)]
struct FixedResponse {
    status: StatusCode,
    body: Vec<u8>,
}

impl HttpConnector for FixedResponse {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(HttpResponse::new(self.status, SdkBody::from(self.body.clone()))))
    }
}

impl HttpClient for FixedResponse {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[expect(clippy::disallowed_macros, reason = "output of a command")]
fn print(text: &str) {
    println!("{text}");
}
