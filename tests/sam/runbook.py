"""Every command of RUNBOOK.md, run as it stands there against a local stack that has what the runbook is for.

That is an export that does not get on, one whose link leaked, a dead letter, a payout, a key, a table to restore, and
log lines of failures.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from commands import ROOT, CommandError, blocks, shell

from stack import TENANT, EmulatorError, Stack, StackError  # isort: skip

import sample_payouts  # isort: skip

RUNBOOK = ROOT / "RUNBOOK.md"
EXPORTS = "/v1/payments/marketplace-payouts/export"
EXPORT_SECONDS = 120.0
LEAVER = "leaver@acme.example"

# By heading and number of a block: what it prints.
PRINTED = {
    ("An export that is stuck", 1): r"^acme\s+EXPORT#mpo_\S+\s+20\S+Z$",
    ("An export that is stuck", 2): r'"tries": \{\s+"N": "1"\s+\}(?s:.*)"message":"took the work"',
    ("An export that is stuck", 3): r'"code":\s*"ENDED_BY_ADMINISTRATOR"(?s:.*)"requesterTold":\s*true',
    ("An export that failed", 1): r'"message":\s*"export ended by an administrator"',
    ("No sweep", 1): r'"errors":\s*0(?s:.*)^\S+\s+ENABLED$',
    ("Dead letters", 1): r'"Body": .*"tenantId\\": \\"acme\\"',
    ("The generator fails", 1): r"panicked(?s:.*)Task timed out(?s:.*)signal: killed",
    ("Requests fail", 1): r"request failed",
    ("A payout that cannot be written", 1): r'"Count": 1',
    ("A key to revoke", 1): rf'"apiKeys":(?s:.*){LEAVER}(?s:.*)"revokedAt"',
    ("A link that leaked", 1): r"^delete: s3://\S+/exports/acme/mpo_\S+$",
    ("A table to restore", 1): r"there already: (?s:.*)DELETING",
    ("Mail", 1): r'"sending": true(?s:.*)"SendingEnabled": false(?s:.*)"SuppressedDestinationSummaries"',
    ("Mail", 2): r"\A\s*\Z",
    ("Mail", 3): r'"SendingEnabled": true',
    ("A throttled route to remove", 1): r"POST /v1/exports/\{exportId\}/resend-email",
}
# What the local AWS does not know, and how it says so: not a word of it is about the command.
NOT_KNOWN = {
    ("Dead letters", 2): "The action StartMessageMoveTask is not valid for this endpoint",
}


def main() -> int:
    began = time.monotonic()
    passed, skipped, wrong = 0, [], []
    try:
        with Stack.start(report=print) as stack, shell(stack.awsEndpointUrl, stack.region) as reader:
            words = prepared(stack)
            setting, *commands = numbered()
            for place, text in commands:
                if place == ("Mail", 1):
                    pause_mail(stack)
                script = text
                for pattern, word in words:
                    script = re.sub(pattern, word, script)
                try:
                    printed = reader.run(f"{setting[1]}\n{script}")
                except CommandError as error:
                    if place in NOT_KNOWN and NOT_KNOWN[place] in str(error):
                        skipped.append(f"{' '.join(map(str, place))}: {NOT_KNOWN[place]}")
                    else:
                        wrong.append(f"{place}: {error}")
                    continue
                # What the local AWS has learned meanwhile is to be listed with what it prints.
                if not re.search(PRINTED.get(place, "(?!)"), printed, re.MULTILINE):
                    wrong.append(f"{place} prints something else:\n{printed}")
                    continue
                passed += 1
            wrong += [f"{place}: not in the runbook" for place in {*PRINTED, *NOT_KNOWN} - {p for p, _ in commands}]
    except (StackError, EmulatorError, AssertionError) as error:
        wrong.append(str(error))
    for complaint in wrong:
        print(complaint)
    # Read by tests/run as pytest's last lines would be.
    for reason in skipped:
        print(f"SKIPPED [1] {reason}")
    print(f"= {passed} passed, {len(wrong)} failed, {len(skipped)} skipped in {time.monotonic() - began:.1f}s =")
    return 1 if wrong else 0


def numbered() -> list[tuple[tuple[str, int], str]]:
    """The runbook's blocks, each with its heading and its number below that."""
    found: list[tuple[tuple[str, int], str]] = []
    for block in blocks(RUNBOOK):
        number = 1 + sum(heading == block.heading for (heading, _), _ in found)
        found.append(((block.heading, number), block.text))
    return found


