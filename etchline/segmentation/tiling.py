"""Patches that overlap and cells that tile.

Coordinates: x to the right, y down, in pixels; a box (x0, y0, x1, y1) holds columns [x0, x1) and rows
[y0, y1).
"""

import itertools
import math
from dataclasses import dataclass

from etchline.errors import SettingsError

BoxXyxy = tuple[int, int, int, int]


@dataclass(frozen=True)
class Patch:
    """One patch of an image and the cell that owns its pixels.

    Attributes:
        row: patch row, from 0 at the top.
        column: patch column, from 0 at the left.
        box_xyxy: the patch; smaller than `patch_px` only where the image itself is smaller.
        cell_xyxy: the pixels that no other patch owns; inside `box_xyxy`.
    """

    row: int
    column: int
    box_xyxy: BoxXyxy
    cell_xyxy: BoxXyxy


def tile(height: int, width: int, patch_px: int = 512, min_overlap: float = 0.1) -> list[list[Patch]]:
    """The patches of an image, row by row, and their cells, which partition the image.

    Neighbours overlap by at least `min_overlap` of a patch; the last of a row or column is shifted inwards
    until it ends with the image. Cells are cut at the midlines of the overlaps. 4096 x 3536 px give 9 x 8
    patches of 512 px. An image without pixels has no patches.

    Raises:
        SettingsError: `patch_px` below 2 or `min_overlap` outside [0, 0.5].

    Source: SAMSEM, section 3.6.
    """
    if patch_px < 2:
        raise SettingsError(f"patch_px={patch_px}: a patch needs at least 2 pixels")
    if not 0 <= min_overlap <= 0.5:
        raise SettingsError(f"min_overlap={min_overlap}: must lie in [0, 0.5] of a patch")
    if height == 0 or width == 0:
        return []
    rows = _cuts(height, patch_px, min_overlap)
    columns = _cuts(width, patch_px, min_overlap)
    return [
        [
            Patch(row, column, (x0, y0, x1, y1), (cx0, cy0, cx1, cy1))
            for column, (x0, x1, cx0, cx1) in enumerate(columns)
        ]
        for row, (y0, y1, cy0, cy1) in enumerate(rows)
    ]


def _cuts(length: int, patch_px: int, min_overlap: float) -> list[tuple[int, int, int, int]]:
    """Along one axis: (patch start, patch end, cell start, cell end) of every patch."""
    size = min(patch_px, length)
    stride = max(1, math.floor(patch_px * (1 - min_overlap)))
    count = math.ceil((length - size) / stride) + 1
    starts = [min(index * stride, length - size) for index in range(count)]
    middles = [(left + size + right) // 2 for left, right in itertools.pairwise(starts)]
    edges = [0, *middles, length]
    return [(start, start + size, edges[index], edges[index + 1]) for index, start in enumerate(starts)]
