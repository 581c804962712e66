"""Images that show the same place: what is in training must not be measured again in test."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from etchline.images import GreyArray

FloatArray = npt.NDArray[np.float32]

NEAR_DUPLICATE = 0.85
"""Correlation of two thumbnails above which two images are near-duplicates.

Measured on the synthetic families: JPEG copies at other brightness at least 0.98, other fields of the same
layer at most 0.6. A second scan of the same place lies between and may be missed.
"""

_THUMBNAIL_PX = 64
_FLAT_PX = 8.0
_ROWS_AT_ONCE = 1024


def thumbnail(image_hw: GreyArray) -> FloatArray:
    """A (4096,) float32 vector of length 1 whose dot products are correlations; zeros for a uniform image.

    Args:
        image_hw: uint8 or uint16, (H, W).
    """
    levels_hw = image_hw.astype(np.float32)
    low, high = np.percentile(levels_hw[::4, ::4], (1, 98)).astype(np.float32)
    if low == high:
        return np.zeros(_THUMBNAIL_PX**2, np.float32)
    size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    small_hw = cv2.resize(np.clip(levels_hw, low, high), size, interpolation=cv2.INTER_AREA)
    # Shading is a property of the microscope, not of the place.
    small_hw = small_hw - cv2.GaussianBlur(small_hw, (0, 0), _FLAT_PX)
    vector = (small_hw - small_hw.mean()).ravel()
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def near_duplicates(thumbnails: Sequence[FloatArray]) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j), i < j, of near-duplicates with their correlation."""
    if not thumbnails:
        return
    vectors = np.stack(thumbnails)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):
        alike = vectors[first : first + _ROWS_AT_ONCE] @ vectors.T
        for row, column in zip(*np.nonzero(alike > NEAR_DUPLICATE), strict=True):
            if first + row < column:
                yield first + int(row), int(column), float(alike[row, column])
