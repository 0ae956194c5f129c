//! The possible next steps of every participant, and their outcomes.

use std::collections::BTreeMap;
use std::time::Duration;

use exports_domain::email::Recipients;
use exports_domain::error::ErrorKind;
use exports_domain::export::{self, Export, ExportSettings, Lease, Progress, Status};
use exports_domain::export_type::ExportType;
use exports_domain::failure::Failure;
use exports_domain::file::ExportFile;
use exports_domain::id::ExportId;
use exports_domain::invariants::Violation;
use exports_domain::lifecycle::{self, FailedBy, RetryPolicy, Step};
use exports_domain::options::ExportOptions;
use exports_domain::testing::operator;
use exports_domain::totals::Totals;
use stateright::{Model, Property};

use crate::broken::Broken;
use crate::state::{
    Again, Checkpoint, Draft, Generator, Key, Mailed, Parts, Place, Reason, Record, Resend, State, Sweeper, Tick, Work,
};
use crate::world::{check, key_text, recipients_again, seconds, sha256, time};

const TICK: Duration = Duration::from_secs(60);

/// The protocol within bounds.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The number of launched exports.
    pub requests: u8,
    /// How many generators work at once.
    pub generators: usize,
    /// How many sweeps run at once.
    pub sweepers: usize,
    /// How many resends run at once.
    pub resends: usize,
    /// How many resends there are in all.
    pub resend_requests: u8,
    /// The number of exports that an administrator fails.
    pub endings: u8,
    /// How many exports callers cancel.
    pub cancellations: u8,
    /// How many invocations end between parts.
    pub unfinished_parts: u8,
    /// How many parts a file has; none if it is written at once.
    pub parts: usize,
    /// The number of invalid rows.
    pub invalid_rows: u8,
    /// When time stops.
    pub last_tick: Tick,
    /// How long an export may be pending.
    pub time_limit: Tick,
    /// The number of leases of an export.
    pub most_fence: u64,
    /// The safeguard that is missing.
    pub broken: Option<Broken>,
}

/// The outcome of a call to a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its effect, and a response.
    Answered,
    /// It is rejected.
    Rejected,
    /// No effect, and an error.
    NoEffect,
    /// No effect, and a permanent error.
    Denied,
    /// Its effect, and an error.
    NoAnswer,
    /// No effect: the process died before.
    Died,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// An export is launched, and its job is enqueued.
    Request,
    /// A message is delivered, and may stay in the queue.
    Deliver {
        /// Which.
        place: Place,
        /// Whether it stays.
        stays: bool,
    },
    /// A message is lost, or was never sent.
    Lose(Place),
    /// A generator goes on.
    Generate(usize, Outcome),
    /// A generator stores a checkpoint before it goes on.
    Checkpoint(usize),
    /// A generator's time is over.
    OutOfTime(usize),
    /// A generator's time is over between parts.
    OutOfTimeBetweenParts(usize),
    /// A sweep begins.
    Sweep,
    /// A sweep goes on.
    SweepOn(usize, Outcome),
    /// A mail is asked for again.
    Resend(Place),
    /// A resend goes on.
    ResendOn(usize, Outcome),
    /// An administrator ends an export.
    End(Place),
    /// A caller cancels an export.
    Cancel(Place),
}

/// What a generator makes of an response.
enum Came {
    On(Work),
    /// The work is another's.
    Lost,
    /// It met an error of this kind.
    Stopped(ErrorKind),
}

impl Protocol {
    /// The property that the invariants hold in every state.
    pub const HOLD: &'static str = "the invariants hold";

    /// One export of a small file, by one generator and one sweeper, without invalid_rows: the bounds that checks widen.
    pub const SMALLEST: Self = Self {
        requests: 1,
        generators: 1,
        sweepers: 1,
        resends: 0,
        resend_requests: 0,
        endings: 0,
        cancellations: 0,
        unfinished_parts: 0,
        parts: 0,
        invalid_rows: 0,
        last_tick: 3,
        time_limit: 2,
        most_fence: 2,
        broken: None,
    };

