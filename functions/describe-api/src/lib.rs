//! `GET /v1/openapi.json`, and the answer where nothing else answers: the route `$default` ends here.
//!
//! HEAD is a method like any other that a path may not take: an answer to GET is made anew for every call, so that HEAD
//! would cost the same. OPTIONS never comes here: API Gateway answers it by its CORS settings.

use http::{Problem, Request, Success, routes};

/// The API's description, OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../openapi.json");

/// Where the description is.
const DOCUMENT_PATH: &str = "/v1/openapi.json";

/// Answers one request.
///
/// # Errors
/// [`Problem`] for every path but the description's, and for every method but GET.
pub fn handle(request: &Request) -> Result<Success, Problem> {
    let allowed = routes::methods_at(request.path());
    if allowed.is_empty() {
        return Err(Problem::NoSuchRoute);
    }
    match request.path() {
        DOCUMENT_PATH if request.method() == "GET" => Ok(Success::ok_json(DOCUMENT)),
        // A path that API Gateway did not recognise, because the client spelled it in another way.
        _ if allowed.contains(&request.method()) => Err(Problem::NoSuchRoute),
        _ => Err(Problem::MethodNotAllowed(allowed.join(", "))),
    }
}

#[cfg(test)]
mod tests;
