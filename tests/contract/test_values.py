"""The values that the template sets, as literals. Its descriptions and the documents promise them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from emitted import ROOT
from roles import CRATES, RESOURCES, TEMPLATE
from test_alarms import ALARMS, metrics_of, period_of, watched_resource
from test_template import function, settings_read


def made_or_named(table: str) -> dict[str, Any]:
    """The template's own table, or the existing one that a parameter names."""
    return {"Fn::If": [f"Makes{table}", {"Ref": table}, {"Ref": f"{table}Name"}]}


# The value of each setting, in every function that reads it. Settings that are not listed have their default.
SETTINGS: dict[str, Any] = {
    "ALLOWED_RECIPIENT_DOMAINS": {"Ref": "AllowedRecipientDomains"},
    "API_KEYS_TABLE": {"Ref": "ApiKeysTable"},
    "BACK_OFFICE_URL": {"Ref": "MailedBackOfficeUrl"},
    "BYTE_ORDER_MARK": {"Ref": "ByteOrderMark"},
    "EXPORTS_BUCKET": {"Ref": "ExportsBucket"},
    "EXPORTS_TABLE": {"Ref": "ExportsTable"},
    "EXPORT_DEADLINE": {"Ref": "ExportDeadline"},
    "FILE_RETENTION": {"Fn::Sub": "${FileRetentionDays}d"},
    "FUNDING_TRANSFERS_TABLE": made_or_named("FundingTransfersTable"),
    "HISTORY_RETENTION": {"Fn::Sub": "${HistoryRetentionDays}d"},
    "JOBS_QUEUE_URL": {"Ref": "JobsQueue"},
    "LINK_LIFETIME": {"Ref": "LinkLifetime"},
    "LINK_SIGNER_SECRET": {"Fn::If": ["MakesLinkSigner", {"Ref": "LinkSignerSecret"}, {"Ref": "LinkSignerSecretArn"}]},
    "MAIL_CONFIGURATION_SET": {"Ref": "MailConfigurationSet"},
    "PAYOUTS_TABLE": made_or_named("PayoutsTable"),
    "READ_SHARE": {"Ref": "ReadShare"},
    "SENDER": {"Ref": "SenderAddress"},
    "SUPPLIER_PAYOUTS_TABLE": made_or_named("SupplierPayoutsTable"),
}
DEFAULTS = {
    "Stage": "dev", "Architecture": "x86_64", "CorsOrigin": "https://none.invalid", "PendingAlarmSeconds": 3600,
    "RecordDownloads": "true", "ConcurrentExports": 5, "ReserveConcurrency": "false", "LinkLifetime": "72h",
    "KeepLinkSigner": "false", "ActiveSignerKey": "A", "KeepOtherSignerKey": "false", "ReadShare": 50,
    "FileRetentionDays": 30, "HistoryRetentionDays": 0, "ExportDeadline": "6h", "ByteOrderMark": "false",
}  # fmt: skip
# The smallest and the largest value.
RANGES = {
    "PendingAlarmSeconds": (600, 604_800), "ConcurrentExports": (2, 1000), "ReadShare": (5, 100),
    "HistoryRetentionDays": (0, 3650),
}  # fmt: skip
CHOICES = {
    "Architecture": ["x86_64", "arm64"],
    "ActiveSignerKey": ["A", "B"],
    "FileRetentionDays": [1, 3, 7, 14, 30, 60, 90, 180, 365],
}
# Time-out in seconds. An API call has 10, or if it sends e-mails or cleans up, 29: API Gateway waits 30. The AWS CLI
# waits 60.
TIME_OUTS = {
    "generate-export": 300, "sweep-exports": 50, "resend-email": 29, "cancel-export": 29, "fail-export": 50,
    "manage-api-keys": 50,
}  # fmt: skip
# Memory in MB. Calls that only read, and create-export, have 128: see tests/bench/results/cost.md.
MEMORY = {
    "generate-export": 512, "sweep-exports": 256, "resend-email": 256, "cancel-export": 256, "manage-api-keys": 256,
    "fail-export": 256,
}  # fmt: skip
# Seconds, how often, comparison and threshold.
ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
CONDITIONS: dict[str, tuple[int, int, str, Any]] = {
    "DeadLetterAlarm": (60, 1, ABOVE, 0),
    "GeneratorErrorsAlarm": (900, 1, ABOVE, 2),
    "GeneratorTimeOutAlarm": (300, 1, ABOVE, 285_000),
    "LateExportsAlarm": (86_400, 1, ABOVE, 0),
    "WaitingJobsAlarm": (60, 10, ABOVE, 120),
    "OldestPendingAlarm": (60, 3, ABOVE, {"Ref": "PendingAlarmSeconds"}),
    "SweepMissingAlarm": (60, 5, BELOW, 1),
    "SweepErrorsAlarm": (300, 2, ABOVE, 0),
    "ServerErrorsAlarm": (300, 1, ABOVE, 5),
    "FailedExportsAlarm": (300, 1, ABOVE, 0),
    "InvalidRowsAlarm": (3600, 1, ABOVE, 10),
    "MailRejectedAlarm": (300, 1, ABOVE, 0),
    "BouncesAlarm": (86_400, 1, ABOVE, 5),
    "ComplaintsAlarm": (3600, 1, ABOVE, 0),
}
# The resource, the metric and the statistic.
WATCHED = {
    "DeadLetterAlarm": {("DeadLetterQueue", "ApproximateNumberOfMessagesVisible", "Maximum")},
    "GeneratorErrorsAlarm": {("GenerateExportFunction", name, "Sum") for name in ("Errors", "MessagesFailed")},
    "GeneratorTimeOutAlarm": {("GenerateExportFunction", "Duration", "Maximum")},
    "LateExportsAlarm": {
        ("GenerateExportFunction", "ExportsLate", "Sum"),
        ("GenerateExportFunction", "ExportsLate", "SampleCount"),
    },
    "WaitingJobsAlarm": {
        # While jobs wait all the time.
        ("JobsQueue", "ApproximateNumberOfMessagesVisible", "Minimum"),
        ("JobsQueue", "ApproximateAgeOfOldestMessage", "Maximum"),
    },
    "OldestPendingAlarm": {("SweepExportsFunction", "OldestPendingAge", "Maximum")},
    "SweepMissingAlarm": {("SweepExportsFunction", "OldestPendingAge", "SampleCount")},
    "SweepErrorsAlarm": {("SweepExportsFunction", "SweepErrors", "Sum")},
    "ServerErrorsAlarm": {("HttpApi", "5xx", "Sum"), ("HttpApi", "Count", "Sum")},
    "FailedExportsAlarm": {
        (f"{name}Function", "ExportsFailed", "Sum") for name in ("FailExport", "GenerateExport", "SweepExports")
    },
    "InvalidRowsAlarm": {("GenerateExportFunction", "ExportsFailed", "Sum")},
    "MailRejectedAlarm": {("GenerateExportFunction", "MailsRejected", "Sum")},
    "BouncesAlarm": {("MailConfigurationSet", "Bounce", "Sum"), ("MailConfigurationSet", "Send", "Sum")},
    "ComplaintsAlarm": {("MailConfigurationSet", "Complaint", "Sum")},
}
# The types of the resources that the environment's name is a tag of.
TAGGED = {
    *("AWS::Serverless::HttpApi", "AWS::IAM::Role", "AWS::IAM::User", "AWS::DynamoDB::Table", "AWS::S3::Bucket"),
    *("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::CloudTrail::Trail", "AWS::SecretsManager::Secret"),
}
# What each function connects to during initialization.
WARM_UPS = {
    "create-export": ["function.callers"],
    "cancel-export": ["function.callers"],
    "get-caller": ["function.callers"],
    "list-exports": ["function.callers"],
    "get-export": ["function.callers", "files"],
    "resend-email": ["function.callers", "files"],
    "generate-export": ["exports", "files"],
}