    /// Sets the bound of this name; whether there is one.
    pub fn bound(&mut self, name: &str, number: u8) -> bool {
        match name {
            "requests" => self.requests = number,
            "generators" => self.generators = number.into(),
            "sweepers" => self.sweepers = number.into(),
            "resends" => self.resends = number.into(),
            "resend_requests" => self.resend_requests = number,
            "endings" => self.endings = number,
            "cancellations" => self.cancellations = number,
            "unfinished_parts" => self.unfinished_parts = number,
            "parts" => self.parts = number.into(),
            "invalid_rows" => self.invalid_rows = number,
            "last_tick" => self.last_tick = number,
            "time_limit" => self.time_limit = number,
            "most_fence" => self.most_fence = number.into(),
            _ => return false,
        }
        true
    }

    /// The invariants that do not hold of `state`.
    #[must_use]
    pub fn violations(&self, state: &State) -> Vec<Violation> {
        check(self, state)
    }

    pub(crate) fn payouts(&self) -> usize {
        self.parts.max(1)
    }

    fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub(crate) fn retry() -> RetryPolicy {
        RetryPolicy { max_attempts: 2, backoff: vec![TICK], permanent_wait: TICK }
    }

    /// The retry policy for acquiring a lease.
    fn retry_policy(&self) -> RetryPolicy {
        let max_attempts = if self.is_broken(Broken::TriesGuard) { u32::MAX } else { Self::retry().max_attempts };
        RetryPolicy { max_attempts, ..Self::retry() }
    }

    /// Carries a step out in one conditional write, with a checkpoint if there is one. Whether it was.
    fn apply(&self, state: &mut State, place: Place, step: &Step, checkpoint: Option<Checkpoint>) -> bool {
        let mut step = step.clone();
        if let Some(broken) = self.broken {
            broken.weaken(&mut step);
        }
        let Some(record) = state.exports.get_mut(place) else { return false };
        let after = step.apply(record);
        let applied = after.is_some();
        if let Some(after) = after {
            if let Some(end) = after.link_expires_at() {
                let told = state.told.entry(place).or_insert(i64::MIN);
                *told = (*told).max(end.seconds());
            }
            *record = after.into();
            if step.leaves_pending() && !self.is_broken(Broken::LockRelease) {
                state.lock = state.lock.filter(|named| *named != place);
                state.checkpoints.remove(&place);
            }
        }
        if let Some(checkpoint) = checkpoint.filter(|_| applied || self.is_broken(Broken::CheckpointTransaction)) {
            state.checkpoints.insert(place, checkpoint);
        }
        applied
    }

    fn request(&self, state: &mut State) {
        state.requests -= 1;
        if state.lock.is_some() && !self.is_broken(Broken::LockCheck) {
            return;
        }
        let place = state.exports.len();
        let id =
            ExportId::new(ExportType::MarketplacePayouts, time(state.now), &[u8::try_from(place).unwrap_or(0); 10]);
        let caller = operator("acme");
        let recipients = Recipients::only(caller.user.email.clone());
        // Links that live two ticks, files three, so that an end may be either's.
        let settings = ExportSettings::new(TICK * 2, TICK * 3, TICK * u32::from(self.time_limit), false);
        state.exports.push(Export::accept(id, &caller, recipients, ExportOptions::default(), settings, TICK).into());
        state.lock = Some(place);
        state.messages.insert(place);
    }

    fn deliver(&self, state: &mut State, place: Place, stays: bool) -> Option<()> {
        let read = state.exports.get(place)?.clone();
        let taken = lifecycle::acquire(&read, time(state.now), lease(state.now), &self.retry_policy());
        if !stays {
            state.messages.remove(&place);
        }
        match taken {
            Ok(_) if state.generators.len() >= self.generators || read.fencing_token >= self.most_fence => return None,
            Ok(_) => state.generators.push(Generator {
                place,
                own: read,
                draft: Draft::default(),
                next: Work::Take(state.now),
            }),
            // A message for an export that has ended, is worked on or is the sweeper's to end does nothing.
            Err(_) if stays => return None,
            Err(_) => {}
        }
        Some(())
    }

