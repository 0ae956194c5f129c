//! A file: its names, and its statistics on the record.

use std::time::Duration;

use crate::export::Export;
use crate::id::{ExportId, TenantId};
use crate::options::FileFormat;
use crate::time::Timestamp;
use crate::totals::Totals;

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// The object key. Each owner has its own, so that a late write of a stalled owner damages no other file.
    pub key: String,
    /// The name of the downloaded file.
    pub name: String,
    /// The format.
    pub format: FileFormat,
}

impl NewFile {
    /// The file of an export, as its current owner writes it.
    #[must_use]
    pub fn of(export: &Export) -> Self {
        Self::new(export, export.options.format, "")
    }

    /// The file of an export's invalid rows, beside where its file would be.
    #[must_use]
    pub fn invalid_rows(export: &Export) -> Self {
        Self::new(export, FileFormat::Csv, "-invalid-rows")
    }

    fn new(export: &Export, format: FileFormat, kind: &str) -> Self {
        let Export { tenant, id, fencing_token, .. } = export;
        let (slug, as_of, extension) = (id.export_type().slug(), export.as_of().to_compact_text(), format.extension());
        Self {
            key: format!("exports/{tenant}/{id}/{fencing_token}{kind}.{extension}"),
            name: format!("{slug}{kind}-{tenant}-{as_of}.{extension}"),
            format,
        }
    }
}

/// The object key of the unfinished part that an invocation leaves for the next one. Every write has its own, so that
/// a late write of a stalled owner replaces nothing that a checkpoint names: owners have different fencing tokens, and
/// one owner has read more rows at each write. The signer of links may not read these objects.
#[must_use]
pub fn unfinished_key(tenant: &TenantId, export: &ExportId, fencing_token: u64, rows_read: u64) -> String {
    format!("unfinished/{tenant}/{export}/{fencing_token}-{rows_read}")
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

/// The time in which the rows of a file were read. A row can change during it: its amounts and its status are those found
/// when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadInterval {
    /// Before the first row was read.
    pub from: Timestamp,
    /// After the last row was read.
    pub to: Timestamp,
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
    /// When its rows were read. `None` if a build that did not record it wrote the file.
    pub read: Option<ReadInterval>,
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
    use crate::options::ExportOptions;
    use crate::testing::{export, file, start};

    #[test]
    fn name_and_key_end_with_the_extension_of_the_format() {
        let file = |format| {
            let options = ExportOptions { format, ..ExportOptions::default() };
            NewFile::of(&Export { options, fencing_token: 3, ..export() })
        };
        let folder = format!("exports/acme/{}", export().id);
        let csv = file(FileFormat::Csv);
        assert_eq!(csv.key, format!("{folder}/3.csv"));
        assert_eq!(csv.name, "marketplace-payouts-acme-20261008T083000Z.csv");
        let xlsx = file(FileFormat::Xlsx);
        assert_eq!(xlsx.key, format!("{folder}/3.xlsx"));
        assert_eq!(xlsx.name, "marketplace-payouts-acme-20261008T083000Z.xlsx");
        assert_eq!(xlsx.format, FileFormat::Xlsx);
    }

    #[test]
    fn invalid_rows_are_listed_in_csv_whatever_the_format() {
        let options = ExportOptions { format: FileFormat::Xlsx, ..ExportOptions::default() };
        let file = NewFile::invalid_rows(&Export { options, fencing_token: 3, ..export() });
        assert_eq!(file.key, format!("exports/acme/{}/3-invalid-rows.csv", export().id));
        assert_eq!(file.name, "marketplace-payouts-invalid-rows-acme-20261008T083000Z.csv");
        assert_eq!(file.format, FileFormat::Csv);
    }

    #[test]
    fn link_expires_after_its_lifetime_or_with_the_file() {
        let file = ExportFile { expires_at: start().plus(Duration::from_secs(100)), ..file() };
        assert_eq!(file.link_expiry(start(), Duration::from_secs(60)), start().plus(Duration::from_secs(60)));
        assert_eq!(file.link_expiry(start(), Duration::from_secs(600)), file.expires_at);
    }
}
