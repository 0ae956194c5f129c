//! What every answer looks like.

use std::time::Duration;

use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use serde::Serialize;

use crate::problem::Problem;

/// An answer as API Gateway takes it.
pub type Answer = ApiGatewayV2httpResponse;

/// The header by which a caller and the logs name a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status of a success: no other can be given to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuccessStatus {
    Ok = 200,
    Accepted = 202,
}

/// A success: its status, its body and the headers that go with it.
#[derive(Debug)]
pub struct Success {
    status: SuccessStatus,
    body: serde_json::Result<String>,
    headers: Headers,
}

pub(crate) type Headers = Vec<(HeaderName, String)>;

impl Success {
    /// 200: this is what was asked for.
    #[must_use]
    pub fn ok(body: &impl Serialize) -> Self {
        Self { status: SuccessStatus::Ok, body: serde_json::to_string(body), headers: Vec::new() }
    }

    /// 200: this JSON text is what was asked for.
    #[must_use]
    pub fn ok_json(text: &str) -> Self {
        Self { status: SuccessStatus::Ok, body: Ok(text.to_owned()), headers: Headers::new() }
    }

    /// 202: this will be worked on.
    #[must_use]
    pub fn accepted(body: &impl Serialize) -> Self {
        Self { status: SuccessStatus::Accepted, ..Self::ok(body) }
    }

    /// Where what was made is.
    #[must_use]
    pub fn location(mut self, path: String) -> Self {
        self.headers.push((LOCATION, path));
        self
    }

    /// How long to wait before asking again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.headers.push(retry_after(wait));
        self
    }

    /// This success, if its body could be written.
    pub(crate) fn checked(self) -> Result<Self, Problem> {
        let Self { status, body, headers } = self;
        match body {
            Ok(body) => Ok(Self { status, body: Ok(body), headers }),
            Err(error) => Err(Problem::Internal(error.into())),
        }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status as u16
    }
}

/// `Retry-After` in whole seconds, rounded up.
pub(crate) fn retry_after(wait: Duration) -> (HeaderName, String) {
    (RETRY_AFTER, wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).to_string())
}

/// The answer that tells this outcome.
pub(crate) fn answer(outcome: Result<Success, Problem>, request_id: &str) -> Answer {
    let (status, body, headers) = match outcome {
        Ok(success) => (success.status(), success.body, success.headers),
        Err(problem) => (problem.status(), serde_json::to_string(&problem.body(request_id)), problem.headers()),
    };
    let mut answer = Answer::default();
    answer.status_code = status.into();
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers.into_iter().chain([(REQUEST_ID, request_id.to_owned())]) {
        if let Ok(value) = HeaderValue::try_from(value) {
            answer.headers.insert(name, value);
        }
    }
    // A success was checked, and a problem's body has nothing in it that cannot be written.
    answer.body = Some(Body::Text(body.unwrap_or_default()));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_told_in_whole_seconds_rounded_up() {
        for (millis, seconds) in [(0, "0"), (1, "1"), (5000, "5"), (5001, "6")] {
            assert_eq!(retry_after(Duration::from_millis(millis)).1, seconds);
        }
    }
}
