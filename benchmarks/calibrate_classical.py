"""Fits the classical segmenter's cell confidence on the training and validation images of ic01 to ic07.

    etchline synth DATASET --seed 0
    python benchmarks/calibrate_classical.py DATASET --write

Run it again whenever the classical segmenter, the cells' features or the families change. A cell is wrong if
a witness pixel of an ESD error lies in it. The reliability printed is cross-validated by IC: each cell is
judged by a fit that saw nothing of its IC. `--write` replaces the calibration in the package
(etchline/segmentation/classical_calibration.json) by a fit on all of them.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchline.datasets import Dataset, ImageEntry, load_dataset
from etchline.evaluation import NANO_SCALE
from etchline.evaluation.witness import find_witnesses
from etchline.images import ArraySink, open_image, read_mask
from etchline.processes import map_processes
from etchline.segmentation import confidence
from etchline.segmentation.cell_features import FEATURE_NAMES
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.segmenter import Sinks, segment_source
from etchline.storage import write_text
from etchline.synthesis.families import FAMILIES

SEEN = tuple(family.name for family in FAMILIES if family.seen)
# A cell is flagged where an error is more likely than not. The classical segmenter leaves an error in most
# cells of the hard families: a stricter limit would flag nearly everything and say nothing.
FLAG_BELOW = 0.5
BINS = 10


@dataclasses.dataclass(frozen=True)
class Cells:
    """Features (n, f), whether an error lies in the cell (n,), and the IC (n,)."""

    values_nf: npt.NDArray[np.float64]
    has_error_n: npt.NDArray[np.bool_]
    ic_n: npt.NDArray[np.str_]


def measure(entry: ImageEntry, dataset: Dataset) -> list[tuple[str, str, tuple[float, ...], bool]]:
    """Image, IC, features and whether an error lies in it, of each cell of an image."""
    bundle = classical_bundle()
    with open_image(dataset.image_path(entry)) as source:
        mask, confidences = (ArraySink(source.height, source.width) for _ in range(2))
        sinks = Sinks(mask, confidences)
        result = segment_source(source, bundle.segmenter, sinks, bundle.calibration, bundle.settings)
    codes_hw = find_witnesses(mask.pixels_hw, read_mask(dataset.mask_path(entry)), NANO_SCALE).codes_hw
    return [
        (entry.image, entry.ic, cell.features.values, bool(codes_hw[y0:y1, x0:x1].any()))
        for cell in result.cells
        for x0, y0, x1, y1 in [cell.box_xyxy]
    ]


def read_cells(dataset: Dataset, jobs: int | None) -> Cells:
    entries = dataset.select(split=("train", "val"), ic=SEEN)
    measured = map_processes(functools.partial(measure, dataset=dataset), entries, jobs)
    # Sorted, because images come in the order in which they are finished.
    rows = sorted((row for rows in measured for row in rows), key=lambda row: row[0])
    _, ics, values, wrong = zip(*rows, strict=True)
    return Cells(np.array(values), np.array(wrong), np.array(ics))


def cross_validated(cells: Cells) -> npt.NDArray[np.float64]:
    """The confidence of each cell by a fit on the other ICs."""
    found = np.empty(cells.has_error_n.size)
    for ic in np.unique(cells.ic_n):
        held = cells.ic_n == ic
        fit = confidence.fit_calibration(cells.values_nf[~held], cells.has_error_n[~held], FLAG_BELOW, "")
        found[held] = [fit.confidence(tuple(values)) for values in cells.values_nf[held]]
    return found


def calibration_error(confidence_n: npt.NDArray[np.float64], right_n: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = np.minimum((confidence_n * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence_n[bins == index].mean() - right_n[bins == index].mean()) * (bins == index).mean()
        for index in np.unique(bins)
    ]
    return float(sum(gaps))


def report(confidence_n: npt.NDArray[np.float64], cells: Cells) -> None:
    right = ~cells.has_error_n
    base = right.mean()
    print(f"{right.size} cells, {(~right).mean():.1%} with an error")
    brier = np.mean((confidence_n - right) ** 2)
    print(f"Brier {brier:.4f} (always the mean: {base * (1 - base):.4f})")
    print(f"ECE   {calibration_error(confidence_n, right):.4f}")
    print("flag below   flagged   wrong cells caught   wrong among the rest")
    for limit in (0.3, 0.4, FLAG_BELOW, 0.6, 0.7, 0.8):
        flagged = confidence_n < limit
        caught = flagged[~right].mean()
        rest = (~right[~flagged]).mean() if (~flagged).any() else 0.0
        print(f"{limit:10.2f}   {flagged.mean():7.1%}   {caught:18.1%}   {rest:20.1%}")
    print("IC     cells  wrong  mean confidence  Brier")
    for ic in np.unique(cells.ic_n):
        own = cells.ic_n == ic
        score = np.mean((confidence_n[own] - right[own]) ** 2)
        print(
            f"{ic}  {own.sum():5}  {(~right[own]).mean():5.1%}  {confidence_n[own].mean():15.3f}  {score:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--write", action="store_true", help="replace the calibration in the package")
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    cells = read_cells(dataset, options.jobs)
    report(cross_validated(cells), cells)
    origin = (
        f"{cells.has_error_n.size} cells of train and val, ic01 to ic07; dataset digest {dataset.digest[:16]}"
    )
    fit = confidence.fit_calibration(cells.values_nf, cells.has_error_n, FLAG_BELOW, origin)
    for name, weight in zip(FEATURE_NAMES, fit.coefficients, strict=True):
        print(f"{name:16} {weight:7.3f}")
    print(f"{'intercept':16} {fit.intercept:7.3f}")
    if options.write:
        path = Path(confidence.__file__).with_name(confidence.CALIBRATION_FILE)
        write_text(path, fit.model_dump_json(by_alias=True, indent=2) + "\n")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
