"""What a network is worth: ESD on whole images, put together from its views as inference does it."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from etchline.backends.interface import ROLES, Backend, Role
from etchline.errors import DatasetError
from etchline.evaluation import EsdCounts, EsdSettings, PixelCounts, evaluate_masks
from etchline.images import ArraySource
from etchline.segmentation.normalise import AS_IT_IS
from etchline.segmentation.probability import binarise_probability
from etchline.segmentation.prompting import PromptSettings, place_prompt
from etchline.segmentation.spots import erase_spots
from etchline.segmentation.tiling import Patch
from etchline.segmentation.views import Answer, FieldLevels, ViewMap, cut_full, cut_patch
from etchline.training.augmentation import Grey
from etchline.training.ranks import ALONE, Ranks
from etchline.training.recipe import Recipe
from etchline.training.sampling import PreparedImage, view_rows

PredictImage = Callable[[Grey], Grey]
"""Probability, uint8 `round(255 p)`, of a normalised image, uint8; both (H, W)."""

# All but so many of the pixels alike is "all black" or "all white".
_DEAD_SHARE = 0.001
_PROMPT = PromptSettings(points=1)


@dataclass(frozen=True)
class Verdict:
    """What validation found, images pooled.

    Attributes:
        counts: ESD.
        pixels: agreement of pixels.
    """

    counts: EsdCounts
    pixels: PixelCounts

    @property
    def esd_rate(self) -> float:
        """Errors for each line."""
        return self.counts.errors / self.counts.lines

    @property
    def dead(self) -> str | None:
        """The colour ("black", "white") that all masks have and their truths have not; usually `None`."""
        pixels = self.pixels
        predicted = (pixels.true_positive + pixels.false_positive) / pixels.total
        true = (pixels.true_positive + pixels.false_negative) / pixels.total
        if predicted <= _DEAD_SHARE < true:
            return "black"
        return "white" if predicted >= 1 - _DEAD_SHARE > true else None

    def __add__(self, other: "Verdict") -> "Verdict":
        """Both together."""
        return Verdict(self.counts + other.counts, self.pixels + other.pixels)


def predictor(backend: Backend, role: Role, recipe: Recipe) -> PredictImage:
    """A function that segments whole images through one network, as inference does."""

    def predict(image_hw: Grey) -> Grey:
        height, width = image_hw.shape
        levels = FieldLevels(ArraySource(image_hw), AS_IT_IS)
        input_px = backend.view_px(role) * (2 if role == "patch" else 1)
        views = view_rows(height, width, role, input_px, recipe)
        map_hw = ViewMap(views, lambda row: _answers(backend, role, levels, row)).rows(0, height).copy()
        erase_spots(map_hw, recipe.validation.spot_px, recipe.validation.spot_mean_below)
        return map_hw

    return predict


def _answers(backend: Backend, role: Role, levels: FieldLevels, row: list[Patch]) -> list[Answer]:
    cut = cut_patch if role == "patch" else cut_full
    views = [cut(levels, patch.box_xyxy, backend.view_px(role)) for patch in row]
    # One point for each view, as in training: numbers of points must be equal in a batch.
    prompts = [
        place_prompt(view, (ROLES.index(role), patch.row, patch.column), _PROMPT)
        for view, patch in zip(views, row, strict=True)
    ]
    points_xy, labels = (np.stack(column) for column in zip(*prompts, strict=True))
    probability_bhw, score_b = backend.infer(role, np.stack(views), points_xy, labels)
    answers = []
    for patch, probability_hw, score in zip(row, probability_bhw, score_b, strict=True):
        x0, y0, x1, y1 = patch.box_xyxy
        # A patch of a smaller image was reflected to the right and below.
        shown = probability_hw[: y1 - y0, : x1 - x0] if role == "patch" else probability_hw
        answers.append(Answer(patch.box_xyxy, shown, float(score)))
    return answers


def judge(
    predict: PredictImage, images: Iterable[PreparedImage], settings: EsdSettings, ranks: Ranks = ALONE
) -> Verdict:
    """The verdict on the images of all processes together.

    Args:
        predict: segments one image.
        images: of this process; at least one line among those of all.
        settings: what counts.
        ranks: the processes.

    Raises:
        DatasetError: there are no images, or no line in them counts.
    """
    verdict = Verdict(EsdCounts(), PixelCounts())
    for image in images:
        image_hw, mask_hw = image.read()
        names = (f"prediction of {image.entry.image}", image.entry.mask)
        result = evaluate_masks(
            binarise_probability(predict(np.asarray(image_hw))), np.asarray(mask_hw), settings, names=names
        )
        verdict += Verdict(result.counts, result.pixels)
    verdict = _pooled(verdict, ranks)
    if not verdict.counts.lines:
        raise DatasetError(
            f"validation: no line in the images of split val counts at border {settings.border_px} px; give "
            "the dataset validation images with lines, or set validation.border_px"
        )
    return verdict


def _pooled(verdict: Verdict, ranks: Ranks) -> Verdict:
    counts, pixels = (dataclasses.astuple(part) for part in (verdict.counts, verdict.pixels))
    totals = [int(value) for value in ranks.total((*counts, *pixels))]
    return Verdict(EsdCounts(*totals[: len(counts)]), PixelCounts(*totals[len(counts) :]))
