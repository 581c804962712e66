"""Where errors sit: the pixels that a person would point at.

open: the gap, the part of a broken line between two predictions. short: the bridge, the part of a prediction
between two lines it joins. false positive and false negative: the whole component.

Gap and bridge are one idea: a host component, parts inside it that ought to be joined (open) or separate
(short), and the remainder of the host that lies between two parts. A prediction that is a pixel too thin or
too fat leaves a rim along the whole line, joined to the gap or the bridge; the rim is no witness. So every
pixel of the host is given to its nearest part, and a witness is what lies as near to the frontier of two
parts as the frontier is to them.

Coordinates: x to the right, y down, whole pixels. Label images need 4 bytes a pixel and mask.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from etchline.evaluation.esd import EsdSettings
from etchline.images import binarise

BoolArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.int32]

EIGHT_CONNECTED = np.ones((3, 3), np.bool_)


class WitnessCode(IntEnum):
    """What a pixel is a witness of."""

    NONE = 0
    OPEN = 1
    SHORT = 2
    FALSE_POSITIVE = 3
    FALSE_NEGATIVE = 4


@dataclass(frozen=True)
class WitnessMap:
    """The witnesses of a mask pair and what they were judged by.

    Attributes:
        codes_hw: uint8, (H, W), `WitnessCode` of each pixel.
        kept_hw: bool, (H, W), the prediction without components below the minimum area.
        ignored_hw: bool, (H, W), metal that does not count: lines and predictions outside the box, and
            dropped predictions.
        groups_hw: int32, (H, W), which errors a pixel is a witness of: 0 none, i the group `groups[i - 1]`.
        groups: errors by the component they belong to, each with all its witnesses.
    """

    codes_hw: npt.NDArray[np.uint8]
    kept_hw: BoolArray
    ignored_hw: BoolArray
    groups_hw: LabelArray
    groups: tuple["ErrorGroup", ...]

    def seen_in(self, box_xyxy: tuple[int, int, int, int]) -> set[int]:
        """Indices into `groups` of those with a witness in the box, which is cut at the image's edges."""
        left, top, right, bottom = (max(edge, 0) for edge in box_xyxy)
        return {int(label) - 1 for label in np.unique(self.groups_hw[top:bottom, left:right]) if label}


class ErrorGroup(NamedTuple):
    """The errors of one component: one, or the shorts of a prediction that joins three lines or more.

    Attributes:
        code: their kind.
        errors: how many of the total they are.
    """

    code: WitnessCode
    errors: int


@dataclass(frozen=True)
class _Components:
    """The components of a mask.

    Attributes:
        labels_hw: int32, (H, W), 0 is background.
        boxes: rows and columns of component i + 1.
        counted: bool, (components + 1,), whether label i has a pixel inside the box; False for 0.
    """

    labels_hw: LabelArray
    boxes: list[tuple[slice, slice]]
    counted: BoolArray


def find_witnesses(
    pred_hw: npt.NDArray[Any], truth_hw: npt.NDArray[Any], settings: EsdSettings | None = None
) -> WitnessMap:
    """The witness pixels of every error that `evaluate_masks` counts; each error has at least one.

    Args:
        pred_hw: (H, W), by the mask rule.
        truth_hw: likewise, the same shape.
        settings: what counts.

    Returns:
        Codes of every pixel; kinds never overlap. Without errors all are 0.
    """
    settings = settings or EsdSettings()
    pred_all_hw, truth_on_hw = binarise(pred_hw) > 0, binarise(truth_hw) > 0
    pred = _components(_without_small(pred_all_hw, settings.min_area_px), settings.border_px)
    truth = _components(truth_on_hw, settings.border_px)
    pairs = _touching_pairs(pred, truth)
    marks = _Marks(truth_on_hw.shape)
    marks.unmatched(pred, pairs[:, 0], WitnessCode.FALSE_POSITIVE)
    marks.unmatched(truth, pairs[:, 1], WitnessCode.FALSE_NEGATIVE)
    marks.between(truth, pred.labels_hw, pairs[:, ::-1], WitnessCode.OPEN)
    counted_pairs = pairs[truth.counted[pairs[:, 1]]]
    counted_lines_hw = np.where(truth.counted[truth.labels_hw], truth.labels_hw, 0)
    marks.between(pred, counted_lines_hw, counted_pairs, WitnessCode.SHORT)
    codes_hw = marks.codes_hw()
    kept_hw = pred.labels_hw > 0
    ignored_hw = (
        (truth_on_hw & ~truth.counted[truth.labels_hw])
        | (pred_all_hw & ~kept_hw)
        | _ignored_predictions(pred, truth, pairs)
    )
    return WitnessMap(
        codes_hw, kept_hw, ignored_hw & (codes_hw == WitnessCode.NONE), marks.groups_hw, tuple(marks.groups)
    )


def _without_small(mask_hw: BoolArray, min_area_px: int) -> BoolArray:
    labels_hw, _ = ndimage.label(mask_hw, EIGHT_CONNECTED)
    large = np.bincount(labels_hw.ravel()) >= min_area_px
    large[0] = False
    kept: BoolArray = large[labels_hw]
    return kept


