"""The connections that a frozen function loses, and those that clients close."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

from conftest import Account
from strict.connections import local_ports


def test_connections_to_another_port_are_not_listed() -> None:
    """Otherwise an unrelated client of the emulator with the same local port would lose its connection."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        remote_ports = [listener.getsockname()[1] for listener in listeners]
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for port in remote_ports]
        for client, remote_port in zip(clients, remote_ports, strict=True):
            assert local_ports(os.getpid(), remote_port) == {client.getsockname()[1]}


def test_connection_that_its_client_has_closed_is_closed(account: Account) -> None:
    """Otherwise thousands stay open until the keep-alive time-out of 75 s, and take half of the emulator's time."""
    port = urlsplit(account.emulator.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=15) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
