"""Graphs of bundles that bring none: made at first use, compared with torch, kept in the user's cache.

An entry is a folder whose `graphs.json` names each file's sha256. It appears whole, by one renaming, and is
never changed; of two processes that need it at once, one waits for the other. Whoever reads an entry holds
its lock, and who makes one removes others that were used longest ago until the limit holds.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from etchline import __version__
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import FilePart, graph_paths
from etchline.bundle.staging import file_parts
from etchline.errors import BundleError, MissingPackageError, OutputError
from etchline.storage import write_text
from etchline.storage.cache import cache_root, limit_bytes
from etchline.storage.locks import locked

GRAPHS_VERSION = 1
"""Goes up when graphs are exported otherwise."""
_INDEX = "graphs.json"
_LOCK = ".lock"


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, FilePart]


@dataclass(frozen=True)
class CachedGraphs:
    """A verified entry.

    Attributes:
        folder: where it lies.
        files: as in a bundle's manifest.
    """

    folder: Path
    files: dict[str, FilePart]


def cache_folder() -> Path:
    """Where entries lie: below ETCHLINE_CACHE, or where the user's caches are; see `cache_root`."""
    return cache_root() / "onnx"


@contextlib.contextmanager
def cached_graphs(bundle: Bundle) -> Iterator[CachedGraphs]:
    """The graphs of a bundle's networks; they are made where there are none yet, or they are damaged.

    No process removes them while the block runs.

    Raises:
        MissingPackageError: torch or what exports with it is not installed.
        BundleError: the graphs do not give what torch gives.
        OutputError: the cache cannot be written.
        SettingsError: the environment says no number where the cache's limit stands.
    """
    limit = limit_bytes()
    entry = cache_folder() / f"{bundle.digest}-{__version__}-{GRAPHS_VERSION}"
    with contextlib.ExitStack() as held:
        yield _known(entry, bundle, held) or _made(entry, bundle, limit, held)


def _known(entry: Path, bundle: Bundle, held: contextlib.ExitStack) -> CachedGraphs | None:
    """The entry, if it can be used, with its lock shared until the stack is closed."""
    # A cache that cannot be written to is read without: nobody removes anything there.
    with contextlib.suppress(OSError):
        held.enter_context(locked(_lock_of(entry), shared=True))
    found = _read(entry, bundle)
    if found is None:
        held.close()
        return None
    with contextlib.suppress(OSError):  # as above
        os.utime(entry / _INDEX)
    return found


def _made(entry: Path, bundle: Bundle, limit: int, held: contextlib.ExitStack) -> CachedGraphs:
    """The entry, made now, with its lock until the stack is closed."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(_lock_of(entry)))
        found = _read(entry, bundle)  # another process may have made it meanwhile
        if found is None:
            found = _make(bundle, entry)
            _make_room(entry, limit)
    except OSError as error:
        raise OutputError(
            f"{entry}: graphs cannot be written ({error.strerror or error}); "
            "set ETCHLINE_CACHE, or export the bundle with --engine onnx"
        ) from error
    return found


def _read(entry: Path, bundle: Bundle) -> CachedGraphs | None:
    """The entry, if it is whole and holds what the bundle needs."""
    try:
        files = _Index.model_validate_json((entry / _INDEX).read_bytes()).files
        if files.keys() != graph_paths(bundle.manifest):
            return None
        for name, part in files.items():
            with (entry / name).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != part.sha256:
                    return None
    except (OSError, ValidationError):
        return None
    return CachedGraphs(entry, files)


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}{_LOCK}")


def _make(bundle: Bundle, entry: Path) -> CachedGraphs:
    _remove_unfinished(entry)
    staging = entry.with_name(f".{entry.name}-{secrets.token_hex(4)}")
    staging.mkdir()
    try:
        files = _export(bundle, staging)
        write_text(staging / _INDEX, _Index(files=files).model_dump_json(indent=1) + "\n")
        shutil.rmtree(entry, ignore_errors=True)  # it is damaged, or not there
        staging.rename(entry)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return CachedGraphs(entry, files)


def _make_room(newest: Path, limit: int) -> None:
    """Removes what was used longest ago until the limit holds, and what killed processes have left.

    The newest entry and those that other processes use stay, and so does what cannot be removed.
    """
    left = limit - _bytes_of(newest)
    locks = [path for path in newest.parent.glob(f"*{_LOCK}") if path != _lock_of(newest)]
    for lock in sorted(locks, key=lambda path: _last_use(_entry_of(path)), reverse=True):
        entry = _entry_of(lock)
        left -= _bytes_of(entry)
        with contextlib.suppress(OSError), locked(lock, wait=False) as free:
            if not free:
                continue
            _remove_unfinished(entry)
            if left < 0 or not entry.exists():
                shutil.rmtree(entry, ignore_errors=True)
                lock.unlink()


def _entry_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(_LOCK))


def _remove_unfinished(entry: Path) -> None:
    """Removes what processes that were killed have left of an entry whose lock is held."""
    for staging in entry.parent.glob(f".{entry.name}-*"):
        shutil.rmtree(staging, ignore_errors=True)


def _last_use(entry: Path) -> float:
    try:
        return (entry / _INDEX).stat().st_mtime
    except OSError:
        return 0.0


def _bytes_of(entry: Path) -> int:
    try:
        return sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
    except OSError:  # another process removes it
        return 0


def _export(bundle: Bundle, folder: Path) -> dict[str, FilePart]:
    """Writes the graphs; no other process sees them before they have been compared with torch."""
    try:
        from etchline.bundle.onnx_export import export_graphs
        from etchline.bundle.verifying import quick_parity
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{bundle.folder} holds no ONNX graphs, and {error.name}, which makes them, is not installed; "
            "pip install 'etchline[train,onnx]', or use a bundle exported with --engine onnx"
        ) from error
    verdict = quick_parity(bundle, export_graphs(bundle, folder))
    if not verdict.passed:
        raise BundleError(f"{bundle.folder}: its ONNX graphs are not what torch gives: {verdict.summary}")
    return file_parts(folder)
