"""Creates Python environments from requirements files: target/venv for the local stack and the tests, and others.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import bytecode

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
VENV = ROOT / "target" / "venv"
UV_REQUIREMENTS = ROOT / "tests" / "stack" / "uv.txt"
UV = ROOT / "target" / "uv"
# By pip's name of a setting: the environment variable that uv reads.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


class VenvError(Exception):
    """The environment cannot be created. The message says why and what to do."""


def ensure(report: Callable[[str], None] = print, requirements: Path = REQUIREMENTS, folder: Path = VENV) -> Path:
    """Creates the environment, again if the requirements or this Python have changed. Returns its Python."""
    python = folder / "bin" / "python"
    with _made(folder, requirements) as is_made:
        if not is_made:
            report(f"Installing {_relative(requirements)} into {_relative(folder)} (once, seconds)")
            uv = ensure_uv()
            _make(folder, "--without-pip")
            _install(uv, python, requirements)
    return python


def add(requirements: Path, folder: Path = VENV) -> None:
    """Installs more into an environment that is there."""
    _install(ensure_uv(), folder / "bin" / "python", requirements)


@contextlib.contextmanager
def _made(folder: Path, requirements: Path) -> Iterator[bool]:
    """Whether a folder has the environment of these requirements. If not, the caller makes it."""
    folder.parent.mkdir(exist_ok=True)
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    with folder.with_suffix(".lock").open("w") as lock:
        # Commands that run at the same time must not create the same folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_made = (folder / "bin" / "python").exists() and stamp.exists() and stamp.read_text() == wanted
        yield is_made
        if not is_made:
            stamp.write_text(wanted)


def _make(folder: Path, *options: str) -> None:
    _run(
        [sys.executable, "-m", "venv", "--clear", *options, str(folder)],
        "cannot make a virtual environment. On Debian and Ubuntu, install python3-venv",
    )


def _install(uv: Path, python: Path, requirements: Path) -> None:
    _run(
        [
            str(uv), "pip", "install", "--python", str(python), "--require-hashes", "--only-binary=:all:",
            # The file lists all dependencies.
            "--no-deps", "--requirements", str(requirements),
        ],
        f"cannot install {_relative(requirements)}. It needs the Python package index, or a mirror of it in the "
        "settings of pip or uv",
        {**pip_settings(), **os.environ},
    )  # fmt: skip


def ensure_uv() -> Path:
    """uv, which installs in two seconds what pip installs in twenty."""
    with _made(UV, UV_REQUIREMENTS) as is_made:
        if not is_made:
            _make(UV)
            _run(
                [
                    str(UV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                    "--no-input", "--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile",
                    "--requirement", str(UV_REQUIREMENTS),
                ],
                f"cannot install {_relative(UV_REQUIREMENTS)}. It needs the Python package index, or a mirror of it in "
                "pip's settings",
            )  # fmt: skip
    return UV / "bin" / "uv"


def pip_settings() -> dict[str, str]:
    """The settings of pip that say where the package index is, by uv's names: uv does not read them."""
    command = [str(UV / "bin" / "python"), "-m", "pip", "config", "list"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    settings = {}
    # Listed as section.name='value'. pip's environment variables, which come first, replace its files.
    for line in reversed(lines):
        name, _, value = line.partition("=")
        if setting := UV_NAMES.get(name.rpartition(".")[2]):
            settings[setting] = value.strip("'").replace("\\n", " ")
    return settings


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def enter(report: Callable[[str], None] = print) -> None:
    """Re-executes the script with the environment's Python and the same arguments."""
    if Path(sys.prefix).resolve() == VENV.resolve() and (VENV / "requirements.sha256").exists():
        return
    python = ensure(report)
    sys.stdout.flush()
    os.execve(python, [str(python), *sys.argv], {**os.environ, **bytecode.ENVIRONMENT})


def _run(command: list[str], complaint: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise VenvError(f"{complaint}.\n{last}")


if __name__ == "__main__":
    # A folder, its requirements, and those of more that it gets.
    folder, requirements, *more = (ROOT / argument for argument in sys.argv[1:])
    try:
        ensure(folder=folder, requirements=requirements)
        for other in more:
            add(other, folder)
    except VenvError as error:
        sys.exit(str(error))
