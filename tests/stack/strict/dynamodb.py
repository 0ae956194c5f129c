"""DynamoDB: start keys of queries, limits of expressions, conflicts of transactions, and conditions on attributes.

The responses are those of live DynamoDB, as captured by nubo-db/dynamodb-conformance and dynoxide-rs 3.2.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import dynamodb

TRANSACTION_SECONDS = float(os.environ.get("STACK_TRANSACTION_SECONDS", 0.005))
READ_UNIT_BYTES = 4096
MAX_OPERATORS = 300
MAX_IN_OPERANDS = 100
OPERATORS = {"EQ", "NE", "LT", "LE", "GT", "GE", "PLUS", "MINUS"}
WORDS = {"AND", "OR", "NOT", "BETWEEN", "IN"}
CLAUSES = {"SET", "REMOVE", "ADD", "DELETE"}
PLAIN_WRITES = {"PutItem": "Item", "UpdateItem": "Key", "DeleteItem": "Key"}

_query = dynamodb._query
_add_consumed_capacity = dynamodb._add_consumed_capacity
_validate_expressions = dynamodb._validate_expression_attrs
_handle_other = dynamodb.handle_request
_service_context = iam_actions.dynamodb_service_context


def _invalid(message: str) -> Any:
    return error_response_json("ValidationException", message, 400)


# ------------------------------------------------------------------------------------------------------------- Query


def _query_within_bounds(data: dict[str, Any]) -> Any:
    response = _query(data)
    # Checks successful queries, and those that the emulator rejects for their start key: AWS's message may differ.
    checks = ("ExclusiveStartKey" in data, "FilterExpression" in data)
    if not any(checks) or (response[0] != 200 and b"starting key does not match" not in response[2]):
        return response
    table = dynamodb._tables[dynamodb._normalize_table_name(data["TableName"])]
    hash_name, range_name, _ = dynamodb._resolve_index_keys(table, data.get("IndexName"))
    return (
        _filter_rejection(data, {hash_name, range_name})
        or _start_rejection(data, table, hash_name, range_name)
        or response
    )


def _add_read_units(result: dict[str, Any], data: dict[str, Any], table: str, **others: Any) -> None:
    """Read units by the size of the items. For queries without a filter or projection, which return what they read."""
    _add_consumed_capacity(result, data, table, **others)
    if "Items" in result and "ConsumedCapacity" in result:
        size = sum(dynamodb._item_size_bytes(item) for item in result["Items"])
        units = max(1, math.ceil(size / READ_UNIT_BYTES))
        result["ConsumedCapacity"]["CapacityUnits"] = units if data.get("ConsistentRead") else units / 2


def _filter_rejection(data: dict[str, Any], keys: set[str]) -> Any:
    """A filter must not use key attributes. Developer Guide, "Filter expressions for the Query operation"."""
    names = data.get("ExpressionAttributeNames") or {}
    for kind, text in dynamodb._tokenize(data.get("FilterExpression") or ""):
        name = names.get(text) if kind == "NAME_REF" else text if kind == "IDENT" else None
        if name in keys:
            message = "Filter Expression can only contain non-primary key attributes: Primary key attribute"
            return _invalid(f"{message}: {name}")
    return None


def _start_rejection(data: dict[str, Any], table: dict[str, Any], hash_name: str, range_name: str | None) -> Any:
    """A start key must have all key attributes and be within the partition and the range of the query.

    aws/aws-sdk-ruby issue 2456 (a start key at the end of the range), floci-io/floci issue 3322. The order of the
    checks is that of dynoxide-rs's captures. In an index, a start key at the end is allowed: more items may have the
    same key.
    """
    start = data.get("ExclusiveStartKey")
    condition = data.get("KeyConditionExpression")
    if not start or not condition:
        return None
    names = {name for name in (table["pk_name"], table.get("sk_name"), hash_name, range_name) if name}
    if set(start) != names or any(set(start[name]) != {dynamodb._get_attr_type(table, name)} for name in names):
        return _invalid("The provided starting key is invalid")
    partition, ranged = None, None
    for clause in dynamodb._key_condition_clauses(dynamodb._tokenize(condition)):
        name, operator, values = _clause(clause, data)
        if name == hash_name:
            partition = values[0]
        else:
            ranged = (operator, values)
    outside_range = _invalid("The provided starting key does not match the range key predicate")
    if ranged:
        kind = dynamodb._get_attr_type(table, range_name)
        at, *bounds = (dynamodb._sort_key_value(value, kind) for value in (start[range_name], *ranged[1]))
        if not _in_range(at, ranged[0], bounds):
            return outside_range
    if start[hash_name] != partition or (ranged and ranged[0] == "EQ"):
        if ranged:
            return _invalid("The query can return at most one row and cannot be restarted")
        return _invalid("The provided starting key is outside query boundaries based on provided conditions")
    if ranged and not data.get("IndexName") and at == _end(ranged[0], bounds, data.get("ScanIndexForward", True)):
        return outside_range
    return None


def _clause(tokens: list[tuple[str, str]], data: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
    """The attribute, operator and operands of a key condition."""
    names = data.get("ExpressionAttributeNames") or {}
    operator = next((kind for kind, _ in tokens if kind in OPERATORS), None)
    words = [text for kind, text in tokens if kind == "IDENT"]
    if any(word.lower() == "begins_with" for word in words):
        operator = "begins_with"
    elif operator is None:
        operator = "BETWEEN"
    named = [names.get(text, text) for kind, text in tokens if kind in ("IDENT", "NAME_REF")]
    name = next(name for name in named if name.lower() not in ("begins_with", "between", "and"))
    values = [data["ExpressionAttributeValues"][text] for kind, text in tokens if kind == "VALUE_REF"]
    return name, operator, values


def _in_range(at: Any, operator: str, bounds: list[Any]) -> bool:
    low, high = bounds[0], bounds[-1]
    return {
        "EQ": at == low,
        "LT": at < high,
        "LE": at <= high,
        "GT": at > low,
        "GE": at >= low,
        "BETWEEN": low <= at <= high,
        "begins_with": at[: len(low)] == low if operator == "begins_with" else False,
    }[operator]


def _end(operator: str, bounds: list[Any], forward: bool) -> Any:
    """The inclusive bound at the end of the range, if there is one."""
    if operator in ("LE" if forward else "GE", "BETWEEN"):
        return bounds[-1] if forward else bounds[0]
    return None


# ------------------------------------------------------------------------------------------------------- expressions


def _validate_all(data: dict[str, Any], fields: tuple[str, ...], *wording: Any) -> Any:
    if rejected := _validate_expressions(data, fields, *wording):
        return rejected
    expressions = {field: data[field] for field in fields if data.get(field)}
    return _unused_rejection(data, " ".join(expressions.values())) or _size_rejection(expressions)


def _unused_rejection(data: dict[str, Any], text: str) -> Any:
    """All given names and values must be used. Developer Guide, "Expression attribute names"."""
    for field in ("ExpressionAttributeValues", "ExpressionAttributeNames"):
        given = data.get(field) or {}
        if unused := set(given) - set(re.findall(r"[:#]\w+", text)):
            return _invalid(f"Value provided in {field} unused in expressions: keys: {{{', '.join(sorted(unused))}}}")
    return None


def _size_rejection(expressions: dict[str, str]) -> Any:
    """At most 300 operators and functions, and 100 operands of IN.

    Developer Guide, "Service, account, and table quotas".
    """
    for field, text in expressions.items():
        # A shorter expression is within the limits.
        if len(text) <= 2 * MAX_IN_OPERANDS:
            continue
        tokens = dynamodb._tokenize(text)
        count = sum(
            kind in OPERATORS
            or (kind == "IDENT" and text.upper() in WORDS)
            or (kind == "IDENT" and text.lower() in dynamodb._DDB_EXPR_FUNCTIONS)
            for kind, text in tokens
        )
        if count > MAX_OPERATORS:
            return _invalid(f"Invalid {field}: The expression contains too many operators; operator count: {count}")
        for operands in re.findall(r"\bIN\s*\(([^)]*)\)", text, re.IGNORECASE):
            if (count := operands.count(",") + 1) > MAX_IN_OPERANDS:
                message = f"The IN operator is provided with too many operands; number of operands: {count}"
                return _invalid(f"Invalid {field}: {message}")
    return None


# ------------------------------------------------------------------------------------------------------ transactions

# The items and the client tokens of the transactions in progress.
_items: set[tuple[str, ...]] = set()
_tokens: set[tuple[str, ...]] = set()


async def _handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
    """Rejects requests that conflict with a transaction.

    Developer Guide, "Transaction conflict handling in DynamoDB"; API Reference, TransactWriteItems, "Errors". The
    emulator handles requests one by one, so a transaction counts as in progress for a moment after it was handled.
    """
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    if action in ("TransactWriteItems", "TransactGetItems"):
        data = json.loads(body)
        items = [_item(next(iter(member.values()))) for member in data.get("TransactItems") or [] if member]
        token = (get_account_id(), get_region(), data.get("ClientRequestToken") or "")
        if token[2] and token in _tokens:
            message = "The transaction with the given request token is already in progress."
            return error_response_json("TransactionInProgressException", message, 400)
        if items and (conflicting := _items.intersection(items)):
            return _cancelled(item in conflicting for item in items)
        if action == "TransactWriteItems":
            return await _handle_transaction(token, items, (method, path, headers, body, query))
    elif _items and action in PLAIN_WRITES and _item(json.loads(body)) in _items:
        message = "Transaction is ongoing for the item"
        return error_response_json("TransactionConflictException", message, 400)
    return await _handle_other(method, path, headers, body, query)


async def _handle_transaction(token: tuple[str, ...], items: list[tuple[str, ...]], request: tuple[Any, ...]) -> Any:
    _items.update(items)
    _tokens.add(token)
    try:
        response = await _handle_other(*request)
        await asyncio.sleep(TRANSACTION_SECONDS)
        return response
    finally:
        _items.difference_update(items)
        _tokens.discard(token)


def _item(action: Any) -> tuple[str, ...]:
    """The identity of the item of an action or a single write."""
    name = dynamodb._normalize_table_name(action.get("TableName"))
    table = dynamodb._tables.get(name)
    if not table:
        return ()
    key = action.get("Key") or action.get("Item") or {}
    parts = [json.dumps(key.get(attribute)) for attribute in (table["pk_name"], table.get("sk_name")) if attribute]
    return get_account_id(), get_region(), name, *parts


def _cancelled(conflicts: Iterable[bool]) -> Any:
    conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    reasons = [conflict if is_conflict else {"Code": "None"} for is_conflict in conflicts]
    codes = ", ".join(reason["Code"] for reason in reasons)
    body = {
        "__type": "TransactionCanceledException",
        "message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        "CancellationReasons": reasons,
    }
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-errortype": "TransactionCanceledException"}
    return 400, headers, json.dumps(body).encode()


# ---------------------------------------------------------------------------------------------------- Condition keys


def _context_of_updates(body: bytes) -> dict[str, Any]:
    """`dynamodb:Attributes` has the attributes that an update names in its key and expressions.

    Developer Guide, "Using IAM policy conditions for fine-grained access control".
    """
    context: dict[str, Any] = _service_context(body)
    try:
        data = json.loads(body)
        names = data.get("ExpressionAttributeNames") or {}
        expressions = [data["UpdateExpression"], data.get("ConditionExpression") or ""]
    except (ValueError, TypeError, KeyError, AttributeError):
        return context
    attributes = set(data.get("Key") or {})
    for expression in expressions:
        tokens = dynamodb._tokenize(expression)
        for before, (kind, text), after in zip([("EOF", ""), *tokens], tokens, tokens[1:], strict=False):
            is_name = kind == "IDENT" and after[0] != "LPAREN" and text.upper() not in WORDS | CLAUSES
            # Only the start of a path, such as `failure` of `failure.code`.
            if (is_name or kind == "NAME_REF") and before[0] != "DOT":
                attributes.add(names.get(text, text))
    context["dynamodb:Attributes"] = sorted(attributes)
    if "ReturnValues" in data:
        context["dynamodb:ReturnValues"] = data["ReturnValues"]
    return context


def enforce() -> None:
    iam_actions.dynamodb_service_context = _context_of_updates
    dynamodb._query = _query_within_bounds
    dynamodb._add_consumed_capacity = _add_read_units
    dynamodb._validate_expression_attrs = _validate_all
    dynamodb.handle_request = _handle
