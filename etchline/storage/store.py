"""The interface that local folders and S3 share."""

from pathlib import Path
from typing import Protocol

from etchline.errors import MissingPackageError
from etchline.storage.local_store import LocalStore
from etchline.storage.locations import is_s3, parse_uri
from etchline.storage.stored_file import Kind, StoredFile


class Store(Protocol):
    """A location and the files below it. A name is a path below the location; "" is the location itself.

    Every method raises `StorageError` for what the location, the network or the keys are to blame for, and
    `OutputError` for local files that cannot be written.
    """

    @property
    def location(self) -> str:
        """As the user wrote it."""
        ...

    def kind(self) -> Kind:
        """What is at the location."""
        ...

    def files(self) -> list[StoredFile]:
        """All files below the location, sorted by name; none where there is nothing."""
        ...

    def sha256(self, name: str) -> str | None:
        """The sha256 of a file, 64 hexadecimal digits; `None` where there is no such file."""
        ...

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from `start` on, at most `length` (`None`: to the end); none behind the end."""
        ...

    def download(self, name: str, path: Path) -> None:
        """Copies a file to `path`, which appears whole and verified, or not at all."""
        ...

    def upload(self, path: Path, name: str, *, replace: bool = True) -> bool:
        """Copies the file at `path` here; False where `replace` is off and a file of that name is there."""
        ...


def open_store(location: Path | str) -> Store:
    """The store of a path or of `s3://bucket/prefix`. Nothing is asked of a server yet.

    Raises:
        StorageError: no usable URI, endpoint or settings.
        MissingPackageError: boto3 is not installed.
    """
    if not is_s3(location):
        return LocalStore(Path(location))
    uri = parse_uri(location)
    try:
        from etchline.storage.s3_store import S3Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("boto3", "botocore", "s3transfer"):
            raise
        raise MissingPackageError(f"{uri}: S3 needs boto3: pip install 'etchline[s3]'") from error
    return S3Store(uri)
