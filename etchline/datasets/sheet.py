"""A contact sheet: what a dataset looks like, with its masks, on one picture."""

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from etchline.datasets.manifest import Dataset, ImageEntry
from etchline.datasets.tracking import Track, untracked
from etchline.errors import DatasetError
from etchline.images import read_image, read_mask
from etchline.images.display import ORANGE, stretched

MAX_IMAGES = 200

_PANEL_PX = 256
_GAP_PX = 8
_LABEL_PX = 22
_FONT_PX = 13
_PAPER = 255

RgbArray = npt.NDArray[np.uint8]


def contact_sheet(
    dataset: Dataset,
    entries: Sequence[ImageEntry],
    *,
    columns: int = 4,
    limit: int = 48,
    track: Track = untracked,
) -> RgbArray:
    """A picture of up to `limit` images: (H, W, 3) RGB uint8.

    Each image gets two panels of 256 px: the whole image with the mask tinted, and its busiest 256 px at full
    size with the mask's outline. Above them stand IC, layer, split, size and file name. Where there are more
    images than `limit`, they are taken in turn from all ICs, layers and splits.

    Args:
        dataset: where the images lie.
        entries: which of them, at least one.
        columns: images side by side.
        limit: at most this many images.
        track: shows progress over the images.

    Raises:
        DatasetError: no entry, a number out of its range, or an image and a mask of two sizes.
        ImageError: a file cannot be read.
    """
    if not entries:
        raise DatasetError(f"{dataset.folder}: no image is selected; choose other splits, ICs or layers")
    if columns < 1 or not 1 <= limit <= MAX_IMAGES:
        raise DatasetError(
            f"contact sheet of {limit} images in {columns} columns: give 1 to {MAX_IMAGES} images "
            "and at least 1 column"
        )
    chosen = _choose(entries, limit)
    cells = [_cell(dataset, entry) for entry in track(chosen, len(chosen))]
    cells += [np.full_like(cells[0], _PAPER)] * (-len(cells) % min(columns, len(cells)))
    width = min(columns, len(cells))
    rows = [np.concatenate(cells[i : i + width], axis=1) for i in range(0, len(cells), width)]
    return np.concatenate(rows)


def _choose(entries: Sequence[ImageEntry], limit: int) -> list[ImageEntry]:
    """Up to `limit` entries in turn from all ICs and, within each, from all its layers and splits; sorted."""
    counts: dict[tuple[str, ...], int] = defaultdict(int)

    def next_turn(*group: str) -> int:
        counts[group] += 1
        return counts[group]

    ordered = sorted(entries, key=lambda entry: (entry.ic, entry.layer, entry.split, entry.image))
    ordered.sort(key=lambda entry: next_turn(entry.ic, entry.layer, entry.split))
    ordered.sort(key=lambda entry: next_turn(entry.ic))
    return sorted(ordered[:limit], key=lambda entry: (entry.ic, entry.layer, entry.split, entry.image))


def _cell(dataset: Dataset, entry: ImageEntry) -> RgbArray:
    image, mask_hw = read_image(dataset.image_path(entry)), read_mask(dataset.mask_path(entry))
    if mask_hw.shape != image.pixels_hw.shape:
        raise DatasetError(
            f"{dataset.mask_path(entry)}: not of its image's size; "
            f"see `etchline dataset check {dataset.folder}`"
        )
    grey_hw = stretched(image.pixels_hw)
    panels = [_overview(grey_hw, mask_hw), _detail(grey_hw, mask_hw)]
    height, width = _LABEL_PX + _PANEL_PX + _GAP_PX, 2 * _PANEL_PX + 2 * _GAP_PX
    cell = np.full((height, width, 3), _PAPER, np.uint8)
    for i, panel in enumerate(panels):
        left = i * (_PANEL_PX + _GAP_PX // 2)
        cell[_LABEL_PX : _LABEL_PX + panel.shape[0], left : left + panel.shape[1]] = panel
    name = entry.image.rsplit("/", 1)[-1]
    return _label(
        cell, f"{entry.ic}  {entry.layer}  {entry.split}  {entry.width} x {entry.height} px  {name}"
    )


def _overview(grey_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8]) -> RgbArray:
    """The whole image, at most 256 px, metal tinted."""
    height, width = grey_hw.shape
    scale = min(1.0, _PANEL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small_hw = cv2.resize(grey_hw, size, interpolation=cv2.INTER_AREA)
    share_hw = cv2.resize(mask_hw, size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    tint = np.asarray(ORANGE, np.float32)
    return np.asarray(small_hw[..., None] * (1 - 0.35 * share_hw) + tint * (0.35 * share_hw), np.uint8)


def _detail(grey_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8]) -> RgbArray:
    """The 256 px with most of the mask's edges, at full size, with its outline."""
    outline_hw = cv2.morphologyEx(mask_hw, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
    height, width = (min(_PANEL_PX, side) for side in mask_hw.shape)
    places = [
        (top, left)
        for top in range(0, mask_hw.shape[0] - height + 1, max(1, height // 2))
        for left in range(0, mask_hw.shape[1] - width + 1, max(1, width // 2))
    ]
    top, left = max(
        places, key=lambda p: np.count_nonzero(outline_hw[p[0] : p[0] + height, p[1] : p[1] + width])
    )
    part = (slice(top, top + height), slice(left, left + width))
    panel = np.repeat(grey_hw[part][..., None], 3, axis=2)
    panel[outline_hw[part] > 0] = ORANGE
    return panel


def _label(cell: RgbArray, text: str) -> RgbArray:
    picture = Image.fromarray(cell)
    ImageDraw.Draw(picture).text((2, 3), text, fill=(0, 0, 0), font=ImageFont.load_default(_FONT_PX))
    return np.asarray(picture)
