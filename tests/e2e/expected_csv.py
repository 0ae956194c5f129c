"""An independent CSV writer, based on the documented file format only.

It shares no code or library with the product, so that a mistake in either one causes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# ISO 4217: the number of decimals of a currency.
EXPONENTS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
# A spreadsheet may run a cell that starts with one of these (https://owasp.org/www-community/attacks/CSV_Injection). In
# Japanese, Excel also runs the full-width forms (https://github.com/OWASP/www-community/issues/1088).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# The characters that LibreOffice drops before "=".
DROPPED = "\0 "

Payout = Mapping[str, Any]


def expected_csv(
    payouts: Iterable[Payout], byte_order_mark: bool = False, export_type: str = "marketplace-payouts"
) -> bytes:
    columns = COLUMNS[export_type]
    lines = [_header(export_type), *(_line(payout, columns) for payout in in_order(payouts, export_type))]
    text = "".join(f"{line}\n" for line in lines)
    return (BYTE_ORDER_MARK if byte_order_mark else b"") + text.encode("utf-8")


def expected_invalid_rows(lines: Iterable[tuple[str, str, str, str]]) -> bytes:
    """The file of invalid rows: ID, column, problem and value of each line."""
    cells = [("id", "column", "problem", "value"), *lines]
    return "".join(";".join(quoted(_text(cell, {})) for cell in line) + "\n" for line in cells).encode()


def expected_totals(payouts: Iterable[Payout]) -> dict[tuple[str, str], tuple[int, str]]:
    """Count and amount by currency and status."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for payout in payouts:
        key = payout["currency"], payout["status"]
        count, minor = sums.get(key, (0, 0))
        sums[key] = count + 1, minor + int(payout["amountMinor"])
    return {key: (count, amount(minor, key[0])) for key, (count, minor) in sums.items()}


def in_order(payouts: Iterable[Payout], export_type: str = "marketplace-payouts") -> list[Payout]:
    _, id_attribute, _ = COLUMNS[export_type][0]
    return sorted(payouts, key=lambda payout: (payout["createdAt"], payout[id_attribute]))


def amount(minor: int, currency: str) -> str:
    # A Decimal created from text is exact. Arithmetic would round to 28 digits.
    return f"{Decimal(f'{minor}E-{EXPONENTS[currency]}'):f}"


def _line(payout: Payout, columns: Iterable[Column]) -> str:
    return ";".join(quoted(write(payout.get(attribute), payout)) for _, attribute, write in columns)


def _text(value: str | None, _: Payout) -> str:
    if not value:
        return ""
    return f"'{value}" if runs_as_formula(value) else value


def runs_as_formula(value: str) -> bool:
    return value.startswith(FORMULA_STARTS) or value.lstrip(DROPPED).startswith("=")


def _time(value: str | None, _: Payout) -> str:
    if not value:
        return ""
    return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").strftime("%Y-%m-%dT%H:%M:%SZ")


def _amount(value: int, payout: Payout) -> str:
    return amount(value, payout["currency"])


def _plain(value: object, _: Payout) -> str:
    return str(value)


def quoted(cell: str) -> str:
    """RFC 4180, 2.6 and 2.7: quotes a cell with a separator, a quote or a line break, and doubles the quotes in it."""
    if any(character in cell for character in ';"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


# The name in the header, the attribute of the source table, and the form.
Column = tuple[str, str, Callable[[Any, Payout], str]]
COLUMNS: dict[str, tuple[Column, ...]] = {
    "marketplace-payouts": (
        ("payout_id", "payoutId", _text),
        ("reference", "reference", _text),
        ("status", "status", _plain),
        ("amount", "amountMinor", _amount),
        ("currency", "currency", _plain),
        ("period_start", "periodStart", _time),
        ("period_end", "periodEnd", _time),
        ("order_count", "orderCount", _plain),
        ("balance_account", "balanceAccount", _text),
        ("psp_reference", "pspReference", _text),
        ("failure_reason", "failureReason", _text),
        ("created_at", "createdAt", _time),
        ("executed_at", "executedAt", _time),
        ("settled_at", "settledAt", _time),
        ("updated_at", "updatedAt", _time),
    ),
    "supplier-payouts": (
        ("payout_id", "supplierPayoutId", _text),
        ("reference", "reference", _text),
        ("status", "status", _plain),
        ("supplier_id", "supplierId", _text),
        ("supplier_name", "supplierName", _text),
        ("amount", "amountMinor", _amount),
        ("captured_amount", "capturedAmountMinor", _amount),
        ("commission_amount", "commissionAmountMinor", _amount),
        ("platform_fee_amount", "platformFeeAmountMinor", _amount),
        ("interchange_fee_amount", "interchangeFeeAmountMinor", _amount),
        ("refunded_amount", "refundedAmountMinor", _amount),
        ("currency", "currency", _plain),
        ("period_start", "periodStart", _time),
        ("period_end", "periodEnd", _time),
        ("order_count", "orderCount", _plain),
        ("balance_account", "balanceAccount", _text),
        ("psp_reference", "pspReference", _text),
        ("failure_reason", "failureReason", _text),
        ("created_at", "createdAt", _time),
        ("executed_at", "executedAt", _time),
        ("settled_at", "settledAt", _time),
        ("updated_at", "updatedAt", _time),
    ),
    "funding-transfers": (
        ("transfer_id", "transferId", _text),
        ("reference", "reference", _text),
        ("status", "status", _plain),
        ("amount", "amountMinor", _amount),
        ("currency", "currency", _plain),
        ("source_balance_account", "sourceBalanceAccount", _text),
        ("source_balance_account_type", "sourceBalanceAccountType", _plain),
        ("source_supplier_id", "sourceSupplierId", _text),
        ("target_balance_account", "targetBalanceAccount", _text),
        ("target_balance_account_type", "targetBalanceAccountType", _plain),
        ("target_supplier_id", "targetSupplierId", _text),
        ("related_entity_type", "relatedEntityType", _plain),
        ("related_entity_id", "relatedEntityId", _text),
        ("psp_reference", "pspReference", _text),
        ("failure_reason", "failureReason", _text),
        ("created_at", "createdAt", _time),
        ("completed_at", "completedAt", _time),
        ("updated_at", "updatedAt", _time),
    ),
}


def _header(export_type: str) -> str:
    return ";".join(name for name, _, _ in COLUMNS[export_type])


HEADER = _header("marketplace-payouts")
