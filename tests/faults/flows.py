"""The flows into which failures are injected. Each covers one function in one situation, and its consequences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from case import EXPORTS, GENERATE_SECONDS, MAX_RECEIVES, QUIET_SECONDS, VISIBILITY_SECONDS, Bench, Case, text
from payouts import payout
from proxy import CONFLICTS, Failure, Injection, Paging, Plan
from runtime import End
from waiting import now

MAX_POSTS = 6
ROWS_A_PAGE = 4
# Limits for failures that last until the timeout of the S3 client.
LONG_GENERATE_SECONDS = 90.0
LONG_DEADLINE = {"EXPORT_DEADLINE": "300s"}
LONG_QUIET_SECONDS = 400.0

KILLED = (Failure.KILLED_BEFORE, Failure.KILLED_AFTER)
STALLED = (Failure.STALLED, Failure.OVERTAKEN)
SUCCESS = (200, 202)
# What clients may receive: success, an error to retry, or no response from a lost process.
STATUSES = (*SUCCESS, 503, None)


@dataclass(frozen=True)
class Flow:
    """Failures are injected into the calls of the function `crate`. `given` are failures that create the situation."""

    name: str
    crate: str
    run: Callable[[Case], None]
    # The outcome without injected failures.
    outcome: str = "READY"
    payouts: int = 2
    # If set, pages have ROWS_A_PAGE rows and take this long.
    page_seconds: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    generate_seconds: float = GENERATE_SECONDS
    # Whether the generator runs out of time in this flow in any case.
    is_time_limited: bool = False
    given: tuple[Injection, ...] = ()
    export_format: str = "CSV"

    def case(self, bench: Bench, injections: tuple[Injection, ...] = ()) -> Case:
        paging = None
        if self.page_seconds is not None:
            paging = Paging(bench.stack.payoutsTable, ROWS_A_PAGE, self.page_seconds)
        plan = Plan([*self.given, *injections])
        if self.is_time_limited:
            if any(injection.persists for injection in injections):
                return Case(bench, plan, self.payouts, paging, self.settings, self.generate_seconds)
            # On a busy machine, it takes many invocations.
            settings = {**LONG_DEADLINE, **self.settings}
            return Case(
                bench, plan, self.payouts, paging, settings, self.generate_seconds, quiet_seconds=LONG_QUIET_SECONDS
            )
        if any(injection.waits_long for injection in injections):
            seconds, settings = LONG_GENERATE_SECONDS, {**LONG_DEADLINE, **self.settings}
            return Case(
                bench, plan, self.payouts, paging, settings, seconds, quiet_seconds=LONG_QUIET_SECONDS,
                export_format=self.export_format,
            )  # fmt: skip
        quiet_seconds = LONG_QUIET_SECONDS if any(injection.persists for injection in injections) else QUIET_SECONDS
        return Case(
            bench, plan, self.payouts, paging, self.settings, self.generate_seconds, quiet_seconds=quiet_seconds,
            export_format=self.export_format,
        )  # fmt: skip

    def allowed_outcomes(self, *injections: Injection) -> set[str]:
        """The outcomes that these failures allow."""
        return set().union(*(self._outcomes_of(injection) for injection in injections))

    def _outcomes_of(self, injection: Injection) -> set[str]:
        """The outcomes that one failure allows. Most failures do not change the outcome."""
        operation, failure = injection.operation, injection.failure
        if self.run is create and operation != "sqs:SendMessage":
            # The client sends one request. Without a response or with an error, there may be no export.
            is_acceptance = operation == "dynamodb:TransactWriteItems"
            if operation == "dynamodb:UpdateItem":
                # The use of the API key is recorded beside the acceptance: only the end of the process matters.
                return {"no response", self.outcome} if failure in KILLED else {self.outcome}
            if failure in KILLED and injection.at_start:
                # The process may have stopped waiting for the response.
                return {"no response", self.outcome}
            if failure in KILLED and not (is_acceptance and failure is Failure.KILLED_AFTER):
                return {"no response"}
            if injection.every_attempt and not injection.at_start and not (is_acceptance and failure is Failure.LOST):
                return {"rejected with 503"}
        if failure is Failure.REJECTED and self.crate == "generate-export" and self.outcome == "READY":
            return {"FAILED EMAIL_NOT_SENT with its file"}
        return {self.outcome}

    def allowed_statuses(self, *injections: Injection) -> tuple[int | None, ...]:
        """The statuses that clients may receive; None is no response."""
        return SUCCESS if all(self._is_invisible(injection) for injection in injections) else STATUSES

    def _is_invisible(self, injection: Injection) -> bool:
        """Whether clients do not notice the failure, because it is retried or not part of a request."""
        if injection.failure in (*KILLED, *STALLED):
            return False
        is_retried = not injection.every_attempt and not injection.operation.startswith("ses:")
        return is_retried or injection.at_start or injection.operation == "sqs:SendMessage"


def create(case: Case) -> None:
    case.post()
    case.settle()


def create_repeatedly(case: Case) -> None:
    """The client repeats the request after an error or without a response."""
    for _ in range(MAX_POSTS):
        if case.post(idempotency_key="close-2026-09") == 202:
            break
    case.settle()
    assert len(case.records()) == 1, f"one request launched {len(case.records())} exports"
    assert case.accepted, "no request was accepted"


def generate(case: Case) -> None:
    assert case.post() == 202
    case.settle()


def generate_invalid(case: Case) -> None:
    """The last row is invalid."""
    case.bench.stack.put_payouts(case.tenant, [payout("po_999", createdAt=now(), currency="ZZZ")])
    assert case.post() == 202
    case.settle()


def re_enqueue(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    sweep_when_due(case)
    case.settle()


def fail_at_deadline(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    sweep_when_due(case, "deadline")
    case.settle()


def fail_after_attempts(case: Case) -> None:
    """The only attempt was killed and left an unrecorded upload."""
    assert case.post() == 202
    # On a busy machine, a process may time out before it acquires the lease.
    assert deliver_until_acquired(case), f"the lease was not acquired: {case.records()}\n{case.last_logs()}"
    case.drop_messages()
    case.expire_leases()
    sweep_when_due(case, "leaseUntil")
    case.settle()


def expire(case: Case) -> None:
    assert case.post() == 202
    # Does not run until quiet, because a sweep in between would expire the export.
    assert case.deliver()
    assert not case.pending()
    sweep_when_due(case, "linkExpiresAt")
    case.sweep_until("EXPIRED")


def resend(case: Case) -> None:
    assert case.post() == 202
    case.settle()
    status = case.resend(case.accepted[0])
    case.settle()
    if status == 200:
        assert case.ready_mails() >= 2, "the response was 200, but the e-mail was not sent"


def read_export(case: Case) -> None:
    def is_right(export: Any) -> bool:
        is_ready = export["exportId"] == case.accepted[0] and export["status"] == "READY"
        return is_ready and export["file"]["rows"] == 2 and export["downloadUrl"].startswith("http")

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
    """Sends a GET request, which must return correct data or an error and must not change anything."""
    before = case.items(), case.objects(), len(case.mails())
    status, body = case.read(crate, path, parameters)
    assert status != 200 or is_right(body), f"wrong response: {body}"
    case.settle()
    assert (case.items(), case.objects(), len(case.mails())) == before, "a GET request changed the state"


def fail(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    fail_by_administrator(case)


def fail_in_progress(case: Case) -> None:
    """The generator is stalled and resumes at the end."""
    assert case.post() == 202
    case.deliver()
    fail_by_administrator(case)


def fail_by_administrator(case: Case) -> None:
    """The administrator repeats the request after a transient error or without a response."""
    for _ in range(MAX_POSTS):
        event = {"tenantId": case.tenant, "exportId": case.accepted[0], "reason": "The payouts are being corrected."}
        if case.run("fail-export", event).end is End.RESPONDED or not case.pending():
            break
    case.settle()


def cancel(case: Case) -> None:
    assert case.post() == 202
    case.drop_messages()
    cancel_by_caller(case)


def cancel_in_progress(case: Case) -> None:
    """The generator is stalled at its file and resumes at the end."""
    assert case.post() == 202
    case.deliver()
    cancel_by_caller(case)
    assert not case.objects(), "the file of a cancelled export was not deleted"


def cancel_between_invocations(case: Case) -> None:
    """The generator has stored an unfinished part and released the lease."""
    assert case.post() == 202
    case.deliver()
    case.drop_messages()
    cancel_by_caller(case)


def cancel_by_caller(case: Case) -> None:
    """The caller repeats the request after a transient error or without a response."""
    (export_id,) = case.accepted
    for _ in range(MAX_POSTS):
        if case.cancel(export_id) == 200:
            break
    assert not case.pending(), "no request cancelled the export"
    case.settle()


def manage_keys(case: Case) -> None:
    """Responses about keys are correct, and a key whose response was lost can be listed and revoked."""
    person = {"email": case.email, "name": "Operator", "client": "OPERATOR"}
    issued = manage_api_keys(case, {"action": "issue", "tenantId": case.tenant, **person})
    case.key = issued["apiKey"]
    launch_and_settle(case)
    listed = manage_api_keys(case, {"action": "list", "tenantId": case.tenant})["apiKeys"]
    assert issued["keyId"] in [key["keyId"] for key in listed]
    revoked = [manage_api_keys(case, {"action": "revoke", "keyId": key["keyId"]}) for key in listed]
    case.settle()
    assert manage_api_keys(case, {"action": "list", "tenantId": case.tenant})["apiKeys"] == revoked
    case.read("get-caller", "/v1/caller")
    # This status is expected and must not count as an effect of the failure.
    assert case.statuses.pop() == 401, "a revoked key is accepted"


def manage_api_keys(case: Case, event: Mapping[str, Any]) -> Any:
    """Invokes manage-api-keys, and repeats it at least as often as other functions repeat conflicting writes."""
    for _ in range(CONFLICTS + 1):
        outcome = case.run("manage-api-keys", event)
        if outcome.end is End.RESPONDED:
            return outcome.response
    raise AssertionError(f"no response to {event['action']} in {CONFLICTS + 1} attempts")


def deliver_until_acquired(case: Case) -> bool:
    """Delivers the job until a process acquires the lease, at most MAX_RECEIVES times. Returns whether it did."""
    for _ in range(MAX_RECEIVES):
        case.deliver()
        if "leaseUntil" in case.records()[0]:
            return True
        time.sleep(VISIBILITY_SECONDS)
    return False


def sweep_when_due(case: Case, *times: str) -> None:
    """Runs a sweep after the next check time and these other times of the record."""
    (record,) = case.records()
    due = max(text(record, name) for name in ("nextCheckAt", *times))
    while now() <= due:
        time.sleep(0.05)
    case.sweep()


PARTS = {"PART_SIZE": "1"}
KILLED_AT_UPLOAD = Injection("generate-export", "s3:CreateMultipartUpload", 1, Failure.KILLED_AFTER)
STALLED_AT_FILE = Injection("generate-export", "s3:PutObject", 1, Failure.STALLED)
SMALL = Flow("generate, small", "generate-export", generate)
IN_PARTS = Flow("generate, in parts", "generate-export", generate, payouts=10, page_seconds=0.0, settings=PARTS)
CREATE = Flow("create", "create-export", create)
CONTINUED = Flow(
    "generate, continued", "generate-export", generate, payouts=72, page_seconds=0.5, generate_seconds=12.0,
    is_time_limited=True,
    # Reads for nine seconds of twelve, and the payouts take longer. Under load, some attempts may make no progress.
    settings={**PARTS, "CHECKPOINT_EVERY": "1s", "MAX_ATTEMPTS": "10", "CONTINUE_BEFORE": "3s"},
)  # fmt: skip
# Reads for nine seconds of twelve. The payouts take longer, and fill no part.
BETWEEN_PARTS: dict[str, Any] = {
    "payouts": 72, "page_seconds": 0.5, "generate_seconds": 12.0, "is_time_limited": True,
    "settings": {"CHECKPOINT_EVERY": "1s", "MAX_ATTEMPTS": "10", "CONTINUE_BEFORE": "3s"},
}  # fmt: skip
CONTINUED_BETWEEN_PARTS = Flow("generate, continued between parts", "generate-export", generate, **BETWEEN_PARTS)
INVALID_ROW = Flow(
    "generate, invalid row", "generate-export", generate_invalid, outcome="FAILED INVALID_ROWS", payouts=6,
    page_seconds=0.0, settings=PARTS,
)  # fmt: skip
RE_ENQUEUE = Flow("sweep: re-enqueue", "sweep-exports", re_enqueue)
FLOWS = [
    CREATE,
    Flow("create, repeated", "create-export", create_repeatedly),
    SMALL,
    IN_PARTS,
    Flow(
        "generate, in parts, parallel readers", "generate-export", generate, payouts=28, page_seconds=0.0,
        settings={**PARTS, "READERS": "4", "CHECKPOINT_EVERY": "1s"},
    ),
    CONTINUED,
    CONTINUED_BETWEEN_PARTS,
    INVALID_ROW,
    Flow(
        "generate, XLSX in parts", "generate-export", generate, payouts=6, page_seconds=0.0,
        settings={"PART_SIZE": "4000"}, export_format="XLSX",
    ),
    RE_ENQUEUE,
    Flow(
        "sweep: fail, deadline", "sweep-exports", fail_at_deadline, outcome="FAILED DEADLINE_PASSED",
        settings={"EXPORT_DEADLINE": "1s"},
    ),
    Flow(
        "sweep: fail, attempts used up", "sweep-exports", fail_after_attempts, outcome="FAILED GENERATION_FAILED",
        payouts=10, page_seconds=0.0, settings={**PARTS, "MAX_ATTEMPTS": "1"}, is_time_limited=True,
        given=(KILLED_AT_UPLOAD,),
    ),
    Flow("sweep: expire", "sweep-exports", expire, outcome="EXPIRED", settings={"LINK_LIFETIME": "2s"}),
    Flow("resend", "resend-email", resend),
    Flow("fail", "fail-export", fail, outcome="FAILED FAILED_BY_ADMINISTRATOR"),
    Flow(
        "fail, in progress", "fail-export", fail_in_progress, outcome="FAILED FAILED_BY_ADMINISTRATOR",
        given=(STALLED_AT_FILE,),
    ),
    Flow("cancel", "cancel-export", cancel, outcome="FAILED CANCELLED"),
    Flow(
        "cancel, in progress", "cancel-export", cancel_in_progress, outcome="FAILED CANCELLED",
        given=(STALLED_AT_FILE,),
    ),
    Flow(
        "cancel, between invocations", "cancel-export", cancel_between_invocations, outcome="FAILED CANCELLED",
        **BETWEEN_PARTS,
    ),
    Flow("get", "get-export", read_export),
    Flow("list", "list-exports", read_history),
    Flow("caller", "get-caller", read_caller),
    Flow("keys", "manage-api-keys", manage_keys),
]  # fmt: skip

# Persistent failures, by operation and first failed call, with their outcome. The export fails with GENERATION_FAILED
# when its attempts are used up, or with DEADLINE_PASSED if attempts cannot be counted. If only responses are lost, it
# may become READY.
ERRORS = (Failure.RESET, Failure.THROTTLED, Failure.INTERNAL)
USED_UP = "FAILED GENERATION_FAILED"
USED_UP_WITH_FILE = "FAILED GENERATION_FAILED with its file"
DEADLINE_PASSED = "FAILED DEADLINE_PASSED"


@dataclass(frozen=True)
class Persistent:
    """A failure that persists from a call on."""

    flow: Flow
    operation: str
    number: int
    failures: tuple[Failure, ...]
    outcome: str
    # Preceding failures that lead to such a call.
    given: tuple[Injection, ...] = ()

    def cases(self) -> list[tuple[Flow, tuple[Injection, ...]]]:
        deadline = "15s" if self.outcome == DEADLINE_PASSED else "390s"
        settings = {"MAX_ATTEMPTS": "3", **self.flow.settings, "EXPORT_DEADLINE": deadline}
        name = f"{self.flow.name}, persistent failure"
        flow = replace(self.flow, name=name, outcome=self.outcome, settings=settings, given=self.given)
        return [
            (flow, (Injection(flow.crate, self.operation, self.number, failure, persists=True),))
            for failure in self.failures
        ]


KILLED_AT_FILE = Injection("generate-export", "s3:CompleteMultipartUpload", 1, Failure.KILLED_AFTER)
KILLED_AT_ROWS = Injection("generate-export", "dynamodb:Query", 1, Failure.KILLED_BEFORE)
KILLED_IN_PART = Injection("generate-export", "s3:UploadPart", 3, Failure.KILLED_BEFORE)
PERSISTENT = [
    # Only the first invocation acquires the lease with its first call. That of further ones changes nothing.
    Persistent(SMALL, "dynamodb:UpdateItem", 1, (*ERRORS, Failure.CONFLICT, Failure.LOST, *KILLED), DEADLINE_PASSED),
    Persistent(SMALL, "dynamodb:UpdateItem", 2, (*ERRORS, Failure.CONFLICT, Failure.KILLED_BEFORE), DEADLINE_PASSED),
    # The first of these calls opens the connection, before the event arrives. A process killed then counts no attempt.
    Persistent(SMALL, "dynamodb:GetItem", 1, (*ERRORS, Failure.LOST), USED_UP, given=(KILLED_AT_ROWS,)),
    Persistent(SMALL, "dynamodb:GetItem", 1, KILLED, DEADLINE_PASSED),
    Persistent(SMALL, "dynamodb:Query", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(SMALL, "s3:PutObject", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    # Also before the event arrives.
    Persistent(SMALL, "secretsmanager:GetSecretValue", 1, (*ERRORS, Failure.LOST), USED_UP_WITH_FILE),
    Persistent(SMALL, "secretsmanager:GetSecretValue", 1, KILLED, DEADLINE_PASSED),
    Persistent(SMALL, "ses:SendEmail", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP_WITH_FILE),
    Persistent(
        SMALL,
        "dynamodb:TransactWriteItems",
        1,
        (*ERRORS, Failure.CONFLICT, Failure.KILLED_BEFORE),
        USED_UP_WITH_FILE,
    ),
    Persistent(SMALL, "dynamodb:TransactWriteItems", 1, (Failure.LOST, Failure.KILLED_AFTER), "READY"),
    Persistent(IN_PARTS, "s3:CreateMultipartUpload", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(IN_PARTS, "s3:UploadPart", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(IN_PARTS, "s3:UploadPart", 3, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(
        IN_PARTS,
        "s3:CompleteMultipartUpload",
        1,
        (*ERRORS, Failure.ERROR_IN_200, Failure.KILLED_BEFORE),
        USED_UP,
    ),
    Persistent(IN_PARTS, "s3:CompleteMultipartUpload", 1, (Failure.LOST, Failure.KILLED_AFTER), "READY"),
    Persistent(IN_PARTS, "s3:ListParts", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP, given=(KILLED_IN_PART,)),
    Persistent(IN_PARTS, "dynamodb:TransactWriteItems", 1, (*ERRORS, Failure.CONFLICT, Failure.KILLED_BEFORE), USED_UP),
    Persistent(IN_PARTS, "dynamodb:TransactWriteItems", 1, (Failure.LOST,), USED_UP),
    # Also before the event arrives.
    Persistent(IN_PARTS, "s3:HeadObject", 1, (*ERRORS, Failure.LOST), USED_UP, given=(KILLED_AT_FILE,)),
    Persistent(SMALL, "s3:HeadObject", 1, KILLED, DEADLINE_PASSED),
    Persistent(CONTINUED_BETWEEN_PARTS, "s3:PutObject", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(CONTINUED_BETWEEN_PARTS, "s3:GetObject", 1, (*ERRORS, Failure.LOST, *KILLED), USED_UP),
    Persistent(CONTINUED_BETWEEN_PARTS, "s3:DeleteObject", 1, (*ERRORS, Failure.LOST, *KILLED), "READY"),
    Persistent(INVALID_ROW, "s3:AbortMultipartUpload", 1, (*ERRORS, Failure.LOST), INVALID_ROW.outcome),
    Persistent(INVALID_ROW, "s3:AbortMultipartUpload", 1, KILLED, USED_UP),
    # The sweep re-enqueues a lost job message. If the sweep cannot either, the export passes its deadline.
    Persistent(CREATE, "sqs:SendMessage", 1, (*ERRORS, Failure.LOST, *KILLED), "READY"),
    Persistent(CONTINUED, "sqs:SendMessage", 1, (*ERRORS, Failure.LOST, *KILLED), "READY"),
    Persistent(RE_ENQUEUE, "sqs:SendMessage", 1, (*ERRORS, Failure.KILLED_BEFORE), DEADLINE_PASSED),
    Persistent(RE_ENQUEUE, "sqs:SendMessage", 1, (Failure.LOST, Failure.KILLED_AFTER), "READY"),
]
