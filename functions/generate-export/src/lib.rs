//! Writes the CSV of an accepted export and mails its link.
//!
//! A message of the jobs queue is only a doorbell: it names an export, and all else is on the record. So a message that
//! comes twice, late or out of order does no harm: the work is taken by the record's lease, and a finished export is
//! left alone.
//!
//! | module | |
//! |---|---|
//! | this one | the queue's batch: which messages are done |
//! | [`job`] | one export, from its lease to its end |
//! | [`write_file`], [`tally`] | the payouts as a file, and what is counted of it |
//! | [`read_ahead`], [`positions`] | the payouts, read in ranges at once and given in order |

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use domain::ports::{
    ApplyStep, Checkpoints, Clock, Doorbell, FindExport, NotRead, ReadPayouts, SendMail, SignLink, StoreFile,
};
use domain::time::Timestamp;
use lambda_runtime::LambdaEvent;
use telemetry::Chain;
use tracing::{Instrument, error};

pub mod job;
pub mod positions;
pub mod read_ahead;
pub mod tally;
pub mod write_file;

pub use job::Generator;

/// The invocation that works: its request id and when Lambda ends it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's id of the request.
    pub request_id: String,
    /// When Lambda ends it.
    pub ends_at: Timestamp,
}

/// Works on the export of each message. Those that are not done are left to the queue, which delivers them again and
/// in the end puts them aside.
pub async fn handle<S, B, P, F, L, M, C>(
    generator: &Generator<S, B, P, F, L, M, C>,
    event: LambdaEvent<SqsEvent>,
) -> SqsBatchResponse
where
    S: FindExport + ApplyStep + Checkpoints,
    B: Doorbell,
    P: ReadPayouts,
    F: StoreFile,
    L: SignLink,
    M: SendMail,
    C: Clock,
{
    let ends_at = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    let invocation = Invocation { request_id: event.context.request_id, ends_at };
    let mut response = SqsBatchResponse::default();
    for message in event.payload.records {
        let id = message.message_id.unwrap_or_default();
        let body = message.body.unwrap_or_default();
        let done = async {
            let done = work(generator, &invocation, &body).await;
            if let Err(not_done) = &done {
                error!(error = %Chain(not_done), "message not done");
            }
            done
        };
        if done.instrument(telemetry::request(&id)).await.is_err() {
            response.add_failure(id);
        }
    }
    response
}

/// Why a message is not done.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error(transparent)]
    Poison(#[from] aws::queue::NotAJob),
    #[error(transparent)]
    NotRead(#[from] NotRead),
}

async fn work<S, B, P, F, L, M, C>(
    generator: &Generator<S, B, P, F, L, M, C>,
    invocation: &Invocation,
    body: &str,
) -> Result<(), NotDone>
where
    S: FindExport + ApplyStep + Checkpoints,
    B: Doorbell,
    P: ReadPayouts,
    F: StoreFile,
    L: SignLink,
    M: SendMail,
    C: Clock,
{
    let (tenant, id) = aws::queue::parse_job(body)?;
    telemetry::note_tenant(&tenant);
    telemetry::note_export(&id);
    // Boxed: the whole work as one future is deeper than the compiler's limit for layouts.
    Ok(Box::pin(generator.run(&tenant, &id, invocation)).await?)
}

#[cfg(test)]
mod tests;
