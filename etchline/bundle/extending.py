"""A bundle with files besides: the old one never changes, the new one has another digest. Needs no torch."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from etchline.bundle.loading import Bundle, load_bundle
from etchline.bundle.manifest import MANIFEST, parse_manifest
from etchline.bundle.staging import check_free, file_parts, write_manifest
from etchline.storage import staged


def extend_bundle(
    bundle: Bundle, folder: Path, files: Mapping[str, Path], *, parity: Mapping[str, JsonValue] | None = None
) -> Bundle:
    """The bundle that has been written to `folder`: all that the old one holds, and `files`.

    Without files and parity it has the old digest.

    Args:
        bundle: the old one.
        folder: does not exist, or is empty.
        files: by their paths in a bundle; they replace files of that path.
        parity: by engine, what stands in the validation report as "parity".

    Raises:
        BundleError: the folder holds something, or a path is none that a bundle may hold.
        OutputError: it cannot be written.
    """
    check_free(folder)
    held = {name: bundle.path(name) for name in bundle.manifest.files}
    with staged(folder) as staging:
        for name, path in {**held, **files}.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staging / name)
        changes: dict[str, object] = {"files": file_parts(staging)}
        if parity is not None:
            changes["validation"] = {**bundle.manifest.validation, "parity": dict(parity)}
        write_manifest(staging, bundle.manifest.model_copy(update=changes))
        parse_manifest((staging / MANIFEST).read_bytes(), str(folder / MANIFEST))
        load_bundle(staging)
    return load_bundle(folder)
