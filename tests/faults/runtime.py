"""Runs a function's real binary for one invocation, like the first invocation of a Lambda environment.

The emulator shares a pool of processes that call its own endpoint. There, a process does not belong to one case, cannot
be killed at a selected call, and cannot have its own proxy.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

from proxy import Proxy

START_SECONDS = 90.0
# The interval for detecting that a process died or stalled. A response is detected at once.
POLL_SECONDS = 0.1


class End(Enum):
    """How an invocation ended."""

    RESPONDED = "responded"
    ERROR = "function error"
    DIED = "process died"
    TIMED_OUT = "timed out"
    STALLED = "stalled"


@dataclass(frozen=True)
class Outcome:
    end: End
    response: Any = None


class Invocation:
    """One event, processed by a new process of `program` that calls AWS through `proxy`."""

    def __init__(self, program: Path, event: Any, environment: Mapping[str, str], seconds: float, proxy: Proxy) -> None:
        self._proxy = proxy
        self._seconds = seconds
        self._api = _RuntimeApi(event, seconds)
        proxy.has_event = lambda: self._api.started_at is not None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115, because close() closes it
        self._process = subprocess.Popen(
            [str(program)],
            env={
                **environment,
                "AWS_ENDPOINT_URL": proxy.url,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
                "AWS_LAMBDA_FUNCTION_NAME": program.name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_LOG_STREAM_NAME": "test",
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        proxy.process = self._process

    @property
    def is_overtaken(self) -> bool:
        return self._proxy.is_overtaken

    def run(self) -> Outcome:
        """Waits until the invocation ends or its process stalls. Then `resume` waits for the end."""
        return self._follow(stop_at_stall=True)

    def resume(self) -> Outcome:
        """Resumes a stalled process, with the full time limit again, and waits for the end of the invocation."""
        if self._api.started_at is not None:
            self._api.started_at = time.monotonic()
        self._proxy.resume()
        return self._follow(stop_at_stall=False)

    def _follow(self, stop_at_stall: bool) -> Outcome:
        began = time.monotonic()
        while True:
            if stop_at_stall and self._proxy.stalled.is_set():
                return Outcome(End.STALLED)
            with contextlib.suppress(queue.Empty):
                return self._api.outcomes.get(timeout=POLL_SECONDS)
            if self._process.poll() is not None:
                return Outcome(End.DIED)
            if self._api.started_at is None:
                if time.monotonic() - began > START_SECONDS:
                    raise AssertionError(f"the function does not start:\n{self.log()}")
            elif time.monotonic() - self._api.started_at > self._seconds:
                return Outcome(End.TIMED_OUT)

    def log(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> str:
        """Kills the process and returns its log."""
        self._process.kill()
        self._process.wait()
        self._proxy.resume()
        self._proxy.close()
        self._api.shutdown()
        self._api.server_close()
        log = self.log()
        self._output.close()
        return log


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, event: Any, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.event = event
        self.seconds = seconds
        self.started_at: float | None = None
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignored: the process is killed while it waits for a second event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.server.started_at is not None:
            self._block_until_killed()
        self.server.started_at = time.monotonic()
        body = json.dumps(self.server.event).encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(round((time.time() + self.server.seconds) * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:test")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.send_response_only(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        end = End.RESPONDED if self.path.endswith("/response") else End.ERROR
        self.server.outcomes.put(Outcome(end, json.loads(payload or b"null")))

    def _block_until_killed(self) -> NoReturn:
        self.rfile.read(1)
        raise ConnectionResetError
