"""Layouts as pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from etchline.layouts.layout import FloatArray, Layout, MaskArray

METAL = 255
_POLYGONS_AT_ONCE = 4096
_BAND_ROWS = 512


def rasterise(layout: Layout) -> MaskArray:
    """The line mask of a layout: uint8 0/255, (H, W); overlapping polygons make one area. Vias are not drawn.

    With fill "touched" (SVG) the coordinates are pixel indices and the outline belongs to the polygon: a
    square from 2 to 5 paints 4 x 4 pixels. Fractions are rounded to the nearest index. With fill "centre"
    (GDSII, OASIS) the coordinates are pixel edges and a pixel is metal where its centre (x + 0.5, y + 0.5)
    is inside by the even-odd rule of its own polygon: a square from 2 to 5 paints 3 x 3 pixels. A centre
    exactly on an edge belongs to the polygon to its right or below, so that polygons that share an edge
    never both paint it.
    """
    if layout.mask_hw is not None:
        return layout.mask_hw.copy()
    if layout.fill == "touched":
        return _fill_touched(layout)
    return _fill_centres(layout)


def _fill_touched(layout: Layout) -> MaskArray:
    mask_hw = np.zeros((layout.height, layout.width), dtype=np.uint8)
    for polygon_xy in layout.polygons_xy:
        # One call per polygon: cv2.fillPoly would leave the overlaps of several polygons empty.
        cv2.fillPoly(mask_hw, [np.rint(polygon_xy).astype(np.int32)], METAL)
    return mask_hw


def _fill_centres(layout: Layout) -> MaskArray:
    mask_hw = np.zeros((layout.height, layout.width), dtype=np.uint8)
    if not layout.polygons_xy:
        return mask_hw
    upper_y = np.array([points[:, 1].min() for points in layout.polygons_xy])
    lower_y = np.array([points[:, 1].max() for points in layout.polygons_xy])
    for top in range(0, layout.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, layout.height)
        depth_hw = np.zeros((bottom - top, layout.width + 1), dtype=np.int32)
        inside = np.flatnonzero((upper_y < bottom) & (lower_y > top))
        for first in range(0, len(inside), _POLYGONS_AT_ONCE):
            polygons_xy = [layout.polygons_xy[i] for i in inside[first : first + _POLYGONS_AT_ONCE]]
            rows, starts, ends = _spans(polygons_xy, (top, bottom), layout.width)
            np.add.at(depth_hw, (rows - top, starts), 1)
            np.add.at(depth_hw, (rows - top, ends), -1)
        np.cumsum(depth_hw, axis=1, out=depth_hw)
        mask_hw[top:bottom][depth_hw[:, :-1] > 0] = METAL
    return mask_hw


IndexArray = npt.NDArray[np.int64]


def _spans(
    polygons_xy: Sequence[FloatArray], rows: tuple[int, int], width: int
) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Row, first column and column after the last of every run of metal inside rows [first, last).

    Each edge is cut with the rows' centre lines; the crossings of one polygon in one row, from left to
    right, are starts and ends in turn.
    """
    from_xy = np.concatenate(polygons_xy)
    to_xy = np.concatenate([np.roll(points, -1, axis=0) for points in polygons_xy])
    owner = np.repeat(np.arange(len(polygons_xy)), [len(points) for points in polygons_xy])
    upper_y = np.minimum(from_xy[:, 1], to_xy[:, 1])
    lower_y = np.maximum(from_xy[:, 1], to_xy[:, 1])
    # An edge crosses the centre lines y + 0.5 in [upper, lower): half open, so a corner counts once.
    first_row = np.clip(np.ceil(upper_y - 0.5), *rows).astype(np.int64)
    after_row = np.clip(np.ceil(lower_y - 0.5), *rows).astype(np.int64)
    counts = after_row - first_row
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first_row[edge]
    share = (row + 0.5 - from_xy[edge, 1]) / (to_xy[edge, 1] - from_xy[edge, 1])
    x = from_xy[edge, 0] + share * (to_xy[edge, 0] - from_xy[edge, 0])
    order = np.lexsort((x, row, owner[edge]))
    columns = np.clip(np.ceil(x[order] - 0.5), 0, width).astype(np.int64)
    return row[order][0::2], columns[0::2], columns[1::2]
