"""The slow brightness changes of an image field, on a coarse grid."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

BLOCK_PX = 16


@dataclass(frozen=True)
class FlatField:
    """A smooth background, interpolated between the centres of blocks of `BLOCK_PX` pixels.

    Attributes:
        grid: float32 (block rows, width); already interpolated along x.
        first_row: the image row of the field's first pixel row.
    """

    grid: FloatArray
    first_row: int

    def subtract(self, rows_hw: npt.NDArray[np.uint8], top: int) -> FloatArray:
        """Rows [top, top + n) of the image less the background, float32; the same however bands are cut."""
        positions = (np.arange(top, top + len(rows_hw)) - self.first_row + 0.5) / BLOCK_PX - 0.5
        positions = np.clip(positions, 0, len(self.grid) - 1)
        upper = np.minimum(positions.astype(np.int64), max(len(self.grid) - 2, 0))
        share = (positions - upper).astype(np.float32)[:, None]
        lower = np.minimum(upper + 1, len(self.grid) - 1)
        background = self.grid[upper] * (1 - share)
        background += self.grid[lower] * share
        np.subtract(rows_hw, background, out=background)
        return background


def fit_flat_field(block_means: FloatArray, width: int, first_row: int, smooth_px: float) -> FlatField:
    """The flat field of block means.

    Args:
        block_means: float32 (block rows, block columns), at least one of each.
        width: of the image, px.
        first_row: see `FlatField`.
        smooth_px: standard deviation of the smoothing, px.
    """
    smooth = cv2.GaussianBlur(block_means, (0, 0), smooth_px / BLOCK_PX, borderType=cv2.BORDER_REFLECT)
    centres = (np.arange(block_means.shape[1]) + 0.5) * BLOCK_PX - 0.5
    columns = np.arange(width)
    grid = np.stack([np.interp(columns, centres, row) for row in smooth]).astype(np.float32)
    return FlatField(grid, first_row)


def block_means(rows_hw: npt.NDArray[np.uint8]) -> FloatArray:
    """Means of blocks of `BLOCK_PX` x `BLOCK_PX`; blocks at the right and lower edge are of what is there."""
    starts_y = np.arange(0, rows_hw.shape[0], BLOCK_PX)
    starts_x = np.arange(0, rows_hw.shape[1], BLOCK_PX)
    sums = np.add.reduceat(np.add.reduceat(rows_hw, starts_y, axis=0, dtype=np.float32), starts_x, axis=1)
    heights = np.minimum(BLOCK_PX, rows_hw.shape[0] - starts_y)
    widths = np.minimum(BLOCK_PX, rows_hw.shape[1] - starts_x)
    return np.asarray(sums / (heights[:, None] * widths[None, :]), np.float32)
