"""Runs Schemathesis against a local stack, with valid and invalid requests generated from the OpenAPI document.

Settings and justified exceptions are in schemathesis.toml. Arguments are passed to Schemathesis. Runs in the
environment that tests/stack/venv.py creates.
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

# Schemathesis stores reports of failures here.
FOLDER = ROOT / "target" / "schemathesis"
# Fixed, so that failures are reproducible.
SEED = "20261008"
# Schemathesis resends the e-mail of one export hundreds of times, more than the daily limit.
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
    """Creates an export, so that the history is not empty and an e-mail can be resent."""
    exports = f"{stack.apiUrl}/v1/payments/marketplace-payouts/export"
    detail = f"{exports}/{call(stack, 'POST', exports)['exportId']}"
    deadline = time.monotonic() + READY_SECONDS
    while call(stack, "GET", detail)["status"] != "READY":
        if time.monotonic() > deadline:
            raise StackError(f"the first export is not READY within {READY_SECONDS:.0f} s")
        time.sleep(0.1)


def call(stack: Stack, method: str, url: str) -> dict[str, Any]:
    headers = {"dj-client": "OPERATOR", "dj-api-key": stack.apiKey}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=30) as response:
        content: dict[str, Any] = json.load(response)
        return content


if __name__ == "__main__":
    sys.exit(main())
