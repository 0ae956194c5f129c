"""Rules of AWS that the emulator does not enforce, one module per service.

Each rule is a function that replaces one of the emulator's. Its docstring names the source in AWS's documentation. The
tests in the folder `tests` show that every violation is rejected.

Environment variables: `STACK_S3_PART_MINIMUM`, the minimum size in bytes of every part except the last (5 MiB);
`STACK_TRANSACTION_SECONDS`, the duration of a transaction (0.005); `STACK_LAMBDA_QUOTA`, the account's quota of
concurrent executions (1,000). In a function's environment: `STACK_FROZEN_CONNECTIONS` (see `functions`).
"""

from __future__ import annotations


def enforce() -> None:
    from strict import cloudformation, dynamodb, functions, s3, ses, sqs

    for module in (sqs, ses, s3, dynamodb, functions, cloudformation):
        module.enforce()
