"""Runs a command, and ends it with everything it started as soon as this process' standard input is closed.

The stack holds the other end of that pipe. However the stack ends, stopped, killed or crashed, the kernel closes the
pipe: so the emulator and the functions it runs never outlive it. Usage: guard.py FOLDER DESCRIPTOR COMMAND…; FOLDER is
deleted at the end, and DESCRIPTOR is handed to the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

GRACE_SECONDS = 2.0
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    folder, descriptor, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    # Only the pipe decides when to end: the stack's own shutdown must come first, also when a whole group is signalled.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _adopt_orphans()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], start_new_session=True, preexec_fn=_default_signals
    )
    os.close(descriptor)
    while child.poll() is None and not select.select([sys.stdin], [], [], 0.2)[0]:
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    # The functions are in the emulator's process group, and some outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _adopt_orphans() -> None:
    """Makes this process the parent of what its descendants leave behind: else they would stay as zombies where process
    1 is no real init, as in many containers. Only Linux knows this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
