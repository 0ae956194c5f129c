//! What the recipients read. One mail goes to the main recipient and all copies: all get the same link.

use askama::Template;

use crate::email::{EmailAddress, Recipients};
use crate::export::{Export, Failure};
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
    title: String,
    name: &'a str,
    file: &'a ExportFile,
    as_of: String,
    rows: String,
    size: String,
    totals: Vec<(&'static str, String, String)>,
    link: &'a str,
    link_end: String,
    beyond_excel: bool,
}

#[derive(Template)]
#[template(path = "ready.html")]
struct ReadyHtml<'a>(&'a ReadyFacts<'a>);

#[derive(Template)]
#[template(path = "ready.txt")]
struct ReadyText<'a>(&'a ReadyFacts<'a>);

/// What both forms of the failure's mail show.
struct FailedFacts<'a> {
    title: String,
    name: &'a str,
    export: ExportId,
    as_of: String,
    failure: &'a Failure,
    advice: &'static str,
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedHtml<'a>(&'a FailedFacts<'a>);

#[derive(Template)]
#[template(path = "failed.txt")]
struct FailedText<'a>(&'a FailedFacts<'a>);

impl Mail {
    /// The mail with the link to the file.
    ///
    /// # Errors
    /// None that the templates can meet; the type is the template engine's.
    pub fn ready(export: &Export, file: &ExportFile, link: &str, link_end: Timestamp) -> Result<Self, askama::Error> {
        let facts = ReadyFacts {
            title: format!("{} export", title(export.id.export_type())),
            name: export.requested_by.name.as_str(),
            file,
            as_of: spoken(export.as_of()),
            rows: grouped(file.rows),
            size: size(file.bytes),
            totals: file
                .totals
                .by_currency()
                .into_iter()
                .map(|(currency, total)| {
                    let amount = Money { minor: total.minor, currency };
                    (currency.code(), grouped(total.count), amount.to_string())
                })
                .collect(),
            link,
            link_end: spoken(link_end),
            // The header takes a row, too.
            beyond_excel: file.rows >= EXCEL_ROWS,
        };
        Ok(Self {
            export: export.id,
            recipients: export.recipients.clone(),
            subject: format!("Your {} is ready", lower_first(&facts.title)),
            text: ReadyText(&facts).render()?,
            html: ReadyHtml(&facts).render()?,
        })
    }

    /// The mail about a failure. It goes to the requester alone.
    ///
    /// # Errors
    /// None that the templates can meet; the type is the template engine's.
    pub fn failed(export: &Export, failure: &Failure) -> Result<Self, askama::Error> {
        let facts = FailedFacts {
            title: format!("{} export", title(export.id.export_type())),
            name: export.requested_by.name.as_str(),
            export: export.id,
            as_of: spoken(export.as_of()),
            failure,
            advice: if failure.code.is_retryable() {
                "Launch the export again. If it fails again, tell your administrator the export's id."
            } else {
                "Once the cause is removed, launch the export again. Your administrator can find it by the export's id."
            },
        };
        let to: EmailAddress = export.requested_by.email.clone();
        Ok(Self {
            export: export.id,
            recipients: Recipients::only(to),
            subject: format!("Your {} failed", lower_first(&facts.title)),
            text: FailedText(&facts).render()?,
            html: FailedHtml(&facts).render()?,
        })
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

/// A number with its thousands apart: `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
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
    use crate::export::FailureCode;
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
        let mail = Mail::ready(&export(), &file, link, link_end()).unwrap();
        assert_eq!(mail.subject, "Your marketplace payouts export is ready");
        assert_eq!(mail.recipients, export().recipients);
        for text in [link, "11 October 2026, 08:30 UTC", "1,235", "1.2 MB", &file.sha256, "1234.00", "JPY", &file.name]
        {
            assert!(mail.text.contains(text), "{text} in\n{}", mail.text);
        }
        assert!(
            mail.html.contains("https://bucket.example/key?X-Amz-Expires=9&#38;X-Amz-Signature=abc"),
            "{}",
            mail.html
        );
        assert!(!mail.text.contains("Excel"));
    }

    #[test]
    fn ready_mail_warns_when_a_sheet_is_too_small() {
        let rows = |rows| Mail::ready(&export(), &ExportFile { rows, ..file() }, "l", link_end()).unwrap();
        for mail in [rows(EXCEL_ROWS), rows(EXCEL_ROWS * 2)] {
            assert!(mail.text.contains("Excel") && mail.html.contains("Excel"));
        }
        assert!(!rows(EXCEL_ROWS - 1).text.contains("Excel"));
    }

    #[test]
    fn failed_mail_goes_to_the_requester_and_escapes_what_comes_from_outside() {
        let mut export = export();
        export.requested_by.name = "<b>Ann</b>".parse().unwrap();
        let message = "1 payout cannot be written: <script>alert(1)</script> (currency unknown)".to_owned();
        let failure = Failure { code: FailureCode::PayoutsNotWritable, message };
        let mail = Mail::failed(&export, &failure).unwrap();
        assert_eq!(mail.recipients.to(), &export.requested_by.email);
        assert!(mail.recipients.cc().is_empty());
        assert!(mail.text.contains(&failure.message) && mail.text.contains(&export.id.to_string()));
        assert!(!mail.html.contains("<script>") && !mail.html.contains("<b>Ann"));
    }

    #[test]
    fn numbers_and_sizes_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_048_576].map(grouped), ["0", "999", "1,000", "1,048,576"]);
        assert_eq!(
            [0, 999, 1000, 1_250_000, 7_000_000_000].map(size),
            ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "7.0 GB"]
        );
    }
}
