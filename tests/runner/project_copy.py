"""A copy of the project, in which a check changes the code."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runner.results import ROOT


def update(folder: Path) -> None:
    """Makes `folder` equal to the work tree, except for ignored files and its own `target`.

    Equal files are left alone, so that cargo compiles little. Others get new times, so that it compiles them.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    names = {name for name in listed if (ROOT / name).is_file()}
    for name in names:
        source, copy = ROOT / name, folder / name
        if not copy.is_file() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    for copy in folder.rglob("*"):
        name = copy.relative_to(folder).as_posix()
        if copy.is_file() and name not in names and not name.startswith("target/"):
            copy.unlink()


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Replaces the content of a file for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)
