"""What goes into a bundle's folder while it comes to be."""

import hashlib
from pathlib import Path

from etchline.bundle.manifest import MANIFEST, BundleManifest, FilePart
from etchline.errors import BundleError
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
