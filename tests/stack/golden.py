"""Golden files: a test run compares them, and `tests/run --update` rewrites them."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

# `tests/run --update` sets it.
IS_UPDATE = os.environ.get("UPDATE_GOLDENS") == "1"


def compare(path: Path, text: str) -> None:
    """Fails with a diff if the file has another text. With --update, writes the text to the file."""
    if IS_UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    if text != expected:
        lines = difflib.unified_diff(
            expected.splitlines(), text.splitlines(), f"expected {path.name}", "found", lineterm=""
        )
        raise AssertionError(
            "\n".join(
                [*lines, "If the new text is right, update the file with `tests/run --update` and read the diff."]
            )
        )
