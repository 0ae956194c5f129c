"""Proxies between the generator and the local AWS that hold or slow down calls, so that tests can interrupt it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from interventions import changed_settings
from stack import Stack


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, emulator: str, before: Callable[[_Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = urlsplit(emulator).netloc
        self.before = before
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignored: the generator may have been killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.before(self)
        with closing(http.client.HTTPConnection(self.server.emulator, timeout=60)) as upstream:
            upstream.request(self.command, self.path, body, dict(self.headers))
            response = upstream.getresponse()
            content = response.read()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _serve


@contextmanager
def held_uploads(stack: Stack) -> Iterator[None]:
    """Holds all parts of the generator's uploads but the first."""

    def hold_others(request: _Handler) -> None:
        # By its number: two parts are in flight at once, and a checkpoint names the parts from the first on.
        if parse_qs(urlsplit(request.path).query).get("partNumber", ["1"]) != ["1"]:
            request.server.ended.wait()
            raise ConnectionResetError

    with _proxied(stack, "S3", hold_others):
        yield


@contextmanager
def slow_queries(stack: Stack, seconds: float) -> Iterator[None]:
    """Makes each of the generator's Query calls take so much longer."""

    def wait(request: _Handler) -> None:
        if request.headers.get("x-amz-target", "").endswith(".Query"):
            time.sleep(seconds)

    with _proxied(stack, "DYNAMODB", wait):
        yield


@contextmanager
def _proxied(stack: Stack, service: str, before: Callable[[_Handler], None]) -> Iterator[None]:
    with _Server(stack.awsEndpointUrl, before) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        endpoint = {f"AWS_ENDPOINT_URL_{service}": f"http://127.0.0.1:{server.server_port}"}
        try:
            with changed_settings(stack, "generate-export", **endpoint):
                yield
        finally:
            server.ended.set()
            server.shutdown()
