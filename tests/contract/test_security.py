"""The template fulfils the requirements of a security review."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emitted import ROOT
from roles import RESOURCES, SOURCE_TABLES, TEMPLATE, as_list

FUNCTIONS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"]
ROLES = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::Role"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


def statements(name: str) -> Iterator[dict[str, Any]]:
    """The statements of a role or user: inline and from attached policies."""
    attached = (
        p["Properties"] for p in of_type("AWS::IAM::Policy").values() if {"Ref": name} in p["Properties"]["Roles"]
    )
    for policy in (*properties(name)["Policies"], *attached):
        yield from policy["PolicyDocument"]["Statement"]


def environment(function: str) -> dict[str, Any]:
    found: dict[str, Any] = properties(function).get("Environment", {}).get("Variables", {})
    return found


def nested(value: Any) -> list[Any]:
    """A value and all values nested in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for item in inner for found in nested(item))]


def assert_plain_http_is_denied(policy: str, service: str, resources: Any) -> None:
    """Asserts that the policy of a bucket or queue denies all actions on these resources without TLS."""
    (deny,) = (s for s in properties(policy)["PolicyDocument"]["Statement"] if s["Effect"] == "Deny")
    assert (deny["Principal"], deny["Action"]) == ("*", f"{service}:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Resource"] == resources


# ------------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_its_own_role_with_inline_policies_only(name: str) -> None:
    function = properties(name)
    role = name.removesuffix("Function") + "Role"
    assert function["Role"] == {"Fn::GetAtt": [role, "Arn"]}, f"write out {role}, with only what {name} does"
    assert "Policies" not in function, "SAM ignores Policies if Role is set"
    assert set(properties(role)) == {"AssumeRolePolicyDocument", "Policies", "Tags"}
    assert properties(role)["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]


@pytest.mark.parametrize("name", [*ROLES, "LinkSignerUser"])
def test_policy_grants_single_actions_on_named_resources(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action, f"{name}: name the actions of {action}"
        if statement["Action"] == OVERRIDE_TRACKING:
            continue
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            # Object keys and recipients are not known at deployment.
            bare = re.sub(r"\$\{ExportsBucket\.Arn\}/(exports|unfinished)/\*", "", text).replace(IDENTITIES, "")
            assert "*" not in bare, f"{name}: name the resource {text}"


@pytest.mark.parametrize("name", ROLES)
def test_role_writes_logs_of_its_own_function_only(name: str) -> None:
    (logs,) = (s for s in statements(name) if any(action.startswith("logs:") for action in as_list(s["Action"])))
    assert logs["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert logs["Resource"] == {"Fn::GetAtt": [name.removesuffix("Role") + "LogGroup", "Arn"]}


def test_routes_may_change_only_the_last_use_of_a_key() -> None:
    """Null: a request without attributes would satisfy ForAllValues. ReturnValues: ALL_NEW returns all attributes."""
    table = {"Fn::GetAtt": ["ApiKeysTable", "Arn"]}
    found = {
        name: statement.get("Condition")
        for name in ROLES
        for statement in statements(name)
        if "dynamodb:UpdateItem" in as_list(statement["Action"]) and table in as_list(statement["Resource"])
    }
    assert found.pop("ManageApiKeysRole") is None
    readers = [name for name in ROLES if "API_KEYS_TABLE" in environment(name.removesuffix("Role") + "Function")]
    assert sorted([*found, "ManageApiKeysRole"]) == sorted(readers)
    for name, condition in found.items():
        assert condition == {
            "Null": {"dynamodb:Attributes": "false"},
            "ForAllValues:StringEquals": {"dynamodb:Attributes": ["keyHash", "lastUsedOn"]},
            "StringEqualsIfExists": {"dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"]},
        }, name


# SES has no resource for this action.
OVERRIDE_TRACKING = "ses:ApplyTrackingConfigurationOverrides"
IDENTITIES = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"


def test_mail_is_sent_from_one_sender_and_configuration_set() -> None:
    senders = {name: s for name in ROLES for s in statements(name) if "ses:SendEmail" in as_list(s["Action"])}
    assert set(senders) == {name for name in ROLES if "SENDER" in environment(name.removesuffix("Role") + "Function")}
    for name, statement in senders.items():
        assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "SenderAddress"}}}, name
        assert as_list(statement["Action"]) == ["ses:SendEmail"]
        # All identities: in the sandbox, SES also authorizes on the recipient's identity (github.com/GSA/data.gov,
        # issue 3810, and aws/aws-sdk-js, issue 3641), and a sender's identity may be its parent domain.
        configuration_set = IDENTITIES.replace("identity/*", "configuration-set/${MailConfigurationSet}")
        assert statement["Resource"] == [{"Fn::Sub": IDENTITIES}, {"Fn::Sub": configuration_set}]


