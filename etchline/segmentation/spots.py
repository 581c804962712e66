"""Components perhaps too small to be lines: residue, noise. They are judged whole, however bands are cut."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from etchline.errors import SettingsError
from etchline.images.source import GreyArray
from etchline.segmentation.components import BandComponents
from etchline.segmentation.probability import LINE
from etchline.segmentation.topology_kernel import label_runs, paint_runs, reached_steps

Uint8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

# Values of a probability map that are metal.
_METAL = reached_steps((LINE,))
# Largest half-width that is told apart when line widths are measured.
WIDTH_REACH_PX = 16
# Line width where no line is wide enough to be measured.
LEAST_WIDTH_PX = 3.0


@dataclass(frozen=True)
class SpotSettings:
    """What is a spot.

    Attributes:
        line_widths: a component whose box is at most this many line widths high and wide is a spot.
        most_px: no component with a longer box is a spot, however wide lines are.

    Raises:
        SettingsError: a value is negative.
    """

    line_widths: float = 1.25
    most_px: float = 24.0

    def __post_init__(self) -> None:
        for name in ("line_widths", "most_px"):
            if getattr(self, name) < 0:
                raise SettingsError(f"spot setting {name}={getattr(self, name)}: must not be negative")


@dataclass(frozen=True)
class Spots:
    """Pixels that are no metal although they are bright.

    Attributes:
        runs: int64 (n, 3), sorted: image row, first column, column after the last.
        count: number of spots.
        line_width_px: the typical line width that they were compared with.
    """

    runs: Int64Array
    count: int
    line_width_px: float

    def paint(self, rows_hw: Uint8Array, top: int, value: int) -> None:
        """Sets the spots' pixels on image rows [top, top + n) of `rows_hw`, (n, width), in place."""
        first, last = np.searchsorted(self.runs[:, 0], (top, top + len(rows_hw)))
        for row, left, right in self.runs[first:last].tolist():
            rows_hw[row - top, left:right] = value


def find_spots(masks: Iterable[Uint8Array], first_row: int, settings: SpotSettings) -> Spots:
    """The spots of a mask that comes in bands.

    Only what may still be a spot is kept of each band, so memory follows the number of small components.

    Args:
        masks: uint8 0 or 1, (n, width) each, from top to bottom.
        first_row: image row of the first band's first row.
        settings: what is a spot.
    """
    components, top = BandComponents(), first_row
    half_widths = np.zeros(WIDTH_REACH_PX + 1, np.int64)
    runs, labels = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for mask_hw in masks:
        half_widths += _half_widths(mask_hw)
        band_runs, band_labels = _runs(components.add(mask_hw), settings.most_px)
        runs.append(band_runs + np.array([top, 0, 0]))
        labels.append(band_labels)
        top += len(mask_hw)
    line_width_px = _median_width(half_widths)
    found = components.merge()
    reach = min(settings.line_widths * line_width_px, settings.most_px)
    sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    spot = sides.max(axis=1, initial=0) <= reach
    kept = spot[found.of_label[np.concatenate(labels)]]
    return Spots(np.concatenate(runs)[kept], int(spot.sum()), line_width_px)


def erase_spots(probability_hw: Uint8Array, most_px: int, mean_below: float = 1.0) -> None:
    """Erases doubtful small components of a map, in place; see `SmallMetal`.

    Args:
        probability_hw: uint8 `round(255 p)`, (H, W).
        most_px: 0 erases nothing.
        mean_below: see `SmallMetal.is_doubtful`.
    """
    if most_px:
        metal = SmallMetal(probability_hw, most_px)
        metal.erase(metal.is_doubtful(most_px, mean_below))


