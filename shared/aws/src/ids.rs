//! New export ids, by the system's randomness.

use domain::id::{ExportId, ExportType};
use domain::ports::{ExportIds, Outage};
use domain::time::Timestamp;

/// Makes ids of the kernel's random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomExportIds;

impl ExportIds for RandomExportIds {
    fn next(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, Outage> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| Outage::new("get random bytes", error))?;
        Ok(ExportId::new(export_type, at, &random))
    }
}
