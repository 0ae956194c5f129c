//! The jobs queue, which triggers the generator.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;

use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::export::Export;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::ports::JobQueue;
use serde::{Deserialize, Serialize};

use crate::error::dependency_error;

const MESSAGE_VERSION: u32 = 2;

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
    /// Messages of version 1 have none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    launch_request_id: Option<Cow<'a, str>>,
}

/// The export that a job message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The export's tenant.
    pub tenant: TenantId,
    /// The export.
    pub export: ExportId,
    /// The id of the request that launched the export, for the logs.
    pub launch_request_id: Option<String>,
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

/// Parses a job message. Accepts any version: every version has tenant and export.
///
/// # Errors
/// [`JobMessageError`] if the body is not a job message.
pub fn parse_job(body: &str) -> Result<Job, JobMessageError> {
    let message: JobMessage<'_> = serde_json::from_str(body)?;
    Ok(Job {
        tenant: message.tenant_id.parse()?,
        export: message.export_id.parse()?,
        launch_request_id: message.launch_request_id.map(Cow::into_owned),
    })
}

/// The body of the export's job message.
fn body(export: &Export) -> serde_json::Result<String> {
    serde_json::to_string(&JobMessage {
        version: MESSAGE_VERSION,
        tenant_id: export.tenant.as_str(),
        export_id: &export.id.to_string(),
        launch_request_id: export.launch_request_id.as_deref().map(Cow::Borrowed),
    })
}

#[async_trait]
impl JobQueue for JobsQueue {
    async fn enqueue(&self, export: &Export, delay: Duration) -> Result<(), DependencyError> {
        let action = "enqueue the job";
        let body = body(export).map_err(|error| DependencyError::permanent(action, error))?;
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
    use exports_domain::testing::export;

    use super::*;

    const EXPORT: &str = "mpo_01a11f3a-7000-7abc-8def-0123456789ab";
    const REQUEST: &str = "JKJaXmPLvHcESHA=";

    fn job(launch_request_id: Option<&str>) -> Job {
        let launch_request_id = launch_request_id.map(str::to_owned);
        Job { tenant: "acme".parse().unwrap(), export: EXPORT.parse().unwrap(), launch_request_id }
    }

    /// Like the stored items in `dynamodb/tests/stored.rs`: a contract with every build that may receive it.
    #[test]
    fn job_message_is_written_as_ever_and_read_by_this_build() {
        let golden = include_str!("../golden/stored/job-message-2.json").trim_end();
        let launched = Export { id: EXPORT.parse().unwrap(), launch_request_id: Some(REQUEST.to_owned()), ..export() };
        assert_eq!(
            body(&launched).unwrap(),
            golden,
            "Do not change the golden message: give the form a new version, and add a file for it."
        );
        assert_eq!(parse_job(golden).unwrap(), job(Some(REQUEST)));
    }

    #[test]
    fn job_message_of_version_1_is_read() {
        assert_eq!(parse_job(include_str!("../golden/stored/job-message.json")).unwrap(), job(None));
    }

    #[test]
    fn job_message_of_an_export_without_launch_request_has_none() {
        let body = body(&Export { launch_request_id: None, ..export() }).unwrap();
        assert!(!body.contains("launchRequestId"), "{body}");
        assert_eq!(parse_job(&body).unwrap().export, export().id);
    }

    #[test]
    fn parse_job_accepts_other_versions() {
        let body = format!(r#"{{"version":7,"tenantId":"acme","exportId":"{EXPORT}","more":[1]}}"#);
        assert_eq!(parse_job(&body).unwrap(), job(None));
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
