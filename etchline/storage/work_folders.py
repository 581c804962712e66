"""Folders of running processes, which are removed when their process has ended, however it has.

Beside each folder `<name>` lies a file `<name>.lock`, which the process holds. What is locked is in use; what
is not was left by a process that was killed. A folder without such a file belongs to nobody and stays.
"""

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from etchline.storage.locks import locked

LOCK = ".lock"


@dataclass
class WorkFolder:
    """A folder of this process.

    Attributes:
        path: where it is.
    """

    path: Path
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def remove(self) -> None:
        """Removes the folder. What cannot be removed now is left to the next sweep; this never fails."""
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            _lock_of(self.path).unlink(missing_ok=True)
        self._held.close()

    def keep(self) -> None:
        """Makes the folder the user's: no process removes it any more."""
        _lock_of(self.path).unlink(missing_ok=True)
        self._held.close()


def new_work_folder(parent: Path, prefix: str) -> WorkFolder:
    """A new and empty folder of this process, for this user only.

    Args:
        parent: exists.
        prefix: what its name begins with.

    Raises:
        OSError: it cannot be made.
    """
    path = parent / f"{prefix}{secrets.token_hex(8)}"
    folder = WorkFolder(path)
    with contextlib.ExitStack() as held:
        # A file system without locks: nobody could tell whether the folder is in use, so nobody removes it.
        with contextlib.suppress(OSError):
            held.enter_context(locked(_lock_of(path)))
        try:
            path.mkdir(mode=0o700)
        except OSError:
            _lock_of(path).unlink(missing_ok=True)
            raise
        folder._held.push(held.pop_all())
    return folder


def sweep(parent: Path, prefix: str) -> None:
    """Removes this user's folders whose processes have ended. What cannot be removed stays: this never fails.

    Args:
        parent: where they lie; need not exist.
        prefix: what their names begin with.
    """
    for lock in sorted(parent.glob(f"{prefix}*{LOCK}")):
        # Others' folders, in a folder of all users; or another process sweeps.
        with contextlib.suppress(OSError):
            _sweep_one(lock)


def _sweep_one(lock: Path) -> None:
    folder = lock.with_name(lock.name.removesuffix(LOCK))
    if lock.lstat().st_uid != os.geteuid():
        return
    with locked(lock, wait=False) as free:
        if not free:
            return
        if os.path.lexists(folder):
            shutil.rmtree(folder)
        lock.unlink()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{LOCK}")
