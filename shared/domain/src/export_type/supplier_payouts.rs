//! Supplier payouts: the earnings of a supplier in a period, paid from the marketplace's balance account to the supplier.
//! The amount is the captured amount minus commission and fees, adjusted for refunds.

use super::ColumnKind::{Amount, Count, Currency, OtherAmount, Status, Text, Time};
use super::{Definition, filter, optional, required, status};
use crate::filter::FilterKind::{CreatedAt, Currencies, Statuses, SupplierIds};

pub(super) const DEFINITION: Definition = Definition {
    slug: "supplier-payouts",
    id_prefix: "spo",
    table_setting: "SUPPLIER_PAYOUTS_TABLE",
    title: "Supplier payouts",
    singular: "supplier payout",
    plural: "supplier payouts",
    columns: &[
        required("payout_id", "supplierPayoutId", Text, "The payout's ID."),
        required("reference", "reference", Text, "The payout's reference."),
        required("status", "status", Status, "The status when the row was read."),
        required("supplier_id", "supplierId", Text, "The ID of the supplier that is paid."),
        optional("supplier_name", "supplierName", Text, "The supplier's name."),
        required("amount", "amountMinor", Amount, "The net amount paid out."),
        required("captured_amount", "capturedAmountMinor", OtherAmount, "The amount captured in the period."),
        required("commission_amount", "commissionAmountMinor", OtherAmount, "The marketplace's commission."),
        required("platform_fee_amount", "platformFeeAmountMinor", OtherAmount, "The platform fees."),
        required("interchange_fee_amount", "interchangeFeeAmountMinor", OtherAmount, "The interchange fees."),
        required("refunded_amount", "refundedAmountMinor", OtherAmount, "The amount refunded in the period."),
        required("currency", "currency", Currency, "The ISO 4217 currency of all amounts."),
        required("period_start", "periodStart", Time, "The start of the period that is paid."),
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
        status("SKIPPED", "Nothing is paid, because the amount is zero."),
    ],
    filters: &[
        filter(CreatedAt, &["createdAt"]),
        filter(Statuses, &["status"]),
        filter(Currencies, &["currency"]),
        filter(SupplierIds, &["supplierId"]),
    ],
};
