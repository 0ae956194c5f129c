"""SQS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from conftest import Account, Responses

POLICY = "Invalid value for the parameter Policy"


@pytest.fixture(scope="module")
def queue(account: Account) -> str:
    return str(account.client("sqs").create_queue(QueueName="rules")["QueueUrl"])


def arn(name: str) -> str:
    return f"arn:aws:sqs:us-east-1:000000000000:{name}"


def policy(*resources: str | Sequence[str]) -> str:
    statements = [
        {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": resource,
         "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        for resource in resources
    ]  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_queue_policy_that_names_another_queue_is_rejected(account: Account, queue: str, responses: Responses) -> None:
    """A queue's policy names only that queue.

    Source: SQS Developer Guide, "Special Information for SQS Policies"; cloudtools/stacker_blueprints PR 71
    """
    sqs = account.client("sqs")

    def put(document: str) -> None:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": document})

    put(policy(arn("rules")))
    for document in (policy([arn("rules"), arn("dead")]), policy(arn("rules"), arn("dead")), policy(arn("dead"))):
        responses.rejects(put, "InvalidAttributeValue", POLICY, document=document)
    attributes = {"Policy": policy(arn("another"))}
    responses.rejects(sqs.create_queue, "InvalidAttributeValue", POLICY, QueueName="new", Attributes=attributes)
    assert json.loads(_attributes(sqs, queue)["Policy"])["Statement"][0]["Resource"] == arn("rules")


def _attributes(sqs: Any, queue: str) -> dict[str, str]:
    attributes: dict[str, str] = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return attributes


def test_message_over_one_mebibyte_is_rejected(account: Account, queue: str, responses: Responses) -> None:
    """A message has at most 1 MiB (until August 2025: 256 KiB).

    Source: SQS Developer Guide, "Amazon SQS message quotas"
    """
    sqs = account.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody="x" * (1 << 20))
    message = "Message must be shorter than 1048576 bytes"
    body = "x" * ((1 << 20) + 1)
    responses.rejects(sqs.send_message, "InvalidParameterValue", message, QueueUrl=queue, MessageBody=body)


def test_delay_over_fifteen_minutes_is_rejected(account: Account, queue: str, responses: Responses) -> None:
    """A message is delayed by at most 900 seconds.

    Source: SQS API Reference, SendMessage, DelaySeconds
    """
    send = account.client("sqs").send_message
    message = "DelaySeconds must be >= 0 and <= 900"
    for delay in (901, -1):
        responses.rejects(send, "InvalidParameterValue", message, QueueUrl=queue, MessageBody="{}", DelaySeconds=delay)
    send(QueueUrl=queue, MessageBody="{}", DelaySeconds=900)


def test_queue_attributes_out_of_range_are_rejected(account: Account, queue: str, responses: Responses) -> None:
    """The visibility time-out is at most 12 h, the retention at most 14 days, the receive count 1 to 1,000.

    Source: SQS API Reference, SetQueueAttributes
    """
    put = account.client("sqs").set_queue_attributes
    redrive = json.dumps({"deadLetterTargetArn": arn("rules"), "maxReceiveCount": 1001})
    violations = {"VisibilityTimeout": "43201", "MessageRetentionPeriod": "1209601", "RedrivePolicy": redrive}
    for name, value in violations.items():
        message = f"Invalid value for the parameter {name}"
        responses.rejects(put, "InvalidAttributeValue", message, QueueUrl=queue, Attributes={name: value})
