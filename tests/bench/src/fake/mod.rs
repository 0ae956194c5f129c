//! A fake AWS on loopback: the operations of DynamoDB, S3, SES, SQS and Secrets Manager that the functions use.
//!
//! The items of the source table are computed ([`crate::source_rows`]), and uploaded parts are hashed and discarded, for
//! speed. The Exports table, with its conditions and transactions, is an embedded DynamoDB. Signatures are not checked.

mod bucket;
mod source_table;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use exports_domain::hex;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::source_rows::SourceRows;
use bucket::FakeBucket;
use source_table::FakeSourceTable;
use tls::CertificateAuthority;

pub use bucket::StoredFile;
pub(crate) use source_table::UNITS_PER_SECOND;

/// The ApiKeys table.
pub const API_KEYS_TABLE: &str = "ApiKeys";
/// The Exports table.
pub const EXPORTS_TABLE: &str = "Exports";
/// The exports bucket.
pub const BUCKET: &str = "exports";
/// The suffixes of the variables with the services' endpoint URLs.
const SERVICES: [&str; 5] = ["DYNAMODB", "S3", "SECRETS_MANAGER", "SESV2", "SQS"];
/// The region of all services.
pub const REGION: &str = "eu-west-1";

/// The fake AWS's behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Delay of each page of rows.
    pub page_latency: Duration,
    /// Whether to apply DynamoDB's limit of 3,000 read units per second and partition.
    pub partition_limit: bool,
    /// Maximum size of the items in a page, in bytes.
    pub page_bytes: u64,
    /// Minimum size of all parts but the last, in bytes.
    pub min_part_bytes: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            page_latency: Duration::ZERO,
            partition_limit: true,
            page_bytes: 1 << 20,
            min_part_bytes: 5 * 1024 * 1024,
        }
    }
}

/// A message in the jobs queue.
#[derive(Clone, Debug)]
pub struct EnqueuedJob {
    /// The message body.
    pub body: String,
    /// The delay it was sent with.
    pub delay: Duration,
}

/// The fake AWS. Dropping it stops it.
#[derive(Debug)]
pub struct FakeAws {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    enqueued: mpsc::UnboundedReceiver<EnqueuedJob>,
    address: SocketAddr,
    /// The variables with each service's endpoint URL, with TLS only.
    endpoints: Vec<(String, String)>,
    ca: Option<CertificateAuthority>,
}

#[derive(Debug)]
struct Shared {
    /// The source table, with the name of its export type.
    rows: FakeSourceTable,
    rows_table: &'static str,
    bucket: FakeBucket,
    /// The embedded DynamoDB with the Exports and ApiKeys tables.
    exports: SocketAddr,
    enqueued: mpsc::UnboundedSender<EnqueuedJob>,
    calls: Mutex<BTreeMap<String, u64>>,
    /// What the calls of the embedded DynamoDB consumed.
    consumed: Mutex<ConsumedUnits>,
}

/// Read and write units of DynamoDB.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumedUnits {
    /// Read units.
    pub reads: f64,
    /// Write units.
    pub writes: f64,
}

type FakeResponse = Response<Full<Bytes>>;

impl FakeAws {
    /// Starts with these rows, empty other tables and an empty bucket.
    ///
    /// # Errors
    /// If no port is available, or the embedded DynamoDB does not start.
    pub fn start(rows: SourceRows, conditions: Conditions) -> Result<Self, Error> {
        Self::start_with(rows, conditions, None)
    }

    /// Like [`start`](Self::start), with TLS and a port per service, so that each service needs a connection, as with
    /// AWS.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if no certificate can be created.
    pub fn start_with_tls(rows: SourceRows, conditions: Conditions) -> Result<Self, Error> {
        Self::start_with(rows, conditions, Some(CertificateAuthority::new()?))
    }