@pytest.mark.parametrize("crate", CRATES)
def test_function_gets_exactly_the_settings_it_reads(crate: str) -> None:
    required, optional = settings_read(ROOT / "functions" / crate)
    if crate == "generate-export":
        # Named by the export types.
        required |= settings_read(ROOT / "shared/domain")[0] & SETTINGS.keys()
    expected = {name: SETTINGS[name] for name in required | optional & SETTINGS.keys()}
    assert function(crate).get("Environment", {}).get("Variables", {}) == expected


def test_parameters_have_these_defaults() -> None:
    defaults = {name: parameter.get("Default") for name, parameter in TEMPLATE["Parameters"].items()}
    # What has no default must be given. An empty text is the absence of something optional.
    assert {name for name, default in defaults.items() if default is None} == {"SenderAddress"}
    assert {name: default for name, default in defaults.items() if default not in (None, "")} == DEFAULTS


def test_numbers_are_within_these_ranges() -> None:
    bounded = {name: parameter for name, parameter in TEMPLATE["Parameters"].items() if "MinValue" in parameter}
    assert {name: (parameter["MinValue"], parameter["MaxValue"]) for name, parameter in bounded.items()} == RANGES


def test_parameters_have_these_choices() -> None:
    choices = {n: p["AllowedValues"] for n, p in TEMPLATE["Parameters"].items() if "AllowedValues" in p}
    switches = {name for name, values in choices.items() if values == ["true", "false"]}
    assert {name: values for name, values in choices.items() if name not in switches} == CHOICES


