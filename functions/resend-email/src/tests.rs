use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::caller::ClientType;
use domain::export::{Failure, Status};
use domain::id::{ExportId, TenantId};
use domain::lifecycle::Step;
use domain::testing::{
    DeletableFiles, FixedClock, MailService, MemoryLinks, MemoryMailbox, MemoryStore, address, export, file, operator,
    ready_export, start,
};
use http::testing::{assert_is_documented, callers, sample_events};
use serde_json::{Value, json};

use super::*;

type Fake<S> = ResendEmail<MemoryStore, S, DeletableFiles, MemoryLinks, MemoryMailbox, FixedClock>;

const HOUR: Duration = Duration::from_secs(3600);

fn store(export: Export) -> MemoryStore {
    let exports = MemoryStore::default();
    exports.put_export(export);
    exports
}

/// The function in front of these records; the caller is Ben of the tenant `acme`, the time an hour after the export.
fn function<S>(exports: S) -> Fake<S> {
    let user = Person { email: address("ben@example.com"), name: "Ben".parse().unwrap() };
    let clock = FixedClock::default();
    clock.advance(HOUR);
    ResendEmail {
        callers: callers(Caller { user, ..operator("acme") }),
        exports,
        files: DeletableFiles::default(),
        links: MemoryLinks::default(),
        mailer: MemoryMailbox::default(),
        back_office: None,
        clock,
        most_a_day: 3,
        allowed: AllowedDomains::default(),
    }
}

async fn answer_to<S: FindExport + ApplyStep>(function: &Fake<S>, event: &str) -> Value {
    http::testing::answer_to("resend-email", event, async |request| function.handle(&request).await).await
}

fn code(answer: &Value) -> Option<&str> {
    answer["body"]["errors"][0]["code"].as_str()
}

fn only(function: &Fake<MemoryStore>) -> Export {
    let [export] = &function.exports.exports()[..] else { panic!("one export") };
    export.clone()
}

/// [`ready_export`] after its link's end, as the sweeper leaves it.
fn expired_export() -> Export {
    Export { status: Status::Expired, link_expires_at: Some(start()), due_at: None, ..ready_export() }
}

#[tokio::test]
async fn every_sample_event_has_its_answer() {
    let expected = BTreeMap::from([
        ("without-body", (200, None)),
        ("with-cc", (200, None)),
        ("with-empty-cc", (200, None)),
        ("bad-cc", (400, Some("F-E-012"))),
        ("unknown-export", (404, Some("F-E-002"))),
        ("malformed-id", (404, Some("F-E-002"))),
        ("unknown-key", (401, Some("UNAUTHENTICATED"))),
        ("supplier", (403, Some("FORBIDDEN"))),
    ]);
    assert_eq!(sample_events("resend-email"), expected.keys().map(ToString::to_string).collect());
    for (name, (status, told)) in expected {
        let function = function(store(ready_export()));
        let answer = answer_to(&function, name).await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(status), told), "{name}: {answer}");
        assert_eq!(function.mailer.mails().len(), usize::from(status == 200), "{name}");
        assert_eq!(only(&function) == ready_export(), status != 200, "{name}");
    }
}

#[tokio::test]
async fn mail_goes_to_the_caller_and_the_kept_copies_with_a_new_link() {
    let function = function(store(expired_export()));
    let answer = answer_to(&function, "without-body").await;
    let end = start().plus(HOUR + export().terms.link_life);

    let [mail] = &function.mailer.mails()[..] else { panic!("one mail") };
    assert_eq!((mail.recipients.to(), mail.recipients.cc()), (&address("ben@example.com"), export().recipients.cc()));
    let link = format!("https://files.example/{}?from={}&until={end}", file().key, start().plus(HOUR));
    assert!(mail.text.contains(&link) && mail.text.contains("Ben"), "{}", mail.text);

    let recorded = only(&function);
    assert_eq!((recorded.status, recorded.link_expires_at, recorded.due_at), (Status::Ready, Some(end), Some(end)));
    assert_eq!(recorded.recipients, mail.recipients);
    assert_eq!((&recorded.requested_by, &recorded.file), (&operator("acme").user, &Some(file())));

    assert_eq!(
        (&answer["body"]["status"], &answer["body"]["linkExpiresAt"]),
        (&json!("READY"), &json!(end.to_string()))
    );
    assert_eq!(answer["body"]["recipients"], json!({"to": "ben@example.com", "cc": ["cc@example.com"]}));
    assert_eq!(answer["body"]["requestedBy"]["email"], "ann@example.com");
}

