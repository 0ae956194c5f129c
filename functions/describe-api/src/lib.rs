//! `GET /v1/openapi.json`, and the route `$default`, which responds with 404 or 405.
//!
//! HEAD is rejected with 405, because it would cost as much as GET. API Gateway handles OPTIONS by its CORS settings.

use exports_http::{ApiError, Request, Success, routes};

/// The OpenAPI 3.1 document.
pub const DOCUMENT: &str = include_str!("../openapi.json");

const DOCUMENT_PATH: &str = "/v1/openapi.json";

/// Handles one request.
///
/// # Errors
/// [`ApiError`] for every other path or method.
pub fn handle(request: &Request) -> Result<Success, ApiError> {
    let allowed = routes::methods_at(request.path());
    if allowed.is_empty() {
        return Err(ApiError::RouteNotFound);
    }
    match request.path() {
        DOCUMENT_PATH if request.method() == "GET" => Ok(Success::ok_json(DOCUMENT)),
        // API Gateway did not match the path to its route, because the client encoded it differently.
        _ if allowed.contains(&request.method()) => Err(ApiError::RouteNotFound),
        _ => Err(ApiError::MethodNotAllowed(allowed.join(", "))),
    }
}

#[cfg(test)]
mod tests;
