"""Test payouts, as the payments service stores them, without the keys of the table."""

from __future__ import annotations

from typing import Any

CREATED_AT = "2026-03-01T10:00:00.000Z"


def payout(payout_id: str, **changes: Any) -> dict[str, Any]:
    """A valid payout with some attributes changed."""
    return {
        "payoutId": payout_id,
        "reference": "Commission run",
        "status": "SETTLED",
        "currency": "EUR",
        "balanceAccount": "BA_MKP",
        "amountMinor": 123_450,
        "orderCount": 3,
        "periodStart": "2026-02-01T00:00:00.000Z",
        "periodEnd": "2026-02-28T23:59:59.000Z",
        "createdAt": CREATED_AT,
        "updatedAt": CREATED_AT,
        **changes,
    }


def plain_payouts(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Valid payouts in the order of the file."""
    return [payout(f"po_{number:06}", **changes) for number in range(count)]


def large_payouts(count: int) -> list[dict[str, Any]]:
    """Payouts of 50 kB each. Twenty fill a page of a query, so a few are enough for many pages and parts."""
    return plain_payouts(count, failureReason="x" * 50_000)
