//! The payouts as a file.

use domain::export::Export;
use domain::file::{ExportFile, Faults, Totals, download_name, object_key, opening};
use domain::ports::{Clock, Outage, ReadPayouts, StoreFile, Upload};
use sha2::{Digest, Sha256};
use telemetry::Chain;
use tracing::warn;

/// Why there is no file.
#[derive(Debug)]
pub enum NotWritten {
    /// Some payouts cannot be written.
    Faults(Faults),
    /// Trying again may help.
    Outage(Outage),
}

impl From<Outage> for NotWritten {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

/// Writes the file of `export`: at once if it is small, in parts of at least `part_size` bytes otherwise. One page and
/// one part are held in memory, whatever the size.
///
/// # Errors
/// [`NotWritten`]; nothing of the file is left then, unless throwing its parts away failed, too.
pub async fn write_file<F: StoreFile>(
    payouts: &impl ReadPayouts,
    files: &F,
    clock: &impl Clock,
    export: &Export,
    part_size: usize,
) -> Result<ExportFile, NotWritten> {
    let mut file = Writing {
        key: object_key(&export.tenant, &export.id, export.fence),
        name: download_name(&export.tenant, &export.id, export.as_of()),
        part_size,
        part: Vec::new(),
        upload: None,
        hash: Sha256::new(),
        bytes: 0,
        rows: 0,
        totals: Totals::default(),
        faults: Faults::default(),
    };
    match file.fill(payouts, files, export).await {
        Ok(()) => file.finish(files, clock, export).await,
        Err(not_written) => {
            if let Some(upload) = file.upload.take()
                && let Err(outage) = upload.abort().await
            {
                // The bucket's lifecycle throws unfinished uploads away a day later.
                warn!(error = %Chain(&outage), "parts of an unfinished file are left");
            }
            Err(not_written)
        }
    }
}

/// A file that is being written.
struct Writing<U> {
    key: String,
    name: String,
    part_size: usize,
    part: Vec<u8>,
    upload: Option<U>,
    hash: Sha256,
    bytes: u64,
    rows: u64,
    totals: Totals,
    faults: Faults,
}

impl<U: Upload> Writing<U> {
    /// Reads all payouts and writes all parts but the last.
    async fn fill<F>(&mut self, payouts: &impl ReadPayouts, files: &F, export: &Export) -> Result<(), NotWritten>
    where
        F: StoreFile<Upload = U>,
    {
        self.append(opening(export.terms.byte_order_mark).as_bytes());
        let mut after = None;
        loop {
            let page = payouts.read_payouts(&export.tenant, export.as_of(), after.as_ref()).await?;
            self.faults.append(page.section.faults);
            // Once one payout cannot be written there will be no file: the rest is read to name all that are at fault.
            if self.faults.count == 0 {
                self.append(&page.section.csv);
                self.rows += page.section.rows;
                self.count(&page.section.totals)?;
                self.write_full_part(files).await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if self.faults.count == 0 { Ok(()) } else { Err(NotWritten::Faults(std::mem::take(&mut self.faults))) }
    }

    fn append(&mut self, csv: &[u8]) {
        self.hash.update(csv);
        self.bytes += csv.len() as u64;
        self.part.extend_from_slice(csv);
    }

    fn count(&mut self, totals: &Totals) -> Result<(), Outage> {
        for (currency, status, total) in totals.iter() {
            if !self.totals.add(currency, status, total) {
                return Err(Outage::new("count the totals", "the sum of the amounts is too large"));
            }
        }
        Ok(())
    }

    async fn write_full_part<F: StoreFile<Upload = U>>(&mut self, files: &F) -> Result<(), Outage> {
        if self.part.len() < self.part_size {
            return Ok(());
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            begun @ None => begun.insert(files.begin_file(&self.key, &self.name).await?),
        };
        upload.part(std::mem::take(&mut self.part)).await
    }

    /// Writes what is left and makes it a file.
    async fn finish<F>(mut self, files: &F, clock: &impl Clock, export: &Export) -> Result<ExportFile, NotWritten>
    where
        F: StoreFile<Upload = U>,
    {
        match self.upload.take() {
            None => files.put_file(&self.key, &self.name, std::mem::take(&mut self.part)).await?,
            Some(mut upload) => {
                if !self.part.is_empty() {
                    upload.part(std::mem::take(&mut self.part)).await?;
                }
                upload.complete().await?;
            }
        }
        Ok(ExportFile {
            key: self.key,
            name: self.name,
            rows: self.rows,
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            totals: self.totals,
            expires_at: clock.now().plus(export.terms.file_retention),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
