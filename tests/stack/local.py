"""`cargo local`: runs the whole product on this machine, from the real template, and shows an export of each type.

Starts the local stack, loads rows, launches an export of each type, follows it to READY over HTTP, shows its CSV file
and e-mail, then serves until Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 10):  # noqa: UP036, because users may have an older version
    sys.exit("cargo local: needs Python 3.10 or later")

import venv
from venv import VenvError

import rows_file
import sample_payouts
import sample_rows
from build import BuildError
from export_types import EXPORT_TYPES, MARKETPLACE_PAYOUTS, ExportType, type_of
from rows_file import RowsFileError

if TYPE_CHECKING:
    from stack import Stack

DEFAULT_PORT = 4566
OUTPUT = venv.ROOT / "target" / "local"
# Describes the stack that was started last.
DESCRIPTION = OUTPUT / "stack.json"
CC = ["finance@acme.example", "accounting@acme.example"]
EXPORT_SECONDS = 300
# Sample rows of each type other than marketplace payouts.
OTHER_ROWS = 500
SHOWN_LINES = 6
SHOWN_WIDTH = 150
# Kept in the environment, so that the clock continues when the process re-executes itself in the venv.
STARTED = float(os.environ.setdefault("CARGO_LOCAL_STARTED", str(time.monotonic())))


# The rows of --payouts, if given.
OwnRows = tuple[ExportType, list[dict[str, Any]]] | None


class LocalError(Exception):
    """`cargo local` failed. The message says why."""


def main() -> int:
    arguments = _arguments()
    # SIGTERM stops everything like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        own = rows_file.read(arguments.payouts) if arguments.payouts else None
        _probe(arguments.port)
        _forget_earlier_stack()
        venv.enter(_step)
        return _run(arguments, own)
    except (LocalError, RowsFileError, VenvError, BuildError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe. Discard the output that Python still buffers.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cargo local",
        description=(
            "Runs the payments exports on this machine: deploys template.yaml and the functions to an emulated AWS, "
            "loads sample rows and follows one export of each type to READY. Then serves the API until Ctrl-C."
        ),
        epilog=(
            "Writes target/local/stack.json for scripts, with the API's URL and key and the names of all resources."
        ),
    )
    parser.add_argument("--once", action="store_true", help="exit after the exports instead of serving")
    parser.add_argument(
        "--payouts",
        type=lambda path: Path(os.environ.get("CARGO_LOCAL_TYPED_IN", "")) / path,
        metavar="FILE.csv",
        help="load the rows of this exported CSV file instead of the samples of its type",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help=f"port of the API on 127.0.0.1 (default: {DEFAULT_PORT}; 0: any free one)",
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a number from 0 to 65535")
    return int(text)


def _probe(port: int) -> None:
    """Reports a port in use before anything slow starts."""
    with socket.socket() as probe:
        # Like the API's server: closing connections of an earlier run do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = error.strerror or error
            raise LocalError(f"port {port} cannot be used: {reason}. Choose another one with --port") from error


def _forget_earlier_stack() -> None:
    """Deletes its description, so that scripts which wait for the new one do not read it."""
    try:
        other = json.loads(DESCRIPTION.read_text())["apiUrl"]
        urllib.request.urlopen(f"{other}/v1/openapi.json", timeout=2).close()
        _detail(f"Another stack serves at {other}: target/local/stack.json will describe this one")
    except (OSError, ValueError, KeyError, TypeError):
        pass
    DESCRIPTION.unlink(missing_ok=True)


def _run(arguments: argparse.Namespace, own: OwnRows) -> int:
    # Imported here, because they need packages of the venv.
    from stack import EmulatorError, Stack, StackError

    try:
        with Stack.start(port=arguments.port, linked=True, report=_step) as stack:
            OUTPUT.mkdir(parents=True, exist_ok=True)
            DESCRIPTION.write_text(json.dumps(stack.describe(), indent=2) + "\n")
            _load(stack, own)
            # All at once: a tenant can have a pending export of each type.
            launched = [_launch(stack, export_type) for export_type in EXPORT_TYPES]
            exports = [_follow(stack, export) for export in launched]
            for export in exports:
                _show_file(export)
                _show_mail(stack, export)
            if arguments.once:
                _step("Done")
            else:
                _show_stack(stack, exports[0])
                _serve(stack)
    except (StackError, EmulatorError) as error:
        raise LocalError(str(error)) from error
    return 0


def _load(stack: Stack, own: OwnRows) -> None:
    _step(f"Loading rows for the tenant {stack.tenantId}")
    own_type, own_rows = own or (None, [])
    for export_type in EXPORT_TYPES:
        is_own = export_type is own_type
        rows = own_rows if is_own else _samples(stack, export_type)
        stack.put_rows(export_type, stack.tenantId, rows)
        _detail(f"{len(rows)} {'of your' if is_own else 'sample'} {export_type.title.lower()}")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if later := sum(row["createdAt"] > now for row in own_rows):
        _detail(f"{later} of yours have a createdAt in the future: exports omit them until then")


def _samples(stack: Stack, export_type: ExportType) -> list[dict[str, Any]]:
    # Loading rows takes most of the time.
    count = sample_payouts.ROWS if export_type is MARKETPLACE_PAYOUTS else OTHER_ROWS
    return list(sample_rows.rows(export_type, stack.tenantId, count))


def _launch(stack: Stack, export_type: ExportType) -> dict[str, Any]:
    """Launches an export over HTTP, as a client would."""
    _step(f"Exporting: POST {export_type.path}")
    export = _call(stack, "POST", export_type.path, {"cc": CC})
    _detail(f"{export['exportId']} is {export['status']}")
    return export


def _follow(stack: Stack, export: dict[str, Any]) -> dict[str, Any]:
    """Polls an export until it is READY."""
    path = f"{type_of(export['exportId']).path}/{export['exportId']}"
    deadline = time.monotonic() + EXPORT_SECONDS
    while export["status"] == "PENDING":
        if time.monotonic() > deadline:
            raise LocalError(f"the export is still PENDING after {EXPORT_SECONDS} s")
        time.sleep(0.5)
        export = _call(stack, "GET", path)
    _detail(f"{export['exportId']} is {export['status']}")
    if export["status"] != "READY":
        failure = export.get("failure") or {}
        raise LocalError(f"the export is {export['status']}: {failure.get('code')}, {failure.get('message')}")
    return export


def _call(stack: Stack, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"dj-client": "OPERATOR", "dj-api-key": stack.apiKey}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(stack.apiUrl + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            content: dict[str, Any] = json.load(response)
            return content
    except urllib.error.HTTPError as error:
        raise LocalError(f"{method} {path} returned {error.code}: {error.read().decode(errors='replace')}") from error


def _show_file(export: dict[str, Any]) -> None:
    file = export["file"]
    _step(f"The file: {file['name']}")
    with urllib.request.urlopen(export["downloadUrl"], timeout=60) as response:
        content = response.read()
    path = OUTPUT / file["name"]
    path.write_bytes(content)
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        raise LocalError(f"{path} does not have the SHA-256 that the API returned")
    _detail(f"{file['rows']} rows, {file['bytes']} bytes, SHA-256 {file['sha256']} verified")
    _quote([_shortened(line) for line in content.decode("utf-8-sig").splitlines()[:SHOWN_LINES]])
    _detail(f"complete file: {path.relative_to(venv.ROOT)}")


def _show_mail(stack: Stack, export: dict[str, Any]) -> None:
    _step("The e-mail")
    (mail,) = (mail for mail in stack.mails() if export["exportId"] in mail.text)
    name = f"mail-{export['exportType']}"
    (OUTPUT / f"{name}.txt").write_text(mail.text)
    (OUTPUT / f"{name}.html").write_text(mail.html)
    _quote([f"From: {mail.sender}", f"To: {', '.join(mail.to)}", f"Cc: {', '.join(mail.cc)}"])
    _quote([f"Subject: {mail.subject}", "", *mail.text.splitlines()])
    _detail(f"complete e-mail: target/local/{name}.txt and target/local/{name}.html")


def _show_stack(stack: Stack, export: dict[str, Any]) -> None:
    headers = f"-H 'dj-client: OPERATOR' -H 'dj-api-key: {stack.apiKey}'"
    _step("Ready")
    _detail(f"Page     {stack.backOfficeUrl} (sign in with the API key)")
    _detail(f"API      {stack.apiUrl}")
    _detail(f"API key  {stack.apiKey}")
    _detail(f"Mailbox  {stack.mailboxUrl}")
    _detail("Scripts  target/local/stack.json")
    exports = stack.apiUrl + type_of(export["exportId"]).path
    _detail("Try      " + f"curl -s {headers} {shlex.quote(f'{exports}/' + export['exportId'])}")
    _detail("         " + f"curl -s {headers} -X POST {shlex.quote(exports)}")


def _serve(stack: Stack) -> None:
    print("\nServing until Ctrl-C.", flush=True)
    try:
        while stack.alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nStopping.", flush=True)
        return
    raise LocalError(f"the emulated AWS stopped unexpectedly: see {stack.emulator_log}")


def _step(text: str) -> None:
    print(f"\n[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def _detail(text: str) -> None:
    print(f"          {text}", flush=True)


def _quote(lines: list[str]) -> None:
    for line in lines:
        print(f"          | {line}", flush=True)


def _shortened(line: str) -> str:
    return line if len(line) <= SHOWN_WIDTH else f"{line[: SHOWN_WIDTH - 1]}…"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(error: Exception) -> int:
    print(f"\ncargo local: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
