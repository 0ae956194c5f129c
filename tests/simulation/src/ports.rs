//! The ports: every call is carried out by the domain's in-memory fakes, when the scheduler says so.

use std::time::Duration;

use async_trait::async_trait;
use exports_domain::caller::{ApiKeyRecord, KeyHash};
use exports_domain::checkpoint::Checkpoint;
use exports_domain::error::DependencyError;
use exports_domain::export::{Export, Status};
use exports_domain::export_type::ExportType;
use exports_domain::file::NewFile;
use exports_domain::history::{HistoryFilter, HistoryPage};
use exports_domain::id::{ExportId, TenantId};
use exports_domain::idempotency::Idempotency;
use exports_domain::lifecycle::Step;
use exports_domain::mail::Mail;
use exports_domain::ports::{
    AcceptError, ApiKeyStore, ApplyError, CheckPage, CompleteError, ExportStore, FileStore, JobQueue, KeyRange,
    MailSender, Part, ReadError, RowPage, RowSource, SendError, System, TriedStep, Upload,
};
use exports_domain::row_selection::RowSelection;
use exports_domain::testing::{CheckCursor, MemoryStore, block_on};
use exports_domain::time::Timestamp;

use crate::broken::Broken;
use crate::call::{Call, call};
use crate::judge;
use crate::rows::index_of;
use crate::world::{Event, Message, TENANTS, World, with};
use exports_domain::lifecycle::transition::Transition;

/// All ports, of the world of this thread and the process that is running.
#[derive(Debug)]
pub(crate) struct Ports;

pub(crate) static PORTS: Ports = Ports;

impl System for Ports {
    fn now(&self) -> Timestamp {
        with(|world| world.own_time())
    }

    fn new_export_id(&self, export_type: ExportType, at: Timestamp) -> Result<ExportId, DependencyError> {
        with(|world| {
            world.ids += 1;
            let mut random = [0; 10];
            random[2..].copy_from_slice(&world.ids.to_be_bytes());
            let id = ExportId::new(export_type, at, &random);
            world.operations.name(world.processes[world.current].operation, id);
            Ok(id)
        })
    }
}

impl ApiKeyStore for Ports {
    async fn find_api_key(&self, hash: &KeyHash) -> Result<Option<ApiKeyRecord>, DependencyError> {
        let hash = hash.clone();
        call(Call::FindApiKey, move |world| {
            let mut found = block_on(world.store.find_api_key(&hash))?;
            if let Some(record) = found.as_mut().filter(|_| world.is_broken(Broken::KeyExpiry)) {
                record.expires_at = None;
            }
            Ok(found)
        })
        .await
    }

    async fn store_api_key(&self, record: &ApiKeyRecord) -> Result<(), DependencyError> {
        let record = record.clone();
        call(Call::StoreApiKey, move |world| block_on(world.store.store_api_key(&record))).await
    }

    async fn record_api_key_use(&self, hash: &KeyHash, day: Timestamp) -> Result<(), DependencyError> {
        let hash = hash.clone();
        call(Call::RecordApiKeyUse, move |world| {
            if world.is_broken(Broken::KeyUse) {
                return Ok(());
            }
            block_on(world.store.record_api_key_use(&hash, day))
        })
        .await
    }

    async fn list_api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, DependencyError> {
        let tenant = tenant.clone();
        call(Call::ListApiKeys, move |world| {
            let mut keys = block_on(world.store.list_api_keys(&tenant))?;
            if world.is_stale() {
                keys.pop();
            }
            Ok(keys)
        })
        .await
    }

