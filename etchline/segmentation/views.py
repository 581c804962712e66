"""What the networks see of an image, and how their answers become one map.

A field is read through `FieldLevels`: normalised, and resampled where a scale asks for it. `ViewMap` cuts it
into views of one role, has each segmented once, and gives rows of the blended map: only the rows of views
that the asked rows touch are in memory.

Coordinates: x to the right, y down, in pixels of the (resampled) field; y = 0 is its first row.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from etchline.errors import SettingsError
from etchline.images.source import WindowSource
from etchline.segmentation.normalise import Normalisation
from etchline.segmentation.resampling import apply_taps, stretch, taps
from etchline.segmentation.tiling import BoxXyxy, Patch

Uint8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Value = TypeVar("Value", np.uint8, np.uint16)

# Weights are whole numbers, so that sums are exact in any order; 9 views may overlap, 9 * 255 * 256^2 < 2^31.
_TENT_TOP = 256
READ_ROWS = 512
BAND_ROWS = 128


class FieldLevels:
    """The grey levels of an image's field as the networks see them.

    Args:
        source: the image.
        normalisation: of its field.
        scale: factor from the image's pixels to the field's, both ways; sizes are rounded, at least 1 px.

    Raises:
        SettingsError: the scale is not positive and finite.
    """

    def __init__(self, source: WindowSource, normalisation: Normalisation, scale: float = 1.0) -> None:
        if not 0 < scale < float("inf"):
            raise SettingsError(f"scale {scale}: must be a finite factor above 0")
        self._source = source
        self._normalisation = normalisation
        self._first, last = source.field_rows
        self.native_height, self.native_width = last - self._first, source.width
        self.height = max(1, round(self.native_height * scale)) if self.native_height else 0
        self.width = max(1, round(self.native_width * scale)) if self.native_width else 0

    def read(self, box_xyxy: BoxXyxy) -> Uint8Array:
        """The levels inside the box, which lies inside the field and is not empty."""
        x0, y0, x1, y1 = box_xyxy
        if (self.height, self.width) == (self.native_height, self.native_width):
            return self.native_rows(y0, y1, x0, x1)
        rows = taps(self.native_height, self.height, y0, y1)
        columns = taps(self.native_width, self.width, x0, x1)
        levels_hw = self.native_rows(rows.first, rows.last, columns.first, columns.last)
        return apply_taps(levels_hw, rows, columns)

    def native_box(self, box_xyxy: BoxXyxy) -> BoxXyxy:
        """The box in the image's own pixels, edges rounded; boxes that share an edge still share it."""
        x0, y0, x1, y1 = box_xyxy
        across, down = self.native_width / self.width, self.native_height / self.height
        return round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down)

    def native_rows(self, top: int, bottom: int, left: int, right: int) -> Uint8Array:
        """The levels of the image's own pixels, columns [left, right) of field rows [top, bottom)."""
        rows_hw = self._source.read(self._first + top, self._first + bottom, left, right)
        return self._normalisation.apply(rows_hw)


def cut_patch(levels: FieldLevels, box_xyxy: BoxXyxy, patch_px: int) -> Uint8Array:
    """The view of a patch, uint8 (patch_px, patch_px); what an image is too small for is reflected."""
    patch_hw = levels.read(box_xyxy)
    below, right = patch_px - patch_hw.shape[0], patch_px - patch_hw.shape[1]
    if below or right:
        patch_hw = np.pad(patch_hw, ((0, below), (0, right)), mode="reflect")
    return patch_hw


def cut_full(levels: FieldLevels, box_xyxy: BoxXyxy, input_px: int) -> Uint8Array:
    """The full view of a window, uint8 (input_px, input_px), stretched without keeping its aspect.

    It is read in bands: besides one of them, `input_px` columns of the window are in memory.
    """
    x0, y0, x1, y1 = box_xyxy
    bands = [
        stretch_columns(levels.read((x0, top, x1, min(top + READ_ROWS, y1))), input_px)
        for top in range(y0, y1, READ_ROWS)
    ]
    return stretch(np.concatenate(bands), input_px, input_px)


def stretch_columns(rows_hw: Uint8Array, width: int) -> Uint8Array:
    """Each row stretched to `width` pixels."""
    return stretch(rows_hw, rows_hw.shape[0], width)


