"""How often each value occurs in an array, and order statistics from that: exact, and faster than sorting."""

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

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


@njit(cache=True)
def median_of(counts: npt.NDArray[np.int64]) -> float:
    """The median of values that occur this often, as `numpy.median` gives it; at least one does."""
    total = counts.sum()
    below, low = 0, -1
    for value in range(counts.size):
        below += counts[value]
        if low < 0 and below > (total - 1) // 2:
            low = value
        if below > total // 2:
            break
    return (low + value) / 2.0


@njit(cache=True)
def percentile_of(counts: npt.NDArray[np.int64], percent: float) -> float:
    """A percentile of values that occur this often, as `numpy.percentile` gives it; at least one does."""
    place = percent / 100.0 * (counts.sum() - 1)
    before = int(place)
    below, low = 0, -1
    for value in range(counts.size):
        below += counts[value]
        if low < 0 and below > before:
            low = value
        if below > before + 1:
            break
    high = value if below > before + 1 else low
    share = place - before
    # Both forms, as numpy chooses them, so that rounding is the same too.
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


@njit(cache=True)
def otsu_of(counts: npt.NDArray[np.int64]) -> int:
    """Otsu's threshold of values that occur this often: the last value of the lower class; at least two do.

    It is skimage's `threshold_otsu` (of equal ones the least), which takes fifty times as long for a
    histogram: a fifth of what a view's points cost.

    Source: Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    pixels, total = 0.0, 0.0
    for value in range(counts.size):
        pixels += counts[value]
        total += value * counts[value]
    best, threshold = -1.0, 0
    lower, lower_total = 0.0, 0.0
    for value in range(counts.size - 1):
        lower += counts[value]
        lower_total += value * counts[value]
        if lower == 0 or lower == pixels:
            continue
        apart = lower_total / lower - (total - lower_total) / (pixels - lower)
        between = lower * (pixels - lower) * apart * apart
        if between > best:
            best, threshold = between, value
    return threshold
