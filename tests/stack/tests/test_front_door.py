"""What the local front door does with requests that are none, and with those that never end. API Gateway answers them
by itself: nothing here is said of the product."""

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
    "raw letters that are not ASCII": b"GET /v1/caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw control character": b"GET /v1/caller\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "another host's URL": b"GET http://evil.example/v1/caller HTTP/1.1\r\nHost: x\r\n\r\n",
    "length that is no number": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "negative length": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "length and chunks": b"POST " + PATH
    + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk of no size": b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}  # fmt: skip


class Behind(ThreadingHTTPServer):
    """What the front door leads to. Answers everything, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Behind

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response_only(200)
        self.end_headers()

    do_POST = do_GET


@pytest.fixture
def behind() -> Iterator[Behind]:
    with Behind() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def front_door(behind: Behind) -> Iterator[Gateway]:
    opened = Gateway(0)
    # Closing it then waits for all that it is at.
    opened.daemon_threads = False
    opened.serve(behind.server_port, "api")
    yield opened
    opened.close()


def status_of(front_door: Gateway) -> int:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", front_door.server_port, timeout=SECONDS)
    ) as connection:
        connection.request("GET", "/good")
        return connection.getresponse().status


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_request_is_rejected_and_its_connection_closed(
    front_door: Gateway, behind: Behind, what: str
) -> None:
    with socket.create_connection(("127.0.0.1", front_door.server_port), timeout=SECONDS) as line:
        line.sendall(MALFORMED[what])
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    if what == "no request":
        # Taken for HTTP/0.9, whose answers have no status line.
        assert b'{"message"' in answer
    else:
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    assert behind.asked == []
    assert status_of(front_door) == 200


def test_slow_requests_hold_nobody_up_and_do_not_get_through(front_door: Gateway, behind: Behind) -> None:
    head = b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    with ExitStack() as lines:
        for number in range(SLOW_CONNECTIONS):
            line = lines.enter_context(socket.create_connection(("127.0.0.1", front_door.server_port)))
            # One stops within its headers, the next within its body.
            line.sendall(head[:30] if number % 2 else head)
        # All of them are still open: one that held others up would hold this up, too, until it gives up.
        assert status_of(front_door) == 200
    front_door.close()
    assert behind.asked == ["/good"]
