"""A proxy between a function and the emulated AWS that injects failures into selected calls.

Existing tools do not fit. Toxiproxy works on bytes, so it cannot respond like a throttled service. microburst responds
like AWS, but selects calls by rule and rate, not by number. Neither can delay the effect of a call, or kill or stall
the calling process.

A call is identified by its operation and its number among the calls of that operation by one function in one run, such
as `dynamodb:UpdateItem 2`; calls before the event are counted apart. This stays stable when concurrent calls change
their order. An SDK retry is the same call: `Injection.every_attempt` also fails the retries. `Injection.persists` fails
all later calls of the operation, from any process.
"""

from __future__ import annotations

import contextlib
import hashlib
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
# The calls that change the record of an export.
WRITES = {"dynamodb:TransactWriteItems", "dynamodb:UpdateItem"}
# Between the client timeouts: 5 s, but 30 s for S3's calls with large bodies.
SLOW_SECONDS = 8.0
# The time between the connection reset and the effect of a delayed call.
DELAY_SECONDS = 1.2
UPSTREAM_SECONDS = 60.0
# The keys of the items that functions read to open their connections to DynamoDB.
WARM_UP_KEYS = (b'"WARM-UP"', hashlib.sha256(b"").hexdigest().encode())
DYNAMODB_PREFIX = "com.amazonaws.dynamodb.v20120810#"


class Failure(Enum):
    """The failures that can be injected into a call."""

    RESET = "connection reset, no effect"
    LOST = "response lost: connection reset after the effect"
    LATE = "connection reset, effect delayed"
    THROTTLED = "throttled"
    INTERNAL = "internal error of the service"
    CONFLICT = "transaction conflict"
    ERROR_IN_200 = "error in a 200"
    REJECTED = "message rejected"
    HANGS = "hangs until the client times out, no effect"
    SLOW = "slow response after the effect"
    KILLED_BEFORE = "process killed before the effect"
    KILLED_AFTER = "process killed after the effect"
    STALLED = "process stalls before the effect, resumes after all others"
    OVERTAKEN = "process stalls before the effect, resumes while its successor works"


# How often the functions attempt a write that conflicts with another transaction.
CONFLICTS = 7
# DynamoDB's writes, which may conflict with a transaction.
CONFLICTING = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
# Failures that the SDK retries. With `every_attempt`, the retries fail as well.
RETRIED = (Failure.RESET, Failure.LOST, Failure.THROTTLED, Failure.INTERNAL, Failure.CONFLICT)
# The forms of all calls, with their functions.
FORMS: set[tuple[str, str]] = set()
# If a process of these functions is lost, another one continues its work.
WITH_SUCCESSOR = ("generate-export", "sweep-exports")
# The successor's call at which the stalled process is resumed. By then the successor holds the lease.
SUCCESSOR_WAITS_AT_CALL = 3


def possible(crate: str, operation: str) -> list[Failure]:
    """The failures that can be injected into this operation of a function."""
    service, name = operation.split(":")
    failures = [
        Failure.RESET, Failure.LOST, Failure.LATE, Failure.THROTTLED, Failure.INTERNAL, Failure.HANGS,
        Failure.KILLED_BEFORE, Failure.KILLED_AFTER, Failure.STALLED,
    ]  # fmt: skip
    if service == "dynamodb" and name in CONFLICTING:
        failures.append(Failure.CONFLICT)
    if name == "CompleteMultipartUpload":
        failures.append(Failure.ERROR_IN_200)
    if service == "s3":
        failures.append(Failure.SLOW)
    if service == "ses":
        failures.append(Failure.REJECTED)
    if crate in WITH_SUCCESSOR:
        failures.append(Failure.OVERTAKEN)
    return failures


@dataclass(frozen=True)
class Call:
    """A call of a run. `at_start` means that the process had not received its event yet, or only opens a connection."""

    crate: str
    operation: str
    number: int
    at_start: bool = False


@dataclass(frozen=True)
class Injection:
    """A failure at a call."""

    crate: str
    operation: str
    number: int
    failure: Failure
    every_attempt: bool = False
    persists: bool = False
    at_start: bool = False

    @property
    def waits_long(self) -> bool:
        """Whether the call hangs until the long timeout of the S3 client."""
        is_short = self.operation in {"s3:AbortMultipartUpload", "s3:DeleteObject"}
        return self.failure is Failure.HANGS and self.operation.startswith("s3:") and not is_short

    def matches(self, call: Call, is_first_attempt: bool) -> bool:
        if (self.crate, self.operation) != (call.crate, call.operation):
            return False
        if self.persists:
            return self.number <= call.number
        if self.at_start != call.at_start:
            return False
        if self.every_attempt and self.failure is Failure.CONFLICT:
            # The functions themselves repeat such a write, as a separate call.
            return self.number <= call.number < self.number + CONFLICTS
        return self.number == call.number and (is_first_attempt or self.every_attempt)

    def __str__(self) -> str:
        attempts = ", persistent" if self.persists else ", every attempt" if self.every_attempt else ""
        return f"{self.crate} {self.operation} {self.number}: {self.failure.value}{attempts}"


