use super::*;
use crate::api_error::ExportNotFound;
use exports_domain::error::DependencyError;
use exports_domain::ports::SendError;
use exports_telemetry::testing::Log;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(1);

/// An event with these members and defaults for the others.
pub fn event(members: Value) -> ApiGatewayV2httpRequest {
    let mut event = json!({
        "version": "2.0",
        "routeKey": "POST /v1/things",
        "rawPath": "/v1/things",
        "rawQueryString": "",
        "headers": {},
        "requestContext": {
            "routeKey": "POST /v1/things",
            "requestId": "req-1",
            "stage": "$default",
            "timeEpoch": 0,
            "http": {"method": "POST", "path": "/v1/things"},
        },
        "isBase64Encoded": false,
    });
    for (name, value) in members.as_object().unwrap() {
        event[name] = value.clone();
    }
    serde_json::from_value(event).unwrap()
}

/// A request with these headers and this body.
pub fn request(headers: Value, body: Option<&str>) -> Request {
    Request::from(event(json!({"headers": headers, "body": body})))
}

/// The response to an event, and the log.
async fn served(handler: impl AsyncFn(Request) -> Result<Success, ApiError>) -> (Response, Vec<Value>) {
    let (response, log, _) = measured(handler).await;
    (response, log)
}

/// The response to an event, the log, and the metrics.
async fn measured(handler: impl AsyncFn(Request) -> Result<Success, ApiError>) -> (Response, Vec<Value>, Vec<Value>) {
    let (log, _guard) = Log::capture();
    let response = serve(event(json!({})), LIMIT, handler).await;
    let (metrics, log) = log.lines().into_iter().partition(|line| line.get("_aws").is_some());
    (response, log, metrics)
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

fn body(response: &Response) -> Value {
    let Some(lambda_http::Body::Text(text)) = &response.body else { panic!("{response:?}") };
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn success_is_uncacheable_json_with_request_id() {
    let success = || Success::accepted(&json!({"a": 1})).location("/v1/things/1".into());
    let (response, log) = served(async |_| Ok(success().retry_after(Duration::from_secs(5)))).await;
    assert_eq!((response.status_code, body(&response)), (202, json!({"a": 1})));
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-request-id", "req-1"),
        ("location", "/v1/things/1"),
        ("retry-after", "5"),
    ] {
        assert_eq!(header(&response, name), Some(value), "{name}");
    }
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["status"], &line["route"]), (&json!(202), &json!("POST /v1/things")));
    assert_eq!(line["spans"][0]["requestId"], "req-1");
}

#[tokio::test]
async fn transient_error_has_retry_after_and_is_logged_once() {
    let (response, log) =
        served(async |_| Err(DependencyError::transient("read the table", "secret host 10.0.0.1").into())).await;
    assert_eq!((response.status_code, header(&response, "retry-after")), (503, Some("5")));
    assert_eq!(header(&response, "x-request-id"), Some("req-1"));
    assert_eq!(header(&response, "cache-control"), Some("no-store"));
    let body = body(&response);
    assert_eq!((&body["requestId"], &body["errors"][0]["code"]), (&json!("req-1"), &json!("SERVICE_UNAVAILABLE")));
    assert!(!body.to_string().contains("table") && !body.to_string().contains("10.0.0.1"));
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["error"], "could not read the table: secret host 10.0.0.1");
}

#[tokio::test]
async fn permanent_error_has_no_retry_after_and_is_logged_once() {
    let denied = async |_| Err(DependencyError::permanent("read the table", "access denied for role r").into());
    let (response, log) = served(denied).await;
    assert_eq!((response.status_code, header(&response, "retry-after")), (500, None));
    let body = body(&response);
    assert_eq!(body["errors"][0]["code"], "INTERNAL");
    assert!(!body.to_string().contains("table") && !body.to_string().contains("denied"));
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["level"], &line["status"]), (&json!("ERROR"), &json!(500)));
    assert_eq!(line["error"], "could not read the table: access denied for role r");
}

#[tokio::test]
async fn unsent_mail_is_logged_with_its_cause() {
    let unsent = SendError::Dependency(DependencyError::transient("send the e-mail", "no response"));
    let error = std::sync::Mutex::new(Some(ApiError::EmailNotSent(unsent)));
    let (response, log) = served(async |_| Err(error.lock().unwrap().take().unwrap())).await;
    assert_eq!(response.status_code, 503);
    assert_eq!(log.last().unwrap()["error"], "could not send the e-mail: no response");
}

#[tokio::test]
async fn slow_request_is_a_transient_error() {
    let (response, log, metrics) = measured(async |_| std::future::pending().await).await;
    assert_eq!((response.status_code, header(&response, "retry-after")), (503, Some("5")));
    assert_eq!(body(&response)["errors"][0]["code"], "SERVICE_UNAVAILABLE");
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("request failed")));
    assert_eq!(line["error"], "could not respond in time: deadline has elapsed");
    assert_eq!(metrics.len(), 1);
}

#[test]
fn time_left_keeps_a_margin_for_the_response() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_791_448_200);
    let seconds = Duration::from_secs;
    assert_eq!(time_left(now + seconds(10), now), seconds(10) - RESPONSE_MARGIN);
    assert_eq!(time_left(now, now), Duration::ZERO);
    assert!(time_left(now - seconds(1), now) > seconds(1_000_000), "a clock that is ahead must not fail every request");
}

