"""Runs every command of RUNBOOK.md against a local stack with the problems that the runbook covers.

These are a stuck export, a leaked link and signing key, a dead letter, a key to revoke, paused sending, a table to
restore, and log lines of failures.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

from commands import ROOT, CommandError, blocks, shell

from stack import TENANT, EmulatorError, Stack, StackError  # isort: skip

import sample_payouts  # isort: skip

RUNBOOK = ROOT / "RUNBOOK.md"
EXPORTS = "/v1/payments/marketplace-payouts/export"
EXPORT_SECONDS = 120.0
LEAVER = "leaver@acme.example"
# A tenant with a key, an item and a file. Its ID starts with that of the tenant that leaves.
NEIGHBOUR = f"{TENANT}-2"
SAMPLE_ROWS = 3

# The expected output of each block, by heading and number.
PRINTED = {
    ("Life of an export", 1): r"export accepted(?s:.*)acquired the lease(?s:.*)export is READY",
    ("Late exports", 1): r"^\S+\s+Enabled\s+5$(?s:.*)^\d+\s+\d+$",
    ("Stuck export", 1): r"^acme\s+EXPORT#mpo_\S+\s+20\S+Z$",
    ("Stuck export", 2): r'"attempts": \{\s+"N": "1"\s+\}(?s:.*)"message":"acquired the lease"',
    ("Stuck export", 3): r'"code":\s*"FAILED_BY_ADMINISTRATOR"(?s:.*)"requesterMailed":\s*true',
    ("Failed export", 1): r'(?=.*"code":"FAILED_BY_ADMINISTRATOR").*"message":"an administrator failed the export"',
    ("Missing sweeps", 1): r'"reEnqueued":\s*\d+(?s:.*)"errors":\s*0(?s:.*)^\S+\s+ENABLED$',
    ("Sweep errors", 1): r"an export could not be checked(?s:.*)scheduled checks do not name an export",
    ("Dead letters", 1): r'"Body": .*"tenantId\\": \\"acme\\"',
    ("Generator errors", 1): (
        r"message failed(?s:.*)panicked(?s:.*)Task timed out(?s:.*)"
        r"Runtime exited(?s:.*)signal: killed(?s:.*)Runtime exited(?s:.*)exit status 1"
    ),
    ("Server errors", 1): r'"status":"503"(?s:.*)request failed',
    ("Invalid rows", 1): r'"Count": 1',
    ("Revoke an API key", 1): rf'"apiKeys":(?s:.*){LEAVER}(?s:.*)"revokedAt"',
    ("Leaked link", 1): r"^delete: s3://\S+/exports/acme/mpo_\S+$",
    ("Leaked signing key", 1): r"\AInactive\s*\Z",
    ("Restore a table", 1): r"already exists: (?s:.*)DELETING",
    ("E-mail", 1): r'"sending": true(?s:.*)"SendingEnabled": false(?s:.*)"SuppressedDestinationSummaries"',
    ("E-mail", 2): r"\A\s*\Z",
    ("E-mail", 3): r'"SendingEnabled": true',
    ("Off-boarding", 1): rf'"apiKeys":(?s:.*){LEAVER}(?s:.*)"revokedAt"',
    ("Off-boarding", 2): r'"apiKeys":(?s:.*)"code":\s*"FAILED_BY_ADMINISTRATOR"',
    ("Off-boarding", 3): r"^delete: s3://\S+/exports/acme/(?s:.*)^0\n0\n\Z",
    ("Remove a throttled route", 1): r"POST /v1/exports/\{exportId\}/resend-email",
}
# Commands that the emulator does not support, with its error message.
UNSUPPORTED = {
    ("Dead letters", 2): "The action StartMessageMoveTask is not valid for this endpoint",
}


def main() -> int:
    began = time.monotonic()
    passed, skipped, wrong = 0, [], []
    try:
        with Stack.start(report=print) as stack, shell(stack.awsEndpointUrl, stack.region) as reader:
            replacements = prepare(stack)
            setting, *commands = numbered()
            for place, text in commands:
                if place == ("E-mail", 1):
                    pause_mail(stack)
                if place == ("Off-boarding", 1):
                    launch(stack)
                script = filled(text, replacements)
                try:
                    printed = reader.run(f"{setting[1]}\n{script}")
                except CommandError as error:
                    if place in UNSUPPORTED and UNSUPPORTED[place] in str(error):
                        skipped.append(f"{' '.join(map(str, place))}: {UNSUPPORTED[place]}")
                    else:
                        wrong.append(f"{place}: {error}")
                    continue
                # A command that the emulator supports by now needs an expected output.
                if not re.search(PRINTED.get(place, "(?!)"), printed, re.MULTILINE):
                    wrong.append(f"{place} prints something else:\n{printed}")
                    continue
                passed += 1
            if (left := left_after_off_boarding(stack)) != {NEIGHBOUR: 3, TENANT: SAMPLE_ROWS}:
                wrong.append(f"off-boarding leaves other data than the neighbour's and the source rows: {left}")
            wrong += [f"{place}: not in the runbook" for place in {*PRINTED, *UNSUPPORTED} - {p for p, _ in commands}]
            restore = filled(dict(commands)["Restore a table", 1], replacements)
            failing = restore.replace("aws dynamodb scan", "false")
            assert failing != restore
            with contextlib.suppress(CommandError):
                # As in a reader's shell, which has only the runbook's own options.
                reader.run(f"set +o pipefail\n{setting[1]}\n{failing}")
                wrong.append("a restored table that cannot be read does not fail the commands")
            restored = f"{stack.exportsTable}-restored"
            if restored not in stack.client("dynamodb").list_tables()["TableNames"]:
                wrong.append("a restored table that cannot be read is deleted")
    except (StackError, EmulatorError, AssertionError) as error:
        wrong.append(str(error))
    for problem in wrong:
        print(problem)
    # tests/run parses these lines like pytest's last lines.
    for reason in skipped:
        print(f"SKIPPED [1] {reason}")
    print(f"= {passed} passed, {len(wrong)} failed, {len(skipped)} skipped in {time.monotonic() - began:.1f}s =")
    return 1 if wrong else 0


def filled(text: str, replacements: list[tuple[str, str]]) -> str:
    """The commands with values in place of the runbook's placeholders."""
    for pattern, value in replacements:
        text = re.sub(pattern, value, text, flags=re.MULTILINE)
    return text