@pytest.mark.parametrize("parameter", ["ExportDeadline", "LinkLifetime"])
@pytest.mark.parametrize("duration", ["1s", "99999s", "9999m", "168h", "7d"])
def test_duration_of_at_most_seven_days_is_accepted(parameter: str, duration: str) -> None:
    assert re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], duration)


# Uploads and unfinished parts are deleted after 8 days, and AWS limits a signed URL to 7 days.
@pytest.mark.parametrize("parameter", ["ExportDeadline", "LinkLifetime"])
@pytest.mark.parametrize("duration", ["", "0s", "6", "6 h", "169h", "200h", "8d", "10d", "10080m", "1w"])
def test_other_duration_is_rejected(parameter: str, duration: str) -> None:
    assert not re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], duration)


@pytest.mark.parametrize("crate", CRATES)
def test_function_has_this_time_out_and_memory(crate: str) -> None:
    assert function(crate)["Timeout"] == TIME_OUTS.get(crate, 10)
    assert function(crate)["MemorySize"] == MEMORY.get(crate, 128)


@pytest.mark.parametrize("crate", CRATES)
def test_function_opens_these_connections_during_initialization(crate: str) -> None:
    source = (ROOT / "functions" / crate / "src/main.rs").read_text(encoding="utf-8")
    assert re.findall(r"([\w.]+)\.warm_up\(", source) == WARM_UPS.get(crate, [])


def test_resources_are_tagged_with_the_stage() -> None:
    tagged = {resource["Type"] for resource in RESOURCES.values() if "Tags" in resource["Properties"]}
    assert tagged == TAGGED
    for name, resource in RESOURCES.items():
        if resource["Type"] in TAGGED:
            tags = resource["Properties"]["Tags"]
            stage = tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}
            assert stage == {"stage": {"Ref": "Stage"}}, name
    assert TEMPLATE["Globals"]["Function"]["Tags"] == {"stage": {"Ref": "Stage"}}


def test_generator_may_continue_and_has_room_for_the_largest_workbook() -> None:
    generator = function("generate-export")
    # Lambda ends a loop of function and queue after 16 invocations (Lambda Developer Guide, "Use Lambda recursive loop
    # detection to prevent infinite loops"). A large export continues more often.
    assert generator["RecursiveLoop"] == "Allow"
    # In MB: 1,000,000 rows take 1.2 GB in /tmp, which has 512 MB by default.
    assert generator["EphemeralStorage"] == {"Size": 5120}


