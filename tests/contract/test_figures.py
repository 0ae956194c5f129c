"""The figures of the documents are those of the benchmarks' results. `tests/run --update contract` rewrites them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import golden
from roles import TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/bench/results"
GENERATOR: dict[str, Any] = json.loads((RESULTS / "generator.json").read_text())
START: dict[str, Any] = json.loads((RESULTS / "start.json").read_text())
COST_TABLE = "| operation | Lambda, $ |"
FIGURE = re.compile(r"\{(:[^}]*)\}")


def target(measure: str) -> float:
    """The value of a target of either benchmark."""
    targets = [*GENERATOR["targets"], *START["times"], *START["footprint"]]
    (found,) = (target["value"] for target in targets if target["measure"] == measure)
    return float(found)


def generated(contender: str, rows: int, time_limit: int = 10800) -> dict[str, Any]:
    """The runs of a contender that export all marketplace payouts, limited by the CPU or by time."""
    latency = {"latencyMs": 0} if time_limit == 10800 else {}
    return measured(contender=contender, rows=rows, timeLimitSeconds=time_limit, readShare=None, **latency)


def measured(**wanted: Any) -> dict[str, Any]:
    wanted = {"exportType": "marketplace-payouts", "filter": "off", "spread": "even"} | wanted
    (found,) = (r for r in GENERATOR["results"] if all(r[name] == value for name, value in wanted.items()))
    return dict(found)


def pages(result: dict[str, Any]) -> int:
    return int(result["runs"][0]["calls"]["Query"])


def started(function: str, implementation: str = "function") -> dict[str, Any]:
    wanted = (function, implementation)
    (found,) = (one for one in START["results"] if (one["function"], one["implementation"]) == wanted)
    return dict(found)


def of_routes(value: Callable[[dict[str, Any]], float]) -> tuple[float, float]:
    """The smallest and the largest value of the routes."""
    values = [value(one) for one in START["results"] if one["isRoute"] and one["implementation"] == "function"]
    return min(values), max(values)


def warm(function: str, measure: str = "cpuMs", implementation: str = "function") -> float:
    return float(started(function, implementation)["warm"][measure])


def python_seconds(operation: str) -> float:
    """Python's duration of an operation in the cost table."""
    (row,) = re.findall(rf"^\| {re.escape(operation)} \|.*$", (RESULTS / "cost.md").read_text(), re.MULTILINE)
    return float(row.split(" | ")[6])


LAUNCH = "create-export: init and first request, CPU"
MIB = 1 << 20
# The generator's memory size, and that of one processor.
MEMORY = TEMPLATE["Resources"]["GenerateExportFunction"]["Properties"]["MemorySize"]
MB_PER_PROCESSOR = 1769
XLSX_CPU_SECONDS = 33.5
TEN_MILLION = 10_000_000
PYTHON = python_seconds("1 export of 10,000,000 rows, share 100 %")

MONTH = measured(contender="generator", rows=TEN_MILLION, readShare=50, filter="month")

# A page of 1 MiB is 256 read units.
UNITS = 256 * pages(generated("floor", TEN_MILLION))
# Units a second, at the default share of a partition's limit.
DEFAULT_RATE = 1500
# In dollars, on demand in us-east-1.
UNIT_COST = 0.125e-6