def numbered() -> list[tuple[tuple[str, int], str]]:
    """The runbook's blocks, each with its heading and its number under that heading."""
    found: list[tuple[tuple[str, int], str]] = []
    for block in blocks(RUNBOOK):
        number = 1 + sum(heading == block.heading for (heading, _), _ in found)
        found.append(((block.heading, number), block.text))
    return found


def prepare(stack: Stack) -> list[tuple[str, str]]:
    """Sets up the problems. Returns patterns of the runbook's placeholders with their values."""
    rows = list(itertools.islice(sample_payouts.rows(TENANT), SAMPLE_ROWS))
    stack.put_payouts(TENANT, rows)
    stack.issue_key(NEIGHBOUR, "ann@neighbour.example")
    record = {"tenantId": {"S": NEIGHBOUR}, "sk": {"S": "EXPORT#1"}}
    stack.client("dynamodb").put_item(TableName=stack.exportsTable, Item=record)
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"exports/{NEIGHBOUR}/1/file.csv", Body=b"")
    leaked = launch(stack)
    leaked_record = {
        "TableName": stack.exportsTable,
        "Key": {"tenantId": {"S": TENANT}, "sk": {"S": f"EXPORT#{leaked}"}},
    }
    launch_request = item_of(stack, leaked_record)["launchRequestId"]["S"]
    until(lambda: call(stack, "GET", f"{EXPORTS}/{leaked}")["status"] == "READY")
    # From now on no link can be signed. The long back-off delays the second attempt until after all commands.
    stack.configure("generate-export", LINK_SIGNER_SECRET="no-such-secret", RETRY_BACKOFF="15m", MAX_ATTEMPTS="99")
    stuck = launch(stack)
    record = {"tenantId": {"S": TENANT}, "sk": {"S": f"EXPORT#{stuck}"}}
    exports = {"TableName": stack.exportsTable, "Key": record}
    until(lambda: "leaseUntil" not in (item := item_of(stack, exports)) and "file" in item)
    body = json.dumps({"version": 1, "tenantId": TENANT, "exportId": leaked})
    stack.client("sqs").send_message(QueueUrl=stack.deadLetterQueueUrl, MessageBody=body)
    log(
        stack,
        "generate-export",
        '{"message":"message failed"}',
        "thread 'main' panicked at",
        "Task timed out after 300.00 s",
        "Error: Runtime exited with error: signal: killed",
        "Error: Runtime exited with error: exit status 1",
    )
    log(stack, "get-export", '{"message":"request failed"}')
    log_to(stack, f"/aws/vendedlogs/http-api/{stack.name}", '{"requestId":"JKJaXmPLvHcESHA=","status":"503"}')
    log(
        stack,
        "sweep-exports",
        '{"message":"an export could not be checked"}',
        '{"message":"scheduled checks do not name an export"}',
    )
    stack.issue_key(TENANT, LEAVER)
    keys = stack.invoke("manage-api-keys", {"action": "list", "tenantId": TENANT})["apiKeys"]
    (leaver,) = (key["keyId"] for key in keys if key["email"] == LEAVER)
    return [
        (r"JKJaXmPLvHcESHA=", launch_request),
        (r"exports/acme/mpo_…", f"exports/acme/{leaked}"),
        (r"mpo_…", stuck),
        (r"po_…", rows[0]["payoutId"]),
        (r'"keyId": "…"', f'"keyId": "{leaver}"'),
        (r"(?<=--restore-date-time )\S+", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
        # The local stack makes the user itself (`_bridge_signer_key`).
        (r"(?<=^signer=)\$\([^)]*\)", f"{stack.name}-link-signer"),
        # Nobody uses a revoked key here. test_revoked_key_is_rejected_everywhere_within_a_minute does.
        (r"(?<=^sleep )60", "0"),
    ]


def left_after_off_boarding(stack: Stack) -> Counter[str]:
    """By tenant, the number of objects and items in the bucket, the tables of this product, and the source table."""
    objects = stack.client("s3").list_objects_v2(Bucket=stack.bucket).get("Contents", [])
    tables = (stack.exportsTable, stack.apiKeysTable, stack.payoutsTable)
    items = [item for table in tables for item in stack.client("dynamodb").scan(TableName=table)["Items"]]
    tenants = [item["tenantId"]["S"] for item in items]
    return Counter([*tenants, *(found["Key"].split("/")[1] for found in objects)])


def pause_mail(stack: Stack) -> None:
    """Pauses sending, after the earlier blocks have sent their e-mails."""
    generator = stack.client("lambda").get_function_configuration(FunctionName=stack.functions["generate-export"])
    variables = generator["Environment"]["Variables"]
    stack.client("sesv2").put_configuration_set_sending_options(
        ConfigurationSetName=variables["MAIL_CONFIGURATION_SET"], SendingEnabled=False
    )


def item_of(stack: Stack, key: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = stack.client("dynamodb").get_item(**key)["Item"]
    return item


def log(stack: Stack, crate: str, *messages: str) -> None:
    """Writes log lines as if the function had logged them."""
    log_to(stack, f"/aws/lambda/{stack.functions[crate]}", *messages)


def log_to(stack: Stack, group: str, *messages: str) -> None:
    stream = {"logGroupName": group, "logStreamName": "runbook"}
    stack.client("logs").create_log_stream(**stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + n, "message": message} for n, message in enumerate(messages)]
    stack.client("logs").put_log_events(**stream, logEvents=events)


def launch(stack: Stack) -> str:
    return str(call(stack, "POST", EXPORTS)["exportId"])


def call(stack: Stack, method: str, path: str) -> dict[str, Any]:
    headers = {"dj-client": "OPERATOR", "dj-api-key": stack.apiKey}
    request = urllib.request.Request(stack.apiUrl + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        content: dict[str, Any] = json.load(response)
        return content


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + EXPORT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"the expected state is not reached within {EXPORT_SECONDS} s"
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
