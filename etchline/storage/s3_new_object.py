"""Objects that are put only where there is none: in one request, or in parts where that cannot hold them."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore import exceptions as aws

from etchline.storage.locations import S3Uri

# A put of one request is conditional on every server, one in parts is not (Ceph 16 takes no notice), so parts
# are for what S3 takes in no other way.
MAX_SINGLE_BYTES = 5 * 1000**3
PART_BYTES = 16 << 20
MAX_PARTS = 10_000
_PARTS_AT_ONCE = 4
_ABSENT = "*"  # as If-None-Match: nothing matches


def put_new(client: Any, path: Path, uri: S3Uri, metadata: dict[str, str]) -> None:  # noqa: ANN401  (boto3)
    """Puts a file where there is no object; all of it or nothing.

    Args:
        client: boto3's.
        path: the file.
        uri: of the object.
        metadata: of the object.

    Raises:
        ClientError: "PreconditionFailed" where an object is there, which stays as it is; or anything else.
        BotoCoreError: the server cannot be reached.
        OSError: the file cannot be read.
    """
    place = {"Bucket": uri.bucket, "Key": uri.key}
    if path.stat().st_size <= MAX_SINGLE_BYTES:
        with path.open("rb") as body:
            client.put_object(**place, Body=body, Metadata=metadata, IfNoneMatch=_ABSENT)
        return
    upload = client.create_multipart_upload(**place, Metadata=metadata)["UploadId"]
    try:
        parts = {"Parts": _put_parts(client, path, {**place, "UploadId": upload})}
        client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts, IfNoneMatch=_ABSENT)
    except BaseException:
        # Parts of what never becomes an object are stored, and paid for, until they are aborted. Where that
        # fails too, the first error is the one to tell.
        with contextlib.suppress(aws.ClientError, aws.BotoCoreError):
            client.abort_multipart_upload(**place, UploadId=upload)
        raise


def _put_parts(client: Any, path: Path, upload: dict[str, str]) -> list[dict[str, Any]]:  # noqa: ANN401
    """Puts the file's bytes; what completing needs to know of each part."""
    size = path.stat().st_size
    part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))

    def put(start: int) -> dict[str, Any]:
        number = start // part_bytes + 1
        with path.open("rb") as stream:
            stream.seek(start)
            body = stream.read(part_bytes)
        answer = client.upload_part(**upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    pool = ThreadPoolExecutor(_PARTS_AT_ONCE)
    try:
        return list(pool.map(put, range(0, size, part_bytes)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
