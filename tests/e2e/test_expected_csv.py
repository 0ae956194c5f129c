"""Compares the independent CSV writer with a file written by hand."""

from __future__ import annotations

from expected_csv import expected_csv, expected_totals
from payouts import CREATED_AT, payout


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


def test_expected_csv_of_supplier_payouts_matches_a_file_by_hand() -> None:
    row = {
        "supplierPayoutId": "spo_1", "reference": "R", "status": "SETTLED", "supplierId": "007", "supplierName": "@x",
        "amountMinor": -5, "capturedAmountMinor": 1000, "commissionAmountMinor": 1, "platformFeeAmountMinor": 20,
        "interchangeFeeAmountMinor": 300, "refundedAmountMinor": 0, "currency": "KWD", "orderCount": 3,
        "periodStart": "2026-02-01T00:00:00.000Z", "periodEnd": "2026-02-28T23:59:59.000Z", "balanceAccount": "BA",
        "pspReference": "", "failureReason": None, "createdAt": CREATED_AT, "executedAt": "", "updatedAt": CREATED_AT,
    }  # fmt: skip
    assert expected_csv([row], export_type="supplier-payouts").decode() == (
        "payout_id;reference;status;supplier_id;supplier_name;amount;captured_amount;commission_amount;"
        "platform_fee_amount;interchange_fee_amount;refunded_amount;currency;period_start;period_end;order_count;"
        "balance_account;psp_reference;failure_reason;created_at;executed_at;settled_at;updated_at\n"
        "spo_1;R;SETTLED;007;'@x;-0.005;1.000;0.001;0.020;0.300;0.000;KWD;2026-02-01T00:00:00Z;2026-02-28T23:59:59Z;3;"
        "BA;;;2026-03-01T10:00:00Z;;;2026-03-01T10:00:00Z\n"
    )


def test_expected_csv_of_funding_transfers_matches_a_file_by_hand() -> None:
    row = {
        "transferId": "tr_1", "reference": "R", "status": "COMPLETED", "amountMinor": 5, "currency": "EUR",
        "sourceBalanceAccount": "BA_MKP", "sourceBalanceAccountType": "MARKETPLACE", "sourceSupplierId": "",
        "targetBalanceAccount": "BA_1", "targetBalanceAccountType": "SUPPLIER", "targetSupplierId": "007",
        "relatedEntityType": "PAYOUT", "relatedEntityId": "-1", "createdAt": CREATED_AT, "completedAt": CREATED_AT,
        "updatedAt": CREATED_AT,
    }  # fmt: skip
    assert expected_csv([row], export_type="funding-transfers").decode() == (
        "transfer_id;reference;status;amount;currency;source_balance_account;source_balance_account_type;"
        "source_supplier_id;target_balance_account;target_balance_account_type;target_supplier_id;related_entity_type;"
        "related_entity_id;psp_reference;failure_reason;created_at;completed_at;updated_at\n"
        "tr_1;R;COMPLETED;0.05;EUR;BA_MKP;MARKETPLACE;;BA_1;SUPPLIER;007;PAYOUT;'-1;;;"
        "2026-03-01T10:00:00Z;2026-03-01T10:00:00Z;2026-03-01T10:00:00Z\n"
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
