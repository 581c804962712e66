"""Datasets: images with masks in a folder, their manifest, splits, checks, import and contact sheets."""

from etchline.datasets.checks import Finding, check_dataset
from etchline.datasets.manifest import (
    MANIFEST,
    SPLITS,
    Dataset,
    Digests,
    ImageEntry,
    Split,
    file_sha256,
    load_dataset,
    make_entry,
    save_dataset,
)
from etchline.datasets.splits import split_entries

__all__ = [
    "MANIFEST",
    "SPLITS",
    "Dataset",
    "Digests",
    "Finding",
    "ImageEntry",
    "Split",
    "check_dataset",
    "file_sha256",
    "load_dataset",
    "make_entry",
    "save_dataset",
    "split_entries",
]
