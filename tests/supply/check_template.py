"""Runs checkov on the template. What it finds must be one of the exceptions below, and each of them must be found.

Runs in the environment of requirements.txt, beside this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OWN_KEYS = (
    "All data is encrypted, with keys that AWS owns or manages for the service. A key of the account's own would ask "
    "again who may read, which the roles say already, and would be one more thing to lose the data by"
)
EXCEPTIONS = {
    "CKV_AWS_18": "Downloads are recorded by a trail. S3's access log is delivered at best effort, and would hold URLs "
    "with signatures that are still good",
    "CKV_AWS_21": "Every file has a key of its own, written once. A deleted file must be gone, versions and all",
    "CKV_AWS_26": "CloudWatch may not use the AWS-managed key of SNS, and alarms carry no data of tenants",
    "CKV_AWS_27": "The queues are encrypted by SQS (SqsManagedSseEnabled), which this check does not know",
    "CKV_AWS_35": OWN_KEYS,
    "CKV_AWS_67": "The bucket that the trail watches is in one region",
    "CKV_AWS_115": "Concurrency is reserved where a flood must not stop exports. What the API may take of the rest is "
    "bounded by its throttling",
    "CKV_AWS_116": "A dead-letter queue of a function is for asynchronous invocations: there are none but the sweep, "
    "and the next one makes up for a lost one. Jobs have their queue's",
    "CKV_AWS_117": "No function talks to anything within a network, only to AWS's public endpoints, where IAM decides",
    "CKV_AWS_119": OWN_KEYS,
    "CKV_AWS_149": OWN_KEYS,
    "CKV_AWS_158": OWN_KEYS + ". Logs hold neither addresses nor keys nor links",
    "CKV_AWS_173": "Environments hold names, sizes and spans, no secrets: those are in Secrets Manager",
}


def main() -> int:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("checkov"), "--framework", "cloudformation", "--file", "template.yaml",
            "--skip-download", "--quiet", "--compact", "--output", "json",
        ],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "LOG_LEVEL": "ERROR"},
    )  # fmt: skip
    report = json.loads(done.stdout)
    found: dict[str, list[str]] = {}
    faults = [f"cannot read {name}" for name in report["results"].get("parsing_errors", [])]
    for check in report["results"]["failed_checks"]:
        found.setdefault(check["check_id"], []).append(check["resource"].rpartition(".")[2])
        if check["check_id"] not in EXCEPTIONS:
            faults.append(f"{check['check_id']} {check['resource']}: {check['check_name']}")
    for check, resources in sorted(found.items()):
        if check in EXCEPTIONS:
            print(f"{check} excepted for {len(resources)}: {EXCEPTIONS[check]}")
    faults += [f"{check} is an exception no more: take it out" for check in EXCEPTIONS if check not in found]
    print(f"checkov: {report['summary']['passed']} checks passed, {len(faults)} failed")
    for fault in faults:
        print(f"  {fault}")
    return 1 if faults or not report["summary"]["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