def test_roles_that_send_mail_may_disable_tracking_and_not_enable_it() -> None:
    """SES denies an e-mail that overrides tracking without this permission. A condition on both values holds only for a
    request that has both (SES Developer Guide, "Using configuration overrides in Amazon SES")."""
    for name in ROLES:
        all_of_mail = {s["Sid"]: s for s in statements(name) if "ses:" in json.dumps(s["Action"])}
        if "SENDER" not in environment(name.removesuffix("Role") + "Function"):
            assert not all_of_mail, name
            continue
        assert set(all_of_mail) == {"SendMail", "DisableTracking"}, name
        assert all_of_mail["DisableTracking"] == {
            "Sid": "DisableTracking", "Effect": "Allow", "Action": OVERRIDE_TRACKING, "Resource": "*",
            "Condition": {
                "StringEquals": {"ses:OpenTrackingEnabled": "DISABLED", "ses:ClickTrackingEnabled": "DISABLED"}
            },
        }, name  # fmt: skip


def test_only_roles_that_sign_links_read_the_signing_key() -> None:
    readers = {name for name in ROLES if "secretsmanager:GetSecretValue" in json.dumps(list(statements(name)))}
    assert readers == {"GetExportRole", "ResendEmailRole", "GenerateExportRole"}


def test_link_signer_may_only_read_files() -> None:
    (statement,) = statements("LinkSignerUser")
    assert statement["Action"] == "s3:GetObject"
    assert statement["Resource"] == {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}
    assert set(properties("LinkSignerUser")) == {"Policies", "Tags"}, (
        "the user has a console password, a group or a managed policy"
    )


@pytest.mark.parametrize("name", ["GetExportRole", "ResendEmailRole"])
def test_role_that_checks_files_gets_404_for_a_missing_file(name: str) -> None:
    """Without s3:ListBucket, S3 returns 403 for a missing object (S3 API Reference, HeadObject, "Permissions")."""
    bucket_statements = [
        {key: value for key, value in statement.items() if key != "Sid"}
        for statement in statements(name)
        if "ExportsBucket" in json.dumps(statement["Resource"])
    ]
    assert bucket_statements == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": {"Fn::GetAtt": ["ExportsBucket", "Arn"]}},
    ]


# --------------------------------------------------------------------------------------------------------- link keys


def condition(name: str, parameters: dict[str, str]) -> bool:
    """The value of a condition of the template."""

    def value(expression: Any) -> Any:
        if not isinstance(expression, dict):
            return expression
        ((operation, operands),) = expression.items()
        if operation == "Ref":
            return parameters[operands]
        if operation == "Condition":
            return condition(operands, parameters)
        values = [value(operand) for operand in operands]
        results: dict[str, Callable[[], bool]] = {
            "Fn::Equals": lambda: values[0] == values[1],
            "Fn::Not": lambda: not values[0],
            "Fn::And": lambda: all(values),
            "Fn::Or": lambda: any(values),
        }
        return results[operation]()

    return bool(value(TEMPLATE["Conditions"][name]))


