"""The export types, as callers and the payments service see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportType:
    """An export type. Independent of the product's list on purpose, because a check must not share its errors."""

    slug: str
    prefix: str
    # In e-mails: the title, and the word for several rows.
    title: str
    plural: str
    # The attribute of the source table with the row's ID.
    id_attribute: str
    # The template's output with the table's name.
    output: str

    @property
    def path(self) -> str:
        """The path of its exports."""
        return f"/v1/payments/{self.slug}/export"

    @property
    def lock(self) -> str:
        """The sort key of a tenant's lock."""
        return f"LOCK#{self.slug}"

    @property
    def key(self) -> str:
        """The table's key in stack.json."""
        return self.output[0].lower() + self.output[1:]


MARKETPLACE_PAYOUTS = ExportType(
    "marketplace-payouts", "mpo", "Marketplace payouts", "payouts", "payoutId", "PayoutsTable"
)
SUPPLIER_PAYOUTS = ExportType(
    "supplier-payouts", "spo", "Supplier payouts", "supplier payouts", "supplierPayoutId", "SupplierPayoutsTable"
)
FUNDING_TRANSFERS = ExportType(
    "funding-transfers", "ftr", "Funding transfers", "funding transfers", "transferId", "FundingTransfersTable"
)
EXPORT_TYPES = (MARKETPLACE_PAYOUTS, SUPPLIER_PAYOUTS, FUNDING_TRANSFERS)


def type_of(export_id: str) -> ExportType:
    """The type of an export. Marketplace payouts for an ID that no export has."""
    prefix = export_id.partition("_")[0]
    return next((known for known in EXPORT_TYPES if known.prefix == prefix), MARKETPLACE_PAYOUTS)
