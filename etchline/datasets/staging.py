"""A folder that is built beside the old one and takes its place in one step.

`OUT` is built as `.OUT.importing/dataset`; a lock tells a running import from the leftovers of a killed one.
Linux exchanges the two folders in one system call, so that at any moment `OUT` is wholly old or wholly new.
On file systems that cannot do that the old folder is first moved to `.OUT.importing/replaced`; a process that
is killed in that instant leaves no `OUT`, and the next import moves the old one back.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etchline.errors import DatasetError, OutputError

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@dataclass(frozen=True)
class Staging:
    """Where a new folder is built.

    Attributes:
        folder: becomes the new `OUT`; may hold what an interrupted run has finished.
        journal: a file for notes on what is finished; gone as soon as `folder` may hold an old dataset.
    """

    folder: Path
    journal: Path


@contextlib.contextmanager
def staged_folder(out: Path) -> Iterator[Staging]:
    """Yields a staging folder that takes the place of `out` when the block ends without an error.

    After an error or a Ctrl-C `out` is as it was, and what the journal calls finished stays for the next run;
    where nothing is finished, nothing stays.

    Raises:
        DatasetError: another import into `out` is running.
        OutputError: a folder cannot be written or moved.
    """
    out = out.resolve()
    base = out.parent / f".{out.name}.importing"
    staging = Staging(base / "dataset", base / "journal.jsonl")
    with contextlib.ExitStack() as locked:
        with _translated(out):
            base.mkdir(parents=True, exist_ok=True)
            lock = locked.enter_context((base / "lock").open("w"))
            _lock(lock.fileno(), out)
            _recover(staging, base / "replaced", out)
        try:
            yield staging
        except BaseException:
            if not staging.journal.exists() or not any(staging.folder.iterdir()):
                shutil.rmtree(base, ignore_errors=True)
            raise
        with _translated(out):
            # From here on `folder` may be the old dataset: nothing in it may be taken for finished work.
            staging.journal.unlink(missing_ok=True)
            _swap(staging.folder, base / "replaced", out)
            shutil.rmtree(base)


@contextlib.contextmanager
def _translated(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or out.parent}: {error.strerror or error}"
        raise OutputError(f"{out}: cannot be written ({reason}); choose another folder") from error


def _lock(handle: int, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatasetError(f"{out}: another import into this folder is running; wait for its end") from error


def _recover(staging: Staging, replaced: Path, out: Path) -> None:
    """Puts in order what a killed run has left."""
    if replaced.exists() and not out.exists():
        replaced.rename(out)
    if replaced.exists():
        shutil.rmtree(replaced)
    if staging.folder.exists() and not staging.journal.exists():
        shutil.rmtree(staging.folder)
    staging.folder.mkdir(exist_ok=True)


def _swap(new: Path, replaced: Path, out: Path) -> None:
    if not out.exists() or not any(out.iterdir()):
        new.rename(out)
        return
    if _exchange(new, out):
        return
    out.rename(replaced)
    try:
        new.rename(out)
    except BaseException:
        replaced.rename(out)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code), str(other))
