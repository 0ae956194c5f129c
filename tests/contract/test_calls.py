"""The list of the calls to AWS: which function of the code sends what, where it is recorded, and who may send it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from roles import CRATES, ROOT, SENDER, SIGNER, Deployment, calls, principal
from wire import GOLDEN, TIME_OUTS, Request, requests

TABLE = Path(__file__).with_name("results") / "calls.md"
HEAD = """# Calls to AWS

Written by `tests/run --update contract` from [the recorded requests](../../../shared/aws/golden/wire), and compared at
each run. *Call* is the function of `shared/aws` that sends the request, *rights* what AWS checks for it. *Time-outs*
are those of a connection, of the first byte, of one attempt, and of all of them; the last number counts the attempts.

| call | operation | recorded | rights | functions | time-outs |
|---|---|---|---|---|---|
"""


def rows() -> list[str]:
    time_outs = json.loads((GOLDEN / TIME_OUTS).read_text(encoding="utf-8"))
    groups: dict[tuple[str, str, str], list[Request]] = {}
    for request in requests():
        groups.setdefault((request.service, request.operation, request.site), []).append(request)
    lines = []
    for (service, operation, site), group in sorted(groups.items()):
        goldens = sorted({request.golden for request in group})
        links = ", ".join(f"[{name.removesuffix('.json')}](../../../shared/aws/golden/wire/{name})" for name in goldens)
        senders = [crate for crate in [*CRATES, SIGNER] if any(request in calls(crate) for request in group)]
        assert senders, f"{site}: no function calls it"
        rights = sorted({right for request in group for who in senders for right in rights_of(request, who)})
        patience = time_outs.get(f"{site} ({service}:{operation})")
        waits = " / ".join(str(patience[name] or "–") for name in PATIENCE) if patience else ""
        lines.append(
            f"| `{site}` | {service}:{operation} | {links} | {', '.join(rights)} | {', '.join(senders)} | {waits} |"
        )
    return lines


PATIENCE = ("connect", "read", "attempt", "all attempts", "attempts")


def rights_of(request: Request, sender: str) -> set[str]:
    """The rights that a request needs, as the sender's role has them."""
    deployment = Deployment(SENDER)
    allowed = deployment.allowed(principal(sender))
    covering = {allow for right in deployment.rights(sender, request) for allow in allowed if allow.covers(right)}
    return {f"{right.action} on {right.resource.rpartition(':')[2]}" for right in covering}


def test_list_of_calls_is_the_one_that_is_stored() -> None:
    now = HEAD + "".join(f"{row}\n" for row in rows())
    if os.environ.get("UPDATE_GOLDENS") == "1":
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(now, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == now, "tests/run --update contract writes what is true now"


def test_only_one_crate_calls_aws() -> None:
    """What is recorded are the requests of shared/aws: another crate with a client would have none."""
    manifests = [*(ROOT / "functions").glob("*/Cargo.toml"), *(ROOT / "shared").glob("*/Cargo.toml")]
    callers = {
        manifest.parent.name
        for manifest in manifests
        if re.search(r"^aws-", manifest.read_text(encoding="utf-8").partition("[dev-dependencies]")[0], re.MULTILINE)
    }
    assert callers == {"aws"}
