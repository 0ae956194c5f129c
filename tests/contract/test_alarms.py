"""Every alarm and every graph looks at a metric that exists: one that the functions tell, in the very form of its
golden line, or one that AWS documents, with the dimensions that it has there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from emitted import FUNCTIONS, METRICS, codes_of_constructors, emitters, failures, linked, sources

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
ALARMS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
# telemetry's own test holds these lines to what it writes, and tests/e2e/test_metrics.py the functions to both.
GOLDEN = [json.loads(line) for line in (ROOT / "shared/telemetry/golden/metrics.jsonl").read_text().splitlines()]

# AWS's own metrics, as their services' documentation has them: by namespace, the dimension and the names.
OF_AWS = {
    "AWS/SQS": ("QueueName", {"ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"}),
    "AWS/Lambda": ("FunctionName", {"Invocations", "Errors", "Throttles", "Duration"}),
    "AWS/ApiGateway": ("ApiId", {"Count", "4xx", "5xx"}),
    "AWS/SES": ("ses:configuration-set", {"Send", "Bounce", "Complaint"}),
}
# Which resource a dimension's value must be a reference to.
REFERRED = {
    "QueueName": "AWS::SQS::Queue",
    "FunctionName": "AWS::Serverless::Function",
    "ApiId": "AWS::Serverless::HttpApi",
    "ses:configuration-set": "AWS::SES::ConfigurationSet",
}


@dataclass(frozen=True)
class Told:
    """A metric that the functions tell."""

    namespace: str
    unit: str
    dimensions: tuple[tuple[str, ...], ...]


def told() -> dict[str, Told]:
    return {
        metric["Name"]: Told(directive["Namespace"], metric["Unit"], tuple(map(tuple, directive["Dimensions"])))
        for line in GOLDEN
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


def crate(function: str) -> str:
    """Which crate a function's logical id stands for."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", function.removesuffix("Function")).lower()


def referred(value: Any) -> str:
    """The logical id that a dimension's value refers to."""
    if "Ref" in value:
        return str(value["Ref"])
    name, attribute = value["Fn::GetAtt"]
    assert attribute == "QueueName"
    return str(name)


