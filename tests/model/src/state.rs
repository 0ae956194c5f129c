//! All there is at one moment: tables, queue, bucket, mails, and how far each process is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use exports_domain::error::ErrorKind;
use exports_domain::export::Export;
use exports_domain::time::Timestamp;

use crate::world::key_text;

/// A point in time, as the model counts.
pub type Tick = u8;

/// Which export, by the order of acceptance.
pub type Place = usize;

/// An export's record, or a copy of it that somebody read.
#[derive(Clone, Debug)]
pub struct Record(pub Arc<Export>);

impl Deref for Record {
    type Target = Export;

    fn deref(&self) -> &Export {
        &self.0
    }
}

impl From<Export> for Record {
    fn from(export: Export) -> Self {
        Self(Arc::new(export))
    }
}

impl Record {
    /// All that anybody acts on: when the record last changed and how many rows are written is for people only.
    fn facts(&self) -> impl Hash + PartialEq + '_ {
        let lease = self.lease().map(|lease| lease.until);
        let failure = self.failure().map(|failure| failure.code.as_str());
        let resends: u32 = self.resends.values().sum();
        let end = (self.link_expires_at(), self.recipients.to(), failure, resends, self.permanent_error_at());
        (self.id, self.status(), self.fencing_token, self.attempts, lease, self.next_check_at(), self.file_facts(), end)
    }

    fn permanent_error_at(&self) -> Option<Timestamp> {
        self.pending()?.permanent_error_at
    }

    fn file_facts(&self) -> impl Hash + PartialEq + '_ {
        self.file().map(|file| (&file.key, &file.sha256, file.expires_at))
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.facts() == other.facts()
    }
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.facts().hash(state);
    }
}

/// Two are the same if what is acted on is.
macro_rules! same_by_facts {
    ($($type:ty),*) => {$(
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.facts() == other.facts()
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.facts().hash(state);
            }
        }
    )*};
}

same_by_facts!(Generator, Sweeper, Resend);

/// The key of an object: which export, and the fencing_token that its writer had.
pub type Key = (Place, u64);

/// The parts of a file, each by the fencing_token of the one who wrote it: whoever writes a part reads the payouts anew, so the
/// same part may have other bytes.
pub type Parts = Vec<u64>;

/// A checkpoint: the upload's key, the parts it holds, and whether these are all.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Checkpoint {
    /// Where the upload will be a file, if it was begun.
    pub key: Option<Key>,
    /// What was counted and hashed so far.
    pub parts: Parts,
    /// The object of the unfinished part, and what was counted and hashed of it.
    pub unfinished: Option<(Key, u64)>,
    /// The parts are the whole file.
    pub is_whole: bool,
}

/// A mail with a link that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailed {
    /// Which export it is about.
    pub place: Place,
    /// The object that its link leads to.
    pub key: String,
    /// When the link ends, in seconds.
    pub end: i64,
    /// Whether it was sent again, to others than the first time.
    pub again: bool,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    /// The time.
    pub now: Tick,
    /// How many more invalid_rows there may be.
    pub invalid_rows: u8,
    /// The records.
    pub exports: Vec<Record>,
    /// The export that the tenant's lock names.
    pub lock: Option<Place>,
    /// The checkpoints.
    pub checkpoints: BTreeMap<Place, Checkpoint>,
    /// The exports that a message in the queue names.
    pub messages: BTreeSet<Place>,
    /// The unfinished uploads, and the parts that are written.
    pub uploads: BTreeMap<Key, BTreeMap<usize, u64>>,
    /// The objects of unfinished parts.
    pub unfinished: BTreeMap<Key, u64>,
    /// The bucket.
    pub objects: BTreeMap<Key, Parts>,
    /// The mails that were accepted; one that was accepted twice is the same here.
    pub mails: BTreeSet<Mailed>,
    /// The latest link's end that readers of each record were told, in seconds.
    pub told: BTreeMap<Place, i64>,
    /// When a sweep began that ended undisturbed and left an export PENDING that was past its deadline then.
    pub swept_at: Option<Tick>,
    /// How many exports may still be asked for.
    pub requests: u8,
    /// The generators at work.
    pub generators: Vec<Generator>,
    /// The sweepers at work.
    pub sweepers: Vec<Sweeper>,
    /// The resends at work.
    pub resends: Vec<Resend>,
    /// How many mails may still be asked for again.
    pub resend_requests: u8,
    /// How many exports an administrator may still end.
    pub endings: u8,
    /// How many exports callers may still cancel.
    pub cancellations: u8,
    /// How many invocations may still end between parts.
    pub unfinished_parts: u8,
}

