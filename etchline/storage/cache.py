"""Downloaded objects that the next command need not download again.

Objects lie under a name made of endpoint, bucket, key, size and ETag, so that another content has another
name. They were verified when they came, are read-only, and are handed out as hard links.
"""

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from etchline.errors import SettingsError
from etchline.storage.files import atomic_path
from etchline.storage.store import Store
from etchline.storage.stored_file import StoredFile

CACHE_VARIABLE = "ETCHLINE_CACHE"
LIMIT_VARIABLE = "ETCHLINE_CACHE_GB"
LIMIT_GB = 20.0
STALE_S = 24 * 3600.0  # no download writes nothing for so long


@dataclass(frozen=True)
class Cache:
    """Objects on disk.

    Attributes:
        folder: where they lie; files handed out must lie on the same file system or are copied.
        limit_bytes: how much may stay between two commands.
    """

    folder: Path
    limit_bytes: int

    def fetch(self, store: Store, file: StoredFile, path: Path) -> None:
        """Puts a store's file at `path`.

        Raises:
            StorageError: see `Store.download`.
            OutputError: the cache or `path` cannot be written.
        """
        content = (
            os.environ.get("AWS_ENDPOINT_URL_S3", ""),
            os.environ.get("AWS_ENDPOINT_URL", ""),
            store.location,
            file.name,
            file.bytes,
            file.version,
        )
        kept = self.folder / hashlib.sha256("\n".join(map(str, content)).encode()).hexdigest()
        if not kept.is_file():
            store.download(file.name, kept)
        with contextlib.suppress(FileNotFoundError):  # another process has made room
            kept.chmod(0o444)
            os.utime(kept)
        with atomic_path(path) as temporary:
            temporary.unlink()
            try:
                os.link(kept, temporary)
            except FileNotFoundError:
                store.download(file.name, temporary)
            except OSError:
                shutil.copyfile(kept, temporary)  # a file system without hard links

    def make_room(self) -> None:
        """Removes what was used longest ago until the limit holds, and what interrupted downloads have left.

        Downloads that may still go on in other processes stay. What cannot be removed stays too: this never
        fails.
        """
        left = self.limit_bytes
        for path in sorted(_entries(self.folder), key=_last_use, reverse=True):
            with contextlib.suppress(OSError):  # gone, or not ours: nothing depends on it
                if not path.name.startswith("."):
                    left -= path.stat().st_size
                    if left < 0:
                        path.unlink()
                elif time.time() - _last_use(path) > STALE_S:
                    path.unlink()


def cache_root() -> Path:
    """The folder for what can be had again: `ETCHLINE_CACHE`, else `etchline` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).absolute()
    said = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # As the XDG specification says, a relative path is not valid and is ignored.
    return (said if said.is_absolute() else Path("~/.cache").expanduser()).absolute() / "etchline"


def limit_bytes() -> int:
    """How much may stay between two commands.

    Raises:
        SettingsError: the environment says something else than a number.
    """
    text = os.environ.get(LIMIT_VARIABLE, str(LIMIT_GB))
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{LIMIT_VARIABLE}={text}: must be a number of gigabytes; 0 keeps nothing"
        ) from error


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
