"""Schemathesis against a local stack: whatever the API's description allows, and what it forbids, is sent.

Its settings, and the exceptions with their reasons, are in schemathesis.toml; arguments are passed on to it. Runs
inside the environment that tests/stack/venv.py makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "stack"))

from stack import Stack, StackError  # noqa: E402

# What it remembers between runs, and where a failure can be looked at.
FOLDER = ROOT / "target" / "schemathesis"
# The same in every run, so that one that fails here fails again elsewhere.
SEED = "20261008"
# Resends of one export are bounded a day, and hundreds are sent here.
SETTINGS = {"resend-email": {"MAX_RESENDS_A_DAY": "1000000"}}
READY_SECONDS = 90.0


def main() -> int:
    try:
        with Stack.start(auth=True, settings=SETTINGS, report=lambda text: print(text, flush=True)) as stack:
            await_first_export(stack)
            return run(stack)
    except StackError as error:
        print(f"tests/schemathesis/run.py: {error}", file=sys.stderr)
        return 1


def run(stack: Stack) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"),
        "run", f"{stack.apiUrl}/v1/openapi.json", "--seed", SEED, *sys.argv[1:],
    ]  # fmt: skip
    environment = {**os.environ, "API_KEY": stack.apiKey, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    return subprocess.run(command, cwd=FOLDER, env=environment).returncode


def await_first_export(stack: Stack) -> None:
    """A history to list, and a file whose mail can be sent again."""
    exports = f"{stack.apiUrl}/v1/payments/marketplace-payouts/export"
    detail = f"{exports}/{call(stack, 'POST', exports)['exportId']}"
    deadline = time.monotonic() + READY_SECONDS
    while call(stack, "GET", detail)["status"] != "READY":
        if time.monotonic() > deadline:
            raise StackError(f"the first export is not READY within {READY_SECONDS:.0f} s")
        time.sleep(0.1)


def call(stack: Stack, method: str, url: str) -> dict[str, Any]:
    headers = {"dj-client": "OPERATOR", "dj-api-key": stack.apiKey}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=30) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


if __name__ == "__main__":
    sys.exit(main())
