"""Speed, memory and agreement of the ESD evaluation.

    python benchmarks/esd.py                                # our time and peak memory, 10,000 x 10,000 px
    python benchmarks/esd.py --published DIR                # and the published code in the same run
    python benchmarks/esd.py --published DIR --compare      # and both verdicts on perturbed layouts

DIR is a checkout of https://github.com/emsec/unsupervised-ic-sem-segmentation-extended. It needs shapely,
opencv and numpy; torch, torchvision and kornia, which its ESD module imports but does not use, are replaced.
The layouts are `hy5syn-labels` under $ETCHLINE_DATA, or the folder given with --labels.
"""

import argparse
import importlib
import os
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from etchline.evaluation import EsdCounts, EsdSettings, evaluate_masks
from etchline.images import read_mask
from etchline.layouts import rasterise, read_layout

SEED = 20_250_101
FIELDS = ("opens", "shorts", "false_positives", "false_negatives", "lines")
PITCH_PX = 34


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=10_000, help="edge of the timed pair in px")
    parser.add_argument("--published", type=Path, help="checkout of the published code")
    parser.add_argument("--compare", action="store_true", help="print the validation table")
    parser.add_argument("--labels", type=Path, help="folder of layouts (SVG) and masks (PNG)")
    options = parser.parse_args()
    if options.compare and not options.published:
        parser.error("--compare needs --published DIR")
    published = load_published(options.published) if options.published else None
    if options.compare:
        data = Path(os.environ.get("ETCHLINE_DATA", "../shared/data"))
        compare(published, options.labels or data / "hy5syn-labels")
    else:
        measure(options.size, published)


def load_published(checkout: Path) -> types.ModuleType:
    """Their `libs.esd`, with empty modules for the packages that it imports and ESD does not use."""
    for name in ("torch", "torchvision", "kornia"):
        sys.modules.setdefault(name, types.ModuleType(name))
    torchvision: Any = sys.modules["torchvision"]
    transforms: Any = types.ModuleType("torchvision.transforms")
    transforms.functional = types.ModuleType("torchvision.transforms.functional")
    torchvision.transforms = transforms
    sys.modules["torchvision.transforms"] = transforms
    sys.path.insert(0, str(checkout))
    return importlib.import_module("libs.esd")


def published_counts(
    esd: types.ModuleType, pred_hw: np.ndarray, truth_hw: np.ndarray, settings: EsdSettings
) -> EsdCounts:
    """Their verdict, called as their test/compute_errors.py does, on masks in memory."""
    import shapely

    height, width = truth_hw.shape
    label = esd.Label.__new__(esd.Label)
    label.tracks, label.vias = esd.extract_polygons(truth_hw), []
    label.height, label.width = height, width
    label.viewbox = shapely.box(0, 0, width, height)
    label.spatial_tree = shapely.STRtree(label.tracks)
    label.border = label.viewbox.buffer(-settings.border_px)
    tracks = esd.extract_polygons(pred_hw)
    if settings.min_area_px > 0:
        tracks = [track for track in tracks if shapely.area(track) >= settings.min_area_px]
    stats = esd.ESDResult(tracks, label).stats
    return EsdCounts(
        opens=stats.opens,
        shorts=stats.shorts,
        false_positives=stats.false_positives,
        false_negatives=stats.false_negatives,
        lines=stats.total_tracks,
    )


def measure(size_px: int, published: types.ModuleType | None) -> None:
    """Prints time and peak memory on drawn pairs: lines along the rows, then along the columns.

    The second is the hard case: a row of 10,000 px then crosses some 290 lines instead of a few.
    """
    truth_hw = draw_layout(size_px, np.random.default_rng(SEED))
    pred_hw = truth_hw.copy()
    perturb(pred_hw, np.random.default_rng(SEED + 1), cuts=300, bridges=300, blobs=300, specks=3000)
    evaluate_masks(pred_hw[:100], truth_hw[:100])
    print(f"{size_px} x {size_px} px, one process, one thread, both masks in memory")
    time_pair("lines along rows", pred_hw, truth_hw, published)
    # In place, because a transposed copy would count as peak memory.
    for mask_hw in (pred_hw, truth_hw):
        transpose_in_place(mask_hw)
    time_pair("lines along columns", pred_hw, truth_hw, published)


