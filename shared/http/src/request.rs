//! A request, as API Gateway's event tells it.

use domain::id::{ExportId, ExportType};
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::HeaderMap;

use crate::problem::NoSuchExport;

/// A request.
///
/// Read from `lambda_http`'s event, not taken as its `Request`: that one goes by way of a URI and panics where path and
/// query make none (a client may send `?a=<b>` as it is). Here it is a request like any other, and gets an answer.
#[derive(Debug)]
pub struct Request {
    headers: HeaderMap,
    export_id: Option<String>,
    body: Vec<u8>,
}

impl From<ApiGatewayV2httpRequest> for Request {
    fn from(mut event: ApiGatewayV2httpRequest) -> Self {
        let body = event.body.as_deref().map_or(Body::Empty, |b| Body::from_maybe_encoded(event.is_base64_encoded, b));
        Self { headers: event.headers, export_id: event.path_parameters.remove("exportId"), body: body.to_vec() }
    }
}

impl Request {
    /// The value of a header, if it is there and plain ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body's bytes; none if there is no body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The export that the path names.
    ///
    /// # Errors
    /// [`NoSuchExport`] if that is no id of an export of this type: whoever makes ids up gets the same answer as one
    /// who names a missing export.
    pub fn export_id(&self, export_type: ExportType) -> Result<ExportId, NoSuchExport> {
        let id: ExportId = self.export_id.as_deref().and_then(|text| text.parse().ok()).ok_or(NoSuchExport)?;
        if id.export_type() == export_type { Ok(id) } else { Err(NoSuchExport) }
    }
}
