"""Builds the functions as Lambda expects them: one `bootstrap` file in target/lambda/<profile>/<crate>/.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
# Cargo's profile. The part `release` of `tests/run` sets it.
PROFILE = os.environ.get("FUNCTIONS_PROFILE", "quick")
PACKAGES = TARGET / "lambda" / PROFILE
# `tests/run` sets it for its parts once the functions are built.
DONE = "FUNCTIONS_BUILT"


class BuildError(Exception):
    """The functions cannot be built; the message says why and what to do."""


def crates() -> list[str]:
    """Names of the function crates: the folders under functions/."""
    return sorted(manifest.parent.name for manifest in (ROOT / "functions").glob("*/Cargo.toml"))


def selection() -> list[str]:
    """Cargo's options that select the functions, and tests/features, which says why."""
    return [option for name in (*crates(), "features") for option in ("--package", name)]


# functions/build/common.mk reads these: `sam build` then packages the binaries that are built here.
SAM_SETTINGS = {"PROFILE": "quick", "SELECTION": " ".join(selection())}


@functools.cache
def build() -> None:
    """Builds and packages every function, once per process. Cargo prints its progress to standard error."""
    if os.environ.get(DONE):
        return
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise BuildError("needs a C compiler (cc) to link the functions. On Debian and Ubuntu, install build-essential")
    cargo = os.environ.get("CARGO", "cargo")
    # Release binaries are those that `sam build` makes, of the workspace's default members.
    selected = [] if PROFILE == "release" else selection()
    command = [cargo, "build", "--locked", "--profile", PROFILE, "--target-dir", str(TARGET), *selected]
    try:
        # In its own process group, so that an interrupt also ends the compilers.
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)
    except FileNotFoundError as error:
        raise BuildError("needs cargo, and found none on the PATH. Install Rust") from error
    try:
        failed = process.wait() != 0
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if failed:
        raise BuildError("the functions do not build: see cargo's message above")
    for name in crates():
        place(name, TARGET / PROFILE / name)


def environment() -> dict[str, str]:
    """Leaves out what `cargo run` sets for `cargo local`. The build script of ring reads it, so cargo would compile
    ring again, and everything that uses it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_MANIFEST_", "CARGO_PKG_"))}


def place(name: str, binary: Path) -> None:
    """Puts a binary where the stack looks for the function's code.

    Renamed into place, so that a stack that starts at the same time packages a complete file.
    """
    bootstrap = PACKAGES / name / "bootstrap"
    if bootstrap.exists() and bootstrap.stat().st_mtime_ns == binary.stat().st_mtime_ns:
        return
    bootstrap.parent.mkdir(parents=True, exist_ok=True)
    incoming = bootstrap.with_name(f"bootstrap.{os.getpid()}")
    shutil.copy2(binary, incoming)
    incoming.chmod(0o755)
    incoming.replace(bootstrap)


if __name__ == "__main__":
    try:
        build()
    except BuildError as error:
        sys.exit(str(error))
