use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::problem::NoSuchExport;
use domain::ports::Outage;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(1);

/// An event with these members, and the others that every event has.
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

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The answer to an event, and what was logged of it.
async fn served(handler: impl AsyncFn(Request) -> Result<Success, Problem>) -> (Answer, Vec<Value>) {
    let (answer, log, _) = measured(handler).await;
    (answer, log)
}

/// The answer to an event, what was logged of it, and the metrics.
async fn measured(handler: impl AsyncFn(Request) -> Result<Success, Problem>) -> (Answer, Vec<Value>, Vec<Value>) {
    let log = Log::default();
    let writer = log.clone();
    let _guard = tracing::subscriber::set_default(telemetry::subscriber(move || writer.clone()));
    let answer = serve(event(json!({})), LIMIT, handler).await;
    let (metrics, log) = log.lines().into_iter().partition(|line| line.get("_aws").is_some());
    (answer, log, metrics)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

fn body(answer: &Answer) -> Value {
    let Some(lambda_http::Body::Text(text)) = &answer.body else { panic!("{answer:?}") };
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn success_is_json_that_is_not_kept_and_carries_the_request_id() {
    let success = || Success::accepted(&json!({"a": 1})).location("/v1/things/1".into());
    let (answer, log) = served(async |_| Ok(success().retry_after(Duration::from_secs(5)))).await;
    assert_eq!((answer.status_code, body(&answer)), (202, json!({"a": 1})));
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-request-id", "req-1"),
        ("location", "/v1/things/1"),
        ("retry-after", "5"),
    ] {
        assert_eq!(header(&answer, name), Some(value), "{name}");
    }
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["status"], &line["route"]), (&json!(202), &json!("POST /v1/things")));
    assert_eq!(line["spans"][0]["requestId"], "req-1");
}

#[tokio::test]
async fn outage_is_answered_with_a_wait_and_logged_once_with_its_causes() {
    let (answer, log) = served(async |_| Err(Outage::new("read the table", "secret host 10.0.0.1").into())).await;
    assert_eq!((answer.status_code, header(&answer, "retry-after")), (503, Some("5")));
    assert_eq!(header(&answer, "x-request-id"), Some("req-1"));
    let told = body(&answer);
    assert_eq!((&told["requestId"], &told["errors"][0]["code"]), (&json!("req-1"), &json!("SERVICE_UNAVAILABLE")));
    assert!(!told.to_string().contains("table") && !told.to_string().contains("10.0.0.1"));
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["error"], "could not read the table: secret host 10.0.0.1");
}

#[tokio::test]
async fn permanent_error_is_answered_without_a_wait_and_logged_once_with_its_causes() {
    let denied = async |_| Err(Outage::permanent("read the table", "access denied for role r").into());
    let (answer, log) = served(denied).await;
    assert_eq!((answer.status_code, header(&answer, "retry-after")), (500, None));
    let told = body(&answer);
    assert_eq!(told["errors"][0]["code"], "INTERNAL");
    assert!(!told.to_string().contains("table") && !told.to_string().contains("denied"));
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["level"], &line["status"]), (&json!("ERROR"), &json!(500)));
    assert_eq!(line["error"], "could not read the table: access denied for role r");
}

#[tokio::test]
async fn work_that_is_not_done_in_time_is_answered_and_logged_as_an_outage() {
    let (answer, log, metrics) = measured(async |_| std::future::pending().await).await;
    assert_eq!((answer.status_code, header(&answer, "retry-after")), (503, Some("5")));
    assert_eq!(body(&answer)["errors"][0]["code"], "SERVICE_UNAVAILABLE");
    let [line] = &log[..] else { panic!("{log:?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("request failed")));
    assert_eq!(line["error"], "could not answer in time: deadline has elapsed");
    assert_eq!(metrics.len(), 1);
}

#[test]
fn work_has_the_time_of_its_invocation_but_for_the_answer() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_791_448_200);
    let seconds = Duration::from_secs;
    assert_eq!(time_left(now + seconds(10), now), seconds(10) - ANSWER_BEFORE);
    assert_eq!(time_left(now, now), Duration::ZERO);
    assert!(
        time_left(now - seconds(1), now) > seconds(1_000_000),
        "a clock that is ahead must not refuse every request"
    );
}

#[tokio::test]
async fn fault_of_ours_says_nothing_of_the_inside() {
    let (answer, log) = served(async |_| Err(Problem::Internal("index out of bounds".into()))).await;
    assert_eq!(answer.status_code, 500);
    assert_eq!(body(&answer)["errors"][0]["code"], "INTERNAL");
    assert!(!body(&answer).to_string().contains("bounds"));
    assert_eq!(log.len(), 1);
}

