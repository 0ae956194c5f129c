"""How the Python environments are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_uv_gets_the_package_index_of_pips_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by its name, which is also that of a module of Python.
    spec = importlib.util.spec_from_file_location("environments", ROOT / "tests" / "stack" / "venv.py")
    assert spec is not None
    assert spec.loader is not None
    environments = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(environments)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://replaced.example/simple\n"
        "extra-index-url =\n    https://one.example/simple\n    https://two.example/simple?a=b\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    environments.ensure_uv()
    settings = environments.pip_settings()
    assert settings["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert settings["UV_INDEX"].split() == ["https://one.example/simple", "https://two.example/simple?a=b"]