def _components(mask_hw: BoolArray, border_px: int) -> _Components:
    labels_hw, count = ndimage.label(mask_hw, EIGHT_CONNECTED)
    height, width = mask_hw.shape
    inside = labels_hw[border_px : height - border_px + 1, border_px : width - border_px + 1]
    counted = np.zeros(count + 1, np.bool_)
    # A border wider than half the image would turn into a negative index.
    if 2 * border_px <= min(height, width):
        counted[np.unique(inside)] = True
    counted[0] = False
    return _Components(labels_hw, ndimage.find_objects(labels_hw), counted)


def _touching_pairs(pred: _Components, truth: _Components) -> npt.NDArray[np.int64]:
    """Labels (prediction, line) that share a pixel, each pair once: int64, (n, 2)."""
    both = (pred.labels_hw > 0) & (truth.labels_hw > 0)
    lines = len(truth.counted)
    keys = pred.labels_hw[both].astype(np.int64) * lines + truth.labels_hw[both]
    # Neighbours along a row mostly say the same: what is left to sort is short.
    keys = np.unique(keys[np.flatnonzero(np.diff(keys, prepend=-1))])
    return np.stack(np.divmod(keys, lines), axis=1)


class _Marks:
    """Witnesses, error by error, as they are found; kinds never overlap, nor do two hosts of one kind."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.groups_hw: LabelArray = np.zeros(shape, np.int32)
        self.groups: list[ErrorGroup] = []

    def codes_hw(self) -> npt.NDArray[np.uint8]:
        """The kind of each pixel."""
        kinds = np.array([WitnessCode.NONE, *(group.code for group in self.groups)], np.uint8)
        codes_hw: npt.NDArray[np.uint8] = kinds[self.groups_hw]
        return codes_hw

    def unmatched(self, components: _Components, touched: npt.NDArray[np.int64], code: WitnessCode) -> None:
        """Marks counted components that are not among the touched ones."""
        alone = components.counted.copy()
        alone[touched] = False
        for label in np.flatnonzero(alone):
            box = components.boxes[label - 1]
            self._mark(box, components.labels_hw[box] == label, ErrorGroup(code, 1))

    def between(
        self, hosts: _Components, parts_hw: LabelArray, pairs: npt.NDArray[np.int64], code: WitnessCode
    ) -> None:
        """Marks what lies between the parts of each counted host of two or more; pairs are (host, part)."""
        labels, parts = np.unique(pairs[:, 0], return_counts=True)
        several = (parts > 1) & hosts.counted[labels]
        for label, count in zip(labels[several], parts[several], strict=True):
            box = hosts.boxes[label - 1]
            host_hw = hosts.labels_hw[box] == label
            witness_hw = between_parts(host_hw, np.where(host_hw, parts_hw[box], 0))
            errors = int(count) - 1 if code is WitnessCode.SHORT else 1
            self._mark(box, witness_hw, ErrorGroup(code, errors))

    def _mark(self, box: tuple[slice, slice], witness_hw: BoolArray, group: ErrorGroup) -> None:
        self.groups.append(group)
        self.groups_hw[box][witness_hw] = len(self.groups)


def between_parts(host_hw: BoolArray, parts_hw: LabelArray) -> BoolArray:
    """Pixels of a connected host between two of its parts.

    Args:
        host_hw: bool, (H, W), one 8-connected component.
        parts_hw: integer, (H, W), labels of two or more parts inside it that do not touch each other.

    Returns:
        bool, (H, W), never on a part; at least one pixel, because the way from part to part inside the host
        leaves the parts.
    """
    rest_hw = host_hw & (parts_hw == 0)
    distance, nearest_yx = ndimage.distance_transform_edt(parts_hw == 0, return_indices=True)
    owner_hw = np.where(host_hw, parts_hw[tuple(nearest_yx)], 0)
    frontier_hw = rest_hw & _beside_another_owner(owner_hw)
    reach, frontier_yx = ndimage.distance_transform_edt(~frontier_hw, return_indices=True)
    # One pixel more than the frontier's own distance, so that the witness ends at the parts.
    found: BoolArray = rest_hw & (reach <= distance[tuple(frontier_yx)])
    return found


def _beside_another_owner(owner_hw: LabelArray) -> BoolArray:
    """Pixels with an 8-neighbour of the host that another part owns; 0 is outside the host."""
    highest = ndimage.maximum_filter(owner_hw, size=3, mode="nearest")
    outside_last = np.where(owner_hw > 0, owner_hw, np.iinfo(owner_hw.dtype).max)
    lowest = ndimage.minimum_filter(outside_last, size=3, mode="nearest")
    beside: BoolArray = (owner_hw > 0) & ((highest != owner_hw) | (lowest != owner_hw))
    return beside


def _ignored_predictions(pred: _Components, truth: _Components, pairs: npt.NDArray[np.int64]) -> BoolArray:
    """Predictions that touch uncounted lines only, and those outside the box that touch none."""
    touches = np.zeros(len(pred.counted), np.bool_)
    touches[pairs[:, 0]] = True
    touches_counted = np.zeros(len(pred.counted), np.bool_)
    touches_counted[pairs[truth.counted[pairs[:, 1]], 0]] = True
    ignored = (touches & ~touches_counted) | (~touches & ~pred.counted)
    ignored[0] = False
    found: BoolArray = ignored[pred.labels_hw]
    return found
