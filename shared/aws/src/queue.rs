//! The jobs queue, which triggers the generator.

use async_trait::async_trait;
use std::time::Duration;

use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::ports::JobQueue;
use serde::{Deserialize, Serialize};

use crate::error::dependency_error;

const MESSAGE_VERSION: u32 = 1;

/// SQS's limit for DelaySeconds.
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);

/// A client of the jobs queue.
#[derive(Clone, Debug)]
pub struct JobsQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

/// The body of a job message. Everything else is in the export's record.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct JobMessage<'a> {
    version: u32,
    tenant_id: &'a str,
    export_id: &'a str,
}

/// The message is not a job.
#[derive(Debug, thiserror::Error)]
pub enum JobMessageError {
    /// The body is not the JSON that [`JobsQueue`] sends.
    #[error("the message is not a job")]
    Json(#[from] serde_json::Error),
    /// The tenant ID is invalid.
    #[error(transparent)]
    Tenant(#[from] exports_domain::id::ParseTenantIdError),
    /// The export ID is invalid.
    #[error(transparent)]
    Export(#[from] exports_domain::id::ParseExportIdError),
}

impl JobsQueue {
    /// A client of the queue at `url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url }
    }
}

/// Parses the tenant and export of a job message. Accepts any version: every version has these two fields.
///
/// # Errors
/// [`JobMessageError`] if the body is not a job message.
pub fn parse_job(body: &str) -> Result<(TenantId, ExportId), JobMessageError> {
    let message: JobMessage<'_> = serde_json::from_str(body)?;
    Ok((message.tenant_id.parse()?, message.export_id.parse()?))
}

#[async_trait]
impl JobQueue for JobsQueue {
    async fn enqueue(&self, tenant: &TenantId, id: &ExportId, delay: Duration) -> Result<(), DependencyError> {
        let id = id.to_string();
        let message = JobMessage { version: MESSAGE_VERSION, tenant_id: tenant.as_str(), export_id: &id };
        let action = "enqueue the job";
        let body = serde_json::to_string(&message).map_err(|error| DependencyError::permanent(action, error))?;
        let delay = i32::try_from(delay.min(MAX_DELAY).as_secs()).unwrap_or(0);
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .delay_seconds(delay)
            .send()
            .await
            .map_err(|error| dependency_error(action, error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = "mpo_01a11f3a-7000-7abc-8def-0123456789ab";

    /// Like the stored items in `dynamodb/tests/stored.rs`: a contract with every build that may receive it.
    #[test]
    fn job_message_is_written_as_ever_and_read_by_this_build() {
        let golden = include_str!("../golden/stored/job-message.json").trim_end();
        let message = JobMessage { version: MESSAGE_VERSION, tenant_id: "acme", export_id: EXPORT };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            golden,
            "Do not change the golden message: give the form a new version, and add a file for it."
        );
        let (tenant, export) = parse_job(golden).unwrap();
        assert_eq!((tenant.as_str(), export.to_string().as_str()), ("acme", EXPORT));
    }

    #[test]
    fn parse_job_accepts_other_versions() {
        let body = format!(r#"{{"version":7,"tenantId":"acme","exportId":"{EXPORT}","more":[1]}}"#);
        assert_eq!(parse_job(&body).unwrap().1.to_string(), EXPORT);
    }

    #[test]
    fn parse_job_rejects_other_messages() {
        let body = |version: u32, tenant: &str, export: &str| {
            format!(r#"{{"version":{version},"tenantId":"{tenant}","exportId":"{export}"}}"#)
        };
        for body in ["", "job", "{}", "[]", &body(1, "a/b", EXPORT), &body(1, "acme", "x")] {
            assert!(parse_job(body).is_err(), "{body}");
        }
    }
}
