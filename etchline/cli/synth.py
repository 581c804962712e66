"""`etchline synth`: synthetic SEM images with their true lines."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from etchline.cli.frame import DebugOption, JobsOption, JsonOption, exit_codes, print_json, progress, stdout
from etchline.cli.stored import DATASET, READ
from etchline.errors import SettingsError

EXAMPLE = "Example: etchline synth data/benchmark --ics 14 --images-per-ic 8 --size 1024 --seed 0"


def synth(
    out_dir: Annotated[Path, typer.Argument(help="Folder of the new dataset."), DATASET],
    more_layouts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="", help="More files after --layout FILE.", show_default=False),
        READ,
    ] = None,
    ics: Annotated[int, typer.Option(help="Chip families, from ic01 on; ic08 to ic14 become unseen.")] = 14,
    images_per_ic: Annotated[int, typer.Option(help="Images of each family; its layers take turns.")] = 8,
    mixed_per_ic: Annotated[
        int,
        typer.Option(help="Images of each of mix01 to mix07: the seen families' effects put together anew."),
    ] = 0,
    size: Annotated[int, typer.Option(help="Height and width of the images in px.")] = 1024,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    layout: Annotated[
        list[Path] | None,
        typer.Option(help="Draw this layout (SVG, mask, GDSII, OASIS) instead of random ones; repeatable."),
        READ,
    ] = None,
    layout_layer: Annotated[
        str | None,
        typer.Option(metavar="LAYER/DATATYPE", help="Layer of GDSII and OASIS files, such as 11/0."),
    ] = None,
    layout_pixel_nm: Annotated[
        float | None, typer.Option(help="Edge of a pixel in nm for GDSII and OASIS files.")
    ] = None,
    jobs: JobsOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset at OUT_DIR.")] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw synthetic SEM images of chips, with the printed metal as their truth.

    An interrupted run goes on where it stopped when the same command is given again.
    """
    with exit_codes(debug):
        from etchline.datasets import SPLITS
        from etchline.synthesis.benchmark import SynthRequest
        from etchline.synthesis.dataset import synthesise

        for option, value in (("--layout-layer", layout_layer), ("--layout-pixel-nm", layout_pixel_nm)):
            if value is not None and not layout:
                raise SettingsError(f"{option} {value} needs --layout, the file that it is about")
        request = SynthRequest(
            ics=ics,
            images_per_ic=images_per_ic,
            mixed_per_ic=mixed_per_ic,
            size_px=size,
            seed=seed,
            layouts=_layouts(layout, more_layouts),
            layout_layer=_layer(layout_layer),
            layout_pixel_nm=layout_pixel_nm,
        )
        dataset = synthesise(
            request,
            out_dir,
            jobs=jobs,
            overwrite=overwrite,
            track=partial(progress, "draw"),
        )
        splits = {split: len(dataset.select(split=split)) for split in SPLITS}
        if json_output:
            print_json({"dataset": str(out_dir), "digest": dataset.digest, "splits": splits})
        else:
            counts = ", ".join(f"{count} {split}" for split, count in splits.items())
            stdout().print(f"{len(dataset.images)} images in {out_dir} ({counts})", markup=False)


def _layouts(first: list[Path] | None, more: list[Path] | None) -> tuple[Path, ...]:
    """The files of `--layout A --layout B` and of `--layout A B`, which leaves B among the arguments."""
    if more and not first:
        raise SettingsError(f"unexpected argument {more[0]}; layouts are named with --layout")
    return (*(first or []), *(more or []))


def _layer(text: str | None) -> tuple[int, int] | None:
    """(11, 0) of "11/0" or "11"."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:/(\d{1,9}))?", text)
    if match is None:
        raise SettingsError(f"--layout-layer {text}: must be a layer such as 11 or 11/0")
    return int(match[1]), int(match[2] or 0)
