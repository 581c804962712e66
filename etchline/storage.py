"""Files that appear whole or not at all."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from etchline.errors import OutputError


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
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # nothing there to remove, not even the folder
            temporary.unlink()


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
