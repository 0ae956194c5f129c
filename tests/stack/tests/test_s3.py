"""S3."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
import zlib
from typing import Any

import pytest
from awscrt import checksums

from conftest import PART_MINIMUM, Account, Responses

BUCKET = "rules"
KEY = "exports/file.csv"
PART = b"x" * PART_MINIMUM


@pytest.fixture(scope="module")
def s3(account: Account) -> Any:
    client = account.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def begin(s3: Any, **parameters: Any) -> dict[str, str]:
    made = s3.create_multipart_upload(Bucket=BUCKET, Key=KEY, **parameters)
    return {"Bucket": BUCKET, "Key": KEY, "UploadId": made["UploadId"]}


def upload(s3: Any, *bodies: bytes, **parameters: Any) -> dict[str, Any]:
    """Uploads parts. Returns the parameters that complete the upload."""
    begun = begin(s3, **parameters)
    parts = []
    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(PartNumber=number, Body=body, **begun)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    return {**begun, "MultipartUpload": {"Parts": parts}}


def crc64nvme(body: bytes) -> str:
    return base64.b64encode(checksums.crc64nvme(body).to_bytes(8, "big")).decode()


def test_part_below_the_minimum_is_rejected_unless_last(s3: Any, responses: Responses) -> None:
    """Each part except the last has at least 5 MiB (`STACK_S3_PART_MINIMUM`).

    Source: S3 User Guide, "Amazon S3 multipart upload limits"; S3 API Reference, CompleteMultipartUpload
    """
    s3.complete_multipart_upload(**upload(s3, PART, b"rest"))
    message = "Your proposed upload is smaller than the minimum allowed size"
    complete = s3.complete_multipart_upload
    responses.rejects(complete, "EntityTooSmall", message, **upload(s3, PART[1:], b"rest"))
    responses.rejects(complete, "EntityTooSmall", message, **upload(s3, PART, PART[1:], b"rest"))


def test_second_completion_is_rejected(s3: Any, responses: Responses) -> None:
    """Completing an upload twice may return NoSuchUpload, and the local stack always does.

    Source: S3 API Reference, CompleteMultipartUpload, NoSuchUpload ("might have been aborted or completed")
    """
    whole = upload(s3, b"whole")
    s3.complete_multipart_upload(**whole)
    responses.rejects(s3.complete_multipart_upload, "NoSuchUpload", "The specified multipart upload", **whole)


def test_aborted_upload_is_not_found(s3: Any, responses: Responses) -> None:
    """Requests for an aborted upload return NoSuchUpload.

    Source: S3 API Reference, AbortMultipartUpload, UploadPart, ListParts
    """
    whole = upload(s3, b"whole")
    named = {name: whole[name] for name in ("Bucket", "Key", "UploadId")}
    s3.abort_multipart_upload(**named)
    message = "The specified multipart upload does not exist"
    responses.rejects(s3.upload_part, "NoSuchUpload", message, PartNumber=2, Body=b"late", **named)
    responses.rejects(s3.list_parts, "NoSuchUpload", message, **named)
    responses.rejects(s3.complete_multipart_upload, "NoSuchUpload", message, **whole)


def test_part_list_that_does_not_match_is_rejected(s3: Any, responses: Responses) -> None:
    """The listed parts exist with these ETags, in ascending order.

    Source: S3 API Reference, CompleteMultipartUpload, InvalidPart and InvalidPartOrder
    """
    whole = upload(s3, PART, b"rest")
    first, second = whole["MultipartUpload"]["Parts"]
    complete = s3.complete_multipart_upload
    for parts, code in (
        ([first, {**second, "PartNumber": 3}], "InvalidPart"),
        ([first, {**second, "ETag": first["ETag"]}], "InvalidPart"),
        ([second, first], "InvalidPartOrder"),
    ):
        responses.rejects(complete, code, **{**whole, "MultipartUpload": {"Parts": parts}})
    complete(**whole)


def test_part_number_out_of_range_is_rejected(s3: Any, responses: Responses) -> None:
    """Parts are numbered 1 to 10,000.

    Source: S3 User Guide, "Amazon S3 multipart upload limits"
    """
    begun = begin(s3)
    message = "Part number must be an integer between 1 and 10000, inclusive"
    for number in (0, 10_001):
        responses.rejects(s3.upload_part, "InvalidArgument", message, PartNumber=number, Body=b"x", **begun)


def test_checksum_that_does_not_match_is_rejected(s3: Any, responses: Responses) -> None:
    """The checksum of a part, an object or a completed upload is verified. That of an upload covers the whole object.

    Source: S3 User Guide, "Checking object integrity in Amazon S3"
    """
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    put: dict[str, Any] = {"Bucket": BUCKET, "Key": KEY, "Body": b"x", "ChecksumCRC32": wrong}
    responses.rejects(s3.put_object, "BadDigest", ChecksumAlgorithm="CRC32", **put)
    part: dict[str, Any] = {"PartNumber": 1, "Body": b"x", "ChecksumCRC64NVME": crc64nvme(b"other")}
    full = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    responses.rejects(s3.upload_part, "BadDigest", ChecksumAlgorithm="CRC64NVME", **part, **begin(s3, **full))
    whole = upload(s3, PART, b"rest", **full)
    complete = s3.complete_multipart_upload
    responses.rejects(complete, "BadDigest", ChecksumCRC64NVME=crc64nvme(b"other"), ChecksumType="FULL_OBJECT", **whole)
    complete(ChecksumCRC64NVME=crc64nvme(PART + b"rest"), ChecksumType="FULL_OBJECT", **whole)


def test_size_that_does_not_match_is_rejected(s3: Any, responses: Responses) -> None:
    """The object size in a completion request is verified.

    Source: S3 API Reference, CompleteMultipartUpload, x-amz-mp-object-size
    """
    whole = upload(s3, b"whole")
    message = "'x-amz-mp-object-size' header value 6 does not match"
    responses.rejects(s3.complete_multipart_upload, "InvalidRequest", message, MpuObjectSize=6, **whole)
    s3.complete_multipart_upload(MpuObjectSize=5, **whole)


def test_missing_object_is_forbidden_without_list_permission(account: Account, s3: Any, responses: Responses) -> None:
    """HEAD and GET of a missing object return 403, and 404 only if the caller has `s3:ListBucket`. The key is the
    `s3:prefix` of that permission.

    Source: S3 API Reference, HeadObject, "Permissions"; ceph/ceph PR 68577 (s3:prefix)
    """
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    within = {"StringLike": {"s3:prefix": "exports/*"}}
    look = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}", "Condition": within}
    s3.put_object(Bucket=BUCKET, Key="exports/there", Body=b"x")
    reader = account.client_of_user("s3", "reader", read)
    lister = account.client_of_user("s3", "lister", read, look)
    for user in (reader, lister):
        user.head_object(Bucket=BUCKET, Key="exports/there")
    missing = {"Bucket": BUCKET, "Key": "exports/missing"}
    responses.rejects(reader.head_object, "403", **missing)
    responses.rejects(reader.get_object, "AccessDenied", **missing)
    responses.rejects(lister.head_object, "403", Bucket=BUCKET, Key="elsewhere/missing")
    responses.rejects(lister.head_object, "404", **missing)
    responses.rejects(lister.get_object, "NoSuchKey", **missing)


def test_presigned_url_of_more_than_a_week_is_rejected(account: Account, s3: Any, responses: Responses) -> None:
    """A presigned URL is valid for at most seven days.

    Source: S3 API Reference, "Authenticating requests: using query parameters (AWS Signature Version 4)"
    """
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"x")
    week = 7 * 24 * 3600

    def url(seconds: int) -> str:
        return str(s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": KEY}, seconds))

    with urllib.request.urlopen(url(week), timeout=10) as response:
        assert response.read() == b"x"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url(week + 1), timeout=10)
    message = "X-Amz-Expires must be less than a week"
    assert message in caught.value.read().decode()
    responses.add(f"{caught.value.code} AuthorizationQueryParametersError: {message}")
