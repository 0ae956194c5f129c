//! The mail to the requester of a failed export.

use crate::back_office::BackOfficeUrl;
use crate::error::DependencyError;
use crate::export::Export;
use crate::failure::Failure;
use crate::mail::Mail;
use crate::ports::{MailSender, SendError};

/// Mails the requester of a failed export. The outcome changes nothing: the export has failed whether or not the mail was
/// sent.
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