def prepared(stack: Stack) -> list[tuple[str, str]]:
    """What stands in the runbook for a name, as a pattern, and the name that it has here."""
    rows = list(itertools.islice(sample_payouts.rows(TENANT), 3))
    stack.put_payouts(TENANT, rows)
    leaked = launch(stack)
    until(lambda: call(stack, "GET", f"{EXPORTS}/{leaked}")["status"] == "READY")
    # From now on no link can be signed. The second attempt comes after all commands, however slow this machine is.
    stack.configure("generate-export", LINK_SIGNER_SECRET="no-such-secret", RETRY_BACKOFF="15m", MAX_TRIES="99")
    stuck = launch(stack)
    record = {"tenantId": {"S": TENANT}, "sk": {"S": f"EXPORT#{stuck}"}}
    exports = {"TableName": stack.exportsTable, "Key": record}
    until(lambda: "leaseUntil" not in (item := item_of(stack, exports)) and "file" in item)
    body = json.dumps({"version": 1, "tenantId": TENANT, "exportId": leaked})
    stack.client("sqs").send_message(QueueUrl=stack.deadLetterQueueUrl, MessageBody=body)
    tell(stack, "generate-export", "thread 'main' panicked at", "Task timed out after 300.00 s", "signal: killed")
    tell(stack, "get-export", '{"message":"request failed"}')
    stack.issue_key(TENANT, LEAVER)
    keys = stack.invoke("manage-api-keys", {"action": "list", "tenantId": TENANT})["apiKeys"]
    (leaver,) = (key["keyId"] for key in keys if key["email"] == LEAVER)
    return [
        (r"exports/acme/mpo_…", f"exports/acme/{leaked}"),
        (r"mpo_…", stuck),
        (r"po_…", rows[0]["payoutId"]),
        (r'"keyId": "…"', f'"keyId": "{leaver}"'),
        (r"(?<=--restore-date-time )\S+", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
    ]


def pause_mail(stack: Stack) -> None:
    """Pauses the stack's mails: not before the blocks above have sent theirs."""
    generator = stack.client("lambda").get_function_configuration(FunctionName=stack.functions["generate-export"])
    variables = generator["Environment"]["Variables"]
    stack.client("sesv2").put_configuration_set_sending_options(
        ConfigurationSetName=variables["MAIL_CONFIGURATION_SET"], SendingEnabled=False
    )


def item_of(stack: Stack, key: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = stack.client("dynamodb").get_item(**key)["Item"]
    return item


def tell(stack: Stack, crate: str, *messages: str) -> None:
    """Log lines of a function, as if it had told them."""
    place = {"logGroupName": f"/aws/lambda/{stack.functions[crate]}", "logStreamName": "told"}
    stack.client("logs").create_log_stream(**place)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + n, "message": message} for n, message in enumerate(messages)]
    stack.client("logs").put_log_events(**place, logEvents=events)


def launch(stack: Stack) -> str:
    return str(call(stack, "POST", EXPORTS)["exportId"])


def call(stack: Stack, method: str, path: str) -> dict[str, Any]:
    headers = {"dj-client": "OPERATOR", "dj-api-key": stack.apiKey}
    request = urllib.request.Request(stack.apiUrl + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: dict[str, Any] = json.load(answer)
        return content


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + EXPORT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"what the runbook is for does not come about within {EXPORT_SECONDS} s"
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
