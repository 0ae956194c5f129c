//! Mails through SES.

use async_trait::async_trait;
use aws_sdk_sesv2::error::ProvideErrorMetadata;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageTag};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::mail::Mail;
use exports_domain::ports::{MailSender, SendError};
use exports_telemetry::Metric;

use crate::config::connection_per_request;

/// Sends mails from one address.
#[derive(Clone, Debug)]
pub struct Mailer {
    client: aws_sdk_sesv2::Client,
    sender: String,
    configuration_set: Option<String>,
}

impl Mailer {
    /// A mailer that sends from `sender`, by `configuration_set` if there is one.
    ///
    /// SendEmail has no token that makes a retry safe, so nothing retries it: a response that was lost must not send the
    /// mail a second time unseen. The SDK's retries are off, and hyper retries only what it has not begun to write to a
    /// reused connection. So a mail must not meet a connection that died while Lambda froze the process: each has its
    /// own.
    #[must_use]
    pub fn new(config: &SdkConfig, sender: String, configuration_set: Option<String>) -> Self {
        Self::over(connection_per_request(), config, sender, configuration_set)
    }

    pub(crate) fn over(
        http_client: SharedHttpClient,
        config: &SdkConfig,
        sender: String,
        configuration_set: Option<String>,
    ) -> Self {
        let config = aws_sdk_sesv2::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .http_client(http_client)
            .build();
        Self { client: aws_sdk_sesv2::Client::from_conf(config), sender, configuration_set }
    }
}

#[async_trait]
impl MailSender for Mailer {
    async fn send_mail(&self, mail: &Mail) -> Result<(), SendError> {
        let invalid = |source: Box<dyn std::error::Error + Send + Sync>| {
            SendError::Dependency(DependencyError::transient("send the mail", source))
        };
        let content =
            |text: &str| Content::builder().data(text).charset("UTF-8").build().map_err(|error| invalid(error.into()));
        let body = Body::builder().text(content(&mail.text)?).html(content(&mail.html)?).build();
        let message = Message::builder().subject(content(&mail.subject)?).body(body).build();
        let cc = mail.recipients.cc().iter().map(ToString::to_string).collect();
        let destination =
            Destination::builder().to_addresses(mail.recipients.to().as_str()).set_cc_addresses(Some(cc)).build();
        let tag = MessageTag::builder().name("export").value(mail.export.to_string()).build();
        self.client
            .send_email()
            .from_email_address(&self.sender)
            .set_configuration_set_name(self.configuration_set.clone())
            .destination(destination)
            .content(EmailContent::builder().simple(message).build())
            .email_tags(tag.map_err(|error| invalid(error.into()))?)
            .send()
            .await
            .map_err(|error| match error.as_service_error().filter(|error| is_refusal(error)) {
                Some(refusal) => {
                    exports_telemetry::measure(Metric::MailRefused);
                    SendError::Rejected(reason(refusal))
                }
                None => SendError::Dependency(crate::error::dependency_error("send the mail", error)),
            })?;
        exports_telemetry::measure(Metric::MailSent);
        Ok(())
    }
}

/// Whether SES will say the same of this mail again, whenever it is tried.
fn is_refusal(error: &SendEmailError) -> bool {
    matches!(
        error,
        SendEmailError::AccountSuspendedException(_)
            | SendEmailError::BadRequestException(_)
            | SendEmailError::MailFromDomainNotVerifiedException(_)
            | SendEmailError::MessageRejected(_)
            | SendEmailError::NotFoundException(_)
            | SendEmailError::SendingPausedException(_)
    ) || is_denial(error)
}

/// Whether this function's role may not send this.
fn is_denial(error: &SendEmailError) -> bool {
    error.code() == Some("AccessDeniedException")
}

/// What SES says, for people; bounded, because it goes onto the record.
fn reason(error: &SendEmailError) -> String {
    if is_denial(error) {
        // SES names the role, the account and the policy at invalid: nothing for the tenants' eyes.
        return "this service may not send from its sender address.".to_owned();
    }
    let text = error.message().or(error.code()).unwrap_or("no reason given");
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local;
    use crate::server::{IdleConnection, Server};
    use aws_smithy_types::error::ErrorMetadata;
    use exports_domain::testing::{export, file};

    fn error(code: &str, message: &str) -> SendEmailError {
        SendEmailError::generic(ErrorMetadata::builder().code(code).message(message).build())
    }

    #[test]
    fn denial_is_a_refusal_whose_reason_names_nothing_of_the_account() {
        let role = "arn:aws:sts::123456789012:assumed-role/generate-export";
        let denied = error("AccessDeniedException", &format!("User: {role} is not authorized"));
        assert!(is_refusal(&denied));
        assert_eq!(reason(&denied), "this service may not send from its sender address.");
    }

    #[test]
    fn reason_of_any_other_refusal_is_what_the_mail_service_says_cut_to_what_a_record_bears() {
        assert_eq!(
            reason(&error("MessageRejected", "Email address is not verified.")),
            "Email address is not verified."
        );
        assert_eq!(reason(&error("MessageRejected", &"x".repeat(1000))).len(), 300);
    }

    const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"MessageId\":\"1\"}";

    #[tokio::test]
    async fn mail_after_a_freeze_is_sent_once_whatever_became_of_idle_connections() {
        let mail = Mail::ready(&export(), &file(), "https://files.example/1.csv", export().as_of(), None).unwrap();
        for idle in [IdleConnection::Closed, IdleConnection::Gone] {
            let service = Server::start(&[ACCEPTED], idle).await;
            let mailer = Mailer::new(&local(service.url.clone()), "exports@example.com".to_owned(), None);
            for sent in 1..=3 {
                mailer.send_mail(&mail).await.unwrap_or_else(|error| panic!("{idle:?}: mail {sent}: {error:?}"));
                assert_eq!(service.requests().len(), sent, "{idle:?}");
            }
            let is_mail = |request: &String| request.starts_with("POST /v2/email/outbound-emails ");
            assert!(service.requests().iter().all(is_mail), "{idle:?}");
        }
    }
}
