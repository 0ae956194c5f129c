//! The objects in the bucket that belong to an unfinished file.

use crate::checkpoint::Checkpoint;
use crate::error::DependencyError;
use crate::ports::{FileStore, Upload};

/// The upload and the object of an unfinished file, as far as it has them.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedFile {
    /// The upload with its parts.
    pub upload: Option<Upload>,
    /// The object key of the unfinished part.
    pub part_key: Option<String>,
}

impl UnfinishedFile {
    /// The objects that `checkpoint` names.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let part_key = checkpoint.unfinished.as_ref().map(|part| part.key.clone());
        Self { upload: checkpoint.upload.clone(), part_key }
    }

    /// Deletes it as far as possible. Returns the errors with the objects' keys, to be logged: the bucket's lifecycle
    /// rules delete the rest some days later.
    ///
    /// Generic, because a function links all calls of a `dyn FileStore`.
    #[must_use]
    pub async fn delete<F: FileStore + ?Sized>(&self, files: &F) -> Vec<(&str, DependencyError)> {
        let mut errors = Vec::new();
        if let Some(upload) = &self.upload {
            errors.extend(files.abort_upload(upload).await.err().map(|error| (&*upload.key, error)));
        }
        if let Some(key) = &self.part_key {
            errors.extend(files.delete_unfinished(key).await.err().map(|error| (&**key, error)));
        }
        errors
    }
}
