//! The exports bucket: S3's rules, but no bytes are kept.
//!
//! A file's SHA-256 is computed as its parts come. Parts that come before their predecessors wait for them; a part that
//! is uploaded again with other bytes sets the hash back to where it begins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{FakeResponse, lock};
use crate::Error;
use crate::payouts::hex;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    checksum: u64,
}

#[derive(Debug)]
pub(super) struct Bucket {
    smallest_part: u64,
    uploads: Mutex<HashMap<String, Upload>>,
    files: Mutex<BTreeMap<String, File>>,
    next_upload: AtomicU64,
}

/// A file that is being written.
#[derive(Debug)]
struct Upload {
    path: String,
    parts: BTreeMap<u32, Part>,
    /// The hash after part 1, 2, …
    hashed: Vec<Sha256>,
    /// Parts that came before their predecessors.
    waiting: BTreeMap<u32, Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    bytes: u64,
    checksum: u64,
}

/// An error as S3 has it.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(StatusCode, &'static str, String);

fn refuse<T>(status: StatusCode, code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(status, code, message.into()))
}

impl Bucket {
    pub(super) fn new(smallest_part: u64) -> Self {
        Self { smallest_part, uploads: Mutex::default(), files: Mutex::default(), next_upload: AtomicU64::new(1) }
    }

    pub(super) fn files(&self) -> BTreeMap<String, File> {
        lock(&self.files).clone()
    }