#[tokio::test]
async fn cc_in_the_body_replaces_the_kept_copies_for_good() {
    let function = function(store(ready_export()));
    answer_to(&function, "with-cc").await;
    assert_eq!(only(&function).recipients.cc(), [address("accounting@example.com")]);
    function.clock.advance(HOUR);
    answer_to(&function, "without-body").await;
    assert_eq!(only(&function).recipients.cc(), [address("accounting@example.com")]);
    function.clock.advance(HOUR);
    answer_to(&function, "with-empty-cc").await;
    assert_eq!(only(&function).recipients, Recipients::only(address("ben@example.com")));
    assert_eq!(function.mailer.mails().len(), 3);
}

#[tokio::test]
async fn caller_who_was_a_copy_gets_one_mail() {
    let recipients = Recipients::new(address("ann@example.com"), [address("BEN@example.com")]).unwrap();
    let function = function(store(Export { recipients, ..ready_export() }));
    answer_to(&function, "without-body").await;
    assert_eq!(function.mailer.mails()[0].recipients, Recipients::only(address("ben@example.com")));
}

#[tokio::test]
async fn failed_export_with_a_file_becomes_ready() {
    let failure = Some(Failure::email_not_sent("refused"));
    let failed = Export { status: Status::Failed, failure, link_expires_at: None, due_at: None, ..ready_export() };
    let function = function(store(failed));
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["body"]["status"], answer["body"].get("failure")), (&json!("READY"), None));
    assert_eq!(only(&function).failure, None);
}

#[tokio::test]
async fn link_ends_with_the_file_if_that_comes_first() {
    let function = function(store(ready_export()));
    let end = start().plus(30 * 24 * HOUR);
    function.clock.set(end.minus(HOUR));
    assert_eq!(answer_to(&function, "without-body").await["body"]["linkExpiresAt"], end.to_string());
    function.clock.set(end.minus(Duration::from_millis(1)));
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 200, "a link lives whole seconds");
    function.clock.set(end);
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], code(&answer)), (&json!(410), Some("EXPORT_FILE_GONE")));
    assert_eq!(function.mailer.mails().len(), 2);
}

#[tokio::test]
async fn export_whose_file_was_deleted_is_gone_and_neither_counted_nor_mailed() {
    let failure = Some(Failure::email_not_sent("refused"));
    let failed = Export { status: Status::Failed, failure, link_expires_at: None, due_at: None, ..ready_export() };
    for export in [ready_export(), expired_export(), failed] {
        let function = function(store(export.clone()));
        function.files.delete(&file());
        let answer = answer_to(&function, "without-body").await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(410), Some("EXPORT_FILE_GONE")), "{answer}");
        assert_eq!((only(&function), function.mailer.mails().len()), (export, 0));
    }
}

#[tokio::test]
async fn denied_access_to_files_is_an_internal_error_and_nothing_is_counted_or_mailed() {
    let function = function(store(ready_export()));
    function.files.fuse.deny();
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], code(&answer)), (&json!(500), Some("INTERNAL")));
    assert_eq!((only(&function), function.mailer.mails().len()), (ready_export(), 0));
}

#[tokio::test]
async fn file_is_looked_for_only_if_the_mail_may_be_sent_again() {
    let no_file = Export { status: Status::Failed, failure: Some(Failure::tries_used_up(5)), ..export() };
    let over = ExportFile { expires_at: start(), ..file() };
    let over = Export { file: Some(over), ..expired_export() };
    for (export, lookups) in [(export(), 0), (no_file, 0), (over, 0), (ready_export(), 1), (expired_export(), 1)] {
        let function = function(store(export));
        answer_to(&function, "without-body").await;
        assert_eq!(function.files.lookups(), lookups);
    }
}

#[tokio::test]
async fn export_without_a_file_is_not_resendable() {
    let failed = Export { status: Status::Failed, failure: Some(Failure::tries_used_up(5)), ..export() };
    for (export, retry_after) in [(export(), Some("5")), (failed, None)] {
        let function = function(store(export.clone()));
        let answer = answer_to(&function, "without-body").await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(409), Some("EXPORT_NOT_RESENDABLE")));
        assert_eq!(answer["headers"]["retry-after"].as_str(), retry_after);
        assert_eq!((only(&function), function.mailer.mails().len()), (export, 0));
    }
}

