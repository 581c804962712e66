"""Polygons from a probability map, with sub-pixel outlines.

Coordinates: x to the right, y down, in pixels; pixel (0, 0) covers [0, 1] x [0, 1], so its centre is at
(0.5, 0.5). An outline runs where the probability, interpolated linearly between pixel centres, crosses one
half. Beyond the image's border the probability is 0, so that outlines close there, at most half a pixel from
the outermost centres: on the border itself where the line is certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import contourpy
import cv2
import numpy as np
import numpy.typing as npt

LEVEL = 127.5  # of 255; a line is >= 128

PointsXy = npt.NDArray[np.float64]
_OuterOffset = tuple[list[PointsXy], list[npt.NDArray[np.uint32]]]


@dataclass(frozen=True)
class Polygon:
    """One outline and its holes, each a closed ring, (n, 2) float64 xy, first point = last point.

    The outer ring has positive area in the sense of `signed_area_px`, holes have negative area.
    """

    outer_xy: PointsXy
    holes_xy: tuple[PointsXy, ...]

    @property
    def area_px(self) -> float:
        """Area without the holes, in square pixels."""
        return signed_area_px(self.outer_xy) + sum(signed_area_px(hole) for hole in self.holes_xy)


@dataclass(frozen=True)
class LineShape:
    """One 8-connected line.

    Attributes:
        line_id: from 1, in the order in which lines are met row by row from the top left.
        polygons: more than one where parts touch by a corner only: the interpolated outline parts them.
        area_px: pixels of the mask.
        confidence: the lowest confidence of the cells the line lies in, 0 to 1; `None` without cells.
        touches_border: whether a pixel of the line lies on the image's (or the field's) border.
    """

    line_id: int
    polygons: tuple[Polygon, ...]
    area_px: int
    confidence: float | None
    touches_border: bool


@dataclass(frozen=True)
class CellConfidence:
    """The confidence, 0 to 1, of columns [x0, x1) and rows [y0, y1)."""

    box_xyxy: tuple[int, int, int, int]
    confidence: float


def trace_lines(
    probability_hw: npt.NDArray[np.uint8],
    cells: Sequence[CellConfidence] = (),
    field_rows: tuple[int, int] | None = None,
) -> list[LineShape]:
    """Every line of a probability map as polygons: as many as the mask `probability >= 128` has components.

    Args:
        probability_hw: uint8 `round(255 p)`, (H, W). Without pixels or without lines: no shapes.
        cells: where the lines' confidence comes from.
        field_rows: rows [first, last) of the specimen, whose border counts as a border; all rows by default.
    """
    if probability_hw.size == 0:
        return []
    mask_hw = (probability_hw > LEVEL).view(np.uint8)
    lines, labels_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw, connectivity=8)
    confidences = _lowest_confidence(labels_hw, lines, cells)
    at_border = _at_border(labels_hw, lines, field_rows or (0, probability_hw.shape[0]))
    grouped: list[list[Polygon]] = [[] for _ in range(lines)]
    for polygon in _trace(probability_hw):
        grouped[_label_of(polygon.outer_xy, labels_hw)].append(polygon)
    return [
        LineShape(
            line_id=label,
            polygons=tuple(grouped[label]),
            area_px=int(stats[label, cv2.CC_STAT_AREA]),
            confidence=float(confidences[label]) if cells else None,
            touches_border=bool(at_border[label]),
        )
        for label in range(1, lines)
    ]


def signed_area_px(ring_xy: PointsXy) -> float:
    """Area of a closed ring, (n, 2) xy, by the shoelace formula: positive if x turns towards y.

    With y down that is clockwise on the screen.
    """
    x, y = ring_xy[:, 0], ring_xy[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2.0)


def _trace(probability_hw: npt.NDArray[np.uint8]) -> list[Polygon]:
    """Filled contours above the level in the coordinates of this module."""
    padded_hw = np.pad(probability_hw, 1)
    generator = contourpy.contour_generator(z=padded_hw, name="serial", fill_type="OuterOffset")
    outlines, offsets = cast(_OuterOffset, generator.filled(LEVEL, 256.0))
    polygons = []
    for points, cuts in zip(outlines, offsets, strict=True):
        rings = np.split(points - 0.5, cuts[1:-1])  # -1 for the padding, +0.5 for the pixel's centre
        polygons.append(Polygon(outer_xy=rings[0], holes_xy=tuple(rings[1:])))
    return polygons


def _label_of(ring_xy: PointsXy, labels_hw: npt.NDArray[np.int32]) -> int:
    """The line an outer ring belongs to.

    A vertex lies between the centres of two neighbouring pixels, one in the line, one outside (or beyond the
    image), so the larger label of the two is the line's.
    """
    # Interpolation leaves 2.9999999999999996 for 3; between centres a vertex is at least 0.5 / 255 from both.
    x, y = np.round(ring_xy[0] - 0.5, 6)
    height, width = labels_hw.shape
    ends = ((int(np.floor(y)), int(np.floor(x))), (int(np.ceil(y)), int(np.ceil(x))))
    return max(
        int(labels_hw[row, column]) for row, column in ends if 0 <= row < height and 0 <= column < width
    )


def _lowest_confidence(
    labels_hw: npt.NDArray[np.int32], lines: int, cells: Sequence[CellConfidence]
) -> npt.NDArray[np.float64]:
    lowest = np.ones(lines, dtype=np.float64)
    for cell in cells:
        x0, y0, x1, y1 = cell.box_xyxy
        present = np.unique(labels_hw[y0:y1, x0:x1])
        lowest[present] = np.minimum(lowest[present], cell.confidence)
    return lowest


def _at_border(
    labels_hw: npt.NDArray[np.int32], lines: int, field_rows: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    first, last = field_rows
    touching = np.zeros(lines, dtype=bool)
    if last > first:
        for edge in (labels_hw[first], labels_hw[last - 1], labels_hw[:, 0], labels_hw[:, -1]):
            touching[edge] = True
    return touching
