"""What AWS rejects and the emulator would accept, a module a service.

Each rule is a function whose docstring says where AWS states it, put in the place of one of the emulator's. The tests
in the folder `tests` show that each offence is rejected.

Settings (environment): `STACK_S3_PART_MINIMUM`, the bytes that a part must have unless it is the last (5 MiB);
`STACK_TRANSACTION_SECONDS`, how long a transaction is under way (0.005); `STACK_LAMBDA_QUOTA`, the account's quota of
concurrent executions (1,000). In a function's environment: `STACK_FROZEN_CONNECTIONS` (see `functions`).
"""

from __future__ import annotations


def enforce() -> None:
    from strict import cloudformation, dynamodb, functions, s3, ses, sqs

    for module in (sqs, ses, s3, dynamodb, functions, cloudformation):
        module.enforce()
