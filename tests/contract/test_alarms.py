"""Every alarm and graph uses a metric that the functions emit, as in its golden line, or that AWS documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session
import botocore.validate
import pytest

import cloudwatch
from emitted import FUNCTIONS, METRICS, ROOT, codes_by_constructor, emitters, failures, linked, sources
from export_types import EXPORT_TYPES, ExportType
from roles import RESOURCES, TEMPLATE

ALARMS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
DASHBOARD = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
# This reference stands for a number, so it has no quotes.
WIDGETS = json.loads(DASHBOARD.replace("${PendingAlarmSeconds}", "3600"))["widgets"]
# A unit test of shared/telemetry compares these lines, and tests/e2e/test_metrics.py checks the functions.
GOLDEN = [json.loads(line) for line in (ROOT / "shared/telemetry/golden/metrics.jsonl").read_text().splitlines()]

# Metrics that the AWS documentation lists: the dimension and the names, by namespace.
AWS_METRICS = {
    "AWS/SQS": (
        "QueueName",
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
        },
    ),
    "AWS/Lambda": ("FunctionName", {"Invocations", "Errors", "Throttles", "Duration"}),
    "AWS/ApiGateway": ("ApiId", {"Count", "4xx", "5xx"}),
    "AWS/SES": ("ses:configuration-set", {"Send", "Bounce", "Complaint"}),
}
# The resource type that the value of a dimension must reference.
DIMENSION_TYPES = {
    "QueueName": "AWS::SQS::Queue",
    "FunctionName": "AWS::Serverless::Function",
    "ApiId": "AWS::Serverless::HttpApi",
    "ses:configuration-set": "AWS::SES::ConfigurationSet",
}


@dataclass(frozen=True)
class Emitted:
    namespace: str
    unit: str
    dimensions: tuple[tuple[str, ...], ...]


def emitted() -> dict[str, Emitted]:
    """The metrics of the golden lines, by name."""
    return {
        metric["Name"]: Emitted(directive["Namespace"], metric["Unit"], tuple(map(tuple, directive["Dimensions"])))
        for line in GOLDEN
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


def crate(function: str) -> str:
    """The crate of a function, by its logical id."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", function.removesuffix("Function")).lower()


def referenced(value: Any) -> str:
    """The logical id that the value of a dimension references."""
    if "Ref" in value:
        return str(value["Ref"])
    name, attribute = value["Fn::GetAtt"]
    assert attribute == "QueueName"
    return str(name)


def watched_resource(metric: dict[str, Any]) -> str:
    """The logical id of the resource that a metric is of."""
    (of,) = (dimension for dimension in metric["Dimensions"] if dimension["Name"] in DIMENSION_TYPES)
    return referenced(of["Value"])