def test_jobs_mapping_delivers_one_job_and_its_queue_waits_six_time_outs() -> None:
    mapping = RESOURCES["JobsMapping"]["Properties"]
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert RESOURCES["JobsQueue"]["Properties"]["VisibilityTimeout"] == 6 * 300


def test_failed_sweep_is_not_retried_because_the_next_follows_within_a_minute() -> None:
    expected = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert function("sweep-exports")["EventInvokeConfig"] == expected
    assert function("sweep-exports")["Events"]["EveryMinute"]["Properties"]["RetryPolicy"] == expected


def test_routes_wait_as_long_as_api_gateway_does_by_default() -> None:
    for crate in CRATES:
        for event in function(crate).get("Events", {}).values():
            if event["Type"] == "HttpApi":
                assert set(event["Properties"]) <= {"ApiId", "Method", "Path"}, crate


def test_outputs_name_the_api_the_page_and_the_download_records() -> None:
    outputs = {name: output["Value"] for name, output in TEMPLATE["Outputs"].items()}
    url = "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
    assert outputs["ApiUrl"] == {"Fn::Sub": url}
    assert outputs["BackOfficeUrl"] == {"Fn::Sub": f"{url}/back-office"}
    assert outputs["DownloadLogBucket"] == {"Ref": "DownloadLogBucket"}


def test_index_of_scheduled_checks_has_only_keys() -> None:
    # DynamoDB cannot change the projection of an index.
    (index,) = RESOURCES["ExportsTable"]["Properties"]["GlobalSecondaryIndexes"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


@pytest.mark.parametrize("origin", ["*", "null", "https://*", "https://a.example/", "https://a.example/path"])
def test_origin_that_no_browser_sends_is_rejected(origin: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["CorsOrigin"]["AllowedPattern"], origin)


def test_files_are_deleted_after_the_chosen_retention() -> None:
    rules = {rule["Id"]: rule for rule in RESOURCES["ExportsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]}
    expected = {"Fn::FindInMap": ["FileRetention", {"Ref": "FileRetentionDays"}, "DeleteAfterDays"]}
    assert rules["delete-files-after-retention"]["ExpirationInDays"] == expected


def test_api_allows_one_origin_and_what_the_back_office_sends() -> None:
    assert RESOURCES["HttpApi"]["Properties"]["CorsConfiguration"] == {
        "AllowOrigins": [{"Ref": "CorsOrigin"}],
        "AllowMethods": ["GET", "POST"],
        "AllowHeaders": ["content-type", "dj-api-key", "dj-client", "idempotency-key"],
        "ExposeHeaders": ["location", "retry-after", "x-request-id"],
        "MaxAge": 600,
    }


def test_routes_have_the_memory_that_the_results_choose() -> None:
    text = (ROOT / "tests/bench/results/cost.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z-]+) \|(?: [\d.]+ / [\d.]+ \|)+ (\d+) \|$", text, re.MULTILINE)
    chosen = {name: int(size) for name, size in rows}
    # The results do not measure its e-mail.
    assert chosen.pop("cancel-export") <= MEMORY["cancel-export"]
    assert chosen.keys() > {"create-export", "resend-email"}
    assert chosen == {name: MEMORY.get(name, 128) for name in chosen}


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_has_this_condition(name: str) -> None:
    alarm = ALARMS[name]
    condition = (period_of(alarm), alarm["EvaluationPeriods"], alarm["ComparisonOperator"], alarm["Threshold"])
    assert condition == CONDITIONS[name]
    assert {
        (watched_resource(metric), metric["MetricName"], metric["Stat"]) for metric in metrics_of(alarm)
    } == WATCHED[name]
    # A stack without requests has no data, except of its sweeps.
    assert alarm["TreatMissingData"] == ("breaching" if name == "SweepMissingAlarm" else "notBreaching")
    assert "DatapointsToAlarm" not in alarm
