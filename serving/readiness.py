"""Whether the networks of a bundle work here as they did when the bundle was made."""

import cv2
import numpy as np

from etchline.backends.interface import Backend
from etchline.bundle import Bundle
from etchline.bundle.golden import check_golden, golden_patch
from etchline.errors import BundleError
from etchline.segmentation.prompting import place_prompt


def check_networks(bundle: Bundle, backend: Backend) -> float:
    """The golden IoU, after every network of the bundle has answered.

    A bundle has a golden mask for one network, the patch model where there is one. The full model beside it
    is shown the golden patch, stretched to its view, and must answer one mask of that size and a score from 0
    to 1; what the mask shows is not judged.

    Raises:
        BundleError: the golden mask comes out differently, or the full model gives no such answer.
    """
    iou = check_golden(bundle, backend)
    if {"patch", "full"} <= set(backend.roles):
        _check_full(bundle, backend)
    return iou


def _check_full(bundle: Bundle, backend: Backend) -> None:
    edge_px = backend.view_px("full")
    patch_hw = golden_patch(bundle)
    view_hw = cv2.resize(patch_hw, (edge_px, edge_px), interpolation=cv2.INTER_LINEAR)
    points_xy, labels = place_prompt(view_hw, (0, 0, 0), bundle.manifest.prompt)
    found = backend.infer("full", view_hw[None], points_xy[None], labels[None])
    shape, score_b = found.probability_bhw.shape, np.asarray(found.score_b)
    is_mask = shape == (1, edge_px, edge_px) and found.probability_bhw.dtype == np.uint8
    # Not a number is in no range.
    if not (is_mask and score_b.shape == (1,) and 0 <= float(score_b[0]) <= 1):
        raise BundleError(
            f"{bundle.folder}: {backend.name}: the full model answers the golden patch by a mask "
            f"{shape} and the score {score_b.tolist()}, not by one of {edge_px} x {edge_px} px and a score "
            "from 0 to 1; use another backend or export the bundle again"
        )