    fn generate(&self, state: &mut State, slot: usize, outcome: Outcome) -> Option<()> {
        let before = state.generators.get(slot)?.clone();
        let mut generator = before.clone();
        let came = match outcome {
            Outcome::Answered => self.work(state, &mut generator),
            Outcome::NoAnswer => {
                self.work(state, &mut generator);
                generator = before.clone();
                Came::Stopped(ErrorKind::Transient)
            }
            Outcome::NoEffect => Came::Stopped(ErrorKind::Transient),
            Outcome::Denied => Came::Stopped(ErrorKind::Permanent),
            Outcome::Rejected => Came::On(Work::Fail(Reason::Mail)),
            Outcome::Died => Came::On(Work::End),
        };
        generator.next = match came {
            Came::On(next) => next,
            Came::Lost => abandon(&generator, &before.next, Work::End),
            Came::Stopped(kind) => match &before.next {
                // It is unknown whether the work was taken: the queue delivers the message again.
                Work::Take(_) => {
                    state.messages.insert(generator.place);
                    Work::End
                }
                Work::Abort(then) | Work::DeletePart(_, then) => (**then).clone(),
                Work::GiveUp(_) | Work::Fail(_) => Work::End,
                stopped => abandon(&generator, stopped, later(&generator, kind, state.now)),
            },
        };
        if generator.next == Work::End {
            state.generators.remove(slot);
        } else {
            *state.generators.get_mut(slot)? = generator;
        }
        Some(())
    }

