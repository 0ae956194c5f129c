//! The tables: Exports, ApiKeys and the source tables.

mod api_keys;
mod exports;
mod history;
#[cfg(feature = "inspection")]
pub mod inspection;
mod item;
mod json;
mod page;
mod record;
mod response;
mod source_tables;
mod step;
mod totals;

#[cfg(feature = "fuzzing")]
use exports_domain::export_type::{ExportType, FileColumns};
#[cfg(any(feature = "fuzzing", feature = "inspection"))]
use exports_domain::row_selection::RowSelection;

pub use api_keys::ApiKeysTable;
pub use exports::{CheckCursor, ExportsTable};
#[cfg(feature = "inspection")]
pub use record::next_check_state;
pub use source_tables::{PARTITION_BYTES_PER_SECOND, SourceTables};

/// Reads `body` as a page of rows and returns its lines of CSV; `None` if it is not a page.
#[cfg(feature = "inspection")]
#[must_use]
pub fn page_to_csv(body: &[u8], selection: &RowSelection) -> Option<Vec<u8>> {
    page::read_page(body, selection).ok().map(|page| page.encoded.cells.csv().to_vec())
}

/// Reads `body` as a page of rows of each type and compares the result with the SDK's, if both can read it.
///
/// # Panics
/// If the results differ.
#[cfg(feature = "fuzzing")]
pub fn fuzz_page(body: &[u8]) {
    for selection in ExportType::ALL.map(|export_type| RowSelection::all(FileColumns::current(export_type))) {
        let (Ok(page), Ok(text)) = (page::read_page(body, &selection), str::from_utf8(body)) else { continue };
        if let Some(expected) = page::reference::read_with_sdk(text, &selection) {
            assert_eq!(page, expected);
        }
    }
}

#[cfg(test)]
mod tests;