    /// The operation's name, and its response.
    pub(super) async fn response(&self, request: Request<Incoming>) -> Result<(String, FakeResponse), Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query: HashMap<&str, &str> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let body = read(body, &head.headers).await?;
        let upload = query.get("uploadId").copied();
        let part = query.get("partNumber").map(|number| number.parse::<u32>().unwrap_or(0));
        let (name, response) = match (&head.method, upload, part) {
            (&Method::POST, None, None) if query.contains_key("uploads") => {
                ("CreateMultipartUpload", self.begin(&path))
            }
            (&Method::PUT, Some(upload), Some(part)) => ("UploadPart", self.part(upload, part, body, &head.headers)),
            (&Method::GET, Some(upload), None) => ("ListParts", self.list(upload, &query)),
            (&Method::POST, Some(upload), None) => {
                ("CompleteMultipartUpload", self.complete(upload, &body, &head.headers))
            }
            (&Method::DELETE, Some(upload), None) => ("AbortMultipartUpload", self.abort(upload)),
            (&Method::PUT, None, None) => ("PutObject", self.put(&path, &body, &head.headers)),
            (&Method::HEAD, None, None) => ("HeadObject", self.head(&path)),
            _ => ("S3", refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "not played by the benchmark")),
        };
        let response = response.or_else(|Refusal(status, code, message)| {
            let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            Response::builder().status(status).body(Full::new(Bytes::from(body)))
        })?;
        Ok((name.to_owned(), response))
    }

    fn begin(&self, path: &str) -> Result<FakeResponse, Refusal> {
        let id = format!("upload-{}", self.next_upload.fetch_add(1, Ordering::Relaxed));
        let upload =
            Upload { path: path.to_owned(), parts: BTreeMap::new(), hashed: Vec::new(), waiting: BTreeMap::new() };
        lock(&self.uploads).insert(id.clone(), upload);
        Ok(xml(&format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")))
    }

    fn part(&self, id: &str, number: u32, body: Bytes, headers: &HeaderMap) -> Result<FakeResponse, Refusal> {
        if !(1..=10_000).contains(&number) {
            return refuse(StatusCode::BAD_REQUEST, "InvalidArgument", "Part number must be between 1 and 10000");
        }
        let checksum = check(&body, headers)?;
        let part = Part { bytes: body.len() as u64, checksum };
        let mut uploads = lock(&self.uploads);
        let upload = uploads.get_mut(id).ok_or_else(no_such_upload)?;
        if upload.parts.insert(number, part) != Some(part) {
            upload.hash(number, body);
        }
        drop(uploads);
        let mut response = xml("");
        let headers = response.headers_mut();
        set(headers, "etag", &etag(&part))?;
        set(headers, "x-amz-checksum-crc64nvme", &base64::encode(checksum.to_be_bytes()))?;
        Ok(response)
    }

    fn list(&self, id: &str, query: &HashMap<&str, &str>) -> Result<FakeResponse, Refusal> {
        let number = |name, default| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let (after, most) = (number("part-number-marker", 0), number("max-parts", 1000).min(1000) as usize);
        let uploads = lock(&self.uploads);
        let upload = uploads.get(id).ok_or_else(no_such_upload)?;
        let mut parts = upload.parts.range(after + 1..);
        let mut response = String::from("<ListPartsResult>");
        for (number, part) in parts.by_ref().take(most) {
            response += &format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><Size>{}</Size>\
                 <ChecksumCRC64NVME>{}</ChecksumCRC64NVME></Part>",
                etag(part).replace('"', "&quot;"),
                part.bytes,
                base64::encode(part.checksum.to_be_bytes()),
            );
        }
        let more = parts.next();
        response += &format!("<IsTruncated>{}</IsTruncated>", more.is_some());
        if let Some((number, _)) = more {
            response += &format!("<NextPartNumberMarker>{}</NextPartNumberMarker>", number - 1);
        }
        response += "</ListPartsResult>";
        Ok(xml(&response))
    }

    fn complete(&self, id: &str, body: &[u8], headers: &HeaderMap) -> Result<FakeResponse, Refusal> {
        let request = String::from_utf8_lossy(body);
        let mut uploads = lock(&self.uploads);
        let upload = uploads.get(id).ok_or_else(no_such_upload)?;
        let file = upload.file(&request, self.smallest_part)?;
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if said("x-amz-mp-object-size").is_some_and(|size| size != file.bytes.to_string()) {
            return refuse(StatusCode::BAD_REQUEST, "InvalidRequest", "The object has another size than expected");
        }
        let checksum = base64::encode(file.checksum.to_be_bytes());
        if said("x-amz-checksum-crc64nvme").is_some_and(|said| said != checksum) {
            return refuse(StatusCode::BAD_REQUEST, "BadDigest", "The CRC64NVME you specified did not match");
        }
        let path = upload.path.clone();
        uploads.remove(id);
        drop(uploads);
        lock(&self.files).insert(path, file);
        Ok(xml(&format!(
            "<CompleteMultipartUploadResult><ETag>&quot;file&quot;</ETag>\
             <ChecksumCRC64NVME>{checksum}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>\
             </CompleteMultipartUploadResult>"
        )))
    }

    fn abort(&self, id: &str) -> Result<FakeResponse, Refusal> {
        lock(&self.uploads).remove(id).ok_or_else(no_such_upload)?;
        let mut response = xml("");
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    fn put(&self, path: &str, body: &[u8], headers: &HeaderMap) -> Result<FakeResponse, Refusal> {
        let checksum = check(body, headers)?;
        let file = File { bytes: body.len() as u64, sha256: hex(&Sha256::digest(body)), checksum };
        lock(&self.files).insert(path.to_owned(), file);
        let mut response = xml("");
        set(response.headers_mut(), "etag", "\"file\"")?;
        Ok(response)
    }

    pub(super) fn put_file(&self, path: String) {
        lock(&self.files).insert(path, File { bytes: 0, sha256: hex(&Sha256::digest([])), checksum: 0 });
    }

    fn head(&self, path: &str) -> Result<FakeResponse, Refusal> {
        let files = lock(&self.files);
        let Some(file) = files.get(path) else { return refuse(StatusCode::NOT_FOUND, "NotFound", "Not Found") };
        let mut response = xml("");
        let headers = response.headers_mut();
        set(headers, "content-length", &file.bytes.to_string())?;
        set(headers, "etag", "\"file\"")?;
        set(headers, "x-amz-checksum-crc64nvme", &base64::encode(file.checksum.to_be_bytes()))?;
        set(headers, "x-amz-checksum-type", "FULL_OBJECT")?;
        Ok(response)
    }
}

impl Upload {
    fn hash(&mut self, number: u32, body: Bytes) {
        let done = usize::try_from(number - 1).unwrap_or(usize::MAX);
        self.hashed.truncate(done);
        self.waiting.insert(number, body);
        loop {
            let next = u32::try_from(self.hashed.len() + 1).unwrap_or(u32::MAX);
            let Some(body) = self.waiting.remove(&next) else { return };
            let mut hash = self.hashed.last().cloned().unwrap_or_default();
            hash.update(&body);
            self.hashed.push(hash);
        }
    }

    /// The file of the parts that `request` lists.
    fn file(&self, request: &str, smallest_part: u64) -> Result<File, Refusal> {
        let listed: Vec<(u32, String)> = elements(request, "Part")
            .map(|part| {
                let number = elements(part, "PartNumber").next().and_then(|number| number.parse().ok()).unwrap_or(0);
                (number, elements(part, "ETag").next().unwrap_or_default().replace("&quot;", "\""))
            })
            .collect();
        let mut whole: Option<Part> = None;
        let mut last = 0;
        for (number, tag) in &listed {
            if *number <= last {
                return refuse(StatusCode::BAD_REQUEST, "InvalidPartOrder", "The list of parts was not in order");
            }
            let Some(part) = self.parts.get(number).filter(|part| etag(part) == *tag) else {
                return refuse(StatusCode::BAD_REQUEST, "InvalidPart", format!("Part {number} could not be found"));
            };
            if listed.last().is_none_or(|(last, _)| number != last) && part.bytes < smallest_part {
                let message = format!("Part {number} has {} bytes, and {smallest_part} are the least", part.bytes);
                return refuse(StatusCode::BAD_REQUEST, "EntityTooSmall", message);
            }
            whole = Some(whole.map_or(*part, |whole| Part {
                bytes: whole.bytes + part.bytes,
                checksum: crc_fast::checksum_combine(Crc64Nvme, whole.checksum, part.checksum, part.bytes),
            }));
            last = *number;
        }
        let Some(whole) = whole else {
            return refuse(StatusCode::BAD_REQUEST, "MalformedXML", "You must specify at least one part");
        };
        // S3 takes numbers with gaps. Nothing here uploads that way, and the hash goes by consecutive ones.
        let hash = self.hashed.get(listed.len() - 1).filter(|_| last as usize == listed.len());
        let Some(hash) = hash else {
            return refuse(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "parts with gaps, or replaced out of order");
        };
        Ok(File { bytes: whole.bytes, sha256: hex(&hash.clone().finalize()), checksum: whole.checksum })
    }
}

/// The body in one piece.
async fn read(mut body: Incoming, headers: &HeaderMap) -> Result<Bytes, Error> {
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "aws-chunked") {
        return Err("bodies with trailing checksums are not played by the benchmark".into());
    }
    let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Ok(Bytes::from(bytes))
}