    /// The next call's effect, and what the generator makes of the response.
    fn work(&self, state: &mut State, generator: &mut Generator) -> Came {
        let now = time(state.now);
        let (place, own) = (generator.place, generator.own.clone());
        match generator.next.clone() {
            Work::Take(at) => {
                let first = lifecycle::acquire_first(time(at), lease(at));
                let step = match state.exports.get(place).filter(|record| first.apply(record).is_some()) {
                    Some(record) => {
                        generator.own = record.clone();
                        first
                    }
                    None => match lifecycle::acquire(&own, time(at), lease(at), &self.retry_policy()) {
                        Ok(step) => step,
                        Err(_) => return Came::Lost,
                    },
                };
                if !self.apply_own(state, generator, &step, None) {
                    return Came::Lost;
                }
                let next = if own.file().is_some() { self.deliver_file(&own, state.now) } else { Work::Resume };
                Came::On(next)
            }
            Work::Resume => Came::On(self.resume(state, generator)),
            Work::Put => {
                let (hashed, written) = generator.draft.next_part(own.fencing_token);
                let key = self.key(generator);
                state.objects.insert(key, vec![written]);
                Came::On(Work::RecordFile(key, vec![hashed]))
            }
            Work::Begin => {
                let key = self.key(generator);
                state.uploads.insert(key, [].into());
                generator.draft.upload = Some(key);
                Came::On(Work::Write)
            }
            Work::Write => {
                let draft = &mut generator.draft;
                let Some(parts) = draft.upload.and_then(|key| state.uploads.get_mut(&key)) else {
                    return Came::Stopped(ErrorKind::Transient);
                };
                let (hashed, written) = draft.next_part(own.fencing_token);
                draft.half = None;
                parts.insert(draft.parts.len(), written);
                draft.parts.push(hashed);
                draft.tags.push(written);
                Came::On(if draft.parts.len() < self.parts { Work::Write } else { Work::CheckpointWhole })
            }
            Work::Checkpoint | Work::CheckpointWhole => {
                let is_whole = generator.next == Work::CheckpointWhole;
                let step = lifecycle::advance_checkpoint(&own, now, progress(generator.draft.parts.len()));
                let checkpoint = generator.draft.checkpoint(is_whole);
                if !self.apply_own(state, generator, &step, Some(checkpoint)) {
                    return Came::Lost;
                }
                generator.draft.checkpointed = generator.draft.parts.len();
                Came::On(if is_whole { Work::Complete } else { Work::Write })
            }
            Work::StorePart => {
                let (hashed, written) = generator.draft.next_part(own.fencing_token);
                let key = if self.is_broken(Broken::UnfinishedPart) { (place, 0) } else { (place, own.fencing_token) };
                state.unfinished.insert(key, written);
                generator.draft.half = Some((hashed, written));
                generator.draft.stored_part = Some(key);
                Came::On(Work::HandOver)
            }
            Work::DeletePart(key, then) => {
                state.unfinished.remove(&key);
                Came::On(*then)
            }
            Work::HandOver => self.continue_later(state, generator),
            Work::Complete => self.complete(state, generator),
            Work::RecordFile(key, parts) => {
                let file = ExportFile {
                    key: key_text(key),
                    name: String::new(),
                    rows: self.payouts() as u64,
                    bytes: parts.len() as u64,
                    sha256: sha256(&parts),
                    totals: Totals::default(),
                    expires_at: now.plus(own.settings.file_retention),
                };
                if !self.apply_own(
                    state,
                    generator,
                    &lifecycle::record_file(&own, now, file, self.payouts() as u64),
                    None,
                ) {
                    return Came::Lost;
                }
                Came::On(self.deliver_file(&generator.own, state.now))
            }
            Work::Mail => {
                let Some(file) = own.file() else { return Came::Lost };
                let end = file.link_expiry(now, own.settings.link_lifetime).seconds();
                state.mails.insert(Mailed { place, key: file.key.clone(), end, again: false });
                Came::On(if self.is_broken(Broken::MailBeforeReady) { Work::End } else { Work::Ready(end) })
            }
            Work::Ready(end) => {
                let applied = self.apply_own(state, generator, &lifecycle::ready(&own, now, seconds(end)), None);
                match applied {
                    false => Came::Lost,
                    true if self.is_broken(Broken::MailBeforeReady) => Came::On(Work::Mail),
                    true => Came::On(Work::End),
                }
            }
            Work::Abort(then) => {
                if let Some(key) = generator.draft.upload {
                    state.uploads.remove(&key);
                }
                Came::On(*then)
            }
            Work::Fail(reason) => {
                let failure = match reason {
                    Reason::RetryPolicy => Failure::attempts_used_up(own.attempts),
                    Reason::Mail => Failure::email_not_sent("no"),
                };
                self.apply_own(state, generator, &lifecycle::fail(&own, now, FailedBy::Owner, failure), None);
                Came::On(Work::End)
            }
            Work::GiveUp(kind) => {
                let step = lifecycle::release(&own, now, kind, now.plus(TICK));
                if self.apply_own(state, generator, &step, None) {
                    state.messages.insert(place);
                }
                Came::On(Work::End)
            }
            Work::End => Came::On(Work::End),
        }
    }

    /// Carries the step out, and keeps the generator's copy as the record is.
    fn apply_own(
        &self,
        state: &mut State,
        generator: &mut Generator,
        step: &Step,
        checkpoint: Option<Checkpoint>,
    ) -> bool {
        let applied = self.apply(state, generator.place, step, checkpoint);
        if applied {
            generator.own = step.changed(&generator.own).into();
        }
        applied
    }

    fn key(&self, generator: &Generator) -> Key {
        let fencing_token = if self.is_broken(Broken::KeyPerFence) { 1 } else { generator.own.fencing_token };
        (generator.place, fencing_token)
    }

    /// What follows once the file is recorded.
    fn deliver_file(&self, own: &Export, now: Tick) -> Work {
        match own.file() {
            Some(file) if self.is_broken(Broken::MailBeforeReady) => {
                Work::Ready(file.link_expiry(time(now), own.settings.link_lifetime).seconds())
            }
            _ => Work::Mail,
        }
    }

