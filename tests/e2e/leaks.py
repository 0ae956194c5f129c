"""What no log may hold: addresses, names, API keys, links and what signs them. And what no log line may be: forged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stack import SENDER, Stack

# Any address, whoever's it is. The sender is the deployment's own, and may be named.
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
LINK = re.compile(r"X-Amz-(?:Signature|Credential|Security-Token)|https?://[^\s\"]*\?", re.IGNORECASE)
# The length of keys and of their hashes.
TOKEN = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{64}(?![0-9A-Za-z])")
# What the runtime itself writes, whatever a function does.
OF_LAMBDA = re.compile(
    r"(START RequestId: [\w-]+ Version: \$LATEST|END RequestId: [\w-]+|REPORT RequestId: [\w-]+\t.*"
    r"|INIT_START .*|INIT_REPORT .*|RequestId: [\w-]+ Error: .*|\S+ [\w-]+ Task timed out after [\d.]+ seconds)\s*"
)


@dataclass(frozen=True)
class Known:
    """What a stack has that no log may hold as it is."""

    key_hashes: frozenset[str]
    texts: frozenset[str]


def known_of(stack: Stack) -> Known:
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.apiKeysTable)
    records = [item for page in pages for item in page["Items"]]
    secrets = stack.client("secretsmanager")
    texts = {item["name"]["S"] for item in records}
    for entry in secrets.list_secrets()["SecretList"]:
        secret = secrets.get_secret_value(SecretId=entry["ARN"])["SecretString"]
        texts |= set(json.loads(secret).values()) if secret.startswith("{") else {secret}
    # Shorter ones are parts of ordinary words.
    long_enough = frozenset(text for text in texts if len(text) >= 8)
    return Known(frozenset(item["keyHash"]["S"] for item in records), long_enough)


def leaks(lines: Iterable[str], known: Known) -> Iterator[str]:
    """What is wrong with each line, if something is."""
    for line in lines:
        found = {address for address in ADDRESS.findall(line) if address != SENDER}
        found |= set(LINK.findall(line))
        for token in TOKEN.findall(line):
            if {token, hashlib.sha256(token.encode()).hexdigest()} & known.key_hashes:
                found.add(token)
        found |= {text for text in known.texts if text in line}
        if found:
            yield f"{sorted(found)} in {line.rstrip()}"
        elif not OF_LAMBDA.fullmatch(line) and not is_event(line):
            yield f"no log event: {line.rstrip()}"


def is_event(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def of_stack(stack: Stack) -> list[str]:
    """What is wrong with the logs of all functions of a stack so far."""
    known = known_of(stack)
    return [f"{crate}: {leak}" for crate in stack.functions for leak in leaks(stack.logs(crate), known)]
