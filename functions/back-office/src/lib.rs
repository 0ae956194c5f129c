//! `GET /back-office`: the page where finance users launch, follow and download exports, and its assets.
//!
//! The page is static. It gets its data from the API, with the API key that the user signs in with. So this function has
//! no permissions and no settings.
//!
//! | path | response |
//! |---|---|
//! | `/back-office` | the page; not cached, so a deployment takes effect at once |
//! | `/back-office/assets/<version>/<file>` | an asset; cached forever, because the version is the hash of all assets |
//! | `/back-office/` | redirects to `/back-office`, because the page uses relative URLs |
//! | any other path below `/back-office/` | 404 |

pub mod assets;

use std::convert::Infallible;

use lambda_http::Body;
use lambda_http::LambdaEvent;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::StatusCode;
use lambda_http::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use lambda_http::lambda_runtime::service_fn;
use tracing::info;

pub use lambda_http::Error;

use assets::{Asset, VERSION};

/// Allows only this origin's files. Inline code, other origins and DOM injection are blocked, so names and failure messages
/// from the API cannot run as script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every response that a browser may render as a page, including 404.
const PAGE_HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Headers of every response.
const HEADERS: [(HeaderName, &str); 2] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (HeaderName::from_static("cross-origin-resource-policy"), "same-origin")];

/// Runs the Lambda event loop.
///
/// # Errors
/// If the Lambda runtime API fails.
pub async fn run() -> Result<(), Error> {
    lambda_http::lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let request = event.payload;
        let id = request.request_context.request_id.as_deref().unwrap_or_default();
        let response = exports_telemetry::request(id).in_scope(|| {
            let response = response(&request);
            info!(route = request.route_key, status = response.status_code, "request completed");
            response
        });
        Ok::<_, Infallible>(response)
    }))
    .await
}

/// Handles one request.
#[must_use]
pub fn response(request: &ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    // The part that the greedy route matched. On a custom domain, the whole path may have a prefix.
    match request.path_parameters.get("proxy").map(String::as_str) {
        // API Gateway may keep or drop a trailing slash.
        None if request.raw_path.as_deref().is_some_and(|path| path.ends_with('/')) => redirect(),
        Some("") => redirect(),
        None => page(file(&assets::INDEX, "no-store", &request.headers)),
        Some(path) => match assets::find(path) {
            Some(asset) => versioned(asset, &request.headers),
            None => page(not_found()),
        },
    }
}

/// An asset, or 304 if the browser has it.
fn versioned(asset: &Asset, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    let tag = format!("\"{VERSION}\"");
    let cached = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_cached =
        cached.is_some_and(|tags| tags.split(',').any(|cached| cached.trim().trim_start_matches("W/") == tag));
    let mut response = if is_cached {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        file(asset, "public, max-age=31536000, immutable", headers)
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers.insert(ETAG, tag);
    }
    response
}

fn file(asset: &Asset, caching: &'static str, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    let mut response = empty(StatusCode::OK);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type.content_type()));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let content = if accepts_gzip(headers) {
        response.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        asset.gzip
    } else {
        asset.plain
    };
    response.body = Some(Body::Binary(content.to_vec()));
    response.is_base64_encoded = true;
    response
}

fn redirect() -> ApiGatewayV2httpResponse {
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    response.headers.insert(LOCATION, HeaderValue::from_static("../back-office"));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn not_found() -> ApiGatewayV2httpResponse {
    let mut response = empty(StatusCode::NOT_FOUND);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.body = Some(Body::Text("Not found. The page is at /back-office.\n".to_owned()));
    response
}

fn empty(status: StatusCode) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.as_u16().into();
    set(&mut response, &HEADERS);
    response
}

fn page(mut response: ApiGatewayV2httpResponse) -> ApiGatewayV2httpResponse {
    set(&mut response, &PAGE_HEADERS);
    response
}

fn set(response: &mut ApiGatewayV2httpResponse, headers: &[(HeaderName, &'static str)]) {
    for (name, value) in headers {
        response.headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether `Accept-Encoding` lists gzip with a quality above 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_ok_and(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests;
