"""Graphs of bundles that bring none: made at first use, compared with torch, kept in the user's cache.

An entry is a folder whose `graphs.json` names each file's sha256. It appears whole, by one renaming, and is
never changed; of two processes that need it at once, one waits for the other.
"""

import contextlib
import fcntl
import hashlib
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
from etchline.storage.cache import cache_root

GRAPHS_VERSION = 1
"""Goes up when graphs are exported otherwise."""
_INDEX = "graphs.json"


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


def cached_graphs(bundle: Bundle) -> CachedGraphs:
    """The graphs of a bundle's networks; they are made where there are none yet, or they are damaged.

    Raises:
        MissingPackageError: torch or what exports with it is not installed.
        BundleError: the graphs do not give what torch gives.
        OutputError: the cache cannot be written.
    """
    entry = cache_folder() / f"{bundle.digest}-{__version__}-{GRAPHS_VERSION}"
    found = _read(entry, bundle)
    if found is not None:
        return found
    try:
        with _alone(entry):
            found = _read(entry, bundle)  # another process may have made it meanwhile
            return found or _make(bundle, entry)
    except OSError as error:
        raise OutputError(
            f"{entry}: graphs cannot be written ({error.strerror or error}); "
            "set ETCHLINE_CACHE, or export the bundle with --engine onnx"
        ) from error


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


@contextlib.contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """Waits until no other process makes the entry; the lock of a process that was killed is free."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with entry.with_name(f"{entry.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(bundle: Bundle, entry: Path) -> CachedGraphs:
    staging = entry.with_name(f".{secrets.token_hex(8)}")
    staging.mkdir()
    try:
        files = _export(bundle, staging)
        write_text(staging / _INDEX, _Index(files=files).model_dump_json(indent=1) + "\n")
        shutil.rmtree(entry, ignore_errors=True)  # it is damaged, or not there
        staging.rename(entry)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return CachedGraphs(entry, files)


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
