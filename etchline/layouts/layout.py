"""What every layout file is read into, and its limits."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
MaskArray = npt.NDArray[np.uint8]

MAX_POLYGONS = 2_000_000
"""Polygons (after flattening) and vias that one layout file may hold."""

MAX_VERTICES = 50_000_000
"""Vertices of all polygons together that one layout file may hold."""

Fill = Literal["touched", "centre"]
"""Which pixels a polygon paints; see `Layout.fill`."""


def no_vias() -> FloatArray:
    """An empty (0, 3) float64 array of vias."""
    return np.zeros((0, 3), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Layout:
    """Metal of one layer, in pixels of the image it describes; x to the right, y down.

    Attributes:
        height: rows of the image.
        width: columns.
        polygons_xy: one (n, 2) float64 array per polygon. Polygons may overlap and may reach over the image.
        vias_xyr: (n, 3) float64: x, y and radius of each via, in pixels; integer x and y are pixel centres,
            whatever `fill` is. Empty for formats that know no vias.
        fill: what the polygons' coordinates mean and which pixels they paint. "touched": integers are pixel
            indices (pixel centres) and every pixel that the outline touches is metal, as `cv2.fillPoly`
            paints and as HY5SYN's published code reads its labels. "centre": integers are pixel edges (pixel
            (0, 0) covers [0, 1) x [0, 1)) and a pixel is metal where its centre lies inside.
        mask_hw: (H, W) uint8 0/255 where the layout came as a mask; it has no polygons then.
        pixel_size_nm: edge of a pixel, where it is known.
        origin_nm_xy: position of the image's top left corner in the file's coordinates (GDSII and OASIS,
            whose y axis points up), where the file has them.
    """

    height: int
    width: int
    polygons_xy: tuple[FloatArray, ...] = ()
    vias_xyr: FloatArray = field(default_factory=no_vias)
    fill: Fill = "touched"
    mask_hw: MaskArray | None = None
    pixel_size_nm: float | None = None
    origin_nm_xy: tuple[float, float] | None = None