    fn start_with(rows: SourceRows, conditions: Conditions, ca: Option<CertificateAuthority>) -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("fake").enable_all().build()?;
        let (sender, enqueued) = mpsc::unbounded_channel();
        let (shared, address, endpoints) = runtime.block_on(async {
            let exports = start_tables().await?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let shared = Arc::new(Shared {
                rows_table: rows.export_type().slug(),
                rows: FakeSourceTable::new(rows, conditions),
                bucket: FakeBucket::new(conditions.min_part_bytes),
                exports,
                enqueued: sender,
                calls: Mutex::default(),
                consumed: Mutex::default(),
            });
            tokio::spawn(serve(listener, None, Arc::clone(&shared)));
            let mut endpoints = Vec::new();
            if let Some(ca) = &ca {
                for service in SERVICES {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
                    endpoints.push((format!("AWS_ENDPOINT_URL_{service}"), url));
                    tokio::spawn(serve(listener, Some(ca.acceptor()), Arc::clone(&shared)));
                }
            }
            Ok::<_, Error>((shared, address, endpoints))
        })?;
        Ok(Self { runtime: Some(runtime), shared, enqueued, address, endpoints, ca })
    }

    /// The endpoint URL of all services, without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Names and values of the variables with each service's endpoint URL. Empty without TLS.
    #[must_use]
    pub fn endpoints(&self) -> &[(String, String)] {
        &self.endpoints
    }

    /// The CA certificate to trust, as PEM. `None` without TLS.
    #[must_use]
    pub fn ca_certificate(&self) -> Option<&str> {
        self.ca.as_ref().map(CertificateAuthority::certificate)
    }

    /// The endpoint URL of the Exports and ApiKeys tables for calls that are not counted.
    #[must_use]
    pub fn exports_url(&self) -> String {
        format!("http://{}", self.shared.exports)
    }

    /// Number of calls by operation.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.calls).clone()
    }

    /// The units that all calls consumed.
    #[must_use]
    pub fn consumed(&self) -> ConsumedUnits {
        let exports = *lock(&self.shared.consumed);
        ConsumedUnits { reads: exports.reads + self.shared.rows.consumed_units(), ..exports }
    }

    /// Puts an empty file into the bucket.
    pub fn put_file(&self, key: &str) {
        self.shared.bucket.put_file(format!("/{BUCKET}/{key}"));
    }

    /// The files in the bucket, by path.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, StoredFile> {
        self.shared.bucket.files()
    }

    /// Receives the next message of the jobs queue, if there is one.
    pub fn next_job(&mut self) -> Option<EnqueuedJob> {
        self.enqueued.try_recv().ok()
    }

    /// Runs `work` in the fake's tokio runtime.
    ///
    /// # Errors
    /// Only after the fake is dropped.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        Ok(self.runtime.as_ref().ok_or("the fake AWS has stopped")?.block_on(work))
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn start_tables() -> Result<SocketAddr, Error> {
    let database = dynoxide::Database::memory()?;
    let table = json!({
        "TableName": EXPORTS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "tenantId", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
            { "AttributeName": "nextCheckState", "AttributeType": "S" },
            { "AttributeName": "nextCheckAt", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "tenantId", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "GlobalSecondaryIndexes": [{
            "IndexName": "NextCheckIndex",
            "KeySchema": [
                { "AttributeName": "nextCheckState", "KeyType": "HASH" },
                { "AttributeName": "nextCheckAt", "KeyType": "RANGE" },
            ],
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    });
    database.create_table(serde_json::from_value(table)?)?;
    let table = json!({
        "TableName": API_KEYS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "keyHash", "AttributeType": "S" },
            { "AttributeName": "tenantId", "AttributeType": "S" },
        ],
        "KeySchema": [{ "AttributeName": "keyHash", "KeyType": "HASH" }],
        "GlobalSecondaryIndexes": [{
            "IndexName": "TenantIndex",
            "KeySchema": [{ "AttributeName": "tenantId", "KeyType": "HASH" }],
            "Projection": { "ProjectionType": "ALL" },
        }],
    });
    database.create_table(serde_json::from_value(table)?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    Ok(address)
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match tls {
                None => serve_connection(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { handle(&shared, request).await.map_err(std::io::Error::other) }
    });
    // Fails if the client exits during a request.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(shared: &Shared, request: Request<Incoming>) -> Result<FakeResponse, Error> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
    let path = request.uri().path();
    let (operation, response) = match target.as_deref().and_then(|target| target.split_once('.')) {
        Some(("DynamoDB_20120810", operation)) => {
            let operation = operation.to_owned();
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            match operation.as_str() {
                "Query" if table_of(&body).is_some_and(|name| name == shared.rows_table) => {
                    shared.rows.query(&body).await
                }
                _ => {
                    let (response, units) = forward(shared.exports, head.headers, &body).await?;
                    let mut consumed = lock(&shared.consumed);
                    let of_kind = match operation.as_str() {
                        "GetItem" | "Query" => &mut consumed.reads,
                        _ => &mut consumed.writes,
                    };
                    *of_kind += units;
                    drop(consumed);
                    (operation, response)
                }
            }
        }
        Some(("AmazonSQS", "SendMessage")) => {
            let sent: serde_json::Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
            let body = sent.get("MessageBody").and_then(|body| body.as_str()).unwrap_or_default().to_owned();
            // SDKs verify the digest.
            let digest = hex::encode(&Md5::digest(&body));
            let delay = sent.get("DelaySeconds").and_then(serde_json::Value::as_u64).unwrap_or(0);
            // Fails only after the run.
            let _ = shared.enqueued.send(EnqueuedJob { body, delay: Duration::from_secs(delay) });
            let response = json!({ "MessageId": "m", "MD5OfMessageBody": digest });
            ("SendMessage".to_owned(), json_response(StatusCode::OK, &response)?)
        }
        Some(("secretsmanager", "GetSecretValue")) => {
            let secret = json!({ "accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "example" }).to_string();
            let response = json!({ "Name": "link-signer", "SecretString": secret });
            ("GetSecretValue".to_owned(), json_response(StatusCode::OK, &response)?)
        }
        Some((service, operation)) => {
            let name = format!("{service}.{operation}");
            let problem =
                json!({ "__type": "UnknownOperationException", "message": "not implemented by the benchmark" });
            (name, json_response(StatusCode::BAD_REQUEST, &problem)?)
        }
        None if path == "/v2/email/outbound-emails" => {
            request.into_body().collect().await?;
            ("SendEmail".to_owned(), json_response(StatusCode::OK, &json!({ "MessageId": "m" }))?)
        }
        None => shared.bucket.handle(request).await?,
    };
    *lock(&shared.calls).entry(operation).or_default() += 1;
    Ok(response)
}

/// The table that a call names.
fn table_of(call: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct TableName {
        table_name: String,
    }
    Some(serde_json::from_slice::<TableName>(call).ok()?.table_name)
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Result<FakeResponse, Error> {
    let body = Full::new(Bytes::from(body.to_string()));
    Ok(Response::builder().status(status).header("content-type", "application/x-amz-json-1.0").body(body)?)
}

/// Forwards a request to the embedded DynamoDB. Also returns the units consumed, which the client does not get to see.
async fn forward(to: SocketAddr, headers: HeaderMap, body: &[u8]) -> Result<(FakeResponse, f64), Error> {
    let mut call: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
    call.insert("ReturnConsumedCapacity".to_owned(), json!("TOTAL"));
    let body = Bytes::from(serde_json::to_vec(&call)?);
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::post("/").body(Full::new(body))?;
    *request.headers_mut() = headers;
    request.headers_mut().remove("content-length");
    let (head, body) = sender.send_request(request).await?.into_parts();
    let mut body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&body.collect().await?.to_bytes())?;
    let units = body.remove("ConsumedCapacity").map_or(0.0, |consumed| capacity_units(&consumed));
    let mut response = Response::new(Full::new(Bytes::from(serde_json::to_vec(&body)?)));
    *response.status_mut() = head.status;
    if let Some(content_type) = head.headers.get("content-type") {
        response.headers_mut().insert("content-type", content_type.clone());
    }
    Ok((response, units))
}

/// The units of a call, or of each table that a transaction writes.
fn capacity_units(consumed: &serde_json::Value) -> f64 {
    match consumed {
        serde_json::Value::Array(tables) => tables.iter().map(capacity_units).sum(),
        table => table.get("CapacityUnits").and_then(serde_json::Value::as_f64).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::sdk_config;
    use crate::source_rows::{Filter, Spread};
    use exports_aws::bucket::ExportsBucket;
    use exports_domain::export_type::ExportType;
    use exports_domain::testing::conformance;

    #[test]
    fn adapter_of_the_bucket_behaves_as_its_port_promises() {
        let rows = SourceRows::new(ExportType::MarketplacePayouts, Filter::Off, 1, Spread::Even).unwrap();
        let conditions = Conditions::default();
        let fake = FakeAws::start(rows, conditions).unwrap();
        let bucket = ExportsBucket::new(&sdk_config(fake.url()), BUCKET.to_owned()).with_links("secret".to_owned());
        let min_part_size = usize::try_from(conditions.min_part_bytes).unwrap();
        fake.block_on(conformance::file_store(&bucket, min_part_size)).unwrap();
    }
}