/// The body's CRC64NVME, which is the one that the header names if it names one.
fn check(body: &[u8], headers: &HeaderMap) -> Result<u64, Refusal> {
    let checksum = crc_fast::checksum(Crc64Nvme, body);
    let encoded = base64::encode(checksum.to_be_bytes());
    if headers.get("x-amz-checksum-crc64nvme").is_some_and(|said| said.as_bytes() != encoded.as_bytes()) {
        return refuse(StatusCode::BAD_REQUEST, "BadDigest", "The CRC64NVME you specified did not match");
    }
    Ok(checksum)
}

fn etag(part: &Part) -> String {
    format!("\"{:016x}-{}\"", part.checksum, part.bytes)
}

fn no_such_upload() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist".to_owned())
}

fn xml(body: &str) -> FakeResponse {
    Response::new(Full::new(Bytes::from(body.to_owned())))
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), Refusal> {
    let refused = |_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("{name}: {value}"));
    headers.insert(name, value.parse().map_err(refused)?);
    Ok(())
}

/// The contents of the elements of this name, which do not hold others of it.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (content, left) = after.split_once(close.as_str())?;
        rest = left;
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket with an upload whose parts 2 and 1 came in this order.
    fn uploading() -> Bucket {
        let bucket = Bucket::new(3);
        bucket.begin("/exports/file").unwrap();
        for (number, bytes) in [(2, "def"), (1, "abc"), (3, "g")] {
            bucket.part("upload-1", number, Bytes::from(bytes), &HeaderMap::new()).unwrap();
        }
        bucket
    }

    fn request(parts: &[(u32, &str)]) -> String {
        let part = |(number, bytes): &(u32, &str)| {
            let checksum = crc_fast::checksum(Crc64Nvme, bytes.as_bytes());
            let tag = etag(&Part { bytes: bytes.len() as u64, checksum }).replace('"', "&quot;");
            format!("<Part><ETag>{tag}</ETag><PartNumber>{number}</PartNumber></Part>")
        };
        parts.iter().map(part).collect()
    }

    fn complete(
        bucket: &Bucket,
        parts: &[(u32, &str)],
        headers: &[(&'static str, &str)],
    ) -> Result<File, &'static str> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        bucket.complete("upload-1", request(parts).as_bytes(), &headers).map_err(|refusal| refusal.1)?;
        Ok(bucket.files()["/exports/file"].clone())
    }

    #[test]
    fn file_is_its_parts_in_order_whenever_they_came() {
        let file = complete(&uploading(), &[(1, "abc"), (2, "def"), (3, "g")], &[("x-amz-mp-object-size", "7")]);
        let file = file.unwrap();
        assert_eq!((file.bytes, file.sha256), (7, hex(&Sha256::digest(b"abcdefg"))));
        assert_eq!(file.checksum, crc_fast::checksum(Crc64Nvme, b"abcdefg"));
    }

    #[test]
    fn part_that_is_uploaded_again_replaces_the_first_one() {
        let bucket = uploading();
        for (number, bytes) in [(2, "xyz"), (3, "g")] {
            lock(&bucket.uploads).get_mut("upload-1").unwrap().parts.remove(&3);
            bucket.part("upload-1", number, Bytes::from(bytes), &HeaderMap::new()).unwrap();
        }
        let file = complete(&bucket, &[(1, "abc"), (2, "xyz"), (3, "g")], &[]).unwrap();
        assert_eq!(file.sha256, hex(&Sha256::digest(b"abcxyzg")));
    }

    #[test]
    fn file_that_breaks_a_rule_is_refused_by_name() {
        let all = [(1, "abc"), (2, "def"), (3, "g")];
        let bucket = uploading();
        for (parts, headers, code) in [
            (&[(2, "def"), (1, "abc")][..], &[][..], "InvalidPartOrder"),
            (&[(1, "abd")], &[], "InvalidPart"),
            (&[(1, "abc"), (4, "x")], &[], "InvalidPart"),
            (&[], &[], "MalformedXML"),
            (&all, &[("x-amz-mp-object-size", "8")], "InvalidRequest"),
            (&all, &[("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], "BadDigest"),
        ] {
            assert_eq!(complete(&bucket, parts, headers).unwrap_err(), code);
        }
        bucket.part("upload-1", 4, Bytes::from("h"), &HeaderMap::new()).unwrap();
        let parts = [(1, "abc"), (2, "def"), (3, "g"), (4, "h")];
        assert_eq!(complete(&bucket, &parts, &[]).unwrap_err(), "EntityTooSmall");
        bucket.abort("upload-1").unwrap();
        assert_eq!(complete(&bucket, &all, &[]).unwrap_err(), "NoSuchUpload");
    }
}
