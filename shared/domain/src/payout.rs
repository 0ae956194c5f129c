//! A payout as the payments service stores it, and the columns it is exported as.

use std::fmt;
use std::str::FromStr;

/// One of a payout's attributes in the Payouts table.
///
/// This list is the one definition of the columns: the order here is the order in the file, and the header, the checks
/// and every reader follow it. It is append-only: a new column goes to the end and raises [`COLUMNS_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in the file's header.
    pub header: &'static str,
    /// The name in the Payouts table.
    pub attribute: &'static str,
    /// How the value is stored and written.
    pub kind: ColumnKind,
    /// Whether a payout without it cannot be written.
    pub required: bool,
}

/// How a column's value is stored and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text of any kind: guarded against being run as a formula.
    Text,
    /// One of [`PayoutStatus`].
    Status,
    /// Minor units, written as a decimal of the row's currency.
    Amount,
    /// An ISO 4217 code.
    Currency,
    /// A whole number.
    Count,
    /// A time, written to the second.
    Time,
}

/// The version of [`COLUMNS`] that a new export is accepted with.
pub const COLUMNS_VERSION: u32 = 1;

const fn column(header: &'static str, attribute: &'static str, kind: ColumnKind, required: bool) -> Column {
    Column { header, attribute, kind, required }
}

/// The columns, in the order of the file.
pub const COLUMNS: [Column; 15] = [
    column("payout_id", "payoutId", ColumnKind::Text, true),
    column("reference", "reference", ColumnKind::Text, true),
    column("status", "status", ColumnKind::Status, true),
    column("amount", "amountMinor", ColumnKind::Amount, true),
    column("currency", "currency", ColumnKind::Currency, true),
    column("period_start", "periodStart", ColumnKind::Time, true),
    column("period_end", "periodEnd", ColumnKind::Time, true),
    column("order_count", "orderCount", ColumnKind::Count, true),
    column("balance_account", "balanceAccount", ColumnKind::Text, true),
    column("psp_reference", "pspReference", ColumnKind::Text, false),
    column("failure_reason", "failureReason", ColumnKind::Text, false),
    column("created_at", "createdAt", ColumnKind::Time, true),
    column("executed_at", "executedAt", ColumnKind::Time, false),
    column("settled_at", "settledAt", ColumnKind::Time, false),
    column("updated_at", "updatedAt", ColumnKind::Time, true),
];

/// Where a payout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayoutStatus {
    /// The amount is known, nothing is paid yet.
    Computed,
    /// Given to the bank.
    Pending,
    /// Arrived.
    Settled,
    /// Refused.
    Failed,
    /// The balance account did not hold enough.
    InsufficientFunds,
}

impl PayoutStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Computed, Self::Pending, Self::Settled, Self::Failed, Self::InsufficientFunds];

    /// The name in tables, files and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Computed => "COMPUTED",
            Self::Pending => "PENDING",
            Self::Settled => "SETTLED",
            Self::Failed => "FAILED",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
        }
    }
}

/// The text names no payout status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a payout status")]
pub struct ParsePayoutStatusError;

impl FromStr for PayoutStatus {
    type Err = ParsePayoutStatusError;

    fn from_str(text: &str) -> Result<Self, ParsePayoutStatusError> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(ParsePayoutStatusError)
    }
}

/// The value of an attribute as it was read, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Not there, or NULL.
    Missing,
    /// A string.
    Text(&'a str),
    /// A number, as the table writes it.
    Number(&'a str),
    /// Of a type that no column has.
    Other,
}

/// A payout as it was read: the value of each of [`COLUMNS`], in their order.
pub type Row<'a> = [Value<'a>; COLUMNS.len()];

/// Why a payout cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    /// The attribute at invalid.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub problem: ValueProblem,
}

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueProblem {
    /// Required, and not there, NULL or empty.
    Missing,
    /// Of another type, or not of the form that its column writes.
    Malformed,
    /// Of the right form, but not one of the values there are.
    Unknown,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            ValueProblem::Missing => "missing",
            ValueProblem::Malformed => "malformed",
            ValueProblem::Unknown => "unknown",
        };
        write!(f, "{} {problem}", self.attribute)
    }
}