#[tokio::test]
async fn internal_error_reveals_no_details() {
    let (response, log) = served(async |_| Err(ApiError::Internal("index out of bounds".into()))).await;
    assert_eq!(response.status_code, 500);
    assert_eq!(body(&response)["errors"][0]["code"], "INTERNAL");
    assert!(!body(&response).to_string().contains("bounds"));
    assert_eq!(log.len(), 1);
}

#[tokio::test]
async fn server_errors_are_counted_and_client_errors_are_not() {
    let error = || DependencyError::transient("read the table", "timed out");
    for handled in [measured(async |_| Err(error().into())).await, measured(async |_| panic!("no more room")).await] {
        let [metric] = &handled.2[..] else { panic!("{handled:?}") };
        assert_eq!(metric["HttpServerErrors"], 1);
    }
    let (_, _, metrics) = measured(async |_| Err(ExportNotFound.into())).await;
    assert_eq!(metrics, [] as [Value; 0]);
}

#[tokio::test]
async fn panic_is_an_internal_error() {
    let (response, _) = served(async |_| panic!("no more room")).await;
    assert_eq!((response.status_code, header(&response, "x-request-id")), (500, Some("req-1")));
    assert_eq!(body(&response)["errors"][0]["code"], "INTERNAL");
    assert!(!body(&response).to_string().contains("room"));
}

#[tokio::test]
async fn invalid_base64_from_api_gateway_is_an_internal_error() {
    let event = event(json!({"body": "%", "isBase64Encoded": true}));
    let response = serve(event, LIMIT, async |_| Ok(Success::ok(&json!({})))).await;
    assert_eq!(response.status_code, 500);
}

#[tokio::test]
async fn unserializable_success_is_an_internal_error() {
    let unserializable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let (response, log) = served(async |_| Ok(Success::ok(&unserializable))).await;
    assert_eq!((response.status_code, log.len()), (500, 1));
    assert_eq!(log[0]["level"], "ERROR");
}

#[tokio::test]
async fn bad_request_lists_every_error_with_its_field() {
    let errors = || {
        let error = |code, field: Option<&str>, detail: &str| ValidationError {
            code,
            field: field.map(Into::into),
            detail: detail.into(),
        };
        vec![
            error(ValidationCode::Format, Some("cc[3]"), "the address is empty"),
            error(ValidationCode::Size, None, "too many"),
        ]
    };
    let (response, log) = served(async |_| Err(ApiError::BadRequest(errors()))).await;
    assert_eq!(response.status_code, 400);
    assert_eq!(
        body(&response),
        json!({
            "errors": [
                {"code": "F-E-012", "message": "Wrong format", "detail": "the address is empty", "field": "cc[3]"},
                {"code": "F-E-010", "message": "Size limit exceeded", "detail": "too many"},
            ],
            "requestId": "req-1",
        })
    );
    assert_eq!((&log[0]["level"], &log[0]["code"]), (&json!("INFO"), &json!("F-E-012")));
}

#[test]
fn header_names_are_case_insensitive() {
    let request = request(json!({"DJ-Client": "OPERATOR", "X-Odd": "é"}), None);
    assert_eq!((request.header("dj-client"), request.header("x-odd")), (Some("OPERATOR"), None));
}

#[test]
fn body_is_decoded_if_base64_encoded() {
    let encoded = Request::from(event(json!({"body": "e30=", "isBase64Encoded": true})));
    assert_eq!((encoded.body(), request(json!({}), Some("{}")).body()), (&b"{}"[..], &b"{}"[..]));
    assert_eq!(request(json!({}), None).body(), b"");
}

#[test]
fn malformed_export_id_is_not_found() {
    let valid = exports_domain::testing::export().id;
    let path = routes::export(&valid);
    let id = |parameters: Value| {
        Request::from(event(json!({"rawPath": path, "pathParameters": parameters}))).export_id_of_type()
    };
    assert_eq!(id(json!({"exportId": valid.to_string()})), Ok(valid));
    for parameters in [json!({}), json!(null), json!({"exportId": ""}), json!({"exportId": "../secrets"})] {
        assert_eq!(id(parameters), Err(ExportNotFound));
    }
    let elsewhere =
        event(json!({"rawPath": "/v1/payments/x/export", "pathParameters": {"exportId": valid.to_string()}}));
    assert_eq!(Request::from(elsewhere).export_id_of_type(), Err(ExportNotFound));
}

#[test]
fn request_with_invalid_uri_is_accepted() {
    let request = Request::from(event(json!({
        "rawPath": "/v1/ things/{é}", "rawQueryString": "a=|&b=\u{7f}{", "headers": {"host": "not a host"},
    })));
    assert_eq!(request.header("host"), Some("not a host"));
}

#[tokio::test]
async fn invalid_header_is_rejected_and_not_logged() {
    let (log, _guard) = Log::capture();
    let key = "k".repeat(64);
    let event = json!({
        "version": "2.0",
        "headers": {"dj-api-key": format!("{key}\u{7f}")},
        "requestContext": {"requestId": "req-1", "http": {"method": "GET"}},
        "isBase64Encoded": false,
    });
    let response = serve_any(&to_raw_value(&event).unwrap(), LIMIT, async |_: Request| -> Result<Success, ApiError> {
        panic!("not reached")
    })
    .await;
    assert_eq!(response.status_code, 400);
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].to_string().contains(&key));
    assert_eq!((header(&response, "x-request-id"), &body(&response)["requestId"]), (Some("req-1"), &json!("req-1")));
    assert_eq!(lines[0]["spans"][0]["requestId"], "req-1");
}
