"""The stacks `dev` and `prod` of samconfig.toml in the same account."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from export_types import EXPORT_TYPES
from interventions import held_queue
from payouts import payout
from stack import ROOT, Stack
from tenant import Tenant, await_quiet, undelivered


@pytest.fixture(scope="module")
def stacks() -> Iterator[tuple[Stack, Stack]]:
    with (
        Stack.start(auth=True, name=stack_name("default"), parameters={"Stage": "dev"}) as dev,
        Stack.start(name=stack_name("prod"), parameters={"Stage": "prod"}, beside=dev) as prod,
    ):
        yield dev, prod


def stack_name(environment: str) -> str:
    settings = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    found = re.search(rf'^\[{environment}\.global\.parameters\]\nstack_name = "(.+)"$', settings, re.MULTILINE)
    assert found, environment
    return found[1]


def test_stacks_in_one_account_share_no_data(stacks: tuple[Stack, Stack]) -> None:
    tenants = [Tenant(stack, f"side by side {stack.name}") for stack in stacks]
    for number, tenant in enumerate(tenants, 1):
        tenant.put_payouts([payout(f"po_{row}") for row in range(number)])
    for number, tenant in enumerate(tenants, 1):
        export = tenant.export(["finance@cc.example"])
        assert export["file"]["rows"] == number
    for tenant, other in (tenants, tenants[::-1]):
        stack = tenant.stack
        assert len(tenant.objects()) == 1
        assert tenant.mail().configuration_set == stack.configurationSet
        for table in (stack.exportsTable, *map(stack.source_table, EXPORT_TYPES), stack.apiKeysTable):
            items = stack.client("dynamodb").scan(TableName=table)["Items"]
            assert other.id not in {item["tenantId"]["S"] for item in items}, table
        assert not [mail for mail in stack.mails() if other.email in (*mail.to, *mail.cc)]
        listed = stack.client("s3").list_objects_v2(Bucket=stack.bucket, Prefix=f"exports/{other.id}/")
        assert listed["KeyCount"] == 0
        assert tenant.call("GET", "/v1/caller", headers={"dj-api-key": other.key}).status == 401


def test_stacks_in_one_account_have_separate_queues(stacks: tuple[Stack, Stack]) -> None:
    dev, prod = (Tenant(stack, f"queues of {stack.name}") for stack in stacks)
    with held_queue(dev.stack):
        held = dev.launch()
        prod.export()
        await_quiet(prod.stack)
        assert dev.detail(held)["status"] == "PENDING"
        assert undelivered(dev.stack, dev.stack.jobsQueueUrl) == 1
    dev.await_status(held, "READY")


def test_stacks_in_one_account_have_separate_schedules(stacks: tuple[Stack, Stack]) -> None:
    client = stacks[0].client("scheduler")
    names = [schedule["Name"] for schedule in client.list_schedules()["Schedules"]]
    targets = {client.get_schedule(Name=name)["Target"]["Arn"].rpartition(":")[2] for name in names}
    assert targets == {stack.functions["sweep-exports"] for stack in stacks}
