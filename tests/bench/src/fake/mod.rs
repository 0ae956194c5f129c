//! AWS on loopback: DynamoDB, S3, SES, SQS and Secrets Manager, as far as an export needs them.
//!
//! The Payouts table is made by formula ([`crate::payouts`]) and served as fast as it can be; parts are hashed and
//! dropped. What has to be right rather than fast, the Exports table with its conditions and transactions, is an
//! embedded DynamoDB. Signatures are not checked: AWS's side of them is no cost of ours.

mod bucket;
mod payouts_table;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::payouts::Payouts;
use bucket::Bucket;
use payouts_table::PayoutsTable;
use tls::CertificateAuthority;

pub use bucket::File;

/// The table of the API keys.
pub const API_KEYS_TABLE: &str = "ApiKeys";
/// The table of the records.
pub const EXPORTS_TABLE: &str = "Exports";
/// The table of the payouts.
pub const PAYOUTS_TABLE: &str = "Payouts";
/// The bucket of the files.
pub const BUCKET: &str = "exports";
/// The services, as the variables that name their endpoints end.
const SERVICES: [&str; 5] = ["DYNAMODB", "S3", "SECRETS_MANAGER", "SESV2", "SQS"];
/// Where everything is.
pub const REGION: &str = "eu-west-1";

/// How AWS behaves.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// How long a page of payouts takes, on top of what it takes to make it.
    pub page_latency: Duration,
    /// Whether a partition gives no more than DynamoDB's 3,000 read units a second.
    pub partition_limit: bool,
    /// At most so many bytes of items are in a page.
    pub page_bytes: u64,
    /// All parts of a file but the last have so many bytes at least.
    pub smallest_part: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            page_latency: Duration::ZERO,
            partition_limit: false,
            page_bytes: 1 << 20,
            smallest_part: 5 * 1024 * 1024,
        }
    }
}

/// A message to the generator, and how long it is to be held back.
#[derive(Clone, Debug)]
pub struct EnqueuedJob {
    /// The message.
    pub body: String,
    /// The delay that it was sent with.
    pub delay: Duration,
}

/// AWS, until it is dropped.
#[derive(Debug)]
pub struct Fake {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    enqueued: mpsc::UnboundedReceiver<EnqueuedJob>,
    address: SocketAddr,
    /// The variables that tell a process where each service is, if they are told apart.
    endpoints: Vec<(String, String)>,
    authority: Option<CertificateAuthority>,
}

#[derive(Debug)]
struct Shared {
    payouts: PayoutsTable,
    bucket: Bucket,
    /// The embedded DynamoDB that has the Exports table.
    exports: SocketAddr,
    enqueued: mpsc::UnboundedSender<EnqueuedJob>,
    calls: Mutex<BTreeMap<String, u64>>,
}

/// What a caller gets.
type FakeResponse = Response<Full<Bytes>>;

impl Fake {
    /// AWS with these payouts, an empty Exports table and an empty bucket.
    ///
    /// # Errors
    /// If there is no port to listen on, or the embedded DynamoDB does not come up.
    pub fn start(payouts: Payouts, conditions: Conditions) -> Result<Self, Error> {
        Self::start_with(payouts, conditions, None)
    }

    /// The same over TLS, each service in a place of its own: a caller needs a connection for each, as with AWS.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if there is no certificate to be had.
    pub fn start_with_tls(payouts: Payouts, conditions: Conditions) -> Result<Self, Error> {
        Self::start_with(payouts, conditions, Some(CertificateAuthority::new()?))
    }

