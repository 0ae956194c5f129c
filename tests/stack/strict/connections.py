"""The TCP connections of a process, as the kernel lists them (sock_diag(7)).

/proc/net/tcp has the same, and takes ten milliseconds once a test run has left thousands of closed connections in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

# linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301
HEADER = struct.Struct("=IHHII")
# inet_diag_req_v2: family, protocol, extensions, states; then the local and the remote port, and what selects nothing.
REQUEST = struct.Struct("=BBBxI2s2s44x")
# inet_diag_msg, after its header: the local port, and the inode at its end.
MESSAGE = struct.Struct("=4x2s62xI")
ESTABLISHED = 1 << 1


def local_ports(process: int, remote_port: int) -> set[int]:
    """The local ports of a process's connections to a port.

    Two connections of one machine may have the same local port if their remote ports differ.
    """
    inodes = set()
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            if (target := os.readlink(file)).startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return {port for port, inode in _connections(remote_port) if inode in inodes}


def _connections(remote_port: int) -> Iterator[tuple[int, int]]:
    """Local port and inode of the connections to a port."""
    request = REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, ESTABLISHED, bytes(2), remote_port.to_bytes(2, "big"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0) + request)
        while True:
            rows = kernel.recv(1 << 16)
            while rows:
                length, kind, *_ = HEADER.unpack_from(rows)
                if kind != SOCK_DIAG_BY_FAMILY:
                    return
                port, inode = MESSAGE.unpack_from(rows, HEADER.size)
                yield int.from_bytes(port, "big"), inode
                rows = rows[length:]
