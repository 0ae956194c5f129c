"""The programs that parts need, and how to install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import chromium


@dataclass(frozen=True)
class Tool:
    """A program or package that a part needs."""

    is_there: Callable[[], bool]
    advice: str
    debian_packages: tuple[str, ...] = ()


def _on_path(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name) for name in names)


TOOLS = {
    "cargo": Tool(_on_path("cargo"), "needs cargo, and found none on the PATH. Install Rust with rustup"),
    "cc": Tool(
        lambda: shutil.which(os.environ.get("CC", "cc")) is not None,
        "needs a C compiler (cc) to link Rust programs. On Debian and Ubuntu, install build-essential",
        ("build-essential",),
    ),
    "clippy-driver": Tool(
        _on_path("clippy-driver"),
        "needs clippy, which checks the project's crates as it compiles them. Run `rustup component add clippy`",
    ),
    "c++": Tool(
        lambda: shutil.which(os.environ.get("CXX", "c++")) is not None,
        "needs a C++ compiler (c++) for the fuzzer. On Debian and Ubuntu, install build-essential",
        ("build-essential",),
    ),
    "ensurepip": Tool(
        lambda: subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True).returncode == 0,
        "needs Python's ensurepip to make a virtual environment. On Debian and Ubuntu, install python3-venv",
        ("python3-venv",),
    ),
    "make": Tool(
        _on_path("make"),
        "needs make, with which SAM CLI builds the functions. On Debian and Ubuntu, install make",
        ("make",),
    ),
    "curl and jq": Tool(
        _on_path("curl", "jq"),
        "needs curl and jq for the commands of the documents. On Debian and Ubuntu, install curl and jq",
        ("curl", "jq"),
    ),
    "chromium": Tool(
        lambda: chromium.find() is not None,
        chromium.ADVICE,
        # The page's preferred font, for its screenshots.
        ("chromium-headless-shell", "fonts-inter"),
    ),
}


def provide(name: str, report: Callable[[str], None]) -> bool:
    """Whether a tool is available. Installs it first, as root on Debian and Ubuntu."""
    tool = TOOLS[name]
    if not tool.is_there() and tool.debian_packages and os.geteuid() == 0 and shutil.which("apt-get"):
        report(f"Installing {', '.join(tool.debian_packages)}")
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *tool.debian_packages]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(
                ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", *command],
                env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
    return tool.is_there()
