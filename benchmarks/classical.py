"""The classical segmenter's parts and settings, each by its ESD on validation images.

    etchline synth runs/validation --ics 7 --images-per-ic 100 --seed 0
    python benchmarks/classical.py runs/validation

Reads the split "val" of ic01 to ic07 only: this is where the one setting was chosen. The floor of the run is
Otsu's threshold on the raw image; every line gives the ratio to it.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from etchline.datasets import Dataset, ImageEntry, load_dataset
from etchline.evaluation import NANO_SCALE, EsdCounts, evaluate_masks
from etchline.images import ArraySource, read_image, read_mask
from etchline.processes import map_processes
from etchline.segmentation.classical import DEFAULT, ClassicalSegmenter, ClassicalSettings
from etchline.segmentation.normalise import NormaliseSettings
from etchline.segmentation.probability import binarise_probability
from etchline.segmentation.smoothing import SmoothingSettings
from etchline.segmentation.spots import SpotSettings
from etchline.synthesis.families import FAMILIES

SEEN = tuple(family.name for family in FAMILIES if family.seen)
MaskArray = npt.NDArray[np.uint8]

ROUND = SmoothingSettings(along=1.0, across=1.0)
HARDLY = SmoothingSettings(most_px=0.7, along=1.0, across=1.0)
NO_SPOTS = SpotSettings(0, 0)
BARE = ClassicalSettings(
    flat_field_px=1e5, smoothing=HARDLY, noise_margin=-1e3, least_contrast=0, spots=NO_SPOTS
)

PARTS = {
    "percentile clip": BARE,
    "+ flat field": replace(BARE, flat_field_px=100),
    "+ smoothing by noise": replace(BARE, flat_field_px=100, smoothing=ROUND),
    "+ smoothing along lines": replace(BARE, flat_field_px=100, smoothing=SmoothingSettings()),
    "+ noise margin": replace(DEFAULT, spots=NO_SPOTS),
    "+ spots removed = default": DEFAULT,
}
SETTINGS = {
    "high percentile 95": replace(DEFAULT, normalise=NormaliseSettings(high_percent=95)),
    "high percentile 99": replace(DEFAULT, normalise=NormaliseSettings(high_percent=99)),
    "low percentile 5": replace(DEFAULT, normalise=NormaliseSettings(low_percent=5)),
    "flat field 70 px": replace(DEFAULT, flat_field_px=70),
    "flat field 140 px": replace(DEFAULT, flat_field_px=140),
    "residual noise 1.5": replace(DEFAULT, smoothing=SmoothingSettings(residual_noise=1.5)),
    "residual noise 3": replace(DEFAULT, smoothing=SmoothingSettings(residual_noise=3)),
    "most smoothing 3 px": replace(DEFAULT, smoothing=SmoothingSettings(most_px=3)),
    "most smoothing 5 px": replace(DEFAULT, smoothing=SmoothingSettings(most_px=5)),
    "along lines 2": replace(DEFAULT, smoothing=SmoothingSettings(along=2)),
    "along lines 3": replace(DEFAULT, smoothing=SmoothingSettings(along=3)),
    "direction window 1.25": replace(DEFAULT, smoothing=SmoothingSettings(window=1.25)),
    "direction window 2": replace(DEFAULT, smoothing=SmoothingSettings(window=2)),
    "noise margin 2": replace(DEFAULT, noise_margin=2),
    "noise margin 4": replace(DEFAULT, noise_margin=4),
    "spots 1 line width": replace(DEFAULT, spots=SpotSettings(line_widths=1)),
    "spots 1.5 line widths": replace(DEFAULT, spots=SpotSettings(line_widths=1.5)),
    "spots at most 16 px": replace(DEFAULT, spots=SpotSettings(most_px=16)),
    "spots at most 32 px": replace(DEFAULT, spots=SpotSettings(most_px=32)),
}


@dataclass(frozen=True)
class _Case:
    """A way to segment: the settings, or None for the floor."""

    settings: ClassicalSettings | None


def _segment(case: _Case, path: Path) -> MaskArray:
    image = read_image(path)
    if case.settings is None:
        return (image.pixels_hw > threshold_otsu(image.pixels_hw)).astype(np.uint8)
    segmenter, source = ClassicalSegmenter(case.settings), ArraySource(image.pixels_hw)
    return binarise_probability(segmenter.probability(image.pixels_hw, 0, segmenter.fit(source)))


def _score(entry: ImageEntry, case: _Case, dataset: Dataset) -> tuple[str, EsdCounts]:
    truth_hw = read_mask(dataset.mask_path(entry))
    predicted_hw = _segment(case, dataset.image_path(entry))
    return entry.ic, evaluate_masks(predicted_hw, truth_hw, NANO_SCALE).counts


def _counts(case: _Case, dataset: Dataset) -> dict[str, EsdCounts]:
    """Counts of each IC."""
    totals = dict.fromkeys(SEEN, EsdCounts())
    entries = dataset.select(split="val", ic=SEEN)
    score: Callable[[ImageEntry], tuple[str, EsdCounts]] = functools.partial(
        _score, case=case, dataset=dataset
    )
    for ic, counts in map_processes(score, entries):
        totals[ic] += counts
    return totals


def _print(name: str, totals: dict[str, EsdCounts], floor: float) -> float:
    pooled = sum(totals.values(), EsdCounts())
    rate = pooled.rate or 0.0
    kinds = f"{pooled.opens:5d} {pooled.shorts:6d} {pooled.false_positives:6d} {pooled.false_negatives:6d}"
    per_ic = " ".join(f"{100 * (counts.rate or 0):6.1f}" for counts in totals.values())
    print(f"{name:28s} {100 * rate:7.2f} {rate / (floor or rate):6.3f} {kinds}  {per_ic}", flush=True)
    return rate


def main() -> None:
    """Prints one line for each part and each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--parts-only", action="store_true", help="leave out the settings around the default")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.dataset)
    print(f"{len(dataset.select(split='val', ic=SEEN))} validation images, ESD in % at 15/15")
    print(f"{'':28s}   ESD %  ratio opens shorts false+ false-  {' '.join(f'{ic:>6s}' for ic in SEEN)}")
    floor = _print("Otsu on the raw image", _counts(_Case(None), dataset), 0.0)
    cases = PARTS if arguments.parts_only else PARTS | SETTINGS
    for name, settings in cases.items():
        _print(name, _counts(_Case(settings), dataset), floor)


if __name__ == "__main__":
    main()
