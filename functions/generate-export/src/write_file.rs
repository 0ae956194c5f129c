//! The payouts as a file.
//!
//! A small file is written at once. A larger one is written in parts, a few of them under way at a time. What the next
//! owner of the work needs to go on is kept in a checkpoint: the parts that are written without a gap, and the counts as
//! of the last row in them. So a crash repeats what came after the last checkpoint, and an invocation whose time runs
//! out hands over to the next.
//!
//! In memory are one part that is being filled, two that are being written, and the pages that
//! [`ReadAhead`] holds: the same whatever the file's size.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::checkpoint::Checkpoint;
use domain::export::Export;
use domain::file::{ExportFile, Faults, download_name, object_key, opening};
use domain::lifecycle::{self, Tries};
use domain::ports::{
    ApplyStep, Checkpoints, Clock, KeyRange, NotApplied, NotCompleted, Outage, Part, PayoutKey, ReadPayouts, StoreFile,
    Upload,
};
use domain::time::Timestamp;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use telemetry::Chain;
use tracing::{info, warn};

use crate::read_ahead::{Block, ReadAhead};
use crate::tally::Tally;

/// How many parts are written at once, while the next one is filled.
const PARTS_UNDER_WAY: usize = 2;

/// How many bytes a page of payouts may come to; DynamoDB's have 1 MB at most.
const PAGE: usize = 1024 * 1024;

/// Numbers that a file is written by.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// How many bytes are gathered before they are written as a part; S3 takes 5 MiB at least.
    pub part_size: usize,
    /// How many parts a file may have; S3 takes 10,000 at most.
    pub most_parts: u32,
    /// How many ranges of payouts are read at once.
    pub readers: usize,
    /// How often the record is told of the progress.
    pub checkpoint_every: Duration,
    /// With less time left than this, the work is handed over; or with less than a quarter of the invocation's time,
    /// where that is shorter.
    pub hand_over_before: Duration,
    /// How long it may take to complete a file in parts. With less time left, or with less than half of the invocation's
    /// time where that is shorter, the next invocation completes the file.
    pub completion_takes: Duration,
}

/// Why there is no file.
#[derive(Debug)]
pub enum NotWritten {
    /// Some payouts cannot be written.
    Faults(Faults),
    /// The file would be larger than a file can be, which is this many bytes.
    TooLarge(u64),
    /// The invocation's time is over. The lease is given up, with a checkpoint if the work got further.
    OutOfTime {
        /// Whether it did.
        has_advanced: bool,
    },
    /// The record is another's.
    NotApplied(NotApplied),
    /// Trying again may help.
    Outage(Outage),
}

impl From<Outage> for NotWritten {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

impl From<NotApplied> for NotWritten {
    fn from(not_applied: NotApplied) -> Self {
        Self::NotApplied(not_applied)
    }
}

/// The outside that a file is written with.
#[derive(Debug)]
pub struct FileWriter<'a, S, P, F, C> {
    /// The records.
    pub exports: &'a S,
    /// What is exported.
    pub payouts: &'a P,
    /// Where files are kept.
    pub files: &'a F,
    /// Tells the time.
    pub clock: &'a C,
    /// Numbers the work goes by.
    pub limits: &'a FileLimits,
    /// How often the work may be tried: nobody goes on after the last time.
    pub tries: &'a Tries,
    /// How long the sweeper waits for a bell's effect before it rings again.
    pub ring_after: Duration,
    /// When Lambda ends this invocation.
    pub ends_at: Timestamp,
}

/// What is left of an invocation's time when a completion is given up: enough to record what came of it.
const RECORD_BEFORE: Duration = Duration::from_secs(10);

/// The times that an invocation goes by.
struct Times {
    /// When the work is handed over.
    hand_over_at: Timestamp,
    /// From when on a file that was written here is completed by the next invocation.
    complete_by: Timestamp,
    /// When a completion is given up.
    record_at: Timestamp,
}

impl Times {
    fn new(begun_at: Timestamp, ends_at: Timestamp, limits: &FileLimits) -> Self {
        let whole = ends_at.since(begun_at);
        Self {
            hand_over_at: ends_at.minus(limits.hand_over_before.min(whole / 4)),
            complete_by: ends_at.minus(limits.completion_takes.min(whole / 2)),
            record_at: ends_at.minus(RECORD_BEFORE.min(whole / 4)),
        }
    }
}

