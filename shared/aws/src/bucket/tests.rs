use std::convert::Infallible;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use tokio::time::Instant;

use super::*;
use crate::testing::{FakeAws, response};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const DONE: &str = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
const MINUTE: Duration = Duration::from_secs(60);

fn bucket(aws: &FakeAws) -> ExportsBucket {
    ExportsBucket::new(&aws.config(), "exports".to_owned())
}

async fn complete(aws: &FakeAws, within: Duration) -> Result<(), CompleteError> {
    let upload = Upload { key: "exports/x.csv".into(), id: "u".into() };
    let parts = [Part { number: 1, tag: "e".into(), bytes: 3 }];
    bucket(aws).complete_upload(&upload, &parts, 3, 7, within).await
}

/// As S3 responses while it completes a file: at once with 200, then with a blank every 25 seconds, at last with `end`.
fn slow(blanks: usize, end: String) -> SdkBody {
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
async fn completion_that_takes_minutes_succeeds() {
    let aws = FakeAws::new(|_| response(200, slow(10, DONE.to_owned())));
    complete(&aws, 5 * MINUTE).await.unwrap();
    assert_eq!(aws.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn completion_ends_with_its_time() {
    let aws = FakeAws::new(|_| response(200, slow(100, DONE.to_owned())));
    let began = Instant::now();
    let ended = complete(&aws, 2 * MINUTE).await;
    assert!(matches!(&ended, Err(CompleteError::Dependency(error)) if !error.is_permanent()), "{ended:?}");
    assert_eq!(began.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn error_under_a_status_of_200_is_an_error() {
    let error = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
    for (end, is_lost) in [
        (error("NoSuchUpload"), true),
        (error("InvalidPart"), true),
        (error("InternalError"), false),
        (error("SomethingNew"), false),
        // The connection was closed too early.
        (String::new(), false),
        ("<Err".to_owned(), false),
    ] {
        let body = end.clone();
        let aws = FakeAws::new(move |_| response(200, slow(1, body.clone())));
        let ended = complete(&aws, 5 * MINUTE).await;
        match &ended {
            Err(CompleteError::UploadLost(_)) if is_lost => {}
            Err(CompleteError::Dependency(error)) if !is_lost && !error.is_permanent() => {}
            _ => panic!("{end}: {ended:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn file_is_missing_by_404_alone() {
    let size = async |status: u16| {
        let aws = FakeAws::new(move |_| {
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
