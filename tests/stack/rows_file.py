"""Reads an exported CSV file of any type, so that its rows can be loaded again. Its header decides the type.

An export writes a `'` before text that a spreadsheet could run as a formula. It is not part of the value, so the reader
removes it from text columns, before `=`, `+`, `-`, `@`, a tab, CR or LF.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from export_types import EXPORT_TYPES, FUNDING_TRANSFERS, MARKETPLACE_PAYOUTS, SUPPLIER_PAYOUTS, ExportType

# ISO 4217: the number of decimals of every currency that has one. Independent of the product's list on purpose, because
# a check must not share the product's errors.
EXPONENTS = {
    code: exponent
    for exponent, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (
            2,
            """
            AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
            CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
            GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
            MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN
            QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY
            TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG ZWL
            """,
        ),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for code in codes.split()
}
GUARDED = re.compile("'(?:[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|[\0 ]+=)")
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{3}))?Z")
# The precision of a DynamoDB number.
MAX_DIGITS = 38


class RowsFileError(Exception):
    """The file cannot be loaded. The message has the file, the line, the column and the expected value."""


class _InvalidCell(Exception):
    """The value of a cell is invalid. The message says what its column expects."""


def _text(cell: str) -> str:
    return cell[1:] if GUARDED.match(cell) else cell


def _currency(cell: str) -> str:
    if cell not in EXPONENTS:
        raise _InvalidCell("an ISO 4217 currency code, such as EUR")
    return cell


def _count(cell: str) -> int:
    if not re.fullmatch(rf"-?\d{{1,{MAX_DIGITS}}}", cell, re.ASCII):
        raise _InvalidCell("a whole number")
    return int(cell)


def _time(cell: str) -> str:
    match = TIME.fullmatch(cell)
    try:
        if not match or not cell.isascii():
            raise ValueError
        datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        raise _InvalidCell("a time in UTC, such as 2026-10-08T00:00:01Z") from None
    return f"{match[1]}.{match[2] or '000'}Z"


def _amount(cell: str, currency: str) -> int:
    """An amount in minor units. Extra decimals must be zeros."""
    decimals = EXPONENTS[currency]
    match = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?", cell, re.ASCII)
    fraction = (match[3] or "") if match else ""
    if not match or fraction[decimals:].strip("0"):
        raise _InvalidCell(f"an exact decimal with at most {decimals} decimals, as {currency} has")
    digits = match[2] + fraction[:decimals].ljust(decimals, "0")
    if len(digits.lstrip("0")) > MAX_DIGITS:
        raise _InvalidCell(f"an amount of at most {MAX_DIGITS} digits")
    return int(match[1] + digits)


def _one_of(*values: str) -> Callable[[str], str]:
    def convert(cell: str) -> str:
        if cell not in values:
            raise _InvalidCell(f"one of {', '.join(values)}")
        return cell

    return convert


PAYOUT_STATUSES = ("COMPUTED", "PENDING", "SETTLED", "FAILED", "INSUFFICIENT_FUNDS")
_account_type = _one_of("MARKETPLACE", "SUPPLIER")

# Column, attribute of the source table, whether it may be empty, parser. Amounts depend on the row's currency.
Column = tuple[str, str, bool, Callable[..., Any]]
COLUMNS: dict[ExportType, tuple[Column, ...]] = {
    MARKETPLACE_PAYOUTS: (
        ("payout_id", "payoutId", False, _text),
        ("reference", "reference", False, _text),
        ("status", "status", False, _one_of(*PAYOUT_STATUSES)),
        ("amount", "amountMinor", False, _amount),
        ("currency", "currency", False, _currency),
        ("period_start", "periodStart", False, _time),
        ("period_end", "periodEnd", False, _time),
        ("order_count", "orderCount", False, _count),
        ("balance_account", "balanceAccount", False, _text),
        ("psp_reference", "pspReference", True, _text),
        ("failure_reason", "failureReason", True, _text),
        ("created_at", "createdAt", False, _time),
        ("executed_at", "executedAt", True, _time),
        ("settled_at", "settledAt", True, _time),
        ("updated_at", "updatedAt", False, _time),
    ),
    SUPPLIER_PAYOUTS: (
        ("payout_id", "supplierPayoutId", False, _text),
        ("reference", "reference", False, _text),
        ("status", "status", False, _one_of(*PAYOUT_STATUSES, "SKIPPED")),
        ("supplier_id", "supplierId", False, _text),
        ("supplier_name", "supplierName", True, _text),
        ("amount", "amountMinor", False, _amount),
        ("captured_amount", "capturedAmountMinor", False, _amount),
        ("commission_amount", "commissionAmountMinor", False, _amount),
        ("platform_fee_amount", "platformFeeAmountMinor", False, _amount),
        ("interchange_fee_amount", "interchangeFeeAmountMinor", False, _amount),
        ("refunded_amount", "refundedAmountMinor", False, _amount),
        ("currency", "currency", False, _currency),
        ("period_start", "periodStart", False, _time),
        ("period_end", "periodEnd", False, _time),
        ("order_count", "orderCount", False, _count),
        ("balance_account", "balanceAccount", False, _text),
        ("psp_reference", "pspReference", True, _text),
        ("failure_reason", "failureReason", True, _text),
        ("created_at", "createdAt", False, _time),
        ("executed_at", "executedAt", True, _time),
        ("settled_at", "settledAt", True, _time),
        ("updated_at", "updatedAt", False, _time),
    ),
    FUNDING_TRANSFERS: (
        ("transfer_id", "transferId", False, _text),
        ("reference", "reference", False, _text),
        ("status", "status", False, _one_of("PENDING", "COMPLETED", "FAILED")),
        ("amount", "amountMinor", False, _amount),
        ("currency", "currency", False, _currency),
        ("source_balance_account", "sourceBalanceAccount", False, _text),
        ("source_balance_account_type", "sourceBalanceAccountType", False, _account_type),
        ("source_supplier_id", "sourceSupplierId", True, _text),
        ("target_balance_account", "targetBalanceAccount", False, _text),
        ("target_balance_account_type", "targetBalanceAccountType", False, _account_type),
        ("target_supplier_id", "targetSupplierId", True, _text),
        ("related_entity_type", "relatedEntityType", False, _one_of("PAYOUT", "REFUND")),
        ("related_entity_id", "relatedEntityId", False, _text),
        ("psp_reference", "pspReference", True, _text),
        ("failure_reason", "failureReason", True, _text),
        ("created_at", "createdAt", False, _time),
        ("completed_at", "completedAt", True, _time),
        ("updated_at", "updatedAt", False, _time),
    ),
}
HEADERS = {export_type: [column for column, *_ in columns] for export_type, columns in COLUMNS.items()}

# DynamoDB's sort keys have at most 1,024 bytes, and this one starts with a time and a separator.
MAX_ID_BYTES = 1024 - len("2026-10-08T00:00:00.000Z#")
# DynamoDB's items have at most 400 KB. The attribute names and the keys take less than the difference.
MAX_ROW_BYTES = 400 * 1024 - 4096


def read(path: Path) -> tuple[ExportType, list[dict[str, Any]]]:
    """The type and the rows of a file, with the attributes of the source table except its keys. Stops at the first
    error."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RowsFileError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RowsFileError(f"{path}, line {line}: not UTF-8") from error
    # Line ends are not translated: within quotes they are part of the value.
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=";", strict=True)
    rows: list[dict[str, Any]] = []
    lines: dict[tuple[str, str], int] = {}
    line = 1
    try:
        header = next(reader, [])
        export_type = next((known for known in EXPORT_TYPES if HEADERS[known] == header), None)
        if not export_type:
            raise RowsFileError(f"{path}, line 1, {_header_error(header)}")
        id_column, id_attribute, *_ = COLUMNS[export_type][0]
        line = reader.line_num + 1
        for cells in reader:
            row = _row(path, line, cells, COLUMNS[export_type])
            if len(row[id_attribute].encode()) > MAX_ID_BYTES:
                raise RowsFileError(
                    f"{path}, line {line}, column {id_column}: longer than the {MAX_ID_BYTES} bytes a key can have"
                )
            if sum(len(cell.encode()) for cell in cells) > MAX_ROW_BYTES:
                raise RowsFileError(f"{path}, line {line}: longer than the 400 KB that a row can have")
            key = row["createdAt"], row[id_attribute]
            if (first := lines.setdefault(key, line)) != line:
                raise RowsFileError(f"{path}, line {line}, column {id_column}: already on line {first}")
            rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise RowsFileError(f"{path}, line {line}: {error}") from error
    return export_type, rows


