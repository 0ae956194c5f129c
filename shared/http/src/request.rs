//! A request, as API Gateway's event tells it.

use domain::id::{ExportId, ExportType};
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::{HeaderMap, Method};

use crate::problem::NoSuchExport;
use crate::query::Query;

/// A request.
///
/// Read from `lambda_http`'s event, not taken as its `Request`: that one goes by way of a URI and panics where path and
/// query make none (a client may send `?a=<b>` as it is). Here it is a request like any other, and gets an answer.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    export_id: Option<String>,
    body: Vec<u8>,
}

impl From<ApiGatewayV2httpRequest> for Request {
    fn from(mut event: ApiGatewayV2httpRequest) -> Self {
        let body = event.body.as_deref().map_or(Body::Empty, |b| Body::from_maybe_encoded(event.is_base64_encoded, b));
        Self {
            method: event.request_context.http.method,
            path: event.raw_path.unwrap_or_default(),
            query: event.raw_query_string.unwrap_or_default(),
            headers: event.headers,
            export_id: event.path_parameters.remove("exportId"),
            body: body.to_vec(),
        }
    }
}

impl Request {
    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query string's parameters.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::new(&self.query)
    }

    /// The value of a header, if it is there and plain ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a header, if it is there, whatever it is.
    #[must_use]
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        Some(self.headers.get(name)?.as_bytes())
    }

    /// The body's bytes; none if there is no body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The export that the path names, of whatever type.
    ///
    /// # Errors
    /// [`NoSuchExport`] if that is no id of an export: whoever makes ids up gets the same answer as one who names a
    /// missing export.
    pub fn export_id(&self) -> Result<ExportId, NoSuchExport> {
        self.export_id.as_deref().and_then(|text| text.parse().ok()).ok_or(NoSuchExport)
    }

    /// The export of this type that the path names.
    ///
    /// # Errors
    /// [`NoSuchExport`] if that is no id of an export of this type.
    pub fn export_id_of(&self, export_type: ExportType) -> Result<ExportId, NoSuchExport> {
        self.export_id().and_then(|id| if id.export_type() == export_type { Ok(id) } else { Err(NoSuchExport) })
    }
}
