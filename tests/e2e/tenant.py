"""A tenant of a test's own: what its operator can do by HTTP, and the state of its world as AWS shows it."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from boto3.dynamodb.types import TypeDeserializer

import web
from stack import Mail, Stack
from waiting import SECONDS, wait_for
from web import Answer

EXPORTS = "/v1/payments/marketplace-payouts/export"
LOCK = "LOCK#marketplace-payouts"
LOG_LINES = 30

_numbers = itertools.count(1)
deserialize = TypeDeserializer().deserialize


class Tenant:
    """Named after its test, with one operator and no payouts."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.id = f"{re.sub('[^a-z0-9]+', '-', name.lower())[:55].strip('-')}-{next(_numbers)}"
        domain = f"{self.id[-40:].lstrip('-')}.example"
        self.email = f"operator@{domain}"
        # An address for copies that no other tenant has.
        self.cc = [f"copies@{domain}"]
        self.key = stack.issue_key(self.id, self.email)

    # -------------------------------------------------------------------------------------------- what it has and does

    def put_payouts(self, payouts: Iterable[Mapping[str, Any]]) -> None:
        self.stack.put_payouts(self.id, payouts)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A call with the operator's key; `headers` replace its own, and one that is empty is left out."""
        all_headers = {"dj-client": "OPERATOR", "dj-api-key": self.key, **(headers or {})}
        content = None
        if body is not None:
            all_headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        sent = {name: value for name, value in all_headers.items() if value}
        return web.request(method, self.stack.apiUrl + path, sent, content)

    def post(self, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("POST", EXPORTS, body, headers)

    def get(self, export_id: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("GET", f"{EXPORTS}/{quote(export_id)}", None, headers)

    def launch(self, cc: list[str] | None = None) -> str:
        """Launches an export that must be accepted. Returns its id."""
        answer = self.post(None if cc is None else {"cc": cc})
        assert answer.status == 202, answer
        return str(answer.json()["exportId"])

    def detail(self, export_id: str) -> dict[str, Any]:
        answer = self.get(export_id)
        assert answer.status == 200, answer
        export: dict[str, Any] = answer.json()
        return export

    def await_status(
        self, export_id: str, status: str, seconds: float = SECONDS, sweeping: bool = False
    ) -> dict[str, Any]:
        """Follows the export by HTTP until it has `status`. `sweeping` runs a sweep before each look."""

        def look() -> dict[str, Any] | None:
            if sweeping:
                self.stack.sweep()
            export = self.detail(export_id)
            if export["status"] == "FAILED" != status:
                # It stays so: what was seen tells more now than after the whole wait.
                raise AssertionError(f"{export_id} is FAILED, not {status}\n{self.describe(export_id)}")
            return export if export["status"] == status else None

        export = wait_for(f"{export_id} to be {status}", look, seconds, lambda: self.describe(export_id))
        assert export is not None
        return export

    def export(self, cc: list[str] | None = None) -> dict[str, Any]:
        """Launches an export and follows it to READY."""
        return self.await_status(self.launch(cc), "READY")

    def send_job(self, export_id: str, copies: int = 1) -> None:
        """Puts job messages for an export into the queue, as many as are asked for."""
        body = json.dumps({"version": 1, "tenantId": self.id, "exportId": export_id})
        for _ in range(copies):
            self.stack.client("sqs").send_message(QueueUrl=self.stack.jobsQueueUrl, MessageBody=body)

    # ------------------------------------------------------------------------------------------ its state of the world

    def items(self) -> list[dict[str, Any]]:
        """All that the exports table holds of it: exports, lock, and whatever else there may be."""
        pages = self.stack.client("dynamodb").get_paginator("query")
        found = pages.paginate(
            TableName=self.stack.exportsTable,
            ConsistentRead=True,
            KeyConditionExpression="tenantId = :tenant",
            ExpressionAttributeValues={":tenant": {"S": self.id}},
        )
        return [{key: deserialize(value) for key, value in item.items()} for page in found for item in page["Items"]]

    def delete_file(self, export_id: str) -> None:
        """Deletes an export's file from the bucket, as an administrator may."""
        key = self.record(export_id)["file"]["key"]
        self.stack.client("s3").delete_object(Bucket=self.stack.bucket, Key=key)

    def record(self, export_id: str) -> dict[str, Any]:
        (record,) = (item for item in self.items() if item["sk"] == f"EXPORT#{export_id}")
        return record

    def lock(self) -> str | None:
        """Which export holds the tenant's lock."""
        return next((item["exportId"] for item in self.items() if item["sk"] == LOCK), None)

    def objects(self) -> list[str]:
        listed = self.stack.client("s3").list_objects_v2(Bucket=self.stack.bucket, Prefix=f"exports/{self.id}/")
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def content(self, key: str) -> bytes:
        body: bytes = self.stack.client("s3").get_object(Bucket=self.stack.bucket, Key=key)["Body"].read()
        return body

    def unfinished_uploads(self) -> list[dict[str, Any]]:
        listed = self.stack.client("s3").list_multipart_uploads(Bucket=self.stack.bucket, Prefix=f"exports/{self.id}/")
        uploads: list[dict[str, Any]] = listed.get("Uploads", [])
        return uploads

    def mails(self) -> list[Mail]:
        """The mails that its operator got."""
        return [mail for mail in self.stack.mails() if self.email in (*mail.to, *mail.cc)]

    def mail(self) -> Mail:
        """The only mail that its operator got."""
        (mail,) = self.mails()
        return mail

    def world(self) -> dict[str, Any]:
        """Everything that a call could change, of this tenant and of what all tenants share."""
        # What the generator is at changes it, too: a failure's mail follows when the record says FAILED.
        wait_for("the generator to be done", lambda: not in_flight(self.stack))
        return {
            "items": self.items(),
            "objects": self.objects(),
            "uploads": self.unfinished_uploads(),
            "mails": self.stack.mails(),
            "messages": undelivered(self.stack, self.stack.jobsQueueUrl),
        }

    def describe(self, export_id: str) -> str:
        """What a failed wait shows."""
        items = "\n".join(f"  {item}" for item in self.items())
        logs = [
            f"  {crate}: {line.rstrip()}"
            for crate in ("create-export", "generate-export", "sweep-exports")
            for line in self.stack.logs(crate)[-LOG_LINES:]
        ]
        return (
            f"items of {self.id}:\n{items}\nobjects: {self.objects()}\nasked for: {export_id}\n"
            f"job messages: {undelivered(self.stack, self.stack.jobsQueueUrl)} waiting, "
            f"{in_flight(self.stack)} in flight\nlast log lines:\n" + "\n".join(logs)
        )


def undelivered(stack: Stack, queue_url: str) -> int:
    """How many messages of a queue nobody has received yet."""
    return _count(stack, queue_url, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")


def in_flight(stack: Stack) -> int:
    """How many job messages are being worked on, or will come back because the work on them failed."""
    return _count(stack, stack.jobsQueueUrl, "ApproximateNumberOfMessagesNotVisible")


def await_quiet(stack: Stack) -> None:
    """Waits until no job message is left: then the generator has done all it will do."""

    def left() -> int:
        return undelivered(stack, stack.jobsQueueUrl) + in_flight(stack)

    wait_for("the jobs queue to be empty", lambda: not left(), seen=lambda: f"{left()} messages are left")


def _count(stack: Stack, queue_url: str, *names: str) -> int:
    client = stack.client("sqs")
    attributes = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def link_in(mail: Mail) -> str:
    """The link of a mail: the one URL in its text, which its HTML must lead to as well."""
    (link,) = re.findall(r"https?://\S+", mail.text)
    assert link in [html.unescape(url) for url in re.findall(r'href="([^"]+)"', mail.html)]
    return str(link)
