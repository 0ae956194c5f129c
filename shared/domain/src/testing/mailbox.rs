//! The e-mail service.

use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::error::DependencyError;
use crate::mail::Mail;
use crate::ports::{MailSender, SendError};

/// How the e-mail service of a [`MemoryMailbox`] responds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailService {
    /// Accepts the e-mail.
    #[default]
    Accepts,
    /// Rejects the e-mail permanently.
    Rejects,
    /// Fails with a transient error.
    IsDown,
    /// Fails with a permanent error that is no rejection.
    IsMisconfigured,
    /// Accepts the e-mail, but its response is lost.
    LosesResponse,
}

/// A mailbox with the accepted e-mails.
#[derive(Debug, Default)]
pub struct MemoryMailbox {
    mails: Mutex<Vec<Mail>>,
    service: Mutex<MailService>,
}

impl MemoryMailbox {
    /// All accepted e-mails, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.mails).clone()
    }

    /// Sets how the service responds from now on.
    pub fn behave(&self, service: MailService) {
        *lock(&self.service) = service;
    }
}

#[async_trait]
impl MailSender for MemoryMailbox {
    async fn send_mail(&self, mail: &Mail) -> Result<(), SendError> {
        let service = *lock(&self.service);
        if matches!(service, MailService::Accepts | MailService::LosesResponse) {
            lock(&self.mails).push(mail.clone());
        }
        match service {
            MailService::Accepts => Ok(()),
            MailService::Rejects => Err(SendError::Rejected("the address is on the suppression list".into())),
            MailService::IsDown => {
                Err(SendError::Dependency(DependencyError::transient("send the mail", "service unavailable")))
            }
            MailService::IsMisconfigured => {
                Err(SendError::Dependency(DependencyError::permanent("send the mail", "invalid security token")))
            }
            MailService::LosesResponse => {
                Err(SendError::Dependency(DependencyError::transient("send the mail", "connection reset")))
            }
        }
    }
}