@pytest.mark.parametrize(("active", "keep"), list(itertools.product("AB", ["true", "false"])))
def test_rotation_keeps_the_old_signing_key_if_requested(active: str, keep: str) -> None:
    parameters = {
        "LinkSignerSecretArn": "", "KeepLinkSigner": "false", "ActiveSignerKey": active, "KeepOtherSignerKey": keep,
    }  # fmt: skip
    slots = {slot for slot in "AB" if condition(RESOURCES[f"SignerKey{slot}"]["Condition"], parameters)}
    assert slots == (set("AB") if keep == "true" else {active})
    chosen, if_a, if_b = properties("LinkSignerSecret")["SecretString"]["Fn::If"]
    signing = if_a if condition(chosen, parameters) else if_b
    expected = '{{"accessKeyId":"${{SignerKey{0}}}","secretAccessKey":"${{SignerKey{0}.SecretAccessKey}}"}}'
    assert signing == {"Fn::Sub": expected.format(active)}
    for slot in "AB":
        # A Serial would let an update replace the key, which invalidates every link that it signed.
        assert properties(f"SignerKey{slot}") == {"UserName": {"Ref": "LinkSignerUser"}}


SIGNER = ("LinkSignerUser", "LinkSignerSecret", "SignerKeyA", "SignerKeyB")


@pytest.mark.parametrize(("active", "keep"), list(itertools.product("AB", ["true", "false"])))
def test_existing_secret_replaces_the_signer_unless_it_is_kept(active: str, keep: str) -> None:
    def created(secret: str, kept: str) -> set[str]:
        parameters = {
            "LinkSignerSecretArn": secret, "KeepLinkSigner": kept,
            "ActiveSignerKey": active, "KeepOtherSignerKey": keep,
        }  # fmt: skip
        return {name for name in SIGNER if condition(RESOURCES[name]["Condition"], parameters)}

    assert created("arn:…", "false") == set()
    # The same keys as before the switch, which signed links already sent.
    assert created("arn:…", "true") == created("", "false")
    assert TEMPLATE["Parameters"]["KeepLinkSigner"]["Default"] == "false"


ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"


@pytest.mark.parametrize("secret", ["", f"{ARN}signer-Ab12Cd", f"{ARN}team/payouts_signer-a1b2c3"])
def test_complete_secret_arn_is_accepted(secret: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["LinkSignerSecretArn"]["AllowedPattern"], secret)


# Secrets Manager finds a secret by a partial ARN, but IAM compares the policy with the complete ARN (Secrets Manager
# User Guide, "Finding a secret from a partial ARN").
@pytest.mark.parametrize("secret", ["signer", f"{ARN}signer", f"{ARN}team/signer", f"{ARN}signer-Ab12C", f"{ARN}*"])
def test_partial_secret_arn_is_rejected(secret: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["LinkSignerSecretArn"]["AllowedPattern"], secret)


@pytest.mark.parametrize(
    ("parameter", "service", "reader"),
    [
        *((f"{table}KeyArn", "dynamodb", lambda s: s.get("Sid") == "ReadRows") for table in SOURCE_TABLES),
        ("LinkSignerSecretKeyArn", "secretsmanager", lambda s: s["Action"] == "secretsmanager:GetSecretValue"),
    ],
)
def test_customer_managed_key_only_decrypts_for_its_readers(
    parameter: str, service: str, reader: Callable[[dict[str, Any]], bool]
) -> None:
    (policy,) = (p for p in of_type("AWS::IAM::Policy").values() if {"Ref": parameter} in nested(p["Properties"]))
    readers = [{"Ref": name} for name in ROLES if any(reader(statement) for statement in statements(name))]
    assert policy["Properties"]["Roles"] == readers
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == (
        "Allow",
        "kms:Decrypt",
        {"Ref": parameter},
    )
    # Only through the service, not by the function's own KMS calls.
    via = {"kms:ViaService": {"Fn::Sub": f"{service}.${{AWS::Region}}.amazonaws.com"}}
    assert statement["Condition"] == {"StringEquals": via}
    assert not condition(policy["Condition"], {parameter: ""})
    key = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    assert condition(policy["Condition"], {parameter: key})
    assert re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], key)
    # IAM permissions apply to keys, not to aliases.
    alias = "arn:aws:kms:eu-central-1:123456789012:alias/payouts"
    assert not re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], alias)


