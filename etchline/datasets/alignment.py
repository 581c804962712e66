"""Whether a mask fits its image: polarity and shift."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.images import GreyArray

FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.uint8]

SEARCH_PX = 16
"""Largest shift that is looked for, in x and in y."""

_TILE_PX = 1024
_TILES = 4
_SMOOTH_PX = 1.5
_FLAT_PX = 65
_CLIP_PERCENT = (1, 98)
# Measured on the synthetic families: at 1 % every shift of 3 px or more is found, also along the lines, and
# no aligned pair is moved.
_PEAK_SHARE = 0.01


@dataclass(frozen=True)
class Alignment:
    """How a mask lies on its image.

    Attributes:
        shift_x_px: how far the mask lies to the right of the image's lines.
        shift_y_px: how far it lies below them.
        fit: agreement at that shift: correlation of edges plus correlation of levels, at most 2.
        inverted_fit: the best agreement of the inverted mask; above `fit` the metal is the darker side.
    """

    shift_x_px: int
    shift_y_px: int
    fit: float
    inverted_fit: float


def align(image_hw: GreyArray, mask_hw: MaskArray) -> Alignment | None:
    """The alignment of a mask and its image by correlation, or `None` where either is uniform or tiny.

    Edges (gradient magnitude) fix the place of materials whose lines and spaces are equally grey; levels
    tell a line from a space, which edges of a fine pitch confuse. Large images are judged by the four
    1024 px tiles with most mask edges. Where several shifts fit equally well (lines that repeat), the
    smallest is taken; no shift wins over one that fits less than 1 % better.

    Args:
        image_hw: uint8 or uint16, (H, W), without data bar.
        mask_hw: uint8 0/255, (H, W).
    """
    search = min(SEARCH_PX, min(mask_hw.shape) // 4)
    if search == 0:
        return None
    edges_hw = np.zeros((2 * search + 1, 2 * search + 1), np.float64)
    levels_hw = edges_hw.copy()
    tiles = 0
    for rows, columns in _busiest_tiles(mask_hw):
        image_flat_hw, mask_flat_hw = _flatten(image_hw[rows, columns]), _flatten(mask_hw[rows, columns])
        if image_flat_hw is not None and mask_flat_hw is not None:
            edges_hw += _correlate(_gradient(image_flat_hw), _gradient(mask_flat_hw), search)
            levels_hw += _correlate(image_flat_hw, mask_flat_hw, search)
            tiles += 1
    if tiles == 0:
        return None
    fit_hw, inverted_hw = (edges_hw + levels_hw) / tiles, (edges_hw - levels_hw) / tiles
    best_hw = inverted_hw if inverted_hw.max() > fit_hw.max() else fit_hw
    x, y = _nearest_peak(best_hw, search)
    return Alignment(-x, -y, float(fit_hw.max()), float(inverted_hw.max()))


def _busiest_tiles(mask_hw: MaskArray) -> list[tuple[slice, slice]]:
    """Up to four tiles of at most 1024 px, those with most edges in the mask; none without an edge."""
    height, width = mask_hw.shape
    found = []
    for top in _starts(height):
        for left in _starts(width):
            place = (slice(top, top + _TILE_PX), slice(left, left + _TILE_PX))
            tile_hw = mask_hw[place]
            edges = np.count_nonzero(np.diff(tile_hw, axis=0)) + np.count_nonzero(np.diff(tile_hw, axis=1))
            if edges:
                found.append((-edges, top, left, place))
    return [place for *_, place in sorted(found, key=lambda tile: tile[:3])[:_TILES]]


def _starts(length: int) -> list[int]:
    """First pixels of tiles that cover `length`, the last shifted inwards."""
    return sorted({min(start, max(length - _TILE_PX, 0)) for start in range(0, length, _TILE_PX)})


def _flatten(pixels_hw: GreyArray) -> FloatArray | None:
    """Denoised levels without shading and saturation; `None` where there is only one level."""
    flat_hw = pixels_hw.astype(np.float32)
    low, high = np.percentile(flat_hw, _CLIP_PERCENT).astype(np.float32)
    if low == high:
        # Lines that cover less than 2 % of a tile.
        low, high = flat_hw.min(), flat_hw.max()
    if low == high:
        return None
    flat_hw = (np.clip(flat_hw, low, high) - low) / (high - low)
    flat_hw = cv2.GaussianBlur(flat_hw, (0, 0), _SMOOTH_PX)
    return np.asarray(flat_hw - cv2.blur(flat_hw, (_FLAT_PX, _FLAT_PX)), np.float32)


def _gradient(flat_hw: FloatArray) -> FloatArray:
    across_hw = cv2.Sobel(flat_hw, cv2.CV_32F, 1, 0)
    down_hw = cv2.Sobel(flat_hw, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.GaussianBlur(np.hypot(across_hw, down_hw), (0, 0), 1.0), np.float32)


def _correlate(image_hw: FloatArray, mask_hw: FloatArray, search: int) -> npt.NDArray[np.float64]:
    """Correlation for each place of the mask's interior in the image; the middle is no shift."""
    interior_hw = np.ascontiguousarray(mask_hw[search:-search, search:-search])
    if not interior_hw.std() > 0:
        return np.zeros((2 * search + 1, 2 * search + 1))
    return np.asarray(cv2.matchTemplate(image_hw, interior_hw, cv2.TM_CCOEFF_NORMED), np.float64)


def _nearest_peak(fit_hw: npt.NDArray[np.float64], search: int) -> tuple[int, int]:
    """Column and row of the best fit, relative to the middle; of equally good ones the nearest."""
    highest = fit_hw.max()
    good_hw = (fit_hw >= highest - _PEAK_SHARE * abs(highest)).astype(np.uint8)
    _, hills_hw = cv2.connectedComponents(good_hw)
    if hills_hw[search, search]:
        return 0, 0
    rows, columns = np.nonzero(good_hw)
    nearest = np.hypot(rows - search, columns - search).argmin()
    hill_hw = hills_hw == hills_hw[rows[nearest], columns[nearest]]
    row, column = np.unravel_index(np.where(hill_hw, fit_hw, -np.inf).argmax(), fit_hw.shape)
    return int(column) - search, int(row) - search
