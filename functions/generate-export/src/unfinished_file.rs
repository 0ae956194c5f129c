//! Deletes unfinished files, and logs errors.

use exports_domain::ports::FileStore;
use exports_domain::unfinished_file::UnfinishedFile;
use exports_telemetry::Chain;
use tracing::warn;

pub(crate) async fn discard(unfinished: &UnfinishedFile, files: &dyn FileStore) {
    for (key, error) in unfinished.delete(files).await {
        warn!(key, error = %Chain(&error), "the unfinished file was not deleted");
    }
}
