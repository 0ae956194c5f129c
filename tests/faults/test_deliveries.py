"""Duplicate, concurrent, late and reordered job messages. Each export is generated once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from case import Bench, Case, is_done
from payouts import payout
from proxy import Failure, Injection, Plan
from runtime import End

AT_ONCE = 5
BATCH = 10


def test_message_delivered_twice_is_processed_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        assert is_done(case.invoke_generator([job]))
        before = world(case)
        assert before["statuses"] == ["READY"]
        assert is_done(case.invoke_generator([job]))
        assert world(case) == before
        assert_done_once(case)


def test_message_delivered_concurrently_is_processed_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcomes = list(threads.map(case.invoke_generator, [[job]] * AT_ONCE))
        assert all(is_done(outcome) for outcome in outcomes)
        assert world(case)["statuses"] == ["READY"]
        assert case.records()[0]["fencingToken"]["N"] == "1"
        assert_done_once(case)


def test_message_twice_in_a_batch_is_processed_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        assert is_done(case.invoke_generator([job, job]))
        assert_done_once(case)


def test_message_after_failed_changes_nothing(bench: Bench) -> None:
    with Case(bench) as case:
        bench.stack.put_payouts(case.tenant, [payout("po_999", currency="ZZZ")])
        job = launched(case)
        case.settle()
        before = world(case)
        assert before["statuses"] == ["FAILED"]
        assert is_done(case.invoke_generator([job]))
        assert world(case) == before
        assert case.violations() == []


def test_message_of_a_finished_export_does_not_affect_a_new_one(bench: Bench) -> None:
    with Case(bench) as case:
        old = launched(case)
        case.settle()
        new = launched(case)
        before = world(case)
        assert sorted(before["statuses"]) == ["PENDING", "READY"]
        assert is_done(case.invoke_generator([old]))
        assert world(case) == before
        # Reordered: the message of the new export overtakes the old one.
        assert is_done(case.invoke_generator([new]))
        finished = world(case)
        assert finished["statuses"] == ["READY", "READY"]
        assert is_done(case.invoke_generator([old]))
        assert world(case) == finished
        case.drop_messages()
        assert case.ready_mails() == 2
        assert case.violations() == []


def test_message_of_a_finished_export_does_not_affect_a_stalled_one(bench: Bench) -> None:
    stalled = Injection("generate-export", "s3:PutObject", 2, Failure.STALLED)
    with Case(bench, Plan([stalled])) as case:
        old = launched(case)
        case.settle()
        new = launched(case)
        assert case.invoke_generator([new]).end is End.STALLED
        before = world(case)
        for job in (old, new):
            assert is_done(case.invoke_generator([job]))
            assert world(case) == before
        case.settle()
        assert world(case)["statuses"] == ["READY", "READY"]
        assert case.violations() == []


STALLS = pytest.mark.parametrize(
    ("operation", "number", "mails"),
    [
        ("dynamodb:UpdateItem", 1, 1),
        ("dynamodb:Query", 1, 1),
        ("s3:PutObject", 1, 1),
        ("dynamodb:UpdateItem", 3, 1),
        # Its e-mail is accepted before it notices that it lost the lease.
        ("ses:SendEmail", 1, 2),
        ("dynamodb:TransactWriteItems", 1, 2),
    ],
)


@STALLS
def test_owner_resumed_after_its_successor_changes_nothing(
    bench: Bench, operation: str, number: int, mails: int
) -> None:
    plan = Plan([Injection("generate-export", operation, number, Failure.STALLED)])
    with Case(bench, plan) as case:
        job = launched(case)
        assert case.invoke_generator([job]).end is End.STALLED
        case.run_until_quiet()
        before = world(case)
        assert before["statuses"] == ["READY"]
        case.settle()
        assert world(case)["items"] == before["items"]
        assert case.ready_mails() == mails
        assert case.violations() == []


@STALLS
def test_owner_resumed_during_its_successor_changes_nothing(
    bench: Bench, operation: str, number: int, mails: int
) -> None:
    plan = Plan([Injection("generate-export", operation, number, Failure.OVERTAKEN)])
    with Case(bench, plan) as case:
        job = launched(case)
        assert case.invoke_generator([job]).end is End.STALLED
        assert case.stalled() == 1
        case.run_until_quiet()
        # It was resumed and ended before its successor.
        assert case.stalled() == 0
        assert world(case)["statuses"] == ["READY"]
        assert case.ready_mails() == mails
        assert case.violations() == []


def test_malformed_message_of_a_batch_fails_alone(bench: Bench) -> None:
    with Case(bench) as first:
        others = [Case(bench, beside=first) for _ in range(BATCH - 2)]
        cases = [first, *others]
        bodies = [launched(case) for case in cases]
        bodies.insert(BATCH // 2, "not JSON")
        first.generate_seconds = 20.0
        outcome = first.invoke_generator(bodies)
        assert outcome.response == {"batchItemFailures": [{"itemIdentifier": f"message-{BATCH // 2}"}]}
        for case in cases:
            assert world(case)["statuses"] == ["READY"]
            assert len(case.records()) == 1
        assert first.ready_mails() == BATCH - 1


def test_checker_detects_a_missing_mail_and_a_wrong_file(bench: Bench) -> None:
    with Case(bench) as case:
        launched(case)
        case.settle()
        assert case.violations() == []
        sent = case.mails_by_process.pop()
        assert any("ReadyWasMailed" in violation for violation in case.violations()), case.violations()
        case.mails_by_process.append(sent)
        (key,) = case.objects()
        bench.s3.put_object(Bucket=bench.stack.bucket, Key=key, Body=b"truncated")
        assert any("FileIsComplete" in violation for violation in case.violations()), case.violations()


def launched(case: Case) -> str:
    """Launches an export, drops its job message and returns it."""
    assert case.post() == 202
    case.drop_messages()
    return case.job(case.accepted[-1])


def world(case: Case) -> dict[str, Any]:
    return {
        "items": case.items(),
        "statuses": [record["status"]["S"] for record in case.records()],
        "objects": case.objects(),
        "mails": len(case.mails()),
        "messages": case.messages(),
    }


def assert_done_once(case: Case) -> None:
    assert len(case.objects()) == 1
    assert case.ready_mails() == 1
    assert case.violations() == []