# -------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_bucket_is_private_encrypted_and_requires_tls(name: str) -> None:
    bucket = properties(name)
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert_plain_http_is_denied(
        f"{name}Policy", "s3", [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
    )
    # No versions, which would keep deleted files, and no website.
    assert set(bucket) == {
        "BucketEncryption", "PublicAccessBlockConfiguration", "OwnershipControls", "LifecycleConfiguration", "Tags",
    }  # fmt: skip


def test_lifecycle_rules_delete_files_and_unfinished_uploads() -> None:
    rules = {rule["Id"]: rule for rule in properties("ExportsBucket")["LifecycleConfiguration"]["Rules"]}
    files = rules["delete-files-after-retention"]
    assert (files["Status"], files["Prefix"]) == ("Enabled", "exports/")
    uploads = rules["abort-unfinished-uploads"]
    assert uploads["Status"] == "Enabled"
    # One day more than the longest ExportDeadline: an export continues its first upload.
    assert uploads["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 8
    parts = rules["delete-unfinished-parts"]
    assert (parts["Status"], parts["Prefix"], parts["ExpirationInDays"]) == ("Enabled", "unfinished/", 8)
    # Nothing else is deleted, and nothing earlier.
    assert len(rules) == 3
    assert set(uploads) == {"Id", "Status", "AbortIncompleteMultipartUpload"}
    assert set(files) == set(parts) == {"Id", "Status", "Prefix", "ExpirationInDays"}


def test_trail_records_file_operations_for_a_year() -> None:
    trail = properties("DownloadTrail")
    assert trail["IsLogging"] is True
    assert trail["EnableLogFileValidation"] is True
    (selector,) = trail["AdvancedEventSelectors"]
    assert selector["FieldSelectors"] == [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
        {
            "Field": "resources.ARN",
            "StartsWith": [{"Fn::Sub": f"${{ExportsBucket.Arn}}/{folder}/"} for folder in ("exports", "unfinished")],
        },
    ]
    assert trail["S3BucketName"] == {"Ref": "DownloadLogBucket"}
    (rule,) = properties("DownloadLogBucket")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 365)
    assert trail["TrailName"] == {"Fn::Sub": "${AWS::StackName}-downloads"}


def test_resource_policies_allow_only_what_the_trail_needs() -> None:
    allowed = [
        (name, *(statement[part] for part in ("Principal", "Action", "Resource", "Condition")))
        for kind in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy")
        for name in of_type(kind)
        for statement in properties(name)["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    # Otherwise, a trail of another account could write to the bucket.
    arn = "arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/${AWS::StackName}-downloads"
    trail = {"Service": "cloudtrail.amazonaws.com"}
    only = {"StringEquals": {"aws:SourceArn": {"Fn::Sub": arn}}}
    records = {"Fn::Sub": "${DownloadLogBucket.Arn}/AWSLogs/${AWS::AccountId}/*"}
    # CloudTrail User Guide, "Amazon S3 bucket policy for CloudTrail".
    assert allowed == [
        ("DownloadLogBucketPolicy", trail, "s3:GetBucketAcl", {"Fn::GetAtt": ["DownloadLogBucket", "Arn"]}, only),
        ("DownloadLogBucketPolicy", trail, "s3:PutObject", records, only),
    ]
    for name in of_type("AWS::S3::Bucket"):
        assert properties(f"{name}Policy")["Bucket"] == {"Ref": name}


def test_downloads_are_recorded_by_the_parameter() -> None:
    recording = {name for name, resource in RESOURCES.items() if resource.get("Condition") == "RecordsDownloads"}
    assert recording == {"DownloadTrail", "DownloadLogBucket", "DownloadLogBucketPolicy"}
    assert condition("RecordsDownloads", {"RecordDownloads": "true"})
    assert not condition("RecordsDownloads", {"RecordDownloads": "false"})


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_table_is_encrypted_and_has_point_in_time_recovery(name: str) -> None:
    assert properties(name)["SSESpecification"] == {"SSEEnabled": True}
    assert properties(name)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_records_expire_by_the_attribute_that_the_code_writes() -> None:
    assert properties("ExportsTable")["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    code = (ROOT / "shared/aws/src/dynamodb/record.rs").read_text(encoding="utf-8")
    assert 'TTL: &str = "ttl"' in code


def test_tables_and_files_outlive_the_stack() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::S3::Bucket"):
            # Retain would also keep the resources of a failed first deployment, which nothing uses.
            kept = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
            assert kept == ("RetainExceptOnCreate", "Retain"), name


def test_trail_is_created_last() -> None:
    # CloudTrail may write to its bucket at once, and a rollback cannot delete a bucket that is not empty.
    before = RESOURCES["DownloadTrail"]["DependsOn"]
    body = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    needed = set(re.findall(r"\$\{(\w+)", body)) & RESOURCES.keys()
    assert {"DownloadLogBucketPolicy", "HttpApi", "JobsMapping", *FUNCTIONS} <= {*before, *needed}
    assert "Dashboard" in before


def test_queues_are_encrypted_and_for_tls_only() -> None:
    queues = list(of_type("AWS::SQS::Queue"))
    assert set(of_type("AWS::SQS::QueuePolicy")) == {f"{name}Policy" for name in queues}
    for name in queues:
        assert properties(name)["SqsManagedSseEnabled"] is True
        # SQS rejects a policy that names a second queue: "Invalid value for the parameter Policy" (SQS Developer Guide,
        # "Special Information for SQS Policies").
        assert properties(f"{name}Policy")["Queues"] == [{"Ref": name}]
        assert_plain_http_is_denied(f"{name}Policy", "sqs", {"Fn::GetAtt": [name, "Arn"]})


def test_logs_are_kept_for_90_days() -> None:
    for name in of_type("AWS::Logs::LogGroup"):
        assert properties(name)["RetentionInDays"] == 90, name


def test_jobs_are_kept_for_4_days_and_dead_letters_for_14() -> None:
    # SQS's default is 4 days.
    assert "MessageRetentionPeriod" not in properties("JobsQueue")
    assert properties("JobsQueue")["RedrivePolicy"]["maxReceiveCount"] == 5
    assert properties("DeadLetterQueue")["MessageRetentionPeriod"] == 14 * 24 * 60 * 60


def test_mails_require_tls_and_count_for_the_reputation() -> None:
    assert properties("MailConfigurationSet")["DeliveryOptions"] == {"TlsPolicy": "REQUIRE"}
    assert properties("MailConfigurationSet")["ReputationOptions"] == {"ReputationMetricsEnabled": True}


def test_environments_and_outputs_contain_no_secret() -> None:
    for name in FUNCTIONS:
        assert "SecretAccessKey" not in json.dumps(properties(name)), name
    assert "SecretAccessKey" not in json.dumps(TEMPLATE["Outputs"])


# ------------------------------------------------------------------------------------------------------------- abuse


def test_routes_are_throttled_and_writes_more_strictly() -> None:
    api = properties("HttpApi")
    assert api["DefaultRouteSettings"] == {"ThrottlingRateLimit": 50, "ThrottlingBurstLimit": 100}
    posts = {
        f"POST {event['Properties']['Path']}"
        for name in FUNCTIONS
        for event in properties(name).get("Events", {}).values()
        if event["Type"] == "HttpApi" and event["Properties"].get("Method") == "POST"
    }
    assert set(api["RouteSettings"]) == posts
    for route in posts:
        assert api["RouteSettings"][route] == {"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 20}, route


# The lowest known concurrency quota of a new account (github.com/awslabs/fhir-works-on-aws-deployment, issue 691).
SMALLEST_QUOTA = 10
# Lambda keeps this concurrency unreserved (Lambda Developer Guide, "Configuring reserved concurrency for a function").
MIN_UNRESERVED = 100


def test_concurrency_is_not_reserved_by_default() -> None:
    assert TEMPLATE["Parameters"]["ReserveConcurrency"]["Default"] == "false"
    for name in FUNCTIONS:
        reserved = properties(name).get("ReservedConcurrentExecutions")
        if reserved:
            condition_name, _, otherwise = reserved["Fn::If"]
            assert (condition_name, otherwise) == ("ReservesConcurrency", {"Ref": "AWS::NoValue"})


def test_generator_leaves_concurrency_in_a_new_account() -> None:
    parameter = TEMPLATE["Parameters"]["ConcurrentExports"]
    assert properties("JobsMapping")["ScalingConfig"]["MaximumConcurrency"] == {"Ref": "ConcurrentExports"}
    assert parameter["Default"] <= SMALLEST_QUOTA / 2
    # The bounds of an event source mapping (Lambda API Reference, ScalingConfig).
    assert (parameter["MinValue"], parameter["MaxValue"]) == (2, 1000)


def test_generator_reserves_the_concurrency_of_its_mapping() -> None:
    reserved = properties("GenerateExportFunction")["ReservedConcurrentExecutions"]
    assert reserved["Fn::If"][1] == properties("JobsMapping")["ScalingConfig"]["MaximumConcurrency"]


def test_documented_concurrency_matches_the_reservations() -> None:
    reserved = [properties(name).get("ReservedConcurrentExecutions") for name in FUNCTIONS]
    fixed = [setting["Fn::If"][1] for setting in reserved if setting]
    fixed.remove({"Ref": "ConcurrentExports"})
    needed = f"ConcurrentExports + {MIN_UNRESERVED + sum(fixed)} "
    assert needed in TEMPLATE["Parameters"]["ReserveConcurrency"]["Description"]
    deploy = (ROOT / "DEPLOY.md").read_text(encoding="utf-8")
    assert needed in deploy.replace("`", "")
    assert f"{MIN_UNRESERVED + sum(fixed) + TEMPLATE['Parameters']['ConcurrentExports']['Default']} " in deploy


def test_administrator_functions_have_no_trigger() -> None:
    for name in ("ManageApiKeysFunction", "FailExportFunction"):
        assert "Events" not in properties(name)


# ------------------------------------------------------------------------------------------------------ SECURITY.md


def test_security_page_names_existing_tests() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = page.partition("## Attacks tested")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    sources = [*(ROOT / "tests").glob("*/test_*.py"), *(ROOT / "shared").glob("**/*.rs")]
    test = re.compile(r"^def (test_\w+)|#\[(?:tokio::)?test\b[^#]*?\bfn (\w+)", re.MULTILINE)
    found = [test.findall(file.read_text(encoding="utf-8")) for file in sources]
    defined = {name for names in found for pair in names for name in pair}
    for row in rows:
        named = re.findall(r"`(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        assert set(named) <= defined, set(named) - defined


@pytest.mark.parametrize(
    "domains", ["", "example.com", "a.example.com, b-c.example", "EXAMPLE.com,xn--bcher-kva.example"]
)
def test_template_accepts_domains_that_functions_accept(domains: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


@pytest.mark.parametrize(
    "domains", ["10.0.0.1", "example.123", "-foo.com", "foo-.com", "localhost", "a.com;b.com", "a..com"]
)
def test_template_rejects_domains_that_functions_reject(domains: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


BACK_OFFICE_URLS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("back_office_urls.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("url", ["", *BACK_OFFICE_URLS["pages"]])
def test_template_accepts_back_office_urls_that_functions_accept(url: str) -> None:
    assert re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)


@pytest.mark.parametrize("url", BACK_OFFICE_URLS["rejected"])
def test_template_rejects_back_office_urls_that_functions_reject(url: str) -> None:
    assert not re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)


def test_template_and_functions_limit_the_back_office_url_alike() -> None:
    source = (ROOT / "shared/domain/src/back_office.rs").read_text(encoding="utf-8")
    (longest,) = re.findall(r"MAX_LENGTH: usize = (\d+);", source)
    assert TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["MaxLength"] == int(longest)
