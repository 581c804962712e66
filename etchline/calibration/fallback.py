"""From which doubt on the classical result is better: measured on validation images and on spoilt copies.

A laboratory's validation images look like those that were learnt, and say nothing about others. So they are
also judged with noise, blur and charging added, far beyond what is learnt: from the limit found here on, the
mean confidence of the networks' results decides which of the two segmenters is taken.

Source: SegSEM, whose classical contours stand in where the network is in doubt; the measure is ours.
"""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from etchline.bundle import Bundle, ConfidencePart
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.calibration.candidates import Candidate, is_clearly_worse
from etchline.calibration.search import mask_of, undoubted, with_parts
from etchline.datasets import Dataset, ImageEntry
from etchline.evaluation import EsdSettings, evaluate_masks
from etchline.images import ArraySink, ArraySource, read_image, read_mask
from etchline.processes import Steps, map_processes
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.multiscale import NetworkFit
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
        network_errors: of the networks' result under one policy.
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
    candidates: Sequence[Candidate],
    confidence: Mapping[str, ConfidencePart],
    *,
    jobs: int | None,
    steps: Steps,
) -> list[list[JudgedCopy]]:
    """Both segmenters on up to 32 of the images, each as it is and spoilt; a list for each candidate.

    Args:
        bundle: gives the networks, prompts and views.
        dataset: of the images.
        entries: validation images.
        esd: what counts as an error.
        candidates: what arbitrates, without a fallback; at least one.
        confidence: by image, calibrations of the models that have not seen it.
        jobs: processes; see `map_processes`.
        steps: shows progress.

    Raises:
        DatasetError: a file is missing or has changed.
        ImageError: an image or mask cannot be read.
    """
    count = min(MOST_IMAGES, len(entries))
    chosen = [entries[index * len(entries) // count] for index in range(count)]
    items = [(entry, confidence[entry.image], spoiling) for entry in chosen for spoiling in SPOILT]
    without = replace(dataset, images=())
    work = functools.partial(
        _judge_copy, dataset=without, bundle=bundle, esd=esd, candidates=tuple(candidates)
    )
    found = steps("spoilt copies", map_processes(work, items, jobs), len(items))
    return [list(copies) for copies in zip(*found, strict=True)]


@dataclass(frozen=True)
class JudgedFallback:
    """What taking the classical result for doubtful images is worth.

    Attributes:
        below: images of a lower confidence fall back; 0: none does.
        copies: by which this was found.
    """

    below: float
    copies: tuple[JudgedCopy, ...]

    @property
    def errors(self) -> int:
        """Of all copies."""
        return _errors_under(self.copies, self.below)

    def to_json(self) -> dict[str, Any]:
        """What stands in the validation report."""
        return {
            "below": self.below,
            "copies": len(self.copies),
            "lines": sum(one.lines for one in self.copies),
            "taken": sum(one.confidence < self.below for one in self.copies),
            "errors": {
                "with": self.errors,
                "without": _errors_under(self.copies, 0.0),
                "classical": sum(one.classical_errors for one in self.copies),
                "best of both": sum(min(one.network_errors, one.classical_errors) for one in self.copies),
            },
        }


def judge_fallback(copies: Sequence[JudgedCopy]) -> JudgedFallback:
    """The least limit whose errors over all copies are not clearly more than the fewest; 0: none helps.

    The spoilt copies are few and their kinds ours: what they do not tell for certain is left to the networks.
    On images as they are the limit may cost no error: spoilt ones stand for what may come, these have come.
    """
    ordinary = [one for one in copies if not one.is_spoilt]
    allowed = [one for one in LIMITS if _errors_under(ordinary, one) <= _errors_under(ordinary, 0.0)]
    fewest = min(allowed, key=lambda limit: (_errors_under(copies, limit), limit))
    best_n = _errors_each(copies, fewest)
    below = next(limit for limit in allowed if not is_clearly_worse(_errors_each(copies, limit), best_n))
    return JudgedFallback(below, tuple(copies))


def choose_on_copies(judged: Mapping[Candidate, JudgedFallback]) -> Candidate:
    """The candidate with the fewest errors on the copies, of equal ones the first."""
    return min(judged, key=lambda one: judged[one].errors)


def _errors_under(copies: Sequence[JudgedCopy], limit: float) -> int:
    """Errors where the classical result is taken below this confidence."""
    return sum(_errors_each(copies, limit))


def _errors_each(copies: Sequence[JudgedCopy], limit: float) -> list[int]:
    return [one.classical_errors if one.confidence < limit else one.network_errors for one in copies]


def _judge_copy(
    item: tuple[ImageEntry, ConfidencePart, str],
    dataset: Dataset,
    bundle: Bundle,
    esd: EsdSettings,
    candidates: Sequence[Candidate],
) -> list[JudgedCopy]:
    """What each candidate makes of one copy; the networks see it once."""
    entry, confidence, spoiling = item
    dataset.verify(entry)
    image = read_image(dataset.image_path(entry))
    first, last = image.field_rows
    field_hw = normalise(image.pixels_hw, image.field_rows)[first:last]
    if not field_hw.size:  # the data bar is all there is: no error, and no reason to doubt
        return [JudgedCopy(spoiling != AS_IT_IS, 1.0, 0, 0, 0)] * len(candidates)
    truth_hw = read_mask(dataset.mask_path(entry))[first:last]
    middle = _middle(*field_hw.shape)
    field_hw, truth_hw = np.ascontiguousarray(field_hw[middle]), np.ascontiguousarray(truth_hw[middle])
    rng = np.random.default_rng(zlib.crc32(f"{entry.image}\0{spoiling}".encode()))
    source = ArraySource(SPOILT[spoiling](field_hw, rng))
    by_classical = evaluate_masks(_classical_mask(source), truth_hw, esd).counts
    choice = NetworkChoice(policy=candidates[0].policy)
    judged = with_parts(undoubted(bundle), confidence=confidence)
    fit: NetworkFit = network_bundle(judged, choice).segmenter.fit(source)
    copies = []
    for candidate in candidates:
        arbitrated = fit.under(candidate.policy, candidate.limits)
        familiarity = arbitrated.familiarity()
        assert familiarity is not None  # all models have a calibration here
        by_network = evaluate_masks(mask_of(arbitrated, source), truth_hw, esd).counts
        errors = by_network.errors, by_classical.errors
        copies.append(JudgedCopy(spoiling != AS_IT_IS, familiarity, *errors, by_network.lines))
    return copies


def _middle(height: int, width: int) -> tuple[slice, slice]:
    top, left = (max(0, (length - LARGEST_PX) // 2) for length in (height, width))
    return slice(top, top + LARGEST_PX), slice(left, left + LARGEST_PX)


def _classical_mask(source: ArraySource) -> Grey:
    classical = classical_bundle()
    mask, confidence = (ArraySink(source.height, source.width) for _ in range(2))
    segment_source(
        source, classical.segmenter, Sinks(mask, confidence), classical.calibration, classical.settings
    )
    return mask.pixels_hw
