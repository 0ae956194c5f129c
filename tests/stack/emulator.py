"""The AWS emulator (ministack) as a child process: start, wait until it answers, stop, leave nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import bytecode

TARGET = Path(__file__).resolve().parents[2] / "target"
STACKS = TARGET / "stack"
# Takes two seconds on an idle machine.
START_SECONDS = 90.0


class EmulatorError(Exception):
    """The emulator does not start; the message says why."""


class Emulator:
    """One ministack on a free port of 127.0.0.1, with all its files in a folder of its own under target/stack.

    `auth` makes it enforce IAM policies; `settings` are those of the package `strict`.
    """

    def __init__(self, auth: bool, settings: Mapping[str, str] | None = None) -> None:
        self._auth = auth
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.log = Path()
        # The forms of the functions' calls, by their roles.
        self.calls = Path()
        self.folder = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        try:
            # The emulator inherits the socket: a port that is chosen and released can be taken by another process.
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self._launch(listener)
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Closing the pipe is the order to stop; guard.py does the rest. The log stays only if the emulator had ended
        by itself."""
        ended = not self.alive()
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        self.calls.unlink(missing_ok=True)
        if not ended:
            self.log.unlink()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _launch(self, listener: socket.socket) -> None:
        self.port = port = int(listener.getsockname()[1])
        STACKS.mkdir(parents=True, exist_ok=True)
        self.folder = folder = Path(tempfile.mkdtemp(prefix="state-", dir=STACKS))
        self.log = STACKS / f"emulator-{port}.log"
        self.calls = STACKS / f"calls-{port}.jsonl"
        command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(folder), str(listener.fileno())]
        command += [sys.executable, str(Path(__file__).with_name("ministack_mended.py"))]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # The functions inherit the emulator's environment, so it gets nothing of this one's.
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(folder),
                    "TMPDIR": str(folder),
                    "STATE_DIR": str(folder / "state"),
                    "S3_DATA_DIR": str(folder / "s3"),
                    "LANG": "C.UTF-8",
                    **bytecode.ENVIRONMENT,
                    "BIND_HOST": "127.0.0.1",
                    "GATEWAY_PORT": str(port),
                    "STACK_LISTENER": str(listener.fileno()),
                    "AWS_ENDPOINT_URL": self.url,
                    # Would listen on a second port.
                    "IOT_MTLS_ENABLED": "0",
                    "AUTH": "true" if self._auth else "false",
                    "CALLS_FILE": str(self.calls),
                    **self._settings,
                },
                cwd=folder,
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the stack, which then stops the emulator in its own time.
                start_new_session=True,
            )

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive():
                raise EmulatorError(f"the emulator ended while starting: see {self.log}")
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=10):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise EmulatorError(f"the emulator did not answer within {START_SECONDS:.0f} s: see {self.log}")