#[tokio::test]
async fn fault_of_ours_is_counted_and_a_callers_is_not() {
    let outage = || Outage::new("read the table", "timed out");
    for handled in [measured(async |_| Err(outage().into())).await, measured(async |_| panic!("no more room")).await] {
        let [metric] = &handled.2[..] else { panic!("{handled:?}") };
        assert_eq!(metric["HttpServerErrors"], 1);
    }
    let (_, _, metrics) = measured(async |_| Err(NoSuchExport.into())).await;
    assert_eq!(metrics, [] as [Value; 0]);
}

#[tokio::test]
async fn panic_is_answered_like_any_fault_of_ours() {
    let (answer, _) = served(async |_| panic!("no more room")).await;
    assert_eq!((answer.status_code, header(&answer, "x-request-id")), (500, Some("req-1")));
    assert_eq!(body(&answer)["errors"][0]["code"], "INTERNAL");
    assert!(!body(&answer).to_string().contains("room"));
}

#[tokio::test]
async fn body_that_gateway_did_not_encode_right_is_a_fault_of_ours() {
    let event = event(json!({"body": "%", "isBase64Encoded": true}));
    let answer = serve(event, LIMIT, async |_| Ok::<_, Problem>(Success::ok(&json!({})))).await;
    assert_eq!(answer.status_code, 500);
}

#[tokio::test]
async fn success_that_cannot_be_written_is_a_fault_of_ours() {
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let (answer, log) = served(async |_| Ok(Success::ok(&unwritable))).await;
    assert_eq!((answer.status_code, log.len()), (500, 1));
    assert_eq!(log[0]["level"], "ERROR");
}

#[tokio::test]
async fn refusal_tells_every_fault_with_its_field() {
    let faults = || {
        let fault = |code, field: Option<&str>, detail: &str| Fault {
            code,
            field: field.map(Into::into),
            detail: detail.into(),
        };
        vec![fault(FaultCode::Format, Some("cc[3]"), "the address is empty"), fault(FaultCode::Size, None, "too many")]
    };
    let (answer, log) = served(async |_| Err(Problem::BadRequest(faults()))).await;
    assert_eq!(answer.status_code, 400);
    assert_eq!(
        body(&answer),
        json!({
            "errors": [
                {"code": "F-E-012", "message": "Wrong format", "detail": "the address is empty", "field": "cc[3]"},
                {"code": "F-E-010", "message": "Size limit exceeded", "detail": "too many"},
            ],
            "requestId": "req-1",
        })
    );
    assert_eq!(log[0]["level"], "INFO");
}

#[test]
fn headers_are_found_whatever_their_case() {
    let request = request(json!({"DJ-Client": "OPERATOR", "X-Odd": "é"}), None);
    assert_eq!((request.header("dj-client"), request.header("x-odd")), (Some("OPERATOR"), None));
}

#[test]
fn body_is_read_whether_gateway_encoded_it_or_not() {
    let encoded = Request::from(event(json!({"body": "e30=", "isBase64Encoded": true})));
    assert_eq!((encoded.body(), request(json!({}), Some("{}")).body()), (&b"{}"[..], &b"{}"[..]));
    assert_eq!(request(json!({}), None).body(), b"");
}

#[test]
fn path_that_names_no_export_of_the_type_is_no_such_export() {
    use domain::id::ExportType;
    let id = |parameters: Value| {
        Request::from(event(json!({"pathParameters": parameters}))).export_id_of(ExportType::MarketplacePayouts)
    };
    let good = domain::testing::export().id;
    assert_eq!(id(json!({"exportId": good.to_string()})), Ok(good));
    for parameters in [json!({}), json!(null), json!({"exportId": ""}), json!({"exportId": "../secrets"})] {
        assert_eq!(id(parameters), Err(NoSuchExport));
    }
}

#[test]
fn request_whose_uri_is_none_is_still_a_request() {
    let request = Request::from(event(json!({
        "rawPath": "/v1/ things/{é}", "rawQueryString": "a=|&b=\u{7f}{", "headers": {"host": "not a host"},
    })));
    assert_eq!(request.header("host"), Some("not a host"));
}

#[tokio::test]
async fn event_with_a_header_that_cannot_be_read_is_refused_and_its_values_are_not_logged() {
    let log = Log::default();
    let writer = log.clone();
    let _guard = tracing::subscriber::set_default(telemetry::subscriber(move || writer.clone()));
    let key = "k".repeat(64);
    let event = json!({
        "version": "2.0",
        "headers": {"dj-api-key": format!("{key}\u{7f}")},
        "requestContext": {"requestId": "req-1", "http": {"method": "GET"}},
        "isBase64Encoded": false,
    });
    let answer = serve_any(&to_raw_value(&event).unwrap(), LIMIT, async |_: Request| -> Result<Success, Problem> {
        panic!("not reached")
    })
    .await;
    assert_eq!(answer.status_code, 400);
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].to_string().contains(&key));
}
