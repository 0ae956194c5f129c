"""Runs the AWS emulator (ministack) as a child process and removes its files when it stops."""

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
# Where tests/run collects the logs of the stacks that a part starts. It keeps them if the part fails.
LOGS = "STACK_LOGS"
# Takes two seconds on an idle machine.
START_SECONDS = 90.0


class EmulatorError(Exception):
    """The emulator does not start. The message says why."""


class Emulator:
    """A ministack on a free port of 127.0.0.1, with its files in a folder under target/stack.

    With `auth` it enforces IAM policies. `settings` are those of the package `strict`.
    """

    def __init__(self, auth: bool, settings: Mapping[str, str] | None = None) -> None:
        self._auth = auth
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.log = Path()
        # The forms of the functions' calls, written by recorder.py.
        self.calls = Path()
        self.folder = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        try:
            # The emulator inherits the socket, because another process could take a released port.
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self._launch(listener)
            self._await_response()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Closes the pipe, which makes guard.py stop the emulator. Deletes the log, unless the emulator had crashed or
        tests/run collects it."""
        ended = not self.alive()
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        self.calls.unlink(missing_ok=True)
        if not ended and LOGS not in os.environ:
            self.log.unlink()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _launch(self, listener: socket.socket) -> None:
        self.port = port = int(listener.getsockname()[1])
        STACKS.mkdir(parents=True, exist_ok=True)
        self.folder = folder = Path(tempfile.mkdtemp(prefix="state-", dir=STACKS))
        self.log = Path(os.environ.get(LOGS, STACKS)) / f"emulator-{port}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.calls = STACKS / f"calls-{port}.jsonl"
        command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(folder), str(listener.fileno())]
        command += [sys.executable, str(Path(__file__).with_name("ministack_patched.py"))]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # The functions inherit the emulator's environment, so it has only these variables.
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
                    # IoT would listen on a second port.
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
                # Ctrl-C must not reach the emulator: the stack stops it.
                start_new_session=True,
            )

    def _await_response(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive():
                raise EmulatorError(f"the emulator ended while starting: see {self.log}")
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=10):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise EmulatorError(f"the emulator did not respond within {START_SECONDS:.0f} s: see {self.log}")
