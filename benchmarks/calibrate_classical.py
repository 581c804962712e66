"""Fits the classical segmenter's cell confidence on the training and validation images of ic01 to ic07.

    etchline synth DATASET --seed 0
    python benchmarks/calibrate_classical.py DATASET --write

Run it again whenever the classical segmenter, the cells' features or the families change. A cell is wrong if
a witness pixel of an ESD error lies in it. The reliability printed is cross-validated by IC: each cell is
judged by a fit that saw nothing of its IC. `--write` replaces the calibration in the package
(etchline/segmentation/classical_calibration.json) by a fit on all of them.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchline.calibration.cells import (
    Cells,
    MeasuredCell,
    cross_validated,
    measure_cells,
    pool_cells,
    reliability,
)
from etchline.datasets import Dataset, ImageEntry, load_dataset
from etchline.evaluation import NANO_SCALE
from etchline.processes import map_processes
from etchline.segmentation import confidence
from etchline.segmentation.cell_features import FEATURE_NAMES
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.storage import write_text
from etchline.synthesis.families import FAMILIES

SEEN = tuple(family.name for family in FAMILIES if family.seen)
# A cell is flagged where an error is more likely than not. The classical segmenter leaves an error in most
# cells of the hard families: a stricter limit would flag nearly everything and say nothing.
FLAG_BELOW = 0.5


def measure(entry: ImageEntry, dataset: Dataset) -> list[MeasuredCell]:
    return measure_cells(entry, dataset, classical_bundle(), NANO_SCALE)


def read_cells(dataset: Dataset, jobs: int | None) -> Cells:
    entries = dataset.select(split=("train", "val"), ic=SEEN)
    measured = map_processes(functools.partial(measure, dataset=dataset), entries, jobs)
    return pool_cells(cell for cells in measured for cell in cells)


def report(confidence_n: npt.NDArray[np.float64], cells: Cells) -> None:
    right = ~cells.has_error_n
    base = right.mean()
    print(f"{right.size} cells, {(~right).mean():.1%} with an error")
    found = reliability(confidence_n, cells, FLAG_BELOW)
    print(f"Brier {found.brier:.4f} (always the mean: {base * (1 - base):.4f})")
    print(f"ECE   {found.calibration_error:.4f}")
    print("flag below   flagged   wrong cells caught   wrong among the rest")
    for limit in (0.3, 0.4, FLAG_BELOW, 0.6, 0.7, 0.8):
        flagged = confidence_n < limit
        caught = flagged[~right].mean()
        rest = (~right[~flagged]).mean() if (~flagged).any() else 0.0
        print(f"{limit:10.2f}   {flagged.mean():7.1%}   {caught:18.1%}   {rest:20.1%}")
    print("IC     cells  wrong  mean confidence  Brier")
    for ic in np.unique(cells.group_n):
        own = cells.group_n == ic
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
