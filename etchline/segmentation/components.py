"""Connected components of a mask that comes in bands of rows, from top to bottom."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from etchline.segmentation.topology_kernel import label_runs, reached_steps

Int64Array = npt.NDArray[np.int64]

_SET = reached_steps((1,))


@dataclass(frozen=True)
class Components:
    """The 8-connected components of a whole mask.

    Attributes:
        of_label: int64 (labels,), the component of each label that `BandComponents.add` gave out.
        boxes_xyxy: int64 (components, 4), half-open, rows counted from the first band's first row.
    """

    of_label: Int64Array
    boxes_xyxy: Int64Array


class BandComponents:
    """Labels bands one by one and joins the labels across the cuts.

    It keeps one row of labels, the links across cuts and a box for each label, so memory grows with the
    number of components and not with the image's area.
    """

    def __init__(self) -> None:
        self._labels = 0
        self._top = 0
        self._last_row: Int64Array | None = None
        self._links: list[Int64Array] = []
        self._boxes: list[Int64Array] = []

    def add(self, mask_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Labels of the next rows, int64 (n, width), counted on over all bands; -1 where the mask is 0."""
        if mask_hw.size == 0:
            return np.zeros(mask_hw.shape, np.int64)
        _, local_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw, connectivity=8, ltype=cv2.CV_32S)
        labels_hw = np.where(local_hw > 0, local_hw.astype(np.int64) + (self._labels - 1), -1)
        self._append(labels_hw[0], labels_hw[-1].copy(), stats[1:, :4], mask_hw.shape[0])
        return labels_hw

    def add_unseen(self, mask_hw: npt.NDArray[np.uint8]) -> None:
        """Takes the next rows as `add` does, faster, for who does not need their labels."""
        if mask_hw.size:
            runs, stats = label_runs(np.ascontiguousarray(mask_hw), _SET, 1)
            first, last = (self._row(runs[runs[:, 0] == y], mask_hw.shape[1]) for y in (0, len(mask_hw) - 1))
            self._append(first, last, stats[:, :4], mask_hw.shape[0])

    def _row(self, runs: npt.NDArray[np.int32], width: int) -> Int64Array:
        """One row's labels, counted on over all bands, from its runs."""
        labels = np.full(width, -1, np.int64)
        for _, left, right, label in runs.tolist():
            labels[left:right] = self._labels + label
        return labels

    def _append(self, first: Int64Array, last: Int64Array, boxes: npt.NDArray[np.int32], rows: int) -> None:
        """Joins a band to those above it: its first and last row's labels, its boxes as left, top, size."""
        if self._last_row is not None:
            self._links.extend(_touching(self._last_row, first))
        left, top, width, height = boxes.T.astype(np.int64)
        top = top + self._top
        self._boxes.append(np.stack((left, top, left + width, top + height), axis=1))
        self._last_row = last
        self._labels += len(boxes)
        self._top += rows

    def count(self) -> int:
        """Components in all rows so far."""
        return self._join()[0]

    def merge(self) -> Components:
        """The components of all rows so far."""
        found, of_label = self._join()
        boxes = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [-1] * 2, np.int64), (found, 1))
        if found:
            parts = np.concatenate(self._boxes)
            np.minimum.at(boxes[:, :2], of_label, parts[:, :2])
            np.maximum.at(boxes[:, 2:], of_label, parts[:, 2:])
        return Components(of_label, boxes)

    def _join(self) -> tuple[int, Int64Array]:
        """Number of components, and the component of each label."""
        if not self._labels:  # scipy refuses an empty graph
            return 0, np.zeros(0, np.int64)
        above, below = np.concatenate([np.zeros((2, 0), np.int64), *self._links], axis=1)
        graph = coo_array((np.ones(above.size, np.bool_), (above, below)), shape=(self._labels,) * 2)
        found, of_label = connected_components(graph, directed=False)
        return int(found), of_label.astype(np.int64)


def _touching(above_w: Int64Array, below_w: Int64Array) -> list[Int64Array]:
    """Pairs (above, below) of labels that are 8-neighbours across a cut, each (2, n)."""
    pairs = []
    for upper, lower in ((above_w, below_w), (above_w[1:], below_w[:-1]), (above_w[:-1], below_w[1:])):
        both = (upper >= 0) & (lower >= 0)
        # Each pair as one number: numpy sorts numbers sixteen times as fast as columns.
        known = np.unique((upper[both] << 32) | lower[both])
        pairs.append(np.stack((known >> 32, known & 0xFFFFFFFF)))
    return pairs