@dataclass(frozen=True)
class Answer:
    """A network's answer for one view.

    Attributes:
        box_xyxy: the part of the field that the view shows.
        probability_hw: uint8, of any size; it is stretched to the box.
        score: the network's own estimate of its mask's IoU.
    """

    box_xyxy: BoxXyxy
    probability_hw: Uint8Array
    score: float

    def rows(self, top: int, bottom: int) -> Uint8Array:
        """Field rows [top, bottom), which lie inside the box, over the box's columns."""
        x0, y0, x1, y1 = self.box_xyxy
        height, width = self.probability_hw.shape
        if (height, width) == (y1 - y0, x1 - x0):
            return self.probability_hw[top - y0 : bottom - y0]
        rows = taps(height, y1 - y0, top - y0, bottom - y0)
        columns = taps(width, x1 - x0, 0, x1 - x0)
        return apply_taps(
            self.probability_hw[rows.first : rows.last, columns.first : columns.last], rows, columns
        )


Segment = Callable[[list[Patch]], list[Answer]]
"""Segments one row of views."""


class KeptRows(Generic[Value]):
    """Rows of a map that are made once, band by band, and kept until `forget`.

    Args:
        height: rows of the map.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._bands: dict[int, npt.NDArray[Value]] = {}

    def rows(
        self, top: int, bottom: int, make: Callable[[int, int], npt.NDArray[Value]]
    ) -> npt.NDArray[Value]:
        """Rows [top, bottom), at least one; not to be written to.

        Args:
            top: first row.
            bottom: row after the last.
            make: gives rows of the map, (rows, width). It is not kept: what it belongs to would hold
                itself, and with it an image's answers, until the garbage collector comes.
        """
        first = top // BAND_ROWS
        bands = [self._band(number, make) for number in range(first, (bottom - 1) // BAND_ROWS + 1)]
        joined_hw = bands[0] if len(bands) == 1 else np.concatenate(bands)
        return joined_hw[top - first * BAND_ROWS : bottom - first * BAND_ROWS]

    def forget(self, top: int) -> None:
        """Drops the bands that end above row `top`."""
        for number in [kept for kept in self._bands if (kept + 1) * BAND_ROWS <= top]:
            del self._bands[number]

    def _band(self, number: int, make: Callable[[int, int], npt.NDArray[Value]]) -> npt.NDArray[Value]:
        if number not in self._bands:
            first = number * BAND_ROWS
            self._bands[number] = make(first, min(first + BAND_ROWS, self._height))
        return self._bands[number]


class ViewMap:
    """The blended answers of one role, row by row.

    Rows may be asked for in any order and in any bands: the map is the same, bit for bit, because a row of
    views is always segmented as a whole and blending sums whole numbers. Answers are kept until `forget`;
    going back costs time and nothing else.

    Args:
        views: the views' rows from the top, as `tiling.tile` gives them.
        segment: segments one row of views; answers in the same order.
    """

    def __init__(self, views: list[list[Patch]], segment: Segment) -> None:
        self._views = views
        self._segment = segment
        self._spans = [_rows_of(row) for row in views]
        self._answers: dict[int, list[Answer]] = {}
        self._blended: KeptRows[np.uint8] = KeptRows(self._spans[-1][1] if views else 0)

    def answers(self, row: int) -> list[Answer]:
        """The answers for one row of views, from the left."""
        if row not in self._answers:
            self._answers[row] = self._segment(self._views[row])
        return self._answers[row]

    def touching(self, box_xyxy: BoxXyxy) -> list[Answer]:
        """The answers for the views that share a pixel with the box."""
        x0, y0, x1, y1 = box_xyxy
        rows = [row for row, (first, last) in enumerate(self._spans) if first < y1 and y0 < last]
        answers = [answer for row in rows for answer in self.answers(row)]
        return [answer for answer in answers if answer.box_xyxy[0] < x1 and x0 < answer.box_xyxy[2]]

    def rows(self, top: int, bottom: int, taken: Callable[[Patch], bool] | None = None) -> Uint8Array:
        """The blended map of field rows [top, bottom), at least one, over the whole width; only to be read.

        Args:
            top: first row.
            bottom: row after the last.
            taken: whether a view's answer takes part; all do by default. 0 where none does.
        """
        if taken:
            return self._blend(top, bottom, taken)
        return self._blended.rows(top, bottom, self._blend)

    def _blend(self, top: int, bottom: int, taken: Callable[[Patch], bool] | None = None) -> Uint8Array:
        touching = [row for row, (first, last) in enumerate(self._spans) if first < bottom and top < last]
        parts = [
            (answer.box_xyxy, _inside(answer, top, bottom))
            for row in touching
            for view, answer in zip(self._views[row], self.answers(row), strict=True)
            if taken is None or taken(view)
        ]
        return blend(parts, top, bottom, self._views[0][-1].box_xyxy[2])

    def forget(self, top: int) -> None:
        """Drops the answers for views, and the blended rows, that end above row `top`."""
        self._blended.forget(top)
        for row in [kept for kept in self._answers if self._spans[kept][1] <= top]:
            del self._answers[row]


def blend(parts: Sequence[tuple[BoxXyxy, Uint8Array]], top: int, bottom: int, width: int) -> Uint8Array:
    """Rows [top, bottom) of overlapping maps, each weighed by a tent over its box.

    Args:
        parts: boxes, and each one's map of those of the rows that lie in it.
        top: first row.
        bottom: row after the last.
        width: columns.

    The mean is rounded to the nearest whole number, halves upwards: equal maps give themselves. It is 0 where
    no box lies.
    """
    if len(parts) == 1 and parts[0][1].shape == (bottom - top, width):
        return parts[0][1].copy()
    total_hw = np.zeros((bottom - top, width), np.int32)
    weight_hw = np.zeros((bottom - top, width), np.int32)
    for (x0, y0, x1, y1), map_hw in parts:
        first, last = max(y0, top), min(y1, bottom)
        down, across = tent(y1 - y0)[first - y0 : last - y0], tent(x1 - x0)
        _weigh_in(total_hw, weight_hw, np.ascontiguousarray(map_hw), (first - top, x0), down, across)
    blended_hw: Uint8Array = _mean(total_hw, weight_hw)
    return blended_hw


@njit(cache=True)
def _weigh_in(
    total_hw: Int32Array,
    weight_hw: Int32Array,
    map_hw: Uint8Array,
    corner_yx: tuple[int, int],
    down: Int32Array,
    across: Int32Array,
) -> None:
    """Adds a map, whose upper left corner lies at `corner_yx`, and its weights along both axes."""
    y0, x0 = corner_yx
    height, width = map_hw.shape
    for y in range(height):
        totals = total_hw[y0 + y, x0 : x0 + width]
        weights = weight_hw[y0 + y, x0 : x0 + width]
        for x in range(width):
            weight = down[y] * across[x]
            totals[x] += weight * map_hw[y, x]
            weights[x] += weight


@njit(cache=True, error_model="numpy")  # a check of each divisor would keep the loop from being vectorised
def _mean(total_hw: Int32Array, weight_hw: Int32Array) -> Uint8Array:
    """The weighted mean, rounded to the nearest whole number, halves upwards; 0 without weight."""
    mean_hw = np.empty(total_hw.shape, np.uint8)
    for y in range(total_hw.shape[0]):
        totals, weights, means = total_hw[y], weight_hw[y], mean_hw[y]
        for x in range(totals.shape[0]):
            weight = weights[x]
            # float64 is exact enough: a quotient of int32 that is not whole is further from the next one.
            means[x] = np.uint8(np.int32((totals[x] + (weight >> 1)) / max(weight, np.int32(1))))
    return mean_hw


@functools.lru_cache(maxsize=64)
def tent(length: int) -> Int32Array:
    """Weights along one axis of a view: 1 at its ends, 1 more each pixel inwards, at most 256."""
    distance = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
    weights = np.minimum(distance, _TENT_TOP).astype(np.int32)
    weights.flags.writeable = False  # it is kept for the next caller
    return weights


def _rows_of(views: list[Patch]) -> tuple[int, int]:
    return views[0].box_xyxy[1], views[0].box_xyxy[3]


def _inside(answer: Answer, top: int, bottom: int) -> Uint8Array:
    _, y0, _, y1 = answer.box_xyxy
    return answer.rows(max(top, y0), min(bottom, y1))
