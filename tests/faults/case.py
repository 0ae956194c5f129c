"""A test case: a tenant with its own exports table and jobs queue, in which the real functions run. Each invocation has
its own process behind its own proxy.

Because tables and queues are not shared, cases are isolated and can run in parallel on one emulator.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import botocore
from boto3.dynamodb.types import TypeDeserializer

import build
import xlsx
from emulated import Emulated
from expected_csv import expected_csv
from payouts import payout
from proxy import Paging, Plan, Proxy, Response
from runtime import End, Invocation, Outcome
from stack import Stack
from waiting import now

ROOT = Path(__file__).resolve().parents[2]
CHECKER = ROOT / "target" / "quick" / "check-invariants"
EXPORTS = "/v1/payments/marketplace-payouts/export"
# Seconds instead of the template's minutes.
SETTINGS = {
    "LEASE_GRACE": "1s",
    "MAX_ATTEMPTS": "5",
    "RETRY_BACKOFF": "1s",
    "PERMANENT_ERROR_WAIT": "1s",
    "RE_ENQUEUE_AFTER": "1s",
    "EXPORT_DEADLINE": "120s",
    "CHECKPOINT_EVERY": "0s",
    "CONTINUE_BEFORE": "1s",
    "COMPLETION_TAKES": "1s",
    "READERS": "1",
}
# How long a failed message stays invisible.
VISIBILITY_SECONDS = 1
HTTP_SECONDS = 29.0
SWEEP_SECONDS = 30.0
# How often a message is received before it is removed, as by a redrive to the dead-letter queue.
MAX_RECEIVES = 5
# Enough for a client that waits for a timeout or uses all its retries, on a busy machine.
GENERATE_SECONDS = 25.0
SWEEP_EVERY_SECONDS = 4.0
POLL_SECONDS = 1.0
# Longer than the deadline of an export.
QUIET_SECONDS = 180.0

# An item in DynamoDB's JSON.
Item = dict[str, Any]

_numbers = itertools.count(1)


class Bench:
    """Shared by all cases: the emulator, the functions' programs in `folder`, and the settings from the template."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.programs = {crate: folder / crate for crate in stack.functions}
        self.checker = folder / CHECKER.name
        # Hard links, so that a concurrent build does not replace the programs.
        for crate, program in self.programs.items():
            program.hardlink_to(build.PACKAGES / crate / "bootstrap")
        self.checker.hardlink_to(CHECKER)
        self.aws = Emulated(stack.awsEndpointUrl, stack.region)
        self.s3 = stack.client("s3")
        described = self.aws.dynamodb("DescribeTable", TableName=stack.exportsTable)["Table"]
        self.schema = {
            "AttributeDefinitions": described["AttributeDefinitions"],
            "KeySchema": described["KeySchema"],
            "BillingMode": "PAY_PER_REQUEST",
            "GlobalSecondaryIndexes": [
                {key: index[key] for key in ("IndexName", "KeySchema", "Projection")}
                for index in described["GlobalSecondaryIndexes"]
            ],
        }
        client = stack.client("lambda")
        self.environments = {
            crate: client.get_function_configuration(FunctionName=name).get("Environment", {}).get("Variables", {})
            for crate, name in stack.functions.items()
        }
        # No call uses TLS. Loading all system CA certificates would dominate the start of an unoptimized build.
        certificates = folder / "ca.pem"
        certificates.write_text(_first_certificate(), encoding="utf-8")
        for environment in self.environments.values():
            environment["SSL_CERT_FILE"] = str(certificates)