    async fn revoke_api_key(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, DependencyError> {
        let hash = hash.clone();
        call(Call::RevokeApiKey, move |world| {
            if world.is_broken(Broken::KeyRevocation) {
                return block_on(world.store.find_api_key(&hash));
            }
            block_on(world.store.revoke_api_key(&hash, now))
        })
        .await
    }
}

/// Applies a step, with a checkpoint if there is one.
fn apply(
    world: &mut World,
    (tenant, id): (&TenantId, &ExportId),
    step: &Step,
    checkpoint: Option<&Checkpoint>,
) -> Result<(), ApplyError> {
    if Transition::of(step) == Transition::FailAtDeadline && world.is_broken(Broken::Deadline) {
        return Ok(());
    }
    let checkpoint_before = world.store.checkpoint(tenant, id);
    let applied = write(world, (tenant, id), step, |store, step| match checkpoint {
        Some(checkpoint) => block_on(store.apply_with_checkpoint(tenant, id, step, checkpoint)),
        None => block_on(store.apply_step(tenant, id, step)),
    });
    if let Some(checkpoint) = checkpoint {
        if applied.is_ok() {
            world.unknown_checkpoints.remove(id);
        } else if world.is_broken(Broken::CheckpointTransaction) {
            world.store.put_checkpoint(tenant, id, checkpoint.clone());
        }
    }
    if applied.is_ok() && step.leaves_pending() {
        if world.is_broken(Broken::LockRelease) {
            world.store.put_lock(tenant, *id);
        }
        if let Some(checkpoint) = checkpoint_before.filter(|_| world.is_broken(Broken::CheckpointDeletion)) {
            world.store.put_checkpoint(tenant, id, checkpoint);
        }
    }
    applied
}

/// Writes what a step changes, and has it judged.
fn write<T>(
    world: &mut World,
    (tenant, id): (&TenantId, &ExportId),
    original: &Step,
    write: impl FnOnce(&MemoryStore, &Step) -> T,
) -> T {
    let (transition, mut step, process) = (Transition::of(original), original.clone(), world.current);
    (world.processes[process].export, world.processes[process].subject) = (Some(*id), Some(*id));
    if let Some(broken) = world.broken {
        broken.weaken(&mut step);
    }
    let before = world.store.export(tenant, id);
    let is_applied = before.as_ref().is_some_and(|before| step.guards.iter().all(|guard| guard.holds(before)));
    let written = write(&world.store, &step);
    if world.trace.lines.is_some() {
        let outcome = if is_applied { "applied" } else { "not applied" };
        let fencing_token = before.as_ref().map_or(0, |export| export.fencing_token);
        world.note(process, format_args!("  {transition:?} of {id} (fencing token {fencing_token}): {outcome}"));
    }
    match before {
        Some(before) if is_applied => {
            judge::applied(world, transition, original, &before);
            world.earlier.insert(*id, Some(before));
        }
        _ => world.judge.on_conflict(*id, transition),
    }
    written
}

/// The store with the earlier version of each record that was written.
fn earlier_store(world: &World) -> MemoryStore {
    let earlier = MemoryStore::default();
    for export in world.store.exports() {
        match world.earlier.get(&export.id) {
            Some(None) => {}
            Some(Some(before)) => earlier.put_export(before.clone()),
            None => earlier.put_export(export),
        }
    }
    earlier
}

impl ExportStore for Ports {
    type CheckCursor = CheckCursor;

    async fn accept_export(&self, export: &Export, idempotency: Option<&Idempotency>) -> Result<(), AcceptError> {
        let (export, idempotency) = (export.clone(), idempotency.cloned());
        call(Call::Accept, move |world| {
            let mut idempotency = idempotency.clone().filter(|_| !world.is_broken(Broken::IdempotencyRecord));
            if let Some(sent) = idempotency.as_mut().filter(|_| world.is_broken(Broken::IdempotencyFingerprint)) {
                sent.fingerprint = String::new();
            }
            if let Some(sent) = idempotency.as_ref().filter(|_| world.is_broken(Broken::IdempotencyWindow))
                && let Some((known, id)) = world.store.idempotency(&export.tenant, export.id.export_type(), &sent.key)
                && known.fingerprint == sent.fingerprint
            {
                return Err(AcceptError::AlreadyAccepted(id));
            }
            if world.is_broken(Broken::LockCheck) {
                world.store.remove_lock(&export.tenant, export.id.export_type());
            }
            let accepted = block_on(world.store.accept_export(&export, idempotency.as_ref()));
            if accepted.is_ok() {
                if world.is_broken(Broken::AcceptTransaction) && world.current_failure.is_some() {
                    world.store.remove_export(&export.tenant, &export.id);
                }
                world.earlier.insert(export.id, None);
                judge::accepted(world, &export);
            }
            accepted
        })
        .await
    }

    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, ReadError> {
        let (tenant, id) = (tenant.clone(), *id);
        call(Call::FindExport, move |world| {
            if world.is_broken(Broken::ConsistentRead) {
                return block_on(earlier_store(world).find_export(&tenant, &id));
            }
            block_on(world.store.find_export(&tenant, &id))
        })
        .await
    }

    async fn list_exports(
        &self,
        tenant: &TenantId,
        filter: &HistoryFilter,
        after: Option<&ExportId>,
        size: usize,
        now: Timestamp,
    ) -> Result<HistoryPage, DependencyError> {
        let (tenant, filter, after) = (tenant.clone(), filter.clone(), after.copied());
        call(Call::ListExports, move |world| {
            if world.is_broken(Broken::ConsistentList) {
                return block_on(earlier_store(world).list_exports(&tenant, &filter, after.as_ref(), size, now));
            }
            let page = block_on(world.store.list_exports(&tenant, &filter, after.as_ref(), size, now))?;
            // A corrupt record is left out.
            if let Some(operation) = world.processes[world.current].operation.filter(|_| !page.corrupt.is_empty()) {
                world.operations.void(operation);
            }
            Ok(page)
        })
        .await
    }

    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), ApplyError> {
        let (tenant, id, step) = (tenant.clone(), *id, step.clone());
        call(Call::Apply(Transition::of(&step)), move |world| apply(world, (&tenant, &id), &step, None)).await
    }

