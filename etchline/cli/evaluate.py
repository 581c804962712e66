"""`etchline evaluate`: predictions against truths, as electrically significant differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etchline.cli.frame import (
    DebugOption,
    JobsOption,
    JsonOption,
    exit_codes,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.stored import ADD, READ
from etchline.errors import InputError, PairingError, SettingsError, first_few

if TYPE_CHECKING:
    from etchline.evaluation.esd import EsdSettings
    from etchline.evaluation.folders import Pairing
    from etchline.evaluation.report import Report

EXAMPLE = (
    "Example: etchline evaluate runs/lines --dataset data/bench --split test --out runs/report --error-maps"
)


def evaluate(
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted masks, searched recursively."), READ],
    truth_dir: Annotated[
        Path | None, typer.Argument(help="Folder of true masks; or give --dataset instead."), READ
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="Dataset whose masks are the truth."), READ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only these splits of the dataset, separated by commas.")
    ] = None,
    border_px: Annotated[int, typer.Option(help="Lines that lie in this border only do not count.")] = 35,
    min_area_px: Annotated[int, typer.Option(help="Smaller predicted components are dropped.")] = 35,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="List truths without prediction instead of refusing them.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json (and the error maps)."), ADD
    ] = None,
    error_maps: Annotated[
        bool, typer.Option("--error-maps", help="Write a picture of each image with errors under --out.")
    ] = False,
    jobs: JobsOption = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compares predicted masks with true ones: opens, shorts, false positives, false negatives, and pixels.

    Files belong together by relative path without extension and without _lines, _pred, _gt or _mask.
    """
    with exit_codes(debug):
        from etchline.evaluation.esd import EsdSettings

        settings = EsdSettings(border_px=border_px, min_area_px=min_area_px)
        if error_maps and out is None:
            raise SettingsError("--error-maps needs --out, the folder that the pictures go to")
        pairing = _paired(pred_dir, truth_dir, dataset, split, allow_missing)
        report = _scored(pairing, settings, jobs, out if error_maps else None)
        _deliver(report, out, json_output)
        for failure in report.failures:
            stderr().print(f"error: {failure.message}", markup=False)
        if report.failures:
            raise typer.Exit(InputError.exit_code)


def _paired(
    pred_dir: Path, truth_dir: Path | None, dataset: Path | None, split: str | None, allow_missing: bool
) -> "Pairing":
    from etchline.evaluation.folders import check_missing, pair_folders

    if (truth_dir is None) == (dataset is None):
        raise SettingsError("give the truth once: either TRUTH_DIR or --dataset")
    if dataset is not None:
        pairing = _paired_with_dataset(pred_dir, dataset, split)
    elif split is not None:
        raise SettingsError(f"--split {split} needs --dataset; folders have no splits")
    else:
        assert truth_dir is not None
        pairing = pair_folders(pred_dir, truth_dir)
    check_missing(pairing, pred_dir, allow_missing=allow_missing)
    if pairing.surplus:
        stderr().print(
            f"note: {len(pairing.surplus)} predictions have no truth and are not scored: "
            f"{first_few(pairing.surplus)}",
            markup=False,
        )
    return pairing


def _paired_with_dataset(pred_dir: Path, folder: Path, split: str | None) -> "Pairing":
    from etchline.datasets import load_dataset
    from etchline.evaluation.folders import pair_dataset

    dataset = load_dataset(folder)
    wanted = None if split is None else [name.strip() for name in split.split(",")]
    each: Sequence[str | None] = [None] if wanted is None else wanted
    for name in each:
        if not dataset.select(split=name):
            raise PairingError(
                f"{folder}: has no images of split {name!r}; its splits are "
                f"{', '.join(sorted({entry.split for entry in dataset.images})) or 'none'}"
            )
    entries = dataset.select(split=wanted)
    asked = set(entries)
    unasked = [entry for entry in dataset.images if entry not in asked]
    return pair_dataset(pred_dir, [(entry, dataset.mask_path(entry)) for entry in entries], unasked)


def _scored(pairing: "Pairing", settings: "EsdSettings", jobs: int | None, maps_dir: Path | None) -> "Report":
    from etchline.evaluation.scoring import report_of, score_pairs

    outcomes = score_pairs(pairing.pairs, settings, jobs=jobs, maps_dir=maps_dir)
    return report_of(progress("evaluating", outcomes, len(pairing.pairs)), pairing, settings)


def _deliver(report: "Report", out: Path | None, json_output: bool) -> None:
    """Writes report.json where it is wanted and prints the result."""
    import json

    from etchline.cli.evaluate_table import print_tables
    from etchline.storage import write_text

    value = report.to_json()
    if out is not None:
        write_text(out / "report.json", json.dumps(value, indent=2, allow_nan=False) + "\n")
    if json_output:
        print_json(value)
    else:
        print_tables(report, stdout())
