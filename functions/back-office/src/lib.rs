//! `GET /back-office`: the page on which finance people launch, follow and download exports, and its assets.
//!
//! The page is the same for everybody and holds no data: what it shows, it asks the API for, with the key that the
//! user signs in with. So this function has no permissions and no settings.
//!
//! | path | answer |
//! |---|---|
//! | `/back-office` | the page; never cached, so that a deploy is seen at once |
//! | `/back-office/assets/<version>/<file>` | a file of it; cached for ever, because the version is a hash of the files |
//! | `/back-office/` | the page is at `/back-office`, from where its relative addresses lead |
//! | anything else below `/back-office/` | 404 |

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

/// What the browser may do for the page. Nothing inline, nothing from elsewhere, nothing made up from strings: whatever
/// a name or a failure text smuggles in stays text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Said with everything that a browser may show as a page, 404s included.
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

/// Said with everything.
const HEADERS: [(HeaderName, &str); 2] =
    [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (HeaderName::from_static("cross-origin-resource-policy"), "same-origin")];

/// Serves the page to Lambda until the process ends.
///
/// # Errors
/// If Lambda's own interface fails.
pub async fn run() -> Result<(), Error> {
    lambda_http::lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let request = event.payload;
        let id = request.request_context.request_id.as_deref().unwrap_or_default();
        let answer = telemetry::request(id).in_scope(|| {
            let answer = answer(&request);
            info!(route = request.route_key, status = answer.status_code, "answered");
            answer
        });
        Ok::<_, Infallible>(answer)
    }))
    .await
}

/// The answer to one event of the HTTP API.
#[must_use]
pub fn answer(request: &ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    // What the greedy route matched. Not the whole path, which may begin with more than `/back-office` on a domain that
    // is shared with other APIs.
    match request.path_parameters.get("proxy").map(String::as_str) {
        // API Gateway may take a slash at the end as part of the path or drop it.
        None if request.raw_path.as_deref().is_some_and(|path| path.ends_with('/')) => moved(),
        Some("") => moved(),
        None => as_page(file(&assets::INDEX, "no-store", &request.headers)),
        Some(path) => match assets::at(path) {
            Some(asset) => cached(asset, &request.headers),
            None => as_page(not_found()),
        },
    }
}

/// An asset, or word that the browser's copy is good.
fn cached(asset: &Asset, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    let tag = format!("\"{VERSION}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let mut answer = if is_known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        file(asset, "public, max-age=31536000, immutable", headers)
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        answer.headers.insert(ETAG, tag);
    }
    answer
}

fn file(asset: &Asset, caching: &'static str, headers: &HeaderMap) -> ApiGatewayV2httpResponse {
    let mut answer = empty(StatusCode::OK);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type.content_type()));
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    answer.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let content = if takes_gzip(headers) {
        answer.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        asset.gzip
    } else {
        asset.plain
    };
    answer.body = Some(Body::Binary(content.to_vec()));
    answer.is_base64_encoded = true;
    answer
}

fn moved() -> ApiGatewayV2httpResponse {
    let mut answer = empty(StatusCode::PERMANENT_REDIRECT);
    answer.headers.insert(LOCATION, HeaderValue::from_static("../back-office"));
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn not_found() -> ApiGatewayV2httpResponse {
    let mut answer = empty(StatusCode::NOT_FOUND);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.body = Some(Body::Text("There is nothing at this address. The page is at /back-office.\n".to_owned()));
    answer
}

fn empty(status: StatusCode) -> ApiGatewayV2httpResponse {
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = status.as_u16().into();
    set(&mut answer, &HEADERS);
    answer
}

fn as_page(mut answer: ApiGatewayV2httpResponse) -> ApiGatewayV2httpResponse {
    set(&mut answer, &PAGE_HEADERS);
    answer
}

fn set(answer: &mut ApiGatewayV2httpResponse, headers: &[(HeaderName, &'static str)]) {
    for (name, value) in headers {
        answer.headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether `Accept-Encoding` names gzip without refusing it by a quality of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_ok_and(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests;
