"""What is wrong with a dataset, found before a training or a measurement does not notice it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from etchline.datasets.alignment import SEARCH_PX, MaskArray, align
from etchline.datasets.duplicates import FloatArray, near_duplicates, thumbnail
from etchline.datasets.manifest import MANIFEST, Dataset, ImageEntry, file_sha256
from etchline.datasets.tracking import Track, untracked
from etchline.errors import DatasetError, ImageError
from etchline.images import SemImage, read_image, read_mask
from etchline.storage import files_below

MAX_SHIFT_PX = 2.0
"""Shifts up to this are within what annotators do by hand."""

MIN_FIT = 0.4
"""Below this agreement (of at most 2) a mask fits its image nowhere; the worst synthetic family has 0.66."""

T = TypeVar("T")
Severity = Literal["error", "warning"]
Kind = Literal[
    "missing-file",
    "changed-file",
    "unreadable",
    "wrong-size",
    "size-mismatch",
    "empty-mask",
    "full-mask",
    "inverted-mask",
    "shifted-mask",
    "poor-fit",
    "duplicate",
    "near-duplicate",
    "split-leak",
    "unlisted-file",
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or probably wrong.

    Attributes:
        severity: an "error" makes numbers wrong; a "warning" is for a person to look at.
        image: the entry's image, or the file, relative to the dataset's folder.
        kind: what it is.
        message: one line with the values and the remedy.
    """

    severity: Severity
    image: str
    kind: Kind
    message: str


def check_dataset(dataset: Dataset, track: Track = untracked) -> list[Finding]:
    """Everything found, errors first, then in the manifest's order; an empty dataset gives an empty list.

    Args:
        dataset: every image and mask of it is read once.
        track: shows progress over the images.
    """
    findings = [*_split_leaks(dataset), *_unlisted(dataset)]
    thumbnails: dict[ImageEntry, FloatArray] = {}
    for entry in track(dataset.images, len(dataset.images)):
        found, small = _check_entry(dataset, entry)
        findings += found
        if small is not None:
            thumbnails[entry] = small
    findings += [*_duplicates(dataset), *_near_duplicates(thumbnails)]
    order = {entry.image: i for i, entry in enumerate(dataset.images)}
    return sorted(findings, key=lambda found: (found.severity, order.get(found.image, -1), found.kind))


def _check_entry(dataset: Dataset, entry: ImageEntry) -> tuple[list[Finding], FloatArray | None]:
    """Findings about one image, and its thumbnail where it can be read."""
    findings: list[Finding] = []
    image = _read(dataset.image_path(entry), entry, entry.sha256.image, read_image, findings)
    mask_hw = _read(dataset.mask_path(entry), entry, entry.sha256.mask, read_mask, findings)
    if mask_hw is not None and not mask_hw.any():
        message = "the mask holds no metal; draw its lines, or leave the image out: it has nothing to measure"
        findings.append(Finding("error", entry.image, "empty-mask", message))
    if mask_hw is not None and mask_hw.all():
        message = "the mask is metal everywhere; draw its lines, or leave the image out"
        findings.append(Finding("error", entry.image, "full-mask", message))
    if image is None:
        return findings, None
    findings += _check_pair(entry, image, mask_hw)
    return findings, thumbnail(image.field_hw)


def _read(
    path: Path, entry: ImageEntry, recorded: str, read: Callable[[Path], T], findings: list[Finding]
) -> T | None:
    """What `read` gives for `path`, or `None` with a finding more."""
    if not path.is_file():
        message = f"no file {path}; restore it or import the dataset again"
        findings.append(Finding("error", entry.image, "missing-file", message))
        return None
    try:
        if file_sha256(path) != recorded:
            message = f"{path} is not the file that {MANIFEST} describes (sha256 differs)"
            findings.append(Finding("error", entry.image, "changed-file", message))
        return read(path)
    except (DatasetError, ImageError) as error:
        findings.append(Finding("error", entry.image, "unreadable", str(error)))
        return None


