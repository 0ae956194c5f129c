"""Sample rows of every export type for a tenant, with every value that is difficult in a CSV export.

The rows of the other types are made from the sample payouts, whose texts, times and amounts are difficult already.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import sample_payouts
from export_types import FUNDING_TRANSFERS, MARKETPLACE_PAYOUTS, SUPPLIER_PAYOUTS, ExportType

Row = dict[str, Any]

# An ID, and a name that a file may have to guard or to quote.
SUPPLIERS = (
    ("sup_001", "Marché & Fils"),
    ("sup_002", "=Supplier; \"two\""),
    ("sup_003", "北京供应商"),
    ("007", "+49 Trading"),
    ("sup_005", None),
    ("sup_006", ""),
)  # fmt: skip


def rows(export_type: ExportType, tenant: str, count: int = sample_payouts.ROWS) -> Iterator[Row]:
    """Rows in order of creation, with the attributes of the payments service's table except its keys."""
    chance = random.Random(f"sample {export_type.slug} of {tenant}")
    for number, row in enumerate(sample_payouts.rows(tenant, count)):
        yield _ROWS[export_type](chance, number, row)


def _marketplace_payout(chance: random.Random, number: int, row: Row) -> Row:
    return row


def _supplier_payout(chance: random.Random, number: int, row: Row) -> Row:
    supplier, name = chance.choice(SUPPLIERS)
    captured, refunded = abs(row["amountMinor"]) * 2, chance.choice((0, 0, 0, 199))
    commission, platform, interchange = captured // 10, captured // 100, 25
    net = captured - commission - platform - interchange - refunded
    if number % 40 == 7:
        # Nothing was sold. An empty string is the same as no value.
        captured = commission = platform = interchange = refunded = net = 0
        row |= {"status": "SKIPPED", "pspReference": "", "executedAt": "", "settledAt": ""}
    return {
        **_without(row, "payoutId"),
        "supplierPayoutId": row["payoutId"].replace("po_", "spo_"),
        "supplierId": supplier,
        "supplierName": name,
        "amountMinor": net,
        "capturedAmountMinor": captured,
        "commissionAmountMinor": commission,
        "platformFeeAmountMinor": platform,
        "interchangeFeeAmountMinor": interchange,
        "refundedAmountMinor": refunded,
    }


def _funding_transfer(chance: random.Random, number: int, row: Row) -> Row:
    status = {"SETTLED": "COMPLETED", "FAILED": "FAILED", "INSUFFICIENT_FUNDS": "FAILED"}.get(row["status"], "PENDING")
    kept = _without(
        row, "payoutId", "balanceAccount", "orderCount", "periodStart", "periodEnd", "executedAt", "settledAt"
    )
    transfer = {
        **kept,
        "transferId": row["payoutId"].replace("po_", "tr_"),
        "status": status,
        "amountMinor": abs(row["amountMinor"]),
        "relatedEntityType": chance.choice(("PAYOUT", "PAYOUT", "REFUND")),
        "relatedEntityId": f"=rel_{number}" if number % 30 == 4 else f"rel_{number}",
    }
    supplier = chance.choice(SUPPLIERS)[0]
    for side, is_supplier in (("source", number % 4 == 1), ("target", number % 4 != 1 or number % 20 == 1)):
        transfer[f"{side}BalanceAccountType"] = "SUPPLIER" if is_supplier else "MARKETPLACE"
        transfer[f"{side}BalanceAccount"] = f"BA_{supplier}" if is_supplier else "BA_MKP"
        if is_supplier:
            transfer[f"{side}SupplierId"] = supplier
        elif number % 3 == 0:
            # An empty string is the same as no value.
            transfer[f"{side}SupplierId"] = chance.choice((None, ""))
    if status == "COMPLETED":
        transfer["completedAt"] = row["settledAt"]
    elif number % 3 == 0:
        transfer["completedAt"] = ""
    return transfer


def _without(row: Row, *attributes: str) -> Row:
    return {name: value for name, value in row.items() if name not in attributes}


_ROWS: dict[ExportType, Callable[[random.Random, int, Row], Row]] = {
    MARKETPLACE_PAYOUTS: _marketplace_payout,
    SUPPLIER_PAYOUTS: _supplier_payout,
    FUNDING_TRANSFERS: _funding_transfer,
}
