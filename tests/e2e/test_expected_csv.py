"""Compares the independent CSV writer with a file written by hand."""

from __future__ import annotations

from expected_csv import expected_csv, expected_totals
from payouts import payout


def test_expected_csv_of_edge_cases_matches_a_file_by_hand() -> None:
    payouts = [
        payout("po_2", currency="JPY", amountMinor=1234, createdAt="2026-03-01T10:00:00.999Z"),
        payout("po_1", currency="EUR", amountMinor=-5, reference='Règlement; "n° 1"', failureReason="line\nbreak"),
        payout("po_3", currency="KWD", amountMinor=1500, reference="=1+1", pspReference="-1", executedAt=None),
    ]
    tail = "2026-02-01T00:00:00Z;2026-02-28T23:59:59Z;3;BA_MKP"
    times = "2026-03-01T10:00:00Z;;;2026-03-01T10:00:00Z"
    assert expected_csv(payouts).decode() == (
        "payout_id;reference;status;amount;currency;period_start;period_end;order_count;balance_account;"
        "psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n"
        f'po_1;"Règlement; ""n° 1""";SETTLED;-0.05;EUR;{tail};;"line\nbreak";{times}\n'
        f"po_3;'=1+1;SETTLED;1.500;KWD;{tail};'-1;;{times}\n"
        f"po_2;Commission run;SETTLED;1234;JPY;{tail};;;{times}\n"
    )


def test_expected_totals_are_by_currency_and_status() -> None:
    payouts = [
        payout("po_1", currency="EUR", amountMinor=105),
        payout("po_2", currency="EUR", amountMinor=-5),
        payout("po_3", currency="EUR", amountMinor=7, status="FAILED"),
        payout("po_4", currency="KWD", amountMinor=1),
    ]
    assert expected_totals(payouts) == {
        ("EUR", "SETTLED"): (2, "1.00"),
        ("EUR", "FAILED"): (1, "0.07"),
        ("KWD", "SETTLED"): (1, "0.001"),
    }
