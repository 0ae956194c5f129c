"""Runs checkov on the template. Every finding must be one of the exceptions below, and every exception must be found.

Runs in the environment of tests/supply/requirements.txt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CUSTOMER_KEYS = (
    "All data is encrypted, with keys that AWS owns or manages. A customer managed key would duplicate the access "
    "control of the roles, and losing the key would mean losing the data"
)
EXCEPTIONS = {
    "CKV_AWS_18": "A CloudTrail trail records downloads. S3 access logs are delivered on a best-effort basis and "
    "contain URLs with signatures that are still valid",
    "CKV_AWS_21": "Every object key is written once, and a deleted file must leave no versions",
    "CKV_AWS_26": "CloudWatch cannot use the AWS managed key of SNS, and alarms contain no tenant data",
    "CKV_AWS_27": "SQS encrypts the queues (SqsManagedSseEnabled), which this check does not recognize",
    "CKV_AWS_35": CUSTOMER_KEYS,
    "CKV_AWS_67": "The bucket that the trail records is in one region",
    "CKV_AWS_115": "Concurrency is reserved for the functions that a flood of requests must not stop. Throttling "
    "limits the API's functions",
    "CKV_AWS_116": "A function's dead-letter queue is for asynchronous invocations. Only the sweep is invoked that "
    "way, and the next sweep makes up for a lost one. The jobs queue has a dead-letter queue",
    "CKV_AWS_117": "The functions only call public AWS endpoints, which IAM protects",
    "CKV_AWS_119": CUSTOMER_KEYS,
    "CKV_AWS_149": CUSTOMER_KEYS,
    "CKV_AWS_158": CUSTOMER_KEYS + ". Logs contain no addresses, keys or links",
    "CKV_AWS_173": "Environments contain no secrets, which are in Secrets Manager",
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
    problems = [f"cannot parse {name}" for name in report["results"].get("parsing_errors", [])]
    for check in report["results"]["failed_checks"]:
        found.setdefault(check["check_id"], []).append(check["resource"].rpartition(".")[2])
        if check["check_id"] not in EXCEPTIONS:
            problems.append(f"{check['check_id']} {check['resource']}: {check['check_name']}")
    for check, resources in sorted(found.items()):
        if check in EXCEPTIONS:
            print(f"{check} excepted for {len(resources)} resources: {EXCEPTIONS[check]}")
    problems += [f"{check} is no longer found: remove the exception" for check in EXCEPTIONS if check not in found]
    print(f"checkov: {report['summary']['passed']} checks passed, {len(problems)} failed")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems or not report["summary"]["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
