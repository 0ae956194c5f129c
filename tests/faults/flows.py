"""The flows in which calls go wrong: each is one function's work in one situation, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from case import EXPORTS, GENERATE_SECONDS, MOST_RECEIVES, QUIET_SECONDS, VISIBILITY_SECONDS, Bench, Case
from payouts import payout
from proxy import CONFLICTS, Fault, Injection, Paging, Plan
from runtime import End
from waiting import now

MOST_POSTS = 6
ROWS_A_PAGE = 4
# How long the generator has where it waits for S3's time-out, and how long an export may then be pending.
WAITING_LONG_SECONDS = 90.0
LONG = {"EXPORT_DEADLINE": "300s"}
LONG_QUIET_SECONDS = 400.0

KILLED = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
STALLED = (Fault.STALLED, Fault.OVERTAKEN)
SUCCESS = (200, 202)
# What a client may be told of a fault: that it did no harm, or to try again. Or nothing, by a process that died.
ANSWERS = (*SUCCESS, 503, None)


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
    generate_seconds: float = GENERATE_SECONDS
    # The generator runs out of time in this flow, whatever else it meets.
    is_short: bool = False
    given: tuple[Injection, ...] = ()

    def case(self, bench: Bench, injections: tuple[Injection, ...] = ()) -> Case:
        paging = None
        if self.page_seconds is not None:
            paging = Paging(bench.stack.payoutsTable, ROWS_A_PAGE, self.page_seconds)
        plan = Plan([*self.given, *injections])
        if self.is_short:
            return Case(bench, plan, self.payouts, paging, self.settings, self.generate_seconds)
        if any(injection.waits_long for injection in injections):
            seconds, settings = WAITING_LONG_SECONDS, {**LONG, **self.settings}
            return Case(bench, plan, self.payouts, paging, settings, seconds, quiet_seconds=LONG_QUIET_SECONDS)
        quiet_seconds = LONG_QUIET_SECONDS if any(injection.stays for injection in injections) else QUIET_SECONDS
        return Case(
            bench, plan, self.payouts, paging, self.settings, self.generate_seconds, quiet_seconds=quiet_seconds
        )

    def ends_with(self, *injections: Injection) -> set[str]:
        """All that it may end as with these faults. Of two, one may keep the other from being met."""
        ends = set().union(*(self._ends_with(injection) for injection in injections))
        if self.run is create and sum(injection.fault in STALLED for injection in injections) > 1:
            # A process that stalls again when it is woken may be ended before it has written anything.
            ends |= {"refused with no answer"}
        return ends if len(injections) == 1 else ends | {self.ends}

    def _ends_with(self, injection: Injection) -> set[str]:
        """What it ends as with one fault: nearly always as if there were none."""
        operation, fault = injection.operation, injection.fault
        if self.run is create and operation != "sqs:SendMessage":
            # The one request of a client: without an answer to it, or with an error, there may be no export.
            is_acceptance = operation == "dynamodb:TransactWriteItems"
            if fault in KILLED and not (is_acceptance and fault is Fault.KILLED_AFTER):
                return {"refused with no answer"}
            if injection.every and not injection.at_start and not (is_acceptance and fault is Fault.LOST):
                return {"refused with 503"}
        if fault is Fault.REJECTED and self.crate == "generate-export" and self.ends == "READY":
            return {"FAILED EMAIL_NOT_SENT with its file"}
        return {self.ends}

    def answers_with(self, *injections: Injection) -> tuple[int | None, ...]:
        """What its clients may be answered with these faults."""
        return SUCCESS if all(self._is_unseen(injection) for injection in injections) else ANSWERS

    def _is_unseen(self, injection: Injection) -> bool:
        """Whether no client is told of the fault: it is met by trying again, or nobody waits for what it befalls."""
        if injection.fault in (*KILLED, *STALLED):
            return False
        is_met = not injection.every and not injection.operation.startswith("ses:")
        return is_met or injection.at_start or injection.operation == "sqs:SendMessage"


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
    # A process that is out of time before it has taken the work, on a machine under load, is followed by another.
    assert deliver_until_taken(case), f"nobody took the export: {case.records()}\n{case.last_logs()}"
    case.drop_messages()
    case.end_leases()
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


def read_export(case: Case) -> None:
    def is_right(export: Any) -> bool:
        is_it = export["exportId"] == case.accepted[0] and export["status"] == "READY"
        return is_it and export["file"]["rows"] == 2 and export["downloadUrl"].startswith("http")

    launch_and_settle(case)
    (export_id,) = case.accepted
    read(case, "get-export", f"{EXPORTS}/{export_id}", is_right, {"exportId": export_id})


def read_history(case: Case) -> None:
    launch_and_settle(case)
    read(
        case, "list-exports", EXPORTS,
        lambda history: [known["exportId"] for known in history["content"]] == case.accepted,
    )  # fmt: skip


def read_caller(case: Case) -> None:
    launch_and_settle(case)
    read(case, "get-caller", "/v1/caller", lambda caller: caller["tenantId"] == case.tenant)


def launch_and_settle(case: Case) -> None:
    assert case.post() == 202
    case.settle()


def read(
    case: Case, crate: str, path: str, is_right: Callable[[Any], bool], parameters: Mapping[str, str] | None = None
) -> None:
    """Whatever goes wrong, a client that reads is told what is so or gets an error, and nothing is changed."""
    before = case.items(), case.objects(), len(case.mails())
    status, body = case.read(crate, path, parameters)
    assert status != 200 or is_right(body), f"a client was told {body}"
    case.settle()
    assert (case.items(), case.objects(), len(case.mails())) == before, "reading wrote something"


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


def manage_keys(case: Case) -> None:
    """What an administrator was told of keys is so, and a key that nobody was told of can be found and revoked."""
    person = {"email": case.email, "name": "Operator", "client": "OPERATOR"}
    issued = administer(case, {"action": "issue", "tenantId": case.tenant, **person})
    case.key = issued["apiKey"]
    launch_and_settle(case)
    listed = administer(case, {"action": "list", "tenantId": case.tenant})["apiKeys"]
    assert issued["keyId"] in [key["keyId"] for key in listed]
    revoked = [administer(case, {"action": "revoke", "keyId": key["keyId"]}) for key in listed]
    case.settle()
    assert administer(case, {"action": "list", "tenantId": case.tenant})["apiKeys"] == revoked
    case.read("get-caller", "/v1/caller")
    # That one is as it must be, and not by a fault.
    assert case.answers.pop() == 401, "a revoked key opens"


def administer(case: Case, event: Mapping[str, Any]) -> Any:
    """An administrator who has no answer asks again, even as often as the other functions try what is in conflict."""
    for _ in range(CONFLICTS + 1):
        outcome = case.run("manage-api-keys", event)
        if outcome.end is End.ANSWERED:
            return outcome.answer
    raise AssertionError(f"no answer to {event['action']} in {CONFLICTS + 1} tries")


def deliver_until_taken(case: Case) -> bool:
    """Delivers the job until somebody has taken it, or it was received as often as it may be."""
    for _ in range(MOST_RECEIVES):
        case.deliver()
        if "leaseUntil" in case.records()[0]:
            return True
        time.sleep(VISIBILITY_SECONDS)
    return False


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
KILLED_AT_UPLOAD = Injection("generate-export", "s3:CreateMultipartUpload", 1, Fault.KILLED_AFTER)
STALLED_AT_FILE = Injection("generate-export", "s3:PutObject", 1, Fault.STALLED)
SMALL = Flow("generate, small", "generate-export", generate)
IN_PARTS = Flow("generate, in parts", "generate-export", generate, payouts=10, page_seconds=0.0, settings=PARTS)
CREATE = Flow("create", "create-export", create)
HANDED_OVER = Flow(
    "generate, handed over", "generate-export", generate, payouts=28, page_seconds=0.4, generate_seconds=8.0,
    is_short=True,
    # It reads for two seconds, and has six more to hand over. Under load it may not get further in all of its tries.
    settings={**PARTS, "CHECKPOINT_EVERY": "1s", "MAX_TRIES": "10", "HAND_OVER_BEFORE": "6s"},
)  # fmt: skip
AT_FAULT = Flow(
    "generate, payout at fault", "generate-export", generate_faulty, ends="FAILED PAYOUTS_NOT_WRITABLE", payouts=6,
    page_seconds=0.0, settings=PARTS,
)  # fmt: skip
RING = Flow("sweep: ring", "sweep-exports", ring)
FLOWS = [
    CREATE,
    Flow("create, asked again", "create-export", create_again),
    SMALL,
    IN_PARTS,
    Flow(
        "generate, in parts read at once", "generate-export", generate, payouts=28, page_seconds=0.0,
        settings={**PARTS, "READERS": "4", "CHECKPOINT_EVERY": "1s"},
    ),
    HANDED_OVER,
    AT_FAULT,
    RING,
    Flow(
        "sweep: end, deadline", "sweep-exports", end_late, ends="FAILED DEADLINE_PASSED",
        settings={"EXPORT_DEADLINE": "1s"},
    ),
    Flow(
        "sweep: end, tries", "sweep-exports", end_tried, ends="FAILED GENERATION_FAILED", payouts=10, page_seconds=0.0,
        settings={**PARTS, "MAX_TRIES": "1"}, is_short=True, given=(KILLED_AT_UPLOAD,),
    ),
    Flow("sweep: expire", "sweep-exports", expire, ends="EXPIRED", settings={"LINK_LIFE": "2s"}),
    Flow("resend", "resend-email", resend),
    Flow("end", "end-export", end, ends="FAILED ENDED_BY_ADMINISTRATOR"),
    Flow("end, in work", "end-export", end_in_work, ends="FAILED ENDED_BY_ADMINISTRATOR", given=(STALLED_AT_FILE,)),
    Flow("get", "get-export", read_export),
    Flow("list", "list-exports", read_history),
    Flow("caller", "get-caller", read_caller),
    Flow("keys", "manage-api-keys", manage_keys),
]  # fmt: skip

# Faults that stay for good, by the function's operation and the first call that meets them, and what the export ends
# as: GENERATION_FAILED once the tries are used up, or, where not even a try can be counted, at its deadline. What has
# its effect although nobody hears of it may lead to READY all the same.
REFUSALS = (Fault.REFUSED, Fault.THROTTLED, Fault.INTERNAL)
TRIED = "FAILED GENERATION_FAILED"
TRIED_WITH_FILE = "FAILED GENERATION_FAILED with its file"
LATE = "FAILED DEADLINE_PASSED"


@dataclass(frozen=True)
class Lasting:
    """A fault that stays."""

    flow: Flow
    operation: str
    place: int
    faults: tuple[Fault, ...]
    ends: str
    # What went wrong before it, so that there is such a call.
    given: tuple[Injection, ...] = ()

    def cases(self) -> list[tuple[Flow, tuple[Injection, ...]]]:
        deadline = "15s" if self.ends == LATE else "150s"
        settings = {"MAX_TRIES": "3", **self.flow.settings, "EXPORT_DEADLINE": deadline}
        name = f"{self.flow.name}, a fault that stays"
        flow = replace(self.flow, name=name, ends=self.ends, settings=settings, given=self.given)
        return [
            (flow, (Injection(flow.crate, self.operation, self.place, fault, stays=True),)) for fault in self.faults
        ]


KILLED_AT_FILE = Injection("generate-export", "s3:CompleteMultipartUpload", 1, Fault.KILLED_AFTER)
KILLED_IN_PART = Injection("generate-export", "s3:UploadPart", 3, Fault.KILLED_BEFORE)
LASTING = [
    Lasting(SMALL, "dynamodb:GetItem", 1, (*REFUSALS, Fault.LOST, *KILLED), LATE),
    Lasting(SMALL, "dynamodb:UpdateItem", 1, (*REFUSALS, Fault.CONFLICT, Fault.KILLED_BEFORE), LATE),
    Lasting(SMALL, "dynamodb:UpdateItem", 1, (Fault.LOST, Fault.KILLED_AFTER), TRIED),
    Lasting(SMALL, "dynamodb:UpdateItem", 2, (*REFUSALS, Fault.CONFLICT, Fault.KILLED_BEFORE), LATE),
    Lasting(SMALL, "dynamodb:Query", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED),
    Lasting(SMALL, "s3:PutObject", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED),
    Lasting(SMALL, "secretsmanager:GetSecretValue", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED_WITH_FILE),
    Lasting(SMALL, "ses:SendEmail", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED_WITH_FILE),
    Lasting(SMALL, "dynamodb:TransactWriteItems", 1, (*REFUSALS, Fault.CONFLICT, Fault.KILLED_BEFORE), TRIED_WITH_FILE),
    Lasting(SMALL, "dynamodb:TransactWriteItems", 1, (Fault.LOST, Fault.KILLED_AFTER), "READY"),
    Lasting(IN_PARTS, "s3:CreateMultipartUpload", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED),
    Lasting(IN_PARTS, "s3:UploadPart", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED),
    Lasting(IN_PARTS, "s3:UploadPart", 3, (*REFUSALS, Fault.LOST, *KILLED), TRIED),
    Lasting(IN_PARTS, "s3:CompleteMultipartUpload", 1, (*REFUSALS, Fault.ERROR_IN_200, Fault.KILLED_BEFORE), TRIED),
    Lasting(IN_PARTS, "s3:CompleteMultipartUpload", 1, (Fault.LOST, Fault.KILLED_AFTER), "READY"),
    Lasting(IN_PARTS, "s3:ListParts", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED, given=(KILLED_IN_PART,)),
    Lasting(IN_PARTS, "dynamodb:TransactWriteItems", 1, (*REFUSALS, Fault.CONFLICT, Fault.KILLED_BEFORE), TRIED),
    Lasting(IN_PARTS, "dynamodb:TransactWriteItems", 1, (Fault.LOST,), TRIED),
    Lasting(IN_PARTS, "s3:HeadObject", 1, (*REFUSALS, Fault.LOST, *KILLED), TRIED, given=(KILLED_AT_FILE,)),
    Lasting(AT_FAULT, "s3:AbortMultipartUpload", 1, (*REFUSALS, Fault.LOST), AT_FAULT.ends),
    Lasting(AT_FAULT, "s3:AbortMultipartUpload", 1, KILLED, TRIED),
    # A bell that never rings is rung by the sweep; and one that the sweep cannot ring leaves the deadline.
    Lasting(CREATE, "sqs:SendMessage", 1, (*REFUSALS, Fault.LOST, *KILLED), "READY"),
    Lasting(HANDED_OVER, "sqs:SendMessage", 1, (*REFUSALS, Fault.LOST, *KILLED), "READY"),
    Lasting(RING, "sqs:SendMessage", 1, (*REFUSALS, Fault.KILLED_BEFORE), LATE),
    Lasting(RING, "sqs:SendMessage", 1, (Fault.LOST, Fault.KILLED_AFTER), "READY"),
]
