"""The view that a bundle keeps as its golden patch."""

import numpy as np
import numpy.typing as npt

from etchline.bundle import ViewsPart
from etchline.calibration.calibrating import validation_entries
from etchline.datasets import Dataset
from etchline.errors import DatasetError
from etchline.images import open_image, read_mask
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.tiling import tile
from etchline.segmentation.views import FieldLevels, cut_full, cut_patch


def choose_golden(
    dataset: Dataset, edge_px: int, views: ViewsPart, *, is_patch: bool
) -> npt.NDArray[np.uint8]:
    """The normalised view, of the first validation image by name that has lines, nearest to half metal.

    Args:
        dataset: its split val is looked at.
        edge_px: of the view as the network takes it.
        views: how images are cut.
        is_patch: whether it is the patch model's view; else the full model's.

    Raises:
        DatasetError: no validation image has a line.
    """
    for entry in sorted(validation_entries(dataset), key=lambda entry: entry.image):
        dataset.verify(entry)
        mask_hw = read_mask(dataset.mask_path(entry)) > 0
        with open_image(dataset.image_path(entry)) as source:
            levels = FieldLevels(source, fit_normalisation(source))
            first, last = source.field_rows
            field_hw = mask_hw[first:last]
            if not field_hw.any():
                continue
            height, width = field_hw.shape
            view_px = edge_px if is_patch else views.full_view_px or max(height, width, 2)
            boxes = [
                patch.box_xyxy for row in tile(height, width, view_px, views.min_overlap) for patch in row
            ]
            box = min(boxes, key=lambda b: abs(float(field_hw[b[1] : b[3], b[0] : b[2]].mean()) - 0.5))
            return (cut_patch if is_patch else cut_full)(levels, box, edge_px)
    raise DatasetError(f"{dataset.folder}: no line in the images of split val; give it images with lines")
