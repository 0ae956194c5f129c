//! Why an export failed.

use std::str::FromStr;
use std::time::Duration;

use crate::caller::Person;
use crate::control_chars::is_control_or_bidi;
use crate::export_type::Definition;
use crate::file::InvalidRowsFile;
use crate::invalid_rows::{InvalidRows, shown};
use crate::mail::with_separators;
use crate::sheet::MAX_CELL_CHARS;
use crate::time::Timestamp;

/// Why an export failed, in terms that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub code: FailureCode,
    /// The explanation for the requester, in a few sentences.
    pub message: String,
    /// Who cancelled the export, if somebody did.
    pub cancelled_by: Option<Person>,
    /// The file of invalid rows, if these are the reason.
    pub invalid_rows: Option<InvalidRowsFile>,
}

const XLSX_ADVICE: &str = "Launch the export as CSV, or with a shorter period.";

impl Failure {
    /// Some rows have values that cannot be written; the file with this object key lists them.
    #[must_use]
    pub fn invalid_rows(rows: &InvalidRows, definition: &Definition, key: String, expires_at: Timestamp) -> Self {
        let file = InvalidRowsFile { count: rows.count, is_complete: rows.are_all, key, expires_at };
        let message = format!("{}.", rows.describe(definition));
        Self { code: FailureCode::InvalidRows, message, cancelled_by: None, invalid_rows: Some(file) }
    }

    /// The file would have more than `max_bytes` bytes.
    #[must_use]
    pub fn file_too_large(max_bytes: u64) -> Self {
        let gibibytes = max_bytes >> 30;
        let message = format!("The file would exceed {gibibytes} GiB, the maximum size of an export.");
        Self { code: FailureCode::FileTooLarge, message, cancelled_by: None, invalid_rows: None }
    }

    /// There are more rows than the `max_rows` of an XLSX file.
    #[must_use]
    pub fn too_many_rows_for_xlsx(max_rows: u64) -> Self {
        let message = format!("An Excel file can have at most {} rows. {XLSX_ADVICE}", with_separators(max_rows));
        Self { code: FailureCode::XlsxTooLarge, message, cancelled_by: None, invalid_rows: None }
    }

    /// The invocation that wrote an XLSX file ran out of time.
    #[must_use]
    pub fn out_of_time_for_xlsx() -> Self {
        let message = format!("The Excel file could not be written in the available time. {XLSX_ADVICE}");
        Self { code: FailureCode::XlsxTooLarge, message, cancelled_by: None, invalid_rows: None }
    }

    /// The row with this id has a text that is too long for a cell of an XLSX file.
    #[must_use]
    pub fn text_too_long_for_xlsx(id: &str, column: &str) -> Self {
        let (id, most) = (shown(id), with_separators(MAX_CELL_CHARS as u64));
        let message = format!(
            "The {column} of {id} is longer than {most} characters, the most in a cell of Excel. {XLSX_ADVICE}"
        );
        Self { code: FailureCode::XlsxTooLarge, message, cancelled_by: None, invalid_rows: None }
    }

    /// The file exists, but the e-mail service rejected the e-mail for this `reason`.
    #[must_use]
    pub fn email_not_sent(reason: &str) -> Self {
        let message = format!("The file was generated, but the e-mail service rejected the e-mail: {reason}");
        Self { code: FailureCode::EmailNotSent, message, cancelled_by: None, invalid_rows: None }
    }

    /// All `attempts` were used up.
    #[must_use]
    pub fn attempts_used_up(attempts: u32) -> Self {
        let message = format!("The export failed after {attempts} attempt{}.", if attempts == 1 { "" } else { "s" });
        Self { code: FailureCode::GenerationFailed, message, cancelled_by: None, invalid_rows: None }
    }

    /// Two attempts met a permanent error, or the file expired before it was mailed. The error itself is only logged,
    /// because it can name internal resources.
    #[must_use]
    pub fn permanent_error() -> Self {
        let message = "The export failed because of an internal error that retrying does not fix, such as a missing permission. \
                       Give your administrator the export ID, which leads to the cause in the logs.";
        Self { code: FailureCode::InternalError, message: message.to_owned(), cancelled_by: None, invalid_rows: None }
    }

    /// An administrator failed the export, with or without a `reason`.
    #[must_use]
    pub fn failed_by_administrator(reason: Option<&Reason>) -> Self {
        let message = match reason {
            Some(reason) => format!("An administrator failed the export: {}", reason.0),
            None => "An administrator failed the export.".to_owned(),
        };
        Self { code: FailureCode::FailedByAdministrator, message, cancelled_by: None, invalid_rows: None }
    }

    /// This caller cancelled the export.
    #[must_use]
    pub fn cancelled(cancelled_by: Person) -> Self {
        let message = format!("{} cancelled the export.", cancelled_by.name.as_str());
        Self { code: FailureCode::Cancelled, message, cancelled_by: Some(cancelled_by), invalid_rows: None }
    }

    /// The deadline passed, and the corrupt record does not have the time limit.
    #[must_use]
    pub fn deadline_passed_corrupt() -> Self {
        let message = "The export did not finish within its time limit, because its record is corrupt.";
        Self { code: FailureCode::DeadlinePassed, message: message.to_owned(), cancelled_by: None, invalid_rows: None }
    }

