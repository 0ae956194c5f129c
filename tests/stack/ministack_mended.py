"""Starts the emulator (ministack) with one thing mended that cannot be made up for from outside: S3's CRC64NVME.

In AWS, the CRC64NVME of an object in parts is always that of the whole object, and CompleteMultipartUpload checks the
one it is given. The emulator takes it for a checksum of the parts' checksums, and so refuses every right one.
"""

from __future__ import annotations

from typing import Any

from awscrt import checksums
from ministack.app import main
from ministack.services import s3

HEADER = "x-amz-checksum-crc64nvme"
_complete = s3._complete_multipart_upload


def _complete_whole(
    bucket: str, key: str, body: bytes, query: dict[str, Any], headers: dict[str, str] | None = None
) -> Any:
    headers = dict(headers or {})
    given = headers.pop(HEADER, None)
    upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
    if given and upload:
        whole = b"".join(part["body"] for _, part in sorted(upload["parts"].items()))
        if given != s3._compute_s3_checksum("CRC64NVME", whole):
            message = "The CRC64NVME you specified did not match the calculated checksum."
            return s3._error("BadDigest", message, 400, f"/{bucket}/{key}")
    return _complete(bucket, key, body, query, headers)


if __name__ == "__main__":
    s3._complete_multipart_upload = _complete_whole
    # The emulator's own is in Python: a few seconds for a part, in which it answers nobody.
    s3._crc64nvme = checksums.crc64nvme
    main()
