"""Starts the emulator (ministack) with the strict rules of the package `strict` and with these patches.

TLS: the emulator serves plain HTTP on the loopback interface, and the template's policies deny requests without TLS.
The patch evaluates aws:SecureTransport as true.

Metric math alarms: the emulator's CloudFormation rejects them. The patch passes the first metric of the expression.

Numeric parameters: the emulator's event source mapping stores them as text and then delivers nothing. The patch
converts them.

Log filters for any of several terms (`?one ?"the other"`): the emulator searches for all terms, including the question
marks.

Port: the emulator listens on a socket that it inherits.

Mailbox: `?after=N` omits the first N mails. The emulator always returns all.

Speed: the emulator handles one request at a time. It parses a condition again for each item, which is a quarter of its
work, and a full garbage collection blocks all requests for two seconds. The patch caches the former and makes the
latter rare.
"""

from __future__ import annotations

import functools
import gc
import os
import shlex
import socket
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from awscrt import checksums
from hypercorn.config import Config, Sockets
from ministack import app
from ministack.core import iam_evaluator
from ministack.core.responses import AccountRegionScopedDict
from ministack.services import cloudwatch_logs, dynamodb, lambda_svc, s3, ses
from ministack.services.cloudformation import provisioners

import strict
from recorder import recorded

_resolve_other = iam_evaluator._resolve_condition_key


def _resolve_condition_key(key: str, context: Any) -> Any:
    return "true" if key.lower() == "aws:securetransport" else _resolve_other(key, context)


_record_plain_alarm = provisioners._cw_metric_alarm_record


def _record_alarm(name: str, properties: dict[str, Any]) -> Any:
    queries = properties.get("Metrics") or []
    stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
    if stats:
        properties = {key: value for key, value in properties.items() if key != "Metrics"}
        properties |= {**stats[0]["Metric"], "Statistic": stats[0]["Stat"], "Period": stats[0]["Period"]}
    return _record_plain_alarm(name, properties)


_numbered_mapping = provisioners._lambda_esm_attrs


def _mapping_attributes(mapping_id: str) -> Any:
    """Called at the end of every creation and update."""
    if scaling := lambda_svc._esms[mapping_id].get("ScalingConfig"):
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
    return _numbered_mapping(mapping_id)


_compile_other = cloudwatch_logs._compile_filter_pattern


def _compile_pattern(raw: str) -> Callable[[str], bool]:
    if not raw.startswith("?"):
        return _compile_other(raw)
    terms = [term.removeprefix("?") for term in shlex.split(raw)]
    return lambda message: any(term in message for term in terms)


_after: ContextVar[int] = ContextVar("after", default=0)


class _Mailbox(AccountRegionScopedDict):
    __slots__ = ()

    def to_dict(self) -> dict[Any, Any]:
        return {key: mails[_after.get() :] for key, mails in super().to_dict().items()}


def _list_later_mails(list_mails: Callable[..., Any]) -> Callable[..., Any]:
    async def list_later(method: str, path: str, headers: dict[str, str], query: dict[str, list[str]]) -> Any:
        _after.set(int(query.get("after", ["0"])[0]))
        return await list_mails(method, path, headers, query)

    return list_later


def _inherited_sockets(self: Config) -> Sockets:
    listener = socket.socket(fileno=int(os.environ.pop("STACK_LISTENER")))
    listener.setblocking(False)
    return Sockets([], [listener], [])


if __name__ == "__main__":
    Config.create_sockets = _inherited_sockets  # type: ignore[method-assign]
    # The emulator's implementation is pure Python and blocks for seconds per part.
    s3._crc64nvme = checksums.crc64nvme
    iam_evaluator._resolve_condition_key = _resolve_condition_key
    provisioners._cw_metric_alarm_record = _record_alarm
    provisioners._lambda_esm_attrs = _mapping_attributes
    cloudwatch_logs._compile_filter_pattern = _compile_pattern
    dynamodb._condition_syntax_error = functools.lru_cache(maxsize=1000)(dynamodb._condition_syntax_error)
    # Full collections become ten times rarer, and skip the modules.
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 10 * old)
    gc.freeze()
    ses._sent_emails = _Mailbox()
    app._handle_ses_messages_request = _list_later_mails(app._handle_ses_messages_request)
    strict.enforce()
    app.app = recorded(app.app, Path(os.environ.pop("CALLS_FILE")))
    app.main()