    /// The deadline passed.
    #[must_use]
    pub fn deadline_passed(time_limit: Duration) -> Self {
        let seconds = time_limit.as_secs();
        let (number, unit) = match seconds {
            0 => (0, "second"),
            _ if seconds.is_multiple_of(3600) => (seconds / 3600, "hour"),
            _ if seconds.is_multiple_of(60) => (seconds / 60, "minute"),
            _ => (seconds, "second"),
        };
        let limit = format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
        let message = format!("The export did not finish within its time limit of {limit}.");
        Self { code: FailureCode::DeadlinePassed, message, cancelled_by: None, invalid_rows: None }
    }
}

/// Why an administrator fails an export, shown to the requester: 1 to 200 characters, without control or bidirectional
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// The text is not a valid reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 200 characters, without control characters, and must not be blank")]
pub struct ParseReasonError;

impl FromStr for Reason {
    type Err = ParseReasonError;

    fn from_str(text: &str) -> Result<Self, ParseReasonError> {
        let reason = text.trim();
        if (1..=200).contains(&reason.chars().count()) && !reason.chars().any(is_control_or_bidi) {
            Ok(Self(reason.to_owned()))
        } else {
            Err(ParseReasonError)
        }
    }
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[strum(parse_err_ty = ParseFailureCodeError, parse_err_fn = ParseFailureCodeError::new)]
pub enum FailureCode {
    /// Some rows have values that cannot be written.
    InvalidRows,
    /// The file would exceed the maximum size.
    FileTooLarge,
    /// The rows do not fit into an XLSX file, or could not be written to one in one invocation.
    XlsxTooLarge,
    /// The file exists, but the e-mail service rejected the e-mail.
    EmailNotSent,
    /// All attempts were used up: on the file, or, if there is a file, on the e-mail.
    GenerationFailed,
    /// Two attempts met a permanent error.
    InternalError,
    /// The export was still pending at its deadline.
    DeadlinePassed,
    /// An administrator failed it.
    FailedByAdministrator,
    /// A caller cancelled it before its file was recorded.
    Cancelled,
}

impl FailureCode {
    /// All codes.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in records and responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether launching the export again can succeed without any other change.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::InvalidRows | Self::FileTooLarge | Self::XlsxTooLarge | Self::EmailNotSent | Self::InternalError => {
                false
            }
            Self::GenerationFailed | Self::DeadlinePassed | Self::FailedByAdministrator | Self::Cancelled => true,
        }
    }
}

/// The text is not a failure code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown failure code")]
pub struct ParseFailureCodeError;

impl ParseFailureCodeError {
    const fn new(_: &str) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_one_line_of_at_most_200_characters() {
        let longest = "x".repeat(200);
        for text in ["stuck since noon", " stuck since noon ", "é", &longest] {
            assert!(text.parse::<Reason>().is_ok(), "{text}");
        }
        for text in ["", "  ", "a\nb", "a\u{202e}b", &format!("{longest}x")] {
            assert_eq!(text.parse::<Reason>(), Err(ParseReasonError), "{text:?}");
        }
        let reason = " stuck ".parse().unwrap();
        let message = |reason| Failure::failed_by_administrator(reason).message;
        assert_eq!(message(Some(&reason)), "An administrator failed the export: stuck");
        assert_eq!(message(None), "An administrator failed the export.");
    }

    #[test]
    fn code_says_whether_launching_again_can_succeed() {
        let expected = [
            ("INVALID_ROWS", false),
            ("FILE_TOO_LARGE", false),
            ("XLSX_TOO_LARGE", false),
            ("EMAIL_NOT_SENT", false),
            ("GENERATION_FAILED", true),
            ("INTERNAL_ERROR", false),
            ("DEADLINE_PASSED", true),
            ("FAILED_BY_ADMINISTRATOR", true),
            ("CANCELLED", true),
        ];
        let actual: Vec<_> = FailureCode::ALL.iter().map(|code| (code.as_str(), code.is_retryable())).collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn message_names_the_default_limit() {
        // 10,000 parts of 8 MiB.
        let message = Failure::file_too_large(10_000 * (8 << 20)).message;
        assert_eq!(message, "The file would exceed 78 GiB, the maximum size of an export.");
        assert_eq!(Failure::attempts_used_up(5).message, "The export failed after 5 attempts.");
        assert_eq!(Failure::attempts_used_up(1).message, "The export failed after 1 attempt.");
    }

    #[test]
    fn xlsx_failure_gives_the_limit_and_advice() {
        for (failure, reason) in [
            (Failure::too_many_rows_for_xlsx(1_000_000), "An Excel file can have at most 1,000,000 rows."),
            (Failure::out_of_time_for_xlsx(), "The Excel file could not be written in the available time."),
            (
                Failure::text_too_long_for_xlsx("po_1", "failure_reason"),
                "The failure_reason of \"po_1\" is longer than 32,767 characters, the most in a cell of Excel.",
            ),
        ] {
            assert_eq!(failure.message, format!("{reason} Launch the export as CSV, or with a shorter period."));
            assert_eq!(failure.code, FailureCode::XlsxTooLarge);
        }
    }

    #[test]
    fn deadline_failure_names_the_time_limit() {
        let message = |seconds| Failure::deadline_passed(Duration::from_secs(seconds)).message;
        for (seconds, limit) in [
            (0, "0 seconds"),
            (30, "30 seconds"),
            (61, "61 seconds"),
            (60, "1 minute"),
            (9000, "150 minutes"),
            (21_600, "6 hours"),
        ] {
            assert!(message(seconds).contains(&format!("time limit of {limit}.")), "{}", message(seconds));
        }
    }
}
