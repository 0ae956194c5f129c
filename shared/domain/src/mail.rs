//! What the recipients read. One mail goes to the main recipient and all copies: all get the same link.

use askama::Template;

use crate::back_office::BackOfficeUrl;
use crate::email::{EmailAddress, Recipients};
use crate::export::{Export, Failure, FailureCode};
use crate::file::ExportFile;
use crate::id::{ExportId, ExportType};
use crate::money::Money;
use crate::time::Timestamp;

/// How many rows a sheet of Excel holds (Microsoft, "Excel specifications and limits").
pub const EXCEL_ROWS: u64 = 1_048_576;

/// A mail, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Which export it is about.
    pub export: ExportId,
    /// Who gets it.
    pub recipients: Recipients,
    /// The subject.
    pub subject: String,
    /// For readers that show plain text.
    pub text: String,
    /// For all others.
    pub html: String,
}

/// What both forms of the mail with the link show.
struct ReadyFacts<'a> {
    subject: String,
    title: String,
    name: &'a str,
    export: ExportId,
    file: &'a ExportFile,
    as_of: String,
    rows: String,
    payouts: String,
    size: String,
    totals: Vec<(&'static str, String, String)>,
    link: &'a str,
    link_end: String,
    beyond_excel: bool,
    back_office: Option<&'a BackOfficeUrl>,
}

#[derive(Template)]
#[template(path = "ready.html")]
struct ReadyHtml<'a>(&'a ReadyFacts<'a>);

#[derive(Template)]
#[template(path = "ready.txt")]
struct ReadyText<'a>(&'a ReadyFacts<'a>);

/// What both forms of the failure's mail show.
struct FailedFacts<'a> {
    subject: String,
    title: String,
    name: &'a str,
    export: ExportId,
    as_of: String,
    failure: &'a Failure,
    advice: &'static str,
    back_office: Option<&'a BackOfficeUrl>,
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedHtml<'a>(&'a FailedFacts<'a>);

#[derive(Template)]
#[template(path = "failed.txt")]
struct FailedText<'a>(&'a FailedFacts<'a>);

impl Mail {
    /// The mail with the link to the file, and one to the back office if it is known where that is.
    ///
    /// # Errors
    /// None that the templates can meet; the type is the template engine's.
    pub fn ready(
        export: &Export,
        file: &ExportFile,
        link: &str,
        link_end: Timestamp,
        back_office: Option<&BackOfficeUrl>,
    ) -> Result<Self, askama::Error> {
        let title = format!("{} export", title(export.id.export_type()));
        let rows = grouped(file.rows);
        let facts = ReadyFacts {
            subject: format!("Your {} is ready", lower_first(&title)),
            title,
            name: export.requested_by.name.as_str(),
            export: export.id,
            file,
            as_of: spoken_to_the_second(export.as_of()),
            payouts: format!("{rows} {}", if file.rows == 1 { "payout" } else { "payouts" }),
            rows,
            size: size(file.bytes),
            totals: file
                .totals
                .by_currency()
                .into_iter()
                .map(|(currency, total)| {
                    let amount = Money { minor: total.minor, currency };
                    (currency.code(), grouped(total.count), grouped_amount(&amount.to_string()))
                })
                .collect(),
            link,
            link_end: spoken(link_end),
            // The header takes a row, too.
            beyond_excel: file.rows >= EXCEL_ROWS,
            back_office,
        };
        Ok(Self {
            export: export.id,
            recipients: export.recipients.clone(),
            text: ReadyText(&facts).render()?,
            html: ReadyHtml(&facts).render()?,
            subject: facts.subject,
        })
    }

    /// The mail about a failure. It goes to the requester alone.
    ///
    /// # Errors
    /// None that the templates can meet; the type is the template engine's.
    pub fn failed(
        export: &Export,
        failure: &Failure,
        back_office: Option<&BackOfficeUrl>,
    ) -> Result<Self, askama::Error> {
        let title = format!("{} export", title(export.id.export_type()));
        let facts = FailedFacts {
            subject: format!("Your {} failed", lower_first(&title)),
            title,
            name: export.requested_by.name.as_str(),
            export: export.id,
            as_of: spoken(export.as_of()),
            failure,
            advice: advice(failure.code),
            back_office,
        };
        let to: EmailAddress = export.requested_by.email.clone();
        Ok(Self {
            export: export.id,
            recipients: Recipients::only(to),
            text: FailedText(&facts).render()?,
            html: FailedHtml(&facts).render()?,
            subject: facts.subject,
        })
    }
}

