use exports_domain::caller::KeyHash;
use exports_domain::file::ExportFile;
use exports_domain::lifecycle;
use exports_domain::ports::{AcceptError, ApiKeyStore, ApplyError, ExportStore, FileStore, JobQueue, Upload};
use exports_domain::testing::{export, file, new_file, start};
use std::time::Duration;

use super::*;
use crate::bucket::ExportsBucket;
use crate::dynamodb::{ApiKeysTable, ExportsTable};
use crate::queue::JobsQueue;
use crate::testing::{StubHttpClient, response};

/// The error of a call when the service responds with this status and code, and the number of requests sent.
async fn error_of(service: &str, status: u16, code: &str) -> (DependencyError, u32) {
    let code = code.to_owned();
    let aws = StubHttpClient::new(move |request| {
        let is_xml = request.uri().contains("exports/");
        response(
            status,
            match is_xml {
                true if code.is_empty() => String::new(),
                true => format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"),
                false => format!(r#"{{"__type": "com.amazonaws#{code}", "message": "m"}}"#),
            },
        )
    });
    let config = aws.config();
    let error = match service {
        "dynamodb" => {
            let table = ApiKeysTable::new(&config, "ApiKeys".into());
            table.find_api_key(&KeyHash::from_digest([7; 32])).await.unwrap_err()
        }
        "s3" => ExportsBucket::new(&config, "exports".into()).file_size("exports/x.csv").await.unwrap_err(),
        "s3 put" => {
            let bucket = ExportsBucket::new(&config, "exports".into());
            bucket.put_file(&new_file(), vec![1]).await.unwrap_err()
        }
        "s3 delete" => ExportsBucket::new(&config, "exports".into()).delete_file("exports/x.csv").await.unwrap_err(),
        "s3 abort" => {
            let upload = Upload { key: "exports/x.csv".into(), id: "u".into() };
            ExportsBucket::new(&config, "exports".into()).abort_upload(&upload).await.unwrap_err()
        }
        "sqs" => {
            let queue = JobsQueue::new(&config, "http://aws.example/1/jobs".into());
            queue.enqueue(&export(), Duration::ZERO).await.unwrap_err()
        }
        "secretsmanager" => {
            let links = ExportsBucket::new(&config, "exports".into()).with_links("secret".into());
            let file = ExportFile { key: "exports/x.csv".into(), ..file() };
            links.sign_link(&file.key, start(), start().plus(Duration::from_secs(60))).await.unwrap_err()
        }
        other => panic!("{other}"),
    };
    (error, aws.requests())
}

#[tokio::test(start_paused = true)]
async fn permanent_error_is_not_retried() {
    for (service, status, code) in [
        ("dynamodb", 400, "AccessDeniedException"),
        ("dynamodb", 400, "ResourceNotFoundException"),
        ("dynamodb", 400, "ValidationException"),
        ("dynamodb", 400, "MissingAuthenticationTokenException"),
        ("s3", 403, ""),
        ("s3", 400, ""),
        ("s3 put", 403, "AccessDenied"),
        ("s3 put", 404, "NoSuchBucket"),
        ("s3 put", 400, "KMS.DisabledException"),
        ("s3 put", 400, "KMS.NotFoundException"),
        ("s3 put", 301, "PermanentRedirect"),
        ("sqs", 403, "AccessDenied"),
        ("sqs", 400, "QueueDoesNotExist"),
        ("sqs", 400, "KmsAccessDenied"),
        ("sqs", 400, "KmsDisabled"),
        ("sqs", 400, "KmsInvalidState"),
        ("sqs", 400, "KmsNotFound"),
        ("secretsmanager", 400, "AccessDeniedException"),
        ("secretsmanager", 400, "ResourceNotFoundException"),
        ("secretsmanager", 400, "DecryptionFailure"),
        ("secretsmanager", 400, "InvalidRequestException"),
    ] {
        let (error, requests) = error_of(service, status, code).await;
        assert_eq!((error.kind(), requests), (ErrorKind::Permanent, 1), "{service}: {status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn transient_error_is_classified_by_code_or_status() {
    for (service, status, code) in [
        ("dynamodb", 400, "ProvisionedThroughputExceededException"),
        ("dynamodb", 400, "ThrottlingException"),
        ("dynamodb", 400, "RequestLimitExceeded"),
        ("dynamodb", 400, "UnrecognizedClientException"),
        ("dynamodb", 400, "ExpiredTokenException"),
        ("dynamodb", 400, "ReplicatedWriteConflictException"),
        ("dynamodb", 400, "RequestExpired"),
        ("dynamodb", 400, "TransactionConflictException"),
        ("dynamodb", 500, "InternalServerError"),
        ("dynamodb", 503, "ServiceUnavailable"),
        ("s3", 500, ""),
        ("s3", 503, ""),
        ("s3 put", 503, "SlowDown"),
        ("s3 put", 400, "RequestTimeout"),
        ("s3 put", 400, "ExpiredToken"),
        ("s3 put", 400, "BadDigest"),
        ("s3 put", 400, "IncompleteBody"),
        ("s3 put", 400, "KMS.ThrottlingException"),
        ("s3 put", 400, "TokenRefreshRequired"),
        ("s3 put", 400, "XAmzContentChecksumMismatch"),
        ("s3 put", 400, "XAmzContentSHA256Mismatch"),
        ("s3 put", 403, "RequestTimeTooSkewed"),
        ("s3 put", 404, "NoSuchUpload"),
        ("s3 put", 409, "ConditionalRequestConflict"),
        ("s3 put", 409, "OperationAborted"),
        ("sqs", 400, "RequestThrottled"),
        ("sqs", 400, "KmsThrottled"),
        ("sqs", 500, "InternalFailure"),
        ("secretsmanager", 400, "ThrottlingException"),
        ("secretsmanager", 500, "InternalServiceError"),
        ("secretsmanager", 429, "AnythingElse"),
    ] {
        let (error, _) = error_of(service, status, code).await;
        assert_eq!(error.kind(), ErrorKind::Transient, "{service}: {status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn presigned_request_fails_like_one_of_the_s3_client() {
    for (status, code, attempts) in [
        (301, "PermanentRedirect", 1),
        (400, "ExpiredToken", 1),
        (400, "RequestTimeout", 4),
        (400, "SlowDown", 4),
        (403, "AccessDenied", 1),
        (404, "", 1),
        (404, "NoSuchBucket", 1),
        (500, "InternalError", 4),
        (503, "SlowDown", 4),
    ] {
        let (expected, _) = error_of("s3 put", status, code).await;
        for service in ["s3 put", "s3 delete", "s3 abort"] {
            let (error, requests) = error_of(service, status, code).await;
            assert_eq!((error.kind(), requests), (expected.kind(), attempts), "{service}: {status} {code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_transaction_is_permanent_if_any_reason_is_and_retried_if_any_is_transient() {
    for (codes, kind, requests) in [
        (["None", "TransactionConflict"], ErrorKind::Transient, 7),
        (["ThrottlingError", "None"], ErrorKind::Transient, 7),
        (["None", "ProvisionedThroughputExceeded"], ErrorKind::Transient, 7),
        (["ProvisionedThroughputExceeded", "TransactionConflict"], ErrorKind::Transient, 7),
        (["None", "ValidationError"], ErrorKind::Permanent, 1),
        (["TransactionConflict", "ValidationError"], ErrorKind::Permanent, 7),
    ] {
        let reasons = codes.map(|code| format!(r#"{{"Code": "{code}"}}"#)).join(", ");
        let code = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        let body = format!(r#"{{"__type": "{code}", "Message": "m", "CancellationReasons": [{reasons}]}}"#);
        let aws = StubHttpClient::new(move |_| response(400, body.clone()));
        let table = ExportsTable::new(&aws.config(), "Exports".into());
        let Err(AcceptError::Dependency(error)) = table.accept_export(&export(), None).await else {
            panic!("{codes:?}")
        };
        assert_eq!((error.kind(), aws.requests()), (kind, requests), "{codes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn update_that_conflicts_with_a_transaction_is_retried_with_growing_waits() {
    let conflict = r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": "m"}"#;
    let aws = StubHttpClient::new(move |_| response(400, conflict));
    let table = ExportsTable::new(&aws.config(), "Exports".into());
    let started = tokio::time::Instant::now();
    let applied = table.apply_step(&export().tenant, &export().id, &lifecycle::expire(start(), start())).await;
    let Err(ApplyError::Dependency(error)) = applied else { panic!("{applied:?}") };
    assert_eq!((error.kind(), aws.requests()), (ErrorKind::Transient, 7));
    // 2.69 s in all, of which jitter takes up to half.
    let waited = started.elapsed().as_millis();
    assert!((1345..=2690).contains(&waited), "{waited} ms");
}

#[test]
fn request_that_cannot_be_made_is_a_permanent_error() {
    let error = SdkError::<aws_smithy_types::error::ErrorMetadata, HttpResponse>::construction_failure("no key");
    assert!(dependency_error("write the file", error).is_permanent());
}

#[tokio::test]
async fn malformed_secret_is_a_permanent_error() {
    let aws = StubHttpClient::new(|_| response(200, r#"{"SecretString": "not JSON"}"#));
    let links = ExportsBucket::new(&aws.config(), "exports".into()).with_links("secret".into());
    let error = links.sign_link(&file().key, start(), start()).await.unwrap_err();
    assert!(error.is_permanent() && !format!("{error:?}").contains("not JSON"), "{error:?}");
}