    fn start_with(
        payouts: Payouts,
        conditions: Conditions,
        authority: Option<CertificateAuthority>,
    ) -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("fake").enable_all().build()?;
        let (sender, enqueued) = mpsc::unbounded_channel();
        let (shared, address, endpoints) = runtime.block_on(async {
            let exports = start_tables().await?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let shared = Arc::new(Shared {
                payouts: PayoutsTable::new(payouts, conditions),
                bucket: Bucket::new(conditions.smallest_part),
                exports,
                enqueued: sender,
                calls: Mutex::default(),
            });
            tokio::spawn(serve(listener, None, Arc::clone(&shared)));
            let mut endpoints = Vec::new();
            if let Some(authority) = &authority {
                for service in SERVICES {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
                    endpoints.push((format!("AWS_ENDPOINT_URL_{service}"), url));
                    tokio::spawn(serve(listener, Some(authority.acceptor()), Arc::clone(&shared)));
                }
            }
            Ok::<_, Error>((shared, address, endpoints))
        })?;
        Ok(Self { runtime: Some(runtime), shared, enqueued, address, endpoints, authority })
    }

    /// Where AWS is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that tell a process where each service is; none but with TLS.
    #[must_use]
    pub fn endpoints(&self) -> &[(String, String)] {
        &self.endpoints
    }

    /// The certificate to trust, as PEM; none but with TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_ref().map(CertificateAuthority::certificate)
    }

    /// Where the Exports table is for those whose calls are not to be counted.
    #[must_use]
    pub fn exports_url(&self) -> String {
        format!("http://{}", self.shared.exports)
    }

    /// How often each operation was called.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.calls).clone()
    }

    /// Puts a file into the bucket.
    pub fn put_file(&self, key: &str) {
        self.shared.bucket.put_file(format!("/{BUCKET}/{key}"));
    }

    /// The files that were written, by key.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, File> {
        self.shared.bucket.files()
    }

    /// The next message to the generator, if there is one.
    pub fn next_ring(&mut self) -> Option<EnqueuedJob> {
        self.enqueued.try_recv().ok()
    }

    /// Runs `work` among the threads that play AWS.
    ///
    /// # Errors
    /// If AWS is gone, which it is not before it is dropped.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        Ok(self.runtime.as_ref().ok_or("the stand-in for AWS has ended")?.block_on(work))
    }
}

impl Drop for Fake {
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
        async move { response(&shared, request).await.map_err(std::io::Error::other) }
    });
    // A caller that ends in the middle of a request is no invalid of ours.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn response(shared: &Shared, request: Request<Incoming>) -> Result<FakeResponse, Error> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
    let path = request.uri().path();
    let (operation, response) = match target.as_deref().and_then(|target| target.split_once('.')) {
        Some(("DynamoDB_20120810", operation)) => {
            let operation = operation.to_owned();
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            match operation.as_str() {
                "Query" if is_of_payouts(&body) => shared.payouts.query(&body).await,
                _ => (operation, forward(shared.exports, head.headers, body).await?),
            }
        }
        Some(("AmazonSQS", "SendMessage")) => {
            let sent: serde_json::Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
            let body = sent.get("MessageBody").and_then(|body| body.as_str()).unwrap_or_default().to_owned();
            // A client may hold the response to what it has sent.
            let digest: String = Md5::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
            let delay = sent.get("DelaySeconds").and_then(serde_json::Value::as_u64).unwrap_or(0);
            // Nobody listens any more once the run is over.
            let _ = shared.enqueued.send(EnqueuedJob { body, delay: Duration::from_secs(delay) });
            let response = json!({ "MessageId": "m", "MD5OfMessageBody": digest });
            ("SendMessage".to_owned(), json_answer(StatusCode::OK, &response)?)
        }
        Some(("secretsmanager", "GetSecretValue")) => {
            let secret = json!({ "accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "example" }).to_string();
            let response = json!({ "Name": "link-signer", "SecretString": secret });
            ("GetSecretValue".to_owned(), json_answer(StatusCode::OK, &response)?)
        }
        Some((service, operation)) => {
            let name = format!("{service}.{operation}");
            let problem = json!({ "__type": "UnknownOperationException", "message": "not played by the benchmark" });
            (name, json_answer(StatusCode::BAD_REQUEST, &problem)?)
        }
        None if path == "/v2/email/outbound-emails" => {
            request.into_body().collect().await?;
            ("SendEmail".to_owned(), json_answer(StatusCode::OK, &json!({ "MessageId": "m" }))?)
        }
        None => shared.bucket.response(request).await?,
    };
    *lock(&shared.calls).entry(operation).or_default() += 1;
    Ok(response)
}

/// Whether a query is one of the Payouts table.
fn is_of_payouts(query: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        table_name: String,
    }
    serde_json::from_slice::<Named>(query).is_ok_and(|query| query.table_name == PAYOUTS_TABLE)
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Result<FakeResponse, Error> {
    let body = Full::new(Bytes::from(body.to_string()));
    Ok(Response::builder().status(status).header("content-type", "application/x-amz-json-1.0").body(body)?)
}

/// Hands a request over to the embedded DynamoDB.
async fn forward(to: SocketAddr, headers: HeaderMap, body: Bytes) -> Result<FakeResponse, Error> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::post("/").body(Full::new(body))?;
    *request.headers_mut() = headers;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let mut response = Response::new(Full::new(body.collect().await?.to_bytes()));
    *response.status_mut() = head.status;
    if let Some(content_type) = head.headers.get("content-type") {
        response.headers_mut().insert("content-type", content_type.clone());
    }
    Ok(response)
}
