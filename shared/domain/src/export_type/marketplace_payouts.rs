//! Marketplace payouts: the commissions of captured orders since the last successful run, paid from the marketplace's
//! balance account to its bank.

use super::ColumnKind::{Amount, Count, Currency, Status, Text, Time};
use super::{Definition, filter, optional, required, status};
use crate::filter::FilterKind::{CreatedAt, Currencies, Statuses};

pub(super) const DEFINITION: Definition = Definition {
    slug: "marketplace-payouts",
    id_prefix: "mpo",
    table_setting: "PAYOUTS_TABLE",
    title: "Marketplace payouts",
    singular: "payout",
    plural: "payouts",
    columns: &[
        required("payout_id", "payoutId", Text, "The payout's ID."),
        required("reference", "reference", Text, "The payout's reference."),
        required("status", "status", Status, "The status when the row was read."),
        required("amount", "amountMinor", Amount, "The amount paid out."),
        required("currency", "currency", Currency, "The amount's ISO 4217 currency."),
        required("period_start", "periodStart", Time, "The start of the period whose commissions are paid."),
        required("period_end", "periodEnd", Time, "The end of that period."),
        required("order_count", "orderCount", Count, "The number of orders in the period."),
        required("balance_account", "balanceAccount", Text, "The balance account that is debited."),
        optional("psp_reference", "pspReference", Text, "The payment service provider's reference."),
        optional("failure_reason", "failureReason", Text, "Why the payout failed."),
        required("created_at", "createdAt", Time, "When the payout was created."),
        optional("executed_at", "executedAt", Time, "When it was submitted to the bank."),
        optional("settled_at", "settledAt", Time, "When it arrived."),
        required("updated_at", "updatedAt", Time, "When it last changed."),
    ],
    statuses: &[
        status("COMPUTED", "The amount is computed; nothing is paid yet."),
        status("PENDING", "Submitted to the bank."),
        status("SETTLED", "Arrived at the bank."),
        status("FAILED", "Rejected by the bank."),
        status("INSUFFICIENT_FUNDS", "The balance account did not hold enough."),
    ],
    filters: &[filter(CreatedAt, &["createdAt"]), filter(Statuses, &["status"]), filter(Currencies, &["currency"])],
};