def _check_pair(entry: ImageEntry, image: SemImage, mask_hw: MaskArray | None) -> Iterator[Finding]:
    height, width = image.pixels_hw.shape
    if (height, width) != (entry.height, entry.width):
        message = f"the image has {width} x {height} px, {MANIFEST} says {entry.width} x {entry.height}"
        yield Finding("error", entry.image, "wrong-size", message)
    if mask_hw is None:
        return
    if mask_hw.shape != (height, width):
        message = f"the mask has {mask_hw.shape[1]} x {mask_hw.shape[0]} px, the image {width} x {height}"
        yield Finding("error", entry.image, "size-mismatch", message)
        return
    found = align(image.field_hw, mask_hw[slice(*image.field_rows)])
    if found is None:
        return
    if max(found.fit, found.inverted_fit) < MIN_FIT:
        message = (
            f"the mask fits the image nowhere within {SEARCH_PX} px (fit {found.fit:.2f} of 2); wrong pair?"
        )
        yield Finding("warning", entry.image, "poor-fit", message)
        return
    if found.inverted_fit > found.fit:
        message = (
            f"the mask's metal is the darker side (fit {found.fit:.2f}, inverted {found.inverted_fit:.2f} "
            "of 2); invert the mask"
        )
        yield Finding("error", entry.image, "inverted-mask", message)
    if np.hypot(found.shift_x_px, found.shift_y_px) > MAX_SHIFT_PX:
        message = (
            f"the mask lies {found.shift_x_px:+d} px in x and {found.shift_y_px:+d} px in y "
            "(right and down) from the image's lines"
        )
        yield Finding("warning", entry.image, "shifted-mask", message)


def _split_leaks(dataset: Dataset) -> Iterator[Finding]:
    for ic in dataset.ics:
        splits = sorted({entry.split for entry in dataset.select(ic=ic)})
        if "unseen" in splits and len(splits) > 1:
            first = dataset.select(ic=ic, split="unseen")[0]
            message = (
                f"IC {ic} is unseen, but also in {', '.join(s for s in splits if s != 'unseen')}; split again"
            )
            yield Finding("error", first.image, "split-leak", message)


def _unlisted(dataset: Dataset) -> Iterator[Finding]:
    for name in unlisted_files(dataset):
        message = f"the file is not in {MANIFEST}; import it or move it away"
        yield Finding("warning", name, "unlisted-file", message)


def unlisted_files(dataset: Dataset, *, hidden: bool = False) -> list[str]:
    """Files in the dataset's folder that its manifest does not name, relative to it.

    Args:
        dataset: the dataset.
        hidden: also files and folders whose name starts with a dot.

    Raises:
        InputError: a folder cannot be read.
    """
    listed = {MANIFEST} | {path for entry in dataset.images for path in (entry.image, entry.mask)}
    found = []
    for path in files_below(dataset.folder):
        name = path.relative_to(dataset.folder)
        passed_over = not hidden and any(part.startswith(".") for part in name.parts)
        if not passed_over and name.as_posix() not in listed:
            found.append(name.as_posix())
    return found


def _duplicates(dataset: Dataset) -> Iterator[Finding]:
    """Images that are the same file, by the manifest's digests: each against the first of its kind."""
    same: dict[str, list[ImageEntry]] = defaultdict(list)
    for entry in dataset.images:
        same[entry.sha256.image].append(entry)
    for first, *others in same.values():
        leaks = len({first.split, *(other.split for other in others)}) > 1
        for other in others:
            message = f"the same file as {first.image}, in {other.split} and {first.split}; drop one"
            yield Finding("error" if leaks else "warning", other.image, "duplicate", message)


def _near_duplicates(thumbnails: dict[ImageEntry, FloatArray]) -> Iterator[Finding]:
    """Images that show the same place as one of another split: each with the one most alike."""
    entries = list(thumbnails)
    most_alike: dict[ImageEntry, tuple[float, ImageEntry]] = {}
    for i, j, correlation in near_duplicates(list(thumbnails.values())):
        one, other = entries[i], entries[j]
        same_file = one.sha256.image == other.sha256.image
        if one.split != other.split and not same_file and correlation > most_alike.get(other, (0.0,))[0]:
            most_alike[other] = (correlation, one)
    for other, (correlation, one) in most_alike.items():
        message = (
            f"looks like {one.image} (correlation {correlation:.2f}), which is in {one.split}, "
            f"but is in {other.split}; put both into one split"
        )
        yield Finding("warning", other.image, "near-duplicate", message)
