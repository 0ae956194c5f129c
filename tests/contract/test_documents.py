"""The links of the Markdown pages, and the tests that the table of features names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("tests/**/results/*.md"), *ROOT.glob("tests/stack/tests/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)\s#]+)")

# The rows of the tables in FEATURES.md: the feature, and a cell for each export type.
FEATURES = [
    line.removeprefix("| ").removesuffix(" |").split(" | ")
    for line in (ROOT / "FEATURES.md").read_text(encoding="utf-8").partition("\n## Exports\n")[2].splitlines()
    if line.startswith("| ") and not line.startswith(("| feature ", "| **"))
]
NAMED = sorted({name for _, *cells in FEATURES for cell in cells for name in re.findall("`([^`]+)`", cell)})
CRATES = {
    name: manifest.parent / "src"
    for manifest in [*ROOT.glob("functions/*/Cargo.toml"), *ROOT.glob("shared/*/Cargo.toml")]
    for name in re.findall(r'^name = "(.+)"', manifest.read_text(encoding="utf-8"), re.MULTILINE)[:1]
}
# Log messages that the runbook searches for or explains, with the folders of the code that logs them.
LOGGED = {
    "request failed": ["shared/http"],
    "panicked": ["shared/telemetry"],
    "transient error": ["functions/generate-export"],
    "permanent error": ["functions/generate-export"],
    "message failed": ["functions/generate-export"],
    "SES rejects the e-mails of this service": ["shared/aws"],
    "export failed": ["functions/generate-export", "functions/sweep-exports"],
    "an administrator failed the export": ["functions/fail-export"],
    "export cancelled": ["functions/cancel-export"],
    "an export could not be checked": ["functions/sweep-exports"],
    "scheduled checks do not name an export": ["functions/sweep-exports"],
    "the age of the oldest pending export is unknown": ["functions/sweep-exports"],
    "file recorded": ["functions/generate-export"],
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def python_test(file: str, name: str) -> ast.FunctionDef | None:
    path = ROOT / file
    if not path.is_file():
        return None
    functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    return next((function for function in functions if function.name == name), None)


def rust_test_exists(crate: str, path: str) -> bool:
    """Whether the crate has this test in this module: a file, or `mod tests` in its parent's file."""
    *module, name = path.split("::")
    places = (module, module[:-1] or ["lib"], [*module[:-1], "mod"])
    files = [CRATES[crate].joinpath(*parts).with_suffix(".rs") for parts in places]
    sources = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return any(re.search(rf"#\[(tokio::)?test\b[^#]*?\bfn {name}\b", source) for source in sources)


@pytest.mark.parametrize("named", NAMED)
def test_documents_name_existing_tests(named: str) -> None:
    if "::test_" in named:
        assert python_test(*named.split("::")) is not None
    else:
        assert rust_test_exists(*named.split(" "))


@pytest.mark.parametrize("message", LOGGED)
def test_runbook_names_log_messages_of_the_code(message: str) -> None:
    assert message in " ".join((ROOT / "RUNBOOK.md").read_text(encoding="utf-8").split())
    for folder in LOGGED[message]:
        sources = [file.read_text(encoding="utf-8") for file in (ROOT / folder / "src").glob("*.rs")]
        logs = re.compile(rf'\b(?:info|warn|error)!\((?:[^;"]*,)?\s*"{message}\b(?:[^":]*|: \{{\w+\}})"[^;]*\);')
        assert any(map(logs.search, sources)), folder


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row[0])
def test_every_type_of_a_documented_feature_has_a_test(row: list[str]) -> None:
    _, first, *others = row
    assert len(others) == 2
    names = re.findall("`([^`]+)`", first)
    for cell in (first, *others):
        assert re.fullmatch(r"–|(`[^`]+` ?)+", cell) or (names and cell in ("by type", "in one", "shared"))
    if "by type" in others:
        for name in names:
            test = python_test(*name.split("::"))
            assert test is not None
            assert "export_type" in [argument.arg for argument in test.args.args], name
