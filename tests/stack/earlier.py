"""Builds the functions of an earlier commit, for the tests of a deployment during exports.

Runs with a bare Python: nothing outside the standard library may be imported here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import build

# The oldest build whose exports this one must continue, and the other way round: the commit from which on the stored
# forms in shared/aws/golden/stored are those of today. Once there is a release, the release.
COMMIT = "a3a84bc822587a2b8b763efc37955901d65f3991"
SOURCES = build.TARGET / "earlier" / COMMIT[:7]
PACKAGES = SOURCES / "target" / "lambda" / build.PROFILE


LACKING = f"the clone lacks the commit {COMMIT}: it is shallow"


def is_in_history() -> bool:
    return subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=build.ROOT, capture_output=True).returncode == 0


def build_functions() -> None:
    """Builds and packages every function of the commit with its own build script."""
    if os.environ.get(build.DONE):
        return
    if not SOURCES.exists():
        incoming = SOURCES.with_name(f"{SOURCES.name}-{os.getpid()}")
        incoming.mkdir(parents=True)
        archive = incoming.with_suffix(".tar")
        subprocess.run(["git", "archive", "--output", archive, COMMIT], cwd=build.ROOT, check=True)
        shutil.unpack_archive(archive, incoming)
        archive.unlink()
        incoming.replace(SOURCES)
    # In a target folder of its own: in a shared one, cargo takes the crates of either commit for those of the other.
    command = [sys.executable, str(SOURCES / "tests" / "stack" / "build.py")]
    if subprocess.run(command).returncode != 0:
        raise build.BuildError(f"the functions of {COMMIT} do not build: see the messages above")


if __name__ == "__main__":
    try:
        if is_in_history():
            build_functions()
        else:
            print(LACKING)
    except build.BuildError as error:
        sys.exit(str(error))
