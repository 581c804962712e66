"""The overlay picture: the image with the lines' outlines and the flagged cells."""

import cv2
import numpy as np
import numpy.typing as npt

from etchline.images import IndexedPicture
from etchline.images.display import ORANGE, SKY_BLUE
from etchline.segmentation.tiling import BoxXyxy

MAX_EDGE_PX = 4096

OUTLINE_RGB = SKY_BLUE
# Flagged cells are hatched too, so that colour is never the only sign.
FLAG_RGB = ORANGE
HATCH_PX = 24
# Two numbers of the palette are colours, the others grey levels; nobody sees the brightest two as one.
_FLAG, _OUTLINE = 254, 255
_BRIGHTEST = np.uint8(253)
_PALETTE = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
_PALETTE[_BRIGHTEST], _PALETTE[_FLAG], _PALETTE[_OUTLINE] = 255, FLAG_RGB, OUTLINE_RGB
_PALETTE.flags.writeable = False


class Overlay:
    """A picture that is drawn while the bands of an image go by.

    Images with an edge above `max_edge_px` are shrunk by a whole factor; memory is bounded by the picture.

    Args:
        height: rows of the image.
        width: columns of the image.
        max_edge_px: longest edge of the picture.
    """

    def __init__(self, height: int, width: int, max_edge_px: int = MAX_EDGE_PX) -> None:
        self._factor = max(1, -(-max(height, width) // max_edge_px))
        self._size = (height, width)
        shape = (-(-height // self._factor), -(-width // self._factor))
        # Sums of grey levels; where nothing is shrunk they are the levels.
        self._grey_sum = np.zeros(shape, dtype=np.uint8 if self._factor == 1 else np.float32)
        self._outline = np.zeros(shape, dtype=bool)

    def add(self, top: int, grey_hw: npt.NDArray[np.uint8], outline_hw: npt.NDArray[np.bool_]) -> None:
        """Takes rows from `top` on: normalised grey (n, width) uint8 and where an outline is, same shape."""
        if grey_hw.size == 0:
            return
        factor = self._factor
        if factor == 1:
            self._grey_sum[top : top + len(grey_hw)] = grey_hw
            self._outline[top : top + len(grey_hw)] = outline_hw
            return
        owners = np.arange(top, top + grey_hw.shape[0]) // factor
        rows, row_starts = np.unique(owners, return_index=True)
        column_starts = np.arange(0, grey_hw.shape[1], factor)
        sums = np.add.reduceat(grey_hw, row_starts, axis=0, dtype=np.float32)
        self._grey_sum[rows] += np.add.reduceat(sums, column_starts, axis=1)
        lines = np.logical_or.reduceat(outline_hw, row_starts, axis=0)
        self._outline[rows] |= np.logical_or.reduceat(lines, column_starts, axis=1)

    def picture(self, flagged_xyxy: list[BoxXyxy]) -> IndexedPicture:
        """The picture, with the flagged cells framed and hatched."""
        grey = self._grey_sum
        if self._factor > 1:
            grey = np.rint(self._grey_sum / self._pixels()).astype(np.uint8)
        values = np.minimum(grey, _BRIGHTEST)
        marks = np.zeros(grey.shape, dtype=np.uint8)
        for box in flagged_xyxy:
            self._mark(marks, box)
        np.putmask(values, marks.view(np.bool_), _FLAG)
        np.putmask(values, self._outline, _OUTLINE)
        return IndexedPicture(values, _PALETTE)

    def _pixels(self) -> npt.NDArray[np.float32]:
        """Image pixels in each pixel of the picture; the last row and column may hold fewer."""
        rows, columns = (
            np.diff(np.append(np.arange(0, length, self._factor), length)).astype(np.float32)
            for length in self._size
        )
        counts: npt.NDArray[np.float32] = np.outer(rows, columns)
        return counts

    def _mark(self, marks: npt.NDArray[np.uint8], box_xyxy: BoxXyxy) -> None:
        """Frames and hatches one cell in `marks`."""
        x0, y0, x1, y1 = (edge // self._factor for edge in box_xyxy)
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        cell = marks[y0:y1, x0:x1]
        height, width = cell.shape
        for start in range(0, height + width, HATCH_PX):
            cv2.line(cell, (start, 0), (start - height, height), 1, 1)
        cv2.rectangle(cell, (0, 0), (width - 1, height - 1), 1, 2 if min(height, width) > 8 else 1)


def outline(mask_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """The lines' own border pixels, (H, W); the array's edge is no border."""
    inner = cv2.erode(mask_hw, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    border: npt.NDArray[np.bool_] = (mask_hw > 0) & (inner == 0)
    return border
