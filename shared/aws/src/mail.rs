//! Sends e-mails with SES.

use async_trait::async_trait;
use aws_sdk_sesv2::error::ProvideErrorMetadata;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{
    Body, ConfigurationOverrides, Content, Destination, EmailContent, FeatureStatus, Message, MessageTag,
    TrackingConfigurationOverrides,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::mail::Mail;
use exports_domain::ports::{MailSender, SendError};
use exports_telemetry::Metric;
use tracing::error;

use crate::config::connection_per_request;

/// Sends e-mails from one sender address.
#[derive(Clone, Debug)]
pub struct Mailer {
    client: aws_sdk_sesv2::Client,
    sender: String,
    configuration_set: Option<String>,
}

impl Mailer {
    /// A mailer that sends from `sender`, with `configuration_set` if there is one.
    ///
    /// SendEmail has no idempotency token, so a retry after a lost response would send the e-mail twice. The SDK's
    /// retries are off. Each e-mail has a new connection, because without retries a connection that was lost while
    /// Lambda froze the process would fail the call.
    #[must_use]
    pub fn new(config: &SdkConfig, sender: String, configuration_set: Option<String>) -> Self {
        Self::with_http_client(connection_per_request(), config, sender, configuration_set)
    }

    pub(crate) fn with_http_client(
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
        let build_error = |source: Box<dyn std::error::Error + Send + Sync>| {
            SendError::Dependency(DependencyError::transient("send the e-mail", source))
        };
        let content = |text: &str| {
            Content::builder().data(text).charset("UTF-8").build().map_err(|error| build_error(error.into()))
        };
        let body = Body::builder().text(content(&mail.text)?).html(content(&mail.html)?).build();
        let message = Message::builder().subject(content(&mail.subject)?).body(body).build();
        let cc = mail.recipients.cc().iter().map(ToString::to_string).collect();
        let destination =
            Destination::builder().to_addresses(mail.recipients.to().as_str()).set_cc_addresses(Some(cc)).build();
        let tag = MessageTag::builder().name("export").value(mail.export.to_string()).build();
        // In an account that tracks clicks, SES would otherwise replace the links with its own.
        let tracking = TrackingConfigurationOverrides::builder()
            .open_tracking_enabled(FeatureStatus::Disabled)
            .click_tracking_enabled(FeatureStatus::Disabled)
            .build();
        self.client
            .send_email()
            .from_email_address(&self.sender)
            .set_configuration_set_name(self.configuration_set.clone())
            .configuration_overrides(ConfigurationOverrides::builder().tracking(tracking).build())
            .destination(destination)
            .content(EmailContent::builder().simple(message).build())
            .email_tags(tag.map_err(|error| build_error(error.into()))?)
            .send()
            .await
            .map_err(|error| match error.as_service_error().filter(|error| is_rejection(error)) {
                Some(rejection) => {
                    // SES's message may name addresses, which are not logged.
                    if !is_of_message(rejection) {
                        error!(code = rejection.code(), "SES rejects the e-mails of this service");
                    }
                    exports_telemetry::emit(Metric::MailRejected);
                    SendError::Rejected(rejection_reason(rejection))
                }
                None => SendError::Dependency(crate::error::dependency_error("send the e-mail", error)),
            })?;
        exports_telemetry::emit(Metric::MailSent);
        Ok(())
    }
}

/// Whether SES rejects this e-mail permanently.
fn is_rejection(error: &SendEmailError) -> bool {
    let is_of_service = matches!(
        error,
        SendEmailError::AccountSuspendedException(_)
            | SendEmailError::MailFromDomainNotVerifiedException(_)
            | SendEmailError::NotFoundException(_)
            | SendEmailError::SendingPausedException(_)
    );
    is_of_message(error) || is_of_service || error.code() == Some("AccessDeniedException")
}

/// Whether it is this e-mail that SES rejects, and not this service.
const fn is_of_message(error: &SendEmailError) -> bool {
    matches!(error, SendEmailError::BadRequestException(_) | SendEmailError::MessageRejected(_))
}

/// The reason for people to read; at most 300 characters, because it is stored in the record.
fn rejection_reason(error: &SendEmailError) -> String {
    let text = match error.message() {
        Some(text) if is_of_message(error) => text,
        // SES names roles, accounts and configuration sets, which tenants must not see.
        _ => "this service may not send e-mails at present.",
    };
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::local;
    use crate::server::{IdleConnection, LocalServer};
    use crate::testing::{StubHttpClient, response};
    use aws_sdk_sesv2::types::error::MessageRejected;
    use aws_smithy_types::error::ErrorMetadata;
    use exports_domain::testing::{export, file};

    #[test]
    fn reason_of_a_rejected_message_is_that_of_ses_cut_to_300_characters() {
        let reason = |message: &str| {
            let meta = ErrorMetadata::builder().message(message).build();
            rejection_reason(&SendEmailError::MessageRejected(MessageRejected::builder().meta(meta).build()))
        };
        assert_eq!(reason("Email address is not verified."), "Email address is not verified.");
        assert_eq!(reason(&"x".repeat(1000)).len(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_ses_rejects_permanently_is_a_rejection_and_shown_without_internal_names() {
        let mail = Mail::ready(&export(), &file(), "https://files.example/1.csv", export().as_of(), None).unwrap();
        for (status, code, is_rejected) in [
            (400, "MessageRejected", true),
            (400, "BadRequestException", true),
            (400, "AccountSuspendedException", true),
            (400, "MailFromDomainNotVerifiedException", true),
            (404, "NotFoundException", true),
            (400, "SendingPausedException", true),
            (403, "AccessDeniedException", true),
            (429, "TooManyRequestsException", false),
            (400, "LimitExceededException", false),
            (500, "InternalFailure", false),
        ] {
            let aws = StubHttpClient::new(move |_| {
                let mut response = response(status, r#"{"message":"about the message"}"#);
                response.headers_mut().insert("x-amzn-errortype", code);
                response
            });
            let config = aws.config();
            let http = config.http_client().unwrap();
            let mailer = Mailer::with_http_client(http, &config, "exports@example.com".to_owned(), None);
            let sent = mailer.send_mail(&mail).await;
            let shown = matches!(code, "MessageRejected" | "BadRequestException").then_some("about the message");
            match sent {
                Err(SendError::Rejected(reason)) => {
                    assert!(is_rejected, "{code}");
                    assert_eq!(reason, shown.unwrap_or("this service may not send e-mails at present."), "{code}");
                }
                sent => assert!(!is_rejected, "{code}: {sent:?}"),
            }
        }
    }

    const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"MessageId\":\"1\"}";

    #[tokio::test]
    async fn send_mail_after_a_freeze_sends_once() {
        let mail = Mail::ready(&export(), &file(), "https://files.example/1.csv", export().as_of(), None).unwrap();
        for idle in [IdleConnection::Closed, IdleConnection::Lost] {
            let service = LocalServer::start(&[ACCEPTED], idle).await;
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