def time_pair(
    name: str, pred_hw: np.ndarray, truth_hw: np.ndarray, published: types.ModuleType | None
) -> None:
    """Prints time, peak memory of the process so far and, where it is given, the published code's."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        ours = evaluate_masks(pred_hw, truth_hw).counts
        seconds.append(time.perf_counter() - start)
    print(f"{name}: {ours.lines} lines, {ours.errors} errors")
    print(f"  etchline   {min(seconds):.3f} s (worst of 5 {max(seconds):.3f} s), peak {peak_mb():.0f} MB")
    if published:
        start = time.perf_counter()
        theirs = published_counts(published, pred_hw, truth_hw, EsdSettings())
        elapsed = time.perf_counter() - start
        ratio = elapsed / min(seconds)
        print(f"  published  {elapsed:.2f} s, peak {peak_mb():.0f} MB: {ratio:.0f} times our time")
        print(f"  published  {theirs.lines} lines, {theirs.errors} errors")


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def transpose_in_place(mask_hw: np.ndarray, block_px: int = 1000) -> None:
    """Transposes a square array block by block."""
    size = len(mask_hw)
    for y in range(0, size, block_px):
        for x in range(0, y + 1, block_px):
            below = mask_hw[y : y + block_px, x : x + block_px]
            above = mask_hw[x : x + block_px, y : y + block_px]
            kept = below.T.copy()
            below[:] = above.T.copy()
            above[:] = kept


def compare(published: types.ModuleType, labels: Path) -> None:
    """Prints both verdicts on every layout and perturbation, and where they differ."""
    print("layout     perturbation  settings      opens shorts false+ false- lines | published | difference")
    sums = {"clean": [0, 0], "noisy": [0, 0]}
    for name, truth_hw in layouts(labels):
        for kind, disturb in PERTURBATIONS.items():
            pred_hw = truth_hw.copy()
            disturb(pred_hw, np.random.default_rng(SEED))
            for settings in (EsdSettings(0, 0), EsdSettings(35, 35)):
                ours = evaluate_masks(pred_hw, truth_hw, settings).counts
                theirs = published_counts(published, pred_hw, truth_hw, settings)
                print(table_row(name, kind, settings, ours, theirs))
                if settings.border_px:
                    group = sums["noisy" if kind == "noise" else "clean"]
                    group[0] += ours.errors
                    group[1] += theirs.errors
    for group_name, (our_errors, their_errors) in sums.items():
        share = (our_errors - their_errors) / max(their_errors, 1)
        print(f"35/35, {group_name}: {our_errors} errors, published {their_errors}, {100 * share:+.2f} %")


def table_row(name: str, kind: str, settings: EsdSettings, ours: EsdCounts, theirs: EsdCounts) -> str:
    """One line of the validation table."""
    our_values, their_values = ([getattr(counts, field) for field in FIELDS] for counts in (ours, theirs))
    differences = [
        f"{field} {mine - yours:+d}"
        for field, mine, yours in zip(FIELDS, our_values, their_values, strict=True)
        if mine != yours
    ]
    columns = "  ".join(" ".join(f"{value:5d}" for value in values) for values in (our_values, their_values))
    setting = f"{settings.border_px}/{settings.min_area_px}"
    return f"{name:10} {kind:12} {setting:6} {columns}  {', '.join(differences) or 'same'}"


def layouts(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks (uint8 0/255) of the layouts in a folder."""
    for path in sorted(folder.glob("*.png")):
        yield path.stem, read_mask(path)
    for path in sorted(folder.glob("*.svg")):
        yield path.stem, rasterise(read_layout(path))


def draw_layout(size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Horizontal lines of half the pitch, broken at random places and joined by vertical jogs."""
    mask_hw = np.zeros((size_px, size_px), np.uint8)
    width_px = PITCH_PX // 2
    for top in range(PITCH_PX // 4, size_px - width_px, PITCH_PX):
        x = int(rng.integers(0, 200))
        while x < size_px:
            length = int(rng.integers(60, 2500))
            mask_hw[top : top + width_px, x : x + length] = 255
            if rng.random() < 0.2:
                mask_hw[top : top + PITCH_PX + width_px, x : x + width_px] = 255
            x += length + int(rng.integers(20, 200))
    return mask_hw


def perturb(
    mask_hw: np.ndarray,
    rng: np.random.Generator,
    *,
    cuts: int = 0,
    bridges: int = 0,
    drops: int = 0,
    blobs: int = 0,
    specks: int = 0,
) -> None:
    """Disturbs a mask in place: gaps, vertical bars, components taken away, discs, single pixels flipped."""
    height, width = mask_hw.shape
    for _ in range(cuts):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        mask_hw[y : y + 60, x : x + int(rng.integers(2, 12))] = 0
    for _ in range(bridges):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        mask_hw[y : y + 60, x : x + int(rng.integers(3, 12))] = 255
    for _ in range(blobs):
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        cv2.circle(mask_hw, centre, int(rng.integers(3, 14)), 255, cv2.FILLED)
    for _ in range(drops):
        y, x = np.nonzero(mask_hw)
        chosen = int(rng.integers(0, len(y)))
        cv2.floodFill(mask_hw, None, (int(x[chosen]), int(y[chosen])), 0, flags=8)
    for _ in range(specks):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        mask_hw[y, x] ^= 255


def _perturbation(**amounts: int) -> Callable[[np.ndarray, np.random.Generator], None]:
    def disturb(mask_hw: np.ndarray, rng: np.random.Generator) -> None:
        perturb(mask_hw, rng, **amounts)

    return disturb


PERTURBATIONS = {
    "none": _perturbation(),
    "cuts": _perturbation(cuts=60),
    "bridges": _perturbation(bridges=60),
    "drops": _perturbation(drops=20),
    "blobs": _perturbation(blobs=60),
    "all": _perturbation(cuts=60, bridges=60, drops=20, blobs=60),
    "noise": _perturbation(cuts=60, bridges=60, drops=20, blobs=60, specks=3000),
}

if __name__ == "__main__":
    main()
