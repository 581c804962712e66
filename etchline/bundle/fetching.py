"""Bundles wherever they are: the shipped one, a folder, or `s3://`."""

from pathlib import Path

from etchline.bundle.loading import Bundle, load_bundle
from etchline.bundle.manifest import MANIFEST
from etchline.bundle.shipped import bundle_folder
from etchline.storage import download_folder, is_s3, staged


def fetch_bundle(location: str, folder: Path) -> Bundle:
    """The bundle at a location, verified.

    Args:
        location: "nano", a folder, or `s3://bucket/prefix`.
        folder: gets a copy where the location is in S3, complete or not at all; one that is there is used.

    Raises:
        StorageError: nothing is there, or it cannot be read.
        BundleError: it is not what its manifest says.
        OutputError: the copy cannot be written.
    """
    if not is_s3(location):
        return load_bundle(bundle_folder(location))
    if not (folder / MANIFEST).is_file():
        with staged(folder) as staging:
            download_folder(location, staging)
    return load_bundle(folder)


def is_bundle(location: str) -> bool:
    """Whether a location on this machine is a bundle; one in S3 is taken for one."""
    return is_s3(location) or (bundle_folder(location) / MANIFEST).is_file()