    fn resume(&self, state: &State, generator: &mut Generator) -> Work {
        let fresh = if self.parts == 0 { Work::Put } else { Work::Begin };
        let Some(found) = state.checkpoints.get(&generator.place).filter(|_| generator.own.fencing_token > 1) else {
            return fresh;
        };
        let length = found.parts.len();
        let nothing = BTreeMap::new();
        let stored = match found.key {
            None => &nothing,
            Some(key) => match state.uploads.get(&key) {
                Some(stored) => stored,
                // Completed, perhaps, by one who could not record it: all that is known of the object is its size.
                None if found.is_whole && state.objects.get(&key).map(Vec::len) == Some(length) => {
                    return Work::RecordFile(key, found.parts.clone());
                }
                None => return fresh,
            },
        };
        let tags: Parts = (0..length).filter_map(|number| stored.get(&number).copied()).collect();
        let half = found.unfinished.and_then(|(key, hashed)| Some((hashed, *state.unfinished.get(&key)?)));
        let is_checked = !self.is_broken(Broken::UnfinishedPart);
        let is_other = half.is_some_and(|(hashed, is)| hashed != is && is_checked);
        if tags.len() != length || half.is_some() != found.unfinished.is_some() || is_other {
            return fresh;
        }
        generator.draft = Draft {
            upload: found.key,
            parts: found.parts.clone(),
            tags,
            checkpointed: length,
            resumed_from: 2 * length + usize::from(half.is_some()),
            half,
            stored_part: None,
        };
        match found.key {
            None => fresh,
            Some(_) if length < self.parts => Work::Write,
            Some(_) => Work::CheckpointWhole,
        }
    }

    fn continue_later(&self, state: &mut State, generator: &mut Generator) -> Came {
        let (own, now) = (generator.own.clone(), time(state.now));
        let draft = &generator.draft;
        let written = draft.parts.len();
        let has_read_more = written > draft.checkpointed || draft.stored_part.is_some();
        let checkpoint = has_read_more.then(|| draft.checkpoint(false));
        let has_advanced = 2 * written + usize::from(draft.half.is_some()) > draft.resumed_from;
        let step = lifecycle::continue_later(&own, now, progress(written), has_advanced, now.plus(TICK));
        let replaced = state.checkpoints.get(&generator.place).and_then(|before| before.unfinished);
        if !self.apply_own(state, generator, &step, checkpoint.clone()) {
            return Came::Lost;
        }
        generator.draft.checkpointed = written;
        let next = if !has_advanced && own.attempts >= Self::retry().max_attempts {
            Work::Fail(Reason::RetryPolicy)
        } else {
            state.messages.insert(generator.place);
            Work::End
        };
        let next = abandon(generator, &Work::HandOver, next);
        Came::On(match replaced.filter(|_| checkpoint.is_some()) {
            Some((key, _)) => Work::DeletePart(key, Box::new(next)),
            None => next,
        })
    }

    fn complete(&self, state: &mut State, generator: &Generator) -> Came {
        let draft = &generator.draft;
        let Some(key) = draft.upload else { return Came::Stopped(ErrorKind::Transient) };
        let is_as_named = state
            .uploads
            .get(&key)
            .is_some_and(|stored| draft.tags.iter().enumerate().all(|(number, tag)| stored.get(&number) == Some(tag)));
        // The bucket checks each part's tag, and the CRC of the whole.
        if is_as_named && draft.tags == draft.parts {
            state.uploads.remove(&key);
            state.objects.insert(key, draft.parts.clone());
            return Came::On(Work::RecordFile(key, draft.parts.clone()));
        }
        // An earlier try may have completed it: all that is known of the object is its size.
        if state.objects.get(&key).map(Vec::len) == Some(draft.parts.len()) {
            return Came::On(Work::RecordFile(key, draft.parts.clone()));
        }
        Came::On(Work::Abort(Box::new(later(generator, ErrorKind::Transient, state.now))))
    }

