"""Every export type is deployed, and the tests know it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from emitted import ROOT
from export_types import EXPORT_TYPES, MARKETPLACE_PAYOUTS, ExportType
from roles import RESOURCES, TEMPLATE
from sample_rows import rows

MODULES = ROOT / "shared" / "domain" / "src" / "export_type"
OTHERS = pytest.mark.parametrize(
    "export_type", [known for known in EXPORT_TYPES if known is not MARKETPLACE_PAYOUTS], ids=lambda known: known.slug
)


def definition(export_type: ExportType) -> str:
    """The source text of a type's definition."""
    return (MODULES / f"{export_type.slug.replace('-', '_')}.rs").read_text(encoding="utf-8")


def renamed(value: Any, old: str, new: str) -> Any:
    """A part of the template with the names of another table."""
    if isinstance(value, dict):
        return {renamed(key, old, new): renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, old, new) for item in value]
    return re.sub(rf"\b(Makes|Has|)({old})", rf"\g<1>{new}", value) if isinstance(value, str) else value


def described(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "Description"}


def source_of(output: str) -> dict[str, Any]:
    """Everything in the template that belongs to a source table."""
    generator = RESOURCES["GenerateExportFunction"]["Properties"]["Environment"]["Variables"]
    chosen = TEMPLATE["Outputs"][output]["Value"]
    (setting,) = (name for name, value in generator.items() if value == chosen)
    assert re.fullmatch(r"[A-Z_]+_TABLE", setting)
    return {
        "parameters": {
            f"{output}{name}": described(TEMPLATE["Parameters"][f"{output}{name}"]) for name in ("Name", "KeyArn")
        },
        "conditions": {name: TEMPLATE["Conditions"][name] for name in (f"Makes{output}", f"Has{output}Key")},
        "table": RESOURCES[output],
        "chosen": chosen,
    }


def test_every_definition_is_known() -> None:
    modules = {path.stem for path in MODULES.glob("*.rs")} - {"mod"}
    assert modules == {export_type.slug.replace("-", "_") for export_type in EXPORT_TYPES}
    for export_type in EXPORT_TYPES:
        text = definition(export_type)
        for key, value in (("slug", export_type.slug), ("id_prefix", export_type.prefix), ("title", export_type.title)):
            assert f'{key}: "{value}"' in text
        assert f'plural: "{export_type.plural}"' in text
        assert f'", "{export_type.id_attribute}", Text' in text


@OTHERS
def test_source_table_is_deployed_like_the_payouts_table(export_type: ExportType) -> None:
    first = MARKETPLACE_PAYOUTS.output
    assert source_of(export_type.output) == renamed(source_of(first), first, export_type.output)


@OTHERS
def test_environment_names_the_table_by_the_setting(export_type: ExportType) -> None:
    (setting,) = re.findall(r'table_setting: "([A-Z_]+)"', definition(export_type))
    generator = RESOURCES["GenerateExportFunction"]["Properties"]["Environment"]["Variables"]
    assert generator[setting] == TEMPLATE["Outputs"][export_type.output]["Value"]


def sample_values(export_type: ExportType) -> Iterator[tuple[str, Any]]:
    for row in rows(export_type, "acme", 500):
        yield from row.items()


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda known: known.slug)
def test_samples_have_every_column_and_status(export_type: ExportType) -> None:
    text = definition(export_type)
    attributes = set(re.findall(r'"[a-z_]+",\s*"([A-Za-z]+)",', text))
    seen = set(sample_values(export_type))
    assert attributes == {name for name, value in seen if value not in (None, "")}
    assert set(re.findall(r'status\("([A-Z_]+)"', text)) == {value for name, value in seen if name == "status"}
