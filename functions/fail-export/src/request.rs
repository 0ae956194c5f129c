//! Parses requests.

use exports_domain::failure::Reason;
use exports_domain::fields::Fields;
use exports_domain::id::{ExportId, TenantId};
use serde_json::Value;

/// A valid request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub tenant: TenantId,
    pub id: ExportId,
    pub reason: Option<Reason>,
}

/// Parses an event, or returns all its validation errors.
pub(crate) fn parse(event: Value) -> Result<Request, Vec<String>> {
    let mut fields = Fields::new(event)?;
    let (tenant, id) = (fields.required("tenantId"), fields.required("exportId"));
    let reason = fields.optional("reason");
    fields.reject_unknown();
    fields.finish(tenant.zip(id).map(|(tenant, id)| Request { tenant, id, reason }))
}
