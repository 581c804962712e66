"""Locks on files, which end with the process that holds them, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds the lock that a file stands for; whether it was got.

    Whoever holds it alone may remove the file. The lock goes over to forked processes and is free when all
    of them have ended.

    Args:
        path: the file; it is made where it is missing, its folder is not.
        shared: held by any number of processes at once, while nobody holds it alone.
        wait: until others have freed it; else the block runs without the lock.

    Raises:
        OSError: the file cannot be opened, or its file system has no locks.
    """
    handle = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _acquire(path: Path, kind: int, wait: bool) -> int | None:
    while True:
        # A link in a folder of all users may lead anywhere.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
            if _is_still(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has removed the file: what is there now is another lock


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
