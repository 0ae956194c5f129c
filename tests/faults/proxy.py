"""A proxy between a function and the emulated AWS that makes chosen calls go wrong.

Why not a tool that exists: Toxiproxy knows no calls, only bytes, and so cannot answer as a throttled service does.
microburst answers as AWS does, but picks calls by rule and rate, not the second UpdateItem of this run, and neither
holds a call back until later nor touches the caller's process.

A call is named by its operation and its place among the calls of that operation that one function makes in one run
(`dynamodb:UpdateItem 2`): that stays the same when calls are made at once and change places. The SDK's own second try
of a call is the same call; `Injection.every` says whether that goes wrong, too, and `Injection.stays` whether all later
calls of the operation do, whichever process makes them.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn
from urllib.parse import urlsplit

from forms import form, operation_of

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
# The functions' clients wait 5 s for an answer, S3's, whose bodies are large, 30 s. Longer than the others and much
# shorter than S3's:
SLOW_SECONDS = 8.0
# How long after its caller was told that the connection is lost a call has its effect.
LATE_SECONDS = 1.2
UPSTREAM_SECONDS = 60.0


class Fault(Enum):
    """What can happen to a call."""

    REFUSED = "refused: connection reset, no effect"
    LOST = "lost: the effect is had, the connection reset"
    LATE = "late: connection reset, the effect comes later"
    THROTTLED = "throttled"
    INTERNAL = "internal error of the service"
    CONFLICT = "transaction conflict"
    ERROR_IN_200 = "error in a 200"
    REJECTED = "message rejected"
    HANGS = "hangs until the client gives up, no effect"
    SLOW = "slow: the effect is had, the answer comes late"
    KILLED_BEFORE = "process killed before the effect"
    KILLED_AFTER = "process killed after the effect"
    STALLED = "process stalls; wakes, and has the effect, when all is over"
    OVERTAKEN = "process stalls; wakes, and has the effect, while its successor works"


# How often the functions try a write that meets another transaction.
CONFLICTS = 7
# Those that are met by trying again: with `every`, in vain.
RETRIED = (Fault.REFUSED, Fault.LOST, Fault.THROTTLED, Fault.INTERNAL, Fault.CONFLICT)
# The forms of all calls, by function.
FORMS: set[tuple[str, str]] = set()
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
# Another process takes up what one of these leaves. The others' work ends with their only request.
SUCCEEDED = ("generate-export", "sweep-exports")
# At which of its calls the successor waits for the one before to wake and end: by then it holds the lease.
SUCCESSORS_CALL = 3


def possible(crate: str, operation: str) -> list[Fault]:
    """The faults that this operation of a function can have."""
    service, name = operation.split(":")
    faults = [
        Fault.REFUSED, Fault.LOST, Fault.LATE, Fault.THROTTLED, Fault.INTERNAL, Fault.HANGS, Fault.KILLED_BEFORE,
        Fault.KILLED_AFTER, Fault.STALLED,
    ]  # fmt: skip
    if service == "dynamodb" and name in WRITES:
        faults.append(Fault.CONFLICT)
    if name == "CompleteMultipartUpload":
        faults.append(Fault.ERROR_IN_200)
    if service == "s3":
        faults.append(Fault.SLOW)
    if service == "ses":
        faults.append(Fault.REJECTED)
    if crate in SUCCEEDED:
        faults.append(Fault.OVERTAKEN)
    return faults


@dataclass(frozen=True)
class Call:
    """One call of a run; perhaps one that a process makes while it starts, before it has an event."""

    crate: str
    operation: str
    place: int
    at_start: bool = False


@dataclass(frozen=True)
class Injection:
    """One fault at one call."""

    crate: str
    operation: str
    place: int
    fault: Fault
    every: bool = False
    stays: bool = False
    at_start: bool = False

    @property
    def waits_long(self) -> bool:
        """Whether it hangs for longer than the client of files waits."""
        return self.fault is Fault.HANGS and self.operation.startswith("s3:")

    def hits(self, call: Call, is_first_try: bool) -> bool:
        if (self.crate, self.operation) != (call.crate, call.operation):
            return False
        if self.stays:
            return self.place <= call.place
        if self.every and self.fault is Fault.CONFLICT:
            # The functions themselves try such a write again, as a call of its own.
            return self.place <= call.place < self.place + CONFLICTS
        return self.place == call.place and (is_first_try or self.every)

    def __str__(self) -> str:
        tries = ", and ever after" if self.stays else ", every try" if self.every else ""
        return f"{self.crate} {self.operation} {self.place}: {self.fault.value}{tries}"


class Plan:
    """Counts the calls of one run, whichever process makes them, and tells which go wrong."""

    def __init__(self, injections: Iterable[Injection] = ()) -> None:
        self._injections = tuple(injections)
        self._lock = threading.Lock()
        self._places: Counter[tuple[str, str]] = Counter()
        self._known: dict[str, Call] = {}
        self.calls: list[Call] = []
        # At how many calls each injection was; tries of one call count once.
        self.done: Counter[Injection] = Counter()
        self._hit: set[tuple[Injection, str]] = set()

    def fault_of(self, crate: str, operation: str, call_id: str, at_start: bool) -> Fault | None:
        with self._lock:
            is_first_try = call_id not in self._known
            if is_first_try:
                self._places[crate, operation] += 1
                call = Call(crate, operation, self._places[crate, operation], at_start)
                self._known[call_id] = call
                self.calls.append(call)
            call = self._known[call_id]
            for injection in self._injections:
                if injection.hits(call, is_first_try):
                    self.done[injection] += (injection, call_id) not in self._hit
                    self._hit.add((injection, call_id))
                    return injection.fault
            return None


@dataclass(frozen=True)
class Paging:
    """How the payouts come: few on a page, so that few payouts make many pages, and slowly, so that time runs out."""

    table: str
    rows: int
    seconds: float


class Proxy(ThreadingHTTPServer):
    """What one process calls AWS through. `emulator` is where calls go."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, emulator: str, crate: str, plan: Plan, paging: Paging | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = urlsplit(emulator).netloc
        self.crate = crate
        self.plan = plan
        self.paging = paging
        self.process: subprocess.Popen[bytes] | None = None
        # Whether the process was given its event.
        self.has_event: Callable[[], bool] = lambda: True
        self.stalled = threading.Event()
        # Which of the two ways to stall it was.
        self.is_overtaken = False
        self.woken = threading.Event()
        self.ended = threading.Event()
        # Called before the call that a successor waits at.
        self.before_successors_call: Callable[[], None] = lambda: None
        self._calls = itertools.count(1)
        # The mails that SES accepted.
        self.mails: list[dict[str, Any]] = []
        self._late: list[threading.Thread] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Also waits for the effects that are late."""
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for thread in self._late:
            thread.join()

    def wake(self) -> None:
        """Lets the stalled process go on, and what it called last have its effect."""
        self.woken.set()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stall(self, is_overtaken: bool) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.is_overtaken = is_overtaken
        self.stalled.set()
        self.woken.wait()

    def hang(self, connection: socket.socket) -> None:
        """Until the client has closed the connection, however long that takes it."""
        while not self.ended.is_set() and not select.select([connection], [], [], 0.1)[0]:
            pass

    def count(self) -> None:
        if next(self._calls) == SUCCESSORS_CALL:
            self.before_successors_call()

    def later(self, action: Any) -> None:
        def run() -> None:
            time.sleep(LATE_SECONDS)
            action()

        thread = threading.Thread(target=run, daemon=True)
        self._late.append(thread)
        thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A function that was killed leaves its connections."""

    def shutdown_request(self, request: Any) -> None:
        # Not shut down first: with the handler's option, closing resets the connection.
        request.close()


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are sent apart: the body would wait for the other side's acknowledgement.
    disable_nagle_algorithm = True
    timeout = 600
    server: Proxy

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle_one_request()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        operation = operation_of(self.command, self.path, self.headers)
        FORMS.add((self.server.crate, form(operation, self.path, self.headers, body)))
        self.server.count()
        # A presigned call has no such header, but a URL of its own, the same at every try.
        call_id = self.headers.get("amz-sdk-invocation-id") or self.path
        at_start = not self.server.has_event()
        fault = self.server.plan.fault_of(self.server.crate, operation, call_id, at_start)
        body = self._paged(operation, body)
        if fault is None:
            self._answer(self._forward(operation, body))
        elif fault is Fault.REFUSED:
            self._reset()
        elif fault is Fault.LOST:
            self._forward(operation, body)
            self._reset()
        elif fault is Fault.LATE:
            self.server.later(lambda: self._forward(operation, body))
            self._reset()
        elif fault is Fault.HANGS:
            self.server.hang(self.connection)
            self._reset()
        elif fault is Fault.SLOW:
            answer = self._forward(operation, body)
            time.sleep(SLOW_SECONDS)
            self._answer(answer)
        elif fault is Fault.KILLED_BEFORE:
            self.server.kill()
            self._reset()
        elif fault is Fault.KILLED_AFTER:
            self._forward(operation, body)
            self.server.kill()
            self._reset()
        elif fault in (Fault.STALLED, Fault.OVERTAKEN):
            self.server.stall(fault is Fault.OVERTAKEN)
            self._answer(self._forward(operation, body))
        else:
            self._answer(_error(fault, operation, body))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _paged(self, operation: str, body: bytes) -> bytes:
        paging = self.server.paging
        if paging is None or operation != "dynamodb:Query" or (query := json.loads(body))["TableName"] != paging.table:
            return body
        time.sleep(paging.seconds)
        return json.dumps({**query, "Limit": paging.rows}).encode()

    def _forward(self, operation: str, body: bytes) -> _Answer:
        upstream = http.client.HTTPConnection(self.server.emulator, timeout=UPSTREAM_SECONDS)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length", "expect"}:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            taken = upstream.getresponse()
            answer = _Answer(taken.status, taken.getheaders(), taken.read())
        if operation == "ses:SendEmail" and answer.status == 200:
            self.server.mails.append(json.loads(body))
        return answer

    def _answer(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        has_length = False
        for name, value in answer.headers:
            if name.lower() not in HOP_BY_HOP:
                has_length |= name.lower() == "content-length"
                self.send_header(name, value)
        if not has_length:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _reset(self) -> NoReturn:
        # On closing, what is not sent is dropped, and the other side is told of a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        raise ConnectionResetError


def _error(fault: Fault, operation: str, body: bytes) -> _Answer:
    """A service's error as that service writes it."""
    service, name = operation.split(":")
    if fault is Fault.CONFLICT:
        return _conflict(name, body)
    if service == "s3":
        status, code = {
            Fault.THROTTLED: (503, "SlowDown"),
            Fault.INTERNAL: (500, "InternalError"),
            Fault.ERROR_IN_200: (200, "InternalError"),
        }[fault]
        text = f"<Error><Code>{code}</Code><Message>Injected.</Message><RequestId>1</RequestId></Error>"
        return _Answer(status, [("Content-Type", "application/xml")], f'<?xml version="1.0"?>\n{text}'.encode())
    status, code = {
        ("dynamodb", Fault.THROTTLED): (400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
        ("dynamodb", Fault.INTERNAL): (500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        ("sqs", Fault.THROTTLED): (400, "com.amazonaws.sqs#RequestThrottled"),
        ("sqs", Fault.INTERNAL): (500, "com.amazonaws.sqs#InternalFailure"),
        ("ses", Fault.THROTTLED): (429, "TooManyRequestsException"),
        ("ses", Fault.INTERNAL): (500, "InternalFailure"),
        ("ses", Fault.REJECTED): (400, "MessageRejected"),
        ("secretsmanager", Fault.THROTTLED): (400, "ThrottlingException"),
        ("secretsmanager", Fault.INTERNAL): (500, "InternalServiceError"),
    }[service, fault]
    return _json_error(status, code, {})


def _conflict(name: str, body: bytes) -> _Answer:
    prefix = "com.amazonaws.dynamodb.v20120810#"
    if name != "TransactWriteItems":
        return _json_error(400, f"{prefix}TransactionConflictException", {})
    reasons: list[dict[str, str]] = [{"Code": "None"} for _ in json.loads(body)["TransactItems"]]
    reasons[0] = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    return _json_error(400, f"{prefix}TransactionCanceledException", {"CancellationReasons": reasons})


def _json_error(status: int, code: str, more: dict[str, Any]) -> _Answer:
    headers = [("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-ErrorType", code.rpartition("#")[2])]
    return _Answer(status, headers, json.dumps({"__type": code, "message": "Injected.", **more}).encode())