def metrics_of(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics of an alarm, with namespace, name, dimensions, statistic and unit."""
    if "MetricName" in alarm:
        yield {**alarm, "Stat": alarm["Statistic"]}
    for query in alarm.get("Metrics", []):
        if "MetricStat" in query:
            yield {**query["MetricStat"]["Metric"], **query["MetricStat"]}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_watches_an_emitted_metric(name: str) -> None:
    metrics = list(metrics_of(ALARMS[name]))
    assert metrics
    for metric in metrics:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
        if metric["Namespace"] in AWS_METRICS:
            dimension, known = AWS_METRICS[metric["Namespace"]]
            assert metric["MetricName"] in known
            assert dimensions.keys() == {dimension}
            # With another unit than the metric's, there would be no data.
            assert metric.get("Unit") == {"Duration": "Milliseconds"}.get(metric["MetricName"])
        else:
            ours = emitted()[metric["MetricName"]]
            assert metric["Namespace"] == ours.namespace
            assert tuple(dimensions) in ours.dimensions
            # An alarm with another unit than the metric's never gets data.
            assert metric["Unit"] == ours.unit
            assert crate(watched_resource(metric)) in emitters()[metric["MetricName"]]
            dimensions.pop("Code", None)
            dimensions.pop("ExportType", None)
        for dimension, value in dimensions.items():
            assert RESOURCES[referenced(value)]["Type"] == DIMENSION_TYPES[dimension]


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_describes_what_to_do_and_notifies_the_topic(name: str) -> None:
    alarm = ALARMS[name]
    assert len(alarm["AlarmDescription"]) > 80
    assert re.search(r"\b(read|find|look|check|invoke)\b", alarm["AlarmDescription"], re.IGNORECASE)
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert "ActionsEnabled" not in alarm
    # Stated explicitly: the default leaves the alarm in the state INSUFFICIENT_DATA.
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")


@pytest.mark.parametrize("name", [name for name in ALARMS if "Metrics" in ALARMS[name]])
def test_metric_math_alarm_uses_all_its_metrics_and_returns_one(name: str) -> None:
    queries = {query["Id"]: query for query in ALARMS[name]["Metrics"]}
    (returned,) = (query for query in queries.values() if query["ReturnData"])
    words = set(re.findall(r"\b[a-z]\w*", returned["Expression"]))
    assert words == queries.keys() - {returned["Id"]}
    # CloudWatch's limits (CloudWatch User Guide, "Limits that apply to alarms based on metric math expressions").
    assert len(words) <= 10
    assert "SEARCH" not in returned["Expression"]
    periods = {query["MetricStat"]["Period"] for query in queries.values() if "MetricStat" in query}
    assert len(periods) == 1


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_is_within_the_limits_of_cloudwatch(name: str) -> None:
    # CloudWatch API Reference, PutMetricAlarm: a day for periods of less than an hour, otherwise seven days. CloudWatch
    # User Guide, "CloudWatch service quotas": a period is at most a day.
    alarm = ALARMS[name]
    assert period_of(alarm) % 60 == 0
    assert period_of(alarm) <= 86_400
    assert window(alarm) <= (604_800 if period_of(alarm) >= 3600 else 86_400)
    assert len(alarm["AlarmDescription"]) <= 1024


def period_of(alarm: dict[str, Any]) -> int:
    stats = [query["MetricStat"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    return int((stats[0] if stats else alarm)["Period"])


def window(alarm: dict[str, Any]) -> int:
    """The seconds of data that raise the alarm."""
    return period_of(alarm) * int(alarm["EvaluationPeriods"])


def returned(name: str, **values: float | None) -> float | None:
    """The value that a metric math alarm compares, if its metrics have these values and the others none."""
    queries = ALARMS[name]["Metrics"]
    ids = [query["Id"] for query in queries if "MetricStat" in query]
    assert values.keys() <= set(ids)
    (expression,) = (query["Expression"] for query in queries if query["ReturnData"])
    return cloudwatch.evaluate(expression, {id_: values.get(id_) for id_ in ids})


def is_raised(name: str, **values: float | None) -> bool:
    return cloudwatch.is_raised(ALARMS[name], [returned(name, **values)])


def test_late_exports_alarm_is_raised_by_more_than_a_hundredth_and_three_of_a_type() -> None:
    assert is_raised("LateExportsAlarm", payouts=299, payoutsLate=3)
    assert not is_raised("LateExportsAlarm", payouts=300, payoutsLate=3)
    assert not is_raised("LateExportsAlarm", payouts=2, payoutsLate=2)
    # Types are not added up.
    assert not is_raised("LateExportsAlarm", payouts=9, payoutsLate=2, transfers=9, transfersLate=2)
    assert is_raised("LateExportsAlarm", payouts=9000, payoutsLate=0, supplierPayouts=3, supplierPayoutsLate=3)
    assert is_raised("LateExportsAlarm", transfers=3, transfersLate=3)
    assert not is_raised("LateExportsAlarm")


def test_waiting_jobs_alarm_is_raised_by_an_old_job_while_jobs_wait() -> None:
    assert is_raised("WaitingJobsAlarm", waiting=1, age=121)
    assert not is_raised("WaitingJobsAlarm", waiting=1, age=120)
    # The job of a crashed invocation stays in flight until its visibility time-out ends.
    assert not is_raised("WaitingJobsAlarm", waiting=0, age=1800)
    assert not is_raised("WaitingJobsAlarm")


@pytest.mark.parametrize(
    ("name", "bad", "all_"), [("ServerErrorsAlarm", "errors", "requests"), ("BouncesAlarm", "bounces", "sent")]
)
def test_rate_alarm_is_raised_by_more_than_a_twentieth_and_three(name: str, bad: str, all_: str) -> None:
    assert is_raised(name, **{bad: 3, all_: 59})
    assert not is_raised(name, **{bad: 3, all_: 60})
    assert not is_raised(name, **{bad: 2, all_: 2})
    assert not is_raised(name)


@pytest.mark.parametrize(
    "query", [query["Id"] for query in ALARMS["FailedExportsAlarm"]["Metrics"] if "MetricStat" in query]
)
def test_failed_exports_alarm_is_raised_by_one_failure(query: str) -> None:
    assert is_raised("FailedExportsAlarm", **{query: 1})
    assert not is_raised("FailedExportsAlarm", **{query: 0})


def test_late_exports_alarm_watches_each_export_type() -> None:
    watched = {
        (dimensions["ExportType"], query["MetricStat"]["Stat"])
        for query in ALARMS["LateExportsAlarm"]["Metrics"]
        if "MetricStat" in query
        for dimensions in [{d["Name"]: d["Value"] for d in query["MetricStat"]["Metric"]["Dimensions"]}]
    }
    assert watched == {(export_type.slug, stat) for export_type in EXPORT_TYPES for stat in ("SampleCount", "Sum")}


def test_service_objective_is_the_same_everywhere() -> None:
    metrics = METRICS.read_text(encoding="utf-8")
    assert "const OBJECTIVE_ROWS: u64 = 100_000;" in metrics
    assert "const OBJECTIVE_TIME: Duration = Duration::from_secs(120);" in metrics
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    assert (
        "At least 99 % of a day's exports of a type and of up to 100,000 rows are `READY` within 2 minutes" in runbook
    )
    assert "At least 99.9 % of the accepted exports end within their deadline" in runbook
    late, waiting = ALARMS["LateExportsAlarm"], ALARMS["WaitingJobsAlarm"]
    assert "up to 100,000 rows, more than 1 %" in late["AlarmDescription"]
    assert "two minutes" in late["AlarmDescription"]
    assert set(re.findall(r"> (0\.\d+)", late["Metrics"][0]["Expression"])) == {"0.01"}
    assert waiting["Threshold"] == 120
    (duration,) = (w["properties"] for w in WIDGETS if w["properties"]["title"].startswith("Time from acceptance"))
    assert [line["value"] for line in duration["annotations"]["horizontal"]] == [120]


def test_runbook_has_a_section_for_every_alarm() -> None:
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| \[(.*)\]\((#.*)\) \|$", runbook, re.MULTILINE)
    named = [alarm for alarms, _, _ in rows for alarm in re.findall(r"`(\w+)`", alarms)]
    assert sorted(named) == sorted(ALARMS)
    for _, title, anchor in rows:
        assert f"\n## {title}\n" in runbook
        assert anchor == "#" + title.lower().replace(" ", "-")


def test_alarms_are_mailed_only_if_an_address_is_set() -> None:
    subscription = RESOURCES["AlarmSubscription"]
    assert TEMPLATE["Conditions"][subscription["Condition"]] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmAddress"}, ""]}]
    }
    expected = {"TopicArn": {"Ref": "AlarmTopic"}, "Protocol": "email", "Endpoint": {"Ref": "AlarmAddress"}}
    assert subscription["Properties"] == expected


def test_time_out_alarm_is_between_continuing_and_the_time_out() -> None:
    time_out = RESOURCES["GenerateExportFunction"]["Properties"]["Timeout"]
    source = (ROOT / "functions/generate-export/src/main.rs").read_text(encoding="utf-8")
    (continue_before,) = re.findall(r'"CONTINUE_BEFORE", Duration::from_secs\((\d+)\)', source)
    assert time_out - int(continue_before) < ALARMS["GeneratorTimeOutAlarm"]["Threshold"] / 1000 < time_out


def test_generator_errors_alarm_threshold_is_below_max_attempts() -> None:
    alarm = ALARMS["GeneratorErrorsAlarm"]
    source = (ROOT / "shared/domain/src/lifecycle.rs").read_text(encoding="utf-8")
    (max_attempts,) = re.findall(r"MAX_ATTEMPTS: u32 = (\d+)", source)
    assert 1 < alarm["Threshold"] < int(max_attempts)
    # Either metric may have no data.
    assert returned("GeneratorErrorsAlarm", errors=3, failed=None) == 3
    assert returned("GeneratorErrorsAlarm", errors=None, failed=3) == 3


def test_pending_alarm_is_between_one_invocation_and_the_deadline() -> None:
    parameter = TEMPLATE["Parameters"]["PendingAlarmSeconds"]
    time_out = RESOURCES["GenerateExportFunction"]["Properties"]["Timeout"]
    assert ALARMS["OldestPendingAlarm"]["Threshold"] == {"Ref": "PendingAlarmSeconds"}
    assert time_out < parameter["MinValue"] <= parameter["Default"]
    assert TEMPLATE["Parameters"]["ExportDeadline"]["Default"] == "6h"
    assert parameter["Default"] < 6 * 3600


def test_missing_sweep_alarm_is_raised_by_five_minutes_without_a_sweep() -> None:
    # The evaluation range is longer than the evaluation periods, and older data in it keeps an alarm from using
    # TreatMissingData: the missing minutes must be filled (CloudWatch User Guide, "How alarm state is evaluated when
    # data is missing").
    alarm = ALARMS["SweepMissingAlarm"]
    event = RESOURCES["SweepExportsFunction"]["Properties"]["Events"]["EveryMinute"]["Properties"]
    assert event["ScheduleExpression"] == "rate(1 minute)"
    (sweeps,) = (query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query)
    assert sweeps["Stat"] == "SampleCount"
    none, one = returned("SweepMissingAlarm", sweeps=None), returned("SweepMissingAlarm", sweeps=1)
    assert (none, one) == (0, 1)
    assert cloudwatch.is_raised(alarm, [none] * 5)
    assert not cloudwatch.is_raised(alarm, [none, one, none, none, none])
    # Without any data, nothing is filled.
    assert cloudwatch.is_raised(alarm, [None] * 5)
    assert "for five minutes" in alarm["AlarmDescription"]


def test_deployment_is_rolled_back_by_alarms_that_are_raised_in_time() -> None:
    value = TEMPLATE["Outputs"]["RollbackConfiguration"]["Value"]["Fn::Sub"]
    configuration = json.loads(value)
    shape = botocore.session.get_session().get_service_model("cloudformation").shape_for("RollbackConfiguration")
    botocore.validate.validate_parameters(configuration, shape)
    triggers = configuration["RollbackTriggers"]
    # CloudFormation User Guide, "Roll back your CloudFormation stack on alarm breach with rollback triggers".
    assert len(triggers) <= 5
    assert re.findall(r"\$\{(\w+)\.Arn\}", value) == [
        "ServerErrorsAlarm", "GeneratorErrorsAlarm", "FailedExportsAlarm", "SweepErrorsAlarm", "SweepMissingAlarm",
    ]  # fmt: skip
    assert 0 <= configuration["MonitoringTimeInMinutes"] <= 180
    for trigger in triggers:
        assert trigger["Type"] == "AWS::CloudWatch::Alarm"
        (name,) = re.findall(r"^\$\{(\w+)\.Arn\}$", trigger["Arn"])
        # CloudWatch evaluates an alarm once a minute, and metrics arrive some minutes late.
        assert window(ALARMS[name]) + 5 * 60 <= 60 * configuration["MonitoringTimeInMinutes"], name
    deploy = (ROOT / "DEPLOY.md").read_text(encoding="utf-8")
    assert f"for {configuration['MonitoringTimeInMinutes']} minutes after it" in deploy


def test_mail_events_become_the_metrics_that_alarms_watch() -> None:
    destination = RESOURCES["MailEvents"]["Properties"]
    assert destination["ConfigurationSetName"] == {"Ref": "MailConfigurationSet"}
    events = destination["EventDestination"]
    assert events["Enabled"] is True
    assert {name.lower() for name in AWS_METRICS["AWS/SES"][1]} <= set(events["MatchingEventTypes"])
    (dimension,) = events["CloudWatchDestination"]["DimensionConfigurations"]
    # SES tags each message with its configuration set.
    assert (dimension["DimensionName"], dimension["DimensionValueSource"]) == (AWS_METRICS["AWS/SES"][0], "messageTag")


def test_failed_exports_and_invalid_rows_have_an_alarm_each_if_somebody_can_act() -> None:
    watched = {
        name: [
            (crate(referenced(dimensions["FunctionName"])), dimensions["Code"])
            for metric in metrics_of(alarm)
            if metric["MetricName"] == "ExportsFailed"
            for dimensions in [{d["Name"]: d["Value"] for d in metric["Dimensions"]}]
        ]
        for name, alarm in ALARMS.items()
    }
    others, invalid = watched.pop("FailedExportsAlarm"), watched.pop("InvalidRowsAlarm")
    assert not any(watched.values())
    assert invalid == [("generate-export", "INVALID_ROWS")]
    # Somebody wanted a cancelled export to fail, and who launched a workbook that is too large can act on the advice.
    silent = {("cancel-export", "CANCELLED"), ("generate-export", "XLSX_TOO_LARGE")}
    assert sorted(others + invalid) == sorted(failures() - silent)
    assert 0 == ALARMS["FailedExportsAlarm"]["Threshold"] < ALARMS["InvalidRowsAlarm"]["Threshold"]


def test_runbook_lists_every_failure_code() -> None:
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    section = runbook.partition("\n## Failed export\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted({code for _, code in failures()})


def test_dashboard_shows_exactly_the_emitted_metrics() -> None:
    shown = set()
    for metric in (metric for widget in WIDGETS for metric in widget["properties"].get("metrics", [])):
        if isinstance(metric[0], dict):
            shown |= searched(metric[0]["expression"])
            continue
        namespace, name, *pairs = (part for part in metric if isinstance(part, str))
        dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
        for dimension in dimensions.keys() - {"Code"}:
            (resource,) = re.findall(r"^\$\{(\w+)(?:\.QueueName)?\}$", dimensions[dimension])
            assert RESOURCES[resource]["Type"] == DIMENSION_TYPES[dimension]
        if namespace in AWS_METRICS:
            assert tuple(dimensions) == (AWS_METRICS[namespace][0],)
            assert name in AWS_METRICS[namespace][1]
        else:
            assert namespace == emitted()[name].namespace
            assert tuple(dimensions) in emitted()[name].dimensions
            assert "Code" not in dimensions or (crate(resource), dimensions["Code"]) in failures()
            shown.add((name, crate(resource)))
    assert shown == {(name, function) for name, functions in emitters().items() for function in functions}


def test_dashboard_begins_with_all_alarms() -> None:
    first = WIDGETS[0]
    assert (first["type"], first["x"], first["y"]) == ("alarm", 0, 0)
    assert sorted(first["properties"]["alarms"]) == sorted(f"${{{name}.Arn}}" for name in ALARMS)


def test_dashboard_shows_this_region_the_share_of_late_exports_and_each_queue() -> None:
    assert {widget["properties"]["region"] for widget in WIDGETS[1:]} == {"${AWS::Region}"}
    (late,) = (w["properties"] for w in WIDGETS if w["properties"]["title"].startswith("Share of late exports"))
    assert late["metrics"][0][0]["expression"].endswith("'Average')")
    metrics = [metric for widget in WIDGETS for metric in widget["properties"].get("metrics", [])]
    queues = {metric[-1]["label"]: metric[3] for metric in metrics if metric[0] == "AWS/SQS"}
    assert {label for label, queue in queues.items() if queue != "${JobsQueue.QueueName}"} == {"dead letters"}
    assert queues["dead letters"] == "${DeadLetterQueue.QueueName}"


@dataclass(frozen=True)
class Search:
    """A SEARCH expression: the dimensions of the metrics, and the values that it asks for. Functions by their crate."""

    namespace: str
    dimensions: tuple[str, ...]
    values: dict[str, set[str]]

    @classmethod
    def parse(cls, expression: str) -> Search:
        text = re.sub(r"\$\{(\w+)\}", lambda reference: crate(reference[1]), expression)
        ((schema, terms),) = re.findall(r"^(?:SUM\()?SEARCH\('\{([^}]+)\} (.+)', '\w+'(?:, \d+)?\)+$", text)
        namespace, *dimensions = schema.split(",")
        values = re.findall(r'(\w+)=("[^"]+"|\([^)]+\))', terms)
        return cls(namespace, tuple(dimensions), {name: set(re.findall(r'"([^"]+)"', value)) for name, value in values})

    def finds(self, namespace: str, dimensions: tuple[str, ...], values: dict[str, str]) -> bool:
        """Whether it finds the metric with these dimensions. A dimension without a value here may have any."""
        return (self.namespace, self.dimensions) == (namespace, dimensions) and all(
            values.get(name) in asked for name, asked in self.values.items()
        )


def searched(expression: str) -> set[tuple[str, str]]:
    """The metric and functions of a SEARCH expression. Namespace and dimensions must be those of an emitted metric."""
    search = Search.parse(expression)
    (name,) = search.values["MetricName"]
    assert search.namespace == emitted()[name].namespace
    assert search.dimensions in emitted()[name].dimensions
    return {(name, function) for function in search.values["FunctionName"]}


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
def test_dashboard_shows_each_metric_of_the_export_type(export_type: ExportType) -> None:
    metrics = [metric for widget in WIDGETS for metric in widget["properties"].get("metrics", [])]
    searches = [Search.parse(metric[0]["expression"]) for metric in metrics if isinstance(metric[0], dict)]
    of_exports = {name: metric for name, metric in emitted().items() if "ExportType" in str(metric.dimensions)}
    assert of_exports.keys() == {
        "ExportsCreated", "ExportsReady", "ExportDuration", "ExportRows", "ExportsLate", "ExportsFailed",
    }  # fmt: skip
    for name, metric in of_exports.items():
        (dimensions,) = (dimensions for dimensions in metric.dimensions if "ExportType" in dimensions)
        for function in emitters()[name]:
            values = {"MetricName": name, "FunctionName": function, "ExportType": export_type.slug}
            assert any(search.finds(metric.namespace, dimensions, values) for search in searches), (name, function)


def test_dashboard_is_within_the_limits_of_cloudwatch() -> None:
    # CloudWatch API Reference, "Dashboard Body Structure and Syntax", and CloudWatch User Guide, "CloudWatch service
    # quotas": 500 metrics in a widget, 2,500 in all.
    codes = len({code for _, code in failures()})

    def found(metric: list[Any]) -> int:
        if not isinstance(metric[0], dict):
            return 1
        search = Search.parse(metric[0]["expression"])
        functions = len(search.values["FunctionName"])
        return functions * len(EXPORT_TYPES) * (codes if "Code" in search.dimensions else 1)

    counts = [sum(map(found, widget["properties"].get("metrics", []))) for widget in WIDGETS]
    assert max(counts) <= 500
    assert sum(counts) <= 2500
    assert len(WIDGETS) <= 100


def test_golden_lines_cover_exactly_the_emitted_metrics() -> None:
    assert emitters().keys() == emitted().keys()
    assert all(emitters().values())


def test_emitted_finds_every_metric_and_failure() -> None:
    # Metrics are emitted, and failures created, only in the ways that emitted.py looks for.
    for function in FUNCTIONS:
        code = linked(function)
        assert len(re.findall(r"\bMetric::", code)) == len(re.findall(r"\bemit\(Metric::", code))
        # No alias hides a use.
        assert not re.search(r"\b(Metric|Failure) as\b", code)
    assert "pub enum Metric" in METRICS.read_text(encoding="utf-8")
    shared = [sources(folder, frozenset()) for folder in sorted((ROOT / "shared").iterdir())]
    assert not [text for text in shared if re.search(r"\bFailure::\w+\(", text)]
    assert set(codes_by_constructor().values()) == {code for _, code in failures()}


def test_dashboard_widgets_do_not_overlap() -> None:
    places = [(w["x"] + x, w["y"] + y) for w in WIDGETS for x in range(w["width"]) for y in range(w["height"])]
    assert len(places) == len(set(places))
    assert all(x < 24 for x, _ in places)
