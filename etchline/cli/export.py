"""`etchline export`: a training becomes a calibrated bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etchline.cli.calibration_table import print_confidence, print_policies
from etchline.cli.frame import (
    DebugOption,
    JobsOption,
    JsonOption,
    exit_codes,
    need_packages,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.stored import BUNDLE, READ, fetched

if TYPE_CHECKING:
    from etchline.calibration.exporting import Exported

EXAMPLE = "Example: etchline export runs/lab bundles/lab"


def export(
    out_dir: Annotated[
        Path, typer.Argument(help="What `etchline train` wrote: patch, full or single."), READ
    ],
    bundle_dir: Annotated[
        Path, typer.Argument(help="Becomes the bundle; must be empty or not there."), BUNDLE
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Dataset whose split val chooses the policy, its limits and the confidence; default: the "
            "one that was learnt from."
        ),
        READ,
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; default: its folder's.")] = None,
    jobs: JobsOption = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a bundle of a training's networks, calibrated on validation images.

    The policy and limits with the fewest errors are taken; images of test and unseen are never looked at.
    """
    with exit_codes(debug):
        need_packages("export")
        from etchline.calibration import exporting
        from etchline.calibration.runs import dataset_of
        from etchline.datasets import load_dataset

        judge = load_dataset(dataset or fetched(dataset_of(out_dir)))
        request = exporting.ExportRequest(out_dir, bundle_dir, judge, name, jobs)
        found = exporting.export(request, progress)
        for warning in found.warnings:
            stderr().print(f"warning: {warning}", markup=False)
        if json_output:
            print_json(_as_json(found, bundle_dir))
            return
        print_policies(found.calibration, stdout())
        print_confidence(found.calibration, stdout())
        stdout().print(f"{bundle_dir}: digest {found.bundle.digest}", markup=False)


def _as_json(found: "Exported", folder: Path) -> dict[str, Any]:
    pitch = found.bundle.manifest.trained_pitch
    return {
        "bundle": str(folder),
        "digest": found.bundle.digest,
        "trained_pitch": None if pitch is None else {"low_px": pitch.low_px, "high_px": pitch.high_px},
        "validation": found.calibration.report,
        "warnings": list(found.warnings),
    }
