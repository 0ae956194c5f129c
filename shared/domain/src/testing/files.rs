//! The bucket.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use crc_fast::checksum;

use super::{FailureInjector, first_owned, lock, new_file};
use crate::error::DependencyError;
use crate::file::NewFile;
use crate::options::FileFormat;
use crate::ports::{CompleteError, FileStore, Part, Upload};
use crate::time::Timestamp;

/// A file in a [`MemoryFiles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The file name of a download.
    pub download_name: String,
    /// The format, which determines the media type.
    pub format: FileFormat,
    /// The contents.
    pub bytes: Vec<u8>,
    /// The sizes of its parts; one for a file that was not uploaded in parts.
    pub parts: Vec<usize>,
}

/// The bucket with the files. Links show their validity: `https://files.example/<key>?from=<now>&until=<expiry>`.
#[derive(Debug, Default)]
pub struct MemoryFiles {
    files: Mutex<BTreeMap<String, StoredFile>>,
    unfinished: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<BTreeMap<String, MemoryUpload>>,
    started: AtomicU64,
    min_part_size: usize,
    hanging: Mutex<Option<&'static str>>,
    limits: Mutex<Vec<Duration>>,
    lookups: AtomicU64,
    /// Makes calls of the generator fail.
    pub failures: FailureInjector,
    /// Makes writes of the file take effect, and their responses be lost.
    pub lost_responses: FailureInjector,
    /// Makes signing fail.
    pub link_failures: FailureInjector,
    /// Makes reading an unfinished part fail.
    pub unfinished_failures: FailureInjector,
    /// Makes lookups of linked files fail.
    pub lookup_failures: FailureInjector,
}

#[derive(Debug)]
struct MemoryUpload {
    file: NewFile,
    parts: BTreeMap<u32, Vec<u8>>,
}

impl MemoryFiles {
    /// A bucket in which all parts but the last must have at least `min_part_size` bytes (5 MiB in S3).
    #[must_use]
    pub fn with_min_part_size(min_part_size: usize) -> Self {
        Self { min_part_size, ..Self::default() }
    }

    /// A bucket with the file of [`export`](super::export) and that of its invalid rows.
    #[must_use]
    pub fn with_samples() -> Self {
        let files = Self::default();
        for NewFile { key, name, format } in [new_file(), NewFile::invalid_rows(&first_owned())] {
            let sample = StoredFile { download_name: name, format, bytes: Vec::new(), parts: vec![0] };
            files.put(&key, sample);
        }
        files
    }

    /// The CRC64NVME of the parts of an upload as they are now.
    pub fn checksum_of_parts(&self, upload: &Upload) -> Option<u64> {
        let bytes = lock(&self.uploads).get(&upload.id)?.parts.values().flatten().copied().collect::<Vec<_>>();
        Some(checksum(Crc64Nvme, &bytes))
    }

    /// All complete files, by key.
    pub fn files(&self) -> BTreeMap<String, StoredFile> {
        lock(&self.files).clone()
    }

    /// The complete file with this key.
    pub fn file(&self, key: &str) -> Option<StoredFile> {
        lock(&self.files).get(key).cloned()
    }

    /// Stores a complete file, or replaces it.
    pub fn put(&self, key: &str, file: StoredFile) {
        lock(&self.files).insert(key.to_owned(), file);
    }

    /// All objects of unfinished files, by key.
    pub fn unfinished(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.unfinished).clone()
    }

    /// Replaces the contents of all objects of unfinished files.
    pub fn replace_unfinished(&self, bytes: &[u8]) {
        lock(&self.unfinished).values_mut().for_each(|object| *object = bytes.to_vec());
    }

    /// All further calls with this action hang.
    pub fn hang(&self, action: &'static str) {
        *lock(&self.hanging) = Some(action);
    }

    async fn check(&self, action: &'static str) -> Result<(), DependencyError> {
        self.failures.check(action)?;
        self.hang_if_told(action).await;
        Ok(())
    }

    async fn hang_if_told(&self, action: &'static str) {
        let hangs = *lock(&self.hanging) == Some(action);
        if hangs {
            pending::<()>().await;
        }
    }

    /// Deletes all objects of unfinished files, as the lifecycle rule of the bucket does.
    pub fn forget_unfinished(&self) {
        lock(&self.unfinished).clear();
    }

    /// Deletes a complete file.
    pub fn delete(&self, key: &str) {
        lock(&self.files).remove(key);
    }

    /// The number of lookups of linked files.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }

    /// The object keys of the uploads that are neither completed nor aborted.
    pub fn upload_keys(&self) -> Vec<String> {
        lock(&self.uploads).values().map(|upload| upload.file.key.clone()).collect()
    }

    /// The number of uploads that are neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> usize {
        lock(&self.uploads).len()
    }

    /// The time limit of each call that completes an upload, oldest first.
    pub fn completion_limits(&self) -> Vec<Duration> {
        lock(&self.limits).clone()
    }

    /// Changes a part of every unfinished upload, as a late write of a stalled owner would.
    pub fn change_part(&self, number: u32, change: impl Fn(&mut Vec<u8>)) {
        lock(&self.uploads).values_mut().filter_map(|upload| upload.parts.get_mut(&number)).for_each(change);
    }

    /// Deletes all unfinished uploads, as the lifecycle rule of the bucket does.
    pub fn forget_uploads(&self) {
        lock(&self.uploads).clear();
    }
}

