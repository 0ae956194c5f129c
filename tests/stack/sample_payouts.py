"""Two years of sample payouts for a tenant, with every value that is difficult in a CSV export.

The rows depend only on the tenant's id, so that a tenant always gets the same rows.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

ROWS = 3000
FIRST_DAY = datetime(2024, 10, 1, tzinfo=timezone.utc)
SPAN = timedelta(days=730)
# Currency, weight, and the largest amount in minor units: with 2, 0 and 3 decimals.
CURRENCIES = (("EUR", 50, 2_500_000), ("USD", 25, 2_500_000), ("JPY", 15, 4_000_000), ("KWD", 10, 900_000))
STATUSES = (("SETTLED", 70), ("PENDING", 8), ("COMPUTED", 7), ("FAILED", 9), ("INSUFFICIENT_FUNDS", 6))
REASONS = {
    "FAILED": (
        "Bank rejected the transfer; account closed",
        'Beneficiary name does not match: "Marché & Fils"',
        "Refusé par la banque : compte clôturé",
        "Rejected by the bank\nReturn code AC04\nAsk the beneficiary for a new account",
        "=HYPERLINK(\"https://attacker.example\";\"click\")",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        "銀行に拒否されました 🏦",
        "\tcopied from a spreadsheet",
    ),
    "INSUFFICIENT_FUNDS": (
        "-1,250.00 missing on the balance account",
        "+ top up BA_MKP first",
        "Solde insuffisant 💸; réessai demain",
        "Line one\r\nLine two",
    ),
}  # fmt: skip
REFERENCES = (
    "Commission run {n}",
    "Commissions; run {n}",
    'Run {n} "late capture"',
    "Règlement n° {n} – été",
    "Payout {n} 🎉",
    "=run({n})",
    "+{n}",
    "-{n} correction",
    "@run {n}",
    "Run {n}\nsecond half",
)


def rows(tenant: str, count: int = ROWS) -> Iterator[dict[str, Any]]:
    """Payouts in order of creation, with the attributes of the payments service's table except its keys."""
    chance = random.Random(f"sample payouts of {tenant}")
    for number in range(count):
        created = FIRST_DAY + SPAN * number / count + timedelta(milliseconds=chance.randrange(1000))
        yield _row(chance, number, created)


def _row(chance: random.Random, number: int, created: datetime) -> dict[str, Any]:
    currency, _, largest = chance.choices(CURRENCIES, [weight for _, weight, _ in CURRENCIES])[0]
    status = chance.choices(STATUSES, [weight for _, weight in STATUSES])[0][0]
    # Amounts can be negative, because refunds can exceed commissions. Zero and one minor unit test the formatting.
    amount = chance.choice((0, 1, -1, 99, -5)) if number % 50 == 0 else chance.randint(1, largest)
    if number % 17 == 0:
        amount = -amount // 3
    # Most references are plain.
    reference = chance.choice(REFERENCES) if number % 5 == 0 else REFERENCES[0]
    end = created - timedelta(hours=2)
    row: dict[str, Any] = {
        "payoutId": f"po_{uuid.UUID(int=chance.getrandbits(128), version=4)}",
        "reference": reference.format(n=number + 1),
        "status": status,
        "currency": currency,
        "balanceAccount": "BA_MKP",
        "amountMinor": amount,
        "orderCount": chance.randint(0, 900),
        "periodStart": _time(end - timedelta(days=1)),
        "periodEnd": _time(end),
        "createdAt": _time(created),
    }
    updated = created + timedelta(minutes=chance.randint(0, 3000))
    if status != "COMPUTED":
        row["pspReference"] = f"psp-{chance.getrandbits(48):012x}"
    if status in ("SETTLED", "FAILED"):
        executed = created + timedelta(minutes=5)
        row["executedAt"] = _time(executed)
        updated = max(updated, executed)
    if status == "SETTLED":
        settled = created + timedelta(days=1)
        row["settledAt"] = _time(settled)
        updated = max(updated, settled)
    row["updatedAt"] = _time(updated)
    if status in REASONS:
        row["failureReason"] = chance.choice(REASONS[status])
    # A missing optional value may be absent, as above, or NULL.
    if number % 3 == 0:
        for name in ("pspReference", "failureReason", "executedAt", "settledAt"):
            row.setdefault(name, None)
    return row


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
