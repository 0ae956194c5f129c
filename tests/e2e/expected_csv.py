"""An independent CSV writer, based on the documented file format only.

It shares no code or library with the product, so that a mistake in either one causes a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

HEADER = (
    "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;"
    "psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at"
)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# ISO 4217: the number of decimals of a currency.
EXPONENTS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
# A spreadsheet may run a cell that starts with one of these. Some also accept the full-width forms.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Payout = Mapping[str, Any]


def expected_csv(payouts: Iterable[Payout], byte_order_mark: bool = False) -> bytes:
    lines = [HEADER, *(_line(payout) for payout in in_order(payouts))]
    text = "".join(f"{line}\n" for line in lines)
    return (BYTE_ORDER_MARK if byte_order_mark else b"") + text.encode("utf-8")


def expected_totals(payouts: Iterable[Payout]) -> dict[tuple[str, str], tuple[int, str]]:
    """Count and amount by currency and status."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for payout in payouts:
        key = payout["currency"], payout["status"]
        count, minor = sums.get(key, (0, 0))
        sums[key] = count + 1, minor + int(payout["amountMinor"])
    return {key: (count, amount(minor, key[0])) for key, (count, minor) in sums.items()}


def in_order(payouts: Iterable[Payout]) -> list[Payout]:
    return sorted(payouts, key=lambda payout: (payout["createdAt"], payout["payoutId"]))


def amount(minor: int, currency: str) -> str:
    # A Decimal created from text is exact. Arithmetic would round to 28 digits.
    return f"{Decimal(f'{minor}E-{EXPONENTS[currency]}'):f}"


def _line(payout: Payout) -> str:
    cells = (
        _text(payout["payoutId"]),
        _text(payout["reference"]),
        payout["status"],
        amount(payout["amountMinor"], payout["currency"]),
        payout["currency"],
        _time(payout["periodStart"]),
        _time(payout["periodEnd"]),
        str(payout["orderCount"]),
        _text(payout["balanceAccount"]),
        _text(payout.get("pspReference")),
        _text(payout.get("failureReason")),
        _time(payout["createdAt"]),
        _time(payout.get("executedAt")),
        _time(payout.get("settledAt")),
        _time(payout["updatedAt"]),
    )
    return ";".join(_quoted(cell) for cell in cells)


def _text(value: str | None) -> str:
    if value is None:
        return ""
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def _time(value: str | None) -> str:
    if value is None:
        return ""
    return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").strftime("%Y-%m-%dT%H:%M:%SZ")


def _quoted(cell: str) -> str:
    """RFC 4180, 2.6 and 2.7: quotes a cell with a separator, a quote or a line break, and doubles the quotes in it."""
    if any(character in cell for character in ';"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