class Case:
    """The state of one tenant. `plan` decides which calls fail. A case `beside` another shares its table and queue."""

    def __init__(
        self,
        bench: Bench,
        plan: Plan | None = None,
        payouts: int = 2,
        paging: Paging | None = None,
        settings: Mapping[str, str] | None = None,
        generate_seconds: float = GENERATE_SECONDS,
        beside: Case | None = None,
        quiet_seconds: float = QUIET_SECONDS,
        export_format: str = "CSV",
    ) -> None:
        self.bench = bench
        self._export_format = export_format
        self.plan = plan or Plan()
        self.generate_seconds = generate_seconds
        self._quiet_seconds = quiet_seconds
        self._paging = paging
        self._settings = {**SETTINGS, **(settings or {})}
        self.tenant = f"case-{next(_numbers)}"
        self.email = f"operator@{self.tenant}.example"
        self._beside = beside
        if beside is None:
            self.table = f"exports-of-{self.tenant}"
            bench.aws.dynamodb("CreateTable", TableName=self.table, **bench.schema)
            attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
            made = bench.aws.sqs("CreateQueue", QueueName=f"jobs-of-{self.tenant}", Attributes=attributes)
            self.queue: str = made["QueueUrl"]
        else:
            self.table, self.queue = beside.table, beside.queue
        self.accepted: list[str] = []
        # The exports and link expiries that clients received.
        self.reported_links: list[tuple[str, str]] = []
        self.swept_at: str | None = None
        # The status of each response to a client, in order; None without a response.
        self.statuses: list[int | None] = []
        # The number of processes of each function that were killed, timed out or stalled.
        self.lost_processes: Counter[str] = Counter()
        # The number of calls until the flow had nothing left to do but wait for its exports to end.
        self.calls_before_settling: int | None = None
        self.logs: list[str] = []
        self.mails_by_process: list[list[dict[str, Any]]] = []
        self._stalled: list[tuple[str, Invocation]] = []
        self._lock = threading.Lock()
        # The versions of each record, one after another: each follows from the one before by a transition.
        self._versions: list[list[Item]] = []
        self._write_lock = threading.Lock()
        self.key = bench.stack.issue_key(self.tenant, self.email)
        bench.stack.put_payouts(self.tenant, recent_payouts(payouts))

    # ------------------------------------------------------------------------------------ functions

    def run(self, crate: str, event: Any, seconds: float = HTTP_SECONDS) -> Outcome:
        invocation = self.start(crate, event, seconds)
        outcome = invocation.run()
        if outcome.end is End.STALLED:
            with self._lock:
                self._stalled.append((crate, invocation))
        else:
            self.finish(crate, invocation)
        if outcome.end not in (End.RESPONDED, End.ERROR):
            with self._lock:
                self.lost_processes[crate] += 1
        return outcome

    def expire_leases(self) -> None:
        """Expires all leases. Called while no generator runs, to avoid waiting for the leases of lost processes."""
        with self._write_lock:
            leased = [record for record in self.records() if text(record, "leaseUntil") > now()]
            for record in leased:
                self.bench.aws.dynamodb(
                    "UpdateItem",
                    TableName=self.table,
                    Key={name: record[name] for name in ("tenantId", "sk")},
                    UpdateExpression="SET leaseUntil = :now, nextCheckAt = :now",
                    ExpressionAttributeValues={":now": {"S": now()}},
                )
            if leased:
                self._versions += [[record] for record in self.records()]

    def start(self, crate: str, event: Any, seconds: float) -> Invocation:
        proxy = Proxy(self.bench.stack.awsEndpointUrl, crate, self.plan, self._paging)
        proxy.write = self._write
        proxy.before_successor_continues = lambda: self.resume_overtaken(crate)
        with self._lock:
            self.mails_by_process.append(proxy.mails)
        environment = {
            "AWS_REGION": self.bench.stack.region,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            **self.bench.environments[crate],
            **self._settings,
            "EXPORTS_TABLE": self.table,
            "JOBS_QUEUE_URL": self.queue,
        }
        return Invocation(self.bench.programs[crate], event, environment, seconds, proxy)

    def _write(self, send: Callable[[], Response]) -> Response:
        """Sends a write, one at a time, and records the versions that it leaves."""
        with self._write_lock:
            response = send()
            for record in self.records():
                known = [versions for versions in self._versions if versions[-1]["sk"] == record["sk"]]
                if not known:
                    self._versions.append([record])
                elif known[-1][-1] != record:
                    known[-1].append(record)
            return response

    def finish(self, crate: str, invocation: Invocation) -> None:
        log = invocation.close()
        with self._lock:
            self.logs += [f"{crate}: {line}" for line in log.splitlines()]

    def post(self, idempotency_key: str | None = None) -> int | None:
        """Launches an export. Returns the status of the response, or None without a response."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        sent = None if self._export_format == "CSV" else {"format": self._export_format}
        if sent:
            headers["content-type"] = "application/json"
        status, body = self._call("create-export", "POST", EXPORTS, headers, body=sent)
        if status == 202:
            self.accepted.append(body["exportId"])
        return status

    def resend(self, export_id: str) -> int | None:
        path = f"/v1/exports/{export_id}/resend-email"
        status, body = self._call("resend-email", "POST", path, {}, {"exportId": export_id})
        if status == 200:
            self.reported_links.append((export_id, body["linkExpiresAt"]))
        return status

    def cancel(self, export_id: str) -> int | None:
        path = f"/v1/exports/{export_id}/cancel"
        return self._call("cancel-export", "POST", path, {}, {"exportId": export_id})[0]

    def read(self, crate: str, path: str, parameters: Mapping[str, str] | None = None) -> tuple[int | None, Any]:
        """Sends a GET request. Returns status and body of the response, or None without a response."""
        return self._call(crate, "GET", path, {}, parameters)

    def sweep(self) -> Outcome:
        started_at = now()
        outcome = self.run("sweep-exports", {}, SWEEP_SECONDS)
        if outcome.end is End.RESPONDED and not outcome.response["errors"]:
            self.swept_at = started_at
        return outcome

    def deliver(self) -> bool:
        """Receives messages and invokes the generator for each, in parallel. Deletes messages that succeeded or were
        received MAX_RECEIVES times. Returns whether there were any."""

        def process(message: Mapping[str, Any]) -> None:
            outcome = self.invoke_generator([message["Body"]])
            if is_done(outcome) or int(message["Attributes"]["ApproximateReceiveCount"]) >= MAX_RECEIVES:
                self._delete(message)

        received = self.receive()
        if received:
            with ThreadPoolExecutor(len(received)) as threads:
                list(threads.map(process, received))
        return bool(received)

    def invoke_generator(self, bodies: Iterable[str]) -> Outcome:
        """Invokes the generator with a batch of messages, regardless of the queue."""
        return self.run("generate-export", sqs_event(bodies), self.generate_seconds)

    def receive(self) -> list[dict[str, Any]]:
        received = self.bench.aws.sqs(
            "ReceiveMessage", QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["ApproximateReceiveCount"]
        )
        messages: list[dict[str, Any]] = received.get("Messages", [])
        return messages

    def job(self, export_id: str) -> str:
        return json.dumps({"version": 1, "tenantId": self.tenant, "exportId": export_id})

    def drop_messages(self) -> None:
        """Deletes all visible job messages, as if they were lost."""
        for message in self.receive():
            self._delete(message)

    # ------------------------------------------------------------------------------------ until quiet

    def settle(self) -> None:
        """Runs until quiet, then resumes the stalled processes and runs until quiet again."""
        if self.calls_before_settling is None:
            self.calls_before_settling = len(self.plan.calls)
        self.run_until_quiet()
        if self._resume(lambda crate, invocation: True):
            self.run_until_quiet()

    def resume_overtaken(self, crate: str) -> None:
        """Resumes processes that were to be overtaken, and waits for their end while the successor waits."""
        self._resume(lambda known, invocation: known == crate and invocation.is_overtaken)

    def _resume(self, is_chosen: Callable[[str, Invocation], bool]) -> bool:
        """Resumes stalled processes and waits for their end. Returns whether there were any."""
        with self._lock:
            resumed = [entry for entry in self._stalled if is_chosen(*entry)]
            self._stalled = [entry for entry in self._stalled if entry not in resumed]
        for crate, invocation in resumed:
            invocation.resume()
            self.finish(crate, invocation)
        return bool(resumed)

    def run_until_quiet(self) -> None:
        """Delivers messages and runs sweeps in parallel until no export is pending and no message is left."""
        deadline = time.monotonic() + self._quiet_seconds
        swept_at = time.monotonic()
        with ThreadPoolExecutor(1) as sweeper:
            has_delivered = True
            while has_delivered or self.pending() or self.messages():
                if time.monotonic() > deadline:
                    raise AssertionError(
                        f"not quiet after {self._quiet_seconds:g} s: {self.records()}\n" + self.last_logs()
                    )
                if self.lost_processes["generate-export"]:
                    self.expire_leases()
                sweep = None
                if time.monotonic() - swept_at >= SWEEP_EVERY_SECONDS:
                    swept_at = time.monotonic()
                    sweep = sweeper.submit(self.sweep)
                has_delivered = self.deliver()
                if sweep:
                    sweep.result()
                elif not has_delivered:
                    time.sleep(POLL_SECONDS)

    def sweep_until(self, status: str) -> None:
        deadline = time.monotonic() + self._quiet_seconds
        while {record["status"]["S"] for record in self.records()} != {status}:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not {status} after {self._quiet_seconds:g} s: {self.records()}\n" + self.last_logs()
                )
            self.sweep()

    # ------------------------------------------------------------------------------------ state

    def items(self) -> list[Item]:
        return self._items_in(self.table)

    def records(self) -> list[Item]:
        return [item for item in self.items() if is_record(item)]

    def pending(self) -> bool:
        return any(record["status"]["S"] == "PENDING" for record in self.records())

    def messages(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        names.append("ApproximateNumberOfMessagesNotVisible")
        found = self.bench.aws.sqs("GetQueueAttributes", QueueUrl=self.queue, AttributeNames=names)
        attributes = found["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def objects(self) -> list[str]:
        return self._keys(f"exports/{self.tenant}/")

    def unfinished_parts(self) -> list[str]:
        return self._keys(f"unfinished/{self.tenant}/")

    def _keys(self, prefix: str) -> list[str]:
        listed = self.bench.s3.list_objects_v2(Bucket=self.bench.stack.bucket, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def uploads(self) -> list[str]:
        """The keys of the uploads that are neither completed nor aborted."""
        listed = self.bench.s3.list_multipart_uploads(Bucket=self.bench.stack.bucket, Prefix=f"exports/{self.tenant}/")
        return [upload["Key"] for upload in listed.get("Uploads", [])]

    def mails(self) -> list[dict[str, Any]]:
        """The e-mails that SES accepted, as requested."""
        return [mail for mails in self.mails_by_process for mail in mails]

    def ready_mails(self) -> int:
        """The number of accepted e-mails with a link."""
        return sum(bool(links_in(mail)) for mail in self.mails())

    def violations(self) -> list[str]:
        """The violated invariants of the quiet state, from the checker that all protocol tests share."""
        items, payouts = self.items(), self._items_in(self.bench.stack.payoutsTable)
        files = {key: self._read(key) for key in self.objects()}
        with tempfile.TemporaryDirectory() as folder:
            document = self.document(items, payouts, files, Path(folder))
            checked = subprocess.run(
                [str(self.bench.checker)], input=json.dumps(document), capture_output=True, text=True
            )
        if checked.returncode not in (0, 1):
            raise AssertionError(f"check-invariants: {checked.stderr}")
        return checked.stdout.splitlines() + _wrong_files(items, payouts, files)

    def _read(self, key: str) -> bytes:
        content: bytes = self.bench.s3.get_object(Bucket=self.bench.stack.bucket, Key=key)["Body"].read()
        return content

    def document(
        self, items: list[Item], payouts: list[Item], files: Mapping[str, bytes], folder: Path
    ) -> dict[str, Any]:
        """The state in the format of `check-invariants`."""
        objects = []
        for number, (key, content) in enumerate(files.items()):
            path = folder / str(number)
            path.write_bytes(content)
            objects.append({"key": key, "path": str(path)})
        return {
            "now": now(),
            "quiet": True,
            "maxAttempts": int(self._settings["MAX_ATTEMPTS"]),
            "sweptAt": self.swept_at,
            "items": items,
            "versions": self._versions,
            "accepted": [{"tenantId": self.tenant, "exportId": export} for export in self.accepted],
            "reportedLinks": [
                {"tenantId": self.tenant, "exportId": export_id, "linkExpiresAt": expiry}
                for export_id, expiry in self.reported_links
            ],
            "payouts": payouts,
            "objects": objects,
            "mails": [
                {
                    "to": mail["Destination"].get("ToAddresses", []),
                    "cc": mail["Destination"].get("CcAddresses") or [],
                    "keys": [link.key for link in links_in(mail)],
                    "linkExpiries": [link.expiry for link in links_in(mail)],
                    "statedExpiries": [link.stated_expiry for link in links_in(mail)],
                }
                for mail in self.mails()
            ],
        }

    def stalled(self) -> int:
        """The number of stalled processes."""
        with self._lock:
            return len(self._stalled)

    def last_logs(self, lines: int = 25) -> str:
        return "\n".join(self.logs[-lines:])

    def close(self) -> None:
        for crate, invocation in self._stalled:
            self.finish(crate, invocation)
        if self._beside is None:
            self.bench.aws.dynamodb("DeleteTable", TableName=self.table)
            self.bench.aws.sqs("DeleteQueue", QueueUrl=self.queue)

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------ private

    def _call(
        self,
        crate: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        parameters: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> tuple[int | None, Any]:
        event = {
            "version": "2.0",
            "routeKey": f"{method} {path}",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {"dj-client": "OPERATOR", "dj-api-key": self.key, "host": "api.example", **headers},
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "test",
                "domainName": "api.example",
                "domainPrefix": "api",
                "http": {
                    "method": method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "test",
                },
                "requestId": "test",
                "routeKey": f"{method} {path}",
                "stage": "$default",
                "time": "08/Oct/2026:08:30:00 +0000",
                "timeEpoch": 1791448200000,
            },
            "pathParameters": dict(parameters or {}),
            "isBase64Encoded": False,
            **({"body": json.dumps(body)} if body is not None else {}),
        }
        outcome = self.run(crate, event)
        status = outcome.response["statusCode"] if outcome.end is End.RESPONDED else None
        self.statuses.append(status)
        body = json.loads(outcome.response.get("body") or "null") if status is not None else None
        if status is not None and status >= 400:
            is_error = set(body) == {"errors", "requestId"} and all(
                error["code"] and error["message"] for error in body["errors"]
            )
            assert is_error, f"{status} with {body}"
        return status, body

    def _items_in(self, table: str) -> list[Item]:
        items: list[Item] = []
        start: dict[str, Any] = {}
        while True:
            page = self.bench.aws.dynamodb(
                "Query",
                TableName=table,
                ConsistentRead=True,
                KeyConditionExpression="tenantId = :tenant",
                ExpressionAttributeValues={":tenant": {"S": self.tenant}},
                **start,
            )
            items += page["Items"]
            if "LastEvaluatedKey" not in page:
                return items
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _delete(self, message: Mapping[str, Any]) -> None:
        self.bench.aws.sqs("DeleteMessage", QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])


def recent_payouts(count: int) -> list[dict[str, Any]]:
    """Payouts of the last seconds, one per second, so that the generator reads few empty ranges."""
    last = datetime.now(timezone.utc) - timedelta(seconds=1)
    times = [last - timedelta(seconds=count - 1 - number) for number in range(count)]
    return [
        payout(f"po_{number:03}", createdAt=f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z")
        for number, time in enumerate(times)
    ]


def sqs_event(bodies: Iterable[str]) -> dict[str, Any]:
    """The Lambda event for these messages."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": f"receipt-{number}",
                "body": body,
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:jobs",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def text(record: Mapping[str, Any], name: str) -> str:
    """An attribute of a record, or nothing."""
    value: str = record.get(name, {"S": ""})["S"]
    return value


