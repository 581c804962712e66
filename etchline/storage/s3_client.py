"""The boto3 client: usual AWS variables, bounded waiting, one client for each process."""

import functools
import os
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from etchline.errors import SettingsError, StorageError
from etchline.storage.s3_errors import translated

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
ATTEMPTS = 5
DEADLINE_VARIABLE = "ETCHLINE_S3_DEADLINE_S"
DEADLINE_S = 120.0
CONNECTIONS = 32


def s3_client() -> Any:  # noqa: ANN401  (boto3 makes its classes when it runs; they have no types)
    """The client of this process for the endpoint that the environment names.

    Raises:
        SettingsError: the deadline in the environment is no positive number.
        StorageError: the endpoint or the profile cannot be used.
    """
    # A forked process must not share its parent's connections.
    return _client(os.getpid(), endpoint(), deadline_s())


def endpoint() -> str | None:
    """The endpoint that `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names.

    Raises:
        StorageError: it is no URL; or it holds a user name or a password, which messages would show.
    """
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    if url is not None and "@" in _host(url):
        raise StorageError(
            "AWS_ENDPOINT_URL: holds a user name or password; leave them out and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return url


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError as error:  # such as an IPv6 address that is none
        raise StorageError("AWS_ENDPOINT_URL: is no URL; write it like http://host:9000") from error


def deadline_s() -> float:
    """Seconds after which a failing request is not sent again.

    Raises:
        SettingsError: the environment says something else than a positive number.
    """
    text = os.environ.get(DEADLINE_VARIABLE, str(DEADLINE_S))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise SettingsError(f"{DEADLINE_VARIABLE}={text}: must be a number of seconds above 0")
    return value


@functools.lru_cache(maxsize=4)
def _client(process: int, endpoint_url: str | None, deadline: float) -> Any:  # noqa: ANN401
    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    config = Config(
        retries=retries,
        connect_timeout=min(CONNECT_TIMEOUT_S, deadline),
        read_timeout=min(READ_TIMEOUT_S, deadline),
        max_pool_connections=CONNECTIONS,
        # Our own sha256 covers the object from end to end; other servers than Amazon's refuse the trailers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with translated("s3://", endpoint_url):
        client = boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)
    events = client.meta.events
    events.register("before-call.s3", _start_clock)
    events.register_first("needs-retry.s3", functools.partial(_stop_at_deadline, deadline))
    return client


def _start_clock(context: dict[str, Any], **_: object) -> None:
    context["etchline_started_s"] = time.monotonic()


def _stop_at_deadline(
    deadline: float,
    request_dict: dict[str, Any],
    caught_exception: Exception | None = None,
    **_: object,
) -> None:
    """Raises what went wrong where botocore would send the request again after the deadline."""
    started_s = request_dict["context"].get("etchline_started_s", time.monotonic())
    if caught_exception is not None and time.monotonic() - started_s >= deadline:
        raise caught_exception
