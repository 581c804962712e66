"""Images resampled window by window, with the same numbers whatever the window is.

Coordinates: pixel i covers [i, i + 1); its centre is at i + 0.5. Each axis of n pixels is stretched to m
pixels: a triangle as wide as the coarser of the two grids' pixels weighs the old pixels' centres around each
new one's (bilinear where it enlarges, an average where it shrinks). Beyond the border there is nothing.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Uint8Array = npt.NDArray[np.uint8]


class Taps(NamedTuple):
    """Weights of old pixels [first, last) for some new pixels: sparse float32 (new, last - first)."""

    first: int
    last: int
    weights: csr_array


@functools.lru_cache(maxsize=256)
def taps(old_px: int, new_px: int, start: int, stop: int) -> Taps:
    """The weights for the new pixels [start, stop) of an axis of `old_px` that is stretched to `new_px`.

    Each row sums to 1. The weights of a new pixel do not depend on which others are asked for.
    """
    ratio = old_px / new_px
    reach = max(ratio, 1.0)
    centres = (np.arange(start, stop) + 0.5) * ratio - 0.5
    lowest = np.ceil(centres - reach).astype(np.int64)
    count = int(np.ceil(2 * reach)) + 1
    old = lowest[:, None] + np.arange(count)
    weights = np.maximum(1.0 - np.abs(old - centres[:, None]) / reach, 0.0)
    weights[(old < 0) | (old >= old_px)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights > 0
    first, last = int(old[used].min()), int(old[used].max()) + 1
    rows = np.broadcast_to(np.arange(stop - start)[:, None], old.shape)
    matrix = csr_array(
        (weights[used].astype(np.float32), (rows[used], old[used] - first)),
        shape=(stop - start, last - first),
    )
    return Taps(first, last, matrix)


def apply_taps(window_hw: Uint8Array, rows: Taps, columns: Taps) -> Uint8Array:
    """The resampled window, uint8, from the old pixels that the taps ask for."""
    tall_hw = rows.weights @ window_hw.astype(np.float32)
    wide_wh = columns.weights @ np.ascontiguousarray(tall_hw.T)
    resampled_hw: Uint8Array = np.rint(wide_wh.T).astype(np.uint8)
    return resampled_hw


def stretch(image_hw: Uint8Array, height: int, width: int) -> Uint8Array:
    """The whole image, not empty, stretched to `height` x `width`, not keeping its aspect."""
    if image_hw.shape == (height, width):
        return image_hw
    rows = taps(image_hw.shape[0], height, 0, height)
    columns = taps(image_hw.shape[1], width, 0, width)
    return apply_taps(image_hw, rows, columns)