def _header_error(header: list[str]) -> str:
    for delimiter, name in ((",", "commas"), ("\t", "tabs")):
        for known in HEADERS.values():
            if header == [delimiter.join(known)]:
                return f"has {name} between its columns: expected semicolons, {';'.join(known)}"
    # The type that the file resembles most.
    known = max(HEADERS.values(), key=lambda columns: len(set(columns) & set(header)))
    for number, expected in enumerate(known):
        found = header[number] if number < len(header) else "nothing"
        if found != expected:
            return f"column {number + 1}: expected the header {expected}, found {found}. The line is {';'.join(known)}"
    return f"column {len(known) + 1}: expected no more columns, found {header[len(known)]}"


def _row(path: Path, line: int, cells: list[str], columns: tuple[Column, ...]) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise RowsFileError(f"{path}, line {line}: expected {len(columns)} columns, found {len(cells)}")
    row: dict[str, Any] = {}
    named = {column: cell for (column, *_), cell in zip(columns, cells, strict=True)}
    # The currency comes first, so that an invalid one is not reported as an invalid amount.
    for column, attribute, optional, convert in sorted(columns, key=lambda entry: entry[0] != "currency"):
        cell = named[column]
        try:
            if cell:
                row[attribute] = convert(cell, row["currency"]) if convert is _amount else convert(cell)
            elif not optional:
                raise _InvalidCell("a value, it is required")
        except _InvalidCell as invalid:
            shown = f", found {cell[:60]!r}" if cell else ""
            raise RowsFileError(f"{path}, line {line}, column {column}: expected {invalid}{shown}") from None
    return row
