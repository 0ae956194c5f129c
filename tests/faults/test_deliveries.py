"""Messages that come twice, at once, late or out of order: the record decides, and each export is done once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from case import Bench, Case, is_done
from payouts import payout
from proxy import Fault, Injection, Plan
from runtime import End

AT_ONCE = 5
BATCH = 10


def test_message_delivered_twice_is_done_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        assert is_done(case.hand([job]))
        before = world(case)
        assert before["statuses"] == ["READY"]
        assert is_done(case.hand([job]))
        assert world(case) == before
        assert_done_once(case)


def test_message_delivered_at_once_to_several_is_done_by_one(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcomes = list(threads.map(case.hand, [[job]] * AT_ONCE))
        assert all(is_done(outcome) for outcome in outcomes)
        assert world(case)["statuses"] == ["READY"]
        assert case.records()[0]["fence"]["N"] == "1"
        assert_done_once(case)


def test_message_twice_in_one_batch_is_done_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        assert is_done(case.hand([job, job]))
        assert_done_once(case)


def test_message_that_comes_after_failed_changes_nothing(bench: Bench) -> None:
    with Case(bench) as case:
        bench.stack.put_payouts(case.tenant, [payout("po_999", currency="ZZZ")])
        job = launched(case)
        case.settle()
        before = world(case)
        assert before["statuses"] == ["FAILED"]
        assert is_done(case.hand([job]))
        assert world(case) == before
        assert case.violations() == []


def test_message_of_a_finished_export_leaves_a_new_one_alone(bench: Bench) -> None:
    with Case(bench) as case:
        old = launched(case)
        case.settle()
        new = launched(case)
        before = world(case)
        assert sorted(before["statuses"]) == ["PENDING", "READY"]
        assert is_done(case.hand([old]))
        assert world(case) == before
        # Out of order: the new one's message overtakes the old one's.
        assert is_done(case.hand([new]))
        done = world(case)
        assert done["statuses"] == ["READY", "READY"]
        assert is_done(case.hand([old]))
        assert world(case) == done
        case.drop_messages()
        assert case.ready_mails() == 2
        assert case.violations() == []


def test_message_of_a_finished_export_leaves_a_new_one_alone_that_is_in_work(bench: Bench) -> None:
    stalled = Injection("generate-export", "s3:PutObject", 2, Fault.STALLED)
    with Case(bench, Plan([stalled])) as case:
        old = launched(case)
        case.settle()
        new = launched(case)
        assert case.hand([new]).end is End.STALLED
        before = world(case)
        for job in (old, new):
            assert is_done(case.hand([job]))
            assert world(case) == before
        case.settle()
        assert world(case)["statuses"] == ["READY", "READY"]
        assert case.violations() == []


STALLS = pytest.mark.parametrize(
    ("operation", "place", "mails"),
    [
        ("dynamodb:UpdateItem", 1, 1),
        ("dynamodb:Query", 1, 1),
        ("s3:PutObject", 1, 1),
        ("dynamodb:UpdateItem", 3, 1),
        # It has its mail accepted before it learns that the work is another's.
        ("ses:SendEmail", 1, 2),
        ("dynamodb:TransactWriteItems", 1, 2),
    ],
)


@STALLS
def test_owner_that_wakes_after_its_successor_finished_changes_nothing_but_the_number_of_mails(
    bench: Bench, operation: str, place: int, mails: int
) -> None:
    plan = Plan([Injection("generate-export", operation, place, Fault.STALLED)])
    with Case(bench, plan) as case:
        job = launched(case)
        assert case.hand([job]).end is End.STALLED
        case.run_on()
        before = world(case)
        assert before["statuses"] == ["READY"]
        case.settle()
        assert world(case)["items"] == before["items"]
        assert case.ready_mails() == mails
        assert case.violations() == []


@STALLS
def test_owner_that_wakes_while_its_successor_works_changes_nothing_but_the_number_of_mails(
    bench: Bench, operation: str, place: int, mails: int
) -> None:
    plan = Plan([Injection("generate-export", operation, place, Fault.OVERTAKEN)])
    with Case(bench, plan) as case:
        job = launched(case)
        assert case.hand([job]).end is End.STALLED
        assert case.stalled() == 1
        case.run_on()
        # It woke and ended before its successor did.
        assert case.stalled() == 0
        assert world(case)["statuses"] == ["READY"]
        assert case.ready_mails() == mails
        assert case.violations() == []


def test_bad_message_of_a_batch_of_ten_fails_alone(bench: Bench) -> None:
    with Case(bench) as first:
        others = [Case(bench, beside=first) for _ in range(BATCH - 2)]
        cases = [first, *others]
        bodies = [launched(case) for case in cases]
        bodies.insert(BATCH // 2, "ring ring")
        first.generate_seconds = 20.0
        outcome = first.hand(bodies)
        assert outcome.answer == {"batchItemFailures": [{"itemIdentifier": f"message-{BATCH // 2}"}]}
        for case in cases:
            assert world(case)["statuses"] == ["READY"]
            assert len(case.records()) == 1
        assert first.ready_mails() == BATCH - 1


def test_checker_sees_a_file_that_is_gone_and_a_mail_that_was_not_sent(bench: Bench) -> None:
    with Case(bench) as case:
        launched(case)
        case.settle()
        assert case.violations() == []
        sent = case.mails_by_process.pop()
        assert any("ReadyWasMailed" in violation for violation in case.violations()), case.violations()
        case.mails_by_process.append(sent)
        (key,) = case.objects()
        bench.s3.put_object(Bucket=bench.stack.bucket, Key=key, Body=b"cut off")
        assert any("FileIsWhole" in violation for violation in case.violations()), case.violations()


def launched(case: Case) -> str:
    """Launches an export whose bell is lost. Its job message."""
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