class Plan:
    """Counts the calls of all processes of a run and selects the ones that fail."""

    def __init__(self, injections: Iterable[Injection] = ()) -> None:
        self._injections = tuple(injections)
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str, bool]] = Counter()
        self._known: dict[str, Call] = {}
        self.calls: list[Call] = []
        # The number of calls that each injection failed. Attempts of one call count once.
        self.injected: Counter[Injection] = Counter()
        self._injected_calls: set[tuple[Injection, str]] = set()

    def failure_of(self, crate: str, operation: str, call_id: str, at_start: bool) -> Failure | None:
        with self._lock:
            is_first_attempt = call_id not in self._known
            if is_first_attempt:
                self._numbers[crate, operation, at_start] += 1
                call = Call(crate, operation, self._numbers[crate, operation, at_start], at_start)
                self._known[call_id] = call
                self.calls.append(call)
            call = self._known[call_id]
            for injection in self._injections:
                if injection.matches(call, is_first_attempt):
                    self.injected[injection] += (injection, call_id) not in self._injected_calls
                    self._injected_calls.add((injection, call_id))
                    return injection.failure
            return None


@dataclass(frozen=True)
class Paging:
    """Limits the rows of a page and slows the queries down, so that few payouts make many pages and time runs out."""

    table: str
    rows: int
    seconds: float


