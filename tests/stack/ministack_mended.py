"""Starts the emulator (ministack) as strict as AWS (package `strict`), and with seven things mended that cannot be made
up for from outside.

TLS: the emulator speaks plain HTTP, on the loopback interface only, and says so to policies: the template's would deny
every request. Here the loopback counts as a secure transport.

Alarms over an expression: the emulator's CloudFormation refuses them. It gets the first metric of the expression.

Numbers that a template takes from its parameters: the emulator's event source mapping keeps them as text, and then
delivers nothing.

Searching logs for any of several terms (`?one ?"the other"`): the emulator looks for all, question marks included.

The port: the emulator listens on the socket that it inherits.

The mailbox: `?after=N` leaves the first N mails out. The emulator knows only how to show all.

Time: the emulator answers one request at a time. It checks a condition's grammar anew for each item that it looks at, a
quarter of its work; and Python's collector, each time it goes through all that is kept, lets everybody wait for two
seconds.
"""

from __future__ import annotations

import functools
import gc
import os
import shlex
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from awscrt import checksums
from hypercorn.config import Config, Sockets
from ministack import app
from ministack.core import iam_evaluator
from ministack.core.responses import AccountRegionScopedDict
from ministack.services import cloudwatch_logs, dynamodb, lambda_svc, s3, ses
from ministack.services.cloudformation import provisioners

import strict

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
    """Called at the end of each creation and update."""
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


def _inherited_sockets(_: Config) -> Sockets:
    listener = socket.socket(fileno=int(os.environ.pop("STACK_LISTENER")))
    listener.setblocking(False)
    return Sockets([], [listener], [])


if __name__ == "__main__":
    Config.create_sockets = _inherited_sockets
    # The emulator's own is in Python: a few seconds for a part, in which it answers nobody.
    s3._crc64nvme = checksums.crc64nvme
    iam_evaluator._resolve_condition_key = _resolve_condition_key
    provisioners._cw_metric_alarm_record = _record_alarm
    provisioners._lambda_esm_attrs = _mapping_attributes
    cloudwatch_logs._compile_filter_pattern = _compile_pattern
    dynamodb._condition_syntax_error = functools.lru_cache(maxsize=1000)(dynamodb._condition_syntax_error)
    # What is new is collected as ever, and all that is kept a tenth as often.
    new, newer, kept = gc.get_threshold()
    gc.set_threshold(new, newer, 10 * kept)
    ses._sent_emails = _Mailbox()
    strict.enforce()
    app._handle_ses_messages_request = _list_later_mails(app._handle_ses_messages_request)
    app.main()
