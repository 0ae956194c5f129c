"""Constraints on valid requests that JSON Schema cannot express."""

from __future__ import annotations

import re
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Removes invented cursors, currencies and reversed ranges from valid requests. Negative tests are not changed."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if re.fullmatch(r"POST /v1/payments/[a-z-]+/export", case.operation.label):
        row_filter = case.body.get("filter") if isinstance(case.body, dict) else None
        if isinstance(row_filter, dict):
            make_valid(row_filter)
        return
    if not re.fullmatch(r"GET /v1/payments/[a-z-]+/export", case.operation.label):
        return
    case.query.pop("cursor", None)
    if case.query.get("createdAtFrom") and case.query.get("createdAtTo"):
        del case.query["createdAtTo"]


def make_valid(row_filter: dict[str, Any]) -> None:
    for low, high in (("createdAtFrom", "createdAtTo"), ("amountMin", "amountMax")):
        if row_filter.get(low):
            row_filter.pop(high, None)
    if row_filter.get("currencies") or row_filter.get("amountMin") or row_filter.get("amountMax"):
        row_filter["currencies"] = ["EUR"]
    if row_filter.get("supplierIds"):
        row_filter["supplierIds"] = ["sup_1"]


@schemathesis.hook
def filter_headers(context: HookContext, headers: dict[str, Any] | None) -> bool:
    """Without white space around values. Servers remove it (RFC 9110, 5.5), so what is too long may arrive as valid."""
    return all(value == value.strip() for value in (headers or {}).values() if isinstance(value, str))


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Omits the length limit of addresses. Their pattern limits the length of each part, and Hypothesis searches for a
    minute before it gives up on an address of the greatest length. The unit tests of email.rs have them."""
    del raw_schema["components"]["schemas"]["EmailAddress"]["maxLength"]
