"""How many lines a mask has, counted while its rows go by."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class LineCounter:
    """Counts the 8-connected lines of a mask that comes in bands from top to bottom.

    It keeps one row of labels and the links between bands, so memory does not grow with the image's area.
    """

    def __init__(self) -> None:
        self._labels = 0
        self._last_row: npt.NDArray[np.int64] | None = None
        self._links: list[npt.NDArray[np.int64]] = []

    def add(self, mask_hw: npt.NDArray[np.uint8]) -> None:
        """Takes the next rows, (n, width) uint8, line where not 0. No rows, no change."""
        if mask_hw.size == 0:
            return
        found, labels_hw = cv2.connectedComponents(mask_hw, connectivity=8, ltype=cv2.CV_32S)
        first, last = self._global(labels_hw[0]), self._global(labels_hw[-1])
        if self._last_row is not None:
            self._links.extend(_touching(self._last_row, first))
        self._last_row = last
        self._labels += found - 1

    def count(self) -> int:
        """Lines in all rows so far."""
        if not self._links or self._labels == 0:
            return self._labels
        above, below = np.concatenate(self._links, axis=1)
        graph = coo_array((np.ones(above.size, np.int8), (above, below)), shape=(self._labels,) * 2)
        return int(connected_components(graph, directed=False, return_labels=False))

    def _global(self, labels_w: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Labels counted on over all bands, from 0; -1 is background."""
        numbered: npt.NDArray[np.int64] = np.where(
            labels_w > 0, labels_w.astype(np.int64) - 1 + self._labels, -1
        )
        return numbered


def _touching(above_w: npt.NDArray[np.int64], below_w: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Pairs (above, below) of labels that are 8-neighbours across a cut, each (2, n)."""
    pairs = []
    for upper, lower in ((above_w, below_w), (above_w[1:], below_w[:-1]), (above_w[:-1], below_w[1:])):
        both = (upper >= 0) & (lower >= 0)
        pairs.append(np.unique(np.stack((upper[both], lower[both])), axis=1))
    return pairs
