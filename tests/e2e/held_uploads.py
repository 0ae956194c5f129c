"""An S3 proxy that accepts the first part of a file and holds the others, so that tests can interrupt the generator."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

from interventions import changed_settings
from stack import Stack


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, emulator: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = urlsplit(emulator).netloc
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
        # By its number: two parts are in flight at once, and a checkpoint names the parts from the first on.
        if parse_qs(urlsplit(self.path).query).get("partNumber", ["1"]) != ["1"]:
            self._hold()
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

    def _hold(self) -> NoReturn:
        self.server.ended.wait()
        raise ConnectionResetError


@contextmanager
def held_uploads(stack: Stack) -> Iterator[None]:
    """Holds all parts of the generator's uploads but the first."""
    with _Server(stack.awsEndpointUrl) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            with changed_settings(
                stack, "generate-export", AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{server.server_port}"
            ):
                yield
        finally:
            server.ended.set()
            server.shutdown()
