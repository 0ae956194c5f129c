"""Runs a command, and kills it with all its descendants once this process's standard input is closed.

The stack holds the other end of that pipe. The kernel closes it whether the stack stops, crashes or is killed, so the
emulator and its functions never outlive the stack. Usage: guard.py FOLDER DESCRIPTOR COMMAND…. FOLDER is deleted at the
end, and the command inherits DESCRIPTOR.
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
    # Only the closed pipe ends the command, so that the stack shuts down first even if the whole group is signalled.
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
    # Functions run in the emulator's process group and may outlive it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _adopt_orphans() -> None:
    """Makes this process the parent of orphaned descendants. Linux only.

    Otherwise they remain as zombies if process 1 is not an init, as in many containers.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
