//! The floor: fetches the same pages, and hashes and uploads the same bytes. Nothing else.
//!
//! It uses hyper without the SDK: no signatures, no checksums, no parsing. The file is written beforehand and read from
//! the page cache. The remaining cost is moving the data through the kernel and HTTP, and SHA-256.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

const PART_SIZE: u64 = 8 * 1024 * 1024;
/// The last bytes of a page, which always contain LastEvaluatedKey.
const TAIL: usize = 1024;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Sender = SendRequest<Full<Bytes>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (table, bucket, tenant) = (setting("TABLE")?, setting("EXPORTS_BUCKET")?, setting("TENANT_ID")?);
    let (first, last) = (setting("FIRST_KEY")?, setting("LAST_KEY")?);
    let (key, file) = (setting("OBJECT_KEY")?, setting("CSV_FILE")?);
    let endpoint = setting("AWS_ENDPOINT_URL")?;
    let address = endpoint.strip_prefix("http://").ok_or("AWS_ENDPOINT_URL is not an http URL")?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);

    let mut start = String::new();
    loop {
        let query = format!(
            r##"{{"TableName":"{table}","ConsistentRead":true,"KeyConditionExpression":"#tenantId = :tenant AND #sk BETWEEN :first AND :last",
            "ExpressionAttributeNames":{{"#tenantId":"tenantId","#sk":"sk"}},
            "ExpressionAttributeValues":{{":tenant":{{"S":"{tenant}"}},":first":{{"S":"{first}"}},":last":{{"S":"{last}"}}}}{start}}}"##
        );
        match fetch_page(&mut sender, query).await? {
            Page::Next(last) => start = format!(r#","ExclusiveStartKey":{last}"#),
            Page::Last => break,
            Page::Throttled => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }

    let file = File::open(file)?;
    let path = format!("/{bucket}/{key}");
    let created = send(&mut sender, Method::POST, format!("{path}?uploads"), Bytes::new()).await?;
    let upload = between(&created, "<UploadId>", "</UploadId>").ok_or("no upload id")?.to_owned();
    let (mut hash, mut parts, mut number) = (Sha256::new(), String::new(), 0);
    loop {
        let mut part = Vec::with_capacity(usize::try_from(PART_SIZE)?);
        (&file).take(PART_SIZE).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        hash.update(&part);
        number += 1;
        let uri = format!("{path}?partNumber={number}&uploadId={upload}");
        let tag = send_part(&mut sender, uri, Bytes::from(part)).await?;
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    let whole = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    send(&mut sender, Method::POST, format!("{path}?uploadId={upload}"), Bytes::from(whole)).await?;
    std::hint::black_box(hash.finalize());
    let mut output = std::io::stdout();
    writeln!(output, "done")?;
    output.flush()?;
    // The benchmark reads the resource usage of this process, then kills it.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a peer is not part of the product")]
fn setting(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// What a Query returned.
enum Page {
    /// A page that is not the last, with its LastEvaluatedKey.
    Next(String),
    Last,
    Throttled,
}

async fn fetch_page(sender: &mut Sender, query: String) -> Result<Page> {
    let request = Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.Query")
        .body(Full::new(Bytes::from(query)))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let (status, mut body) = (response.status(), response.into_body());
    let mut tail: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            tail.extend_from_slice(data.get(data.len().saturating_sub(TAIL)..).unwrap_or_default());
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
    }
    let tail = String::from_utf8_lossy(&tail);
    if tail.contains("ProvisionedThroughputExceededException") {
        return Ok(Page::Throttled);
    }
    if !status.is_success() {
        return Err(format!("query: {status}: {tail}").into());
    }
    let last = between(&tail, "\"LastEvaluatedKey\":", ",\"ScannedCount\"");
    Ok(last.map_or(Page::Last, |last| Page::Next(last.to_owned())))
}

async fn send_part(sender: &mut Sender, uri: String, part: Bytes) -> Result<String> {
    let request = Request::put(uri).header("host", "localhost").body(Full::new(part))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let tag = response.headers().get("etag").ok_or("no etag")?.to_str()?.to_owned();
    response.into_body().collect().await?;
    Ok(tag)
}

async fn send(sender: &mut Sender, method: Method, uri: String, body: Bytes) -> Result<String> {
    let request = Request::builder().method(method).uri(uri).header("host", "localhost").body(Full::new(body))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let text = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}").into()) }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}
