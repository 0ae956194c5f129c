"""Three routes in idiomatic boto3: clients at module level and the low-level API.

They use the same tables and response format, but have hardly any validation, no idempotency keys and no filters.
"""

import base64
import hashlib
import json
import os
import secrets
import time
from datetime import datetime, timedelta, timezone

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

ROUTE = os.environ["_HANDLER"].split(".")[1]
CACHE_SECONDS = 45

dynamodb = boto3.client("dynamodb")
if ROUTE == "create":
    sqs = boto3.client("sqs")
if ROUTE == "detail":
    secret = json.loads(
        boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["LINK_SIGNER_SECRET"])["SecretString"]
    )
    s3 = boto3.client("s3", aws_access_key_id=secret["accessKeyId"], aws_secret_access_key=secret["secretAccessKey"])

deserializer = TypeDeserializer()
cached_callers = {}


def create(event, context):
    caller = authenticate(event)
    if caller is None:
        return response(401, {"errors": [{"code": "UNAUTHENTICATED"}]})
    body = json.loads(event.get("body") or "{}")
    now = datetime.now(timezone.utc)
    export_id = new_id()
    export = {
        "tenantId": caller["tenantId"],
        "sk": f"EXPORT#{export_id}",
        "exportId": export_id,
        "status": "PENDING",
        "recipientTo": caller["email"],
        "recipientsCc": body.get("cc", []),
        "createdAt": timestamp(now),
        "updatedAt": timestamp(now),
        "deadline": timestamp(now + timedelta(hours=6)),
        "rowsWritten": 0,
    }
    lock = {"tenantId": caller["tenantId"], "sk": "LOCK#marketplace-payouts", "exportId": export_id}
    try:
        dynamodb.transact_write_items(
            TransactItems=[
                {
                    "Put": {
                        "TableName": os.environ["EXPORTS_TABLE"],
                        "Item": to_item(entry),
                        "ConditionExpression": "attribute_not_exists(sk)",
                    }
                }
                for entry in (export, lock)
            ]
        )
    except dynamodb.exceptions.TransactionCanceledException:
        return response(409, {"errors": [{"code": "EXPORT_ALREADY_PENDING"}]})
    sqs.send_message(
        QueueUrl=os.environ["JOBS_QUEUE_URL"],
        MessageBody=json.dumps({"version": 1, "tenantId": caller["tenantId"], "exportId": export_id}),
    )
    return response(202, view(export))


def history(event, context):
    caller = authenticate(event)
    if caller is None:
        return response(401, {"errors": [{"code": "UNAUTHENTICATED"}]})
    found = dynamodb.query(
        TableName=os.environ["EXPORTS_TABLE"],
        ConsistentRead=True,
        KeyConditionExpression="tenantId = :tenant AND begins_with(sk, :export)",
        ExpressionAttributeValues={":tenant": {"S": caller["tenantId"]}, ":export": {"S": "EXPORT#"}},
        ScanIndexForward=False,
        Limit=20,
    )
    exports = [view(from_item(entry)) for entry in found["Items"]]
    return response(200, {"content": exports, "size": len(exports)})


def exists(key):
    try:
        s3.head_object(Bucket=os.environ["EXPORTS_BUCKET"], Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return False
    return True


def detail(event, context):
    caller = authenticate(event)
    if caller is None:
        return response(401, {"errors": [{"code": "UNAUTHENTICATED"}]})
    found = dynamodb.get_item(
        TableName=os.environ["EXPORTS_TABLE"],
        Key={"tenantId": {"S": caller["tenantId"]}, "sk": {"S": f"EXPORT#{event['pathParameters']['exportId']}"}},
        ConsistentRead=True,
    )
    if "Item" not in found:
        return response(404, {"errors": [{"code": "EXPORT_NOT_FOUND"}]})
    export = from_item(found["Item"])
    shown = view(export)
    if export["status"] == "READY" and exists(export["file"]["key"]):
        shown["downloadUrl"] = s3.generate_presigned_url(
            "get_object",
            Params={"Bucket": os.environ["EXPORTS_BUCKET"], "Key": export["file"]["key"]},
            ExpiresIn=900,
        )
    return response(200, shown)


def authenticate(event):
    key_hash = hashlib.sha256(event["headers"].get("dj-api-key", "").encode()).hexdigest()
    cached = cached_callers.get(key_hash)
    if cached and time.monotonic() - cached[0] < CACHE_SECONDS:
        return cached[1]
    found = dynamodb.get_item(
        TableName=os.environ["API_KEYS_TABLE"], Key={"keyHash": {"S": key_hash}}, ConsistentRead=True
    )
    if "Item" not in found or event["headers"].get("dj-client") != "OPERATOR":
        return None
    caller = from_item(found["Item"])
    cached_callers[key_hash] = (time.monotonic(), caller)
    return caller


def view(export):
    shown = {
        "exportId": export["exportId"],
        "status": export["status"],
        "recipients": {"to": export["recipientTo"], "cc": export["recipientsCc"]},
        "createdAt": export["createdAt"],
        "updatedAt": export["updatedAt"],
        "progress": {"rows": int(export["rowsWritten"])},
    }
    if "file" in export:
        file = export["file"]
        shown["file"] = {
            "name": file["name"],
            "rows": int(file["rows"]),
            "bytes": int(file["bytes"]),
            "sha256": file["sha256"],
        }
        shown["linkExpiresAt"] = export["linkExpiresAt"]
    return shown


def to_item(values):
    return {name: to_attribute(value) for name, value in values.items()}


def to_attribute(value):
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, list):
        return {"L": [to_attribute(entry) for entry in value]}
    return {"N": str(value)}


def from_item(item):
    return {name: deserializer.deserialize(value) for name, value in item.items()}


def new_id():
    millis = int(time.time() * 1000)
    return "mpo_" + base64.b32encode(millis.to_bytes(6, "big") + secrets.token_bytes(10)).decode().rstrip("=").lower()


def timestamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def response(status, body):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
