"""What training minimises: pixels, the score head, topology.

Masks are (B, M, S, S) logits, M masks proposed for each image; truths are (B, S, S) float, the share of each
pixel that is line, 0 to 1.

Source: SAMSEM, section 3.4.4. The loss of the score head is ours: the score chooses the mask at inference,
and nothing in the paper's loss trains it from random weights.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from etchline.errors import MissingPackageError
from etchline.training.recipe import LossSettings

Filtration = Literal["superlevel", "sublevel", "bothlevels"]


def bce_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy, mean over pixels, masks and images; a scalar."""
    return F.binary_cross_entropy_with_logits(logits, truth.unsqueeze(1).expand_as(logits))


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice of probabilities, mean over masks and images; a scalar.

    One pixel is added to overlap and areas, so that an empty mask of an empty truth has no loss.
    """
    probability, target = torch.sigmoid(logits), truth.unsqueeze(1)
    overlap = (probability * target).sum((2, 3))
    areas = probability.sum((2, 3)) + target.sum((2, 3))
    return (1 - (2 * overlap + 1) / (areas + 1)).mean()


def iou_head_loss(predicted_iou: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the predicted IoU (B, M) against the masks' true IoU; a scalar.

    Only the prediction has a gradient. Mask and truth both empty: IoU 1.
    """
    with torch.no_grad():
        mask, target = logits > 0, (truth >= 0.5).unsqueeze(1)
        union = (mask | target).sum((2, 3))
        true_iou = torch.where(union > 0, (mask & target).sum((2, 3)) / union.clamp(min=1), 1.0)
    return F.mse_loss(predicted_iou, true_iou.to(predicted_iou.dtype))


class BettiLoss:
    """Betti matching of probabilities with binary truths, for each true feature.

    Args:
        settings: filtration, padding, threshold and push of unmatched features.

    Raises:
        MissingPackageError: topolosses is not installed.

    Source: SAMSEM, section 3.4.4, and Stucki et al. 2023. The package's value is a sum that grows with what
    is in the image; here it is divided by the number of true lines and holes, at least 1.
    """

    def __init__(self, settings: LossSettings) -> None:
        self._filtration = settings.betti_filtration
        self._loss = _matching_loss(
            filtration_type=settings.betti_filtration,
            sphere=settings.betti_sphere,
            barcode_length_threshold=settings.betti_barcode_threshold,
            push_unmatched_to_1_0=settings.betti_push_unmatched,
            # alpha=1.0, because the package warns of any other where no base loss is used.
            use_base_loss=False,
            alpha=1.0,
            # Without it the package warns that a single channel is no background.
            include_background=True,
        )

    def __call__(self, probability: Tensor, truth: Tensor) -> Tensor:
        """The mean over the batch; a scalar.

        Args:
            probability: (B, 1, H, W) float, 0 to 1. Not (B, H, W), which the package reads as rows.
            truth: (B, 1, H, W) float, 0 or 1.

        Raises:
            ValueError: shapes differ or are not (B, 1, H, W): a fault of the caller's code.
        """
        if probability.shape != truth.shape or probability.ndim != 4 or probability.shape[1] != 1:
            raise ValueError(f"shapes {tuple(probability.shape)}, {tuple(truth.shape)}: need (B, 1, H, W)")
        losses = []
        for index in range(len(truth)):
            # One by one: the package returns the batch's mean, and each truth has its own number of features.
            value = self._loss(probability[index : index + 1].float(), truth[index : index + 1].float())
            mask_hw = truth[index, 0].detach().cpu().numpy() >= 0.5
            losses.append(value / max(1, true_features(mask_hw, self._filtration)))
        return torch.stack(losses).mean()


def true_features(mask_hw: npt.NDArray[np.bool_], filtration: Filtration) -> int:
    """The lines of a mask and the holes in them; 0 for an empty mask.

    Superlevel filtrations take lines as 4-connected and holes as 8-connected, sublevel ones the other way
    round; "bothlevels" is counted twice, once each.
    """
    if filtration == "bothlevels":
        return true_features(mask_hw, "superlevel") + true_features(mask_hw, "sublevel")
    line, hole = (4, 8) if filtration == "superlevel" else (8, 4)
    padded = np.pad(mask_hw, 1).astype(np.uint8)
    # Label 0 is the other side; of the background, one component is the outside.
    lines = cv2.connectedComponents(padded, connectivity=line)[0] - 1
    holes = cv2.connectedComponents(1 - padded, connectivity=hole)[0] - 2
    return int(lines + holes)


def pixel_loss(logits: Tensor, iou: Tensor, truth: Tensor, settings: LossSettings) -> Tensor:
    """`a * BCE + (1 - a) * Dice + i * IoU head` of all masks; a scalar.

    Args:
        logits: (B, M, S, S) at the input's resolution.
        iou: (B, M), predicted.
        truth: (B, S, S).
        settings: the weights.
    """
    pixels = settings.alpha * bce_loss(logits, truth) + (1 - settings.alpha) * dice_loss(logits, truth)
    return pixels + settings.iou_weight * iou_head_loss(iou, logits, truth)


def best_masks(logits: Tensor, iou: Tensor) -> Tensor:
    """Of each image the mask with the best predicted IoU: (B, 1, S, S) of (B, M, S, S) and (B, M)."""
    return logits[torch.arange(len(logits), device=logits.device), iou.argmax(1)].unsqueeze(1)


def _matching_loss(**settings: object) -> Callable[[Tensor, Tensor], Tensor]:
    try:
        with warnings.catch_warnings():
            # Of its own dependencies' source text, when that is first compiled.
            warnings.simplefilter("ignore")
            from topolosses.losses import BettiMatchingLoss
    except ImportError as error:
        raise MissingPackageError(
            f"the Betti matching loss needs topolosses ({error}): pip install 'etchline[train]' and, on a "
            "bare Debian, apt-get install libgl1 libglib2.0-0; or set optimiser.betti_epochs: 0"
        ) from error
    loss: Any = BettiMatchingLoss(**settings)
    matching: Callable[[Tensor, Tensor], Tensor] = loss
    return matching
