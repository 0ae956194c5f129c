//! Funding transfers: amounts moved between the balance accounts of the marketplace and its suppliers, to fund payouts and
//! refunds.

use super::ColumnKind::{Amount, Currency, OneOf, Status, Text, Time};
use super::{Definition, filter, optional, required, required_if, status};
use crate::filter::FilterKind::{
    self, CreatedAt, Currencies, SourceBalanceAccountType, Statuses, SupplierIds, TargetBalanceAccountType,
};

/// The types of a balance account.
const ACCOUNT_TYPES: &[&str] = &["MARKETPLACE", SUPPLIER];
const SUPPLIER: &str = "SUPPLIER";

pub(super) const DEFINITION: Definition = Definition {
    slug: "funding-transfers",
    id_prefix: "ftr",
    table_setting: "FUNDING_TRANSFERS_TABLE",
    title: "Funding transfers",
    singular: "funding transfer",
    plural: "funding transfers",
    columns: &[
        required("transfer_id", "transferId", Text, "The transfer's ID."),
        required("reference", "reference", Text, "The transfer's reference."),
        required("status", "status", Status, "The status when the row was read."),
        required("amount", "amountMinor", Amount, "The amount transferred."),
        required("currency", "currency", Currency, "The amount's ISO 4217 currency."),
        required("source_balance_account", "sourceBalanceAccount", Text, "The balance account that is debited."),
        required(
            "source_balance_account_type",
            "sourceBalanceAccountType",
            OneOf(ACCOUNT_TYPES),
            "The type of that account: MARKETPLACE or SUPPLIER.",
        ),
        required_if(
            ("sourceBalanceAccountType", SUPPLIER),
            "source_supplier_id",
            "sourceSupplierId",
            Text,
            "The ID of the supplier that owns it. Required if its type is SUPPLIER.",
        ),
        required("target_balance_account", "targetBalanceAccount", Text, "The balance account that is credited."),
        required(
            "target_balance_account_type",
            "targetBalanceAccountType",
            OneOf(ACCOUNT_TYPES),
            "The type of that account: MARKETPLACE or SUPPLIER.",
        ),
        required_if(
            ("targetBalanceAccountType", SUPPLIER),
            "target_supplier_id",
            "targetSupplierId",
            Text,
            "The ID of the supplier that owns it. Required if its type is SUPPLIER.",
        ),
        required(
            "related_entity_type",
            "relatedEntityType",
            OneOf(&["PAYOUT", "REFUND"]),
            "What the transfer funds: PAYOUT or REFUND.",
        ),
        required("related_entity_id", "relatedEntityId", Text, "The ID of that payout or refund."),
        optional("psp_reference", "pspReference", Text, "The payment service provider's reference."),
        optional("failure_reason", "failureReason", Text, "Why the transfer failed."),
        required("created_at", "createdAt", Time, "When the transfer was created."),
        optional("completed_at", "completedAt", Time, "When it was completed."),
        required("updated_at", "updatedAt", Time, "When it last changed."),
    ],
    statuses: &[
        status("PENDING", "Submitted to the payment service provider."),
        status("COMPLETED", "The target account is credited."),
        status("FAILED", "Rejected by the payment service provider."),
    ],
    filters: &[
        filter(CreatedAt, &["createdAt"]),
        filter(Statuses, &["status"]),
        filter(Currencies, &["currency"]),
        filter(SupplierIds, &["sourceSupplierId", "targetSupplierId"]),
        filter(FilterKind::Amount, &["amountMinor"]),
        filter(SourceBalanceAccountType, &["sourceBalanceAccountType"]),
        filter(TargetBalanceAccountType, &["targetBalanceAccountType"]),
    ],
};