#[tokio::test]
async fn faults_of_the_body_come_before_the_state_and_after_the_missing_export() {
    let function = function(store(export()));
    assert_eq!(answer_to(&function, "bad-cc").await["statusCode"], 400);
    let elsewhere = Export { tenant: "other".parse().unwrap(), ..ready_export() };
    let function = self::function(store(elsewhere));
    assert_eq!(answer_to(&function, "bad-cc").await["statusCode"], 404);
}

#[tokio::test]
async fn export_of_another_tenant_is_told_like_one_that_is_not_there() {
    let function = function(store(Export { tenant: "other".parse().unwrap(), ..ready_export() }));
    let answer = answer_to(&function, "without-body").await;
    assert_eq!(answer["body"], answer_to(&function, "unknown-export").await["body"]);
    assert_eq!(function.mailer.mails(), []);
}

#[tokio::test]
async fn supplier_is_refused() {
    let supplier = Caller { client: ClientType::Supplier, ..operator("acme") };
    let function = Fake { callers: callers(supplier), ..function(store(ready_export())) };
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 403);
}

#[tokio::test]
async fn bound_of_a_day_is_kept_until_midnight() {
    let function = function(store(ready_export()));
    for _ in 0..3 {
        function.clock.advance(Duration::from_secs(1));
        assert_eq!(answer_to(&function, "without-body").await["statusCode"], 200);
    }
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], code(&answer)), (&json!(429), Some("TOO_MANY_RESENDS")));
    // It is 09:30:03.
    assert_eq!(answer["headers"]["retry-after"], (14 * 3600 + 29 * 60 + 57).to_string());
    assert_eq!(function.mailer.mails().len(), 3);
    function.clock.set("2026-10-09T00:00:00.000Z".parse().unwrap());
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 200);
}

#[tokio::test]
async fn mail_that_is_not_taken_changes_nothing_but_the_count() {
    for (service, retry_after) in [(MailService::Refuses, None), (MailService::IsDown, Some("5"))] {
        let function = function(store(expired_export()));
        function.mailer.answer(service);
        let answer = answer_to(&function, "with-cc").await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(503), Some("EMAIL_NOT_SENT")), "{service:?}");
        assert_eq!(answer["headers"]["retry-after"].as_str(), retry_after);
        assert!(!answer["body"].to_string().contains("suppression"));
        let counted = only(&function);
        assert_eq!(counted.resends.map(|resends| resends.count), Some(1));
        assert_eq!(Export { resends: None, ..counted }, expired_export());
    }
}

#[tokio::test]
async fn outage_before_the_mail_costs_no_count_and_sends_none() {
    let without_signer = function(store(ready_export()));
    without_signer.links.fuse.blow();
    let without_count = function(store(ready_export()));
    without_count.exports.fuse.blow_after(1);
    let without_files = function(store(ready_export()));
    without_files.files.fuse.blow();
    for function in [without_signer, without_count, without_files] {
        let answer = answer_to(&function, "without-body").await;
        assert_eq!((&answer["statusCode"], code(&answer)), (&json!(503), Some("SERVICE_UNAVAILABLE")));
        assert_eq!((only(&function), function.mailer.mails().len()), (ready_export(), 0));
    }
}

#[tokio::test]
async fn record_that_cannot_be_read_is_a_fault_of_ours_and_nothing_is_mailed() {
    let function = function(store(ready_export()));
    function.exports.spoil(&export().tenant, &export().id, "recipientTo");
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], code(&answer)), (&json!(500), Some("INTERNAL")));
    assert_eq!((only(&function), function.mailer.mails().len()), (ready_export(), 0));
}

#[tokio::test]
async fn mail_that_went_out_but_is_not_recorded_is_told() {
    let function = function(store(expired_export()));
    function.exports.fuse.blow_after(2);
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], code(&answer)), (&json!(500), Some("EMAIL_SENT_NOT_RECORDED")));
    assert!(answer["body"]["errors"][0]["detail"].as_str().unwrap().starts_with("The mail went out"));
    assert_eq!((only(&function).status, function.mailer.mails().len()), (Status::Expired, 1));
}

/// Records that somebody else changes just before a write of ours, as often as is said.
struct Contested<F> {
    store: MemoryStore,
    before_write: F,
    writes: AtomicU32,
}

impl<F: Fn(u32, &MemoryStore) + Sync> FindExport for Contested<F> {
    async fn find_export(&self, tenant: &TenantId, id: &ExportId) -> Result<Option<Export>, NotRead> {
        self.store.find_export(tenant, id).await
    }
}

