"""Whole folders from a store and into a store."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from etchline.errors import FolderTakenError, StorageError, first_few
from etchline.storage.cache import Cache
from etchline.storage.files import files_below, staged
from etchline.storage.local_store import LocalStore, file_sha256
from etchline.storage.store import Store, open_store
from etchline.storage.stored_file import StoredFile

MANIFEST = "bundle.json"
THREADS = 8
_DIGEST = re.compile(r"(?:^|/)sha256-([0-9a-f]{64})/*$")

Item = TypeVar("Item")
Track = Callable[[Iterable[Item], int], Iterable[Item]]


def untracked(items: Iterable[Item], total: int) -> Iterable[Item]:
    """Each of `items`; nothing is shown."""
    return items


def download_folder(
    location: Path | str, folder: Path, *, track: Track[str] = untracked, cache: Cache | None = None
) -> list[str]:
    """Copies all files below a location into `folder`; their names.

    Each file appears whole and verified or not at all; an error or an interruption leaves those that are
    complete.

    Args:
        location: a folder, or `s3://bucket/prefix`.
        folder: is made where it is missing; files of the same names are replaced.
        track: shows progress over the files.
        cache: gives and takes files in place of the network.

    Raises:
        StorageError: nothing is there, or a file cannot be read or is damaged.
        OutputError: the folder cannot be written.
    """
    store = open_store(location)
    files = store.files()
    if not files:
        raise StorageError(f"{store.location}: nothing is there; check the bucket and the prefix")
    check_tree(files, store.location)

    def fetch(file: StoredFile) -> str:
        if cache is None:
            store.download(file.name, folder / file.name)
        else:
            cache.fetch(store, file, folder / file.name)
        return file.name

    return _all(fetch, files, track)


def upload_folder(
    folder: Path,
    location: Path | str,
    *,
    names: Sequence[str] | None = None,
    last: str | None = None,
    track: Track[str] = untracked,
) -> None:
    """Copies files of `folder` to a location; objects of the same names are replaced, others stay.

    Args:
        folder: where the files lie.
        location: a folder, or `s3://bucket/prefix`.
        names: paths below `folder`; `None`: all files.
        last: the file that goes after all others, because it names them.
        track: shows progress over the files.

    Raises:
        StorageError: a file cannot be read, or the location cannot be written.
    """
    store = open_store(location)
    chosen = list(names) if names is not None else _names(folder)

    def put(name: str) -> str:
        store.upload(folder / name, name)
        return name

    _all(put, [name for name in chosen if name != last], track)
    if last in chosen:
        store.upload(folder / last, last)


def publish_folder(
    folder: Path, location: Path | str, last: str = MANIFEST, *, track: Track[str] = untracked
) -> None:
    """Copies a bundle's folder to a location where it never changes again; `last` goes last.

    No file is ever replaced. What an interrupted publication of the same content has left is kept, and
    publishing the same content again succeeds. Of two that publish different contents at once, at most one
    succeeds, and what it published is whole. On a disk a folder that is not there yet appears in one step, or
    not at all. A location whose last part is `sha256-` and a digest takes only what has that digest, so that
    different contents never meet there. Elsewhere, in S3 or in a folder that is there already, the one that
    fails may have put files that the other one does not have: `last` is not put while there are such, and
    both are told, unless a file of the one that fails is on its way while the other one takes its last look.

    Args:
        folder: where the files lie.
        location: a folder, or `s3://bucket/prefix`.
        last: the file whose presence says that the publication is complete.
        track: shows progress over the files.

    Raises:
        StorageError: `last` is not there, or its digest is not the location's; the location holds other
            content, or somebody has put other files there meanwhile; or it cannot be written.
        OutputError: a local folder cannot be written.
    """
    store = open_store(location)
    names = _names(folder)
    if last not in names:
        raise StorageError(f"{folder}: has no {last}; give the folder of a bundle")
    _check_digest(store, folder / last)
    there = {file.name for file in store.files()}
    surplus = there - set(names)
    if surplus:
        raise _taken(store, first_few(surplus))
    digest = file_sha256(folder / last)
    _check_not_taken(store, last, digest)
    if isinstance(store, LocalStore) and not os.path.lexists(store.location):
        if _publish_at_once(folder, Path(store.location), names, last, track):
            return
        track = untracked  # all of it has been shown

    def put(name: str) -> str:
        # Nothing may come beside a bundle that another publication has completed and looked over.
        _check_not_taken(store, last, digest)
        _put_once(store, folder / name, name, name in there)
        return name

    _all(put, [name for name in names if name != last], track)
    _check_alone(store, names, f"without {last} it is no bundle")
    _put_once(store, folder / last, last, last in there)
    _check_alone(store, names, "the bundle is not accepted while they are there")


def _publish_at_once(folder: Path, place: Path, names: Sequence[str], last: str, track: Track[str]) -> bool:
    """Copies the files to where nothing is, in one step; False where something has come there meanwhile."""
    try:
        with staged(place) as staging:
            upload_folder(folder, staging, names=names, last=last, track=track)
    except FolderTakenError:
        return False
    return True


def check_tree(files: Sequence[StoredFile], location: str) -> None:
    """Refuses names that cannot be files of one folder.

    Raises:
        StorageError: one name is a file and a folder.
    """
    names = {file.name for file in files}
    for name in names:
        parts = name.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if above in names:
                raise StorageError(f"{location}: {above!r} is an object and a folder of {name!r}; rename one")


def _check_digest(store: Store, path: Path) -> None:
    """Refuses a location that is named after another content.

    Raises:
        StorageError: its last part is `sha256-` and the digest of another file.
    """
    named, own = _DIGEST.search(store.location), file_sha256(path)
    if named is not None and named[1] != own:
        raise StorageError(
            f"{store.location}: is the place of the bundle with the digest {named[1][:12]}..., and "
            f"{path.parent} has {own[:12]}...; publish it at sha256-{own}"
        )


def _check_not_taken(store: Store, last: str, digest: str) -> None:
    """Refuses a location where other content has been published.

    Raises:
        StorageError: `last` is there with another digest.
    """
    if store.sha256(last) not in (None, digest):
        raise _taken(store, last)


def _check_alone(store: Store, names: Sequence[str], so: str) -> None:
    """Refuses files that another publication has put there meanwhile.

    Raises:
        StorageError: there are some.
    """
    surplus = {file.name for file in store.files()} - set(names)
    if surplus:
        raise StorageError(
            f"{store.location}: somebody else has put files there meanwhile ({first_few(surplus)}); {so}: "
            "remove them and publish again, or choose another location"
        )


def _put_once(store: Store, path: Path, name: str, is_there: bool) -> None:
    """Uploads a file, or finds that the same one is there.

    Raises:
        StorageError: another one is there.
    """
    if not is_there and store.upload(path, name, replace=False):
        return
    if store.sha256(name) != file_sha256(path):
        raise _taken(store, name)


def _taken(store: Store, what: str) -> StorageError:
    return StorageError(
        f"{store.location}: holds other content already ({what}); what is published never changes, choose "
        "another location"
    )


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def _all(action: Callable[[Item], str], items: Sequence[Item], track: Track[str]) -> list[str]:
    """The action's results; a few items at once, because a small object is mostly waiting."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        return list(track(_results(pool, action, items), len(items)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(pool: ThreadPoolExecutor, action: Callable[[Item], str], items: Sequence[Item]) -> Iterator[str]:
    for future in as_completed([pool.submit(action, item) for item in items]):
        yield future.result()
