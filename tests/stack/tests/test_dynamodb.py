"""DynamoDB. nubo-db/dynamodb-conformance and the tests of dynoxide-rs record the responses of live DynamoDB."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import Account, Responses

TABLE = "rules"
INDEX = "NextCheckIndex"
OUTSIDE = "The provided starting key is outside query boundaries based on provided conditions"
PREDICATE = "The provided starting key does not match the range key predicate"
INVALID = "ValidationException"


@pytest.fixture(scope="module")
def db(account: Account) -> Any:
    client = account.client("dynamodb")
    string = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "state", "nextCheckAt")]
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=string,
        KeySchema=key_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": INDEX,
                "KeySchema": key_schema("state", "nextCheckAt"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    for number in range(1, 6):
        client.put_item(TableName=TABLE, Item=item("a", str(number)))
    return client


def key_schema(hash_key: str, range_key: str) -> list[dict[str, str]]:
    return [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}]


def key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def item(pk: str, sk: str, **attributes: Any) -> dict[str, Any]:
    return {**key(pk, sk), "state": {"S": "PENDING"}, "nextCheckAt": {"S": sk}, **attributes}


def query(condition: str, start: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """A Query of partition `a`. The condition may use the values :1 to :9."""
    values = {f":{digit}": {"S": digit} for digit in "123456789" if f":{digit}" in condition}
    request = {
        "TableName": TABLE,
        "KeyConditionExpression": f"pk = :a{condition}",
        "ExpressionAttributeValues": {":a": {"S": "a"}, **values},
        **parameters,
    }
    return {**request, "ExclusiveStartKey": start} if start else request


def query_index(condition: str, start: dict[str, Any], state: str = "PENDING") -> dict[str, Any]:
    return {
        "TableName": TABLE,
        "IndexName": INDEX,
        "KeyConditionExpression": f"#s = :s{condition}",
        "ExpressionAttributeNames": {"#s": "state"},
        "ExpressionAttributeValues": {":s": {"S": state}, ":3": {"S": "3"}},
        "ExclusiveStartKey": start,
    }


def found(response: dict[str, Any]) -> list[str]:
    return [row["sk"]["S"] for row in response["Items"]]


# ------------------------------------------------------------------------------------------------------- read units


def test_query_consumes_units_by_the_size_of_the_items(db: Any, responses: Responses) -> None:
    """A Query consumes a read unit for each started 4 KB of all items together, and half of it if it is eventually
    consistent.

    Source: DynamoDB Developer Guide, "Capacity unit consumption for read operations"
    """
    for number in range(3):
        db.put_item(TableName=TABLE, Item=item("sized", str(number), text={"S": "x" * 10_000}))
    reads = {**query(""), "ExpressionAttributeValues": {":a": {"S": "sized"}}, "ReturnConsumedCapacity": "TOTAL"}
    units = [db.query(**reads, ConsistentRead=flag)["ConsumedCapacity"]["CapacityUnits"] for flag in (True, False)]
    assert units == [8.0, 4.0], "30,000 bytes and the other attributes"
    responses.add("the units of the items' size")


# ------------------------------------------------------------------------------------------------------- start keys


def test_start_key_of_another_partition_is_rejected(db: Any, responses: Responses) -> None:
    """A start key is in the partition that the Query reads.

    Source: aws/aws-sdk-ruby issue 2456; floci-io/floci issue 3322; captured by dynoxide-rs 3.2
    """
    responses.rejects(db.query, INVALID, OUTSIDE, **query("", key("b", "3")))
    once = "The query can return at most one row and cannot be restarted"
    responses.rejects(db.query, INVALID, once, **query(" AND sk <= :3", key("b", "3")))
    start = {**item("a", "3"), "state": {"S": "READY"}}
    responses.rejects(db.query, INVALID, once, **query_index(" AND nextCheckAt <= :3", start))


def test_start_key_outside_the_range_is_rejected(db: Any, responses: Responses) -> None:
    """A start key satisfies the condition on the sort key, in a table and in an index. Its item need not exist.

    Source: aws/aws-sdk-ruby issue 2456; captured by dynoxide-rs 3.2
    """
    for condition, start in (
        (" AND sk <= :3", "4"),
        (" AND sk < :3", "3"),
        (" AND sk >= :3", "2"),
        (" AND sk > :3", "3"),
        (" AND sk BETWEEN :2 AND :4", "5"),
        (" AND sk BETWEEN :2 AND :4", "1"),
        (" AND begins_with(sk, :3)", "4"),
    ):
        responses.rejects(db.query, INVALID, PREDICATE, **query(condition, key("a", start)))
    responses.rejects(db.query, INVALID, PREDICATE, **query_index(" AND nextCheckAt <= :3", item("a", "4")))
    assert found(db.query(**query(" AND sk <= :5", key("a", "33")))) == ["4", "5"]


def test_start_key_at_the_bound_is_rejected(db: Any, responses: Responses) -> None:
    """A start key is not at the end of the range, where nothing is left to read. In an index it may be: more items may
    have the same key.

    Source: aws/aws-sdk-ruby issue 2456 (`>=`, read in descending order)
    """
    for condition, start, forward in (
        (" AND sk <= :3", "3", True),
        (" AND sk BETWEEN :2 AND :4", "4", True),
        (" AND sk >= :3", "3", False),
        (" AND sk BETWEEN :2 AND :4", "2", False),
    ):
        request = query(condition, key("a", start), ScanIndexForward=forward)
        responses.rejects(db.query, INVALID, PREDICATE, **request)
    assert found(db.query(**query(" AND sk BETWEEN :2 AND :4", key("a", "2")))) == ["3", "4"]
    assert found(db.query(**query(" AND sk <= :3", key("a", "3"), ScanIndexForward=False))) == ["2", "1"]
    assert found(db.query(**query_index(" AND nextCheckAt <= :3", item("a", "3")))) == []


def test_start_key_with_other_attributes_is_rejected(db: Any, responses: Responses) -> None:
    """A start key has exactly the key attributes of the table and, in an index, those of the index.

    Source: DynamoDB API Reference, Query, ExclusiveStartKey; dynamodb-conformance, tier1/query/validation
    """
    message = "The provided starting key is invalid"
    for start in ({"pk": {"S": "a"}}, {**key("a", "1"), "more": {"S": "x"}}, {"pk": {"S": "a"}, "sk": {"N": "1"}}):
        responses.rejects(db.query, INVALID, message, **query("", start))
    responses.rejects(db.query, INVALID, message, **query_index(" AND nextCheckAt <= :3", key("a", "1")))


# ------------------------------------------------------------------------------------------------------ expressions


def test_filter_on_a_key_attribute_is_rejected(db: Any, responses: Responses) -> None:
    """A FilterExpression uses no key attributes of the table or index.

    Source: DynamoDB Developer Guide, "Filter expressions for the Query operation"; dynamodb-conformance, tier3
    """
    message = "Filter Expression can only contain non-primary key attributes: Primary key attribute: sk"
    responses.rejects(db.query, INVALID, message, **query("", FilterExpression="sk > :1") | _values(":a", ":1"))
    request = query_index(" AND nextCheckAt <= :3", item("a", "1")) | {"FilterExpression": "nextCheckAt < :3"}
    message = "Filter Expression can only contain non-primary key attributes: Primary key attribute: nextCheckAt"
    responses.rejects(db.query, INVALID, message, **request)


def _values(*names: str) -> dict[str, Any]:
    return {"ExpressionAttributeValues": {name: {"S": name.strip(":")} for name in names}}


def test_unused_or_undefined_placeholder_is_rejected(db: Any, responses: Responses) -> None:
    """All given names and values are used, all used ones are given, and reserved words need a name placeholder.

    Source: DynamoDB Developer Guide, "Expression attribute names", "Reserved words"; dynamodb-conformance, tier3
    """
    put = {"TableName": TABLE, "Item": item("a", "1")}
    for expression, values, names, message in (
        (
            "attribute_exists(pk)",
            {":x": {"S": "x"}},
            None,
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}",
        ),
        (
            "note = :xy",
            {":x": {"S": "x"}, ":xy": {"S": "xy"}},
            None,
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}",
        ),
        (
            "attribute_exists(pk)",
            None,
            {"#x": "x"},
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}",
        ),
        (
            "note = :x",
            None,
            None,
            "An expression attribute value used in expression is not defined; attribute value: :x",
        ),
        (
            "#x = :x",
            {":x": {"S": "x"}},
            None,
            "An expression attribute name used in the document path is not defined; attribute name: #x",
        ),
        ("status = :x", {":x": {"S": "x"}}, None, "Attribute name is a reserved keyword; reserved keyword: status"),
    ):
        more: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        more |= {"ExpressionAttributeNames": names} if names else {}
        responses.rejects(db.put_item, INVALID, message, ConditionExpression=expression, **more, **put)


def test_expression_over_its_limits_is_rejected(db: Any, responses: Responses) -> None:
    """An expression has at most 4 KB and 300 operators, an IN at most 100 operands.

    Source: DynamoDB Developer Guide, "Service, account, and table quotas", "Expression parameters"
    """
    put = {"TableName": TABLE, "Item": item("a", "1"), "ExpressionAttributeValues": {":x": {"S": "x"}}}
    violations = {
        f"{'n' * 255} = :x{' ' * 4096}": "Expression size has exceeded the maximum allowed size",
        " OR ".join(["a = :x"] * 151): "The expression contains too many operators",
        f"a IN ({', '.join([':x'] * 101)})": "too many operands",
    }
    for expression, message in violations.items():
        responses.rejects(db.put_item, INVALID, message, ConditionExpression=expression, **put)
    db.put_item(ConditionExpression=" OR ".join(["attribute_exists(pk)", *["pk = :x"] * 149]), **put)


def test_key_attribute_is_not_updated(db: Any, responses: Responses) -> None:
    """An update cannot change key attributes.

    Source: DynamoDB API Reference, UpdateItem; dynamodb-conformance, tier3/error-messages/updateItem
    """
    message = "Cannot update attribute sk. This attribute is part of the key"
    update = {"Key": key("a", "1"), "UpdateExpression": "SET sk = :x", "ExpressionAttributeValues": {":x": {"S": "x"}}}
    responses.rejects(db.update_item, INVALID, message, TableName=TABLE, **update)


def test_index_is_not_read_consistently(db: Any, responses: Responses) -> None:
    """A global secondary index does not support consistent reads.

    Source: DynamoDB Developer Guide, "DynamoDB read consistency"
    """
    message = "Consistent reads are not supported on global secondary indexes"
    request = query_index(" AND nextCheckAt <= :3", item("a", "1"))
    responses.rejects(db.query, INVALID, message, ConsistentRead=True, **request)


# ------------------------------------------------------------------------------------------------------ items, keys


def test_item_over_400_kilobytes_is_rejected(db: Any, responses: Responses) -> None:
    """An item has at most 400 KB, including its attribute names, also after an update.

    Source: DynamoDB Developer Guide, "Service, account, and table quotas", "Items"
    """
    large = item("a", "large", x={"S": "x" * (400 * 1024)})
    responses.rejects(
        db.put_item, INVALID, "Item size has exceeded the maximum allowed size", TableName=TABLE, Item=large
    )
    db.put_item(TableName=TABLE, Item=item("a", "large", x={"S": "x" * (399 * 1024)}))
    grow = {"UpdateExpression": "SET y = :y", "ExpressionAttributeValues": {":y": {"S": "y" * 2048}}}
    message = "Item size to update has exceeded the maximum allowed size"
    responses.rejects(db.update_item, INVALID, message, TableName=TABLE, Key=key("a", "large"), **grow)
    db.delete_item(TableName=TABLE, Key=key("a", "large"))


def test_key_that_is_empty_or_too_long_is_rejected(db: Any, responses: Responses) -> None:
    """A partition key has 1 to 2,048 bytes, a sort key 1 to 1,024. An index's key attribute is not empty.

    Source: DynamoDB Developer Guide, "Service, account, and table quotas", "Partition keys and sort keys"
    """
    empty = "The AttributeValue for a key attribute cannot contain an empty string value"
    responses.rejects(db.put_item, INVALID, empty, TableName=TABLE, Item=item("", "1"))
    responses.rejects(db.get_item, INVALID, empty, TableName=TABLE, Key=key("a", ""))
    responses.rejects(db.put_item, INVALID, "", TableName=TABLE, Item=item("a", "1", nextCheckAt={"S": ""}))
    size = "Aggregated size of all hash keys has exceeded the size limit of 2048 bytes"
    responses.rejects(db.put_item, INVALID, size, TableName=TABLE, Item=item("a" * 2049, "1"))
    size = "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
    responses.rejects(db.put_item, INVALID, size, TableName=TABLE, Item=item("a", "1" * 1025))


def test_batch_over_its_limits_is_rejected(db: Any, responses: Responses) -> None:
    """A batch writes at most 25 items, each once.

    Source: DynamoDB API Reference, BatchWriteItem
    """
    puts = [{"PutRequest": {"Item": item("batch", str(number))}} for number in range(26)]
    write = db.batch_write_item
    responses.rejects(write, INVALID, "Member must have length less than or equal to 25", RequestItems={TABLE: puts})
    message = "Provided list of item keys contains duplicates"
    responses.rejects(write, INVALID, message, RequestItems={TABLE: [puts[0], puts[0]]})


# ----------------------------------------------------------------------------------------------------- transactions


def put_in(pk: str, sk: str, **attributes: Any) -> dict[str, Any]:
    return {"Put": {"TableName": TABLE, "Item": item(pk, sk, **attributes)}}


def test_transaction_over_its_limits_is_rejected(db: Any, responses: Responses) -> None:
    """A transaction has at most 100 actions and 4 MB, and one action per item.

    Source: DynamoDB API Reference, TransactWriteItems
    """
    write = db.transact_write_items
    many = [put_in("many", str(number)) for number in range(101)]
    responses.rejects(write, INVALID, "Member must have length less than or equal to 100", TransactItems=many)
    message = "Transaction request cannot include multiple operations on one item"
    check = {
        "ConditionCheck": {"TableName": TABLE, "Key": key("one", "1"), "ConditionExpression": "attribute_exists(pk)"}
    }
    responses.rejects(write, INVALID, message, TransactItems=[put_in("one", "1"), check])
    heavy = [put_in("heavy", str(number), x={"S": "x" * 390_000}) for number in range(11)]
    responses.rejects(write, INVALID, "4MB", TransactItems=heavy)


def at_once(count: int, call: Callable[[int], Any]) -> list[ClientError]:
    """Calls from `count` threads at the same time. Returns the errors."""
    barrier = threading.Barrier(count)

    def run(number: int) -> ClientError | None:
        barrier.wait()
        try:
            call(number)
        except ClientError as error:
            return error
        return None

    with ThreadPoolExecutor(count) as pool:
        return [error for error in pool.map(run, range(count)) if error]


def test_overlapping_transactions_conflict(db: Any, responses: Responses) -> None:
    """A transaction on an item of a transaction in progress is cancelled with TransactionConflict. A single write to it
    is rejected with TransactionConflictException. `STACK_TRANSACTION_SECONDS` is the duration of a transaction.

    Source: DynamoDB Developer Guide, "Transaction conflict handling in DynamoDB"
    """

    def transact(number: int) -> None:
        db.transact_write_items(TransactItems=[put_in("overlap", "1"), put_in("overlap", f"own-{number}")])

    cancelled = at_once(8, transact)
    assert cancelled
    assert len(cancelled) < 8
    for error in cancelled:
        assert error.response["Error"]["Code"] == "TransactionCanceledException", error
        reasons = [reason["Code"] for reason in error.response["CancellationReasons"]]
        assert reasons == ["TransactionConflict", "None"]
    responses.add("400 TransactionCanceledException: [TransactionConflict, None]")

    def transact_or_update(number: int) -> None:
        if number:
            db.update_item(TableName=TABLE, Key=key("overlap", "1"), UpdateExpression="REMOVE note")
        else:
            transact(number)

    def conflicts() -> set[str]:
        return {error.response["Error"]["Code"] for error in at_once(8, transact_or_update)}

    deadline = time.monotonic() + 10
    while not (codes := conflicts()) and time.monotonic() < deadline:
        pass
    assert codes <= {"TransactionConflictException", "TransactionCanceledException"}
    assert "TransactionConflictException" in codes
    responses.add("400 TransactionConflictException")
    transact(0)


def test_transaction_with_a_used_token_is_rejected(db: Any, responses: Responses) -> None:
    """A transaction with the client token of one in progress is rejected, and so is another request with a used token.

    Source: DynamoDB API Reference, TransactWriteItems, TransactionInProgressException and
    IdempotentParameterMismatchException
    """
    items = [put_in("token", "1")]

    def transact(_: int) -> None:
        db.transact_write_items(TransactItems=items, ClientRequestToken="same")

    codes = {error.response["Error"]["Code"] for error in at_once(8, transact)}
    assert codes == {"TransactionInProgressException"}
    responses.add("400 TransactionInProgressException")
    transact(0)
    write = db.transact_write_items
    other: dict[str, Any] = {"TransactItems": [put_in("token", "2")], "ClientRequestToken": "same"}
    responses.rejects(write, "IdempotentParameterMismatchException", **other)


def test_update_of_an_attribute_that_the_policy_does_not_name_is_denied(
    account: Account, db: Any, responses: Responses
) -> None:
    """A condition on `dynamodb:Attributes` applies to the attributes that an update names in its key and expressions.

    Source: DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control"
    """
    allowed = {
        "Effect": "Allow", "Action": "dynamodb:UpdateItem", "Resource": f"arn:aws:dynamodb:*:*:table/{TABLE}",
        "Condition": {
            "Null": {"dynamodb:Attributes": "false"},
            "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", "note"]},
            "StringEqualsIfExists": {"dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"]},
        },
    }  # fmt: skip
    user = account.client_of_user("dynamodb", "note-writer", allowed)
    note = {
        "TableName": TABLE, "Key": key("noted", "1"), "UpdateExpression": "SET #note = :one",
        "ConditionExpression": "attribute_not_exists(pk) OR NOT note >= :one",
        "ExpressionAttributeNames": {"#note": "note"}, "ExpressionAttributeValues": {":one": {"S": "1"}},
    }  # fmt: skip
    user.update_item(**note)
    for change in (
        {"ExpressionAttributeNames": {"#note": "other"}},
        {"UpdateExpression": "SET #note = :one REMOVE other.note"},
        {"ConditionExpression": "attribute_exists(other)"},
        {"ReturnValues": "ALL_NEW"},
    ):
        denied = "is not authorized to perform"
        responses.rejects(user.update_item, "AccessDeniedException", denied, **{**note, **change})
