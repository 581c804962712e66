"""What a cell's probability map tells about the errors that may hide in it.

An ESD error is a change of topology, so the features ask how the lines' topology changes when the threshold
moves a little: lines that merge when it falls are near a short, lines that break when it rises are near an
open, lines that vanish are near a false positive, lines that appear are near a false negative. Lines hardly
longer than wide are what breaks and dirt leave behind.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.segmentation.noise import noise_from_median, noise_response
from etchline.segmentation.probability import LINE, pixel_confidence

NEAR, FAR = 24, 64  # how far the threshold is moved, of 255
MIN_AREA_PX = 35  # smaller components are no lines for the ESD
SPECKLE_PX = 16
LOW_MARGIN = 64  # |2p - 1| below 0.25
_EDGE_REACH = cv2.getStructuringElement(cv2.MORPH_RECT, (5, 5))

FEATURE_NAMES = (
    "merging_near",
    "merging_far",
    "breaking_near",
    "breaking_far",
    "vanishing_near",
    "vanishing_far",
    "appearing_near",
    "appearing_far",
    "short_lines",
    "speckles",
    "low_margin",
    "noise",
)


@dataclass(frozen=True)
class CellFeatures:
    """The features of one cell.

    Attributes:
        values: one number >= 0 for each of `FEATURE_NAMES`: counts as log(1 + n), `low_margin` as the square
            root of a share, `noise` as a share of the grey range.
        speckles: components of at most 16 px (line or hole) in the window.
    """

    values: tuple[float, ...]
    speckles: int


@dataclass(frozen=True)
class _Components:
    """Components of a mask: labels (H, W) int32 from 1 (0 is the rest) and OpenCV's statistics, (n, 5)."""

    labels_hw: npt.NDArray[np.int32]
    stats: npt.NDArray[np.int32]

    @property
    def is_line(self) -> npt.NDArray[np.bool_]:
        """Per label: large enough to be a line."""
        large: npt.NDArray[np.bool_] = self.stats[:, cv2.CC_STAT_AREA] >= MIN_AREA_PX
        large[0] = False
        return large

    def speckles(self) -> int:
        """Components of at most `SPECKLE_PX` that do not touch the window's edge (those may be cut)."""
        height, width = self.labels_hw.shape
        left, top, columns, rows, area = self.stats[1:].T
        whole = (left > 0) & (top > 0) & (left + columns < width) & (top + rows < height)
        return int((whole & (area <= SPECKLE_PX)).sum())


def measure_cell(probability_hw: npt.NDArray[np.uint8], normalised_hw: npt.NDArray[np.uint8]) -> CellFeatures:
    """The features of a cell and a little context around it.

    Args:
        probability_hw: uint8 `round(255 p)`, (H, W), at least one pixel.
        normalised_hw: the same window of the normalised image, uint8.
    """
    lines = _components(probability_hw >= LINE)
    counts: dict[str, list[int]] = {"merging": [], "breaking": [], "vanishing": [], "appearing": []}
    for margin in (NEAR, FAR):
        merging, appearing = _lowered(lines, _components(probability_hw >= LINE - margin))
        breaking, vanishing = _raised(lines, _components(probability_hw >= LINE + margin))
        for name, count in zip(counts, (merging, breaking, vanishing, appearing), strict=True):
            counts[name].append(count)
    holes = _components(probability_hw < LINE, connectivity=4)
    speckles = lines.speckles() + holes.speckles()
    logs = [math.log1p(count) for pair in counts.values() for count in pair]
    values = (
        *logs,
        math.log1p(_short_lines(lines)),
        math.log1p(speckles),
        _low_margin(probability_hw),
        _noise(normalised_hw),
    )
    return CellFeatures(values=values, speckles=speckles)


def _components(mask_hw: npt.NDArray[np.bool_], connectivity: int = 8) -> _Components:
    _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(
        mask_hw.view(np.uint8), connectivity=connectivity
    )
    return _Components(labels_hw, stats)


def _lowered(lines: _Components, low: _Components) -> tuple[int, int]:
    """Lines lost by merging, and lines that appear, when the threshold falls."""
    inside = lines.is_line[lines.labels_hw]
    reached = np.zeros(len(low.stats), dtype=bool)
    reached[low.labels_hw[inside]] = True
    merging = int(lines.is_line.sum() - reached.sum())
    reached[low.labels_hw[lines.labels_hw > 0]] = True  # a speckle that grows is counted as a speckle
    return merging, int((low.is_line & ~reached).sum())


def _raised(lines: _Components, high: _Components) -> tuple[int, int]:
    """Pieces gained by breaking, and lines that vanish, when the threshold rises."""
    inside = high.is_line[high.labels_hw]
    reached = np.zeros(len(lines.stats), dtype=bool)
    reached[lines.labels_hw[inside]] = True
    breaking = int(high.is_line.sum() - reached.sum())
    reached[lines.labels_hw[high.labels_hw > 0]] = True
    return breaking, int((lines.is_line & ~reached).sum())


def _short_lines(lines: _Components) -> int:
    """Components larger than a speckle whose area is below that of three squares of the lines' mean width."""
    mask_hw = (lines.labels_hw > 0).view(np.uint8)
    rims = cv2.morphologyEx(mask_hw, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    # The gradient marks both sides of an edge: a line of width w and length l has about 4 l of it.
    width_px = 4.0 * int(np.count_nonzero(mask_hw)) / max(int(np.count_nonzero(rims)), 1)
    areas = lines.stats[1:, cv2.CC_STAT_AREA]
    return int(((areas > SPECKLE_PX) & (areas < 3.0 * width_px**2)).sum())


def _low_margin(probability_hw: npt.NDArray[np.uint8]) -> float:
    """Square root of the share of undecided pixels among those away from the lines' edges."""
    mask_hw = (probability_hw >= LINE).astype(np.uint8)
    flat = cv2.morphologyEx(mask_hw, cv2.MORPH_GRADIENT, _EDGE_REACH) == 0
    if not flat.any():
        return 1.0
    undecided = pixel_confidence(probability_hw) < LOW_MARGIN
    return math.sqrt(float((flat & undecided).sum() / flat.sum()))


def _noise(normalised_hw: npt.NDArray[np.uint8]) -> float:
    """Standard deviation of the noise as a share of the grey range."""
    return noise_from_median(float(np.median(noise_response(normalised_hw)))) / 255.0
