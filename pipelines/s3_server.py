"""An S3 server for one run: moto's, in memory, in a process of its own; to try things out."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from etchline.errors import MissingPackageError, ServiceError
from etchline.storage import parse_uri

READY_WITHIN_S = 60.0
KEYS = {
    "AWS_ACCESS_KEY_ID": "etchline",
    "AWS_SECRET_ACCESS_KEY": "etchline-moto",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def s3_server(location: str) -> Iterator[str]:
    """The URL of a server that has the bucket of `location`; the environment names it while the block runs.

    Raises:
        StorageError: the location names no bucket.
        MissingPackageError: moto or boto3 is not installed.
        ServiceError: the server does not start.
    """
    bucket = parse_uri(location).bucket
    if missing := [name for name in ("moto", "flask", "boto3") if find_spec(name) is None]:
        raise MissingPackageError(f"--moto needs {', '.join(missing)}: pip install 'moto[s3,server]' boto3")
    with moto_process() as url, _environment({**KEYS, "AWS_ENDPOINT_URL": url}):
        _make_bucket(bucket)
        yield url


@contextlib.contextmanager
def moto_process() -> Iterator[str]:
    """The URL of moto's server, without buckets; it ends with the block.

    It chooses its own port and says so: one that we found free could be another's when it listens.

    Raises:
        ServiceError: the server does not start.
    """
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            yield _url(Path(log.name), process)
        finally:
            process.kill()


def _url(log: Path, process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        has_ended = process.poll() is not None
        if found := re.search(rb"Running on (http://127\.0\.0\.1:\d+)", log.read_bytes()):
            return found[1].decode()
        if has_ended:
            break
        time.sleep(0.1)
    raise ServiceError("moto's server did not start; run `python -m moto.server` to see why")


def _make_bucket(bucket: str) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket=bucket)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
