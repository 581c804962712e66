"""S3 for tests: moto's server in a process of its own, or the endpoint that the environment names.

With `ETCHLINE_TEST_S3_ENDPOINT=http://host:port` and the usual AWS variables the same tests run against any
server. Each test gets buckets of its own, which are emptied and removed after it.
"""

import contextlib
import functools
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3

from pipelines.s3_server import moto_process

ENDPOINT_VARIABLE = "ETCHLINE_TEST_S3_ENDPOINT"
HOME = "us-east-1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_endpoint() -> Iterator[str]:
    """The URL of a running server; moto's is started, and ended with the block."""
    named = os.environ.get(ENDPOINT_VARIABLE)
    if named:
        yield named
        return
    with moto_process() as url:
        yield url


def environment(url: str) -> dict[str, str]:
    """The variables with which programs find the server."""
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}
    return {
        **{name: os.environ.get(name, value) for name, value in keys.items()},
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", HOME),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
    }


@functools.cache
def _client(url: str) -> Any:
    """Shared by all tests: to make one takes half a second."""
    values = environment(url)
    session = boto3.session.Session(
        values["AWS_ACCESS_KEY_ID"],
        values["AWS_SECRET_ACCESS_KEY"],
        region_name=values["AWS_DEFAULT_REGION"],
    )
    return session.client("s3", endpoint_url=url)


def make_bucket(client: Any, bucket: str) -> None:
    """Makes a bucket in the client's region; outside of us-east-1 Amazon wants to be told which that is."""
    region = client.meta.region_name
    told = {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=bucket, **told)


@dataclass
class S3:
    """A bucket of one test, and a client that does what etchline would not do.

    Attributes:
        url: the server's.
        bucket: the name of a bucket that exists and is empty.
    """

    url: str
    bucket: str = field(default_factory=lambda: f"etchline-test-{secrets.token_hex(6)}")

    def __post_init__(self) -> None:
        self.client: Any = _client(self.url)
        make_bucket(self.client, self.bucket)

    def uri(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}".rstrip("/")

    def put(self, key: str, body: bytes, **metadata: str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)

    def get(self, key: str) -> bytes:
        with contextlib.closing(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
            data: bytes = body.read()
            return data

    def head(self, key: str) -> dict[str, Any]:
        head: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=key)
        return head

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def remove(self) -> None:
        keys = self.keys()
        for start in range(0, len(keys), 1000):
            objects = [{"Key": key} for key in keys[start : start + 1000]]
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects})
        self.client.delete_bucket(Bucket=self.bucket)