    fn sweep_on(&self, state: &mut State, slot: usize, outcome: Outcome) -> Option<()> {
        let mut sweeper = state.sweepers.remove(slot);
        if outcome == Outcome::Died {
            return Some(());
        }
        match sweeper.read.take() {
            Some((read, at)) => {
                self.act(state, sweeper.place, &read, at);
                sweeper.place += 1;
            }
            None => match due(state, sweeper.place) {
                Some(read) => sweeper.read = Some((read, state.now)),
                None => sweeper.place += 1,
            },
        }
        let is_late = |export: &Record| export.status() == Status::Pending && export.deadline <= time(sweeper.began);
        if sweeper.place < state.exports.len() {
            state.sweepers.push(sweeper);
        } else if state.exports.iter().any(is_late) {
            state.swept_at = Some(sweeper.began);
        }
        Some(())
    }

    /// Does what the sweep does about an export that is due.
    fn act(&self, state: &mut State, place: Place, read: &Record, at: Tick) {
        let now = time(at);
        let Some(next_check_at) = read.next_check_at() else { return };
        if read.status() == Status::Ready {
            self.apply(state, place, &lifecycle::expire(now, next_check_at), None);
            return;
        }
        let max = Self::retry().max_attempts;
        let step = if read.deadline <= now && !self.is_broken(Broken::Deadline) {
            let failure = Failure::deadline_passed(read.settings.time_limit);
            lifecycle::fail(read, now, FailedBy::DeadlinePassed, failure)
        } else if read.attempts >= max {
            lifecycle::fail(read, now, FailedBy::AttemptsUsedUp { max }, Failure::attempts_used_up(read.attempts))
        } else {
            if self.apply(state, place, &lifecycle::re_enqueue(read, next_check_at, now.plus(TICK)), None) {
                state.messages.insert(place);
            }
            return;
        };
        self.apply(state, place, &step, None);
    }

    fn resend_on(&self, state: &mut State, slot: usize, outcome: Outcome) -> Option<()> {
        let mut resend = state.resends.remove(slot);
        let file = resend.own.file().cloned()?;
        if outcome == Outcome::Died {
            return Some(());
        }
        let (place, end) = (resend.place, file.link_expiry(time(resend.at), resend.own.settings.link_lifetime));
        match resend.next {
            Again::Count => {
                let Ok(step) = lifecycle::count_resend(&resend.own, time(resend.at), u32::MAX) else { return Some(()) };
                if !self.apply(state, place, &step, None) {
                    return Some(());
                }
                resend.next = Again::Mail;
            }
            Again::Mail => {
                state.mails.insert(Mailed { place, key: file.key, end: end.seconds(), again: true });
                resend.next = Again::Record;
            }
            Again::Record => {
                self.apply(state, place, &lifecycle::resent(time(state.now), recipients_again(), end), None);
                return Some(());
            }
        }
        state.resends.push(resend);
        Some(())
    }

    fn end(&self, state: &mut State, place: Place) -> Option<()> {
        let read = state.exports.get(place).filter(|read| read.status() == Status::Pending)?;
        let failure = Failure::failed_by_administrator(None);
        let step = lifecycle::fail(read, time(state.now), FailedBy::Administrator, failure);
        state.endings -= 1;
        self.apply(state, place, &step, None);
        Some(())
    }

    fn cancel(&self, state: &mut State, place: Place) -> Option<()> {
        let mut read = Export::clone(state.exports.get(place)?);
        if self.is_broken(Broken::CancelFileGuard) {
            // As if it was read before the file was recorded: only the guard is left.
            if let export::State::Pending(pending) = &mut read.state {
                pending.file = None;
            }
        }
        let failure = Failure::cancelled(operator("acme").user);
        let step = lifecycle::cancel(&read, time(state.now), failure).ok()?;
        state.cancellations -= 1;
        self.apply(state, place, &step, None);
        Some(())
    }
}

