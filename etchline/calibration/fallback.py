"""From which doubt on the classical result is better: measured on validation images and on spoilt copies.

A laboratory's validation images look like those that were learnt, and say nothing about others. So they are
also judged with noise, blur and charging added, far beyond what is learnt: from the limit found here on, the
mean confidence of the networks' results decides which of the two segmenters is taken.

Source: SegSEM, whose classical contours stand in where the network is in doubt; the measure is ours.
"""

import functools
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from etchline.bundle import Bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.calibration.search import mask_of
from etchline.datasets import Dataset, ImageEntry
from etchline.evaluation import EsdSettings, evaluate_masks
from etchline.images import ArraySink, ArraySource, read_image, read_mask
from etchline.processes import Steps, map_processes
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.multiscale import NetworkSegmenter
from etchline.segmentation.normalise import normalise
from etchline.segmentation.segmenter import Sinks, segment_source

Grey = npt.NDArray[np.uint8]

MOST_IMAGES = 32
"""Judged in every way, spread evenly over the validation images; 16 leave the limit to chance."""
LARGEST_PX = 1024
"""Of larger images the middle is judged."""
LIMITS = tuple(round(0.05 * step, 2) for step in range(20))


def _noise(sigma: float) -> Callable[[Grey, np.random.Generator], Grey]:
    return lambda image_hw, rng: _grey(image_hw + sigma * rng.standard_normal(image_hw.shape))


def _blur(sigma_px: float) -> Callable[[Grey, np.random.Generator], Grey]:
    return lambda image_hw, rng: np.asarray(cv2.GaussianBlur(image_hw, (0, 0), sigma_px), np.uint8)


def _charging(levels: float) -> Callable[[Grey, np.random.Generator], Grey]:
    """Slow bright and dark areas, about 200 px wide."""

    def spoil(image_hw: Grey, rng: np.random.Generator) -> Grey:
        height, width = image_hw.shape
        coarse = rng.uniform(-levels, levels, (height // 200 + 2, width // 200 + 2)).astype(np.float32)
        return _grey(image_hw + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))

    return spoil


def _grey(values_hw: npt.NDArray[Any]) -> Grey:
    grey_hw: Grey = np.clip(np.rint(values_hw), 0, 255).astype(np.uint8)
    return grey_hw


# Of normalised images, whose range is 255 levels: from what networks bear to what nobody would scan.
AS_IT_IS = "as it is"
SPOILT: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    AS_IT_IS: lambda image_hw, rng: image_hw,
    "noise 40": _noise(40),
    "noise 80": _noise(80),
    "blur 2 px": _blur(2),
    "blur 4 px": _blur(4),
    "charging 80": _charging(80),
}


@dataclass(frozen=True)
class JudgedCopy:
    """An image as it is, or spoilt in one way, by both segmenters.

    Attributes:
        is_spoilt: whether anything was added.
        confidence: see `NetworkFit.familiarity`.
        network_errors: of the networks' result.
        classical_errors: of the classical result.
        lines: that count.
    """

    is_spoilt: bool
    confidence: float
    network_errors: int
    classical_errors: int
    lines: int


