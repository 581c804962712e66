"""`etchline tune`: choices that validation images make."""

from pathlib import Path
from typing import Annotated, Literal

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
    stdout,
)
from etchline.cli.stored import BUNDLE, READ

EXAMPLE = "Example: etchline tune data/lab --bundle bundles/lab --step arbitration --out bundles/lab2"


def tune(
    dataset: Annotated[
        Path, typer.Argument(help="Folder with dataset.json; only its split val is used."), READ
    ],
    bundle: Annotated[
        str, typer.Option(metavar="DIR|nano", help="The bundle whose networks are used."), READ
    ],
    step: Annotated[Literal["arbitration"], typer.Option(help="What is chosen: the policy and its limits.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Writes a new bundle with the winner; must be empty."),
        BUNDLE,
    ] = None,
    jobs: JobsOption = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Search the settings with the fewest validation errors; of equal ones the simplest wins.

    The bundle stays as it is. With --out a new one holds the winner and confidences fitted to it.
    """
    with exit_codes(debug):
        need_packages("tune")
        from etchline.bundle import load_bundle
        from etchline.bundle.shipped import bundle_folder
        from etchline.calibration.calibrating import candidate_json
        from etchline.calibration.exporting import tune_arbitration
        from etchline.datasets import load_dataset

        loaded = load_bundle(bundle_folder(bundle))
        found, new = tune_arbitration(loaded, load_dataset(dataset), out, jobs=jobs, steps=progress)
        if json_output:
            print_json(
                {
                    "step": step,
                    "parent": loaded.digest,
                    "digest": new.digest if new else None,
                    "validation": found.report,
                    "candidates": [candidate_json(one) for one in found.scored],
                }
            )
            return
        print_policies(found, stdout())
        if new:
            print_confidence(found, stdout())
            stdout().print(f"{out}: digest {new.digest}", markup=False)