/// What the requester can do about a failure.
const fn advice(code: FailureCode) -> &'static str {
    match code {
        FailureCode::PayoutsNotWritable => {
            "Give this list to whoever keeps the payouts. Once they are corrected, launch the export again."
        }
        FailureCode::FileTooLarge => "Tell your administrator the export ID: older payouts have to be archived first.",
        FailureCode::EmailNotSent => {
            "The file is there: once the cause is removed, send the e-mail again from the export history."
        }
        FailureCode::GenerationFailed | FailureCode::DeadlinePassed => {
            "Launch the export again. If it fails again, tell your administrator the export ID."
        }
        FailureCode::EndedByAdministrator => {
            "Launch the export again when the cause is removed; your administrator can tell you more."
        }
    }
}

const fn title(export_type: ExportType) -> &'static str {
    match export_type {
        ExportType::MarketplacePayouts => "Marketplace payouts",
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// A time as people write it: `8 October 2026, 00:00 UTC`.
fn spoken(time: Timestamp) -> String {
    time.format("%-d %B %Y, %H:%M UTC")
}

/// The same with the seconds: whether a payout is in a file can hang on one.
fn spoken_to_the_second(time: Timestamp) -> String {
    time.format("%-d %B %Y, %H:%M:%S UTC")
}

/// A number with its thousands apart: `1,048,576`.
fn grouped(number: u64) -> String {
    grouped_digits(&number.to_string())
}

/// An exact decimal with its thousands apart: `-1,234.50`.
fn grouped_amount(amount: &str) -> String {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let whole = grouped_digits(whole);
    fraction.map_or_else(|| format!("{sign}{whole}"), |fraction| format!("{sign}{whole}.{fraction}"))
}

fn grouped_digits(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size as people read it: `1.2 MB`, in powers of ten as file managers of most systems show it.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes, "bytes");
    let mut tenths = 0;
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000 {
            break;
        }
        (tenths, value, unit) = (value % 1000 / 100, value / 1000, next);
    }
    if unit == "bytes" { format!("{value} bytes") } else { format!("{value}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Total, Totals};
    use crate::lifecycle::tests::{export, file};
    use crate::payout::PayoutStatus;

    fn link_end() -> Timestamp {
        "2026-10-11T08:30:00.000Z".parse().unwrap()
    }

    #[test]
    fn ready_mail_says_what_the_file_is_and_how_long_the_link_lives() {
        let mut totals = Totals::default();
        for (code, status, count, minor) in [
            ("EUR", PayoutStatus::Settled, 1000, 123_450),
            ("EUR", PayoutStatus::Failed, 234, -50),
            ("JPY", PayoutStatus::Settled, 1, 7),
        ] {
            assert!(totals.add(code.parse().unwrap(), status, Total { count, minor }));
        }
        let file = ExportFile { rows: 1235, bytes: 1_234_567, totals, ..file() };
        let link = "https://bucket.example/key?X-Amz-Expires=9&X-Amz-Signature=abc";
        let mail = Mail::ready(&export(), &file, link, link_end(), None).unwrap();
        assert_eq!(mail.subject, "Your marketplace payouts export is ready");
        assert_eq!(mail.recipients, export().recipients);
        for text in [link, "11 October 2026, 08:30 UTC", "1,235", "1.2 MB", &file.sha256, "1,234.00", "JPY", &file.name]
        {
            assert!(mail.text.contains(text), "{text} in\n{}", mail.text);
        }
        assert!(
            mail.html.contains("https://bucket.example/key?X-Amz-Expires=9&#38;X-Amz-Signature=abc"),
            "{}",
            mail.html
        );
        assert!(!mail.text.contains("1,048,576"));
    }

    #[test]
    fn both_forms_of_a_mail_say_the_same() {
        let mut export = export();
        export.requested_by.name = "Ann <a@b.example> & Sons".parse().unwrap();
        let file = ExportFile { rows: 1, ..file() };
        let mail = Mail::ready(&export, &file, "https://bucket.example/key", link_end(), None).unwrap();
        let id = export.id.to_string();
        for text in [
            "1 payout in a CSV file of 1.0 kB",
            "created up to 8 October 2026, 08:30:00 UTC",
            "do not double-click",
            &file.sha256,
            &file.name,
            &id,
        ] {
            assert!(mail.text.contains(text) && mail.html.contains(text), "{text}");
        }
        // Plain text is as it is, HTML is escaped.
        assert!(mail.text.contains("Ann <a@b.example> & Sons"));
        assert!(mail.html.contains("Ann &#60;a@b.example&#62; &#38; Sons"), "{}", mail.html);
    }

    fn page() -> BackOfficeUrl {
        "https://back-office.example.com/payouts".parse().unwrap()
    }

    #[test]
    fn ready_mail_leads_to_the_back_office_if_it_is_known_where_that_is() {
        let mail = |page| Mail::ready(&export(), &file(), "https://bucket.example/key", link_end(), page).unwrap();
        let (with, without) = (mail(Some(&page())), mail(None));
        assert_eq!(with.text, format!("{}\n\nBack office: https://back-office.example.com/payouts", without.text));
        assert!(
            with.html.contains(
                "In the <a class=\"text\" href=\"https://back-office.example.com/payouts\" \
                 style=\"color:#161a22\">back office</a>, open the export history"
            ),
            "{}",
            with.html
        );
        assert!(without.html.contains("In the back office, open the export history"), "{}", without.html);
    }

    #[test]
    fn failed_mail_leads_to_the_back_office_if_it_is_known_where_that_is() {
        let failure = Failure { code: FailureCode::GenerationFailed, message: "It broke.".into() };
        let mail = |page| Mail::failed(&export(), &failure, page).unwrap();
        let (with, without) = (mail(Some(&page())), mail(None));
        let told = "tell your administrator the export ID.";
        assert!(
            with.text.contains(&format!("{told}\n\nBack office: https://back-office.example.com/payouts\n\nExport"))
        );
        assert!(without.text.contains(&format!("{told}\n\nExport")), "{}", without.text);
        assert!(
            with.html.contains(&format!("{told} <a class=\"text\" href=\"https://back-office.example.com/payouts\""))
        );
        assert!(!without.html.contains("<a"), "{}", without.html);
    }

    /// Mail programs cut off, re-wrap or refuse long lines; a link is one word and must stay whole.
    #[test]
    fn plain_text_has_no_trailing_spaces_and_no_runs_of_empty_lines() {
        let failure = Failure { code: FailureCode::GenerationFailed, message: "It broke.".into() };
        for page in [None, Some(&page())] {
            let ready = Mail::ready(&export(), &file(), "https://bucket.example/key", link_end(), page).unwrap();
            for text in [ready.text, Mail::failed(&export(), &failure, page).unwrap().text] {
                assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
                assert!(!text.contains("\n\n\n"), "{text:?}");
            }
        }
    }

    /// A mail that loads something tells its sender that it was read, and breaks where that is blocked.
    #[test]
    fn mails_load_nothing_and_run_nothing() {
        let failure = Failure { code: FailureCode::GenerationFailed, message: "m".into() };
        let ready = Mail::ready(&export(), &file(), "https://bucket.example/key", link_end(), None).unwrap();
        assert_eq!(ready.html.matches("http").count(), 1, "the link, and nothing else");
        for html in [ready.html, Mail::failed(&export(), &failure, None).unwrap().html] {
            for banned in ["<img", "<script", "<link", "url(", "@import", "src="] {
                assert!(!html.contains(banned), "{banned}");
            }
        }
    }

    #[test]
    fn ready_mail_warns_when_a_sheet_is_too_small() {
        let rows = |rows| Mail::ready(&export(), &ExportFile { rows, ..file() }, "l", link_end(), None).unwrap();
        for mail in [rows(EXCEL_ROWS), rows(EXCEL_ROWS * 2)] {
            assert!(mail.text.contains("1,048,576") && mail.html.contains("1,048,576"));
        }
        assert!(!rows(EXCEL_ROWS - 1).html.contains("(1,048,576)"));
    }

    #[test]
    fn failed_mail_goes_to_the_requester_and_escapes_what_comes_from_outside() {
        let mut export = export();
        export.requested_by.name = "<b>Ann</b>".parse().unwrap();
        let message = "1 payout cannot be written: <script>alert(1)</script> (currency unknown)".to_owned();
        let failure = Failure { code: FailureCode::PayoutsNotWritable, message };
        let mail = Mail::failed(&export, &failure, None).unwrap();
        assert_eq!(mail.recipients.to(), &export.requested_by.email);
        assert!(mail.recipients.cc().is_empty());
        assert!(mail.text.contains(&failure.message) && mail.text.contains(&export.id.to_string()));
        assert!(!mail.html.contains("<script>") && !mail.html.contains("<b>Ann"));
    }

    #[test]
    fn numbers_and_sizes_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_048_576].map(grouped), ["0", "999", "1,000", "1,048,576"]);
        assert_eq!(
            ["0", "-7", "-1234.50", "123456.789", "999.00"].map(grouped_amount),
            ["0", "-7", "-1,234.50", "123,456.789", "999.00"]
        );
        assert_eq!(
            [0, 999, 1000, 1_250_000, 7_000_000_000].map(size),
            ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "7.0 GB"]
        );
    }
}
