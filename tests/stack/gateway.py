"""A proxy in front of the HTTP API that responds like API Gateway, on a URL that any client can call.

The emulator serves an HTTP API under a host name that few resolvers know. Unlike API Gateway, it does not handle
failing functions, request bodies that are too large and slow responses. This proxy handles them and forwards everything
else.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from emulator import LOGS

# API Gateway Developer Guide, "Quotas for configuring and running an HTTP API".
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_HEAD_BYTES = 10_240
# The event made from a request must not exceed Lambda's limit either: Lambda Developer Guide, "Lambda quotas".
MAX_EVENT_BYTES = 6 * 1024 * 1024
INTEGRATION_SECONDS = 30
# Every concurrent request has its own function process. With more of them than this machine can run, all become so slow
# that none finishes within the function's time-out.
MOST_AT_ONCE = 4 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4 * (os.cpu_count() or 1)
# How long a request waits for others before it is rejected, as beyond the account's concurrency limit.
WAIT_SECONDS = 45.0
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


class _BadRequest(Exception):
    """The request is malformed, or the end of its body is ambiguous."""


class Gateway(ThreadingHTTPServer):
    """Binds its port when created, so that a port in use is reported before anything slow starts."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.in_flight = threading.BoundedSemaphore(MOST_AT_ONCE)
        self.emulator_port = 0
        self.api_host = ""
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, emulator_port: int, api_id: str) -> None:
        self.emulator_port = emulator_port
        self.api_host = f"{api_id}.execute-api.localhost:{emulator_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that disconnect."""


class _Lines(io.BufferedIOBase):
    """Reads lines of a stream and remembers whether the last one was blank."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_blank = False

    def readline(self, limit: int | None = -1, /) -> bytes:
        line: bytes = self._stream.readline(limit)
        self.is_blank = line in (b"\r\n", b"\n")
        return line


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Idle connections are closed after this time.
    timeout = 75
    server: Gateway

    def __getattr__(self, name: str) -> object:
        # http.server looks up do_<METHOD>. The API's routes decide which methods exist.
        if name.startswith("do_"):
            return self._handle_request
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silent: the functions log their requests."""

    def parse_request(self) -> bool:
        """Rejects a request that ends within its headers. http.server would accept it."""
        stream = self.rfile
        self.rfile = lines = _Lines(stream)
        try:
            return super().parse_request() and lines.is_blank
        finally:
            self.rfile = stream

    def _handle_request(self) -> None:
        try:
            if not re.fullmatch(r"/[!-~]*", self.path):
                raise _BadRequest
            body = self._read_body()
        except _BadRequest:
            self.close_connection = True
            self._respond(400, {"message": "Bad Request"})
            return
        if len(self.requestline) + sum(map(len, self.headers.values())) > MAX_HEAD_BYTES:
            self._respond(431, {"message": "Request Header Fields Too Large"})
            return
        # The emulator's own routes (reset, mailbox) are not part of the API, and this port is.
        if unquote(self.path).lstrip("/").startswith("_"):
            self._respond(404, {"message": "Not Found"})
            return
        if body is None:
            self._respond(413, {"message": "Request Entity Too Large"})
            return
        if not self.server.in_flight.acquire(timeout=WAIT_SECONDS):
            self._respond(503, {"message": "Service Unavailable"})
            return
        try:
            self._forward(body)
        finally:
            self.server.in_flight.release()

    def _forward(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.emulator_port, timeout=INTEGRATION_SECONDS)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            upstream.putheader("Host", self.server.api_host)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"host", "content-length", "expect"}:
                    upstream.putheader(name, value)
            if body or "content-length" in self.headers or "transfer-encoding" in self.headers:
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            response = upstream.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._log(f"{self.command} {self.path}: {type(error).__name__}: {error}")
            self._respond(503, {"message": "Service Unavailable"})
            return
        finally:
            upstream.close()
        if response.status == 502 and _is_function_error(payload):
            self._respond(500, {"message": "Internal Server Error"})
            return
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self._finish(response.status, payload)

    def _log(self, text: str) -> None:
        """Logs why the emulator did not respond."""
        if folder := os.environ.get(LOGS):
            with Path(folder, f"gateway-{self.server.server_port}.log").open("a", encoding="utf-8") as log:
                log.write(f"{text}\n")

    def _read_body(self) -> bytes | None:
        """The request's body, or None if it is larger than API Gateway accepts.

        Always read to its end: a client that is still sending would otherwise see a broken connection.
        """
        body, length = bytearray(), 0
        for chunk in self._chunks():
            length += len(chunk)
            if length <= MAX_BODY_BYTES:
                body += chunk
        return bytes(body) if length <= MAX_BODY_BYTES and _bytes_in_event(body) <= MAX_EVENT_BYTES else None

    def _chunks(self) -> Iterator[bytes]:
        lengths, codings = (self.headers.get_all(name, []) for name in ("content-length", "transfer-encoding"))
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise _BadRequest
            while size := self._chunk_size():
                yield self._read_whole(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        if len(lengths) > 1 or not all(re.fullmatch(r"[0-9]{1,18}", length.strip()) for length in lengths):
            raise _BadRequest
        left = int(lengths[0]) if lengths else 0
        while left > 0:
            chunk = self._read_whole(min(left, 1 << 16))
            left -= len(chunk)
            yield chunk

    def _read_whole(self, size: int) -> bytes:
        """Reads exactly `size` bytes."""
        if len(chunk := self.rfile.read(size)) < size:
            raise _BadRequest
        return chunk

    def _chunk_size(self) -> int:
        digits = self.rfile.readline(1024).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", digits):
            raise _BadRequest
        return int(digits, 16)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Reports errors that http.server finds with API Gateway's response body."""
        self.close_connection = True
        self._respond(code, {"message": HTTPStatus(code).phrase})

    def _respond(self, status: int, body: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        if self.close_connection:
            self.send_header("Connection", "close")
        self._finish(status, json.dumps(body).encode())

    def _finish(self, status: int, payload: bytes) -> None:
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)


def _bytes_in_event(body: bytes | bytearray) -> int:
    """The size of a body within an event: as a JSON string, or in Base64 if it is not UTF-8."""
    try:
        return len(json.dumps(body.decode(), ensure_ascii=False).encode())
    except UnicodeDecodeError:
        return len(body) * 4 // 3


def _is_function_error(payload: bytes) -> bool:
    """Whether a 502 is the emulator's report of a failed function, not the function's own response."""
    try:
        body = json.loads(payload)
    except ValueError:
        return False
    return isinstance(body, dict) and "errorMessage" in body
