"""The connections that a frozen function loses."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from strict.connections import local_ports


def test_connections_to_another_port_are_not_listed() -> None:
    """Otherwise an unrelated client of the emulator with the same local port would lose its connection."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        remote_ports = [listener.getsockname()[1] for listener in listeners]
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for port in remote_ports]
        for client, remote_port in zip(clients, remote_ports, strict=True):
            assert local_ports(os.getpid(), remote_port) == {client.getsockname()[1]}
