//! Responses.

use std::time::Duration;

use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use serde::Serialize;

use crate::api_error::ApiError;

/// A response in API Gateway's format.
pub type Response = ApiGatewayV2httpResponse;

/// The request ID, which is also in every log line of the request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status of a success response: always 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuccessStatus {
    Ok = 200,
    Accepted = 202,
}

/// A success response.
#[derive(Debug)]
pub struct Success {
    status: SuccessStatus,
    body: serde_json::Result<String>,
    headers: Headers,
}

pub(crate) type Headers = Vec<(HeaderName, String)>;

impl Success {
    /// 200 with a JSON body.
    #[must_use]
    pub fn ok(body: &impl Serialize) -> Self {
        Self { status: SuccessStatus::Ok, body: serde_json::to_string(body), headers: Vec::new() }
    }

    /// 200 with a body that is already JSON.
    #[must_use]
    pub fn ok_json(text: &str) -> Self {
        Self { status: SuccessStatus::Ok, body: Ok(text.to_owned()), headers: Headers::new() }
    }

    /// 202 with a JSON body.
    #[must_use]
    pub fn accepted(body: &impl Serialize) -> Self {
        Self { status: SuccessStatus::Accepted, ..Self::ok(body) }
    }

    /// Adds `Location`.
    #[must_use]
    pub fn location(mut self, path: String) -> Self {
        self.headers.push((LOCATION, path));
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.headers.push(retry_after(wait));
        self
    }

    /// Fails if the body could not be serialized.
    pub(crate) fn checked(self) -> Result<Self, ApiError> {
        let Self { status, body, headers } = self;
        match body {
            Ok(body) => Ok(Self { status, body: Ok(body), headers }),
            Err(error) => Err(ApiError::Internal(error.into())),
        }
    }

    /// The HTTP status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status as u16
    }
}

/// `Retry-After` in whole seconds, rounded up.
pub(crate) fn retry_after(wait: Duration) -> (HeaderName, String) {
    (RETRY_AFTER, wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).to_string())
}

pub(crate) fn response(outcome: Result<Success, ApiError>, request_id: &str) -> Response {
    let (status, body, headers) = match outcome {
        Ok(success) => (success.status(), success.body, success.headers),
        Err(error) => (error.status(), serde_json::to_string(&error.body(request_id)), error.headers()),
    };
    let mut response = Response::default();
    response.status_code = status.into();
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers.into_iter().chain([(REQUEST_ID, request_id.to_owned())]) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers.insert(name, value);
        }
    }
    // Always `Ok`: a success was checked, and an error body contains only strings.
    response.body = Some(Body::Text(body.unwrap_or_default()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, "0"), (1, "1"), (5000, "5"), (5001, "6")] {
            assert_eq!(retry_after(Duration::from_millis(millis)).1, seconds);
        }
    }
}
