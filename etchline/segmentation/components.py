"""Connected components of a mask that comes in bands of rows, from top to bottom."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """The components of a whole mask.

    Attributes:
        of_label: int64 (labels,), the component of each label that `BandComponents.add` gave out.
        boxes_xyxy: int64 (components, 4), half-open, rows counted from the first band's first row.
        areas_px: int64 (components,).
    """

    of_label: Int64Array
    boxes_xyxy: Int64Array
    areas_px: Int64Array


class BandComponents:
    """Labels bands one by one and joins the labels across the cuts.

    It keeps one row of labels, the links across cuts and five numbers for each label, so memory grows with
    the number of components and not with the image's area.

    Args:
        connectivity: 8 for lines, 4 for the background between them.
    """

    def __init__(self, connectivity: int = 8) -> None:
        self._connectivity = connectivity
        self._labels = 0
        self._top = 0
        self._last_row: Int64Array | None = None
        self._links: list[Int64Array] = []
        self._boxes: list[Int64Array] = []
        self._areas: list[Int64Array] = []

    def add(self, mask_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Labels of the next rows, int64 (n, width), counted on over all bands; -1 where the mask is 0."""
        if mask_hw.size == 0:
            return np.zeros(mask_hw.shape, np.int64)
        _, local_hw, stats, _ = cv2.connectedComponentsWithStats(
            mask_hw, connectivity=self._connectivity, ltype=cv2.CV_32S
        )
        labels_hw = np.where(local_hw > 0, local_hw.astype(np.int64) + (self._labels - 1), -1)
        if self._last_row is not None:
            self._links.extend(_touching(self._last_row, labels_hw[0], self._connectivity))
        left, top, width, height, area = stats[1:].T.astype(np.int64)
        top = top + self._top
        self._boxes.append(np.stack((left, top, left + width, top + height), axis=1))
        self._areas.append(area)
        self._last_row = labels_hw[-1].copy()
        self._labels += len(stats) - 1
        self._top += mask_hw.shape[0]
        return labels_hw

    def count(self) -> int:
        """Components in all rows so far."""
        return self._join()[0]

    def merge(self) -> Components:
        """The components of all rows so far."""
        found, of_label = self._join()
        boxes = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [-1] * 2, np.int64), (found, 1))
        areas = np.zeros(found, np.int64)
        if found:
            parts = np.concatenate(self._boxes)
            np.minimum.at(boxes[:, :2], of_label, parts[:, :2])
            np.maximum.at(boxes[:, 2:], of_label, parts[:, 2:])
            np.add.at(areas, of_label, np.concatenate(self._areas))
        return Components(of_label, boxes, areas)

    def _join(self) -> tuple[int, Int64Array]:
        """Number of components, and the component of each label."""
        if not self._labels:  # scipy refuses an empty graph
            return 0, np.zeros(0, np.int64)
        above, below = np.concatenate([np.zeros((2, 0), np.int64), *self._links], axis=1)
        graph = coo_array((np.ones(above.size, np.int8), (above, below)), shape=(self._labels,) * 2)
        found, of_label = connected_components(graph, directed=False)
        return int(found), of_label.astype(np.int64)


def _touching(above_w: Int64Array, below_w: Int64Array, connectivity: int) -> list[Int64Array]:
    """Pairs (above, below) of labels that are neighbours across a cut, each (2, n)."""
    shifted = [(above_w, below_w)]
    if connectivity == 8:
        shifted += [(above_w[1:], below_w[:-1]), (above_w[:-1], below_w[1:])]
    pairs = []
    for upper, lower in shifted:
        both = (upper >= 0) & (lower >= 0)
        pairs.append(np.unique(np.stack((upper[both], lower[both])), axis=1))
    return pairs
