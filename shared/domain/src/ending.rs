//! Ending an export as failed: the record first, then a word to the requester.

use crate::back_office::BackOfficeUrl;
use crate::export::{Export, Failure};
use crate::lifecycle::{Authority, fail};
use crate::mail::Mail;
use crate::ports::{ApplyStep, NotApplied, NotSent, Outage, SendMail};
use crate::time::Timestamp;

/// Ends `export` as failed, which frees its tenant's lock, and then mails the requester. What came of the mail is
/// only reported: a failure that nobody could be told of is a failure all the same.
///
/// # Errors
/// [`NotApplied`] if the record was not changed; no mail is sent then.
pub async fn end_as_failed(
    exports: &impl ApplyStep,
    mailer: &impl SendMail,
    back_office: Option<&BackOfficeUrl>,
    export: &Export,
    now: Timestamp,
    authority: Authority,
    failure: Failure,
) -> Result<Result<(), NotSent>, NotApplied> {
    let step = fail(export, now, authority, failure.clone());
    exports.apply_step(&export.tenant, &export.id, &step).await?;
    match Mail::failed(export, &failure, back_office) {
        Ok(mail) => Ok(mailer.send_mail(&mail).await),
        Err(error) => Ok(Err(Outage::permanent("write the failure's mail", error).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{FailureCode, Status};
    use crate::lifecycle::tests::export;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    #[derive(Default)]
    struct Outside {
        refuses: bool,
        mails: Mutex<Vec<Mail>>,
    }

    impl ApplyStep for Outside {
        async fn apply_step(
            &self,
            _: &crate::id::TenantId,
            _: &crate::id::ExportId,
            step: &crate::lifecycle::Step,
        ) -> Result<(), NotApplied> {
            assert_eq!(step.changed(&export()).status, Status::Failed);
            if self.refuses { Err(NotApplied::Refused(None)) } else { Ok(()) }
        }
    }

    impl SendMail for Outside {
        async fn send_mail(&self, mail: &Mail) -> Result<(), NotSent> {
            self.mails.lock().unwrap().push(mail.clone());
            Err(NotSent::Refused("no".into()))
        }
    }

    fn end(outside: &Outside) -> Result<Result<(), NotSent>, NotApplied> {
        let failure = Failure { code: FailureCode::GenerationFailed, message: "m".into() };
        let export = export();
        let mut ending =
            Box::pin(end_as_failed(outside, outside, None, &export, export.as_of(), Authority::Owner, failure));
        match ending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => ended,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn failed_export_stays_failed_when_its_mail_is_refused() {
        let outside = Outside::default();
        assert!(matches!(end(&outside), Ok(Err(NotSent::Refused(_)))));
        assert_eq!(outside.mails.lock().unwrap().len(), 1);
    }

    #[test]
    fn export_that_another_ended_is_not_mailed_about() {
        let outside = Outside { refuses: true, ..Outside::default() };
        assert!(matches!(end(&outside), Err(NotApplied::Refused(None))));
        assert!(outside.mails.lock().unwrap().is_empty());
    }
}