impl Draft {
    fn checkpoint(&self, is_whole: bool) -> Checkpoint {
        let unfinished = self.stored_part.zip(self.half.map(|(hashed, _)| hashed));
        Checkpoint { key: self.upload, parts: self.parts.clone(), unfinished, is_whole }
    }

    /// The next part, as it is hashed and as it is, if the rest of it is read with this fencing token.
    fn next_part(&self, fencing_token: u64) -> (u64, u64) {
        let (hashed, is) = self.half.unwrap_or_default();
        (10 * hashed + fencing_token, 10 * is + fencing_token)
    }
}

/// A lease that ends a tick after the invocation began.
fn lease(now: Tick) -> Lease {
    Lease { owner: "invocation".to_owned(), until: time(now + 1) }
}

/// Where the work stops after an error of this kind: another try, unless there is none.
fn later(generator: &Generator, kind: ErrorKind, now: Tick) -> Work {
    match Protocol::retry().wait_after_error(&generator.own, time(now), kind) {
        Some(_) => Work::GiveUp(kind),
        None => Work::Fail(Reason::RetryPolicy),
    }
}

/// Goes on to `then`, after the upload was thrown away if it was being written and no checkpoint is known to name it.
fn abandon(generator: &Generator, stopped: &Work, then: Work) -> Work {
    let is_writing = matches!(
        stopped,
        Work::Begin
            | Work::Write
            | Work::Checkpoint
            | Work::StorePart
            | Work::HandOver
            | Work::CheckpointWhole
            | Work::Complete
    );
    if is_writing && generator.draft.upload.is_some() && generator.draft.checkpointed == 0 {
        Work::Abort(Box::new(then))
    } else {
        then
    }
}

