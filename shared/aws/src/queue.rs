//! The jobs queue: the doorbell of the generator.

use async_trait::async_trait;
use std::time::Duration;

use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::ports::JobQueue;
use serde::{Deserialize, Serialize};

use crate::error::dependency_error;

/// The version of the messages that are sent.
const VERSION: u32 = 1;

/// The longest delay of SQS.
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);

/// The queue that the generator reads.
#[derive(Clone, Debug)]
pub struct JobsQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

/// A message: which export to look at. All else is on its record.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: u32,
    tenant_id: &'a str,
    export_id: &'a str,
}

/// The message names no export.
#[derive(Debug, thiserror::Error)]
pub enum JobMessageError {
    /// It is not of the form that [`JobsQueue`] sends.
    #[error("the message is not a job")]
    Form(#[from] serde_json::Error),
    /// The tenant's id is none.
    #[error(transparent)]
    Tenant(#[from] exports_domain::id::ParseTenantIdError),
    /// The export's id is none.
    #[error(transparent)]
    Export(#[from] exports_domain::id::ParseExportIdError),
}

impl JobsQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url }
    }
}

/// Which export a message's body names. The version is not looked at: a message of any version says no more than that.
///
/// # Errors
/// [`JobMessageError`] if it names none.
pub fn parse_job(body: &str) -> Result<(TenantId, ExportId), JobMessageError> {
    let message: Message<'_> = serde_json::from_str(body)?;
    Ok((message.tenant_id.parse()?, message.export_id.parse()?))
}

#[async_trait]
impl JobQueue for JobsQueue {
    async fn enqueue(&self, tenant: &TenantId, id: &ExportId, delay: Duration) -> Result<(), DependencyError> {
        let id = id.to_string();
        let message = Message { version: VERSION, tenant_id: tenant.as_str(), export_id: &id };
        let attempt = "ring the generator";
        let body = serde_json::to_string(&message).map_err(|error| DependencyError::permanent(attempt, error))?;
        let delay = i32::try_from(delay.min(MAX_DELAY).as_secs()).unwrap_or(0);
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .delay_seconds(delay)
            .send()
            .await
            .map_err(|error| dependency_error(attempt, error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = "mpo_01a11f3a-7000-7abc-8def-0123456789ab";

    #[test]
    fn job_message_reads_back() {
        let body = serde_json::to_string(&Message { version: 1, tenant_id: "acme", export_id: EXPORT }).unwrap();
        assert_eq!(body, format!(r#"{{"version":1,"tenantId":"acme","exportId":"{EXPORT}"}}"#));
        let (tenant, export) = parse_job(&body).unwrap();
        assert_eq!((tenant.as_str(), export.to_string().as_str()), ("acme", EXPORT));
    }

    #[test]
    fn job_message_of_another_version_names_its_export_all_the_same() {
        let body = format!(r#"{{"version":7,"tenantId":"acme","exportId":"{EXPORT}","more":[1]}}"#);
        assert_eq!(parse_job(&body).unwrap().1.to_string(), EXPORT);
    }

    #[test]
    fn anything_else_is_no_job() {
        let of = |version: u32, tenant: &str, export: &str| {
            format!(r#"{{"version":{version},"tenantId":"{tenant}","exportId":"{export}"}}"#)
        };
        for body in ["", "ring", "{}", "[]", &of(1, "a/b", EXPORT), &of(1, "acme", "x")] {
            assert!(parse_job(body).is_err(), "{body}");
        }
    }
}