class SmallMetal:
    """The 8-connected components of a map's metal whose box is at most so many pixels high and wide.

    Components at the map's edge are left out: how large they are is not known. So a component of the rows
    [top, bottom) of an image is judged rightly in the rows [top - most_px, bottom + most_px).

    Args:
        probability_hw: uint8 `round(255 p)`, (H, W).
        most_px: longest edge of a box.
    """

    def __init__(self, probability_hw: Uint8Array, most_px: int) -> None:
        self._probability_hw = probability_hw
        self._runs, stats = label_runs(np.ascontiguousarray(probability_hw), _METAL, 1)
        left, top, width, height, self._areas_n = stats.T
        rows, columns = probability_hw.shape
        whole = (left > 0) & (top > 0) & (left + width < columns) & (top + height < rows)
        self._sides_n = np.maximum(width, height)
        self._small_n = whole & (self._sides_n <= most_px)

    def is_doubtful(self, most_px: int, mean_below: float) -> BoolArray:
        """Which components are small and doubtful, bool, (components,).

        Args:
            most_px: longest edge of a box.
            mean_below: components of this mean probability or more are not, unless it is 1: short lines are
                as certain as long ones, false ones seldom are.
        """
        doubtful_n: BoolArray = self._small_n & (self._sides_n <= most_px)
        if mean_below < 1 and doubtful_n.any():
            doubtful_n &= self._totals_n < 255 * mean_below * self._areas_n
        return doubtful_n

    @functools.cached_property
    def _totals_n(self) -> Int64Array:
        totals_n: Int64Array = _sum_runs(self._probability_hw, self._runs, self._small_n)
        return totals_n

    def outline_means(self, values_hw: GreyArray, chosen_n: BoolArray) -> FloatArray:
        """The mean of other values along each component's outline, float64, (components,); 0 if not chosen.

        Args:
            values_hw: of the map's pixels, (H, W).
            chosen_n: which components; none that is not small.
        """
        assert not (chosen_n & ~self._small_n).any()
        means_n: FloatArray = _mean_outlines(values_hw, self._probability_hw, LINE, self._runs, chosen_n)
        return means_n

    def erase(self, chosen_n: BoolArray) -> None:
        """Makes components background in the map itself.

        Erased pixels come to lie just below the threshold: what looked like metal is not certain background
        either.
        """
        paint_runs(self._probability_hw, self._runs, chosen_n, LINE - 1)


@njit(cache=True)
def _sum_runs(values_hw: Uint8Array, runs: Int32Array, chosen: BoolArray) -> Int64Array:
    """The sum of values over each chosen component's pixels, int64 (components,); 0 of the others."""
    totals = np.zeros(chosen.size, np.int64)
    for run in range(runs.shape[0]):
        label = runs[run, 3]
        if chosen[label]:
            y, total = runs[run, 0], 0
            for x in range(runs[run, 1], runs[run, 2]):
                total += values_hw[y, x]
            totals[label] += total
    return totals


@njit(cache=True)
def _mean_outlines(
    values_hw: GreyArray,
    mask_hw: Uint8Array,
    least: int,
    runs: Int32Array,
    chosen: BoolArray,
) -> FloatArray:
    """The mean of values over each chosen component's outline: its pixels beside the mask's background.

    Args:
        values_hw: (H, W).
        mask_hw: likewise, from `least` on set.
        least: see above.
        runs: of the mask, as `label_runs` gives them.
        chosen: (components,); none has a pixel at the mask's edge. 0 of the others.
    """
    totals, counts = np.zeros(chosen.size, np.int64), np.zeros(chosen.size, np.int64)
    for run in range(runs.shape[0]):
        y, label = runs[run, 0], runs[run, 3]
        if not chosen[label]:
            continue
        for x in range(runs[run, 1], runs[run, 2]):
            # All nine: the pixel itself is set.
            if mask_hw[y - 1 : y + 2, x - 1 : x + 2].min() < least:
                totals[label] += values_hw[y, x]
                counts[label] += 1
    return totals / np.maximum(counts, 1)


def _runs(labels_hw: npt.NDArray[np.int64], most_px: float) -> tuple[Int64Array, Int64Array]:
    """Runs of equal labels no longer than `most_px`: (n, 3) row, start, end, and (n,) their labels."""
    edges = np.diff(np.pad(labels_hw, ((0, 0), (1, 1)), constant_values=-1), axis=1) != 0
    rows, columns = np.nonzero(edges)
    values = np.append(labels_hw, np.full((len(labels_hw), 1), -1), axis=1)[rows, columns]
    # Each run of metal begins at an edge and ends at the row's next one, since 8-neighbours share a label.
    starts = np.flatnonzero(values >= 0)
    starts = starts[columns[starts + 1] - columns[starts] <= most_px]
    return np.stack((rows[starts], columns[starts], columns[starts + 1]), axis=1), values[starts]


def _half_widths(mask_hw: Uint8Array) -> Int64Array:
    """How many ridge pixels of the metal have each distance to the background, in whole px."""
    distance = cv2.distanceTransform(mask_hw, cv2.DIST_L2, 3)
    ridge = (distance > 1) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    reached = np.minimum(np.rint(distance[ridge]), WIDTH_REACH_PX).astype(np.int64)
    return np.bincount(reached, minlength=WIDTH_REACH_PX + 1)


def _median_width(half_widths: Int64Array) -> float:
    """Twice the median half-width."""
    if not half_widths.any():
        return LEAST_WIDTH_PX
    return 2.0 * float(np.searchsorted(np.cumsum(half_widths), half_widths.sum() / 2))