/// The record of an export that a sweep finds due.
fn due(state: &State, place: Place) -> Option<Record> {
    let record = state.exports.get(place)?;
    let is_due = record.next_check_at().is_some_and(|next_check_at| next_check_at <= time(state.now));
    (is_due && matches!(record.status(), Status::Pending | Status::Ready)).then(|| record.clone())
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            invalid_rows: self.invalid_rows,
            exports: Vec::new(),
            lock: None,
            checkpoints: [].into(),
            messages: [].into(),
            uploads: [].into(),
            unfinished: [].into(),
            objects: [].into(),
            mails: [].into(),
            told: [].into(),
            swept_at: None,
            requests: self.requests,
            generators: Vec::new(),
            sweepers: Vec::new(),
            resends: Vec::new(),
            resend_requests: self.resend_requests,
            endings: self.endings,
            cancellations: self.cancellations,
            unfinished_parts: self.unfinished_parts,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let has_invalid_rows = state.invalid_rows > 0;
        if state.now < self.last_tick {
            actions.push(Action::Tick);
        }
        if state.requests > 0 {
            actions.push(Action::Request);
        }
        for place in &state.messages {
            actions.extend([true, false].map(|stays| Action::Deliver { place: *place, stays }));
            if has_invalid_rows {
                actions.push(Action::Lose(*place));
            }
        }
        for (slot, generator) in state.generators.iter().enumerate() {
            actions.push(Action::Generate(slot, Outcome::Answered));
            if has_invalid_rows {
                let invalid_rows = [Outcome::NoEffect, Outcome::NoAnswer, Outcome::Died];
                actions.extend(invalid_rows.map(|outcome| Action::Generate(slot, outcome)));
            }
            if generator.next == Work::Mail && has_invalid_rows {
                actions.push(Action::Generate(slot, Outcome::Rejected));
            }
            // Whose table denies can record nothing, not even that.
            if matches!(generator.next, Work::Put | Work::Write | Work::Mail) && has_invalid_rows {
                actions.push(Action::Generate(slot, Outcome::Denied));
            }
            if matches!(generator.next, Work::Put | Work::Begin | Work::Write) && state.unfinished_parts > 0 {
                actions.push(Action::OutOfTimeBetweenParts(slot));
            }
            if generator.next == Work::Write {
                actions.push(Action::OutOfTime(slot));
                if generator.draft.parts.len() > generator.draft.checkpointed {
                    actions.push(Action::Checkpoint(slot));
                }
            }
        }
        // A sweep that finds nothing due does nothing.
        let is_due = |place| due(state, place).is_some();
        if state.sweepers.len() < self.sweepers && (0..state.exports.len()).any(is_due) {
            actions.push(Action::Sweep);
        }
        for slot in 0..state.sweepers.len() {
            actions.push(Action::SweepOn(slot, Outcome::Answered));
            if has_invalid_rows {
                actions.push(Action::SweepOn(slot, Outcome::Died));
            }
        }
        if state.resend_requests > 0 && state.resends.len() < self.resends {
            actions.extend((0..state.exports.len()).map(Action::Resend));
        }
        for slot in 0..state.resends.len() {
            actions.push(Action::ResendOn(slot, Outcome::Answered));
            if has_invalid_rows {
                actions.push(Action::ResendOn(slot, Outcome::Died));
            }
        }
        if state.endings > 0 {
            actions.extend((0..state.exports.len()).map(Action::End));
        }
        if state.cancellations > 0 {
            actions.extend((0..state.exports.len()).map(Action::Cancel));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let is_failure = match action {
            Action::Lose(_) => true,
            Action::Generate(_, outcome) | Action::SweepOn(_, outcome) | Action::ResendOn(_, outcome) => {
                outcome != Outcome::Answered
            }
            _ => false,
        };
        if is_failure {
            state.invalid_rows -= 1;
        }
        match action {
            Action::Tick => state.now += 1,
            Action::Request => self.request(&mut state),
            Action::Deliver { place, stays } => self.deliver(&mut state, place, stays)?,
            Action::Lose(place) => drop(state.messages.remove(&place)),
            Action::Generate(slot, outcome) => self.generate(&mut state, slot, outcome)?,
            Action::Checkpoint(slot) => state.generators.get_mut(slot)?.next = Work::Checkpoint,
            Action::OutOfTime(slot) => state.generators.get_mut(slot)?.next = Work::HandOver,
            Action::OutOfTimeBetweenParts(slot) => {
                state.unfinished_parts -= 1;
                state.generators.get_mut(slot)?.next = Work::StorePart;
            }
            Action::Sweep => {
                state.sweepers.push(Sweeper { began: state.now, place: 0, read: None });
            }
            Action::SweepOn(slot, outcome) => self.sweep_on(&mut state, slot, outcome)?,
            Action::Resend(place) => {
                let (own, now) = (state.exports.get(place)?.clone(), time(state.now));
                lifecycle::count_resend(&own, now, u32::MAX).ok()?;
                own.file().filter(|file| file.link_expiry(now, own.settings.link_lifetime) > now)?;
                state.resend_requests -= 1;
                state.resends.push(Resend { place, own, at: state.now, next: Again::Count });
            }
            Action::ResendOn(slot, outcome) => self.resend_on(&mut state, slot, outcome)?,
            Action::End(place) => self.end(&mut state, place)?,
            Action::Cancel(place) => self.cancel(&mut state, place)?,
        }
        state.forget();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn has(state: &State, status: Status) -> bool {
            state.exports.iter().any(|export| export.status() == status)
        }
        vec![
            Property::always(Self::HOLD, |model, state| check(model, state).is_empty()),
            Property::sometimes("an export is READY", |_, state: &State| has(state, Status::Ready)),
            Property::sometimes("an export is FAILED", |_, state: &State| has(state, Status::Failed)),
            Property::sometimes("an export is EXPIRED", |_, state: &State| has(state, Status::Expired)),
        ]
    }
}

/// The progress after so many parts, of a row each.
const fn progress(parts: usize) -> Progress {
    Progress { rows_read: parts as u64, rows_written: parts as u64 }
}
