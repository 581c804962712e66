"""What a joined map shows as metal although it is none: doubtful spots, and what lies on no edge."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.edges import FieldEdges
from etchline.segmentation.spots import SmallMetal
from etchline.segmentation.tiling import BoxXyxy
from etchline.segmentation.views import FieldLevels

Uint8Array = npt.NDArray[np.uint8]

EDGELESS_PX = 128
"""Longer components are lines whatever their outline: pixels as the networks see them."""
EDGELESS_MEAN_BELOW = 0.8
"""Components that are surer, as most lines are, stay: edges may lie too densely to leave anything plain."""


class FalseMetal:
    """Finds and erases it, band by band; see `ArbitrationLimits` for the rules.

    Args:
        levels: the field's grey levels.
        factor: from the image's pixels to the networks'.
        probed_xyxy: windows by which the image's plain areas are measured, in pixels of `levels`.
    """

    def __init__(self, levels: FieldLevels, factor: float, probed_xyxy: Sequence[BoxXyxy]) -> None:
        self._factor = factor
        self._largest_px = max(levels.native_height, levels.native_width, 1)
        self._edges = FieldEdges(levels, factor)
        self._probed_xyxy = [levels.native_box(box) for box in probed_xyxy]
        self._plain: float | None = None

    def reach_px(self, limits: ArbitrationLimits) -> int:
        """Rows of context above and below, in the image's pixels, that show whether a component goes."""
        return self._native(max(limits.spot_px, EDGELESS_PX if limits.edge_below else 0))

    def erase(self, map_hw: Uint8Array, top: int, limits: ArbitrationLimits) -> None:
        """Makes false components background, in place, see `SmallMetal.erase`.

        Args:
            map_hw: uint8 `round(255 p)` of field rows [top, top + n), (n, width).
            top: first row.
            limits: say what goes.
        """
        metal = SmallMetal(map_hw, self.reach_px(limits))
        is_false = metal.is_doubtful(self._native(limits.spot_px), limits.spot_mean_below)
        if limits.edge_below:
            doubtful = metal.is_doubtful(self._native(EDGELESS_PX), EDGELESS_MEAN_BELOW) & ~is_false
            if doubtful.any():  # else the image need not be read
                strength_n = metal.outline_means(self._edges.rows(top, top + len(map_hw)), doubtful)
                is_false |= doubtful & (strength_n < limits.edge_below * self._plain_strength())
        metal.erase(is_false)

    def forget(self, top: int) -> None:
        """Drops what no row from field row `top` on needs."""
        self._edges.forget(top)

    def _plain_strength(self) -> float:
        if self._plain is None:
            self._plain = self._edges.plain(self._probed_xyxy)
        return self._plain

    def _native(self, size_px: int) -> int:
        """A size of the networks' in the image's pixels; nothing is larger than the field."""
        return max(1, round(min(size_px / self._factor, self._largest_px))) if size_px else 0
