"""The golden patch: one view with its mask, by which an engine shows that it works as the bundle was made."""

import numpy as np
import numpy.typing as npt

from etchline.backends.interface import Backend, Role
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import GOLDEN_MASK, GOLDEN_PATCH
from etchline.errors import BundleError
from etchline.images import read_image, read_mask
from etchline.segmentation.probability import binarise_probability
from etchline.segmentation.prompting import PromptSettings, place_prompt

Uint8Array = npt.NDArray[np.uint8]

LEAST_IOU = 0.99


def golden_mask(backend: Backend, patch_hw: Uint8Array, prompt: PromptSettings) -> Uint8Array:
    """The mask of the golden patch, uint8 0 or 255, by the patch model, or the full one if it is alone.

    Raises:
        BundleError: the patch is no view of that model.
    """
    role: Role = "patch" if "patch" in backend.roles else "full"
    edge_px = backend.view_px(role)
    if patch_hw.shape != (edge_px, edge_px) or patch_hw.dtype != np.uint8:
        raise BundleError(
            f"golden patch {patch_hw.dtype} {patch_hw.shape}: must be uint8 ({edge_px}, {edge_px})"
        )
    points_xy, labels = place_prompt(patch_hw, (1, 0, 0), prompt)
    found = backend.infer(role, patch_hw[None], points_xy[None], labels[None])
    return binarise_probability(found.probability_bhw[0])


def golden_patch(bundle: Bundle) -> Uint8Array:
    """The golden patch, (S, S).

    Raises:
        BundleError: it has 16 bits.
    """
    patch_hw = read_image(bundle.path(GOLDEN_PATCH)).pixels_hw
    if patch_hw.dtype != np.uint8:
        raise BundleError(f"{bundle.folder}: {GOLDEN_PATCH} is {patch_hw.dtype}, not uint8; export it again")
    return patch_hw.astype(np.uint8, copy=False)


def golden_iou(bundle: Bundle, backend: Backend) -> float:
    """The IoU of the golden mask and what the engine makes of the golden patch; 1 where both are empty.

    Raises:
        BundleError: the patch is no view of the model, or the mask is not that of the patch.
    """
    patch_hw, expected_hw = golden_patch(bundle), read_mask(bundle.path(GOLDEN_MASK)) > 0
    found_hw = golden_mask(backend, patch_hw, bundle.manifest.prompt) > 0
    if expected_hw.shape != found_hw.shape:
        raise BundleError(
            f"{bundle.folder}: {GOLDEN_MASK} is {expected_hw.shape}, {GOLDEN_PATCH} {found_hw.shape}; "
            "export it again"
        )
    either = int(np.count_nonzero(expected_hw | found_hw))
    return int(np.count_nonzero(expected_hw & found_hw)) / either if either else 1.0


def check_golden(bundle: Bundle, backend: Backend) -> float:
    """The golden IoU.

    Raises:
        BundleError: it is below 0.99.
    """
    iou = golden_iou(bundle, backend)
    if iou < LEAST_IOU:
        raise BundleError(
            f"{bundle.folder}: {backend.name} gives the golden patch an IoU of {iou:.4f}, "
            f"below {LEAST_IOU}; use another backend or export the bundle again"
        )
    return iou
