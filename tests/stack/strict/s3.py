"""S3: completing multipart uploads, and the response to requests for missing objects."""

from __future__ import annotations

import os
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

from ministack import app
from ministack.core.responses import get_region
from ministack.services import s3

PART_MINIMUM = int(os.environ.get("STACK_S3_PART_MINIMUM", 5 << 20))
CRC64NVME = "x-amz-checksum-crc64nvme"

_complete = s3._complete_multipart_upload
_dispatch = s3._dispatch


def _listed_parts(body: bytes) -> list[int]:
    try:
        return [int(element.text or 0) for element in fromstring(body).iter() if element.tag.endswith("PartNumber")]
    except (ParseError, ValueError):
        return []


def _complete_once(
    bucket: str, key: str, body: bytes, query: dict[str, Any], headers: dict[str, str] | None = None
) -> Any:
    """Parts must ascend and have at least 5 MiB, except the last. A CRC64NVME covers the whole object. An upload can be
    completed only once.

    S3 User Guide, "Amazon S3 multipart upload limits" and "Checking object integrity"; S3 API Reference,
    CompleteMultipartUpload, "Errors" (NoSuchUpload: the upload "might have been aborted or completed").
    """
    headers = dict(headers or {})
    given = headers.pop(CRC64NVME, None)
    upload_id = s3._qp(query, "uploadId")
    upload = s3._multipart_uploads.get(upload_id)
    if upload:
        listed = _listed_parts(body)
        parts = [upload["parts"][number]["body"] for number in listed if number in upload["parts"]]
        if listed != sorted(listed):
            message = "The list of parts was not in ascending order. The parts list must be specified in order."
            return s3._error("InvalidPartOrder", message, 400, f"/{bucket}/{key}")
        if any(len(part) < PART_MINIMUM for part in parts[:-1]):
            message = "Your proposed upload is smaller than the minimum allowed size"
            return s3._error("EntityTooSmall", message, 400, f"/{bucket}/{key}")
        if given and given != s3._compute_s3_checksum("CRC64NVME", b"".join(parts)):
            message = "The CRC64NVME you specified did not match the calculated checksum."
            return s3._error("BadDigest", message, 400, f"/{bucket}/{key}")
    completed = _complete(bucket, key, body, query, headers)
    s3._completed_multipart_uploads.pop(upload_id, None)
    return completed


def _hide_missing(
    method: str, bucket: str, key: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Any:
    """A missing object is 403 for callers without s3:ListBucket.

    S3 API Reference, HeadObject and GetObject, "Permissions". The key is the s3:prefix: ceph/ceph PR 68577.
    """
    response = _dispatch(method, bucket, key, headers, body, query)
    if not (app.AUTH and response[0] == 404 and method in ("GET", "HEAD") and key and bucket in s3._buckets):
        return response
    from ministack.core.iam_evaluator import enforce

    denied = enforce(
        app.extract_access_key_id(headers, query), "s3:ListBucket", "s3", get_region(),
        resource_arn=f"arn:aws:s3:::{bucket}", service_context={"s3:prefix": key},
    )  # fmt: skip
    return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}") if denied else response


def enforce() -> None:
    s3._complete_multipart_upload = _complete_once
    s3._dispatch = _hide_missing