impl<S, P, F, C> FileWriter<'_, S, P, F, C>
where
    S: ApplyStep + Checkpoints,
    P: ReadPayouts,
    F: StoreFile,
    C: Clock,
{
    /// Writes the file of `export`, or goes on with it.
    ///
    /// # Errors
    /// [`NotWritten`]. What was written so far is thrown away, unless another can go on with it.
    pub async fn write(&self, export: &mut Export) -> Result<ExportFile, NotWritten> {
        let times = Times::new(self.clock.now(), self.ends_at, self.limits);
        let mut draft = match self.resume(export).await? {
            Resumed::Draft(draft) => *draft,
            Resumed::Whole(file) => return Ok(file),
        };
        let written = self.fill(export, &mut draft, &times).await;
        if let (Err(not_written), Some(upload)) = (&written, &draft.upload) {
            // Whoever finds a checkpoint goes on with its upload. All other uploads nobody will ever complete.
            let is_over = match not_written {
                NotWritten::Faults(_) | NotWritten::TooLarge(_) => true,
                NotWritten::NotApplied(NotApplied::Refused(_)) => false,
                NotWritten::OutOfTime { .. } => export.tries >= self.tries.most,
                NotWritten::NotApplied(NotApplied::Outage(outage)) | NotWritten::Outage(outage) => {
                    self.tries.wait_after_error(export, self.clock.now(), outage.kind()).is_none()
                }
            };
            if is_over || draft.checkpointed == 0 {
                self.abort(upload).await;
            }
        }
        written
    }

    /// What an earlier owner left, if it can be gone on with.
    async fn resume(&self, export: &Export) -> Result<Resumed, Outage> {
        // The first owner finds nothing.
        let checkpoint = match export.fence {
            1 => None,
            _ => self.exports.find_checkpoint(&export.tenant, &export.id).await?,
        };
        let Some(checkpoint) = checkpoint else { return Ok(Resumed::fresh()) };
        let tally = Tally::resume(
            checkpoint.rows,
            checkpoint.bytes,
            checkpoint.totals.clone(),
            &checkpoint.sha256,
            checkpoint.crc64,
        );
        let Some(tally) = tally else {
            warn!("the checkpoint cannot be read: the file begins anew");
            self.abort(&checkpoint.upload).await;
            return Ok(Resumed::anew(&checkpoint));
        };
        let parts = self.files.parts(&checkpoint.upload).await?;
        let parts =
            parts.map(|parts| parts.into_iter().filter(|part| part.number <= checkpoint.parts).collect::<Vec<_>>());
        match parts {
            Some(parts) if is_gapless(&parts, &checkpoint) => {
                info!(parts = checkpoint.parts, rows = checkpoint.rows, "goes on from the checkpoint");
                Ok(Resumed::Draft(Box::new(Draft::resume(checkpoint, tally, parts))))
            }
            Some(_) => {
                warn!("parts of the upload are missing: the file begins anew");
                self.abort(&checkpoint.upload).await;
                Ok(Resumed::anew(&checkpoint))
            }
            None if checkpoint.is_whole => {
                // Completed, perhaps, by one who could not record it.
                let size = self.files.file_size(&checkpoint.upload.key).await?;
                if size == Some(tally.bytes) {
                    return Ok(Resumed::Whole(self.file(export, checkpoint.upload.key, &tally)));
                }
                warn!("the upload is lost: the file begins anew");
                Ok(Resumed::anew(&checkpoint))
            }
            None => {
                warn!("the upload is lost: the file begins anew");
                Ok(Resumed::anew(&checkpoint))
            }
        }
    }

    /// Reads what is left to read, and makes it a file.
    async fn fill(&self, export: &mut Export, draft: &mut Draft, times: &Times) -> Result<ExportFile, NotWritten> {
        let tenant = export.tenant.clone();
        let key = object_key(&tenant, &export.id, export.fence);
        let name = download_name(&tenant, &export.id, export.as_of());
        if draft.tally.bytes == 0 {
            draft.append(opening(export.terms.byte_order_mark).as_bytes());
        }
        let range = KeyRange { after: draft.after.clone(), up_to: last_key(export.as_of()) };
        let mut reading = ReadAhead::new(self.payouts, &tenant, range, self.limits.readers);
        let mut writes: FuturesUnordered<BoxFuture<'_, Result<Part, Outage>>> = FuturesUnordered::new();
        let mut told_at = self.clock.now();
        let mut faults = Faults::default();
        loop {
            // Parts that are done are noted while the next page comes.
            let block = tokio::select! {
                biased;
                Some(part) = writes.next() => {
                    draft.note_written(part?);
                    continue;
                }
                block = reading.next() => block?,
            };
            let Some(Block { section, up_to }) = block else { break };
            faults.append(section.faults.clone());
            // Once one payout cannot be written there will be no file: the rest is read to count all that are at fault.
            if faults.count == 0 {
                draft.tally.add(&section)?;
                draft.part.extend_from_slice(&section.csv);
                draft.after = Some(up_to);
                if draft.part.len() >= self.limits.part_size {
                    if writes.len() >= PARTS_UNDER_WAY
                        && let Some(part) = reading.go_on_during(writes.next()).await
                    {
                        draft.note_written(part?);
                    }
                    let (upload, number, bytes) = reading.go_on_during(self.cut_part(draft, &key, &name)).await?;
                    writes.push(Box::pin(async move { self.files.write_part(&upload, number, bytes).await }));
                }
            }
            let now = self.clock.now();
            if now >= times.hand_over_at {
                if faults.count > 0 {
                    faults.are_all = false;
                    break;
                }
                return Err(self.hand_over(export, draft, now).await);
            }
            if now.since(told_at) >= self.limits.checkpoint_every {
                told_at = now;
                reading.go_on_during(self.tell_progress(export, draft, now)).await?;
            }
        }
        if faults.count > 0 {
            return Err(NotWritten::Faults(faults));
        }
        if draft.upload.is_none() {
            self.files.put_file(&key, &name, std::mem::take(&mut draft.part)).await?;
            return Ok(self.file(export, key, &draft.tally));
        }
        if !draft.part.is_empty() {
            let (upload, number, bytes) = self.cut_part(draft, &key, &name).await?;
            writes.push(Box::pin(async move { self.files.write_part(&upload, number, bytes).await }));
        }
        while let Some(part) = writes.next().await {
            draft.note_written(part?);
        }
        self.complete(export, draft, times).await
    }

    /// Takes what is gathered as the next part. The first part begins the upload.
    async fn cut_part(&self, draft: &mut Draft, key: &str, name: &str) -> Result<(Upload, u32, Vec<u8>), NotWritten> {
        let upload = match &draft.upload {
            Some(upload) => upload.clone(),
            None => draft.upload.insert(self.files.begin_file(key, name).await?).clone(),
        };
        let number = draft.parts_cut + 1;
        if number > self.limits.most_parts {
            return Err(NotWritten::TooLarge(u64::from(self.limits.most_parts) * self.limits.part_size as u64));
        }
        draft.parts_cut = number;
        let mark = Mark { tally: draft.tally.clone(), after: draft.after.clone() };
        draft.marks.insert(number, mark);
        // Room for a page more than a part, at once: what grows step by step is copied, and leaves holes in the heap.
        let next = Vec::with_capacity(self.limits.part_size.saturating_add(PAGE));
        Ok((upload, number, std::mem::replace(&mut draft.part, next)))
    }

    /// Tells the record how many payouts are written, with a checkpoint if there is a new one.
    async fn tell_progress(&self, export: &mut Export, draft: &mut Draft, now: Timestamp) -> Result<(), NotApplied> {
        if let Some(checkpoint) = draft.checkpoint(false) {
            return self.keep_checkpoint(export, draft, &checkpoint, now).await;
        }
        let step = lifecycle::progress(export, now, draft.tally.rows);
        self.exports.apply_step(&export.tenant, &export.id, &step).await?;
        *export = step.changed(export);
        Ok(())
    }

    /// Stores the checkpoint. The tries begin anew only if it is further than all before: work that comes to the same
    /// point again and again, and fails there, has to come to an end.
    async fn keep_checkpoint(
        &self,
        export: &mut Export,
        draft: &mut Draft,
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<(), NotApplied> {
        let rows = draft.tally.rows;
        let advances = draft.advances(checkpoint);
        let step =
            if advances { lifecycle::advance(export, now, rows) } else { lifecycle::progress(export, now, rows) };
        self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await?;
        draft.checkpointed = checkpoint.parts;
        draft.has_advanced |= advances;
        *export = step.changed(export);
        Ok(())
    }

    /// Gives the lease up, with a checkpoint if there is a new one. What is gathered for the next part is thrown away.
    async fn hand_over(&self, export: &mut Export, draft: &mut Draft, now: Timestamp) -> NotWritten {
        let checkpoint = draft.checkpoint(false);
        self.hand_over_with(export, draft, checkpoint, now).await
    }

    async fn hand_over_with(
        &self,
        export: &mut Export,
        draft: &mut Draft,
        checkpoint: Option<Checkpoint>,
        now: Timestamp,
    ) -> NotWritten {
        let has_advanced =
            draft.has_advanced || checkpoint.as_ref().is_some_and(|checkpoint| draft.advances(checkpoint));
        let rows = checkpoint.as_ref().map_or(export.rows_written, |checkpoint| checkpoint.rows);
        let step = lifecycle::hand_over(export, now, rows, has_advanced, now.plus(self.ring_after));
        let applied = match &checkpoint {
            Some(checkpoint) => self.exports.apply_with_checkpoint(&export.tenant, &export.id, &step, checkpoint).await,
            None => self.exports.apply_step(&export.tenant, &export.id, &step).await,
        };
        match applied {
            Ok(()) => {
                draft.checkpointed = checkpoint.map_or(draft.checkpointed, |checkpoint| checkpoint.parts);
                *export = step.changed(export);
                info!(parts = draft.checkpointed, rows, "hands over");
                NotWritten::OutOfTime { has_advanced }
            }
            Err(not_applied) => not_applied.into(),
        }
    }

    /// Makes the parts a file. All that is known of it is in the checkpoint before, so that one whose answer is lost
    /// need not be written again. That may take minutes: with less time left, whoever wrote the file leaves this to the
    /// next invocation, which has nothing else to do. An invocation that began with a whole file never does.
    async fn complete(&self, export: &mut Export, draft: &mut Draft, times: &Times) -> Result<ExportFile, NotWritten> {
        let now = self.clock.now();
        let (Some(upload), Some(checkpoint)) = (draft.upload.clone(), draft.checkpoint(true)) else {
            return Err(Outage::new("complete the file", "parts of it are missing").into());
        };
        if now > times.complete_by && (draft.has_advanced || draft.advances(&checkpoint)) {
            return Err(self.hand_over_with(export, draft, Some(checkpoint), now).await);
        }
        self.keep_checkpoint(export, draft, &checkpoint, now).await?;
        let (bytes, crc64) = (draft.tally.bytes, draft.tally.crc64());
        let within = times.record_at.since(self.clock.now());
        match self.files.complete_file(&upload, &draft.written, bytes, crc64, within).await {
            Ok(()) => {}
            Err(NotCompleted::Outage(outage)) => return Err(outage.into()),
            Err(NotCompleted::Lost(reason)) => {
                // An earlier try may have completed it and not have heard so.
                if self.files.file_size(&upload.key).await? != Some(bytes) {
                    self.abort(&upload).await;
                    return Err(Outage::new("complete the file", format!("the upload is lost: {reason}")).into());
                }
            }
        }
        Ok(self.file(export, upload.key, &draft.tally))
    }

    async fn abort(&self, upload: &Upload) {
        if let Err(outage) = self.files.abort_file(upload).await {
            // The bucket's lifecycle throws unfinished uploads away some days later.
            warn!(error = %Chain(&outage), "parts of an unfinished file are left");
        }
    }

    fn file(&self, export: &Export, key: String, tally: &Tally) -> ExportFile {
        ExportFile {
            key,
            name: download_name(&export.tenant, &export.id, export.as_of()),
            rows: tally.rows,
            bytes: tally.bytes,
            sha256: tally.sha256(),
            totals: tally.totals.clone(),
            expires_at: self.clock.now().plus(export.terms.file_retention),
        }
    }
}

/// The highest key of a payout created up to `as_of`: keys begin with the time, so what begins with the next
/// millisecond is above.
fn last_key(as_of: Timestamp) -> PayoutKey {
    PayoutKey(as_of.plus(Duration::from_millis(1)).to_string())
}

fn is_gapless(parts: &[Part], checkpoint: &Checkpoint) -> bool {
    parts.iter().map(|part| part.number).eq(1..=checkpoint.parts)
        && parts.iter().map(|part| part.bytes).sum::<u64>() == checkpoint.bytes
}

/// What an earlier owner left.
enum Resumed {
    /// A file to go on with, or to begin.
    Draft(Box<Draft>),
    /// A whole file that only was not recorded.
    Whole(ExportFile),
}

impl Resumed {
    fn fresh() -> Self {
        Self::Draft(Box::default())
    }

    /// A file that begins anew, because what the checkpoint says is there no more.
    fn anew(checkpoint: &Checkpoint) -> Self {
        Self::Draft(Box::new(Draft { known_rows: checkpoint.rows, ..Draft::default() }))
    }
}

/// A file that is being written.
#[derive(Default)]
struct Draft {
    upload: Option<Upload>,
    /// The counts of all that was gathered.
    tally: Tally,
    /// The last key of all that was gathered.
    after: Option<PayoutKey>,
    /// What is gathered for the next part.
    part: Vec<u8>,
    /// How many parts were cut, written or not.
    parts_cut: u32,
    /// The parts that are written, from the first on without a gap.
    written: Vec<Part>,
    /// Those that are written behind a gap.
    behind_gap: BTreeMap<u32, Part>,
    /// The counts at the end of each part that is not checkpointed yet.
    marks: BTreeMap<u32, Mark>,
    /// How many parts are in the stored checkpoint.
    checkpointed: u32,
    /// How many payouts the furthest checkpoint before this one had. Less is no progress, whether the file goes on from
    /// there or begins anew.
    known_rows: u64,
    /// Whether the stored checkpoint is further than that.
    has_advanced: bool,
}

/// The counts at the end of a part.
struct Mark {
    tally: Tally,
    after: Option<PayoutKey>,
}

impl Draft {
    fn resume(checkpoint: Checkpoint, tally: Tally, written: Vec<Part>) -> Self {
        Self {
            upload: Some(checkpoint.upload),
            tally,
            after: Some(checkpoint.after),
            parts_cut: checkpoint.parts,
            written,
            checkpointed: checkpoint.parts,
            known_rows: checkpoint.rows,
            ..Self::default()
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.tally.add_bytes(bytes);
        self.part.extend_from_slice(bytes);
    }

    fn note_written(&mut self, part: Part) {
        self.behind_gap.insert(part.number, part);
        while let Some(next) = self.behind_gap.first_entry()
            && usize::try_from(*next.key()).is_ok_and(|number| number == self.written.len() + 1)
        {
            self.written.push(next.remove());
        }
    }

    /// Whether the checkpoint is further than all before this owner's.
    const fn advances(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.rows > self.known_rows
    }

    /// The checkpoint after the last part that is written without a gap, if it is further than the stored one, or if
    /// the parts are the whole file.
    fn checkpoint(&mut self, is_whole: bool) -> Option<Checkpoint> {
        let parts = u32::try_from(self.written.len()).ok()?;
        if parts <= self.checkpointed && !is_whole {
            return None;
        }
        if is_whole && parts != self.parts_cut {
            return None;
        }
        let (tally, after) = match self.marks.get(&parts) {
            Some(mark) => (&mark.tally, &mark.after),
            None => (&self.tally, &self.after),
        };
        let checkpoint = Checkpoint {
            upload: self.upload.clone()?,
            parts,
            after: after.clone()?,
            rows: tally.rows,
            bytes: tally.bytes,
            totals: tally.totals.clone(),
            sha256: tally.sha256_state(),
            crc64: tally.crc64_state(),
            is_whole,
        };
        self.marks = self.marks.split_off(&(parts + 1));
        Some(checkpoint)
    }
}
