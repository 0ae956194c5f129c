"""Finds log lines that contain addresses, names, API keys, links or signing keys, and log lines that are forged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stack import SENDER, Stack

# Any address except the sender, which belongs to the deployment.
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
LINK = re.compile(r"X-Amz-(?:Signature|Credential|Security-Token)|https?://[^\s\"]*\?", re.IGNORECASE)
# API keys and their hashes have this length.
TOKEN = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{64}(?![0-9A-Za-z])")
# Lines that Lambda itself writes.
LAMBDA_LINE = re.compile(
    r"(START RequestId: [\w-]+ Version: \$LATEST|END RequestId: [\w-]+|REPORT RequestId: [\w-]+\t.*"
    r"|INIT_START .*|INIT_REPORT .*|RequestId: [\w-]+ Error: .*|\S+ [\w-]+ Task timed out after [\d.]+ seconds)\s*"
)


@dataclass(frozen=True)
class Secrets:
    """Values of a stack that must not appear in logs."""

    key_hashes: frozenset[str]
    texts: frozenset[str]


def secrets_of(stack: Stack) -> Secrets:
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.apiKeysTable)
    records = [item for page in pages for item in page["Items"]]
    client = stack.client("secretsmanager")
    texts = {item["name"]["S"] for item in records}
    for entry in client.list_secrets()["SecretList"]:
        secret = client.get_secret_value(SecretId=entry["ARN"])["SecretString"]
        texts |= set(json.loads(secret).values()) if secret.startswith("{") else {secret}
    # Shorter texts also occur in ordinary words.
    long_enough = frozenset(text for text in texts if len(text) >= 8)
    return Secrets(frozenset(item["keyHash"]["S"] for item in records), long_enough)


def leaks(lines: Iterable[str], secrets: Secrets) -> Iterator[str]:
    """A description of each line that leaks data or is not a log event."""
    for line in lines:
        found = {address for address in ADDRESS.findall(line) if address != SENDER}
        found |= set(LINK.findall(line))
        for token in TOKEN.findall(line):
            if {token, hashlib.sha256(token.encode()).hexdigest()} & secrets.key_hashes:
                found.add(token)
        found |= {text for text in secrets.texts if text in line}
        if found:
            yield f"{sorted(found)} in {line.rstrip()}"
        elif not LAMBDA_LINE.fullmatch(line) and not is_event(line):
            yield f"not a log event: {line.rstrip()}"


def is_event(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def in_logs_of(stack: Stack) -> list[str]:
    """The leaks in the logs of all functions of a stack."""
    secrets = secrets_of(stack)
    return [f"{crate}: {leak}" for crate in stack.functions for leak in leaks(stack.logs(crate), secrets)]
