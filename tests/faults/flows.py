"""The flows in which calls go wrong: each is one function's work in one situation, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from case import Bench, Case
from payouts import payout
from proxy import Fault, Injection, Paging, Plan
from runtime import End
from waiting import now

MOST_POSTS = 6
ROWS_A_PAGE = 4
# How long the generator has where its client waits for a time-out, or tries a call as often as it ever does.
WAITING_SECONDS = 12.0


@dataclass(frozen=True)
class Flow:
    """`crate` is the function whose calls go wrong; `given` is what went wrong before it is its turn."""

    name: str
    crate: str
    run: Callable[[Case], None]
    # What an undisturbed run ends with.
    ends: str = "READY"
    payouts: int = 2
    # Payouts come few on a page, this slowly.
    page_seconds: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    generate_seconds: float = 3.0
    # The generator runs out of time in this flow, whatever else it meets.
    is_short: bool = False
    given: tuple[Injection, ...] = ()

    def case(self, bench: Bench, injections: tuple[Injection, ...] = ()) -> Case:
        paging = None
        if self.page_seconds is not None:
            paging = Paging(bench.stack.payoutsTable, ROWS_A_PAGE, self.page_seconds)
        waits = any(injection.every or injection.fault is Fault.HANGS for injection in injections)
        seconds = max(self.generate_seconds, WAITING_SECONDS) if waits and not self.is_short else self.generate_seconds
        return Case(bench, Plan([*self.given, *injections]), self.payouts, paging, self.settings, seconds)


def create(case: Case) -> None:
    case.post()
    case.settle()


def create_again(case: Case) -> None:
    """A client that has no answer, or is told to try again, sends the same request again."""
    for _ in range(MOST_POSTS):
        if case.post(idempotency_key="close-2026-09") == 202:
            break
    case.settle()
    assert len(case.records()) == 1, f"one request made {len(case.records())} exports"
    assert case.accepted, "no try was accepted"


def generate(case: Case) -> None:
    assert case.post() == 202
    case.settle()


def generate_faulty(case: Case) -> None:
    """The last payout cannot be written."""
    case.bench.stack.put_payouts(case.tenant, [payout("po_999", createdAt=now(), currency="ZZZ")])
    assert case.post() == 202
    case.settle()


def ring(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    sweep_when_due(case)
    case.settle()


def end_late(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    sweep_when_due(case, "deadline")
    case.settle()


def end_tried(case: Case) -> None:
    """The only try died, and left an upload that nothing names."""
    assert case.post() == 202
    case.deliver()
    case.drop_messages()
    sweep_when_due(case, "leaseUntil")
    case.settle()


def expire(case: Case) -> None:
    assert case.post() == 202
    # Not until quiet: a sweep on the way would expire it.
    assert case.deliver()
    assert not case.pending()
    sweep_when_due(case, "linkExpiresAt")
    case.sweep_until("EXPIRED")


def resend(case: Case) -> None:
    assert case.post() == 202
    case.settle()
    answer = case.resend(case.accepted[0])
    case.settle()
    if answer == 200:
        assert case.ready_mails() >= 2, "the client was told of a mail that was not sent"


def end(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    end_by_administrator(case)


def end_in_work(case: Case) -> None:
    """The generator stands still meanwhile, and wakes when all is over."""
    assert case.post() == 202
    case.deliver()
    end_by_administrator(case)


def end_by_administrator(case: Case) -> None:
    """An administrator who has no answer, or is told of an outage, asks again."""
    for _ in range(MOST_POSTS):
        event = {"tenantId": case.tenant, "exportId": case.accepted[0], "reason": "The payouts are being corrected."}
        if case.run("end-export", event).end is End.ANSWERED or not case.pending():
            break
    case.settle()


def sweep_when_due(case: Case, *times: str) -> None:
    """Runs a sweep once the record is due, and these times of it are over."""
    (record,) = case.records()
    due = max(text(record, name) for name in ("dueAt", *times))
    while now() <= due:
        time.sleep(0.05)
    case.sweep()


def text(record: Mapping[str, Any], name: str) -> str:
    value: str = record[name]["S"]
    return value


PARTS = {"PART_SIZE": "1"}
KILLED = Injection("generate-export", "s3:CreateMultipartUpload", 1, Fault.KILLED_AFTER)
STALLED = Injection("generate-export", "s3:PutObject", 1, Fault.STALLED)
FLOWS = [
    Flow("create", "create-export", create),
    Flow("create, asked again", "create-export", create_again),
    Flow("generate, small", "generate-export", generate),
    Flow("generate, in parts", "generate-export", generate, payouts=10, page_seconds=0.0, settings=PARTS),
    Flow(
        "generate, in parts read at once", "generate-export", generate, payouts=28, page_seconds=0.0,
        settings={**PARTS, "READERS": "4", "CHECKPOINT_EVERY": "1s"},
    ),
    Flow(
        "generate, handed over", "generate-export", generate, payouts=20, page_seconds=0.4, generate_seconds=2.4,
        is_short=True,
        settings={**PARTS, "CHECKPOINT_EVERY": "1s"},
    ),
    Flow(
        "generate, payout at fault", "generate-export", generate_faulty, ends="FAILED", payouts=6, page_seconds=0.0,
        settings=PARTS,
    ),
    Flow("sweep: ring", "sweep-exports", ring),
    Flow("sweep: end, deadline", "sweep-exports", end_late, ends="FAILED", settings={"EXPORT_DEADLINE": "1s"}),
    Flow(
        "sweep: end, tries", "sweep-exports", end_tried, ends="FAILED", payouts=10, page_seconds=0.0,
        settings={**PARTS, "MAX_TRIES": "1"}, is_short=True, given=(KILLED,),
    ),
    Flow("sweep: expire", "sweep-exports", expire, ends="EXPIRED", settings={"LINK_LIFE": "2s"}, generate_seconds=12.0),
    Flow("resend", "resend-email", resend),
    Flow("end", "end-export", end, ends="FAILED"),
    Flow("end, in work", "end-export", end_in_work, ends="FAILED", given=(STALLED,)),
]  # fmt: skip