impl State {
    /// Leaves out what nobody will ever look at again, and the order of processes: it would only make states differ.
    pub(crate) fn forget(&mut self) {
        let (generators, checkpoints, exports) = (&self.generators, &self.checkpoints, &self.exports);
        let is_worked_on = |key: &Key| {
            checkpoints.values().any(|checkpoint| checkpoint.key == Some(*key))
                || generators.iter().any(|generator| generator.draft.upload == Some(*key))
        };
        self.uploads.retain(|key, _| is_worked_on(key));
        self.unfinished.retain(|key, _| {
            let is_named = |named: &Checkpoint| named.unfinished.is_some_and(|(named, _)| named == *key);
            checkpoints.values().any(is_named)
                || generators.iter().any(|generator| generator.draft.stored_part == Some(*key))
        });
        let is_recorded =
            |key: &Key| exports.iter().filter_map(|export| export.file()).any(|file| file.key == key_text(*key));
        let is_to_record = |key: &Key| {
            generators.iter().any(|generator| matches!(&generator.next, Work::RecordFile(named, _) if named == key))
        };
        self.objects.retain(|key, _| is_worked_on(key) || is_recorded(key) || is_to_record(key));
        self.generators.sort_by_cached_key(|generator| DefaultHasher::new().hash_of(generator));
        self.resends.sort_by_cached_key(|resend| DefaultHasher::new().hash_of(resend));
    }
}

/// The hash of one value.
trait HashOf: Hasher + Sized {
    fn hash_of(mut self, value: &impl Hash) -> u64 {
        value.hash(&mut self);
        self.finish()
    }
}

impl HashOf for DefaultHasher {}

/// An invocation of the generator.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The export that its message names.
    pub place: Place,
    /// The record as it knows it.
    pub own: Record,
    /// The file that it writes.
    pub draft: Draft,
    /// What it does next.
    pub next: Work,
}

impl Generator {
    fn facts(&self) -> impl Hash + PartialEq + '_ {
        let own = (self.own.fencing_token, self.own.attempts, self.own.permanent_error_at(), self.own.file_facts());
        (self.place, own, &self.draft, &self.next)
    }
}

/// The file that a generator writes.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Draft {
    /// The upload.
    pub upload: Option<Key>,
    /// What it has counted and hashed.
    pub parts: Parts,
    /// The parts as it will name them when it completes the upload.
    pub tags: Parts,
    /// How many parts are in the checkpoint, as far as it knows.
    pub checkpointed: usize,
    /// How far it was when it began, in half parts.
    pub resumed_from: usize,
    /// The half of the next part that is read, as it was hashed and as it is.
    pub half: Option<(u64, u64)>,
    /// The object that it stored its unfinished part in.
    pub stored_part: Option<Key>,
}

/// A generator's next call to the outside, which has its effect at once and as a whole.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Work {
    /// Takes the work, as decided at this time on the record that was read.
    Take(Tick),
    /// Looks for a checkpoint.
    Resume,
    /// Writes a small file at once.
    Put,
    /// Begins an upload.
    Begin,
    /// Writes the next part.
    Write,
    /// Stores a checkpoint of what is written.
    Checkpoint,
    /// Stores the unfinished part.
    StorePart,
    /// Continues in the next invocation: releases the lease and enqueues the job.
    HandOver,
    /// Deletes an unfinished part that no checkpoint names any more, and then goes on to this.
    DeletePart(Key, Box<Work>),
    /// Stores the checkpoint of the whole file.
    CheckpointWhole,
    /// Makes the upload a file.
    Complete,
    /// Records the file with this key and these parts.
    RecordFile(Key, Parts),
    /// Sends the mail.
    Mail,
    /// Records READY with a link that ends at this time, in seconds.
    Ready(i64),
    /// Throws the upload away, and then goes on to this.
    Abort(Box<Work>),
    /// Ends the export as failed.
    Fail(Reason),
    /// Releases the lease after an error of this kind, and enqueues the job.
    GiveUp(ErrorKind),
    /// Nothing: the invocation ends.
    End,
}

/// Why a generator ends its export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The attempts are used up.
    RetryPolicy,
    /// The mail was rejected.
    Mail,
}

/// A sweep.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// When it began.
    pub began: Tick,
    /// The export that it looks at.
    pub place: Place,
    /// The record that it read, at this time, and has to do something about.
    pub read: Option<(Record, Tick)>,
}

impl Sweeper {
    fn facts(&self) -> impl Hash + PartialEq + '_ {
        let read = self
            .read
            .as_ref()
            .map(|(read, at)| (read.status(), read.fencing_token, read.attempts, read.next_check_at(), *at));
        (self.began, self.place, read)
    }
}

/// A request to send a mail again.
#[derive(Clone, Debug)]
pub struct Resend {
    /// Of which export.
    pub place: Place,
    /// The record as it knows it.
    pub own: Record,
    /// When the request came.
    pub at: Tick,
    /// What it does next.
    pub next: Again,
}

impl Resend {
    fn facts(&self) -> impl Hash + PartialEq + '_ {
        (self.place, self.own.file_facts(), self.at, self.next)
    }
}

/// A resend's next call to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Again {
    /// Counts the mail.
    Count,
    /// Sends it.
    Mail,
    /// Records it.
    Record,
}
