"""How a bundle's folder comes to be: beside its place, and moved there when it is complete."""

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from etchline.bundle.manifest import MANIFEST, BundleManifest, FilePart
from etchline.errors import BundleError, OutputError
from etchline.storage import write_bytes


def check_free(folder: Path) -> None:
    """Refuses a folder that no bundle can be written to.

    Raises:
        BundleError: it holds something, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder}: holds something already; bundles never change, choose another folder")


def file_parts(staging: Path) -> dict[str, FilePart]:
    """What the manifest says of the files in a folder."""
    parts = {}
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            parts[path.relative_to(staging).as_posix()] = FilePart(sha256=sha256, bytes=len(data))
    return parts


def write_manifest(staging: Path, manifest: BundleManifest) -> None:
    """Writes `bundle.json`, after all other files."""
    write_bytes(staging / MANIFEST, manifest.model_dump_json(by_alias=True, indent=1).encode() + b"\n")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when the block ends without an error.

    Raises:
        OutputError: it cannot be written.
    """
    staging = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    try:
        staging.mkdir(parents=True)
        yield staging
        # On POSIX an empty folder gives way to the new one in the same step.
        staging.replace(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
