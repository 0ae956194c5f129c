//! Writes the file of an accepted export and mails its link.
//!
//! A message of the jobs queue only names an export; everything else is on the record. So a message that is delivered
//! twice, late or out of order does no harm: the lease on the record decides who works, and a finished export is left
//! alone.
//!
//! | module | |
//! |---|---|
//! | this one | the queue's batch: which messages are done |
//! | [`job`], [`stopped`] | one export, from its lease to its end; why it stopped before |
//! | [`reader`], `plan`, [`positions`], [`pace`] | the rows, read in parallel key ranges at a limited rate and returned in order |
//! | [`file_writer`], `part_uploads`, `upload_state`, `resume`, `checkpointing`, `unfinished_file` | the file, its parts and its checkpoints |
//! | `workbook`, `xlsx_file` | the file as a workbook, which has no checkpoints |
//! | [`statistics`], [`limits`] | counts and checksums; sizes and times |

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use exports_aws::queue::Job;
use exports_domain::ports::{ExportStore, ReadError};
use exports_domain::time::Timestamp;
use exports_telemetry::{Chain, Metric};
use lambda_runtime::LambdaEvent;
use tracing::{Instrument, error};

mod checkpointing;
pub mod file_writer;
pub mod job;
pub mod limits;
pub mod pace;
mod part_uploads;
mod plan;
pub mod positions;
pub mod reader;
mod resume;
pub mod statistics;
pub mod stopped;
mod unfinished_file;
mod upload_state;
mod workbook;
mod xlsx_file;

pub use job::Generator;

/// The current invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// When Lambda ends it.
    pub ends_at: Timestamp,
}

/// Works on the export of each message. Returns the messages that failed; the queue delivers them again, and in the end
/// moves them to the dead-letter queue.
pub async fn handle<S: ExportStore>(generator: &Generator<'_, S>, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
    let ends_at = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    let invocation = Invocation { request_id: event.context.request_id, ends_at };
    let mut response = SqsBatchResponse::default();
    for message in event.payload.records {
        let id = message.message_id.unwrap_or_default();
        let body = message.body.unwrap_or_default();
        let work = async {
            let done = work(generator, &invocation, &body).await;
            if let Err(error) = &done {
                error!(error = %Chain(error), "message failed");
                exports_telemetry::emit(Metric::MessageFailed);
            }
            done
        };
        if work.instrument(exports_telemetry::request(&id)).await.is_err() {
            response.add_failure(id);
        }
    }
    response
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    InvalidMessage(#[from] exports_aws::queue::JobMessageError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

async fn work<S: ExportStore>(
    generator: &Generator<'_, S>,
    invocation: &Invocation,
    body: &str,
) -> Result<(), JobError> {
    let Job { tenant, export: id, launch_request_id } = exports_aws::queue::parse_job(body)?;
    exports_telemetry::record_tenant(&tenant);
    exports_telemetry::record_export(&id);
    exports_telemetry::record_launch(launch_request_id.as_deref());
    // Boxed, because the future as a whole exceeds the compiler's limit for layouts.
    Ok(Box::pin(generator.run(&tenant, &id, invocation)).await?)
}

#[cfg(test)]
mod tests;
