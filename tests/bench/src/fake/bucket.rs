//! The exports bucket: applies S3's rules, but stores the bytes of objects only that are written in one request.
//!
//! A file's SHA-256 is computed while its parts arrive. A part waits for the parts before it. Replacing a part resets
//! the hash to the start of that part.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use exports_domain::hex;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{FakeResponse, lock};
use crate::Error;

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
    checksum: u64,
}

#[derive(Debug)]
pub(super) struct FakeBucket {
    min_part_bytes: u64,
    uploads: Mutex<HashMap<String, MultipartUpload>>,
    files: Mutex<BTreeMap<String, StoredFile>>,
    /// The bytes of files that were not uploaded in parts.
    contents: Mutex<HashMap<String, Bytes>>,
    next_upload: AtomicU64,
}

#[derive(Debug)]
struct MultipartUpload {
    path: String,
    parts: BTreeMap<u32, UploadedPart>,
    /// The hash state after part 1, 2, …
    hashed: Vec<Sha256>,
    /// Parts that wait for earlier ones.
    waiting: BTreeMap<u32, Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UploadedPart {
    bytes: u64,
    checksum: u64,
}

/// Status, code and message of an S3 error response.
#[derive(Debug, PartialEq, Eq)]
struct S3Error(StatusCode, &'static str, String);

fn s3_error<T>(status: StatusCode, code: &'static str, message: impl Into<String>) -> Result<T, S3Error> {
    Err(S3Error(status, code, message.into()))
}

impl FakeBucket {
    pub(super) fn new(min_part_bytes: u64) -> Self {
        Self {
            min_part_bytes,
            uploads: Mutex::default(),
            files: Mutex::default(),
            contents: Mutex::default(),
            next_upload: AtomicU64::new(1),
        }
    }

    pub(super) fn files(&self) -> BTreeMap<String, StoredFile> {
        lock(&self.files).clone()
    }

    /// Returns the operation's name and the response.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Result<(String, FakeResponse), Error> {
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
                ("CreateMultipartUpload", self.create(&path))
            }
            (&Method::PUT, Some(upload), Some(part)) => ("UploadPart", self.part(upload, part, body, &head.headers)),
            (&Method::GET, Some(upload), None) => ("ListParts", self.list(upload, &query)),
            (&Method::POST, Some(upload), None) => {
                ("CompleteMultipartUpload", self.complete(upload, &body, &head.headers))
            }
            (&Method::DELETE, Some(upload), None) => ("AbortMultipartUpload", self.abort(upload)),
            (&Method::PUT, None, None) => ("PutObject", self.put(&path, body, &head.headers)),
            (&Method::HEAD, None, None) => ("HeadObject", self.head(&path)),
            (&Method::GET, None, None) => ("GetObject", self.get(&path)),
            (&Method::DELETE, None, None) => ("DeleteObject", Ok(self.delete(&path))),
            _ => ("S3", s3_error(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "not implemented by the benchmark")),
        };
        let response = response.or_else(|S3Error(status, code, message)| {
            let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            Response::builder().status(status).body(Full::new(Bytes::from(body)))
        })?;
        Ok((name.to_owned(), response))
    }

    fn create(&self, path: &str) -> Result<FakeResponse, S3Error> {
        let id = format!("upload-{}", self.next_upload.fetch_add(1, Ordering::Relaxed));
        let upload = MultipartUpload {
            path: path.to_owned(),
            parts: BTreeMap::new(),
            hashed: Vec::new(),
            waiting: BTreeMap::new(),
        };
        lock(&self.uploads).insert(id.clone(), upload);
        Ok(xml(&format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")))
    }

    fn part(&self, id: &str, number: u32, body: Bytes, headers: &HeaderMap) -> Result<FakeResponse, S3Error> {
        if !(1..=10_000).contains(&number) {
            return s3_error(StatusCode::BAD_REQUEST, "InvalidArgument", "Part number must be between 1 and 10000");
        }
        let checksum = check(&body, headers)?;
        let part = UploadedPart { bytes: body.len() as u64, checksum };
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

    fn list(&self, id: &str, query: &HashMap<&str, &str>) -> Result<FakeResponse, S3Error> {
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

    fn complete(&self, id: &str, body: &[u8], headers: &HeaderMap) -> Result<FakeResponse, S3Error> {
        let request = String::from_utf8_lossy(body);
        let mut uploads = lock(&self.uploads);
        let upload = uploads.get(id).ok_or_else(no_such_upload)?;
        let file = upload.file(&request, self.min_part_bytes)?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if header("x-amz-mp-object-size").is_some_and(|size| size != file.bytes.to_string()) {
            return s3_error(StatusCode::BAD_REQUEST, "InvalidRequest", "The object has another size than expected");
        }
        let checksum = base64::encode(file.checksum.to_be_bytes());
        if header("x-amz-checksum-crc64nvme").is_some_and(|given| given != checksum) {
            return s3_error(StatusCode::BAD_REQUEST, "BadDigest", "The CRC64NVME you specified did not match");
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

    fn abort(&self, id: &str) -> Result<FakeResponse, S3Error> {
        lock(&self.uploads).remove(id).ok_or_else(no_such_upload)?;
        Ok(no_content())
    }

    fn get(&self, path: &str) -> Result<FakeResponse, S3Error> {
        let Some(content) = lock(&self.contents).get(path).cloned() else {
            return s3_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist");
        };
        Ok(Response::new(Full::new(content)))
    }

    fn delete(&self, path: &str) -> FakeResponse {
        lock(&self.files).remove(path);
        lock(&self.contents).remove(path);
        no_content()
    }

    fn put(&self, path: &str, body: Bytes, headers: &HeaderMap) -> Result<FakeResponse, S3Error> {
        let checksum = check(&body, headers)?;
        let file = StoredFile { bytes: body.len() as u64, sha256: hex::encode(&Sha256::digest(&body)), checksum };
        lock(&self.files).insert(path.to_owned(), file);
        lock(&self.contents).insert(path.to_owned(), body);
        let mut response = xml("");
        set(response.headers_mut(), "etag", "\"file\"")?;
        Ok(response)
    }

    pub(super) fn put_file(&self, path: String) {
        lock(&self.files).insert(path, StoredFile { bytes: 0, sha256: hex::encode(&Sha256::digest([])), checksum: 0 });
    }

    fn head(&self, path: &str) -> Result<FakeResponse, S3Error> {
        let files = lock(&self.files);
        let Some(file) = files.get(path) else { return s3_error(StatusCode::NOT_FOUND, "NotFound", "Not Found") };
        let mut response = xml("");
        let headers = response.headers_mut();
        set(headers, "content-length", &file.bytes.to_string())?;
        set(headers, "etag", "\"file\"")?;
        set(headers, "x-amz-checksum-crc64nvme", &base64::encode(file.checksum.to_be_bytes()))?;
        set(headers, "x-amz-checksum-type", "FULL_OBJECT")?;
        Ok(response)
    }
}

impl MultipartUpload {
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

    /// The file made of the parts that `request` lists.
    fn file(&self, request: &str, min_part_bytes: u64) -> Result<StoredFile, S3Error> {
        let listed: Vec<(u32, String)> = elements(request, "Part")
            .map(|part| {
                let number = elements(part, "PartNumber").next().and_then(|number| number.parse().ok()).unwrap_or(0);
                (number, elements(part, "ETag").next().unwrap_or_default().replace("&quot;", "\""))
            })
            .collect();
        let mut whole: Option<UploadedPart> = None;
        let mut last = 0;
        for (number, tag) in &listed {
            if *number <= last {
                return s3_error(StatusCode::BAD_REQUEST, "InvalidPartOrder", "The list of parts was not in order");
            }
            let Some(part) = self.parts.get(number).filter(|part| etag(part) == *tag) else {
                return s3_error(StatusCode::BAD_REQUEST, "InvalidPart", format!("Part {number} could not be found"));
            };
            if listed.last().is_none_or(|(last, _)| number != last) && part.bytes < min_part_bytes {
                let message =
                    format!("Part {number} has {} bytes, but at least {min_part_bytes} are required", part.bytes);
                return s3_error(StatusCode::BAD_REQUEST, "EntityTooSmall", message);
            }
            whole = Some(whole.map_or(*part, |whole| UploadedPart {
                bytes: whole.bytes + part.bytes,
                checksum: crc_fast::checksum_combine(Crc64Nvme, whole.checksum, part.checksum, part.bytes),
            }));
            last = *number;
        }
        let Some(whole) = whole else {
            return s3_error(StatusCode::BAD_REQUEST, "MalformedXML", "You must specify at least one part");
        };
        // S3 allows gaps in the part numbers. No contender uses them, and the hash needs consecutive parts.
        let hash = self.hashed.get(listed.len() - 1).filter(|_| last as usize == listed.len());
        let Some(hash) = hash else {
            return s3_error(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                "parts with gaps, or replaced out of order",
            );
        };
        Ok(StoredFile { bytes: whole.bytes, sha256: hex::encode(&hash.clone().finalize()), checksum: whole.checksum })
    }
}

/// Reads the whole body.
async fn read(mut body: Incoming, headers: &HeaderMap) -> Result<Bytes, Error> {
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "aws-chunked") {
        return Err("bodies with trailing checksums are not implemented by the benchmark".into());
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

/// The body's CRC64NVME. An error if the header has another one.
fn check(body: &[u8], headers: &HeaderMap) -> Result<u64, S3Error> {
    let checksum = crc_fast::checksum(Crc64Nvme, body);
    let encoded = base64::encode(checksum.to_be_bytes());
    if headers.get("x-amz-checksum-crc64nvme").is_some_and(|given| given.as_bytes() != encoded.as_bytes()) {
        return s3_error(StatusCode::BAD_REQUEST, "BadDigest", "The CRC64NVME you specified did not match");
    }
    Ok(checksum)
}

fn etag(part: &UploadedPart) -> String {
    format!("\"{:016x}-{}\"", part.checksum, part.bytes)
}

fn no_such_upload() -> S3Error {
    S3Error(StatusCode::NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist".to_owned())
}

fn xml(body: &str) -> FakeResponse {
    Response::new(Full::new(Bytes::from(body.to_owned())))
}

fn no_content() -> FakeResponse {
    let mut response = xml("");
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), S3Error> {
    let invalid = |_| S3Error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("{name}: {value}"));
    headers.insert(name, value.parse().map_err(invalid)?);
    Ok(())
}

/// The contents of all elements with this name. They must not be nested.
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

    /// A bucket with an upload whose part 2 arrived before part 1.
    fn uploading() -> FakeBucket {
        let bucket = FakeBucket::new(3);
        bucket.create("/exports/file").unwrap();
        for (number, bytes) in [(2, "def"), (1, "abc"), (3, "g")] {
            bucket.part("upload-1", number, Bytes::from(bytes), &HeaderMap::new()).unwrap();
        }
        bucket
    }

    fn request(parts: &[(u32, &str)]) -> String {
        let part = |(number, bytes): &(u32, &str)| {
            let checksum = crc_fast::checksum(Crc64Nvme, bytes.as_bytes());
            let tag = etag(&UploadedPart { bytes: bytes.len() as u64, checksum }).replace('"', "&quot;");
            format!("<Part><ETag>{tag}</ETag><PartNumber>{number}</PartNumber></Part>")
        };
        parts.iter().map(part).collect()
    }

    fn complete(bucket: &FakeBucket, parts: &[(u32, &str)]) -> StoredFile {
        bucket.complete("upload-1", request(parts).as_bytes(), &HeaderMap::new()).unwrap();
        bucket.files()["/exports/file"].clone()
    }

    #[test]
    fn file_has_its_parts_in_order_of_number() {
        let file = complete(&uploading(), &[(1, "abc"), (2, "def"), (3, "g")]);
        assert_eq!((file.bytes, file.sha256), (7, hex::encode(&Sha256::digest(b"abcdefg"))));
        assert_eq!(file.checksum, crc_fast::checksum(Crc64Nvme, b"abcdefg"));
    }

    #[test]
    fn part_uploaded_again_replaces_the_first() {
        let bucket = uploading();
        for (number, bytes) in [(2, "xyz"), (3, "g")] {
            lock(&bucket.uploads).get_mut("upload-1").unwrap().parts.remove(&3);
            bucket.part("upload-1", number, Bytes::from(bytes), &HeaderMap::new()).unwrap();
        }
        let file = complete(&bucket, &[(1, "abc"), (2, "xyz"), (3, "g")]);
        assert_eq!(file.sha256, hex::encode(&Sha256::digest(b"abcxyzg")));
    }
}
