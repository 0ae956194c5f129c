"""The server goes away and comes back."""

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


class Wire:
    """A wire to the stack that can be cut: a port of its own, from which bytes go there and back."""

    def __init__(self, stack: Stack) -> None:
        there = urlsplit(stack.apiUrl)
        self._there = (there.hostname, there.port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        # Bound all the time, or another process could take the port while the wire is cut. Nobody listens here.
        self._place = self._bound(0)
        self._port = int(self._place.getsockname()[1])
        self._listener: socket.socket | None = None
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/back-office"

    def mend(self) -> None:
        listener = self._bound(self._port)
        listener.listen()
        with self._lock:
            self._listener = listener
            self._open.add(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            ends, self._open, self._listener = self._open, set(), None
        for end in ends:
            # Closing alone would not wake who waits on it.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self.cut()
        self._place.close()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
                there = socket.create_connection(self._there)
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    # Cut meanwhile.
                    here.close()
                    there.close()
                    return
                self._open |= {here, there}
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    laid = Wire(stack)
    yield laid
    laid.close()


def test_server_that_goes_away_is_told_and_its_return_brings_the_page_up_to_date(
    wire: Wire, tenant: Tenant, open_office: Opener
) -> None:
    first = tenant.export()["exportId"]
    office = open_office(tenant, url=wire.url)
    office.expect_ids([first])
    wire.cut()
    office.button("Refresh").click()
    bar = office.page.get_by_role("alert").filter(has_text="The server cannot be reached.")
    expect(bar).to_contain_text("What you see is from")
    # What was there is still there, to read and to copy.
    office.expect_ids([first])
    office.inspect("the server is away")
    office.open_launch().get_by_role("button", name="Confirm export").click()
    expect(office.dialog.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    office.page.keyboard.press("Escape")

    second = tenant.export()["exportId"]
    wire.mend()
    # By itself, within the seconds that it waits between two tries.
    expect(bar).to_be_hidden()
    expect(office.message).to_contain_text("Connected again")
    office.expect_ids([second, first])


def test_try_now_does_not_wait(wire: Wire, tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, url=wire.url, has_clock=True)
    wire.cut()
    # The page's time stands still: it tries nothing by itself.
    office.page.clock.pause_at(datetime.now(timezone.utc) + timedelta(seconds=10))
    office.button("Refresh").click()
    # Not before the page knows of the outage: it would be over unseen.
    expect(office.button("Try now")).to_be_visible()
    wire.mend()
    office.button("Try now").click()
    expect(office.button("Try now")).to_be_hidden()


def test_browser_without_network_says_so(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.page.context.set_offline(True)
    office.button("Refresh").click()
    bar = office.page.get_by_role("alert").filter(has_text="What you see is from")
    expect(bar).to_contain_text("You are offline.")
    office.page.context.set_offline(False)
    expect(bar).to_be_hidden()


def test_sign_in_without_the_server_says_so_and_works_once_it_is_back(
    wire: Wire, tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(url=wire.url)
    wire.cut()
    office.sign_in(tenant.key)
    expect(office.page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    wire.mend()
    office.button("Sign in").click()
    office.expect_loaded()


def test_history_that_fails_at_first_says_so_and_is_loaded_on_request(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    fault = {"code": "SERVICE_UNAVAILABLE", "message": "Service unavailable", "detail": "Something does not answer."}
    answer = {"errors": [fault], "requestId": "r-5"}
    office.page.route("**/export?*", lambda route: route.fulfill(status=503, json=answer))
    office.page.reload()
    expect(office.page.get_by_text("The history could not be loaded")).to_be_visible()
    expect(office.page.get_by_text("Something does not answer. (request r-5)")).to_be_visible()
    office.inspect("the history could not be loaded")
    office.page.unroute("**/export?*")
    office.button("Try again").click()
    expect(office.page.get_by_text("No exports yet")).to_be_visible()
