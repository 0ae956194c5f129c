use std::convert::Infallible;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use exports_domain::testing::{file, start};
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use tokio::time::Instant;

use super::*;
use crate::testing::{StubHttpClient, response};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const DONE: &str = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
const SIGNING_KEY: &str = r#"{"SecretString": "{\"accessKeyId\": \"AKIA\", \"secretAccessKey\": \"secret\"}"}"#;
const MINUTE: Duration = Duration::from_secs(60);

fn bucket(aws: &StubHttpClient) -> ExportsBucket {
    ExportsBucket::new(&aws.config(), "exports".to_owned())
}

/// S3 with this error as its only response.
fn failing(status: u16, code: &'static str) -> StubHttpClient {
    StubHttpClient::new(move |_| response(status, SdkBody::from(format!("<Error><Code>{code}</Code></Error>"))))
}

async fn complete(aws: &StubHttpClient, within: Duration) -> Result<(), CompleteError> {
    let upload = Upload { key: "exports/x.csv".into(), id: "u".into() };
    let parts = [Part { number: 1, receipt: "e".into(), bytes: 3 }];
    bucket(aws).complete_upload(&upload, &parts, 3, 7, within).await
}

/// S3's response while it completes a file: the start at once, then a space every 25 seconds, then `end`.
fn slow_body(blanks: usize, end: String) -> SdkBody {
    let beginning = std::iter::once((Duration::ZERO, XML.to_owned()));
    let blanks = (0..blanks).map(|_| (Duration::from_secs(25), " ".to_owned()));
    let texts = beginning.chain(blanks).chain([(Duration::ZERO, end)]).collect::<Vec<_>>().into_iter();
    let frames = stream::unfold(texts, |mut texts| async move {
        let (wait, text) = texts.next()?;
        tokio::time::sleep(wait).await;
        Some((Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(text))), texts))
    });
    SdkBody::from_body_1_x(StreamBody::new(frames.fuse()))
}

