"""The numbers that the documents promise are those of the code."""

from __future__ import annotations

import ast
import operator
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = "functions/describe-api/openapi.json"
MAINS = sorted(ROOT.glob("functions/*/src/main.rs"))
UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400, "KiB": 1 << 10, "MiB": 1 << 20}
WORDS = {"five": "5", "ten": "10", "second": "s", "minute": "m", "hour": "h", "day": "d"}
OPERATORS = {ast.Mult: operator.mul, ast.LShift: operator.lshift, ast.Add: operator.add}

# The document, the promise in it with its number as a group, and the constant.
PROMISES = [
    ("README.md", r"same Idempotency-Key within (24 hours)", "shared/domain/src/idempotency.rs", "IDEMPOTENCY_WINDOW"),
    ("README.md", r"the first (20) with all that is wrong", "shared/domain/src/invalid_rows.rs", "NAMED_INVALID_ROWS"),
    ("README.md", r"CSV file of at most (10,000) of them", "shared/domain/src/invalid_rows.rs", "MAX_ROWS"),
    ("README.md", r"\((10,000) parts of 8 MiB\)", "functions/generate-export/src/main.rs", "MAX_PARTS"),
    ("README.md", r"\(10,000 parts of (8 MiB)\)", "functions/generate-export/src/main.rs", "PART_SIZE"),
    ("README.md", r"XLSX file has at most ([\d,]+) rows", "functions/generate-export/src/main.rs", "MAX_XLSX_ROWS"),
    ("README.md", r"text of more than ([\d,]+) characters", "shared/domain/src/sheet.rs", "MAX_CELL_CHARS"),
    ("README.md", r"is attempted twice, (five minutes) apart", "shared/domain/src/lifecycle.rs", "PERMANENT_WAIT"),
    ("README.md", r"at most (7 days) \(an AWS limit\)", "shared/domain/src/export.rs", "MAX_LINK_LIFETIME"),
    ("README.md", r"at most (7 days) \(an AWS limit\)", "shared/aws/src/presign.rs", "MAX_LIFETIME"),
    ("SECURITY.md", r"(49) CC recipients", "shared/domain/src/email.rs", "MAX_CC"),
    ("SECURITY.md", r"(10) resends per export and day", "functions/resend-email/src/lib.rs", "MAX_RESENDS_A_DAY"),
    ("RUNBOOK.md", r"at most (ten) times a day", "functions/resend-email/src/lib.rs", "MAX_RESENDS_A_DAY"),
    ("SECURITY.md", r"Within (five minutes) all new\s+links", "shared/aws/src/links.rs", "KEY_CACHE_LIFETIME"),
    ("SECURITY.md", r"key of (64) random characters", "shared/http/src/auth.rs", "KEY_LENGTH"),
    ("SECURITY.md", r"at most (250 ms), because Lambda", "shared/http/src/auth.rs", "MAX_RECORD_USE"),
    ("ARCHITECTURE.md", r"a key at most every (45 seconds)", "shared/http/src/auth.rs", "CACHE_TTL"),
    ("ARCHITECTURE.md", r"at most\s+every (five minutes)", "shared/aws/src/links.rs", "KEY_CACHE_LIFETIME"),
    ("template.yaml", r"allows at most (7 days)", "shared/aws/src/presign.rs", "MAX_LIFETIME"),
    (OPENAPI, r"expires after (15 minutes)", "shared/http/src/view.rs", "DOWNLOAD_LIFETIME"),
    (OPENAPI, r"body is larger than (64 KiB)", "shared/http/src/body.rs", "MAX_BYTES"),
    (OPENAPI, r"XLSX file, which has at most ([\d,]+) rows", "functions/generate-export/src/main.rs", "MAX_XLSX_ROWS"),
    (OPENAPI, r"and ([\d,]+) characters in a cell", "shared/domain/src/sheet.rs", "MAX_CELL_CHARS"),
    (OPENAPI, r'"maximum": (100),\s+"default": 20', "functions/list-exports/src/query.rs", "MAX_SIZE"),
    (OPENAPI, r'"maximum": 100,\s+"default": (20)', "functions/list-exports/src/query.rs", "DEFAULT_SIZE"),
    (OPENAPI, r"errors of the request, at most (100)", "shared/http/src/validation.rs", "MAX_VALIDATION_ERRORS"),
    (OPENAPI, r"more than (50) return F-E-010", "shared/domain/src/filter.rs", "MAX_SUPPLIERS"),
    (OPENAPI, r'"maxLength": (128)', "shared/domain/src/filter.rs", "MAX_CHARACTERS"),
    (OPENAPI, r'"maxLength": (254)', "shared/domain/src/email.rs", "MAX_CHARACTERS"),
    (OPENAPI, r"1 to (255) printable", "shared/http/src/idempotency.rs", "MAX_CHARACTERS"),
]  # fmt: skip