/// A part whose receipt depends on its bytes only.
fn part(number: u32, bytes: &[u8]) -> Part {
    Part { number, receipt: format!("{:016x}", checksum(Crc64Nvme, bytes)), bytes: bytes.len() as u64 }
}

impl MemoryUpload {
    /// The contents of a file of these parts, or S3's error code.
    fn content(&self, listed: &[Part], min_part_size: usize) -> Result<Vec<u8>, &'static str> {
        if !listed.is_sorted_by(|a, b| a.number < b.number) {
            return Err("InvalidPartOrder");
        }
        let mut content = Vec::new();
        for (index, wanted) in listed.iter().enumerate() {
            let stored = self.parts.get(&wanted.number).filter(|stored| part(wanted.number, stored) == *wanted);
            let stored = stored.ok_or("InvalidPart")?;
            if stored.len() < min_part_size && index + 1 < listed.len() {
                return Err("EntityTooSmall");
            }
            content.extend_from_slice(stored);
        }
        Ok(content)
    }
}

#[async_trait]
impl FileStore for MemoryFiles {
    async fn put_file(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.failures.check("write the file")?;
        let parts = vec![bytes.len()];
        let stored = StoredFile { download_name: file.name.clone(), format: file.format, bytes, parts };
        lock(&self.files).insert(file.key.clone(), stored);
        self.lost_responses.check("write the file")
    }

    async fn start_upload(&self, file: &NewFile) -> Result<Upload, DependencyError> {
        self.failures.check("start the upload")?;
        let id = format!("upload-{}", self.started.fetch_add(1, Ordering::SeqCst) + 1);
        let upload = MemoryUpload { file: file.clone(), parts: BTreeMap::new() };
        lock(&self.uploads).insert(id.clone(), upload);
        Ok(Upload { key: file.key.clone(), id })
    }

    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError> {
        self.failures.check("write a part of the file")?;
        if !(1..=10_000).contains(&number) {
            return Err(DependencyError::permanent("write a part of the file", "InvalidArgument"));
        }
        let mut uploads = lock(&self.uploads);
        let Some(upload) = uploads.get_mut(&upload.id) else {
            return Err(DependencyError::transient("write a part of the file", "NoSuchUpload"));
        };
        let written = part(number, &bytes);
        upload.parts.insert(number, bytes);
        Ok(written)
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError> {
        self.failures.check("list the parts of the file")?;
        let uploads = lock(&self.uploads);
        let parts = |upload: &MemoryUpload| upload.parts.iter().map(|(number, bytes)| part(*number, bytes)).collect();
        Ok(uploads.get(&upload.id).map(parts))
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        crc64: u64,
        within: Duration,
    ) -> Result<(), CompleteError> {
        lock(&self.limits).push(within);
        self.failures.check("complete the file")?;
        if parts.is_empty() {
            return Err(DependencyError::permanent("complete the file", "MalformedXML").into());
        }
        let lost = |code: &str| CompleteError::UploadLost(code.to_owned());
        let mut uploads = lock(&self.uploads);
        let known = uploads.get(&upload.id).ok_or_else(|| lost("NoSuchUpload"))?;
        let content = known.content(parts, self.min_part_size).map_err(lost)?;
        if content.len() as u64 != bytes {
            return Err(lost("InvalidRequest"));
        }
        if checksum(Crc64Nvme, &content) != crc64 {
            return Err(lost("BadDigest"));
        }
        let sizes = parts.iter().map(|part| usize::try_from(part.bytes).unwrap_or(usize::MAX)).collect();
        let NewFile { key, name, format } = known.file.clone();
        lock(&self.files).insert(key, StoredFile { download_name: name, format, bytes: content, parts: sizes });
        uploads.remove(&upload.id);
        self.lost_responses.check("complete the file")?;
        Ok(())
    }

    async fn put_unfinished(&self, key: &str, bytes: Vec<u8>) -> Result<(), DependencyError> {
        let action = "write the unfinished part";
        self.failures.check(action)?;
        lock(&self.unfinished).insert(key.to_owned(), bytes);
        // The response is lost.
        self.hang_if_told(action).await;
        Ok(())
    }

    async fn get_unfinished(&self, key: &str) -> Result<Option<Vec<u8>>, DependencyError> {
        self.failures.check("read the unfinished part")?;
        self.unfinished_failures.check("read the unfinished part")?;
        Ok(lock(&self.unfinished).get(key).cloned())
    }

    async fn delete_unfinished(&self, key: &str) -> Result<(), DependencyError> {
        self.check("delete the unfinished part").await?;
        lock(&self.unfinished).remove(key);
        Ok(())
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError> {
        self.failures.check("abort the file")?;
        lock(&self.uploads).remove(&upload.id);
        Ok(())
    }

    async fn delete_file(&self, key: &str) -> Result<(), DependencyError> {
        self.failures.check("delete the file")?;
        lock(&self.files).remove(key);
        Ok(())
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError> {
        self.failures.check("look for the file")?;
        Ok(lock(&self.files).get(key).map(|file| file.bytes.len() as u64))
    }

    async fn file_exists(&self, key: &str) -> Result<bool, DependencyError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.lookup_failures.check("look for the file")?;
        Ok(lock(&self.files).contains_key(key))
    }

    async fn sign_link(&self, key: &str, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError> {
        self.link_failures.check("sign the link")?;
        Ok(format!("https://files.example/{key}?from={now}&until={expiry}"))
    }
}
