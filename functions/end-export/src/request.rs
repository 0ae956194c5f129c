//! What is asked for, checked whole.

use domain::export::Reason;
use domain::fields::Fields;
use domain::id::{ExportId, TenantId};
use serde_json::Value;

/// Which export to end, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub tenant: TenantId,
    pub id: ExportId,
    pub reason: Option<Reason>,
}

/// What an event asks for, or everything that is wrong with it.
pub(crate) fn parse(event: Value) -> Result<Request, Vec<String>> {
    let mut fields = Fields::of(event)?;
    let (tenant, id) = (fields.required("tenantId"), fields.required("exportId"));
    let reason = fields.optional("reason");
    fields.refuse_others();
    fields.finish(tenant.zip(id).map(|(tenant, id)| Request { tenant, id, reason }))
}
