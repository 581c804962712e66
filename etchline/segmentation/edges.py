"""How sharply an image's grey levels change at each pixel: metal has an edge, what networks make up has none.

On validation images what no line explains mostly has 1.3 to 2 times the strength of the image's plainest
tenth along its outline, a line above 5 times (docs/results.md). What counts as an edge is relative so because
grain and noise change grey levels everywhere.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from etchline.segmentation.histograms import count_values, percentile_of
from etchline.segmentation.tiling import BoxXyxy
from etchline.segmentation.views import FieldLevels, KeptRows

Uint8Array = npt.NDArray[np.uint8]
Uint16Array = npt.NDArray[np.uint16]

SMOOTH_PX = 1.5
"""Standard deviation of the smoothing before, in pixels as the networks see them."""
REACH_PX = 3
"""An outline may lie this far from its edge, likewise."""
MOST_SMOOTH_PX = 16.0
"""In the image's pixels: the time of smoothing is bounded, however much the image is reduced."""
PLAIN_PERCENT = 10.0
WINDOW_PX = 512
STEPS = 16
"""Of a grey level: whole ones are too coarse for what an image of little noise does where it is plain."""


class FieldEdges:
    """The edge strength of a field, in the image's own pixels: the range of grey levels near each of them.

    It is counted in sixteenths of a grey level, uint16. Rows are made once and kept until `forget`; they are
    the same whatever rows are asked for.

    Args:
        levels: the field's grey levels.
        factor: from the image's pixels to the networks'.
    """

    def __init__(self, levels: FieldLevels, factor: float) -> None:
        self._levels = levels
        self._smooth_px = min(SMOOTH_PX / factor, MOST_SMOOTH_PX)
        self._reach_px = max(1, round(self._smooth_px * REACH_PX / SMOOTH_PX))
        self._kept: KeptRows[np.uint16] = KeptRows(levels.native_height)

    def rows(self, top: int, bottom: int) -> Uint16Array:
        """Field rows [top, bottom), at least one, over the whole width; not to be written to."""
        return self._kept.rows(top, bottom, self._make)

    def forget(self, top: int) -> None:
        """Drops what ends above row `top`."""
        self._kept.forget(top)

    def plain(self, boxes_xyxy: Iterable[BoxXyxy]) -> float:
        """The strength below which the plainest tenth of these windows' pixels lies, at least a grey level.

        Args:
            boxes_xyxy: in pixels of the image's field; of each no more than 512 x 512 are read, and of an
                image that is much enlarged a window may hold none.
        """
        counts = np.zeros(256 * STEPS, np.int64)
        for x0, y0, x1, y1 in boxes_xyxy:
            if x0 < x1 and y0 < y1:
                bottom, right = min(y1, y0 + WINDOW_PX), min(x1, x0 + WINDOW_PX)
                strength_hw = self._strength(self._levels.native_rows(y0, bottom, x0, right))
                counts += count_values(strength_hw, len(counts))
        return max(percentile_of(counts, PLAIN_PERCENT), float(STEPS)) if counts.any() else float(STEPS)

    def _make(self, top: int, bottom: int) -> Uint16Array:
        halo = _kernel_px(self._smooth_px) // 2 + self._reach_px
        first, last = max(top - halo, 0), min(bottom + halo, self._levels.native_height)
        strength_hw = self._strength(self._levels.native_rows(first, last, 0, self._levels.native_width))
        return strength_hw[top - first : bottom - first]

    def _strength(self, levels_hw: Uint8Array) -> Uint16Array:
        side = _kernel_px(self._smooth_px)
        fine_hw = cv2.LUT(np.ascontiguousarray(levels_hw), _FINE)
        smooth_hw = cv2.GaussianBlur(fine_hw, (side, side), self._smooth_px)
        near = np.ones((2 * self._reach_px + 1,) * 2, np.uint8)
        return np.asarray(cv2.morphologyEx(smooth_hw, cv2.MORPH_GRADIENT, near), np.uint16)


_FINE = (STEPS * np.arange(256)).astype(np.uint16)


def _kernel_px(smooth_px: float) -> int:
    """Three standard deviations on either side, odd."""
    return 2 * round(3 * smooth_px) + 1
