"""A local folder, or a single file, as a store."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from etchline.errors import OutputError, StorageError
from etchline.storage.files import atomic_path, files_below, is_temporary
from etchline.storage.stored_file import Kind, StoredFile

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class LocalStore:
    """A local path; see `store.Store`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def location(self) -> str:
        """See `Store.location`."""
        return str(self._path)

    def kind(self) -> Kind:
        """See `Store.kind`."""
        if self._path.is_dir():
            return "folder"
        return "file" if self._path.exists() else "nothing"

    def files(self) -> list[StoredFile]:
        """See `Store.files`. What a killed copy or publication has left is no file."""
        found: list[StoredFile] = []
        if self.kind() != "folder":
            return found
        for path in files_below(self._path):
            name = path.relative_to(self._path)
            if any(is_temporary(part) for part in name.parts):
                continue
            with _readable(path):
                facts = path.stat()
            found.append(StoredFile(name.as_posix(), facts.st_size, f"{facts.st_ino}-{facts.st_mtime_ns}"))
        return sorted(found, key=lambda file: file.name)

    def sha256(self, name: str) -> str | None:
        """See `Store.sha256`."""
        path = self._path / name
        return file_sha256(path) if path.is_file() else None

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Store.read`."""
        with _readable(self._path / name), (self._path / name).open("rb") as stream:
            stream.seek(start)
            return stream.read(-1 if length is None else length)

    def download(self, name: str, path: Path) -> None:
        """See `Store.download`."""
        with atomic_path(path) as temporary, _readable(self._path / name):
            shutil.copyfile(self._path / name, temporary)

    def upload(self, path: Path, name: str, *, replace: bool = True) -> bool:
        """See `Store.upload`."""
        target = self._path / name
        if replace:
            with atomic_path(target) as temporary, _readable(path):
                shutil.copyfile(path, temporary)
            return True
        return _put_new(path, target)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits.

    Raises:
        StorageError: it cannot be read.
    """
    with _readable(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _put_new(path: Path, target: Path) -> bool:
    """Copies `path` to `target` in one step; False where something is there."""
    temporary = target.parent / f".{target.name[:40]}-{secrets.token_hex(8)}"  # see `is_temporary`
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _readable(path):
            shutil.copyfile(path, temporary)
        _link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _link(temporary: Path, target: Path) -> None:
    """Gives a file its name; unlike a rename it fails where something is there."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: as exclusive, but not in one step.
        with temporary.open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == path:
            reason = error.strerror or str(error)
            raise StorageError(f"{path}: cannot be read ({reason}); check the path") from error
        raise
