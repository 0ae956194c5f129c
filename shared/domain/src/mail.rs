//! The e-mails about an export. The main recipient and the CC recipients get one message with the same link.

use askama::Template;

use crate::back_office::BackOfficeUrl;
use crate::csv_advice;
use crate::email::{EmailAddress, Recipients};
use crate::export::Export;
use crate::export_type::Definition;
use crate::failure::{Failure, FailureCode};
use crate::file::ExportFile;
use crate::id::ExportId;
use crate::money::{Currency, Money};
use crate::options::FileFormat;
use crate::summary::{conditions, long_time, period, size};
use crate::time::Timestamp;
use crate::totals::Total;

/// The most rows of an Excel worksheet (Microsoft, "Excel specifications and limits").
pub const EXCEL_ROWS: u64 = 1_048_576;

/// A complete e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The export that it is about.
    pub export: ExportId,
    /// The recipients.
    pub recipients: Recipients,
    /// The subject line.
    pub subject: String,
    /// The plain-text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
}

/// The values in both bodies of the e-mail with the link.
struct ReadyFacts<'a> {
    subject: String,
    title: String,
    name: &'a str,
    export: ExportId,
    file: &'a ExportFile,
    /// The format, for people.
    format: &'static str,
    is_csv: bool,
    period: String,
    /// The filters other than the period, and when the rows were read.
    conditions: Vec<Condition>,
    rows: String,
    rows_title: String,
    definition: &'static Definition,
    size: String,
    totals: Vec<TotalLine>,
    link: &'a str,
    link_expiry: String,
    /// Who can send a new link: the main recipient is always an operator.
    to: &'a EmailAddress,
    kept_until: String,
    exceeds_excel: bool,
    back_office: Option<&'a BackOfficeUrl>,
}

#[derive(Template)]
#[template(path = "ready.html")]
struct ReadyHtml<'a>(&'a ReadyFacts<'a>);

#[derive(Template)]
#[template(path = "ready.txt")]
struct ReadyText<'a>(&'a ReadyFacts<'a>);