# Text of a document, and the values of its figures.
FIGURES: list[tuple[str, str, tuple[float, ...]]] = [
    (
        "BENCHMARKS.md",
        "| rows per CPU second, 1 M rows | {:.1f} × plain Rust, {:.1f} × Python |",
        tuple(target(f"rows per CPU second compared with {peer}, 1,000,000 rows") for peer in ("plain Rust", "Python")),
    ),
    (
        "BENCHMARKS.md",
        "| the other types, 1 M rows | {:.1f} × plain Rust (supplier payouts), {:.1f} × (funding transfers) |",
        tuple(
            target(f"{title}: rows per CPU second compared with plain Rust, 1,000,000 rows")
            for title in ("Supplier payouts", "Funding transfers")
        ),
    ),
    (
        "BENCHMARKS.md",
        "| CPU against the floor | {:.1f} × at 1 M rows, {:.1f} × at 10 M |",
        tuple(target(f"CPU compared with the floor, {rows} rows") for rows in ("1,000,000", "10,000,000")),
    ),
    (
        "BENCHMARKS.md",
        "| peak memory | {:.0f} MiB at 1 M rows, {:.0f} MiB at 10 M |",
        tuple(generated("generator", rows)["peakMib"] for rows in (1_000_000, TEN_MILLION)),
    ),
    (
        "BENCHMARKS.md",
        "| the same at the limit of a partition | {:.0f} MiB at 1 M rows, {:.0f} MiB at 10 M |",
        tuple(
            measured(contender="generator", filter="off", rows=rows, readShare=100)["peakMib"]
            for rows in (1_000_000, TEN_MILLION)
        ),
    ),
    (
        "BENCHMARKS.md",
        "| 10 M rows at the limit of a partition | {:.0f} s, {:.0f} % of the limit |",
        (
            measured(contender="generator", rows=TEN_MILLION, readShare=100)["wallSeconds"],
            target("share of a partition's limit used at 100 %, 10,000,000 rows"),
        ),
    ),
    (
        "BENCHMARKS.md",
        "| one month of 10 M rows in three years | {:,.0f} pages read instead of {:,.0f}; "
        "{:.0f} s at the default share |",
        (
            pages(MONTH),
            pages(measured(contender="generator", rows=TEN_MILLION, readShare=100)),
            MONTH["wallSeconds"],
        ),
    ),
    (
        "BENCHMARKS.md",
        "| invocations of one second each, 5 M rows | {:.0f}, the same file |",
        (generated("generator", 5_000_000, 1)["runs"][0]["invocations"],),
    ),
    (
        "BENCHMARKS.md",
        "| create-export, start and first request, CPU | {:.1f} ms: {:.0f} × less than Python, {:.0f} × than Node.js, "
        "{:.1f} × than plain Rust (target: 6 ×) |",
        (
            started("create-export")["startCpuMs"],
            *(target(f"{LAUNCH}, compared with {peer}") for peer in ("Python", "Node.js 20", "plain Rust")),
        ),
    ),
    (
        "BENCHMARKS.md",
        "| a further request for the list, for an export, CPU | {:.0f} ×, {:.1f} × less than Python",
        tuple(target(f"{name}: a warm request, CPU, compared with Python") for name in ("list-exports", "get-export")),
    ),
    (
        "BENCHMARKS.md",
        "| memory of a route after 1,000 requests | {:.0f} to {:.0f} MiB, not growing |",
        of_routes(lambda one: one["warm"]["residentMib"]),
    ),
    (
        "BENCHMARKS.md",
        "| a route's binary | {:.1f} to {:.1f} MiB; plain Rust {:.0f} MiB |",
        (*of_routes(lambda one: one["binaryBytes"] / MIB), started("create-export", "plain")["binaryBytes"] / MIB),
    ),
    (
        "BENCHMARKS.md",
        "| AWS calls of a further launch, list, export | {:.0f}, {:.0f}, {:.0f} |",
        tuple(warm(name, "calls") for name in ("create-export", "list-exports", "get-export")),
    ),
    (
        "BENCHMARKS.md",
        "A further request for an export takes {:.2f} ms, more than a tenth of Python's {:.1f} ms.",
        (warm("get-export"), warm("get-export", implementation="python")),
    ),
    (
        "BENCHMARKS.md",
        "Lambda's interface, the key and the log take {:.2f} ms of it (`get-caller`),",
        (warm("get-caller"),),
    ),
    (
        "BENCHMARKS.md",
        "With {:.0f} MB, Lambda gives a function {:.2f} of a processor: writing and compressing take {:.0f} s.",
        (MEMORY, MEMORY / MB_PER_PROCESSOR, XLSX_CPU_SECONDS / (MEMORY / MB_PER_PROCESSOR)),
    ),
    (
        "ALTERNATIVES.md",
        "| this product | the job | a snapshot of one instant | $0.15, {:.0f} s |",
        (UNITS / DEFAULT_RATE,),
    ),
    ("ALTERNATIVES.md", "Lambda ({:.0f} MB for {:.0f} s)", (MEMORY, UNITS / DEFAULT_RATE)),
    ("ALTERNATIVES.md", "each, {:,.0f} read units strongly", (UNITS,)),
    ("ALTERNATIVES.md", "{:.0f} s for 10 M. Eventually consistent: {:.0f} s,", (UNITS / 3000, UNITS / 6000)),
    (
        "ARCHITECTURE.md",
        "strong consistency costs [${:.3f} instead of ${:.3f}](ALTERNATIVES.md#how-the-figures-are-made), {:.0f} s "
        "instead of {:.0f} s at a partition's limit ({:.0f} s at the rate that [AWS measured]",
        (UNITS * UNIT_COST, UNITS * UNIT_COST / 2, UNITS / 3000, UNITS / 6000, UNITS / 9000),
    ),
    # In six hours.
    ("README.md", "the deadline comes first, after about {:.0f} million.", (6 * 3600 * DEFAULT_RATE / (UNITS / 10),)),
    (
        "README.md",
        "(10,000 parts of 8 MiB), about {:.0f} million marketplace payouts.",
        (10_000 * 8 * MIB / generated("generator", TEN_MILLION)["fileBytes"] * TEN_MILLION / 1e6,),
    ),
    (
        "RUNBOOK.md",
        "An export of 1,000,000 rows takes about {:.0f} s at the default `ReadShare`",
        (measured(contender="generator", rows=1_000_000, readShare=50)["wallSeconds"],),
    ),
    (
        "ARCHITECTURE.md",
        "10,000 cost ${:.5f} instead of ${:.5f}.",
        (UNITS * UNIT_COST / 1000, UNITS * UNIT_COST / 2000),
    ),
    ("ALTERNATIVES.md", "speed: [{:.0f} s of CPU][cost] | $0.15, {:.0f} s or more", (PYTHON, PYTHON)),
    (
        "ALTERNATIVES.md",
        "10 M payouts of the benchmark fill [{:,.0f} pages][generator] of 1 MiB",
        (pages(generated("floor", TEN_MILLION)),),
    ),
]


