"""How often each value occurs in an array, and order statistics from that: exact, and faster than sorting."""

import cv2
import numpy as np
import numpy.typing as npt

from etchline.images.source import GreyArray

# OpenCV counts in float32, which is exact below 2^24.
_EXACT_PX = 1 << 24


def count_values(
    values_hw: GreyArray, bins: int, mask_hw: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.int64]:
    """How many pixels have the values 0 to `bins` - 1, int64 (bins,); other values are not counted.

    Args:
        values_hw: uint8 or uint16, (H, W); none give zeros.
        bins: 2 or more.
        mask_hw: uint8, same shape: only pixels where it is not 0 count; all do by default.
    """
    counts = np.zeros(bins, np.int64)
    if values_hw.size == 0:
        return counts
    rows = max(1, _EXACT_PX // values_hw.shape[1])
    for top in range(0, len(values_hw), rows):
        part = slice(top, top + rows)
        mask = None if mask_hw is None else mask_hw[part]
        found = cv2.calcHist([values_hw[part]], [0], mask, [bins], [0, bins])
        counts += np.asarray(found, np.float32).ravel().astype(np.int64)
    return counts


def median_of(counts: npt.NDArray[np.int64]) -> float:
    """The median of values that occur this often, as `numpy.median` gives it; at least one does."""
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    lower, upper = np.searchsorted(cumulative, ((total - 1) // 2, total // 2), side="right")
    return (int(lower) + int(upper)) / 2.0


def percentile_of(counts: npt.NDArray[np.int64], percent: float) -> float:
    """A percentile of values that occur this often, as `numpy.percentile` gives it; at least one does."""
    cumulative = np.cumsum(counts)
    place = percent / 100.0 * (int(cumulative[-1]) - 1)
    before = int(place)
    after = min(before + 1, int(cumulative[-1]) - 1)
    low, high = (int(value) for value in np.searchsorted(cumulative, (before, after), side="right"))
    share = place - before
    # Both forms, as numpy chooses them, so that rounding is the same too.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
