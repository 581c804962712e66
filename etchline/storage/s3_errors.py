"""The one place where boto3's errors become ours: location, cause, remedy, and nothing about credentials."""

import contextlib
from collections.abc import Iterator

from boto3.exceptions import Boto3Error
from botocore import exceptions as aws

from etchline.errors import StorageError

_DENIED = "access denied (403): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do there"
_NO_KEYS = (
    "no usable credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the pod's role"
)
_NOTHING = "no such object; check the key"
_REGION = "the bucket lies in another region; set AWS_DEFAULT_REGION to it"
_BUSY = "the server refuses work for now; try again later"
_CUT = (
    "the connection was cut or too slow, also when tried again; check the network and run the command again"
)

_REMEDIES = {
    **dict.fromkeys(("403", "AccessDenied", "Forbidden", "AllAccessDisabled"), _DENIED),
    **dict.fromkeys(("401", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"), _DENIED),
    **dict.fromkeys(("ExpiredToken", "TokenRefreshRequired"), "the credentials have expired; get new ones"),
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "NoSuchBucket": "no such bucket; check its name and the endpoint, or create it",
    **dict.fromkeys(("404", "NoSuchKey"), _NOTHING),
    **dict.fromkeys(
        ("301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        _REGION,
    ),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "500", "502", "503", "504"), _BUSY),
    "EntityTooLarge": "the file is larger than the server takes",
}


@contextlib.contextmanager
def translated(location: str, endpoint_url: str | None = None) -> Iterator[None]:
    """Turns errors of boto3 inside the block into `StorageError`s that name the location.

    Args:
        location: what is read or written.
        endpoint_url: the server, where the environment names one.
    """
    try:
        yield
    except aws.ClientError as error:
        raise StorageError(f"{location}: {_remedy(error)}") from error
    except (aws.BotoCoreError, Boto3Error) as error:
        # Boto3Error wraps the error of a transfer.
        inner = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
        if isinstance(inner, aws.ClientError):
            raise StorageError(f"{location}: {_remedy(inner)}") from error
        raise StorageError(f"{location}: {_cause(inner, endpoint_url or 'the endpoint')}") from error
    except ValueError as error:
        # botocore raises it for an endpoint that is no URL.
        if "endpoint" not in str(error).lower():
            raise
        raise StorageError(
            f"{location}: AWS_ENDPOINT_URL={endpoint_url} is no URL; write it like http://host:9000"
        ) from error


def error_code(error: aws.ClientError) -> str:
    """The code that a server gave, such as "NoSuchKey", or the HTTP status where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _remedy(error: aws.ClientError) -> str:
    # Only the code: the text around it is the server's, which may repeat what the request held.
    code = error_code(error)
    known = _REMEDIES.get(code)
    if known is not None:
        return known
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    plain = code[:60] if code.isalnum() else "error"
    return f"the server answers {plain} ({status}); check the endpoint and the bucket"


def _cause(error: BaseException, server: str) -> str:
    name = type(error).__name__
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return _NO_KEYS
    if isinstance(error, aws.ProfileNotFound):
        return "AWS_PROFILE names a profile that is not there; check ~/.aws/config"
    if isinstance(error, aws.SSLError):
        return f"{server} has no certificate that this machine trusts; set AWS_CA_BUNDLE"
    if isinstance(error, aws.EndpointConnectionError | aws.ConnectTimeoutError | aws.ProxyConnectionError):
        return f"{server} cannot be reached; check AWS_ENDPOINT_URL, the network and that the server runs"
    if isinstance(error, aws.ParamValidationError | aws.InvalidRegionError):
        return "no valid bucket, key or region; check how it is written"
    if isinstance(error, aws.HTTPClientError | aws.IncompleteReadError) or name == "RetriesExceededError":
        return _CUT
    if "Parser" in name:
        return f"{server} does not answer like S3; check AWS_ENDPOINT_URL"
    if "Token" in name or "Credential" in name or "SSO" in name:
        return _NO_KEYS
    return f"S3 failed ({name}); --debug shows more"
