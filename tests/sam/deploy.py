"""The README's words alone, from an empty AWS account to the first export and its e-mail: here, a local AWS.

Every command of the README's part on deploying is run as it stands there, by SAM CLI and the AWS CLI, and so is its
example of an export. What the local AWS does not know is handed to the deploy, or made up for after it, as it is for
any local stack. `sam sync`, which takes longer than all the rest, is left to `--whole`.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from commands import ROOT, Block, CommandError, Shell, blocks, shell

from stack import EmulatorError, Stack, StackError  # isort: skip

README = ROOT / "README.md"
NAME = "payouts-export-dev"
SENDER, READER = "exports@marketplace.example", "you@marketplace.example"
# What the commands print that go on until Ctrl-C, once they have done what they are for.
DONE = {"--watch": "Skipped infra sync|Infra sync completed", "--tail": "export is ready"}


def main() -> int:
    began, skipped = time.monotonic(), []
    deploying = [block for block in blocks(README) if block.heading == "Deploy"]
    try:
        passed = run(deploying, skipped)
    except (CommandError, StackError, EmulatorError, AssertionError) as error:
        print(f"{error}\n= 1 failed in {time.monotonic() - began:.1f}s =")
        return 1
    # Read by tests/run as pytest's last lines would be.
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
            answer = reader.run(script(deploying, "ManageApiKeysFunction"))
        found["config"], found["key"] = config, only(r'"apiKey": ?"([^"]+)"', answer)

    with (
        Stack.start(name=NAME, deploy=deploy, report=print) as stack,
        shell(stack.awsEndpointUrl, stack.region, found["config"]) as reader,
    ):
        outputs = reader.run(script(deploying, "stack-outputs"))
        assert {"ApiUrl", "BackOfficeUrl"} <= set(re.findall(r"\w+", outputs)), outputs
        export_id = export(reader, stack, found["key"])
        # Quota, sender, deploy, key, outputs, export; then what is for afterwards.
        return 6 + later(reader, script(deploying, "sam delete"), export_id, skipped)


def script(deploying: list[Block], mark: str) -> str:
    """The one block of shell commands that has this in it."""
    (block,) = (block for block in deploying if block.language == "sh" and mark in block.text)
    return block.text


def settings(deploying: list[Block], parameters: Mapping[str, str]) -> str:
    """samconfig.toml as its reader writes it, and with what the local AWS needs."""
    (block,) = (block for block in deploying if block.language == "toml")
    written = only(r'^parameter_overrides = "(.*)"$', block.text)
    config = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    given = only(r'\[default\.global\.parameters\][^\[]*^parameter_overrides = "(.*)"$', config)
    assert written.startswith(f"{given} "), f"samconfig.toml says {given!r}: the README's line is to begin with it"
    told = " ".join((written, *(f"{name}={value}" for name, value in parameters.items())))
    return config.replace(f'parameter_overrides = "{given}"', f'parameter_overrides = "{told}"')


def export(reader: Shell, stack: Stack, key: str) -> str:
    """The README's example, with the URL and the key of this stack, to its file and its e-mail. Returns its id."""
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


def later(reader: Shell, commands: str, export_id: str, skipped: list[str]) -> int:
    """What the README says for afterwards, command by command; the one that takes it all down comes last there."""
    count = 0
    for line in commands.strip().splitlines():
        command = line.partition("  #")[0].strip()
        if command.startswith("sam sync") and "--whole" not in sys.argv[1:]:
            skipped.append(command)
            continue
        until = next((printed for option, printed in DONE.items() if option in command), "")
        reader.run(command.replace("mpo_…", export_id), answers="y\ny\n", until=until)
        count += 1
    return count


def only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


if __name__ == "__main__":
    sys.exit(main())