def expression(template: str) -> re.Pattern[str]:
    """Matches the text with any figures and line breaks."""
    texts = FIGURE.split(template)[::2]
    return re.compile(r"(\d[\d.,]*)".join(r"\s+".join(map(re.escape, re.split(r"\s+", text))) for text in texts))


@pytest.mark.parametrize(("page", "template", "values"), FIGURES, ids=[template[:50] for _, template, _ in FIGURES])
def test_figures_are_those_of_the_results(page: str, template: str, values: tuple[float, ...]) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    wanted = [("{" + spec + "}").format(value) for spec, value in zip(FIGURE.findall(template), values, strict=True)]
    found = list(expression(template).finditer(text))
    assert len(found) == 1, f"{page} must say once: {template}"
    if golden.IS_UPDATE:
        for index, figure in reversed(list(enumerate(wanted, 1))):
            start, end = found[0].span(index)
            text = text[:start] + figure + text[end:]
        path.write_text(text, encoding="utf-8")
    else:
        assert list(found[0].groups()) == wanted, f"{page}: update it with `tests/run --update contract`"


def test_cost_table_is_that_of_the_results() -> None:
    (wanted,) = re.findall(rf"^{re.escape(COST_TABLE)}.*\n(?:\|.*\n)+", (RESULTS / "cost.md").read_text(), re.MULTILINE)
    path = ROOT / "BENCHMARKS.md"
    before, table, rest = re.split(
        rf"^({re.escape(COST_TABLE)}.*\n(?:\|.*\n)+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    if golden.IS_UPDATE:
        path.write_text(before + wanted + rest, encoding="utf-8")
    else:
        assert table == wanted, "update it with `tests/run --update contract`"
