"""Objects in S3 as a store. Only this module and its two neighbours `s3_*` import boto3."""

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws

from etchline.errors import StorageError
from etchline.storage import s3_new_object
from etchline.storage.files import atomic_path
from etchline.storage.local_store import file_sha256
from etchline.storage.locations import S3Uri, check_name
from etchline.storage.s3_client import ATTEMPTS, deadline_s, endpoint, s3_client
from etchline.storage.s3_errors import error_code, translated
from etchline.storage.s3_new_object import PART_BYTES
from etchline.storage.stored_file import Kind, StoredFile

SHA256 = "sha256"  # the key in an object's metadata
MAX_FILES = 1_000_000

_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
_TRANSFER = TransferConfig(
    multipart_threshold=PART_BYTES,
    multipart_chunksize=PART_BYTES,
    max_concurrency=4,
    num_download_attempts=ATTEMPTS,
)

Result = TypeVar("Result")


class S3Store:
    """An object or a prefix; see `store.Store`.

    Every upload puts the sha256 into the object's metadata and every download compares it. Objects that
    others put there without one are compared by size alone.
    """

    def __init__(self, uri: S3Uri) -> None:
        self._uri = uri
        self._client: Any = s3_client()

    @property
    def location(self) -> str:
        """See `Store.location`."""
        return str(self._uri)

    def kind(self) -> Kind:
        """See `Store.kind`. An object goes before objects below the same name."""
        if self._uri.key and self._head(self._uri) is not None:
            return "file"
        with self._translated(self._uri):
            answer = self._client.list_objects_v2(Bucket=self._uri.bucket, Prefix=self._prefix, MaxKeys=2)
        return (
            "folder" if any(item["Key"] != self._prefix for item in answer.get("Contents", ())) else "nothing"
        )

    def files(self) -> list[StoredFile]:
        """See `Store.files`. Empty objects whose key ends with a slash are folders of consoles, no files."""
        found: list[StoredFile] = []
        with self._translated(self._uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._uri.bucket, Prefix=self._prefix
            )
            for item in (item for page in pages for item in page.get("Contents", ())):
                name = item["Key"].removeprefix(self._prefix)
                if item["Key"].endswith("/") and item["Size"] == 0:
                    continue
                check_name(name, self.location)
                if len(found) == MAX_FILES:
                    raise StorageError(
                        f"{self.location}: more than {MAX_FILES:,} objects; name a narrower prefix"
                    )
                found.append(StoredFile(name, item["Size"], item["ETag"].strip('"')))
        return sorted(found, key=lambda file: file.name)

    def sha256(self, name: str) -> str | None:
        """See `Store.sha256`. Of an object without one in its metadata all bytes are read."""
        uri = self._uri.below(name)
        head = self._head(uri)
        if head is None:
            return None
        return _recorded(head) or self._try_again(uri, lambda: self._hash(uri))

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Store.read`."""
        uri = self._uri.below(name)
        if length == 0:
            return b""
        end = "" if length is None else start + length - 1
        try:
            return self._try_again(uri, lambda: self._read_body(uri, f"bytes={start}-{end}"))
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, aws.ClientError) and error_code(cause) in ("InvalidRange", "416"):
                return b""
            raise

    def download(self, name: str, path: Path) -> None:
        """See `Store.download`."""
        uri = self._uri.below(name)
        with atomic_path(path) as temporary:
            head = self._try_again(uri, lambda: self._fetch(uri, temporary))
            recorded = _recorded(head)
            if recorded is not None and file_sha256(temporary) != recorded:
                raise StorageError(
                    f"{uri}: damaged: its bytes are not those that were uploaded (the sha256 in its "
                    "metadata is another); upload it again"
                )
            if temporary.stat().st_size != head["ContentLength"]:
                raise StorageError(f"{uri}: changed while it was read; run the command again")

    def upload(self, path: Path, name: str, *, replace: bool = True) -> bool:
        """See `Store.upload`."""
        uri = self._uri.below(name)
        metadata = {SHA256: file_sha256(path)}
        if not replace:
            return self._put_new(path, uri, metadata)
        with self._translated(uri):
            self._client.upload_file(
                str(path), uri.bucket, uri.key, ExtraArgs={"Metadata": metadata}, Config=_TRANSFER
            )
        return True

    @property
    def _prefix(self) -> str:
        return f"{self._uri.key}/" if self._uri.key else ""

    def _put_new(self, path: Path, uri: S3Uri, metadata: dict[str, str]) -> bool:
        if path.stat().st_size > s3_new_object.MAX_SINGLE_BYTES and self._head(uri) is not None:
            return False  # told before gigabytes are sent, and by servers that take parts unconditionally
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._translated(uri):
                    s3_new_object.put_new(self._client, path, uri, metadata)
                return True
            except StorageError as error:
                cause = error.__cause__
                code = error_code(cause) if isinstance(cause, aws.ClientError) else ""
                if code in ("PreconditionFailed", "412"):
                    return False
                # Something else happened to the key meanwhile, which need not have put anything there.
                if code not in ("ConditionalRequestConflict", "409") or attempt == ATTEMPTS:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("the loop returns or raises")

    def _head(self, uri: S3Uri) -> dict[str, Any] | None:
        try:
            with self._translated(uri):
                head: dict[str, Any] = self._client.head_object(Bucket=uri.bucket, Key=uri.key)
                return head
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, aws.ClientError) and error_code(cause) in ("404", "NoSuchKey"):
                return None
            raise

    def _get(self, uri: S3Uri, **more: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **more)
        return answer

    def _read_body(self, uri: S3Uri, extent: str) -> bytes:
        with contextlib.closing(self._get(uri, Range=extent)["Body"]) as body:
            data: bytes = body.read()
            return data

    def _fetch(self, uri: S3Uri, path: Path) -> dict[str, Any]:
        """Writes the object to `path`; its head. Small ones take one request, large ones several at once."""
        answer = self._get(uri)
        with contextlib.closing(answer["Body"]) as body:
            if answer["ContentLength"] <= PART_BYTES:
                path.write_bytes(body.read())
                return answer
        self._client.download_file(uri.bucket, uri.key, str(path), Config=_TRANSFER)
        return answer

    def _hash(self, uri: S3Uri) -> str:
        digest = hashlib.sha256()
        with contextlib.closing(self._get(uri)["Body"]) as body:
            for chunk in body.iter_chunks(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _try_again(self, uri: S3Uri, action: Callable[[], Result]) -> Result:
        """The action's result; botocore tries requests again, but not bodies that are cut."""
        give_up_s = time.monotonic() + deadline_s()
        with self._translated(uri):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return action()
                except (aws.IncompleteReadError, aws.ResponseStreamingError, aws.ReadTimeoutError):
                    if attempt == ATTEMPTS or time.monotonic() >= give_up_s:
                        raise
                    time.sleep(0.1 * 2**attempt)
        raise AssertionError("the loop returns or raises")

    @contextlib.contextmanager
    def _translated(self, uri: S3Uri) -> Iterator[None]:
        with translated(str(uri), endpoint()):
            yield


def _recorded(head: dict[str, Any]) -> str | None:
    """The sha256 in an object's metadata, where it is one."""
    value = str(head.get("Metadata", {}).get(SHA256, "")).lower()
    return value if _HEX.fullmatch(value) else None