class Proxy(ThreadingHTTPServer):
    """The proxy of one process. Forwards its calls to `emulator`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, emulator: str, crate: str, plan: Plan, paging: Paging | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = urlsplit(emulator).netloc
        self.crate = crate
        self.plan = plan
        self.paging = paging
        self.process: subprocess.Popen[bytes] | None = None
        # Whether the process has received its event.
        self.has_event: Callable[[], bool] = lambda: True
        self.stalled = threading.Event()
        # Whether it stalled by OVERTAKEN, not STALLED.
        self.is_overtaken = False
        self.resumed = threading.Event()
        self.ended = threading.Event()
        # Called at the successor's call SUCCESSOR_WAITS_AT_CALL, which waits for its return.
        self.before_successor_continues: Callable[[], None] = lambda: None
        # Sends a write to the exports table by calling this function, and records what it changed.
        self.write: Callable[[Callable[[], Response]], Response] = lambda send: send()
        self._calls = itertools.count(1)
        # The e-mails that SES accepted.
        self.mails: list[dict[str, Any]] = []
        self._delayed: list[threading.Thread] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Closes the proxy after all delayed effects."""
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for thread in self._delayed:
            thread.join()

    def resume(self) -> None:
        """Resumes the stalled process and forwards its pending call."""
        self.resumed.set()
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
        self.resumed.wait()

    def hang(self, connection: socket.socket) -> None:
        """Waits until the client closes the connection."""
        while not self.ended.is_set() and not select.select([connection], [], [], 0.1)[0]:
            pass

    def count(self) -> None:
        if next(self._calls) == SUCCESSOR_WAITS_AT_CALL:
            self.before_successor_continues()

    def delay(self, action: Any) -> None:
        def run() -> None:
            time.sleep(DELAY_SECONDS)
            action()

        thread = threading.Thread(target=run, daemon=True)
        self._delayed.append(thread)
        thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignored: the function may have been killed."""

    def shutdown_request(self, request: Any) -> None:
        # Without a shutdown, SO_LINGER makes close() reset the connection.
        request.close()


@dataclass(frozen=True)
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are sent separately. With Nagle's algorithm, the body would wait for an acknowledgement.
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
        # A presigned request has no such header, but a unique URL that is the same at every attempt.
        call_id = self.headers.get("amz-sdk-invocation-id") or self.path
        at_start = not self.server.has_event() or self._is_warm_up(body)
        failure = self.server.plan.failure_of(self.server.crate, operation, call_id, at_start)
        body = self._paged(operation, body)
        if failure is None:
            self._respond(self._forward(operation, body))
        elif failure is Failure.RESET:
            self._reset()
        elif failure is Failure.LOST:
            self._forward(operation, body)
            self._reset()
        elif failure is Failure.LATE:
            self.server.delay(lambda: self._forward(operation, body))
            self._reset()
        elif failure is Failure.HANGS:
            self.server.hang(self.connection)
            self._reset()
        elif failure is Failure.SLOW:
            response = self._forward(operation, body)
            time.sleep(SLOW_SECONDS)
            self._respond(response)
        elif failure is Failure.KILLED_BEFORE:
            self.server.kill()
            self._reset()
        elif failure is Failure.KILLED_AFTER:
            self._forward(operation, body)
            self.server.kill()
            self._reset()
        elif failure in (Failure.STALLED, Failure.OVERTAKEN):
            self.server.stall(failure is Failure.OVERTAKEN)
            self._respond(self._forward(operation, body))
        else:
            self._respond(_error(failure, operation, body))

    def _is_warm_up(self, body: bytes) -> bool:
        """Whether the call only opens a connection. On a busy machine, the function may have stopped waiting for the
        response, and have its event."""
        if self.command == "HEAD":
            return urlsplit(self.path).path.endswith("/exports/")
        return any(key in body for key in WARM_UP_KEYS)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _paged(self, operation: str, body: bytes) -> bytes:
        paging = self.server.paging
        if paging is None or operation != "dynamodb:Query" or (query := json.loads(body))["TableName"] != paging.table:
            return body
        time.sleep(paging.seconds)
        return json.dumps({**query, "Limit": paging.rows}).encode()

    def _forward(self, operation: str, body: bytes) -> Response:
        if operation in WRITES:
            return self.server.write(lambda: self._send(operation, body))
        return self._send(operation, body)

    def _send(self, operation: str, body: bytes) -> Response:
        upstream = http.client.HTTPConnection(self.server.emulator, timeout=UPSTREAM_SECONDS)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length", "expect"}:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            received = upstream.getresponse()
            response = Response(received.status, received.getheaders(), received.read())
        if operation == "ses:SendEmail" and response.status == 200:
            self.server.mails.append(json.loads(body))
        return response

    def _respond(self, response: Response) -> None:
        self.send_response_only(response.status)
        has_length = False
        for name, value in response.headers:
            if name.lower() not in HOP_BY_HOP:
                has_length |= name.lower() == "content-length"
                self.send_header(name, value)
        if not has_length:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _reset(self) -> NoReturn:
        # SO_LINGER with a timeout of zero: closing drops unsent data and sends a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        raise ConnectionResetError


def _error(failure: Failure, operation: str, body: bytes) -> Response:
    """An error response in the format of the service."""
    service, name = operation.split(":")
    if failure is Failure.CONFLICT:
        return _conflict(name, body)
    if service == "s3":
        status, code = {
            Failure.THROTTLED: (503, "SlowDown"),
            Failure.INTERNAL: (500, "InternalError"),
            Failure.ERROR_IN_200: (200, "InternalError"),
        }[failure]
        text = f"<Error><Code>{code}</Code><Message>Injected.</Message><RequestId>1</RequestId></Error>"
        return Response(status, [("Content-Type", "application/xml")], f'<?xml version="1.0"?>\n{text}'.encode())
    status, code = {
        ("dynamodb", Failure.THROTTLED): (400, f"{DYNAMODB_PREFIX}ProvisionedThroughputExceededException"),
        ("dynamodb", Failure.INTERNAL): (500, f"{DYNAMODB_PREFIX}InternalServerError"),
        ("sqs", Failure.THROTTLED): (400, "com.amazonaws.sqs#RequestThrottled"),
        ("sqs", Failure.INTERNAL): (500, "com.amazonaws.sqs#InternalFailure"),
        ("ses", Failure.THROTTLED): (429, "TooManyRequestsException"),
        ("ses", Failure.INTERNAL): (500, "InternalFailure"),
        ("ses", Failure.REJECTED): (400, "MessageRejected"),
        ("secretsmanager", Failure.THROTTLED): (400, "ThrottlingException"),
        ("secretsmanager", Failure.INTERNAL): (500, "InternalServiceError"),
    }[service, failure]
    return _json_error(status, code, {})


def _conflict(name: str, body: bytes) -> Response:
    if name != "TransactWriteItems":
        return _json_error(400, f"{DYNAMODB_PREFIX}TransactionConflictException", {})
    reasons: list[dict[str, str]] = [{"Code": "None"} for _ in json.loads(body)["TransactItems"]]
    reasons[0] = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    return _json_error(400, f"{DYNAMODB_PREFIX}TransactionCanceledException", {"CancellationReasons": reasons})


def _json_error(status: int, code: str, more: dict[str, Any]) -> Response:
    headers = [("Content-Type", "application/x-amz-json-1.0"), ("x-amzn-ErrorType", code.rpartition("#")[2])]
    return Response(status, headers, json.dumps({"__type": code, "message": "Injected.", **more}).encode())