def is_done(outcome: Outcome) -> bool:
    """Whether Lambda would delete the message of a batch of one."""
    return outcome.end is End.RESPONDED and not outcome.response["batchItemFailures"]


@dataclass(frozen=True)
class Link:
    """A link in an e-mail: its object, its expiry by signature, and the expiry that the e-mail states."""

    key: str
    expiry: str
    stated_expiry: str


def links_in(mail: Mapping[str, Any]) -> list[Link]:
    text = mail["Content"]["Simple"]["Body"]["Text"]["Data"]
    links = []
    for url in re.findall(r"https?://\S+", text):
        query = parse_qs(urlsplit(url).query)
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ")
        expiry = signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))
        stated = re.search(r"The link works until (.+?) UTC", text)
        assert stated, text
        path = unquote(urlsplit(url).path)
        stated_expiry = datetime.strptime(stated[1], "%d %B %Y, %H:%M")
        links.append(
            Link(path[path.index("exports/") :], *(f"{at:%Y-%m-%dT%H:%M:%S}.000Z" for at in (expiry, stated_expiry)))
        )
    return links


def _wrong_files(items: Iterable[Item], payouts: Iterable[Item], files: Mapping[str, bytes]) -> list[str]:
    """The recorded files that differ from the file of an independent writer."""
    rows = [_python(payout) for payout in payouts]
    wrong = []
    for record in (_python(item) for item in items if is_record(item)):
        if (file := record.get("file")) and file["key"] in files:
            found = files[file["key"]]
            included = [row for row in rows if row["createdAt"] <= record["createdAt"]]
            if file["key"].endswith(".xlsx"):
                (_, *cells), *_ = xlsx.sheets(found).values()
                values = [[(xlsx.value(cell), cell.number_format) for cell in row] for row in cells]
                if values != (rows_expected := xlsx.expected_rows(included, "marketplace-payouts")):
                    wrong.append(f"{file['key']} is\n{values!r}\nexpected\n{rows_expected!r}")
            elif found != (expected := expected_csv(included, record["byteOrderMark"])):
                wrong.append(f"{file['key']} is\n{found!r}\nexpected\n{expected!r}")
    return wrong


def is_record(item: Item) -> bool:
    is_export: bool = item["sk"]["S"].startswith("EXPORT#")
    return is_export


class _Deserializer(TypeDeserializer):
    """Takes DynamoDB's JSON, in which binary values are in Base64."""

    def _deserialize_b(self, value: str) -> Any:
        return super()._deserialize_b(base64.b64decode(value))


_deserialize = _Deserializer().deserialize


def _python(item: Item) -> dict[str, Any]:
    return {name: _deserialize(value) for name, value in item.items()}


def _first_certificate() -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    bundle = Path(botocore.__file__).with_name("cacert.pem").read_text(encoding="utf-8")
    return bundle[bundle.index(begin) : bundle.index(end)] + end + "\n"
