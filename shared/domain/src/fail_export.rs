//! Failing an export: the record first, then a mail to the requester.

use crate::back_office::BackOfficeUrl;
use crate::error::DependencyError;
use crate::export::Export;
use crate::failure::Failure;
use crate::lifecycle::{FailedBy, fail};
use crate::mail::Mail;
use crate::ports::{ApplyError, ExportStore, MailSender, SendError};
use crate::time::Timestamp;

/// Fails `export`, which releases its tenant's lock, and then mails the requester. The outcome of the mail is only
/// returned: the export has failed whether or not the mail was sent.
///
/// # Errors
/// [`ApplyError`] if the record was not changed; no mail is sent then.
pub async fn fail_export(
    exports: &impl ExportStore,
    mail: &dyn MailSender,
    back_office: Option<&BackOfficeUrl>,
    export: &Export,
    now: Timestamp,
    failed_by: FailedBy,
    failure: Failure,
) -> Result<Result<(), SendError>, ApplyError> {
    let step = fail(export, now, failed_by, failure.clone());
    exports.apply_step(&export.tenant, &export.id, &step).await?;
    Ok(mail_failure(mail, back_office, export, &failure).await)
}

/// Mails the requester of a failed export.
///
/// # Errors
/// [`SendError`]; also if the mail cannot be written.
pub async fn mail_failure(
    mail: &dyn MailSender,
    back_office: Option<&BackOfficeUrl>,
    export: &Export,
    failure: &Failure,
) -> Result<(), SendError> {
    let message = Mail::failed(export, failure, back_office)
        .map_err(|error| DependencyError::permanent("write the failure mail", error))?;
    mail.send_mail(&message).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Status;
    use crate::failure::FailureCode;
    use crate::testing::{MailService, MemoryMailbox, MemoryStore, block_on, export};

    fn fail_stored(store: &MemoryStore, mailbox: &MemoryMailbox) -> Result<Result<(), SendError>, ApplyError> {
        let failure = Failure {
            code: FailureCode::GenerationFailed,
            message: "m".into(),
            cancelled_by: None,
            invalid_rows: None,
        };
        let export = export();
        block_on(fail_export(store, mailbox, None, &export, export.as_of(), FailedBy::Owner, failure))
    }

    #[test]
    fn export_stays_failed_when_its_mail_is_rejected() {
        let (store, mailbox) = (MemoryStore::default(), MemoryMailbox::default());
        store.put_export(export());
        mailbox.behave(MailService::Rejects);
        assert!(matches!(fail_stored(&store, &mailbox), Ok(Err(SendError::Rejected(_)))));
        assert_eq!(store.exports()[0].status(), Status::Failed);
    }

    #[test]
    fn no_mail_is_sent_if_the_record_has_changed() {
        let (store, mailbox) = (MemoryStore::default(), MemoryMailbox::default());
        store.put_export(Export { fencing_token: 9, ..export() });
        assert!(matches!(fail_stored(&store, &mailbox), Err(ApplyError::Conflict(Some(_)))));
        assert_eq!(mailbox.mails(), []);
    }
}