/// The values in both bodies of the failure e-mail.
struct FailedFacts<'a> {
    subject: String,
    title: String,
    name: &'a str,
    export: ExportId,
    as_of: String,
    definition: &'static Definition,
    failure: &'a Failure,
    /// "failed" or "was cancelled".
    outcome: &'static str,
    /// The same as a label.
    label: &'static str,
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
    /// The e-mail with `link` to the file, and a link to the back office if its URL is given.
    ///
    /// # Errors
    /// The type is the template engine's; these templates cause no errors.
    pub fn ready(
        export: &Export,
        file: &ExportFile,
        link: &str,
        link_expiry: Timestamp,
        back_office: Option<&BackOfficeUrl>,
    ) -> Result<Self, askama::Error> {
        let definition = export.id.export_type().definition();
        let title = format!("{} export", definition.title);
        let rows = with_separators(file.rows);
        let is_csv = export.options.format == FileFormat::Csv;
        let facts = ReadyFacts {
            subject: format!("Your {} is ready", lower_first(&title)),
            title,
            name: export.requested_by.name.as_str(),
            export: export.id,
            file,
            format: if is_csv { "CSV" } else { "Excel" },
            is_csv,
            period: period(export),
            conditions: conditions(export, file.read).into_iter().map(Condition::new).collect(),
            definition,
            rows,
            rows_title: upper_first(definition.plural),
            size: size(file.bytes),
            totals: totals(file),
            link,
            link_expiry: long_time(link_expiry),
            to: export.recipients.to(),
            kept_until: long_time(file.expires_at),
            // The header is a row of the worksheet, too.
            exceeds_excel: is_csv && file.rows >= EXCEL_ROWS,
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

    /// The e-mail about a failure, to the requester only.
    ///
    /// # Errors
    /// The type is the template engine's; these templates cause no errors.
    pub fn failed(
        export: &Export,
        failure: &Failure,
        back_office: Option<&BackOfficeUrl>,
    ) -> Result<Self, askama::Error> {
        let definition = export.id.export_type().definition();
        let title = format!("{} export", definition.title);
        let (outcome, label) = match failure.code {
            FailureCode::Cancelled => ("was cancelled", "Cancelled"),
            _ => ("failed", "Failed"),
        };
        let facts = FailedFacts {
            subject: format!("Your {} {outcome}", lower_first(&title)),
            title,
            name: export.requested_by.name.as_str(),
            export: export.id,
            as_of: long_time(export.as_of()),
            definition,
            failure,
            outcome,
            label,
            advice: advice(failure.code, export.file().is_some()),
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

/// A line of the totals: of a currency, or of one of its statuses.
struct TotalLine {
    currency: &'static str,
    status: Option<&'static str>,
    count: String,
    amount: String,
}

/// The lines of each currency, followed by those of its statuses.
fn totals(file: &ExportFile) -> Vec<TotalLine> {
    let line = |currency: Currency, status, total: Total| TotalLine {
        currency: currency.code(),
        status,
        count: with_separators(total.count),
        amount: decimal_with_separators(&Money { minor: total.minor, currency }.to_string()),
    };
    let of_currency = |(currency, total)| {
        let by_status = file.totals.iter().filter(move |(other, _, _)| *other == currency);
        let by_status = by_status.map(move |(_, status, total)| line(currency, Some(status.name()), total));
        std::iter::once(line(currency, None, total)).chain(by_status)
    };
    file.totals.by_currency().into_iter().flat_map(of_currency).collect()
}

/// The next step of the requester after a failure.
const fn advice(code: FailureCode, has_file: bool) -> &'static str {
    match code {
        FailureCode::InvalidRows => {
            "Download the file of invalid rows from the export's details in the back office. It lists up to 10,000 rows with \
             their values. Send it to the payments team. Launch the export again once the rows are corrected."
        }
        FailureCode::FileTooLarge => "Export a shorter period.",
        FailureCode::XlsxTooLarge => "A CSV file does not have this limit.",
        FailureCode::EmailNotSent => {
            "Once the cause is fixed, send the e-mail again from the export history. The file is kept."
        }
        FailureCode::GenerationFailed | FailureCode::DeadlinePassed | FailureCode::InternalError if has_file => {
            "The file is complete. Send the e-mail again from the export history. If that fails, too, give your administrator \
             the export ID."
        }
        FailureCode::GenerationFailed | FailureCode::DeadlinePassed => {
            "Launch the export again. If it fails again, give your administrator the export ID."
        }
        FailureCode::InternalError => {
            "Give your administrator the export ID, which leads to the cause in the logs. Launch the export again once \
             the cause is fixed."
        }
        FailureCode::FailedByAdministrator => {
            "Ask your administrator for the cause. Launch the export again once it is fixed."
        }
        FailureCode::Cancelled => "Launch the export again if you still need it.",
    }
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// What decides on the content other than the period: the name and the values of a filter, or when the rows were read.
struct Condition {
    name: &'static str,
    /// The name with spaces up to the values of the plain text.
    padded: String,
    values: String,
}

impl Condition {
    fn new((name, values): (&'static str, String)) -> Self {
        Self { name, padded: format!("{name:<9}"), values }
    }
}

/// A number with thousands separators: `1,048,576`.
pub(crate) fn with_separators(number: u64) -> String {
    separate_thousands(&number.to_string())
}

/// A decimal with thousands separators: `-1,234.50`.
fn decimal_with_separators(amount: &str) -> String {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let whole = separate_thousands(whole);
    fraction.map_or_else(|| format!("{sign}{whole}"), |fraction| format!("{sign}{whole}.{fraction}"))
}

fn separate_thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Person;
    use crate::export::State;
    use crate::export_type::ExportType;
    use crate::filter::{AccountType, RowFilter};
    use crate::lifecycle::tests::{export, file};
    use crate::options::ExportOptions;
    use crate::testing::row_status;
    use crate::totals::Totals;

    fn link_expiry() -> Timestamp {
        "2026-10-11T08:30:00.000Z".parse().unwrap()
    }

    #[test]
    fn mail_names_its_export_type_and_no_other() {
        for export_type in ExportType::ALL {
            let id = ExportId::new(export_type, export().created_at(), &[7; 10]);
            let export = Export { id, ..export() };
            for mail in [
                Mail::ready(&export, &file(), "https://bucket/x", link_expiry(), None).unwrap(),
                Mail::failed(&export, &Failure::attempts_used_up(5), None).unwrap(),
            ] {
                for text in [&mail.subject, &mail.text, &mail.html].map(|text| text.to_lowercase()) {
                    for other in ExportType::ALL {
                        let is_named = text.contains(&other.definition().title.to_lowercase());
                        assert_eq!(is_named, other == export_type, "{export_type:?}, {other:?}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn ready_mail_shows_link_expiry_and_file_statistics() {
        let mut totals = Totals::default();
        for (code, status, count, minor) in
            [("EUR", "SETTLED", 1000, 123_450), ("EUR", "FAILED", 234, -50), ("JPY", "SETTLED", 1, 7)]
        {
            assert!(totals.add(code.parse().unwrap(), row_status(status), Total { count, minor }));
        }
        let file = ExportFile { rows: 1235, bytes: 1_234_567, totals, ..file() };
        let link = "https://bucket.example/key?X-Amz-Expires=9&X-Amz-Signature=abc";
        let mail = Mail::ready(&export(), &file, link, link_expiry(), None).unwrap();
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
    fn text_and_html_bodies_have_the_same_facts() {
        let mut export = export();
        export.requested_by.name = "Ann <a@b.example> & Sons".parse().unwrap();
        let file = ExportFile { rows: 1, ..file() };
        let mail = Mail::ready(&export, &file, "https://bucket.example/key", link_expiry(), None).unwrap();
        let id = export.id.to_string();
        for text in [
            "1 payout in a CSV file of 1.0 kB",
            "created up to 8 October 2026, 08:30:00 UTC",
            "amounts and statuses as read between 8 October 2026, 08:30:00 UTC and 8 October 2026, 09:30:00 UTC",
            "Do not double-click",
            &file.sha256,
            &file.name,
            &id,
        ] {
            assert!(mail.text.contains(text) && mail.html.contains(text), "{text}");
        }
        // Only HTML is escaped.
        assert!(mail.text.contains("Ann <a@b.example> & Sons"));
        assert!(mail.html.contains("Ann &#60;a@b.example&#62; &#38; Sons"), "{}", mail.html);
    }

    #[test]
    fn mail_about_a_workbook_has_no_advice_for_csv() {
        let mail = |format| {
            let options = ExportOptions { format, ..ExportOptions::default() };
            let file = ExportFile { rows: EXCEL_ROWS, ..file() };
            Mail::ready(&Export { options, ..export() }, &file, "https://b.example/k", link_expiry(), None).unwrap()
        };
        let (csv, xlsx) = (mail(FileFormat::Csv), mail(FileFormat::Xlsx));
        for (csv, xlsx) in [(&csv.text, &xlsx.text), (&csv.html, &xlsx.html)] {
            for text in ["CSV file", "Do not double-click", "Excel worksheet can hold", csv_advice::CHECK] {
                assert!(csv.contains(text) && !xlsx.contains(text), "{text}: {xlsx}");
            }
            for text in ["an Excel file of", "Times are in UTC", "Amounts of more than 15 digits are text"] {
                assert!(xlsx.contains(text) && !csv.contains(text), "{text}: {xlsx}");
            }
        }
    }

    #[test]
    fn csv_advice_ends_with_the_totals() {
        let mail = Mail::ready(&export(), &file(), "https://b.example/k", link_expiry(), None).unwrap();
        for body in [&mail.text, &mail.html] {
            let advice = ["Excel:", "LibreOffice:", "Google Sheets:", "Numbers:", "Then compare the totals"];
            let places = advice.map(|text| body.find(text).unwrap_or_else(|| panic!("{text} in\n{body}")));
            assert!(places.is_sorted(), "{places:?}");
        }
    }

    #[test]
    fn ready_mail_names_who_can_send_a_new_link() {
        let mail = Mail::ready(&export(), &file(), "https://b.example/k", link_expiry(), None).unwrap();
        let text = "office, ask ann@example.com. The file is kept until 7 November 2026, 08:30 UTC; after that";
        assert!(mail.text.contains(text) && mail.html.contains(text), "{}", mail.text);
    }

    /// A file of an earlier build.
    #[test]
    fn ready_mail_without_read_times_does_not_mention_them() {
        let file = ExportFile { read: None, ..file() };
        let mail = Mail::ready(&export(), &file, "https://b.example/k", link_expiry(), None).unwrap();
        assert!(!mail.text.contains("as read between") && !mail.html.contains("as read between"), "{}", mail.text);
    }

    #[test]
    fn totals_are_by_currency_and_status() {
        let mut totals = Totals::default();
        for (code, status, count, minor) in [("EUR", "SETTLED", 1000, 123_450), ("EUR", "FAILED", 234, -50)] {
            assert!(totals.add(code.parse().unwrap(), row_status(status), Total { count, minor }));
        }
        let mail = Mail::ready(&export(), &ExportFile { totals, ..file() }, "https://b.example/k", link_expiry(), None)
            .unwrap();
        assert!(mail.html.contains(">Payouts</th>"), "{}", mail.html);
        let lines = [
            "EUR  1,234.00  (1,234 payouts)",
            "EUR SETTLED  1,234.50  (1,000 payouts)",
            "EUR FAILED  -0.50  (234 payouts)",
        ];
        for line in lines {
            assert!(mail.text.contains(line), "{line} in\n{}", mail.text);
        }
    }

    fn ready_mail(filter: RowFilter, rows: u64) -> Mail {
        let mut export = export();
        export.options.filter = filter;
        Mail::ready(&export, &ExportFile { rows, ..file() }, "https://bucket.example/key", link_expiry(), None).unwrap()
    }

    #[test]
    fn ready_mail_shows_the_period() {
        let time = |text: &str| Some(text.parse().unwrap());
        for (from, to, shown) in [
            (None, None, "created up to 8 October 2026, 08:30:00 UTC"),
            (None, time("2026-10-08T08:30:00.000Z"), "created up to 8 October 2026, 08:30:00 UTC"),
            (
                time("2026-09-01T00:00:00.000Z"),
                time("2026-09-30T23:59:59.999Z"),
                "created from 1 September 2026, 00:00:00 UTC up to 30 September 2026, 23:59:59 UTC",
            ),
            (
                time("2026-09-01T00:00:00.500Z"),
                time("2026-09-30T23:59:59.001Z"),
                "created from 1 September 2026, 00:00:00.500 UTC up to 30 September 2026, 23:59:59.001 UTC",
            ),
            // It ends with the acceptance.
            (None, time("2026-12-31T23:59:59.999Z"), "created up to 8 October 2026, 08:30:00 UTC"),
        ] {
            let mail = ready_mail(RowFilter { created_at_from: from, created_at_to: to, ..RowFilter::default() }, 3);
            for body in [&mail.text, &mail.html] {
                assert!(body.contains(shown), "{shown} in\n{body}");
            }
        }
    }

    #[test]
    fn ready_mail_shows_the_filters() {
        let filter = RowFilter {
            statuses: ["SETTLED", "FAILED"].map(row_status).into(),
            currencies: ["EUR".parse().unwrap()].into(),
            supplier_ids: ["<b>", "a"].map(|id| id.parse().unwrap()).into(),
            amount_min: Some("1.5".parse().unwrap()),
            source_balance_account_type: Some(AccountType::Supplier),
            ..RowFilter::default()
        };
        let mail = ready_mail(filter, 3);
        for line in [
            "  Status     SETTLED, FAILED",
            "  Currency   EUR",
            "  Amount     1.5 EUR or more",
            "  Supplier   <b>, a",
            "  Source     SUPPLIER",
        ] {
            assert!(mail.text.lines().any(|shown| shown == line), "{line} in\n{}", mail.text);
        }
        for value in ["SETTLED, FAILED", "1.5 EUR or more", "&#60;b&#62;, a"] {
            assert!(mail.html.contains(value), "{value} in\n{}", mail.html);
        }
        let without = ready_mail(RowFilter::default(), 3);
        assert!(!without.text.contains("  Status ") && !without.html.contains(">Currency<"));
    }

    #[test]
    fn ready_mail_says_that_nothing_matches() {
        let filter = RowFilter { statuses: ["FAILED"].map(row_status).into(), ..RowFilter::default() };
        let text = "No payouts match. The file contains only the header.";
        let mail = ready_mail(filter, 0);
        assert!(mail.text.contains(text) && mail.html.contains(text), "{}", mail.text);
        let mail = ready_mail(RowFilter::default(), 3);
        assert!(!mail.text.contains("only the header") && !mail.html.contains("only the header"));
    }

    fn back_office_url() -> BackOfficeUrl {
        "https://back-office.example.com/payouts".parse().unwrap()
    }

    #[test]
    fn ready_mail_links_to_the_back_office_if_configured() {
        let mail = |url| Mail::ready(&export(), &file(), "https://bucket.example/key", link_expiry(), url).unwrap();
        let (with, without) = (mail(Some(&back_office_url())), mail(None));
        assert_eq!(with.text, format!("{}\n\nBack office: https://back-office.example.com/payouts", without.text));
        assert!(
            with.html.contains(
                "from the export history in the <a class=\"text\" href=\"https://back-office.example.com/payouts\" \
                 style=\"color:#161a22\">back office</a>"
            ),
            "{}",
            with.html
        );
        assert!(without.html.contains("from the export history in the back office"), "{}", without.html);
    }

    #[test]
    fn failed_mail_links_to_the_back_office_if_configured() {
        let failure = Failure {
            code: FailureCode::GenerationFailed,
            message: "It broke.".into(),
            cancelled_by: None,
            invalid_rows: None,
        };
        let mail = |url| Mail::failed(&export(), &failure, url).unwrap();
        let (with, without) = (mail(Some(&back_office_url())), mail(None));
        let advice = "give your administrator the export ID.";
        assert!(
            with.text.contains(&format!("{advice}\n\nBack office: https://back-office.example.com/payouts\n\nExport"))
        );
        assert!(without.text.contains(&format!("{advice}\n\nExport")), "{}", without.text);
        assert!(
            with.html.contains(&format!("{advice} <a class=\"text\" href=\"https://back-office.example.com/payouts\""))
        );
        assert!(!without.html.contains("<a"), "{}", without.html);
    }

    #[test]
    fn text_body_has_no_trailing_spaces_or_double_blank_lines() {
        let failure = Failure {
            code: FailureCode::GenerationFailed,
            message: "It broke.".into(),
            cancelled_by: None,
            invalid_rows: None,
        };
        for url in [None, Some(&back_office_url())] {
            let ready = Mail::ready(&export(), &file(), "https://bucket.example/key", link_expiry(), url).unwrap();
            for text in [ready.text, Mail::failed(&export(), &failure, url).unwrap().text] {
                assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
                assert!(!text.contains("\n\n\n"), "{text:?}");
            }
        }
    }

    /// Remote content would report to a server that the e-mail was read, and many clients block it.
    #[test]
    fn html_body_has_no_remote_content_or_scripts() {
        let failure = Failure {
            code: FailureCode::GenerationFailed,
            message: "m".into(),
            cancelled_by: None,
            invalid_rows: None,
        };
        let ready = Mail::ready(&export(), &file(), "https://bucket.example/key", link_expiry(), None).unwrap();
        assert_eq!(ready.html.matches("http").count(), 1, "only the link to the file");
        for html in [ready.html, Mail::failed(&export(), &failure, None).unwrap().html] {
            for banned in ["<img", "<script", "<link", "url(", "@import", "src="] {
                assert!(!html.contains(banned), "{banned}");
            }
        }
    }

    #[test]
    fn ready_mail_warns_above_the_row_limit_of_excel() {
        let rows = |rows| Mail::ready(&export(), &ExportFile { rows, ..file() }, "l", link_expiry(), None).unwrap();
        for mail in [rows(EXCEL_ROWS), rows(EXCEL_ROWS * 2)] {
            assert!(mail.text.contains("1,048,576") && mail.html.contains("1,048,576"));
        }
        assert!(!rows(EXCEL_ROWS - 1).html.contains("(1,048,576)"));
    }

    #[test]
    fn failed_mail_goes_to_the_requester_and_is_escaped() {
        let mut export = export();
        export.requested_by.name = "<b>Ann</b>".parse().unwrap();
        let message = "1 payout cannot be written: <script>alert(1)</script> (currency unknown)".to_owned();
        let failure = Failure { code: FailureCode::InvalidRows, message, cancelled_by: None, invalid_rows: None };
        let mail = Mail::failed(&export, &failure, None).unwrap();
        assert_eq!(mail.recipients.to(), &export.requested_by.email);
        assert!(mail.recipients.cc().is_empty());
        assert!(mail.text.contains(&failure.message) && mail.text.contains(&export.id.to_string()));
        assert!(!mail.html.contains("<script>") && !mail.html.contains("<b>Ann"));
    }

    #[test]
    fn failed_mail_advises_to_resend_if_there_is_a_file() {
        let mut with_file = export();
        let State::Pending(pending) = &mut with_file.state else { panic!("{with_file:?}") };
        pending.file = Some(file());
        for failure in [Failure::attempts_used_up(5), Failure::permanent_error()] {
            let advises = |export: &Export, advice: &str| {
                let mail = Mail::failed(export, &failure, None).unwrap();
                mail.text.contains(advice)
            };
            let (launch, resend) = ("Launch the export again", "Send the e-mail again from the export history.");
            assert!(advises(&export(), launch) && !advises(&export(), resend), "{failure:?}");
            assert!(advises(&with_file, resend) && !advises(&with_file, launch), "{failure:?}");
        }
    }

    #[test]
    fn mail_about_a_cancelled_export_names_who_cancelled_it() {
        let ben = Person { email: "ben@example.com".parse().unwrap(), name: "Ben".parse().unwrap() };
        let mail = Mail::failed(&export(), &Failure::cancelled(ben), None).unwrap();
        assert_eq!(mail.subject, "Your marketplace payouts export was cancelled");
        for text in ["marketplace payouts export was cancelled", "Ben cancelled the export.", "if you still need it."] {
            assert!(mail.html.contains(text), "{text} in\n{}", mail.html);
        }
        for text in ["marketplace payouts export that you launched on", "was cancelled", "Ben cancelled the export."] {
            assert!(mail.text.contains(text), "{text} in\n{}", mail.text);
        }
        assert!(!mail.text.contains("failed") && !mail.html.contains("failed"), "{}", mail.text);
        assert_eq!(mail.recipients.to(), &export().requested_by.email);
    }

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!([0, 999, 1000, 1_048_576].map(with_separators), ["0", "999", "1,000", "1,048,576"]);
        assert_eq!(
            ["0", "-7", "-1234.50", "123456.789", "999.00"].map(decimal_with_separators),
            ["0", "-7", "-1,234.50", "123,456.789", "999.00"]
        );
    }
}