# The constants in ARCHITECTURE.md: name, file and value.
LISTED = re.findall(
    r"^\| \[`(\w+)`\]\((.+?)\) \| (.+?) \|", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE
)


def promised(text: str) -> Any:
    """The value of `10,000`, `8 MiB`, `five minutes` or `15s,1m`, in bytes or seconds."""
    text = re.sub(
        r"\w+", lambda word: WORDS.get(word[0].removesuffix("s"), word[0]), re.sub(r"(?<=\d),(?=\d{3})", "", text)
    )
    values = [int(number) * UNITS.get(unit, 1) for number, unit in re.findall(r"(\d+) ?(\w*)", text)]
    return values if len(values) > 1 else values[0]


def coded(expression: str) -> Any:
    """The value of a Rust expression, durations in seconds."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(number):
                return number
            case ast.BinOp(left, operation, right):
                return OPERATORS[type(operation)](value(left), value(right))
            case ast.List(items):
                return [value(item) for item in items]
        raise AssertionError(expression)

    seconds = expression.replace("Duration::from_secs", "").replace("Duration::from_millis(", "1e-3 * (")
    return value(ast.parse(seconds.strip(), mode="eval").body)


def constant(file: str, name: str) -> Any:
    source = (ROOT / file).read_text(encoding="utf-8")
    (expression,) = re.findall(rf"\bconst {name}: [^=]+=([^;]+);", source)
    return coded(expression)


def defaults() -> dict[str, list[Any]]:
    """The defaults of each number and duration that a function reads from its environment."""
    found: dict[str, list[Any]] = {}
    for main in MAINS:
        source = main.read_text(encoding="utf-8")
        for name, default in re.findall(r'\.(?:number|durations?)_or\("(\w+)", &?(.+?)\)\?', source):
            if re.fullmatch(r"[\w:]+", default):
                files = [main, main.with_name("lib.rs"), ROOT / "shared/domain/src/lifecycle.rs"]
                constants = "".join(file.read_text(encoding="utf-8") for file in files)
                (default,) = re.findall(rf"\bconst {default.rpartition(':')[2]}: [^=]+=([^;]+);", constants)
            found.setdefault(name, []).append(coded(default))
    return found


@pytest.mark.parametrize(
    ("document", "promise", "file", "name"), PROMISES, ids=[f"{name}-{document}" for document, _, _, name in PROMISES]
)
def test_document_states_the_value_of_the_constant(document: str, promise: str, file: str, name: str) -> None:
    numbers = {promised(number) for number in re.findall(promise, (ROOT / document).read_text(encoding="utf-8"))}
    assert numbers == {constant(file, name)}


def test_architecture_states_the_default_of_each_setting() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("their defaults:")[2].partition("\n\n")[0]
    stated = {name: promised(value) for name, value in re.findall(r"`(\w+)`\s+([^`]+?)(?=,\s+`|\.$)", text)}
    assert {name: [value] * len(defaults()[name]) for name, value in stated.items()} == defaults()


@pytest.mark.parametrize(("name", "file", "stated"), LISTED, ids=[f"{name}-{file}" for name, file, _ in LISTED])
def test_architecture_states_the_value_of_the_constant(name: str, file: str, stated: str) -> None:
    assert constant(file, name) == promised(stated)


def test_runbook_queries_every_shard_of_scheduled_checks() -> None:
    (shards,) = re.findall(r"^for shard in ([\d ]+); do$", (ROOT / "RUNBOOK.md").read_text("utf-8"), re.MULTILINE)
    assert [int(shard) for shard in shards.split()] == list(range(8))
    assert constant("shared/aws/src/dynamodb/record.rs", "CHECK_SHARDS") == 8


def test_architecture_lists_constants() -> None:
    assert len(LISTED) > 30
