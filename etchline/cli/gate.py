"""`etchline gate`: whether a model may be deployed, by its evaluation and that of the model in service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etchline.cli.frame import (
    FAILED_GATE,
    DebugOption,
    JsonOption,
    exit_codes,
    print_json,
    stderr,
    stdout,
)
from etchline.cli.stored import ADD, READ

if TYPE_CHECKING:
    from etchline.evaluation.gate import GateLimits

EXAMPLE = "Example: etchline gate runs/new/report.json --champion runs/old/report.json --out runs/gate"


def gate(
    challenger: Annotated[
        Path,
        typer.Argument(
            metavar="CHALLENGER_REPORT.json",
            help="What `etchline evaluate --json` printed for the model that wants to be deployed.",
        ),
        READ,
    ],
    champion: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT.json",
            help="The same for the model in service, on the same images; without it: a first deployment.",
        ),
        READ,
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Recipe whose section `gate` has the limits (docs/gate.md)."),
        READ,
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for verdict.json and verdict.html."), ADD] = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Decides whether a model may be deployed: exit code 0 if so, 1 if not.

    Judged are the upper end of the ESD rate's interval, the worst IC, unseen ICs, the number of images and
    lines, and whether it is worse than the model in service, image by image.
    """
    with exit_codes(debug):
        from etchline.evaluation.gate import judge, read_report, write_gate

        limits = _limits(recipe)
        in_service = None if champion is None else read_report(champion)
        verdict = judge(read_report(challenger), in_service, limits)
        if out is not None:
            for path in write_gate(verdict, out):
                stderr().print(f"written: {path}", markup=False)
        if json_output:
            print_json(verdict.to_json())
        else:
            from etchline.cli.gate_table import print_verdict

            print_verdict(verdict, stdout())
        if not verdict.passed:
            raise typer.Exit(FAILED_GATE)


def _limits(recipe: Path | None) -> "GateLimits | None":
    """Of the recipe, all of which must be valid; None without one."""
    from etchline.training.recipe import load_recipe

    return None if recipe is None else load_recipe(recipe).gate
