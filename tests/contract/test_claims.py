"""The claims of the documents are in them, and what proves each of them exists. `tests/run claims` proves them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import golden
from claims.claims import CLAIMS, README, RUNBOOK, SECURITY, Claim
from test_documents import python_test, rust_test_exists
from test_limits import PROMISES

ROOT = Path(__file__).resolve().parents[2]
# What is said about AWS or a spreadsheet, with its source, or what this product does not have: no test can hold it.
ABOUT_OTHERS = (
    "- A spreadsheet that splits the file at `,`",
    "- API Gateway's own 413, 429, 500 and 503 responses",
    "| supplier of a dependency |",
    "| earlier states of both tables",
    "| addresses that bounced or complained",
    "| mailed links, which return 403",
)


def text_of(document: str) -> str:
    """The document in one line, without the signs of comments in code."""
    return " ".join(re.sub(r"^ *# ", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE).split())


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.document}-{claim.sentence[:40]}")
def test_claim_is_in_its_document_and_can_be_made_false(claim: Claim) -> None:
    assert " ".join(claim.sentence.split()) in text_of(claim.document)
    assert (ROOT / claim.file).read_text(encoding="utf-8").count(claim.old) == 1
    assert claim.new != claim.old
    if "::test_" in claim.test:
        assert python_test(*claim.test.split("::")) is not None
    else:
        assert rust_test_exists(*claim.test.split(" "))


def statements(document: str, start: str, item: str) -> list[str]:
    """The bullets or rows of a part of a document, without the head of a table."""
    _, found, text = (ROOT / document).read_text(encoding="utf-8").partition(start)
    assert found, f"{document} has no {start.strip()!r}"
    part = text.partition("\n## ")[0]
    items = [" ".join(one.split()) for one in re.split(rf"^(?={re.escape(item)})", part, flags=re.MULTILINE)[1:]]
    return items if item == "- " else items[2:]


@pytest.mark.parametrize(
    ("document", "start", "item"),
    [
        (README, "\n## Limits\n", "- "),
        (SECURITY, "\n## Threats and protections\n", "|"),
        (SECURITY, "\n## Attacks tested\n", "|"),
        (RUNBOOK, "\nWhat remains:\n", "|"),
    ],
)
def test_every_statement_has_a_claim(document: str, start: str, item: str) -> None:
    sentences = [" ".join(claim.sentence.split()) for claim in CLAIMS if claim.document == document]
    without = [
        statement
        for statement in statements(document, start, item)
        if not statement.startswith(ABOUT_OTHERS) and not any(sentence in statement for sentence in sentences)
    ]
    assert without == []


def test_table_of_promises_is_current() -> None:
    claims = [(claim.document, claim.sentence, f"`{claim.file}`", f"`{claim.test}`") for claim in CLAIMS]
    numbers = []
    for document, promise, file, name in PROMISES:
        found = re.search(promise, (ROOT / document).read_text(encoding="utf-8"))
        assert found is not None
        numbers.append((document, " ".join(found[0].split()), f"`{file}`", f"`{name}`"))
    golden.compare(
        ROOT / "tests/claims/results/claims.md",
        f"""# Promises and their tests

Written by `tests/run --update contract`, from [`claims.py`](../claims.py) and
[`test_limits.py`](../../contract/test_limits.py).

## Claims

`tests/run claims` changes the file so that the claim is false, and checks that the test fails then.

{table("document", "claim", "changed file", "test", rows=claims)}
## Numbers

`test_limits.py` compares the number in the document with the constant. It does the same for the defaults and constants
in [ARCHITECTURE.md](../../../ARCHITECTURE.md); `test_values.py` holds the values that `template.yaml` sets.

{table("document", "number", "file", "constant", rows=numbers)}""",
    )


def table(*names: str, rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown. Links lead from the document, not from here: only their text is kept."""
    cells = [[re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell).replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in [names, ["---"] * len(names), *cells])
