"""Files that appear whole or not at all, and all files below a folder."""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from etchline.errors import FolderTakenError, InputError, OutputError

_TEMPORARY = re.compile(r"\..*-[0-9a-f]{16}(\.[^.]*)?", re.DOTALL)


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `atomic_path` gives until a file is whole.

    Such a file was left by a process that was killed, or is being written.
    """
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that becomes `path` when the block ends without an error.

    The temporary name keeps the suffix, because image libraries choose the format by it. Missing parent
    folders are made. Whatever goes wrong, nothing half-written stays and an older `path` is untouched.

    Raises:
        OutputError: the folder or the file cannot be written (permission, full disk, a file in the way).
    """
    # At most 40 characters of the name: they may be 4 bytes each, and file names end at 255 bytes.
    temporary = path.parent / f".{path.stem[:40]}-{secrets.token_hex(8)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private, and results are for others to read, as the user's umask allows.
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # nothing there to remove, not even the folder
            temporary.unlink()


def _move(staging: Path, folder: Path) -> None:
    """On POSIX an empty folder gives way to the new one in the same step."""
    try:
        staging.replace(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FolderTakenError(f"{folder}: holds something by now; choose another folder") from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside `folder` that takes its place when the block ends without an error.

    Raises:
        FolderTakenError: by then `folder` holds something; it is as it was.
        OutputError: it cannot be written.
    """
    staging = folder.parent / f".{folder.name[:40]}-{secrets.token_hex(8)}"
    try:
        staging.mkdir(parents=True)
        yield staging
        _move(staging, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    write_bytes(path, text.encode())


def files_below(folder: Path) -> list[Path]:
    """All that is no folder below `folder`, at any depth, sorted; links to folders are not followed.

    Raises:
        InputError: a folder that is not hidden cannot be read. Its files would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        below = Path(error.filename).relative_to(folder)
        if any(part.startswith(".") for part in below.parts):
            return
        raise InputError(
            f"{error.filename}: the folder cannot be read ({error.strerror}); check its permissions"
        ) from error

    walk = os.walk(folder, onerror=refuse)
    return sorted(
        path for parent, _, names in walk for path in map(Path(parent).joinpath, names) if not path.is_dir()
    )
