"""The currencies that the product accepts, against a second source: the Unicode CLDR, by Babel."""

from __future__ import annotations

from pathlib import Path

from babel.core import get_global

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = dict(line.split() for line in (ROOT / "shared/domain/golden/currencies.txt").read_text().splitlines())
# Withdrawn currencies stay acceptable if they were legal tender in this year or later.
FIRST_YEAR = 2010
# In CLDR, but not in ISO 4217 (the offshore renminbi), or without an exponent there (metals, units of account, tests).
NOT_ACCEPTED = {"CNH", "XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XFU", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
# In ISO 4217, but not used since FIRST_YEAR: El Salvador has used USD since 2001.
NOT_USED = {"SVC"}
# ISO 4217, list one; BYR by its last entry there. All others have two decimals.
NO_DECIMALS = {
    "BIF",
    "BYR",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "UYI",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
}
THREE_DECIMALS = {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}
FOUR_DECIMALS = {"CLF", "UYW"}


def in_use() -> set[str]:
    return {
        code
        for history in get_global("territory_currencies").values()
        for code, _, end, _ in history
        if end is None or end[0] >= FIRST_YEAR
    }


def test_currencies_used_since_2010_are_accepted_and_no_others() -> None:
    assert ACCEPTED.keys() == in_use() - NOT_ACCEPTED | NOT_USED


def test_exponents_are_those_of_iso_4217() -> None:
    # CLDR has the customary number of digits, which differs.
    for exponent, codes in [("0", NO_DECIMALS), ("3", THREE_DECIMALS), ("4", FOUR_DECIMALS)]:
        assert {code for code, accepted in ACCEPTED.items() if accepted == exponent} == codes
    assert set(ACCEPTED.values()) == {"0", "2", "3", "4"}
