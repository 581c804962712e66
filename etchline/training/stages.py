"""The two stages of training: their losses, their learning rates, one step of either."""

import contextlib
import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from etchline.errors import TrainingError
from etchline.network.line_network import LineNetwork
from etchline.training.batches import Batch, Portion
from etchline.training.losses import BettiLoss, best_masks, pixel_loss
from etchline.training.optimisers import Optimiser
from etchline.training.ranks import ALONE, Ranks
from etchline.training.recipe import LossSettings, OptimiserSettings, Recipe

Stage = Literal["pixel", "betti"]


def stage_of(epoch: int, settings: OptimiserSettings) -> Stage:
    """The stage that an epoch, from 0, belongs to."""
    return "pixel" if epoch < settings.pixel_epochs else "betti"


def learning_rate(settings: OptimiserSettings, epoch: int, step: int, steps: int) -> float:
    """The rate of a step: it rises over the warm-up, then stays or falls as a cosine to 0 at the stage's end.

    Args:
        settings: both stages' highest rates and epochs.
        epoch: from 0, over both stages.
        step: of the epoch, from 0.
        steps: of an epoch.
    """
    pixel = stage_of(epoch, settings) == "pixel"
    first, epochs = (0, settings.pixel_epochs) if pixel else (settings.pixel_epochs, settings.betti_epochs)
    highest = settings.pixel_learning_rate if pixel else settings.betti_learning_rate
    done, total = (epoch - first) * steps + step, epochs * steps
    if done < settings.warmup_steps:
        return highest * (done + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return highest
    share = (done - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return highest * 0.5 * (1 + math.cos(math.pi * share))


class Learner:
    """Steps of a network down the gradient.

    Args:
        network: in training mode, on its device.
        recipe: losses, clipping, precision.
        device: where the network is.
        ranks: the processes that learn together.
    """

    def __init__(
        self, network: LineNetwork, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self._network = network
        self._ranks = ranks
        self._together = ranks.together(network)
        self._recipe = recipe
        self._device = device
        self._betti: BettiLoss | None = None
        self.optimiser = Optimiser(network, recipe.optimiser)

    def restart(self) -> None:
        """Forgets the optimiser's moments, for a new stage."""
        self.optimiser = Optimiser(self._network, self._recipe.optimiser)

    def step(self, portion: Portion, stage: Stage, rate: float) -> tuple[float, float]:
        """Learns from one batch; its pixel loss and its Betti loss (0 in the pixel stage), of all processes.

        Raises:
            TrainingError: a loss is not a number, of whichever process; the network stays as it was.
        """
        pixel, betti = self._losses(portion.batch.to(self._device), stage)
        mean_pixel, mean_betti = self._means(portion, float(pixel.detach()), float(betti.detach()))
        if not math.isfinite(mean_pixel + mean_betti):
            raise TrainingError(
                f"the loss is not a number (pixel {mean_pixel}, Betti {mean_betti}) at learning rate "
                f"{rate:.3g}; lower optimiser.{stage}_learning_rate or clip_norm, or use dtype float32"
            )
        self.optimiser.zero_grad()
        torch.autograd.backward(portion.weight * (pixel + self._recipe.loss.betti_weight * betti))
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.optimiser.clip_norm)
        self.optimiser.step(rate)
        return mean_pixel, mean_betti

    def _means(self, portion: Portion, pixel: float, betti: float) -> tuple[float, float]:
        share = portion.weight / self._ranks.count
        mean_pixel, mean_betti = self._ranks.total((share * pixel, share * betti))
        return mean_pixel, mean_betti

    def _losses(self, batch: Batch, stage: Stage) -> tuple[Tensor, Tensor]:
        settings = self._recipe.loss
        with self._precision():
            logits, iou = self._together(batch.image, batch.points_xy, batch.labels)
        logits, iou, truth = logits.float(), iou.float(), batch.mask.float() / 255
        enlarged = F.interpolate(logits, truth.shape[1:], mode="bilinear", align_corners=False)
        pixel = pixel_loss(enlarged, iou, truth, settings)
        if stage == "pixel" or settings.betti_weight == 0:
            return pixel, torch.zeros((), device=self._device)
        self._betti = self._betti or BettiLoss(settings)
        probability, target = betti_crops(logits, iou, truth, batch.crop_xy, settings)
        return pixel, self._betti(probability, target)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self._recipe.compute.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)


def betti_crops(
    logits: Tensor, iou: Tensor, truth: Tensor, crop_xy: Tensor, settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """What the Betti loss looks at: probabilities and binary truths, float (N, 1, c, c) each.

    Args:
        logits: (B, M, s, s) at the decoder's resolution.
        iou: (B, M), predicted.
        truth: (B, S, S), 0 to 1.
        crop_xy: (B, 2), 0 to 1: where the crop lies, from one end of the mask to the other.
        settings: which masks, and the crop's edge; N is B for the best masks, B * M for all.
    """
    chosen = best_masks(logits, iou) if settings.betti_masks == "best" else logits
    edge, masks = logits.shape[-1], chosen.shape[1]
    crop_px = min(settings.betti_crop_px, edge)
    small = F.adaptive_avg_pool2d(truth.unsqueeze(1), edge).expand(-1, masks, -1, -1)
    corners = [[int(share * (edge - crop_px) + 0.5) for share in pair] for pair in crop_xy.tolist()]

    def cropped(maps: Tensor) -> Tensor:
        return torch.cat(
            [one[:, y : y + crop_px, x : x + crop_px] for one, (x, y) in zip(maps, corners, strict=True)]
        ).unsqueeze(1)

    return torch.sigmoid(cropped(chosen)), (cropped(small) >= 0.5).float()


@contextlib.contextmanager
def clear_memory_errors(recipe: Recipe) -> Iterator[None]:
    """Says what to do where the memory of the device or the machine is not enough.

    Raises:
        TrainingError: see above.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On a CPU torch has no error of its own for this.
        named = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not named and "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory with size {recipe.network.size} and sampling.batch_images "
            f"{recipe.sampling.batch_images}: lower batch_images, or set compute.dtype: bfloat16"
        ) from error
