//! Where things are, for the answers that point to them.

use domain::id::ExportId;

/// The path of an export's detail.
#[must_use]
pub fn export(id: &ExportId) -> String {
    format!("/v1/payments/{}/export/{id}", id.export_type().slug())
}
