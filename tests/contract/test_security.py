"""The template against what a security reviewer asks of it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
FUNCTIONS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"]
ROLES = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::Role"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


def statements(name: str) -> Iterator[dict[str, Any]]:
    """The statements of a role or a user."""
    for policy in properties(name)["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def denies_plain_http(policy: str, service: str, resources: list[Any]) -> None:
    """A bucket's or queues' policy denies everybody everything on all these resources unless it comes by TLS."""
    (deny,) = (s for s in properties(policy)["PolicyDocument"]["Statement"] if s["Effect"] == "Deny")
    assert (deny["Principal"], deny["Action"]) == ("*", f"{service}:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Resource"] == resources


# ------------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_a_role_of_its_own_and_nothing_attached_to_it(name: str) -> None:
    function = properties(name)
    role = name.removesuffix("Function") + "Role"
    assert function["Role"] == {"Fn::GetAtt": [role, "Arn"]}, f"write out {role}, with only what {name} does"
    assert "Policies" not in function, "SAM ignores them where there is a role"
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
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            # The objects of one prefix are the only resources that have no names yet.
            bare = text.replace("${ExportsBucket.Arn}/exports/*", "")
            assert "*" not in bare, f"{name}: name the resource {text}"


@pytest.mark.parametrize("name", ROLES)
def test_role_writes_logs_of_its_own_function_only(name: str) -> None:
    groups = [s["Resource"] for s in statements(name) if any(a.startswith("logs:") for a in as_list(s["Action"]))]
    assert groups == [{"Fn::GetAtt": [name.removesuffix("Role") + "LogGroup", "Arn"]}]


def test_mail_goes_out_from_the_one_sender_through_the_one_configuration_set() -> None:
    senders = {name: s for name in ROLES for s in statements(name) if "ses:SendEmail" in as_list(s["Action"])}
    assert {"GenerateExportRole", "ResendEmailRole", "SweepExportsRole"} <= set(senders)
    for name, statement in senders.items():
        assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "SenderAddress"}}}, name
        assert as_list(statement["Action"]) == ["ses:SendEmail"]
        assert len(statement["Resource"]) == 3, "address, its domain, configuration set"


def test_roles_with_a_right_to_the_signing_key_are_those_that_make_links() -> None:
    readers = {name for name in ROLES if "secretsmanager:GetSecretValue" in json.dumps(list(statements(name)))}
    assert readers == {"GetExportRole", "ResendEmailRole", "GenerateExportRole"}


def test_link_signer_may_read_files_and_nothing_else() -> None:
    (statement,) = statements("LinkSignerUser")
    assert statement["Action"] == "s3:GetObject"
    assert statement["Resource"] == {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}
    assert set(properties("LinkSignerUser")) == {"Policies", "Tags"}, "no console, no group, no managed policy"


@pytest.mark.parametrize("name", ["GetExportRole", "ResendEmailRole"])
def test_role_that_looks_for_a_file_gets_404_for_a_missing_one(name: str) -> None:
    """S3 answers a HEAD of a missing object with 403 to whoever may not list the bucket (HeadObject, Permissions)."""
    of_the_bucket = [
        {key: value for key, value in statement.items() if key != "Sid"}
        for statement in statements(name)
        if "ExportsBucket" in json.dumps(statement["Resource"])
    ]
    assert of_the_bucket == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": {"Fn::GetAtt": ["ExportsBucket", "Arn"]}},
    ]


# --------------------------------------------------------------------------------------------------------- link keys


def condition(name: str, parameters: dict[str, str]) -> bool:
    """What a condition of the template comes to."""

    def value(expression: Any) -> Any:
        if not isinstance(expression, dict):
            return expression
        ((operation, operands),) = expression.items()
        if operation == "Ref":
            return parameters[operands]
        if operation == "Condition":
            return condition(operands, parameters)
        values = [value(operand) for operand in operands]
        return {
            "Fn::Equals": lambda: values[0] == values[1],
            "Fn::Not": lambda: not values[0],
            "Fn::And": lambda: all(values),
            "Fn::Or": lambda: any(values),
        }[operation]()

    return bool(value(TEMPLATE["Conditions"][name]))


@pytest.mark.parametrize(("active", "keep"), list(itertools.product("AB", ["true", "false"])))
def test_rotation_keeps_the_key_of_mailed_links_as_long_as_it_is_told_to(active: str, keep: str) -> None:
    parameters = {"LinkSignerSecretArn": "", "ActiveSignerKey": active, "KeepOtherSignerKey": keep}
    slots = {slot for slot in "AB" if condition(RESOURCES[f"SignerKey{slot}"]["Condition"], parameters)}
    assert slots == (set("AB") if keep == "true" else {active})
    chosen, if_a, if_b = properties("LinkSignerSecret")["SecretString"]["Fn::If"]
    signing = if_a if condition(chosen, parameters) else if_b
    expected = '{{"accessKeyId":"${{SignerKey{0}}}","secretAccessKey":"${{SignerKey{0}.SecretAccessKey}}"}}'
    assert signing == {"Fn::Sub": expected.format(active)}
    for slot in "AB":
        # A new serial number would delete the old key, and with it every link that it signed.
        assert properties(f"SignerKey{slot}") == {"UserName": {"Ref": "LinkSignerUser"}}


def test_own_secret_makes_no_user_no_key_and_no_secret() -> None:
    for active, keep in itertools.product("AB", ["true", "false"]):
        parameters = {"LinkSignerSecretArn": "arn:…", "ActiveSignerKey": active, "KeepOtherSignerKey": keep}
        for name in ("LinkSignerUser", "LinkSignerSecret", "SignerKeyA", "SignerKeyB"):
            assert not condition(RESOURCES[name]["Condition"], parameters), name


# -------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_bucket_is_closed_encrypted_kept_and_for_tls_only(name: str) -> None:
    bucket = properties(name)
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    denies_plain_http(f"{name}Policy", "s3", [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}])
    assert "WebsiteConfiguration" not in bucket


def test_files_and_unfinished_uploads_are_deleted_in_their_time() -> None:
    rules = {rule["Id"]: rule for rule in properties("ExportsBucket")["LifecycleConfiguration"]["Rules"]}
    files = rules["delete-files-after-retention"]
    assert (files["Status"], files["Prefix"]) == ("Enabled", "exports/")
    uploads = rules["abort-unfinished-uploads"]
    assert uploads["Status"] == "Enabled"
    # An export may be told to take seven days, and goes on with the upload it began.
    assert uploads["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 8


def test_trail_records_all_that_is_done_to_files_and_forgets_it_in_time() -> None:
    trail = properties("DownloadTrail")
    assert trail["IsLogging"] is True
    assert trail["EnableLogFileValidation"] is True
    (selector,) = trail["AdvancedEventSelectors"]
    assert selector["FieldSelectors"] == [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
        {"Field": "resources.ARN", "StartsWith": [{"Fn::Sub": "${ExportsBucket.Arn}/exports/"}]},
    ]
    assert trail["S3BucketName"] == {"Ref": "DownloadLogBucket"}
    (rule,) = properties("DownloadLogBucket")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 365)
    for statement in properties("DownloadLogBucketPolicy")["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
            # Another account's trail could write here otherwise.
            (source,) = statement["Condition"]["StringEquals"].values()
            assert source["Fn::Sub"].endswith(":trail/${AWS::StackName}-downloads")
    assert trail["TrailName"] == {"Fn::Sub": "${AWS::StackName}-downloads"}


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_table_is_encrypted_and_can_be_put_back_to_any_moment(name: str) -> None:
    assert properties(name)["SSESpecification"] == {"SSEEnabled": True}
    assert properties(name)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_records_are_forgotten_by_the_attribute_that_the_code_writes() -> None:
    assert properties("ExportsTable")["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    code = (ROOT / "shared/aws/src/dynamodb/record.rs").read_text(encoding="utf-8")
    assert 'TTL: &str = "ttl"' in code


def test_tables_and_files_outlive_the_stack() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::S3::Bucket"):
            kept = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
            assert kept == ("Retain", "Retain"), name


def test_queues_are_encrypted_and_for_tls_only() -> None:
    queues = list(of_type("AWS::SQS::Queue"))
    assert all(properties(name)["SqsManagedSseEnabled"] is True for name in queues)
    assert properties("QueuesPolicy")["Queues"] == [{"Ref": name} for name in queues]
    denies_plain_http("QueuesPolicy", "sqs", [{"Fn::GetAtt": [name, "Arn"]} for name in queues])


def test_logs_are_kept_for_a_time() -> None:
    for name in of_type("AWS::Logs::LogGroup"):
        assert 1 <= properties(name)["RetentionInDays"] <= 400, name


def test_mails_cross_the_network_encrypted_or_not_at_all() -> None:
    assert properties("MailConfigurationSet")["DeliveryOptions"] == {"TlsPolicy": "REQUIRE"}


def test_no_secret_stands_in_an_environment_or_an_output() -> None:
    for name in FUNCTIONS:
        assert "SecretAccessKey" not in json.dumps(properties(name)), name
    assert "SecretAccessKey" not in json.dumps(TEMPLATE["Outputs"])


# ------------------------------------------------------------------------------------------------------------- abuse


def test_every_route_is_throttled_and_those_that_write_more_so() -> None:
    api = properties("HttpApi")
    default = api["DefaultRouteSettings"]
    assert default["ThrottlingRateLimit"] > 0
    posts = {
        f"POST {event['Properties']['Path']}"
        for name in FUNCTIONS
        for event in properties(name).get("Events", {}).values()
        if event["Type"] == "HttpApi" and event["Properties"].get("Method") == "POST"
    }
    assert set(api["RouteSettings"]) == posts
    for route in posts:
        settings = api["RouteSettings"][route]
        assert settings["ThrottlingRateLimit"] <= default["ThrottlingRateLimit"] / 10
        assert settings["ThrottlingBurstLimit"] < default["ThrottlingBurstLimit"]


def test_generator_has_room_for_all_that_its_queue_hands_it_at_once() -> None:
    at_once = properties("JobsMapping")["ScalingConfig"]["MaximumConcurrency"]
    reserved = properties("GenerateExportFunction")["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReservesConcurrency", at_once, {"Ref": "AWS::NoValue"}]}


def test_reserved_concurrency_is_what_the_parameter_says_an_account_must_have() -> None:
    reserved = [properties(name).get("ReservedConcurrentExecutions") for name in FUNCTIONS]
    # Lambda keeps 100 for the functions that reserve none.
    needed = 100 + sum(setting["Fn::If"][1] for setting in reserved if setting)
    assert f"less than {needed}" in TEMPLATE["Parameters"]["ReserveConcurrency"]["Description"]


def test_functions_that_only_administrators_may_invoke_have_no_trigger() -> None:
    for name in ("ManageApiKeysFunction", "EndExportFunction"):
        assert "Events" not in properties(name)


# ------------------------------------------------------------------------------------------------------ SECURITY.md


def test_tests_that_the_security_page_names_are_there() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = page.partition("## Attacks tried")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    sources = [*(ROOT / "tests").glob("*/test_*.py"), *(ROOT / "shared").glob("**/*.rs")]
    defined = set(re.findall(r"\b(?:def|fn) (\w+)", "\n".join(file.read_text(encoding="utf-8") for file in sources)))
    for row in rows:
        named = re.findall(r"`(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        assert set(named) <= defined, set(named) - defined


@pytest.mark.parametrize(
    "domains", ["", "example.com", "a.example.com, b-c.example", "EXAMPLE.com,xn--bcher-kva.example"]
)
def test_domains_that_the_functions_read_are_taken_by_the_template(domains: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


@pytest.mark.parametrize(
    "domains", ["10.0.0.1", "example.123", "-foo.com", "foo-.com", "localhost", "a.com;b.com", "a..com"]
)
def test_domains_that_no_function_would_start_with_are_refused_by_the_template(domains: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


BACK_OFFICE_URLS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("back_office_urls.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("url", ["", *BACK_OFFICE_URLS["pages"]])
def test_page_that_mails_may_lead_to_is_taken_by_the_template(url: str) -> None:
    assert re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)


@pytest.mark.parametrize("url", BACK_OFFICE_URLS["refused"])
def test_page_that_no_function_would_start_with_is_refused_by_the_template(url: str) -> None:
    assert not re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)
