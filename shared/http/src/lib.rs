//! The HTTP layer: converts API Gateway events to requests, and results to responses.
//!
//! This crate owns the parts of the API contract that all routes share: paths ([`routes`]), authentication ([`auth`]),
//! query strings, bodies and idempotency keys ([`query`], [`body`], [`idempotency`]), the JSON of an export ([`view`]),
//! responses and errors ([`response`], [`api_error`]). It contains no business rules, and of AWS it knows only API
//! Gateway's events.
//!
//! A function provides a handler from [`Request`] to [`Success`] or [`ApiError`]. [`run`] serves it.

pub mod api_error;
pub mod auth;
pub mod body;
pub mod fingerprint;
pub mod idempotency;
pub mod options;
pub mod query;
pub mod request;
pub mod response;
pub mod routes;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validation;
pub mod view;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use exports_domain::error::DependencyError;
use exports_telemetry::Metric;
use futures_util::FutureExt as _;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::{LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tracing::{Instrument, error, info};

use crate::validation::{ValidationCode, ValidationError};

pub use api_error::ApiError;
pub use lambda_http::Error;
pub use request::Request;
pub use response::{Response, Success};

const INTERNAL_SERVER_ERROR: u16 = 500;

/// The time kept back from the invocation's time-out for logging and responding.
const RESPONSE_MARGIN: Duration = Duration::from_millis(500);

/// Runs the Lambda event loop with `handler`.
///
/// # Errors
/// If the Lambda runtime API fails.
#[expect(clippy::disallowed_methods, reason = "Lambda's deadline is a time of the system clock")]
pub async fn run(handler: impl AsyncFn(Request) -> Result<Success, ApiError>) -> Result<(), Error> {
    let handler = &handler;
    lambda_http::lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let limit = time_left(event.context.deadline(), SystemTime::now());
        Ok::<_, Infallible>(serve_any(&event.payload, limit, handler).await)
    }))
    .await
}

/// How long the handler may run. If a dependency hangs, the request then fails with a response and a log line. Lambda's
/// own time-out would kill the process with neither.
fn time_left(end: SystemTime, now: SystemTime) -> Duration {
    // A deadline in the past means that the clock is wrong.
    end.duration_since(now).unwrap_or(Duration::MAX).saturating_sub(RESPONSE_MARGIN)
}

/// Handles an event, within `limit`. The event is parsed here and not by the runtime: the runtime logs an event that it
/// cannot parse, and its headers may contain an API key.
pub async fn serve_any(
    event: &RawValue,
    limit: Duration,
    handler: impl AsyncFn(Request) -> Result<Success, ApiError>,
) -> Response {
    match serde_json::from_str(event.get()) {
        Ok(event) => serve(event, limit, handler).await,
        Err(_) => {
            let request_id = request_id_of(event);
            let invalid = ValidationError {
                code: ValidationCode::Format,
                field: None,
                detail: "a header or the path contains invalid characters".to_owned(),
            };
            let outcome = Err(ApiError::BadRequest(vec![invalid]));
            exports_telemetry::request(&request_id).in_scope(|| log("", &outcome));
            response::response(outcome, &request_id)
        }
    }
}

/// The request ID of an event that cannot be parsed otherwise.
fn request_id_of(event: &RawValue) -> String {
    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
    event.pointer("/requestContext/requestId").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Handles a parsed event and logs one line. A panic of `handler` results in 500, and exceeding `limit` in 503.
///
/// ```
/// use std::time::Duration;
///
/// use exports_http::{ApiError, Success, serve};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let event = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/get-caller/caller.json"));
/// let event = serde_json::from_str(event)?;
/// let response = serve(event, Duration::from_secs(10), async |_| Err(ApiError::RouteNotFound)).await;
/// assert_eq!(serde_json::to_value(response)?["statusCode"], 404);
/// # Ok(())
/// # }
/// ```
pub async fn serve(
    event: ApiGatewayV2httpRequest,
    limit: Duration,
    handler: impl AsyncFn(Request) -> Result<Success, ApiError>,
) -> Response {
    let request_id = event.request_context.request_id.clone().unwrap_or_default();
    let route = event.request_context.route_key.clone().unwrap_or_default();
    let span = exports_telemetry::request(&request_id);
    async {
        // Boxed, because the future would exceed the compiler's limit for type layouts.
        let result = Box::pin(async { handler(Request::from(event)).await });
        // Unwind safe: the future is not polled after a panic.
        let outcome = match timeout(limit, AssertUnwindSafe(result).catch_unwind()).await {
            Ok(result) => result.unwrap_or(Err(ApiError::Panic)).and_then(Success::checked),
            Err(late) => Err(DependencyError::transient("respond in time", late).into()),
        };
        log(&route, &outcome);
        response::response(outcome, &request_id)
    }
    .instrument(span)
    .await
}

/// Logs the outcome of a request in one line. A server error is counted and logged with its cause.
fn log(route: &str, outcome: &Result<Success, ApiError>) {
    if outcome.as_ref().is_err_and(|error| error.status() >= INTERNAL_SERVER_ERROR) {
        exports_telemetry::emit(Metric::ServerError);
    }
    match outcome {
        Ok(success) => info!(route, status = success.status(), "request completed"),
        // The panic hook has logged it.
        Err(ApiError::Panic) => {}
        Err(error) => match error.cause() {
            Some(cause) => {
                error!(route, status = error.status(), error = %exports_telemetry::Chain(cause), "request failed");
            }
            None => info!(route, status = error.status(), code = error.code(), "request rejected"),
        },
    }
}

#[cfg(test)]
mod tests;
