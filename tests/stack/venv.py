"""Python environments with what a requirements file pins: target/venv of the local stack and the tests, and others.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
VENV = ROOT / "target" / "venv"


class VenvError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def ensure(report: Callable[[str], None] = print, requirements: Path = REQUIREMENTS, folder: Path = VENV) -> Path:
    """Makes the environment, or makes it anew when the requirements or this Python have changed. Returns its Python."""
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        # Two commands may start at once, and must not make the same folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _ensure(report, requirements, folder)


def _ensure(report: Callable[[str], None], requirements: Path, folder: Path) -> Path:
    python = folder / "bin" / "python"
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    names = f"{requirements.relative_to(ROOT)} into {folder.relative_to(ROOT)}"
    report(f"Installing {names} (once, about a minute)")
    _run(
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        "cannot make a virtual environment. On Debian and Ubuntu, install python3-venv",
    )
    _run(
        [
            str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
            # The file names all that is needed. Older versions of pip that find that out again stumble over extras.
            "--require-hashes", "--only-binary=:all:", "--no-deps", "--requirement", str(requirements),
            # Python compiles what it imports. The emulator, which is started often, runs without leave to keep that.
            *(() if folder == VENV else ("--no-compile",)),
        ],
        f"cannot install {names}. It needs the Python package index, or a mirror of it in pip's settings",
    )  # fmt: skip
    stamp.write_text(wanted)
    return python


def enter(report: Callable[[str], None] = print) -> None:
    """Goes on as the venv's Python, running the same script with the same arguments."""
    if Path(sys.prefix).resolve() == VENV.resolve() and (VENV / "requirements.sha256").exists():
        return
    python = ensure(report)
    sys.stdout.flush()
    os.execv(python, [str(python), *sys.argv])


def _run(command: list[str], complaint: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise VenvError(f"{complaint}.\n{last}")


if __name__ == "__main__":
    try:
        ensure(folder=ROOT / sys.argv[1], requirements=ROOT / sys.argv[2])
    except VenvError as error:
        sys.exit(str(error))
