//! Requests.

use exports_domain::export_type::ExportType;
use exports_domain::id::ExportId;
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::{HeaderMap, Method};
use tokio::sync::SetOnce;

use crate::api_error::{ApiError, ExportNotFound};
use crate::auth::KeyUse;
use crate::query::Query;
use crate::routes;

/// A request.
///
/// Converted from the API Gateway event, not from `lambda_http`'s `Request`. The latter parses a URI and panics if path
/// and query string are not a valid one, as in `?a=<b>`.
#[derive(Debug)]
pub struct Request {
    id: String,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    export_id: Option<String>,
    body: Vec<u8>,
    pub(crate) key_use: SetOnce<KeyUse>,
}

impl From<ApiGatewayV2httpRequest> for Request {
    fn from(mut event: ApiGatewayV2httpRequest) -> Self {
        let body = event.body.as_deref().map_or(Body::Empty, |b| Body::from_maybe_encoded(event.is_base64_encoded, b));
        Self {
            id: event.request_context.request_id.unwrap_or_default(),
            method: event.request_context.http.method,
            path: event.raw_path.unwrap_or_default(),
            query: event.raw_query_string.unwrap_or_default(),
            headers: event.headers,
            export_id: event.path_parameters.remove("exportId"),
            body: body.to_vec(),
            key_use: SetOnce::new(),
        }
    }
}

impl Request {
    /// API Gateway's request id, as in the response's `x-request-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, without the query string.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parameters of the query string.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::new(&self.query)
    }

    /// The value of a header, if it is present and visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a header as bytes, if it is present.
    #[must_use]
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        Some(self.headers.get(name)?.as_bytes())
    }

    /// The body. Empty if absent.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The export type in the path.
    ///
    /// # Errors
    /// [`ApiError::RouteNotFound`] without one. API Gateway's routes exclude this.
    pub fn export_type(&self) -> Result<ExportType, ApiError> {
        routes::export_type(&self.path).ok_or(ApiError::RouteNotFound)
    }

    /// The export ID in the path, of any export type.
    ///
    /// # Errors
    /// [`ExportNotFound`] if the ID is malformed, so that malformed and unknown IDs get the same response.
    pub fn export_id(&self) -> Result<ExportId, ExportNotFound> {
        self.export_id.as_deref().and_then(|text| text.parse().ok()).ok_or(ExportNotFound)
    }

    /// The export ID in the path, which must be of the path's export type.
    ///
    /// # Errors
    /// [`ExportNotFound`] if the ID is malformed or of another type.
    pub fn export_id_of_type(&self) -> Result<ExportId, ExportNotFound> {
        self.export_id().and_then(|id| match self.export_type() {
            Ok(export_type) if export_type == id.export_type() => Ok(id),
            _ => Err(ExportNotFound),
        })
    }
}
