"""A bundle from its folder. Nothing of it is used before every file is what the manifest says."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from etchline.bundle.manifest import MANIFEST, BundleManifest, FilePart, parse_manifest
from etchline.errors import BundleError, first_few
from etchline.storage import is_temporary

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: where it lies.
        manifest: what it says.
        digest: sha256 of `bundle.json`.
    """

    folder: Path
    manifest: BundleManifest
    digest: str

    def path(self, name: str) -> Path:
        """The path of one of its files."""
        return self.folder / name


def load_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, with every file verified.

    Raises:
        BundleError: there is none; its manifest cannot be used; a file is altered, truncated, missing,
            surplus, a link or not an ordinary file. The message names it.
    """
    path = folder / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(f"{path}: not an ordinary file; copy the bundle again, without links")
        text = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BundleError(f"{folder}: no readable bundle ({MANIFEST}: {reason}); give its folder") from error
    manifest = parse_manifest(text, str(path))
    try:
        _verify(folder, manifest)
    except OSError as error:
        raise BundleError(f"{error.filename or folder}: cannot be read ({error.strerror})") from error
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest())


def _verify(folder: Path, manifest: BundleManifest) -> None:
    found = _files(folder)
    surplus = sorted(found - manifest.files.keys() - {MANIFEST})
    unfinished = [name for name in surplus if is_temporary(PurePosixPath(name).name)]
    if unfinished and unfinished == surplus:
        raise BundleError(
            f"{folder}: holds {first_few(unfinished)}, left by a copy to here that was killed or still goes "
            "on; when none does, remove what is named so, or copy the bundle to an empty folder"
        )
    if surplus:
        raise BundleError(
            f"{folder}: holds {first_few(surplus)}, which its manifest does not name; remove what is new"
        )
    missing = sorted(manifest.files.keys() - found)
    if missing:
        raise BundleError(f"{folder}: {first_few(missing)} missing; copy the bundle again")
    for name, part in manifest.files.items():
        _verify_file(folder / name, part)


def _files(folder: Path) -> set[str]:
    """Paths of all files below the folder, with slashes; links and devices are refused."""
    found = set()
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.add(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                raise BundleError(f"{path}: a link or device; a bundle holds ordinary files only")
    return found


def _raise(error: OSError) -> None:
    raise error


def _verify_file(path: Path, part: FilePart) -> None:
    size = path.stat().st_size
    if size != part.bytes:
        raise BundleError(f"{path}: {size} bytes, but the manifest says {part.bytes}; copy the bundle again")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != part.sha256:
        raise BundleError(f"{path}: its sha256 is not the manifest's, it was altered; copy the bundle again")
