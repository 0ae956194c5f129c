"""A tenant of a test: the HTTP calls of its operator, and its state in AWS."""

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
from export_types import MARKETPLACE_PAYOUTS, ExportType, type_of
from stack import Mail, Stack
from waiting import SECONDS, wait_for
from web import Response

EXPORTS = MARKETPLACE_PAYOUTS.path
LOG_LINES = 30

_numbers = itertools.count(1)
deserialize = TypeDeserializer().deserialize


class Tenant:
    """A tenant named after its test, with one operator and no payouts."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.id = f"{re.sub('[^a-z0-9]+', '-', name.lower())[:55].strip('-')}-{next(_numbers)}"
        domain = f"{self.id[-40:].lstrip('-')}.example"
        self.email = f"operator@{domain}"
        # A CC address that no other tenant has.
        self.cc = [f"cc@{domain}"]
        self.key = stack.issue_key(self.id, self.email)

    # -------------------------------------------------------------------------------------------------------- actions

    def put_payouts(self, payouts: Iterable[Mapping[str, Any]]) -> None:
        self.stack.put_payouts(self.id, payouts)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Sends a request with the operator's key. `headers` override the default ones; empty headers are omitted."""
        all_headers = {"dj-client": "OPERATOR", "dj-api-key": self.key, **(headers or {})}
        content = None
        if body is not None:
            all_headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        sent = {name: value for name, value in all_headers.items() if value}
        return web.request(method, self.stack.apiUrl + path, sent, content)

    def post(
        self,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        export_type: ExportType = MARKETPLACE_PAYOUTS,
    ) -> Response:
        return self.call("POST", export_type.path, body, headers)

    def get(self, export_id: str, headers: Mapping[str, str] | None = None) -> Response:
        return self.call("GET", f"{type_of(export_id).path}/{quote(export_id)}", None, headers)

    def launch(self, cc: list[str] | None = None, export_type: ExportType = MARKETPLACE_PAYOUTS) -> str:
        """Launches an export, which must be accepted. Returns its ID."""
        response = self.post(None if cc is None else {"cc": cc}, export_type=export_type)
        assert response.status == 202, response
        return str(response.json()["exportId"])

    def detail(self, export_id: str) -> dict[str, Any]:
        response = self.get(export_id)
        assert response.status == 200, response
        export: dict[str, Any] = response.json()
        return export

    def await_status(
        self, export_id: str, status: str, seconds: float = SECONDS, sweeping: bool = False
    ) -> dict[str, Any]:
        """Polls the export until it has `status`. `sweeping` runs a sweep before each request."""

        def look() -> dict[str, Any] | None:
            if sweeping:
                self.stack.sweep()
            export = self.detail(export_id)
            if export["status"] == "FAILED" != status:
                # The status is final, so fail at once.
                raise AssertionError(f"{export_id} is FAILED, not {status}\n{self.describe(export_id)}")
            return export if export["status"] == status else None

        export = wait_for(f"{export_id} to be {status}", look, seconds, lambda: self.describe(export_id))
        assert export is not None
        return export

    def export(self, cc: list[str] | None = None, export_type: ExportType = MARKETPLACE_PAYOUTS) -> dict[str, Any]:
        """Launches an export and waits until it is READY."""
        return self.await_status(self.launch(cc, export_type), "READY")

    def send_job(self, export_id: str, count: int = 1) -> None:
        """Enqueues job messages for an export."""
        body = json.dumps({"version": 1, "tenantId": self.id, "exportId": export_id})
        for _ in range(count):
            self.stack.client("sqs").send_message(QueueUrl=self.stack.jobsQueueUrl, MessageBody=body)

    # ---------------------------------------------------------------------------------------------------------- state

    def items(self) -> list[dict[str, Any]]:
        """All its items in the exports table."""
        pages = self.stack.client("dynamodb").get_paginator("query")
        found = pages.paginate(
            TableName=self.stack.exportsTable,
            ConsistentRead=True,
            KeyConditionExpression="tenantId = :tenant",
            ExpressionAttributeValues={":tenant": {"S": self.id}},
        )
        return [{key: deserialize(value) for key, value in item.items()} for page in found for item in page["Items"]]

    def delete_file(self, export_id: str) -> None:
        """Deletes an export's file from the bucket, as an administrator can."""
        key = self.record(export_id)["file"]["key"]
        self.stack.client("s3").delete_object(Bucket=self.stack.bucket, Key=key)

    def record(self, export_id: str) -> dict[str, Any]:
        (record,) = (item for item in self.items() if item["sk"] == f"EXPORT#{export_id}")
        return record

    def checkpoint(self, export_id: str) -> dict[str, Any] | None:
        return next((item for item in self.items() if item["sk"] == f"CHECKPOINT#{export_id}"), None)

    def lock(self, export_type: ExportType = MARKETPLACE_PAYOUTS) -> str | None:
        """The ID of the export that holds the tenant's lock of a type."""
        return next((item["exportId"] for item in self.items() if item["sk"] == export_type.lock), None)

    def objects(self) -> list[str]:
        return self._keys(f"exports/{self.id}/")

    def unfinished_parts(self) -> list[str]:
        return self._keys(f"unfinished/{self.id}/")

    def _keys(self, prefix: str) -> list[str]:
        listed = self.stack.client("s3").list_objects_v2(Bucket=self.stack.bucket, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def content(self, key: str) -> bytes:
        body: bytes = self.stack.client("s3").get_object(Bucket=self.stack.bucket, Key=key)["Body"].read()
        return body

    def unfinished_uploads(self) -> list[dict[str, Any]]:
        listed = self.stack.client("s3").list_multipart_uploads(Bucket=self.stack.bucket, Prefix=f"exports/{self.id}/")
        uploads: list[dict[str, Any]] = listed.get("Uploads", [])
        return uploads

    def mails(self) -> list[Mail]:
        """The e-mails that its operator received."""
        return [mail for mail in self.stack.mails() if self.email in (*mail.to, *mail.cc)]

    def mail(self) -> Mail:
        """The only e-mail that its operator received. It is awaited, because a failure is mailed after it is stored."""
        (mail,) = wait_for("an e-mail", self.mails)
        return mail

    def world(self) -> dict[str, Any]:
        """Everything that a request could change, including state that tenants share."""
        # The generator still sends the e-mail about a failure after the record says FAILED.
        wait_for("the generator to finish", lambda: not in_flight(self.stack))
        return {
            "items": self.items(),
            "objects": self.objects(),
            "uploads": self.unfinished_uploads(),
            "parts": self.unfinished_parts(),
            "mails": self.stack.mails(),
            "messages": undelivered(self.stack, self.stack.jobsQueueUrl),
        }

    def describe(self, export_id: str) -> str:
        """The state that a failed wait reports."""
        items = "\n".join(f"  {item}" for item in self.items())
        logs = [
            f"  {crate}: {line.rstrip()}"
            for crate in ("create-export", "generate-export", "sweep-exports")
            for line in self.stack.logs(crate)[-LOG_LINES:]
        ]
        return (
            f"items of {self.id}:\n{items}\nobjects: {self.objects()}\nexport: {export_id}\n"
            f"job messages: {undelivered(self.stack, self.stack.jobsQueueUrl)} waiting, "
            f"{in_flight(self.stack)} in flight\nlast log lines:\n" + "\n".join(logs)
        )


def undelivered(stack: Stack, queue_url: str) -> int:
    """The number of messages in a queue that have not been received."""
    return _count(stack, queue_url, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")


def in_flight(stack: Stack) -> int:
    """The number of job messages that are being processed, or that failed and will be redelivered."""
    return _count(stack, stack.jobsQueueUrl, "ApproximateNumberOfMessagesNotVisible")


def await_quiet(stack: Stack) -> None:
    """Waits until no job message is left, so that the generator has finished."""

    def left() -> int:
        return undelivered(stack, stack.jobsQueueUrl) + in_flight(stack)

    wait_for("the jobs queue to be empty", lambda: not left(), seen=lambda: f"{left()} messages are left")


def _count(stack: Stack, queue_url: str, *names: str) -> int:
    client = stack.client("sqs")
    attributes = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def link_in(mail: Mail) -> str:
    """The link of an e-mail: the only URL in its text, which its HTML must contain as well."""
    (link,) = re.findall(r"https?://\S+", mail.text)
    assert link in [html.unescape(url) for url in re.findall(r'href="([^"]+)"', mail.html)]
    return str(link)
