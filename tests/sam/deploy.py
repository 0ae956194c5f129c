"""Follows DEPLOY.md from an empty account to the first export and its e-mail, against the local stack.

Runs every command of its steps with SAM CLI and the AWS CLI, the README's export example, and the smoke check. Features
that the emulator lacks are worked around as in every local stack. `sam sync` takes longer than everything else and runs
only with `--whole`.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from commands import ROOT, Block, CommandError, Shell, blocks, shell

from stack import EmulatorError, Stack, StackError  # isort: skip

README, DEPLOY = ROOT / "README.md", ROOT / "DEPLOY.md"
NAME = "payouts-export-dev"
SENDER, READER = "exports@marketplace.example", "you@marketplace.example"
# The output after which a command that runs until Ctrl-C is done, by its option.
DONE = {"--watch": "Skipped infra sync|Infra sync completed", "--tail": "export is READY"}


def main() -> int:
    began = time.monotonic()
    skipped: list[str] = []
    deploying = blocks(DEPLOY)
    try:
        passed = run(deploying, skipped)
    except (CommandError, StackError, EmulatorError, AssertionError) as error:
        print(f"{error}\n= 1 failed in {time.monotonic() - began:.1f}s =")
        return 1
    # tests/run parses these lines like pytest's last lines.
    print("\n".join(f"SKIPPED [1] {command}: only with --whole" for command in skipped))
    print(f"= {passed} passed, {len(skipped)} skipped in {time.monotonic() - began:.1f}s =")
    return 0


def run(deploying: list[Block], skipped: list[str]) -> int:
    found: dict[str, str] = {}

    def deploy(stack: Stack, parameters: Mapping[str, str]) -> None:
        config = settings(deploying, parameters)
        with shell(stack.awsEndpointUrl, stack.region, config) as reader:
            quota = reader.run(script(deploying, "get-account-settings"))
            assert re.fullmatch(r"\[\s*\d+,\s*\d+\s*\]\s*", quota), quota
            reader.run(script(deploying, "create-email-identity"))
            reader.run(script(deploying, "sam deploy"))
            response = reader.run(script(deploying, "ManageApiKeysFunction"))
        found["config"], found["key"] = config, only(r'"apiKey": ?"([^"]+)"', response)

    with (
        Stack.start(name=NAME, deploy=deploy, report=print) as stack,
        shell(stack.awsEndpointUrl, stack.region, found["config"]) as reader,
    ):
        outputs = reader.run(script(deploying, "stack-outputs"))
        assert {"ApiUrl", "BackOfficeUrl"} <= set(re.findall(r"\w+", outputs)), outputs
        export_id = export(reader, stack, found["key"])
        smoke(reader, stack, script(deploying, "tests/smoke"))
        set_rollback_triggers(reader, stack, script(deploying, "update-stack"))
        # Quota, sender, deployment, key, outputs, export, smoke check, rollback triggers; then the later commands.
        return 8 + run_later_commands(reader, script(deploying, "sam delete"), export_id, skipped)


def script(deploying: list[Block], part: str) -> str:
    """The only block of shell commands that contains `part`."""
    (block,) = (block for block in deploying if block.language == "sh" and part in block.text)
    return block.text


def settings(deploying: list[Block], parameters: Mapping[str, str]) -> str:
    """samconfig.toml with DEPLOY.md's change and the parameters that the emulator needs."""
    (block,) = (block for block in deploying if block.language == "toml")
    written = only(r'^parameter_overrides = "(.*)"$', block.text)
    config = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    given = only(r'\[default\.global\.parameters\][^\[]*^parameter_overrides = "(.*)"$', config)
    assert written.startswith(f"{given} "), f"DEPLOY.md's line must start with {given!r}, as in samconfig.toml"
    overrides = " ".join((written, *(f"{name}={value}" for name, value in parameters.items())))
    return config.replace(f'parameter_overrides = "{given}"', f'parameter_overrides = "{overrides}"')


def export(reader: Shell, stack: Stack, key: str) -> str:
    """Runs the README's export example with this stack's URL and key. Returns the export ID."""
    (example,) = (block.text for block in blocks(README) if block.language == "bash")
    for name, value in (("api", stack.apiUrl), ("key", key)):
        example, count = re.subn(rf"^{name}=\S+", f"{name}={value}", example, flags=re.MULTILINE)
        assert count == 1, name
    with tempfile.TemporaryDirectory() as folder:
        printed = reader.run(f"{example}\necho exported $id", Path(folder))
        (file,) = Path(folder).iterdir()
        assert f"{file.name}: OK" in printed, printed
    (mail,) = stack.mails()
    assert mail.to == [READER], mail
    assert mail.sender == SENDER, mail
    assert file.name in mail.text, mail
    return only(r"^exported (.*)$", printed)


def smoke(reader: Shell, stack: Stack, command: str) -> None:
    """Runs DEPLOY.md's smoke check. The output ApiUrl names a host of AWS, so --api-url gives the local one."""
    printed = reader.run(f"{command.strip()} --api-url {stack.apiUrl}")
    (tenant,) = re.findall(r"issued for the tenant (smoke-\S+)", printed)
    mail = stack.mails()[-1]
    assert mail.to == [READER], mail
    assert tenant in mail.text, mail


def set_rollback_triggers(reader: Shell, stack: Stack, commands: str) -> None:
    """The emulator has no rollback triggers, so the update changes nothing for it. The alarms must exist."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            reader.run(commands, Path(folder))
        except CommandError as error:
            if "No updates are to be performed" not in str(error):
                raise
        update = json.loads(Path(folder, "update.json").read_text(encoding="utf-8"))
    triggers = {trigger["Arn"] for trigger in update["RollbackConfiguration"]["RollbackTriggers"]}
    pages = stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
    assert triggers
    assert triggers <= {alarm["AlarmArn"] for page in pages for alarm in page["MetricAlarms"]}, triggers


def run_later_commands(reader: Shell, commands: str, export_id: str, skipped: list[str]) -> int:
    """Runs DEPLOY.md's later commands one by one. The last one deletes the stack."""
    count = 0
    for line in commands.strip().splitlines():
        command = line.partition("  #")[0].strip()
        if command.startswith("sam sync") and "--whole" not in sys.argv[1:]:
            skipped.append(command)
            continue
        until = next((printed for option, printed in DONE.items() if option in command), "")
        reader.run(command.replace("mpo_…", export_id), stdin="y\ny\n", until=until)
        count += 1
    return count


def only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


if __name__ == "__main__":
    sys.exit(main())