def judge_copies(
    bundle: Bundle,
    dataset: Dataset,
    entries: Sequence[ImageEntry],
    esd: EsdSettings,
    *,
    jobs: int | None,
    steps: Steps,
) -> list[JudgedCopy]:
    """Both segmenters on up to 32 of the images, each as it is and spoilt.

    Args:
        bundle: calibrated; what it says of the fallback is not asked.
        dataset: of the images.
        entries: validation images.
        esd: what counts as an error.
        jobs: processes; see `map_processes`.
        steps: shows progress.

    Raises:
        DatasetError: a file is missing or has changed.
        ImageError: an image or mask cannot be read.
    """
    count = min(MOST_IMAGES, len(entries))
    chosen = [entries[index * len(entries) // count] for index in range(count)]
    items = [(entry, spoiling) for entry in chosen for spoiling in SPOILT]
    work = functools.partial(_judge_copy, dataset=replace(dataset, images=()), bundle=bundle, esd=esd)
    found = steps("fallback", map_processes(work, items, jobs), len(items))
    return [one for one in found if one is not None]


def choose_fallback(copies: Sequence[JudgedCopy]) -> float:
    """The least limit whose errors over all copies are within a standard error of the fewest; 0: none helps.

    The spoilt copies are few and their kinds ours: what they do not tell for certain is left to the networks.
    On images as they are the limit may cost no error: spoilt ones stand for what may come, these have come.

    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984.
    """
    ordinary = [one for one in copies if not one.is_spoilt]
    allowed = [one for one in LIMITS if errors_under(ordinary, one) <= errors_under(ordinary, 0.0)]
    fewest = min(allowed, key=lambda limit: (errors_under(copies, limit), limit))
    return next(limit for limit in allowed if not _is_worse(copies, limit, fewest))


def _is_worse(copies: Sequence[JudgedCopy], limit: float, fewest: float) -> bool:
    """Whether one limit has more errors than the other by more than a standard error, paired by copy."""
    more_n = np.subtract(_errors_each(copies, limit), _errors_each(copies, fewest))
    return bool(more_n.sum() > math.sqrt(len(more_n)) * more_n.std())


def errors_under(copies: Sequence[JudgedCopy], limit: float) -> int:
    """Errors where the classical result is taken below this confidence."""
    return sum(_errors_each(copies, limit))


def _errors_each(copies: Sequence[JudgedCopy], limit: float) -> list[int]:
    return [one.classical_errors if one.confidence < limit else one.network_errors for one in copies]


def fallback_json(copies: Sequence[JudgedCopy], limit: float) -> dict[str, Any]:
    """What stands in the validation report."""
    return {
        "below": limit,
        "copies": len(copies),
        "lines": sum(one.lines for one in copies),
        "taken": sum(one.confidence < limit for one in copies),
        "errors": {
            "with": errors_under(copies, limit),
            "without": errors_under(copies, 0.0),
            "classical": sum(one.classical_errors for one in copies),
            "best of both": sum(min(one.network_errors, one.classical_errors) for one in copies),
        },
    }


def _judge_copy(
    item: tuple[ImageEntry, str], dataset: Dataset, bundle: Bundle, esd: EsdSettings
) -> JudgedCopy | None:
    """`None` where the policy has no calibration to tell a confidence by."""
    entry, spoiling = item
    dataset.verify(entry)
    image = read_image(dataset.image_path(entry))
    first, last = image.field_rows
    field_hw = normalise(image.pixels_hw, image.field_rows)[first:last]
    truth_hw = read_mask(dataset.mask_path(entry))[first:last]
    middle = _middle(*field_hw.shape)
    field_hw, truth_hw = np.ascontiguousarray(field_hw[middle]), np.ascontiguousarray(truth_hw[middle])
    rng = np.random.default_rng(zlib.crc32(f"{entry.image}\0{spoiling}".encode()))
    source = ArraySource(SPOILT[spoiling](field_hw, rng))
    fit = _never_falling_back(bundle).fit(source)
    confidence = fit.familiarity()
    if confidence is None:
        return None
    by_network, by_classical = (
        evaluate_masks(mask_hw, truth_hw, esd).counts
        for mask_hw in (mask_of(fit, source), _classical_mask(source))
    )
    return JudgedCopy(
        spoiling != AS_IT_IS, confidence, by_network.errors, by_classical.errors, by_network.lines
    )


def _middle(height: int, width: int) -> tuple[slice, slice]:
    top, left = (max(0, (length - LARGEST_PX) // 2) for length in (height, width))
    return slice(top, top + LARGEST_PX), slice(left, left + LARGEST_PX)


def _never_falling_back(bundle: Bundle) -> NetworkSegmenter:
    segmenter: NetworkSegmenter = network_bundle(bundle, NetworkChoice()).segmenter  # type: ignore[assignment]
    limits = replace(segmenter.settings.limits, fallback_below=0.0)
    return NetworkSegmenter(segmenter.backend, replace(segmenter.settings, limits=limits))


def _classical_mask(source: ArraySource) -> Grey:
    classical = classical_bundle()
    mask, confidence = (ArraySink(source.height, source.width) for _ in range(2))
    segment_source(
        source, classical.segmenter, Sinks(mask, confidence), classical.calibration, classical.settings
    )
    return mask.pixels_hw
