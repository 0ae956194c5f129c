"""Detects changes of the work tree with git. A run must leave it unchanged."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from runner.results import ROOT


@dataclass(frozen=True)
class Changes:
    """Files that differ from the last commit, with their status and a hash of their content."""

    files: dict[str, str] = field(default_factory=dict)
    # Why git cannot list the changes.
    reason: str = ""


def changes(root: Path = ROOT) -> Changes:
    command = ["git", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True)
    except FileNotFoundError:
        return Changes(reason="git is not installed")
    if listed.returncode != 0:
        return Changes(reason=(listed.stderr.decode(errors="replace").splitlines() or ["git status failed"])[0])
    entries = [entry for entry in listed.stdout.decode(errors="surrogateescape").split("\0") if entry]
    return Changes({entry[3:]: entry[:2] + _hash(root / entry[3:]) for entry in entries})


def differences(before: Changes, after: Changes) -> list[str]:
    names = before.files.keys() | after.files.keys()
    return sorted(name for name in names if before.files.get(name) != after.files.get(name))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
