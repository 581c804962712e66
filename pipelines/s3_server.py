"""An S3 server for one run: moto's, in memory, in a process of its own; to try things out."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec

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
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(url, process)
            with _environment({**KEYS, "AWS_ENDPOINT_URL": url}):
                _make_bucket(bucket)
                yield url
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            opener.open(url, timeout=1).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise ServiceError(f"moto's server at {url} did not start; run `python -m moto.server` to see why")


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
