"""The lines' pitches in a dataset's training images, as `--scale auto` measures them."""

import functools
from collections import Counter

from etchline.calibration.search import Steps, unseen_steps
from etchline.datasets import Dataset, ImageEntry
from etchline.images import open_image
from etchline.processes import map_processes
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.scale import ScaleSettings, estimate_pitch

IMAGES_PER_LAYER = 3
"""Images of one layer of one IC are drawn by the same rules: a few tell its pitch."""


def measure_pitches(dataset: Dataset, *, jobs: int | None = None, steps: Steps = unseen_steps) -> list[float]:
    """The pitches, in px and sorted, of a few training images of each layer that are certain enough."""
    taken: Counter[tuple[str, str]] = Counter()
    entries = []
    for entry in dataset.select(split="train"):
        taken[entry.ic, entry.layer] += 1
        if taken[entry.ic, entry.layer] <= IMAGES_PER_LAYER:
            entries.append(entry)
    found = map_processes(functools.partial(_pitch, dataset=dataset), entries, jobs)
    return sorted(pitch for pitch in steps("pitch", found, len(entries)) if pitch is not None)


def _pitch(entry: ImageEntry, dataset: Dataset) -> float | None:
    with open_image(dataset.image_path(entry)) as source:
        estimate = estimate_pitch(source, fit_normalisation(source))
    return estimate.pitch_px if estimate.certainty >= ScaleSettings().least_certainty else None
