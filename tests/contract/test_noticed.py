"""What `tests/run noticed` changes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

import run
from changes import changes
from runner import project_copy, results

ADAPTER = """
const PAGE: u32 = 1 << 10;
/// 7 days.
#[derive(Debug)]
fn read(table: &str) {
    let count = 3;
    wait(Duration::from_secs(60 * count));
    client.get_item().table_name(table).consistent_read(true).send().await;
    settings.expires_in = Some(lifetime);
    warn!("not read {}", 4);
}
#[cfg(test)]
mod tests {
    const SIZE: usize = 5;
}
"""


def test_literals_and_builder_calls_outside_tests_are_changed(tmp_path: Path) -> None:
    file = tmp_path / "shared/aws/src/table.rs"
    file.parent.mkdir(parents=True)
    file.write_text(ADAPTER, encoding="utf-8")
    found = {change.name.partition(".rs ")[2]: change for change in changes(tmp_path)}
    assert {name: change.line for name, change in found.items()} == {
        "PAGE: 1 → 2": 2,
        "PAGE: 10 → 11": 2,
        "read: 60 → 61": 7,
        "read: without .table_name(…)": 8,
        "read: without .consistent_read(…)": 8,
        "read: true → false": 8,
        "read: without settings.expires_in = Some(lifetime);": 9,
    }
    source = ADAPTER.encode()
    assert b"const PAGE: u32 = 2 << 10;" in found["PAGE: 1 → 2"].apply(source)
    without = found["read: without .consistent_read(…)"].apply(source)
    assert b"client.get_item().table_name(table).send().await;" in without
    assert {change.crate for change in found.values()} == {"exports-aws"}


def test_survivors_are_changes_that_exist() -> None:
    listed = run.excused()
    assert len(set(listed)) == len(listed)
    # Those of cargo-mutants begin with the file and a colon.
    names = {change.name for change in changes()}
    assert [name for name in listed if name not in names and ".rs: " not in name] == []


def test_copy_is_restored_if_a_change_is_interrupted(tmp_path: Path) -> None:
    file = tmp_path / "shared/aws/src/table.rs"
    file.parent.mkdir(parents=True)
    file.write_text(ADAPTER, encoding="utf-8")
    change, *_ = changes(tmp_path)
    with contextlib.suppress(KeyboardInterrupt), project_copy.replaced(file, change.apply(file.read_bytes())):
        assert "PAGE: u32 = 2 << 10" in file.read_text(encoding="utf-8")
        raise KeyboardInterrupt
    assert file.read_text(encoding="utf-8") == ADAPTER


def test_test_that_hangs_notices_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "COPY", tmp_path)
    assert run.run(sys.executable, "-c", "pass") == (True, "")
    assert run.run(sys.executable, "-c", "import time; time.sleep(60)", seconds=0.5) == (False, "took too long")


def test_shares_are_those_of_all_recorded_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "noticed.md")
    run.record("logic", "1/40", [10, 0, 10, 5])
    run.record("logic", "2/40", [19, 1, 0, 0])
    run.record("logic", "1/40", [18, 1, 1, 5])
    text = run.RESULTS.read_text(encoding="utf-8")
    assert "- logic: 37 of 40 noticed, 92.5%\n" in text
    assert text.endswith("| logic | 1/40 | 18 | 1 | 1 | 5 |\n| logic | 2/40 | 19 | 1 | 0 | 0 |\n")


def test_shards_of_another_size_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "noticed.md")
    run.record("logic", "1/40", [10, 0, 0, 0])
    run.record("literals and builder calls", "1/40", [7, 0, 0, 0])
    run.record("logic", "1/1", [19, 0, 1, 0])
    text = run.RESULTS.read_text(encoding="utf-8")
    assert "- literals and builder calls: 7 of 7 noticed, 100.0%\n- logic: 19 of 20 noticed, 95.0%\n" in text
    assert "| logic | 1/40 |" not in text


def test_recorded_shards_of_earlier_code_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "noticed.md")
    monkeypatch.setattr(results, "line", lambda name: f"Inputs: earlier {name}")
    run.record("logic", "1/40", [10, 0, 10, 5])
    monkeypatch.setattr(results, "line", lambda name: f"Inputs: present {name}")
    run.record("logic", "2/40", [19, 1, 0, 0])
    text = run.RESULTS.read_text(encoding="utf-8")
    assert "\nInputs: present noticed\n" in text
    assert "- logic: 19 of 20 noticed, 95.0%\n" in text
