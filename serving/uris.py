"""Images that the service fetches itself, from below the prefixes that its operator allows."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kserve.errors import InvalidInput
from kserve.logging import logger

from etchline.errors import SettingsError, StorageError
from etchline.images.sidecar import MAX_SIDECAR_BYTES, sidecar_paths
from etchline.storage import S3Uri, Store, is_s3, open_store, parse_uri
from serving.errors import Unavailable

MAX_URI = 4096
"""Characters."""


@dataclass(frozen=True)
class FetchedImage:
    """What lies at a URI.

    Attributes:
        name: of the file.
        data: its bytes.
        sidecar: the bytes of the text file that a microscope has written beside it, as `etchline segment`
            reads it; `None` where there is none. It never looks for one in S3.
    """

    name: str
    data: bytes
    sidecar: bytes | None = None


def parse_prefix(prefix: str) -> Path | S3Uri:
    """The folder or the part of a bucket that a prefix names. What is below it begins with a slash.

    Raises:
        SettingsError: it is none, or all of this machine.
    """
    try:
        if is_s3(prefix):
            return parse_uri(prefix)
        path = _local_path(prefix)
    except (StorageError, InvalidInput) as error:
        raise SettingsError(
            f"--uri-prefix {prefix[:200]!r}: give file:///folder/ or s3://bucket/prefix/ ({error})"
        ) from error
    if ".." in path.parts or path == Path("/"):
        raise SettingsError(f"--uri-prefix {prefix[:200]!r}: must name a folder below /, without '..'")
    return path


def open_prefixes(prefixes: tuple[str, ...], deadline_s: float) -> None:
    """Finds out when the service starts, not when somebody asks, whether S3 can be used at all.

    Args:
        prefixes: where images may lie.
        deadline_s: S3 is asked again for no longer, unless the environment says otherwise.

    Raises:
        StorageError: the endpoint or the keys of the environment are none.
        MissingPackageError: boto3 is not installed.
    """
    for prefix in prefixes:
        if is_s3(prefix):
            open_store(prefix)
            from etchline.storage.s3_client import DEADLINE_VARIABLE  # needs boto3

            os.environ.setdefault(DEADLINE_VARIABLE, str(deadline_s))


def fetch_image(uri: str, prefixes: tuple[str, ...], max_bytes: int) -> FetchedImage:
    """The image at a URI.

    Args:
        uri: file:///folder/image.png or s3://bucket/prefix/image.png.
        prefixes: it must lie below one of them, links resolved.
        max_bytes: of the image.

    Raises:
        InvalidInput: it lies elsewhere, is no readable file or too large. Which of them is not told of files
            outside of the prefixes.
        Unavailable: S3 does not answer as it should.
    """
    if len(uri) > MAX_URI:
        raise InvalidInput(f"uri: {len(uri)} characters, more than the limit of {MAX_URI}")
    allowed = [parse_prefix(prefix) for prefix in prefixes]
    if is_s3(uri):
        return _fetch_object(uri, [place for place in allowed if isinstance(place, S3Uri)], max_bytes)
    return _fetch_file(uri, [place for place in allowed if isinstance(place, Path)], max_bytes)


def _fetch_file(uri: str, folders: list[Path], max_bytes: int) -> FetchedImage:
    path = _local_path(uri)
    if not _is_below(path, folders):
        raise _elsewhere(uri, len(folders))
    try:
        data = _read(path, max_bytes)
    except OSError as error:
        raise InvalidInput(f"uri {uri[:200]!r}: cannot be read ({error.strerror})") from error
    if data is None:
        raise InvalidInput(f"uri {uri[:200]!r}: there is no such file")
    if len(data) > max_bytes:
        raise _too_large(uri, max_bytes)
    return FetchedImage(path.name, data, _sidecar(path, folders))


def _sidecar(path: Path, folders: list[Path]) -> bytes | None:
    """As `etchline.images.sidecar.sidecar_text` finds it, but only below the folders."""
    for beside in sidecar_paths(path):
        if beside == path or not _is_below(beside, folders):
            continue
        try:
            data = _read(beside, MAX_SIDECAR_BYTES)
        except OSError as error:
            logger.warning("%s: cannot be read (%s); the pixel size stays unknown", beside, error.strerror)
            continue
        if data is not None and len(data) <= MAX_SIDECAR_BYTES:
            return data
    return None


def _read(path: Path, limit: int) -> bytes | None:
    """The file's bytes, at most one more than the limit; `None` where there is no regular file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(limit + 1)


def _is_below(path: Path, folders: list[Path]) -> bool:
    """Whether a file lies in one of the folders, wherever links lead."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _fetch_object(uri: str, places: list[S3Uri], max_bytes: int) -> FetchedImage:
    try:
        wanted = parse_uri(uri)
    except StorageError as error:
        raise InvalidInput(f"uri {uri[:200]!r}: need s3://bucket/key") from error
    if not any(_holds(place, wanted) for place in places):
        raise _elsewhere(uri, len(places))
    try:
        store = open_store(str(wanted))
        if store.kind() != "file":
            raise InvalidInput(f"uri {uri[:200]!r}: there is no such object")
        data = _download(store, uri, max_bytes)
    except StorageError as error:
        # The client did nothing wrong, and what it is told need not hold what only the operator should know.
        logger.warning("uri: %s", error)
        raise Unavailable(f"uri {uri[:200]!r}: S3 cannot be read now; the service's log says why") from error
    return FetchedImage(wanted.key.rpartition("/")[2], data)


def _download(store: Store, uri: str, max_bytes: int) -> bytes:
    """The bytes of an object, verified; of one that is too large a single one is asked for."""
    if store.read("", max_bytes, 1):
        raise _too_large(uri, max_bytes)
    with tempfile.TemporaryDirectory(prefix="etchline-", ignore_cleanup_errors=True) as name:
        copy = Path(name) / "object"
        store.download("", copy)
        if copy.stat().st_size > max_bytes:
            raise _too_large(uri, max_bytes)  # it has been replaced meanwhile
        return copy.read_bytes()


def _holds(place: S3Uri, wanted: S3Uri) -> bool:
    below = wanted.key.startswith(f"{place.key}/") if place.key else bool(wanted.key)
    return place.bucket == wanted.bucket and below


def _local_path(uri: str) -> Path:
    """The local path of a file:// URI.

    Raises:
        InvalidInput: another scheme or host, or a path that is not absolute.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInput(f"uri {uri[:200]!r}: {error}") from error
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.startswith("/"):
        raise InvalidInput(f"uri {uri[:200]!r}: need file:///absolute/path or s3://bucket/key")
    if "\x00" in path or parts.query or parts.fragment:
        raise InvalidInput(f"uri {uri[:200]!r}: no path; write % ? # in names as %25 %3F %23")
    return Path(path)


def _elsewhere(uri: str, count: int) -> InvalidInput:
    told = "not below a prefix that this service may read" if count else "this service may read nothing there"
    return InvalidInput(f"uri {uri[:200]!r}: {told}; send the image itself")


def _too_large(uri: str, max_bytes: int) -> InvalidInput:
    return InvalidInput(f"uri {uri[:200]!r}: larger than the limit of {max_bytes} bytes")
