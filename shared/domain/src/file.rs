//! A file: its names, and what is recorded about it.

use std::time::Duration;

use crate::id::{ExportId, TenantId};
use crate::time::Timestamp;
use crate::totals::Totals;

/// The media type of every file.
pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8";

/// The object key of a file. Each upload has its own, so that a late write of a stalled owner damages no other file.
#[must_use]
pub fn object_key(tenant: &TenantId, export: &ExportId, fencing_token: u64) -> String {
    format!("exports/{tenant}/{export}/{fencing_token}.csv")
}

/// The object key of what an invocation leaves of an unfinished file for the next one. Every write has its own, so that
/// a late write of a stalled owner replaces nothing that a checkpoint names: owners have different fencing tokens, and
/// one owner has read more rows at each write. The signer of links may not read these objects.
#[must_use]
pub fn unfinished_key(tenant: &TenantId, export: &ExportId, fencing_token: u64, rows_read: u64) -> String {
    format!("unfinished/{tenant}/{export}/{fencing_token}-{rows_read}")
}

/// The object key of a file of invalid rows, beside where the file would be. Each owner has its own.
#[must_use]
pub fn invalid_rows_key(tenant: &TenantId, export: &ExportId, fencing_token: u64) -> String {
    format!("exports/{tenant}/{export}/{fencing_token}-invalid-rows.csv")
}

/// The name of a downloaded file.
#[must_use]
pub fn download_name(tenant: &TenantId, export: &ExportId, as_of: Timestamp) -> String {
    format!("{}-{tenant}-{}.csv", export.export_type().slug(), as_of.to_compact_text())
}

/// The name of a downloaded file of invalid rows.
#[must_use]
pub fn invalid_rows_name(tenant: &TenantId, export: &ExportId, as_of: Timestamp) -> String {
    format!("{}-invalid-rows-{tenant}-{}.csv", export.export_type().slug(), as_of.to_compact_text())
}

/// A file of invalid rows, as recorded on the failure of its export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRowsFile {
    /// The number of invalid rows found. The file holds the first of them.
    pub count: u64,
    /// Whether every row was checked. Not so if reading stopped before the last row.
    pub is_complete: bool,
    /// The object key in the exports bucket.
    pub key: String,
    /// When its retention ends. No link lives longer.
    pub expires_at: Timestamp,
}

/// A complete file, as recorded on its export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// The object key in the exports bucket.
    pub key: String,
    /// The name of a downloaded file.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// The size in bytes.
    pub bytes: u64,
    /// The SHA-256: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Count and sum by currency and status.
    pub totals: Totals,
    /// When its retention ends. No link lives longer.
    pub expires_at: Timestamp,
}

impl ExportFile {
    /// The expiry of a link created at `now`: after `lifetime` or with the file, whichever is earlier, in whole seconds.
    #[must_use]
    pub fn link_expiry(&self, now: Timestamp, lifetime: Duration) -> Timestamp {
        Timestamp::from_millis(now.plus(lifetime).min(self.expires_at).seconds() * 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{file, start};

    #[test]
    fn link_expires_after_its_lifetime_or_with_the_file() {
        let file = ExportFile { expires_at: start().plus(Duration::from_secs(100)), ..file() };
        assert_eq!(file.link_expiry(start(), Duration::from_secs(60)), start().plus(Duration::from_secs(60)));
        assert_eq!(file.link_expiry(start(), Duration::from_secs(600)), file.expires_at);
    }
}
