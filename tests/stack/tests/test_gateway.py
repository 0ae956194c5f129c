"""Malformed and incomplete requests to gateway.py. API Gateway handles them itself, without reaching the product."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway import Gateway

PATH = b"/v1/exports"
SECONDS = 60.0
SLOW_CONNECTIONS = 40
MALFORMED = {
    "raw non-ASCII letters": b"GET /v1/caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw control character": b"GET /v1/caller\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "another host's URL": b"GET http://evil.example/v1/caller HTTP/1.1\r\nHost: x\r\n\r\n",
    "length that is not a number": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "negative length": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "length and chunks": b"POST " + PATH
    + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk without a size": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}  # fmt: skip


class Backend(ThreadingHTTPServer):
    """The server behind the gateway. Responds to every request and records its path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Backend

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.send_response_only(200)
        self.end_headers()

    do_POST = do_GET


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def gateway(backend: Backend) -> Iterator[Gateway]:
    opened = Gateway(0)
    # So that closing it waits for its connections.
    opened.daemon_threads = False
    opened.serve(backend.server_port, "api")
    yield opened
    opened.close()


def status_of(gateway: Gateway) -> int:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", gateway.server_port, timeout=SECONDS)
    ) as connection:
        connection.request("GET", "/good")
        return connection.getresponse().status


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_request_is_rejected_and_its_connection_closed(gateway: Gateway, backend: Backend, what: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.server_port), timeout=SECONDS) as line:
        line.sendall(MALFORMED[what])
        line.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: line.recv(65536), b""))
    if what == "not HTTP":
        # Handled as HTTP/0.9, whose responses have no status line.
        assert b'{"message"' in response
    else:
        assert response.startswith(b"HTTP/1.1 400 "), response
        assert json.loads(response.partition(b"\r\n\r\n")[2])["message"]
    assert backend.requests == []
    assert status_of(gateway) == 200


def test_slow_requests_block_no_others_and_are_not_forwarded(gateway: Gateway, backend: Backend) -> None:
    head = b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    with ExitStack() as lines:
        for number in range(SLOW_CONNECTIONS):
            line = lines.enter_context(socket.create_connection(("127.0.0.1", gateway.server_port)))
            # They alternately stop within the headers and within the body.
            line.sendall(head[:30] if number % 2 else head)
        # All connections are still open, and must not delay this request.
        assert status_of(gateway) == 200
    gateway.close()
    assert backend.requests == ["/good"]