#[tokio::test(start_paused = true)]
async fn complete_upload_taking_minutes_succeeds() {
    let aws = StubHttpClient::new(|_| response(200, slow_body(10, DONE.to_owned())));
    complete(&aws, 5 * MINUTE).await.unwrap();
    assert_eq!(aws.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn complete_upload_past_its_limit_is_transient() {
    let aws = StubHttpClient::new(|_| response(200, slow_body(100, DONE.to_owned())));
    let started = Instant::now();
    let result = complete(&aws, 2 * MINUTE).await;
    assert!(matches!(&result, Err(CompleteError::Dependency(error)) if !error.is_permanent()), "{result:?}");
    assert_eq!(started.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn complete_upload_error_with_status_200_is_an_error() {
    let error = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
    for (end, is_lost) in [
        (error("BadDigest"), true),
        (error("EntityTooSmall"), true),
        (error("InvalidPart"), true),
        (error("InvalidPartOrder"), true),
        (error("InvalidRequest"), true),
        (error("NoSuchUpload"), true),
        (error("XAmzContentChecksumMismatch"), true),
        (error("InternalError"), false),
        (error("SomethingNew"), false),
        // The connection is closed early.
        (String::new(), false),
        ("<Err".to_owned(), false),
    ] {
        let body = end.clone();
        let aws = StubHttpClient::new(move |_| response(200, slow_body(1, body.clone())));
        let result = complete(&aws, 5 * MINUTE).await;
        match &result {
            Err(CompleteError::UploadLost(_)) if is_lost => {}
            Err(CompleteError::Dependency(error)) if !is_lost && !error.is_permanent() => {}
            _ => panic!("{end}: {result:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn file_size_is_none_on_404_only() {
    let size = async |status: u16| {
        let aws = StubHttpClient::new(move |_| {
            let mut found = response(status, SdkBody::empty());
            found.headers_mut().insert("content-length", "41");
            found
        });
        bucket(&aws).file_size("exports/x.csv").await
    };
    assert_eq!(size(200).await.unwrap(), Some(41));
    assert_eq!(size(404).await.unwrap(), None);
    assert!(size(403).await.is_err_and(|error| error.is_permanent()));
    assert!(size(503).await.is_err_and(|error| !error.is_permanent()));
}

#[tokio::test(start_paused = true)]
async fn unfinished_file_is_read_whole_or_not_at_all() {
    let get = async |status: u16, body: &'static str| {
        let aws = StubHttpClient::new(move |_| {
            let mut found = response(status, SdkBody::from(body));
            if status == 200 {
                // The checksum of "part".
                found.headers_mut().insert("x-amz-checksum-crc64nvme", "v+lYbwd1k6E=");
            }
            found
        });
        bucket(&aws).get_unfinished("unfinished/x/1-9").await
    };
    let error = |code: &str| -> &'static str { format!("<Error><Code>{code}</Code></Error>").leak() };
    assert_eq!(get(200, "part").await.unwrap(), Some(b"part".to_vec()));
    assert!(get(200, "trap").await.is_err_and(|error| !error.is_permanent()), "the checksum does not match");
    assert_eq!(get(404, error("NoSuchKey")).await.unwrap(), None);
    assert!(get(403, error("AccessDenied")).await.is_err_and(|error| error.is_permanent()));
    assert!(get(503, error("SlowDown")).await.is_err_and(|error| !error.is_permanent()));
}

#[tokio::test]
async fn aborting_a_missing_upload_is_not_an_error() {
    let upload = Upload { key: "exports/x.csv".into(), id: "u".into() };
    bucket(&failing(404, "NoSuchUpload")).abort_upload(&upload).await.unwrap();
    let error = bucket(&failing(403, "AccessDenied")).abort_upload(&upload).await.unwrap_err();
    assert!(error.is_permanent());
}

#[tokio::test]
async fn signing_key_is_read_again_after_five_minutes() {
    let aws = StubHttpClient::new(|_| response(200, SIGNING_KEY));
    let links = ExportsBucket::new(&aws.config(), "exports".into()).with_links("secret".into());
    for (seconds, requests) in [(0, 1), (299, 1), (300, 2), (301, 2)] {
        let now = start().plus(Duration::from_secs(seconds));
        links.sign_link(&file().key, now, now.plus(Duration::from_secs(60))).await.unwrap();
        assert_eq!(aws.requests(), requests, "{seconds} s");
    }
}

#[tokio::test]
async fn link_whose_expiry_has_passed_is_valid_for_no_time() {
    let aws = StubHttpClient::new(|_| response(200, SIGNING_KEY));
    let links = ExportsBucket::new(&aws.config(), "exports".into()).with_links("secret".into());
    let link = links.sign_link(&file().key, start(), start().minus(MINUTE)).await.unwrap();
    assert!(link.contains("&X-Amz-Expires=0&"), "{link}");
}

#[tokio::test(start_paused = true)]
async fn missing_upload_has_no_parts() {
    let upload = Upload { key: "exports/x.csv".into(), id: "u".into() };
    assert_eq!(bucket(&failing(404, "NoSuchUpload")).list_parts(&upload).await.unwrap(), None);
    let error = bucket(&failing(403, "AccessDenied")).list_parts(&upload).await.unwrap_err();
    assert!(error.is_permanent());
}

#[tokio::test]
async fn warm_up_connects_and_reads_the_signing_key() {
    let aws = StubHttpClient::new(|_| response(200, SIGNING_KEY));
    let links = ExportsBucket::new(&aws.config(), "exports".into()).with_links("secret".into());
    links.warm_up(start()).await;
    assert_eq!(aws.requests(), 2);
    links.sign_link(&file().key, start(), start().plus(MINUTE)).await.unwrap();
    assert_eq!(aws.requests(), 2);
}
