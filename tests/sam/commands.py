"""Extracts the shell commands of a document and runs them against the local stack."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "stack"))

import venv  # noqa: E402

import build  # noqa: E402

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COMMAND_SECONDS = 600.0
# Makes version 1 of the AWS CLI accept commands for version 2: it does not know --cli-binary-format, and ignores
# AWS_ENDPOINT_URL for SQS. Run as a module, because its script does not start from a path with a space.
VERSION_2 = """words=()
while [ $# -gt 0 ]; do
  if [ "$1" = --cli-binary-format ]; then shift 2; else words+=("$1"); shift; fi
done
exec {python} -m awscli --endpoint-url "$AWS_ENDPOINT_URL" "${{words[@]}}"
"""


class CommandError(Exception):
    """A command of the document failed. The message has the command and its output."""


@dataclass(frozen=True)
class Block:
    """A fenced code block and the heading above it."""

    heading: str
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found, heading, end = [], "", 0
    for fenced in FENCED.finditer(text):
        # Only between blocks: a shell comment looks like a heading.
        heading = (HEADING.findall(text, end, fenced.start()) or [heading])[-1]
        found.append(Block(heading, fenced["language"], textwrap.dedent(fenced["text"])))
        end = fenced.end()
    return found


class Shell:
    """Runs commands as a reader with the AWS CLI and SAM CLI would. The account is the local stack's."""

    def __init__(self, programs: Path, endpoint: str, region: str) -> None:
        nowhere = str(programs / "nowhere")
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath))),
            "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            # No AWS configuration of this machine applies.
            "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0", **build.SAM_SETTINGS,
            # The output of a command that runs until Ctrl-C is read while it runs.
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
            self.environment.pop(name, None)

    def run(self, script: str, folder: Path = ROOT, stdin: str = "", until: str = "") -> str:
        """Runs a script and returns its output. Every command must succeed, also in a pipeline.

        A command that runs until Ctrl-C is interrupted once a line of its output matches `until`.
        """
        print("\n".join(f"$ {line}" for line in script.strip().splitlines()), flush=True)
        # A background process may ignore SIGINT, and its children would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        began, printed = time.monotonic(), ""
        process = subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail\n{script}"], cwd=folder, env=self.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        overdue = threading.Timer(COMMAND_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        overdue.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(stdin)
            process.stdin.close()
            stopped = False
            for line in process.stdout:
                printed += line
                if until and re.search(until, line) and not stopped:
                    stopped = True
                    os.killpg(process.pid, signal.SIGINT)
            failed = process.wait() != 0 and not stopped
        finally:
            overdue.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if failed or (until and not stopped):
            raise CommandError(f"exit code {process.returncode} of:\n{script}\n{printed}")
        print(f"  {time.monotonic() - began:.1f} s", flush=True)
        return printed


@contextmanager
def shell(endpoint: str, region: str, config: str = "") -> Iterator[Shell]:
    """A shell with both CLIs. With `config`, SAM CLI uses it instead of samconfig.toml."""
    installed = venv.ensure(requirements=REQUIREMENTS, folder=ROOT / "target" / "sam-venv").parent
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder)
        write_program(programs / "aws", VERSION_2.format(python=shlex.quote(str(installed / "python"))))
        settings = programs / "samconfig.toml"
        settings.write_text(config)
        option = f" --config-file {shlex.quote(str(settings))}" if config else ""
        write_program(programs / "sam", f'exec {shlex.quote(str(installed / "sam"))} "$@"{option}\n')
        yield Shell(programs, endpoint, region)


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{script}")
    path.chmod(0o755)
