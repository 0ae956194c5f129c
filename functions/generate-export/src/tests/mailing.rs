//! The e-mail.

use super::*;

#[tokio::test]
async fn mail_is_retried_without_writing_the_file_again() {
    let world = world(3);
    world.mail.behave(MailService::IsDown);
    world.deliver("r1").await;
    let record = world.record();
    assert!(record.status() == Status::Pending && record.file().is_some());
    world.mail.behave(MailService::Accepts);
    world.rows.failures.inject();
    world.deliver("r2").await;
    assert_eq!(world.record().status(), Status::Ready);
    assert_eq!((world.files.files().len(), world.mail.mails().len()), (1, 1));
}

#[tokio::test]
async fn rejected_mail_fails_the_export_with_its_file() {
    let world = world(3);
    world.mail.behave(MailService::Rejects);
    world.deliver("r1").await;
    let record = world.record();
    assert_eq!((record.status(), record.failure().cloned().unwrap().code), (Status::Failed, FailureCode::EmailNotSent));
    assert!(record.file().is_some() && world.lock_is_free());
}

#[tokio::test]
async fn file_that_has_expired_is_not_mailed() {
    let world = world(3);
    let expired = ExportFile { expires_at: start(), ..file() };
    world.exports.put_export(with_work(export(), |pending| pending.file = Some(expired)));
    world.deliver("r1").await;
    let failure = world.record().failure().cloned().unwrap();
    assert_eq!((world.record().status(), failure.code), (Status::Failed, FailureCode::InternalError));
    let mails = world.mail.mails();
    assert!(mails.len() == 1 && !mails[0].text.contains("http"), "{mails:?}");
}
