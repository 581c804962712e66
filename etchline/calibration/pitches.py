"""The lines' pitches in a dataset's training images, as `--scale auto` measures them."""

import functools
import statistics
from collections import Counter

from etchline.datasets import Dataset, ImageEntry
from etchline.images import open_image
from etchline.processes import Steps, map_processes, unseen_steps
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.scale import ScaleSettings, estimate_pitch

IMAGES_PER_LAYER = 3
"""Images of one layer of one IC are drawn by the same rules: a few tell its pitch."""


def measure_pitches(dataset: Dataset, *, jobs: int | None = None, steps: Steps = unseen_steps) -> list[float]:
    """The layers' pitches in px, sorted: each the median of a few training images' certain estimates.

    Single estimates may be wrong by a factor (mixed pitches, torn lines).
    """
    taken: Counter[tuple[str, str]] = Counter()
    entries = []
    for entry in dataset.select(split="train"):
        taken[entry.ic, entry.layer] += 1
        if taken[entry.ic, entry.layer] <= IMAGES_PER_LAYER:
            entries.append(entry)
    found = map_processes(functools.partial(_pitch, dataset=dataset), entries, jobs)
    by_layer: dict[tuple[str, str], list[float]] = {}
    for layer, pitch_px in steps("pitch", found, len(entries)):
        if pitch_px is not None:
            by_layer.setdefault(layer, []).append(pitch_px)
    return sorted(statistics.median(pitches_px) for pitches_px in by_layer.values())


def _pitch(entry: ImageEntry, dataset: Dataset) -> tuple[tuple[str, str], float | None]:
    with open_image(dataset.image_path(entry)) as source:
        estimate = estimate_pitch(source, fit_normalisation(source))
    certain = estimate.certainty >= ScaleSettings().least_certainty
    return (entry.ic, entry.layer), estimate.pitch_px if certain else None