def metrics_of(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics of an alarm, each with its namespace, name, dimensions and unit."""
    if "MetricName" in alarm:
        yield alarm
    for query in alarm.get("Metrics", []):
        if "MetricStat" in query:
            yield {**query["MetricStat"]["Metric"], "Unit": query["MetricStat"].get("Unit")}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_looks_at_a_metric_that_is_told(name: str) -> None:
    metrics = list(metrics_of(ALARMS[name]))
    assert metrics
    for metric in metrics:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
        if metric["Namespace"] in OF_AWS:
            dimension, known = OF_AWS[metric["Namespace"]]
            assert metric["MetricName"] in known
            assert dimensions.keys() == {dimension}
        else:
            ours = told()[metric["MetricName"]]
            assert metric["Namespace"] == ours.namespace
            assert tuple(dimensions) in ours.dimensions
            # An alarm with another unit than the metric's never sees it.
            assert metric["Unit"] == ours.unit
            assert crate(referred(dimensions["FunctionName"])) in emitters()[metric["MetricName"]]
            dimensions.pop("Code", None)
        for dimension, value in dimensions.items():
            assert RESOURCES[referred(value)]["Type"] == REFERRED[dimension]


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_says_what_to_do_and_tells_its_topic(name: str) -> None:
    alarm = ALARMS[name]
    assert len(alarm["AlarmDescription"]) > 80
    assert re.search(r"\b(read|find|see|mend|look|invoke)\b", alarm["AlarmDescription"], re.IGNORECASE)
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    # What happens where nothing is measured is decided, not left to a default.
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")


@pytest.mark.parametrize("name", [name for name in ALARMS if "Metrics" in ALARMS[name]])
def test_alarm_over_an_expression_names_the_metrics_it_has_and_returns_one_series(name: str) -> None:
    queries = {query["Id"]: query for query in ALARMS[name]["Metrics"]}
    (returned,) = (query for query in queries.values() if query["ReturnData"])
    words = set(re.findall(r"\b[a-z]\w*", returned["Expression"]))
    assert words == queries.keys() - {returned["Id"]}
    # What CloudWatch takes of an alarm (User Guide, "Limits that apply to alarms based on metric math expressions").
    assert len(words) <= 10
    assert "SEARCH" not in returned["Expression"]
    periods = {query["MetricStat"]["Period"] for query in queries.values() if "MetricStat" in query}
    assert len(periods) == 1


def test_runbook_has_a_place_for_every_alarm() -> None:
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| \[(.*)\]\((#.*)\) \|$", runbook, re.MULTILINE)
    named = [alarm for alarms, _, _ in rows for alarm in re.findall(r"`(\w+)`", alarms)]
    assert sorted(named) == sorted(ALARMS)
    for _, title, anchor in rows:
        assert f"\n## {title}\n" in runbook
        assert anchor == "#" + title.lower().replace(" ", "-")


def test_alarm_address_alone_decides_whether_anybody_is_mailed() -> None:
    subscription = RESOURCES["AlarmSubscription"]
    assert TEMPLATE["Conditions"][subscription["Condition"]] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmAddress"}, ""]}]
    }
    expected = {"TopicArn": {"Ref": "AlarmTopic"}, "Protocol": "email", "Endpoint": {"Ref": "AlarmAddress"}}
    assert subscription["Properties"] == expected


def test_generators_time_out_alarm_lies_between_handing_over_and_the_end() -> None:
    time_out = RESOURCES["GenerateExportFunction"]["Properties"]["Timeout"]
    source = (ROOT / "functions/generate-export/src/main.rs").read_text(encoding="utf-8")
    (hand_over,) = re.findall(r'"HAND_OVER_BEFORE", Duration::from_secs\((\d+)\)', source)
    assert time_out - int(hand_over) < ALARMS["GeneratorTimeOutAlarm"]["Threshold"] / 1000 < time_out


def test_generators_errors_alarm_lets_one_exports_tries_pass_and_sees_them_used_up() -> None:
    alarm = ALARMS["GeneratorErrorsAlarm"]
    source = (ROOT / "shared/domain/src/lifecycle.rs").read_text(encoding="utf-8")
    (most,) = re.findall(r"MOST: u32 = (\d+)", source)
    assert 1 < alarm["Threshold"] < int(most)


def test_pending_alarm_comes_after_a_whole_invocation_and_before_the_deadline() -> None:
    parameter = TEMPLATE["Parameters"]["PendingAlarmSeconds"]
    time_out = RESOURCES["GenerateExportFunction"]["Properties"]["Timeout"]
    assert ALARMS["OldestPendingAlarm"]["Threshold"] == {"Ref": "PendingAlarmSeconds"}
    assert time_out < parameter["MinValue"] <= parameter["Default"]
    assert TEMPLATE["Parameters"]["ExportDeadline"]["Default"] == "6h"
    assert parameter["Default"] < 6 * 3600


def test_missing_sweeps_alarm_takes_silence_for_a_fault_after_several_sweeps_were_due() -> None:
    alarm = ALARMS["SweepMissingAlarm"]
    event = RESOURCES["SweepExportsFunction"]["Properties"]["Events"]["EveryMinute"]["Properties"]
    assert event["ScheduleExpression"] == "rate(1 minute)"
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "SampleCount", "LessThanThreshold", 1,
    )  # fmt: skip
    assert alarm["Period"] * alarm["EvaluationPeriods"] >= 3 * 60


def test_mails_events_become_the_metrics_that_the_alarms_look_at() -> None:
    destination = RESOURCES["MailEvents"]["Properties"]
    assert destination["ConfigurationSetName"] == {"Ref": "MailConfigurationSet"}
    events = destination["EventDestination"]
    assert events["Enabled"] is True
    assert {name.lower() for name in OF_AWS["AWS/SES"][1]} <= set(events["MatchingEventTypes"])
    (dimension,) = events["CloudWatchDestination"]["DimensionConfigurations"]
    assert dimension["DimensionName"] == OF_AWS["AWS/SES"][0]


def test_failed_exports_are_watched_by_one_alarm_and_invalid_rows_by_another() -> None:
    watched = {
        name: [
            (crate(referred(dimensions["FunctionName"])), dimensions["Code"])
            for metric in metrics_of(alarm)
            if metric["MetricName"] == "ExportsFailed"
            for dimensions in [{d["Name"]: d["Value"] for d in metric["Dimensions"]}]
        ]
        for name, alarm in ALARMS.items()
    }
    others, invalid = watched.pop("FailedExportsAlarm"), watched.pop("InvalidRowsAlarm")
    assert not any(watched.values())
    assert invalid == [("generate-export", "PAYOUTS_NOT_WRITABLE")]
    assert sorted(others + invalid) == sorted(failures())
    assert 0 == ALARMS["FailedExportsAlarm"]["Threshold"] < ALARMS["InvalidRowsAlarm"]["Threshold"]


def test_runbook_says_what_to_do_for_every_failure_code() -> None:
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    section = runbook.partition("\n## An export that failed\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted({code for _, code in failures()})


def test_dashboard_shows_what_is_emitted_all_of_it_and_nothing_else() -> None:
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    # A number and no text: quotes are left out around it.
    widgets = json.loads(body.replace("${PendingAlarmSeconds}", "3600"))["widgets"]
    shown = set()
    for metric in (metric for widget in widgets for metric in widget["properties"]["metrics"]):
        if isinstance(metric[0], dict):
            shown |= searched(metric[0]["expression"])
            continue
        namespace, name, dimension, value = metric[:4]
        (resource,) = re.fullmatch(r"\$\{(\w+)(?:\.QueueName)?\}", value).groups()
        assert RESOURCES[resource]["Type"] == REFERRED[dimension]
        if namespace in OF_AWS:
            assert dimension == OF_AWS[namespace][0]
            assert name in OF_AWS[namespace][1]
        else:
            assert namespace == told()[name].namespace
            assert (dimension,) in told()[name].dimensions
            shown.add((name, crate(resource)))
    assert shown == {(name, function) for name, functions in emitters().items() for function in functions}


def searched(expression: str) -> set[tuple[str, str]]:
    """The metric that a search finds, with its functions, whose namespace and dimensions must be a told one's."""
    (schema,) = re.findall(r"SEARCH\('\{([^}]+)\}", expression)
    (name,) = re.findall(r'MetricName="(\w+)"', expression)
    namespace, *dimensions = schema.split(",")
    assert namespace == told()[name].namespace
    assert tuple(dimensions) in told()[name].dimensions
    return {(name, crate(function)) for function in re.findall(r'"\$\{(\w+)\}"', expression)}


def test_metrics_that_are_emitted_are_those_of_the_golden_lines_each_by_some_function() -> None:
    assert emitters().keys() == told().keys()
    assert all(emitters().values())


def test_emitters_are_read_from_all_that_emits() -> None:
    # What emitted.py looks for is the only way in which a metric is emitted and an export's failure comes about.
    for function in FUNCTIONS:
        code = linked(function)
        assert len(re.findall(r"\bMetric::", code)) == len(re.findall(r"\bmeasure\(Metric::", code))
        # What links nothing of the kind has no other name for it either.
        assert not re.search(r"use telemetry::(\{[^}]*)?Metric as|\bFailure as\b", code)
    assert "pub enum Metric" in METRICS.read_text(encoding="utf-8")
    shared = [sources(folder) for folder in sorted((ROOT / "shared").iterdir())]
    assert not [text for text in shared if re.search(r"\bFailure::\w+\(", text)]
    assert set(codes_of_constructors().values()) == {code for _, code in failures()}


def test_widgets_of_the_dashboard_do_not_overlap() -> None:
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body.replace("${PendingAlarmSeconds}", "3600"))["widgets"]
    places = [(w["x"] + x, w["y"] + y) for w in widgets for x in range(w["width"]) for y in range(w["height"])]
    assert len(places) == len(set(places))
    assert all(x < 24 for x, _ in places)
