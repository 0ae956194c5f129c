"""Lost connections to the service."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from office import Opener
from stack import Stack
from tenant import Tenant


class TcpProxy:
    """A TCP proxy to the stack that can be disconnected."""

    def __init__(self, stack: Stack) -> None:
        target = urlsplit(stack.apiUrl)
        assert target.port
        self._target = (target.hostname, target.port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        # Stays bound without listening, so that no other process takes the port while disconnected.
        self._reservation = self._bound(0)
        self._port = int(self._reservation.getsockname()[1])
        self._listener: socket.socket | None = None
        self.connect()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/back-office"

    def connect(self) -> None:
        listener = self._bound(self._port)
        listener.listen()
        with self._lock:
            self._listener = listener
            self._open.add(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def disconnect(self) -> None:
        with self._lock:
            sockets, self._open, self._listener = self._open, set(), None
        for end in sockets:
            # Closing alone does not unblock threads that wait on the socket.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self.disconnect()
        self._reservation.close()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    # Disconnected in between.
                    client.close()
                    server.close()
                    return
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(stack: Stack) -> Iterator[TcpProxy]:
    proxy = TcpProxy(stack)
    yield proxy
    proxy.close()


def test_lost_connection_is_shown_and_data_reloaded_after_it(
    proxy: TcpProxy, tenant: Tenant, open_office: Opener
) -> None:
    first = tenant.export()["exportId"]
    office = open_office(tenant, url=proxy.url)
    office.expect_ids([first])
    proxy.disconnect()
    office.button("Refresh").click()
    bar = office.page.get_by_role("alert").filter(has_text="The service is not responding.")
    expect(bar).to_contain_text("Showing data from")
    # The data remains visible.
    office.expect_ids([first])
    office.inspect("the connection is lost")
    office.open_launch().get_by_role("button", name="Confirm export").click()
    expect(office.dialog.get_by_role("alert")).to_contain_text("The service is not responding.")
    office.page.keyboard.press("Escape")

    second = tenant.export()["exportId"]
    proxy.connect()
    # The page retries within seconds.
    expect(bar).to_be_hidden()
    expect(office.message).to_contain_text("Connection restored")
    office.expect_ids([second, first])


def test_try_now_retries_at_once(proxy: TcpProxy, tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, url=proxy.url, has_clock=True)
    proxy.disconnect()
    # The page's clock is paused, so it does not retry on its own.
    office.page.clock.pause_at(datetime.now(timezone.utc) + timedelta(seconds=10))
    office.button("Refresh").click()
    # Reconnect only after the page has noticed the lost connection.
    expect(office.button("Try now")).to_be_visible()
    proxy.connect()
    office.button("Try now").click()
    expect(office.button("Try now")).to_be_hidden()


def test_offline_browser_is_shown(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.page.context.set_offline(True)
    office.button("Refresh").click()
    bar = office.page.get_by_role("alert").filter(has_text="Showing data from")
    expect(bar).to_contain_text("You are offline.")
    office.page.context.set_offline(False)
    expect(bar).to_be_hidden()


def test_sign_in_without_a_connection_can_be_repeated(proxy: TcpProxy, tenant: Tenant, open_office: Opener) -> None:
    office = open_office(url=proxy.url)
    proxy.disconnect()
    office.sign_in(tenant.key)
    expect(office.page.get_by_role("alert")).to_contain_text("The service is not responding.")
    proxy.connect()
    office.button("Sign in").click()
    office.expect_loaded()


def test_history_that_fails_to_load_can_be_retried(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    error = {"code": "SERVICE_UNAVAILABLE", "message": "Service unavailable", "detail": "Try again later."}
    response = {"errors": [error], "requestId": "r-5"}
    office.page.route("**/export?*", lambda route: route.fulfill(status=503, json=response))
    office.page.reload()
    expect(office.page.get_by_text("The history could not be loaded")).to_be_visible()
    expect(office.page.get_by_text("Try again later. (request ID r-5)")).to_be_visible()
    office.inspect("the history could not be loaded")
    office.page.unroute("**/export?*")
    office.button("Try again").click()
    expect(office.page.get_by_text("No exports yet")).to_be_visible()
