"""Debian's Chromium: where it is, and how it is started."""

from __future__ import annotations

import os
import shutil

_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


def program() -> str:
    path = shutil.which("chromium")
    assert path, "needs Chromium on the PATH as chromium. On Debian, install chromium"
    return path


def flags() -> list[str]:
    # Chromium's own sandbox does not work for root.
    return [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS
