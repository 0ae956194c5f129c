//! What an unfinished file has in the bucket.

use exports_domain::checkpoint::Checkpoint;
use exports_domain::ports::{FileStore, Upload};
use exports_telemetry::Chain;
use tracing::warn;

/// What an unfinished file has in the bucket.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedFile {
    /// The upload.
    pub upload: Option<Upload>,
    /// The object key of the unfinished part.
    pub part_key: Option<String>,
}

impl UnfinishedFile {
    /// What `checkpoint` names.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let part_key = checkpoint.unfinished.as_ref().map(|part| part.key.clone());
        Self { upload: checkpoint.upload.clone(), part_key }
    }

    /// Deletes it. If this fails, the bucket's lifecycle rules delete it some days later.
    pub(crate) async fn discard(&self, files: &dyn FileStore) {
        if let Some(upload) = &self.upload
            && let Err(error) = files.abort_upload(upload).await
        {
            warn!(error = %Chain(&error), "the upload was not aborted");
        }
        if let Some(key) = &self.part_key
            && let Err(error) = files.delete_unfinished(key).await
        {
            warn!(error = %Chain(&error), "the unfinished part was not deleted");
        }
    }
}
