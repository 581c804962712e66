"""How places in S3 are written, and what local copies of them are called."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etchline.errors import SettingsError, StorageError

SCHEME = "s3://"
MAX_NAME_BYTES = 255  # of file names on Linux

# A `Path` of "s3://bucket/key" says "s3:/bucket/key"; commands get paths, so both mean the same. Nothing else
# is lost: keys with empty parts are refused anyway.
_WRITTEN = re.compile(r"s3:/{1,2}([^/]+)(?:/(.*))?", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

_mirrors: list[Path] = []


@dataclass(frozen=True)
class S3Uri:
    """An object, or all objects below a prefix.

    Attributes:
        bucket: name of the bucket.
        key: key of the object, or the prefix without a slash at its end; empty for the whole bucket.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        """As users write it."""
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def below(self, name: str) -> "S3Uri":
        """The object of that name below this prefix; "" is this object itself."""
        return S3Uri(self.bucket, f"{self.key}/{name}".strip("/")) if name else self


def is_s3(location: Path | str) -> bool:
    """Whether a location means S3, be it a text or a `Path` that was made of one."""
    return _WRITTEN.fullmatch(str(location)) is not None or str(location).startswith(SCHEME)


def local_folder(path: Path, option: str) -> Path:
    """The path, which is no S3 location: for folders that processes of this machine work in.

    Raises:
        SettingsError: it is in S3.
    """
    if is_s3(path):
        named = f"{SCHEME}{str(path).removeprefix('s3:').lstrip('/')}"
        raise SettingsError(f"{option} {named}: must be a folder on this machine, not in S3")
    return path


def parse_uri(location: Path | str) -> S3Uri:
    """The parts of `s3://bucket/key`.

    Raises:
        StorageError: no bucket, or a key that cannot be a path below a folder ("..", empty parts).
    """
    match = _WRITTEN.fullmatch(str(location))
    if match is None or not _BUCKET.fullmatch(match[1]):
        raise StorageError(f"{str(location)[:200]}: names no bucket; write s3://bucket/prefix")
    key = (match[2] or "").rstrip("/")
    if key:
        check_name(key, str(location))
    return S3Uri(match[1], key)


def check_name(name: str, location: str) -> None:
    """Refuses a name that would not be a file below a folder.

    Raises:
        StorageError: it has empty parts, "." or "..", a null byte, or parts that are too long for a file.
    """
    for part in name.split("/"):
        if part in ("", ".", "..") or "\0" in part or len(part.encode(errors="replace")) > MAX_NAME_BYTES:
            raise StorageError(
                f"{location}: the key {name[:200]!r} cannot be a file's path; rename the object"
            )


@contextlib.contextmanager
def mirrored(root: Path) -> Iterator[None]:
    """While the block runs, `root/bucket/key` is known as the local copy of `s3://bucket/key`."""
    _mirrors.append(root)
    try:
        yield
    finally:
        _mirrors.remove(root)


def name_of(text: Path | str) -> str:
    """The text with the paths of local copies replaced by what they are copies of.

    Messages and records speak of what the user gave, not of a folder that is gone when they are read.
    """
    named = str(text)
    for root in _mirrors:
        named = named.replace(f"{root}/", SCHEME)
    return named
