"""`cargo local` with its options, run as a command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import rows_file
import sample_rows
from expected_csv import expected_csv
from export_types import EXPORT_TYPES, SUPPLIER_PAYOUTS, ExportType
from rows_file import RowsFileError

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "target" / "local"
LIMIT_SECONDS = 170.0


@pytest.fixture(autouse=True)
def _other_description() -> Iterator[None]:
    """Restores the description of a stack that may be in use."""
    path = OUTPUT / "stack.json"
    before = path.read_text() if path.exists() else None
    yield
    if before is not None:
        path.write_text(before)


def cargo_local(*options: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["cargo", "local", *(str(option) for option in options)]
    # From another folder, cargo finds neither the alias nor the workspace.
    assert folder.is_relative_to(ROOT)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS)


def exported(done: subprocess.CompletedProcess[str], export_type: ExportType) -> bytes:
    """The exported file of a type."""
    assert done.returncode == 0, done.stdout + done.stderr
    names = re.findall(r"The file: (\S+)", done.stdout)
    assert [export_type.slug for export_type in EXPORT_TYPES] == [name.partition("-acme-")[0] for name in names]
    assert done.stdout.count("| Subject: Your ") == len(EXPORT_TYPES)
    return (OUTPUT / names[EXPORT_TYPES.index(export_type)]).read_bytes()


@pytest.mark.timeout(2 * LIMIT_SECONDS + 180)
def test_once_ends_after_an_export_and_its_file_can_be_loaded_again() -> None:
    subprocess.run([sys.executable, "tests/stack/build.py"], cwd=ROOT, check=True)
    done = cargo_local("--once", "--port", "0")
    assert "Compiling" not in done.stderr, "compiled again"
    file = exported(done, SUPPLIER_PAYOUTS)
    assert file.count(b"\n") > 100
    # Run in tests/, because relative paths start from the current folder.
    loaded = OUTPUT / "loaded.csv"
    loaded.write_bytes(file)
    done = cargo_local("--once", "--port", "0", "--payouts", Path("../target/local/loaded.csv"), folder=ROOT / "tests")
    assert "of your supplier payouts" in done.stdout
    assert exported(done, SUPPLIER_PAYOUTS) == file


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
@pytest.mark.parametrize("has_byte_order_mark", [False, True])
@pytest.mark.parametrize("count", [0, 900])
def test_exported_file_of_each_type_can_be_read(
    export_type: ExportType, has_byte_order_mark: bool, count: int, tmp_path: Path
) -> None:
    rows = list(sample_rows.rows(export_type, "acme", count)) if count else []
    # Two rows with the same ID and different creation times have different keys.
    rows += [{**row, "createdAt": "2030-01-01T00:00:00.000Z"} for row in rows[:1]]
    file = expected_csv(rows, has_byte_order_mark, export_type.slug)
    path = tmp_path / "exported.csv"
    path.write_bytes(file)
    found, read = rows_file.read(path)
    assert found is export_type
    assert expected_csv(read, has_byte_order_mark, export_type.slug) == file


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("id;column;problem;value", "column 1: expected the header payout_id, found id."),
        ("transfer_id;reference;status;amount;iso", "column 5: expected the header currency, found iso."),
        (",".join(rows_file.HEADERS[SUPPLIER_PAYOUTS]), "has commas between its columns"),
        (";".join([*rows_file.HEADERS[SUPPLIER_PAYOUTS], "more"]), "column 23: expected no more columns, found more"),
    ],
)
def test_file_with_another_header_is_rejected(header: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(header)
    with pytest.raises(RowsFileError, match=re.escape(error)):
        rows_file.read(path)


def test_port_serves_until_interrupted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    description = OUTPUT / "stack.json"
    OUTPUT.mkdir(parents=True, exist_ok=True)
    description.write_text('{"apiUrl": "http://127.0.0.1:9"}')
    process = subprocess.Popen(
        ["cargo", "local", "--port", str(port)], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if "Building the functions" in line:
                assert not description.exists(), "scripts would read the description of an earlier stack"
            if "Serving until Ctrl-C" in line:
                break
        described = json.loads(description.read_text())
        assert described["apiUrl"] == f"http://127.0.0.1:{port}", printed
        assert len({described[export_type.key] for export_type in EXPORT_TYPES}) == len(EXPORT_TYPES)
        for url in (described["backOfficeUrl"], f"{described['apiUrl']}/v1/openapi.json", described["mailboxUrl"]):
            with urllib.request.urlopen(url, timeout=30) as response:
                assert response.status == 200
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - began < 30
        for url in (described["apiUrl"], described["awsEndpointUrl"]):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5).close()
    finally:
        if process.poll() is None:
            # The emulator and the functions end with the process that started them.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_port_in_use_is_named_before_anything_is_done() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = cargo_local("--once", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "Choose another one with --port" in done.stderr
    assert "Building" not in done.stdout


def test_missing_payouts_file_is_named_in_one_line() -> None:
    done = cargo_local("--once", "--payouts", "no-such.csv")
    assert done.returncode == 1
    assert "no-such.csv" in done.stderr
    assert "Traceback" not in done.stderr
