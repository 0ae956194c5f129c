//! The HTTP edge: from an event of the HTTP API to a request, and from what came of it to an answer.
//!
//! This crate owns the API's contract as far as every route shares it: what is where ([`routes`]), who calls ([`auth`]),
//! what a query string, a body and an idempotency key may be ([`query`], [`body`], [`idempotency`]), how an export is
//! shown ([`view`]), and what every answer looks like ([`answer`], [`problem`], [`fault`]). It must not decide what
//! happens to an export, and knows no AWS but API Gateway's events.
//!
//! A function is a handler from [`Request`] to [`Success`], or to an error of its own that says which [`Problem`] it is;
//! [`run`] serves it.

pub mod answer;
pub mod auth;
pub mod body;
pub mod fault;
pub mod fingerprint;
pub mod idempotency;
pub mod problem;
pub mod query;
pub mod request;
pub mod routes;
#[cfg(feature = "testing")]
pub mod testing;
pub mod view;

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use domain::ports::Outage;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::{LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;
use telemetry::Metric;
use tokio::time::timeout;
use tracing::{Instrument, error, info};

use crate::fault::{Fault, FaultCode};

pub use answer::{Answer, Success};
pub use lambda_http::Error;
pub use problem::Problem;
pub use request::Request;

/// The statuses from here on say that the fault is ours.
const SERVER_ERROR: u16 = 500;

/// What a request leaves of its invocation's time, to be logged and answered in.
const ANSWER_BEFORE: Duration = Duration::from_millis(500);

/// Serves `handler` to Lambda until the process ends.
///
/// # Errors
/// If Lambda's own interface fails.
#[expect(clippy::disallowed_methods, reason = "Lambda tells by the system's clock when an invocation ends")]
pub async fn run<H, E>(handler: H) -> Result<(), Error>
where
    H: AsyncFn(Request) -> Result<Success, E>,
    E: Into<Problem>,
{
    let handler = &handler;
    lambda_http::lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let limit = time_left(event.context.deadline(), SystemTime::now());
        Ok::<_, Infallible>(serve_any(&event.payload, limit, handler).await)
    }))
    .await
}

/// How long the work on a request may take of an invocation that ends at `end`: a service that hangs is answered and
/// logged for. Lambda would end the process, and tell the client and the logs nothing.
fn time_left(end: SystemTime, now: SystemTime) -> Duration {
    // An end that is past tells of a clock that is wrong, and of nothing else.
    end.duration_since(now).unwrap_or(Duration::MAX).saturating_sub(ANSWER_BEFORE)
}

/// The answer to whatever the HTTP API sent, after at most `limit`. The event is read here and not by the runtime, because
/// the runtime logs what it cannot read, and a header that cannot be read may hold an API key.
pub async fn serve_any<H, E>(event: &RawValue, limit: Duration, handler: H) -> Answer
where
    H: AsyncFn(Request) -> Result<Success, E>,
    E: Into<Problem>,
{
    match serde_json::from_str(event.get()) {
        Ok(event) => serve(event, limit, handler).await,
        Err(_) => {
            let request_id = request_id_of(event);
            let unreadable = Fault {
                code: FaultCode::Format,
                field: None,
                detail: "a header or the path has characters that no request may have".to_owned(),
            };
            let outcome = Err(Problem::BadRequest(vec![unreadable]));
            telemetry::request(&request_id).in_scope(|| log("", &outcome));
            answer::answer(outcome, &request_id)
        }
    }
}

/// What API Gateway knows the request by, if it is in an event that is otherwise not to be read.
fn request_id_of(event: &RawValue) -> String {
    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
    event.pointer("/requestContext/requestId").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The answer to one event of the HTTP API: whatever `handler` does, also if it panics or is not done within `limit`, and
/// logged in one line.
pub async fn serve<H, E>(event: ApiGatewayV2httpRequest, limit: Duration, handler: H) -> Answer
where
    H: AsyncFn(Request) -> Result<Success, E>,
    E: Into<Problem>,
{
    let request_id = event.request_context.request_id.clone().unwrap_or_default();
    let route = event.request_context.route_key.clone().unwrap_or_default();
    let span = telemetry::request(&request_id);
    async {
        // Boxed: handler, clients and runtime as one future are deeper than the compiler's limit for layouts.
        let work = Box::pin(async { handler(Request::from(event)).await.map_err(Into::into) });
        let outcome = match timeout(limit, caught(work)).await {
            Ok(done) => done.unwrap_or(Err(Problem::Panic)).and_then(Success::checked),
            Err(late) => Err(Outage::new("answer in time", late).into()),
        };
        log(&route, &outcome);
        answer::answer(outcome, &request_id)
    }
    .instrument(span)
    .await
}

/// What comes of `work`, or `None` if it panics. The panic hook has logged it then.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    // After a panic the future is dropped unpolled, so that no broken state is seen.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => std::task::Poll::Ready(None),
    })
    .await
}

/// Says once what came of a request; of a failure of ours, where it came from.
fn log(route: &str, outcome: &Result<Success, Problem>) {
    if outcome.as_ref().is_err_and(|problem| problem.status() >= SERVER_ERROR) {
        telemetry::measure(Metric::ServerError);
    }
    match outcome {
        Ok(success) => info!(route, status = success.status(), "answered"),
        Err(Problem::Panic) => {}
        Err(problem) => match problem.cause() {
            Some(cause) => {
                error!(route, status = problem.status(), error = %telemetry::Chain(cause), "request failed");
            }
            None => info!(route, status = problem.status(), code = problem.code(), "refused"),
        },
    }
}

#[cfg(test)]
mod tests;