    async fn try_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<TriedStep, ReadError> {
        let (tenant, id, step) = (tenant.clone(), *id, step.clone());
        call(Call::Apply(Transition::of(&step)), move |world| {
            write(world, (&tenant, &id), &step, |store, step| block_on(store.try_step(&tenant, &id, step)))
        })
        .await
    }

    async fn find_checkpoint(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Checkpoint>, DependencyError> {
        let (tenant, id) = (tenant.clone(), *id);
        call(Call::FindCheckpoint, move |world| {
            let found = block_on(world.store.find_checkpoint(&tenant, &id))?;
            Ok(found.filter(|_| !world.unknown_checkpoints.contains(&id)))
        })
        .await
    }

    async fn apply_with_checkpoint(
        &self,
        tenant: &TenantId,
        id: &ExportId,
        step: &Step,
        checkpoint: &Checkpoint,
    ) -> Result<(), ApplyError> {
        let (tenant, id, step, checkpoint) = (tenant.clone(), *id, step.clone(), checkpoint.clone());
        let kind = Call::Apply(Transition::of(&step));
        call(kind, move |world| apply(world, (&tenant, &id), &step, Some(&checkpoint))).await
    }

    fn check_cursors(&self, status: Status) -> Vec<CheckCursor> {
        with(|world| {
            // A read of an empty partition takes time and finds nothing.
            let (mut cursors, exports) = (world.store.check_cursors(status), world.store.exports());
            cursors.retain(|cursor| exports.iter().any(|export| cursor.covers(&export.id)));
            cursors
        })
    }

    async fn scheduled_checks(
        &self,
        cursor: &CheckCursor,
        now: Timestamp,
        limit: u32,
    ) -> Result<CheckPage<CheckCursor>, DependencyError> {
        let cursor = cursor.clone();
        call(Call::ScheduledChecks, move |world| {
            let is_missing = match cursor.status() {
                Status::Pending => world.is_broken(Broken::PendingIndex),
                _ => world.is_broken(Broken::ReadyIndex),
            };
            if is_missing {
                return Ok(CheckPage { checks: Vec::new(), corrupt: 0, next: None });
            }
            if world.is_stale() {
                return block_on(earlier_store(world).scheduled_checks(&cursor, now, limit));
            }
            block_on(world.store.scheduled_checks(&cursor, now, limit))
        })
        .await
    }
}

#[async_trait]
impl JobQueue for Ports {
    async fn enqueue(&self, export: &Export, delay: Duration) -> Result<(), DependencyError> {
        let (tenant, id) = (export.tenant.clone(), export.id);
        call(Call::Enqueue, move |world| {
            let copies =
                if world.has_failures && world.choices.chance(world.config.repeats_in_a_thousand) { 2 } else { 1 };
            for _ in 0..copies {
                let mut after = u64::try_from(delay.as_millis()).unwrap();
                if world.has_failures && world.choices.chance(world.config.repeats_in_a_thousand) {
                    after += world.delay();
                }
                let version = world.choices.pick(&[1, 1, 2]);
                world.messages.push(Message { tenant: tenant.clone(), id, version, receives: 0, is_deleted: false });
                world.schedule(after + 20, Event::Deliver(world.messages.len() - 1));
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl RowSource for Ports {
    async fn read_page(
        &self,
        selection: &RowSelection,
        tenant: &TenantId,
        range: &KeyRange,
    ) -> Result<RowPage, DependencyError> {
        let (selection, tenant, mut range) = (selection.clone(), tenant.clone(), range.clone());
        call(Call::ReadRows, move |world| {
            judge::reads_rows(world);
            if world.is_broken(Broken::RangeEnd) {
                range.up_to.0 = "9".to_owned();
            }
            if let Some(after) = range.after.as_mut().filter(|_| world.is_broken(Broken::ExclusiveStart)) {
                after.0.pop();
            }
            let tenant = TENANTS.iter().position(|of| *of == tenant.as_str()).unwrap();
            let table = &world.tables[&(tenant, index_of(selection.columns.export_type))];
            let stale = if world.is_broken(Broken::ConsistentRows) { 5000 } else { 0 };
            table.page(&selection, &range, world.config.page_size, world.now.saturating_sub(stale))
        })
        .await
    }
}

#[async_trait]
impl FileStore for Ports {
    async fn put_file(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), DependencyError> {
        let file = file.clone();
        call(Call::PutFile, move |world| {
            block_on(world.files.put_file(&file, bytes.clone()))?;
            judge::object_written(world, &file.key);
            Ok(())
        })
        .await
    }

    async fn start_upload(&self, file: &NewFile) -> Result<Upload, DependencyError> {
        let file = file.clone();
        call(Call::StartUpload, move |world| block_on(world.files.start_upload(&file))).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError> {
        let upload = upload.clone();
        call(Call::UploadPart, move |world| block_on(world.files.upload_part(&upload, number, bytes.clone()))).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError> {
        let upload = upload.clone();
        call(Call::ListParts, move |world| block_on(world.files.list_parts(&upload))).await
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        crc64: u64,
        timeout: Duration,
    ) -> Result<(), CompleteError> {
        let (upload, mut parts, mut bytes, mut crc64) = (upload.clone(), parts.to_vec(), bytes, crc64);
        let complete = call(Call::CompleteUpload, move |world| {
            if world.is_broken(Broken::PartIntegrity)
                && let Some(stored) = block_on(world.files.list_parts(&upload))?
            {
                bytes = stored.iter().map(|part| part.bytes).sum();
                crc64 = world.files.checksum_of_parts(&upload).unwrap_or_default();
                parts = stored;
            }
            match block_on(world.files.complete_upload(&upload, &parts, bytes, crc64, timeout)) {
                Err(CompleteError::UploadLost(_)) if world.is_broken(Broken::LostUpload) => return Ok(()),
                completed => completed?,
            }
            judge::object_written(world, &upload.key);
            Ok(())
        });
        match tokio::time::timeout(timeout, complete).await {
            Ok(completed) => completed,
            Err(late) => Err(DependencyError::transient("complete the upload", late).into()),
        }
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError> {
        let upload = upload.clone();
        call(Call::AbortUpload, move |world| {
            if world.is_broken(Broken::UploadAbort) {
                return Ok(());
            }
            block_on(world.files.abort_upload(&upload))
        })
        .await
    }

    async fn put_unfinished(&self, key: &str, bytes: Vec<u8>) -> Result<(), DependencyError> {
        let key = key.to_owned();
        call(Call::PutUnfinished, move |world| block_on(world.files.put_unfinished(&key, bytes.clone()))).await
    }

    async fn get_unfinished(&self, key: &str) -> Result<Option<Vec<u8>>, DependencyError> {
        let key = key.to_owned();
        call(Call::GetUnfinished, move |world| block_on(world.files.get_unfinished(&key))).await
    }

    async fn delete_unfinished(&self, key: &str) -> Result<(), DependencyError> {
        let key = key.to_owned();
        call(Call::DeleteUnfinished, move |world| block_on(world.files.delete_unfinished(&key))).await
    }

    async fn delete_file(&self, key: &str) -> Result<(), DependencyError> {
        let key = key.to_owned();
        call(Call::DeleteFile, move |world| {
            block_on(world.files.delete_file(&key))?;
            world.judge.object_deleted(&key);
            Ok(())
        })
        .await
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError> {
        let key = key.to_owned();
        call(Call::FindFile, move |world| block_on(world.files.file_size(&key))).await
    }

    async fn file_exists(&self, key: &str) -> Result<bool, DependencyError> {
        Ok(self.file_size(key).await?.is_some())
    }

    async fn sign_link(&self, key: &str, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError> {
        let key = key.to_owned();
        call(Call::SignLink, move |world| {
            let session = now.plus(Duration::from_secs(300));
            let expiry = if world.is_broken(Broken::LongLivedSigner) { expiry.min(session) } else { expiry };
            block_on(world.files.sign_link(&key, now, expiry))
        })
        .await
    }
}

#[async_trait]
impl MailSender for Ports {
    async fn send_mail(&self, mail: &Mail) -> Result<(), SendError> {
        let mail = mail.clone();
        let sent = call(Call::SendMail, move |world| {
            if world.has_failures && world.choices.chance(world.config.rejections_in_a_thousand) {
                return Err(SendError::Rejected("the address is on the suppression list".to_owned()));
            }
            judge::mail_accepted(world, &mail);
            Ok(())
        });
        match sent.await {
            Err(SendError::Rejected(_)) if with(|world| world.is_broken(Broken::MailRejection)) => Ok(()),
            Err(SendError::Dependency(_)) if with(|world| world.is_broken(Broken::MailResponse)) => Ok(()),
            sent => sent,
        }
    }
}
