"""Finds Chromium and its command-line flags.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import os
import shutil

# chromium-headless-shell is the same browser without a window and needs half the CPU.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = (
    f"needs Chromium on the PATH, as {' or '.join(NAMES)}, or its path in CHROME. On Debian, install "
    "chromium-headless-shell and fonts-inter"
)
_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


def find() -> str | None:
    """The path of Chromium. CHROME, if set, names the program to use."""
    chosen = os.environ.get("CHROME")
    names = (chosen,) if chosen else NAMES
    return next((path for name in names if (path := shutil.which(name))), None)


def program() -> str:
    path = find()
    assert path, ADVICE
    return path


def flags() -> list[str]:
    # Chromium's own sandbox does not work for root.
    return [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS
