"""Draws the dashboard of a local stack, as deployed from template.yaml, with the metrics of a run.

    tests/run --update dashboard

In the run, a second stands for a minute: periods are divided by 60, and a sweep runs each second. Tenants launch
exports of every type. For a while the queue is held, exports fail for an invalid row, and one is cancelled. Metrics
come from the functions' logs, as in CloudWatch, and from the queues. The local AWS has no metrics of its own: those of
API Gateway are made from the functions' log lines, and those of SES are missing.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "stack"), str(ROOT / "tests" / "e2e")]

import matplotlib  # noqa: E402, because the path is extended above
from matplotlib import pyplot  # noqa: E402
from PIL import Image  # noqa: E402

import golden  # noqa: E402
import sample_rows  # noqa: E402
from cloudwatch import Metric, Metrics, evaluate, is_raised, statistic  # noqa: E402
from export_types import EXPORT_TYPES  # noqa: E402
from interventions import held_queue, stop_schedule  # noqa: E402
from stack import Stack, resolve  # noqa: E402
from tenant import Tenant, await_quiet  # noqa: E402

PICTURE = ROOT / "tests" / "e2e" / "screenshots" / "dashboard.png"
DRAFT = ROOT / "target" / "dashboard.png"
# How many seconds a second of the run stands for.
SCALE = 60
RUN_SECONDS = 180
HELD = (70, 100)
TENANTS = 4
ROWS = 40
LAUNCH_EVERY = 6
MARKERS = "osD^vPX*"
GREEN, RED = "#1d8102", "#d13212"


def main() -> int:
    with Stack.start(report=print) as stack:
        stop_schedule(stack)
        began = time.time()
        metrics = run(stack)
        span = (began, time.time())
        (entry,) = stack.client("cloudwatch").list_dashboards()["DashboardEntries"]
        body = stack.client("cloudwatch").get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
        alarms = alarms_of(stack)
    draw(json.loads(body)["widgets"], alarms, metrics, span)
    return 0


def alarms_of(stack: Stack) -> dict[str, dict[str, Any]]:
    """The alarms of the template by their deployed names. The emulator does not keep metric math."""
    client = stack.client("cloudformation")
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack.name)
    names = {r["LogicalResourceId"]: r["PhysicalResourceId"] for page in pages for r in page["StackResourceSummaries"]}
    names |= {f"{name}.QueueName": value.rpartition("/")[2] for name, value in names.items()}
    (deployed,) = client.describe_stacks(StackName=stack.name)["Stacks"]
    names |= {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in deployed["Parameters"]}
    template = client.get_template(StackName=stack.name, TemplateStage="Processed")["TemplateBody"]
    alarms = {n: r["Properties"] for n, r in template["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    return {names[name]: {"Name": name, **resolve(alarm, names)} for name, alarm in alarms.items()}


# ------------------------------------------------------------------------------------------------------------ the run


def run(stack: Stack) -> Metrics:
    metrics, ended = Metrics(), threading.Event()
    tenants = [Tenant(stack, f"dashboard-{number}") for number in range(TENANTS)]
    for number, tenant in enumerate(tenants, start=1):
        for export_type in EXPORT_TYPES:
            stack.put_rows(export_type, tenant.id, sample_rows.rows(export_type, tenant.id, ROWS * number))
    waiting_since: dict[str, float] = {}
    threads = [
        threading.Thread(target=repeat, args=(ended, 1, stack.sweep)),
        threading.Thread(target=repeat, args=(ended, 1, lambda: measure_queues(stack, metrics, waiting_since))),
        *(threading.Thread(target=launches, args=(ended, tenant, n)) for n, tenant in enumerate(tenants)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(HELD[0])
    with held_queue(stack):
        cancel_one(tenants[0])
        time.sleep(HELD[1] - HELD[0])
    add_invalid_row(tenants[-1])
    time.sleep(RUN_SECONDS - HELD[1])
    ended.set()
    for thread in threads:
        thread.join()
    await_quiet(stack)
    add_logs(stack, metrics)
    return metrics


def repeat(ended: threading.Event, seconds: float, action: Callable[[], object]) -> None:
    while not ended.wait(seconds):
        action()


def launches(ended: threading.Event, tenant: Tenant, number: int) -> None:
    """Launches exports of all types in turn. Rejected while one of the type is pending."""
    turn = number
    while not ended.wait(LAUNCH_EVERY):
        tenant.post(export_type=EXPORT_TYPES[turn % len(EXPORT_TYPES)])
        turn += 1


def cancel_one(tenant: Tenant) -> None:
    """Cancels the first export that waits in the held queue."""
    while (export_id := tenant.lock()) is None:
        tenant.post()
    assert tenant.call("POST", f"/v1/exports/{export_id}/cancel").status == 200


def add_invalid_row(tenant: Tenant) -> None:
    """Makes a row invalid. Every later export of its type fails."""
    export_type = EXPORT_TYPES[1]
    (row,) = sample_rows.rows(export_type, tenant.id, 1)
    tenant.stack.put_rows(export_type, tenant.id, [{**row, "status": "UNKNOWN"}])


def measure_queues(stack: Stack, metrics: Metrics, waiting_since: dict[str, float]) -> None:
    """The metrics of the queues. The local AWS has no age of the oldest message: it is counted since none waited."""
    now = time.time()
    for url in (stack.jobsQueueUrl, stack.deadLetterQueueUrl):
        asked = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=asked)["Attributes"]
        visible, invisible = (float(found[name]) for name in asked)
        waiting_since[url] = waiting_since.get(url, now) if visible else now
        names = ("NumberOfMessagesVisible", "NumberOfMessagesNotVisible", "AgeOfOldestMessage")
        for name, value in zip(names, (visible, invisible, now - waiting_since[url]), strict=True):
            metrics.add(Metric.of("AWS/SQS", f"Approximate{name}", {"QueueName": url.rpartition("/")[2]}), now, value)


def add_logs(stack: Stack, metrics: Metrics) -> None:
    """The functions' own metrics, Lambda's, and API Gateway's, from the logs."""
    (api,) = stack.client("apigatewayv2").get_apis()["Items"]
    for function in stack.functions.values():
        pages = stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}")
        for event in (event for page in pages for event in page["events"]):
            text, seconds = event["message"], event["timestamp"] / 1000
            line = json.loads(text) if text.startswith("{") else {}
            if "_aws" in line:
                metrics.add_embedded(line)
            if "route" in line:
                status = line["status"] // 100
                for name, value in (("Count", 1.0), ("4xx", float(status == 4)), ("5xx", float(status == 5))):
                    metrics.add(Metric.of("AWS/ApiGateway", name, {"ApiId": api["ApiId"]}), seconds, value)
            if text.startswith("REPORT"):
                failed = float("Status:" in text)
                (duration,) = re.findall(r"\tDuration: ([\d.]+) ms", text)
                values = {"Invocations": 1.0, "Errors": failed, "Throttles": 0.0, "Duration": float(duration)}
                for name, value in values.items():
                    metrics.add(Metric.of("AWS/Lambda", name, {"FunctionName": function}), seconds, value)


# --------------------------------------------------------------------------------------------------------- the picture


def draw(
    widgets: list[dict[str, Any]], alarms: dict[str, dict[str, Any]], metrics: Metrics, span: tuple[float, float]
) -> None:
    matplotlib.rcParams.update({"font.size": 7})
    rows = max(widget["y"] + widget["height"] for widget in widgets)
    figure = pyplot.figure(figsize=(14, rows * 0.46), dpi=100)
    for widget in widgets:
        properties = widget["properties"]
        left, width = widget["x"] / 24, widget["width"] / 24
        height = widget["height"] / rows
        bottom = 1 - widget["y"] / rows - height
        figure.text(left + 0.01, bottom + height * 0.97, properties["title"], weight="bold", size=8, va="top")
        # Below the graph are its times and the legend.
        graph = (left + 0.025, bottom + height * 0.28, width - 0.045, height * 0.6)
        is_graph = properties.get("view") == "timeSeries"
        axes = figure.add_axes(graph if is_graph else (left, bottom, width, height * 0.8))
        if widget["type"] == "alarm":
            draw_alarms(axes, [alarms[arn.rpartition(":")[2]] for arn in properties["alarms"]], metrics, span)
        elif properties["view"] == "singleValue":
            draw_numbers(axes, properties, metrics, span)
        else:
            draw_lines(axes, properties, metrics, span)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    path = PICTURE if golden.IS_UPDATE else DRAFT
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"drawn: {path.relative_to(ROOT)}")


def draw_alarms(axes: Any, alarms: list[dict[str, Any]], metrics: Metrics, span: tuple[float, float]) -> None:
    """A field for each alarm, red if it was raised at the end of the run."""
    axes.axis("off")
    columns = 5
    for place, alarm in enumerate(alarms):
        row, column = divmod(place, columns)
        is_red = raised(alarm, metrics, span[1])
        text = f"{alarm['Name']}: {'ALARM' if is_red else 'OK'}"
        box = {"boxstyle": "round,pad=0.6", "facecolor": RED if is_red else GREEN, "edgecolor": "none"}
        axes.text((column + 0.5) / columns, 0.85 - row * 0.38, text, ha="center", va="center", color="white", bbox=box)


def raised(alarm: dict[str, Any], metrics: Metrics, now: float) -> bool:
    """Whether an alarm is raised, by its definition."""

    def stat(query: dict[str, Any], name: str, period: float, end: float) -> float | None:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in query["Dimensions"]}
        metric = Metric.of(query["Namespace"], query["MetricName"], dimensions)
        return statistic(name, metrics.between(metric, end - period, end))

    periods = range(alarm["EvaluationPeriods"])
    if "MetricName" in alarm:
        seconds = alarm["Period"] / SCALE
        return is_raised(alarm, [stat(alarm, alarm["Statistic"], seconds, now - n * seconds) for n in periods])
    stats = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query}
    (expression,) = (query["Expression"] for query in alarm["Metrics"] if query["ReturnData"])
    seconds = next(iter(stats.values()))["Period"] / SCALE
    values = [
        evaluate(
            expression, {id_: stat(s["Metric"], s["Stat"], seconds, now - n * seconds) for id_, s in stats.items()}
        )
        for n in periods
    ]
    return is_raised(alarm, values)


def draw_numbers(axes: Any, properties: dict[str, Any], metrics: Metrics, span: tuple[float, float]) -> None:
    """The statistic of the whole run."""
    axes.axis("off")
    found = list(series(properties, metrics))
    for place, (label, stat, these) in enumerate(found):
        value = statistic(stat, [value for metric in these for value in metrics.between(metric, *span)])
        x = (place + 0.5) / len(found)
        axes.text(x, 0.6, "–" if value is None else f"{value:g}", ha="center", va="center", fontsize=16)
        axes.text(x, 0.15, label, ha="center", va="center")


def draw_lines(axes: Any, properties: dict[str, Any], metrics: Metrics, span: tuple[float, float]) -> None:
    """The statistic of each period. Series without data are named only in the legend."""
    start, end = span
    seconds = properties["period"] / SCALE
    starts = [start + n * seconds for n in range(int((end - start) / seconds) + 1)]
    for place, (label, stat, (metric,)) in enumerate(series(properties, metrics)):
        values = [statistic(stat, metrics.between(metric, at, at + seconds)) for at in starts]
        name = label if any(value is not None for value in values) else f"{label} (no data)"
        # A line has gaps at periods without data.
        heights = [float("nan") if value is None else value for value in values]
        axes.plot([at - start for at in starts], heights, marker=MARKERS[place % len(MARKERS)], ms=3, lw=1, label=name)
    for line in properties.get("annotations", {}).get("horizontal", []):
        axes.axhline(line["value"], color=RED, lw=0.8, ls="--", label=line["label"])
    axes.set_xlim(0, end - start)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter("{x:.0f} min")
    axes.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.13), ncols=4, frameon=False, fontsize=5.5)


def series(properties: dict[str, Any], metrics: Metrics) -> Iterator[tuple[str, str, list[Metric]]]:
    """Label, statistic and metrics of each line. A search is a line for each metric, and a SUM one for all of them."""
    for entry in properties["metrics"]:
        if isinstance(entry[0], str):
            namespace, name, *pairs = (part for part in entry if isinstance(part, str))
            label = entry[-1]["label"] if isinstance(entry[-1], dict) else name
            metric = Metric.of(namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True)))
            yield label, properties["stat"], [metric]
            continue
        expression, label = entry[0]["expression"], entry[0]["label"]
        found = metrics.search(expression)
        (stat,) = re.findall(r"', '(\w+)'", expression)
        if expression.startswith("SUM("):
            yield label, stat, found
            continue
        for metric in found:
            yield labelled(label, dict(metric.dimensions)), stat, [metric]


def labelled(label: str, dimensions: dict[str, str]) -> str:
    return re.sub(r"\$\{PROP\('Dim\.(\w+)'\)\}", lambda name: dimensions[name[1]], label)


if __name__ == "__main__":
    sys.exit(main())
