"""The TCP connections of a process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def local_ports(process: int, remote_port: int) -> set[int]:
    """The local ports of a process's connections to a port.

    Two connections of one machine may have the same local port if their remote ports differ.
    """
    inodes = set()
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            if (target := os.readlink(file)).startswith("socket:["):
                inodes.add(target[8:-1])
    rows = (row.split() for row in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:])
    return {_port(row[1]) for row in rows if _port(row[2]) == remote_port and row[9] in inodes}


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)