impl<F: Fn(u32, &MemoryStore) + Sync> ApplyStep for Contested<F> {
    async fn apply_step(&self, tenant: &TenantId, id: &ExportId, step: &Step) -> Result<(), NotApplied> {
        (self.before_write)(self.writes.fetch_add(1, Ordering::SeqCst), &self.store);
        self.store.apply_step(tenant, id, step).await
    }
}

fn contested<F: Fn(u32, &MemoryStore) + Sync>(export: Export, before_write: F) -> Fake<Contested<F>> {
    function(Contested { store: store(export), before_write, writes: AtomicU32::new(0) })
}

fn apply(store: &MemoryStore, step: impl Fn(&Export) -> Option<Step>) {
    for export in store.exports() {
        if let Some(changed) = step(&export).and_then(|step| step.apply(&export)) {
            store.put_export(changed);
        }
    }
}

#[tokio::test]
async fn count_that_others_raise_at_the_same_moment_is_tried_again_within_the_bound() {
    let now = start().plus(HOUR);
    let others_count = |times: u32| {
        move |write: u32, store: &MemoryStore| {
            if write < times {
                apply(store, |export| lifecycle::count_resend(export, now, 100).ok());
            }
        }
    };
    let function = contested(ready_export(), others_count(2));
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 200);
    assert_eq!(function.exports.store.exports()[0].resends.map(|resends| resends.count), Some(3));

    let function = contested(ready_export(), others_count(3));
    assert_eq!(answer_to(&function, "without-body").await["statusCode"], 429);
    assert_eq!(function.mailer.mails().len(), 0);
}

#[tokio::test]
async fn link_of_another_mail_that_ends_later_stays_and_is_told() {
    let later = start().plus(5 * 24 * HOUR);
    let recipients = Recipients::only(address("eve@example.com"));
    let function = contested(expired_export(), move |write, store| {
        if write == 1 {
            apply(store, |_| Some(lifecycle::resent(start().plus(HOUR), recipients.clone(), later)));
        }
    });
    let answer = answer_to(&function, "without-body").await;
    assert_eq!((&answer["statusCode"], &answer["body"]["status"]), (&json!(200), &json!("READY")));
    assert_eq!(answer["body"]["linkExpiresAt"], later.to_string());
    assert_eq!(answer["body"]["recipients"]["to"], "eve@example.com");
    assert_eq!(function.mailer.mails().len(), 1);
}

#[tokio::test]
async fn sweep_in_between_does_not_take_the_new_link_away() {
    let overdue = Export { link_expires_at: Some(start()), due_at: Some(start()), ..ready_export() };
    for sweep_before in [0, 1] {
        let sweep = |store: &MemoryStore| apply(store, |_| Some(lifecycle::expire(start().plus(HOUR), start())));
        let function = contested(overdue.clone(), |write, store| {
            if write == sweep_before {
                sweep(store);
            }
        });
        let answer = answer_to(&function, "without-body").await;
        assert_eq!(
            (&answer["statusCode"], &answer["body"]["status"]),
            (&json!(200), &json!("READY")),
            "{sweep_before}"
        );
        sweep(&function.exports.store);
        assert_eq!(function.exports.store.exports()[0].status, Status::Ready, "{sweep_before}");
    }
}

#[tokio::test]
async fn examples_of_the_description_are_real_answers() {
    let resent = function(store(expired_export()));
    assert_is_documented(&answer_to(&resent, "with-cc").await, "ResentExport");
    assert_is_documented(&answer_to(&resent, "bad-cc").await, "CcNotAList");
    assert_is_documented(&answer_to(&Fake { most_a_day: 1, ..resent }, "with-cc").await, "TooManyResends");

    assert_is_documented(&answer_to(&function(store(export())), "without-body").await, "ExportNotYetMailed");
    let failed = Export { status: Status::Failed, failure: Some(Failure::tries_used_up(5)), ..export() };
    assert_is_documented(&answer_to(&function(store(failed)), "without-body").await, "ExportWithoutFile");
    let gone = function(store(expired_export()));
    gone.clock.advance(31 * 24 * HOUR);
    assert_is_documented(&answer_to(&gone, "without-body").await, "ExportFileGone");

    for (service, example) in [(MailService::Refuses, "EmailRefused"), (MailService::IsDown, "EmailNotConfirmed")] {
        let unmailed = function(store(ready_export()));
        unmailed.mailer.answer(service);
        assert_is_documented(&answer_to(&unmailed, "without-body").await, example);
    }
    let unrecorded = function(store(ready_export()));
    unrecorded.exports.fuse.blow_after(2);
    assert_is_documented(&answer_to(&unrecorded, "without-body").await, "EmailSentNotRecorded");
}
