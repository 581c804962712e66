"""The microscope's data bar found by its looks, where no metadata tells.

A strip is taken for a data bar only if everything speaks for it, because a missed bar costs a few false lines
and a cropped specimen costs the truth:

- it is the lowest (or uppermost) 2 to 25 % of the rows and spans the full width;
- its background is one value without noise, up to `_TOLERANCE` grey levels, and nothing but ink lies on it;
- the ink is text: many separate shapes of many different sizes, far from the background in grey, that stand
  on few lines and keep away from both ends of the bar;
- it ends within one row, over the full width;
- the specimen beside it is noisy, and does not have the bar's background in its rows.

Drawn pictures without noise, saturated areas, black padding of mosaics and wide lines fail one of these.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from etchline.images.source import GreyArray

ReadRows = Callable[[int, int], GreyArray]

MAX_ANALYSED_PIXELS = 64_000_000
"""Larger images are stitched mosaics, which carry no bar; they are not searched."""

_SMALLEST_IMAGE_PX = 96
_SMALLEST_BAR_PX, _SMALLEST_BAR, _LARGEST_BAR = 12, 0.02, 0.25
_TOLERANCE = 3  # grey levels of 255: JPEG wobble of a flat area
_EDGE_TOLERANCE = 12  # JPEG ringing in the bar's first row
_INK_DISTANCE = 60  # grey levels between text and its background
# Share of background in rows of the bar, in its first row, and in rows of the field.
_BAR_ROW, _BLANK_ROW, _FIELD_ROW = 0.4, 0.9, 0.3
_MOST_COMMON_VALUE = 0.4  # share of a field row: more means a drawn picture without noise
_INK_SHARE = (0.003, 0.45)
_STRAY_SHARE = 0.01  # pixels of the bar that are neither background nor beside ink
_FEWEST_SHAPES, _FEWEST_SIZES = 16, 6
_ON_LINES = 0.65  # share of shapes that stand on at most three lines of text
_MARGIN_PX = 2  # rows without ink between the text and either end of the bar


def find_field_rows(read_rows: ReadRows, height: int, width: int) -> tuple[int, int]:
    """Rows [first, last) of the specimen: all rows where no data bar is certain.

    Args:
        read_rows: gives rows [top, bottom) in full width, uint8 or uint16.
        height: rows of the image.
        width: columns of the image.
    """
    if min(height, width) < _SMALLEST_IMAGE_PX or height * width > MAX_ANALYSED_PIXELS:
        return 0, height
    limit = int(height * _LARGEST_BAR)
    if not _field_is_noisy(read_rows, height):
        return 0, height
    lower = _bar_height(read_rows(height - limit, height)[::-1], height)
    if lower:
        return 0, height - lower
    return _bar_height(read_rows(0, limit), height), height


def _to_8_bit(rows_hw: GreyArray) -> npt.NDArray[np.uint8]:
    if rows_hw.dtype == np.uint8:
        return rows_hw.astype(np.uint8, copy=False)
    top = max(int(rows_hw.max()), 255)
    return (rows_hw.astype(np.float32) * (255.0 / top)).astype(np.uint8)


def _field_is_noisy(read_rows: ReadRows, height: int) -> bool:
    """Whether the rows in the middle look like a detector's: no single value fills much of them."""
    shares = []
    for place in (0.35, 0.5, 0.65):
        top = int(height * place)
        rows_hw = _to_8_bit(read_rows(top, top + 8))
        shares += [np.bincount(row).max() / row.size for row in rows_hw]
    return bool(np.median(shares) <= _MOST_COMMON_VALUE)


def _bar_height(from_edge_hw: GreyArray, height: int) -> int:
    """Rows of the data bar that begins at row 0 of `from_edge_hw`; 0 where there is none."""
    rows_hw = _to_8_bit(from_edge_hw)
    background = _background(rows_hw)
    distance = np.abs(rows_hw.astype(np.int16) - background)
    shares = (distance <= _TOLERANCE).mean(axis=1)
    rows = _extent(rows_hw, shares)
    if not max(_SMALLEST_BAR_PX, height * _SMALLEST_BAR) <= rows < len(rows_hw):
        return 0
    first_is_blank = (distance[rows - 1] <= _EDGE_TOLERANCE).mean() >= _BLANK_ROW or _is_rule(
        rows_hw[rows - 1]
    )
    beside = shares[rows : rows + 8]
    if not first_is_blank or beside.max() > _FIELD_ROW:
        return 0
    bar = zip(rows_hw[:rows], shares[:rows], strict=True)
    inner = np.array([not _is_rule(row) or share > _BAR_ROW for row, share in bar])
    return rows if _is_text(distance[:rows][inner]) else 0


def _background(rows_hw: npt.NDArray[np.uint8]) -> int:
    """The commonest value of the rows at the edge (a frame line there is thinner than the text's ground)."""
    return int(np.bincount(rows_hw[: 2 * _SMALLEST_BAR_PX].ravel()).argmax())


def _is_rule(row: npt.NDArray[np.uint8]) -> bool:
    """Whether a row is one value over the full width: a frame or a separating line."""
    middle = int(np.median(row))
    return bool((np.abs(row.astype(np.int16) - middle) <= _TOLERANCE).mean() >= 0.97)


def _extent(rows_hw: npt.NDArray[np.uint8], shares: npt.NDArray[Any]) -> int:
    """How many rows from the edge on are background with ink, or rules."""
    for index, share in enumerate(shares):
        if share < _BAR_ROW and not _is_rule(rows_hw[index]):
            return index
    return len(shares)


def _is_text(distance_hw: npt.NDArray[np.int16]) -> bool:
    """Whether what is not background is many sharp, separate, differing shapes."""
    ink = (distance_hw > _INK_DISTANCE).astype(np.uint8)
    if not _INK_SHARE[0] <= ink.mean() <= _INK_SHARE[1]:
        return False
    if ink[:_MARGIN_PX].any() or ink[-_MARGIN_PX:].any():
        return False
    near_ink = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    stray = (distance_hw > _EDGE_TOLERANCE) & (near_ink == 0)
    if stray.mean() > _STRAY_SHARE:
        return False
    count, _, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    boxes = stats[1:count]
    shapes = boxes[boxes[:, cv2.CC_STAT_AREA] >= 3]
    sizes = {tuple(box) for box in shapes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].tolist()}
    if len(shapes) < _FEWEST_SHAPES or len(sizes) < _FEWEST_SIZES:
        return False
    uppers = shapes[:, cv2.CC_STAT_TOP]
    lowers = uppers + shapes[:, cv2.CC_STAT_HEIGHT]
    return max(_share_on_lines(uppers), _share_on_lines(lowers)) >= _ON_LINES


def _share_on_lines(rows: npt.NDArray[Any]) -> float:
    """Share of shapes whose edges lie on the three commonest pairs of rows: text does, dust does not."""
    counts = np.bincount(rows, minlength=int(rows.max()) + 2).astype(np.int64)
    caught = 0
    for _ in range(3):
        pairs = counts[:-1] + counts[1:]
        best = int(pairs.argmax())
        caught += int(pairs[best])
        counts[best : best + 2] = 0
    return caught / len(rows)
