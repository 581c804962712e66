"""`etchline dataset`: check, show, import and split datasets."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etchline.cli.frame import DebugOption, JsonOption, exit_codes, print_json, progress, stderr, stdout
from etchline.cli.stored import ADD, DATASET, READ, Commands
from etchline.errors import InputError

if TYPE_CHECKING:
    from etchline.datasets import Dataset

app = Commands(
    help="Check, show, import and split datasets.",
    epilog="Example: etchline dataset check runs/benchmark",
    no_args_is_help=True,
)

_DATASET = typer.Argument(metavar="DATASET", help="Folder with a dataset.json.")
DatasetArgument = Annotated[Path, _DATASET, READ]
SeedOption = Annotated[int, typer.Option(help="Seed of the split.")]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command("check", epilog="Example: etchline dataset check runs/benchmark")
def check(dataset: DatasetArgument, json_output: JsonOption = False, debug: DebugOption = False) -> None:
    """Look for missing, changed or unreadable files, bad masks, shifts and leaks between splits.

    Exit code 2 where there are errors; warnings alone give 0.
    """
    with exit_codes(debug):
        from etchline.datasets import check_dataset, load_dataset

        loaded = load_dataset(dataset)
        findings = check_dataset(loaded, partial(progress, "checking"))
        counts = Counter(finding.severity for finding in findings)
        if json_output:
            print_json(
                {
                    "images": len(loaded.images),
                    "digest": loaded.digest,
                    "errors": counts["error"],
                    "warnings": counts["warning"],
                    "findings": [vars(finding) for finding in findings],
                }
            )
        else:
            for finding in findings:
                line = f"{finding.severity}: {finding.image}: {finding.kind}: {finding.message}"
                stdout().print(line, markup=False)
            summary = f"{len(loaded.images)} images, {counts['error']} errors, {counts['warning']} warnings"
            stdout().print(summary)
        if counts["error"]:
            raise typer.Exit(InputError.exit_code)


@app.command("show", epilog="Example: etchline dataset show runs/benchmark --split val --out val.png")
def show(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="The picture, .png or .tif."), ADD] = Path("contact_sheet.png"),
    split: Annotated[str, typer.Option(help="Only these splits, separated by commas.")] = "",
    ic: Annotated[str, typer.Option(help="Only these ICs, separated by commas.")] = "",
    layer: Annotated[str, typer.Option(help="Only these layers, separated by commas.")] = "",
    columns: Annotated[int, typer.Option(help="Images side by side.")] = 4,
    limit: Annotated[int, typer.Option(help="At most this many images, of all ICs, layers and splits.")] = 48,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw a contact sheet: each image whole with its mask tinted, and a part at full size with outlines."""
    with exit_codes(debug):
        from etchline.datasets import load_dataset
        from etchline.datasets.sheet import contact_sheet
        from etchline.images import write_image

        loaded = load_dataset(dataset)
        entries = loaded.select(
            split=_names(split) or None, ic=_names(ic) or None, layer=_names(layer) or None
        )
        picture = contact_sheet(
            loaded,
            entries,
            columns=columns,
            limit=limit,
            track=partial(progress, "drawing"),
        )
        write_image(out, picture)
        shown = min(limit, len(entries))
        if json_output:
            print_json({"out": str(out), "selected": len(entries), "shown": shown})
        else:
            stdout().print(f"{out}: {shown} of {len(entries)} images", markup=False)


@app.command(
    "import",
    epilog="Example: etchline dataset import data/lab --images sem --masks labels --mask-pattern "
    '"{ic}/{layer}/{name}_mask.png" --unseen chip7',
)
def import_(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder, or a dataset to replace."), DATASET],
    images: Annotated[Path, typer.Option(help="Folder of the images."), READ],
    masks: Annotated[Path, typer.Option(help="Folder of the masks (images, or layouts as .svg)."), READ],
    image_pattern: Annotated[
        str, typer.Option(help="Paths of the images; fields in braces match parts without '/'.")
    ] = "{ic}/{layer}/{name}.png",
    mask_pattern: Annotated[
        str, typer.Option(help="Paths of the masks, with fields of the image pattern; by default the same.")
    ] = "",
    ic: Annotated[str | None, typer.Option(help="IC of all images, where the pattern has no {ic}.")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer of all images, where the pattern has no {layer}.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The dataset's name; by default that of OUT.")] = None,
    pixel_size_nm: Annotated[
        float | None, typer.Option(help="Pixel size, for files that do not say it.")
    ] = None,
    seed: SeedOption = 0,
    unseen: Annotated[str, typer.Option(help="ICs kept for the unseen split, separated by commas.")] = "",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images without a mask.")
    ] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a dataset from a folder of images and a folder of masks, and split it.

    OUT is written as a whole at the end; after an interruption the same command goes on.
    """
    with exit_codes(debug):
        from etchline.datasets.importing import ImportSettings, import_dataset

        settings = ImportSettings(
            images=images,
            masks=masks,
            image_pattern=image_pattern,
            mask_pattern=mask_pattern or image_pattern,
            ic=ic,
            layer=layer,
            pixel_size_nm=pixel_size_nm,
            seed=seed,
            unseen=_names(unseen),
            allow_missing=allow_missing,
        )
        result = import_dataset(out, settings, name=name, track=partial(progress, "importing"))
        for left, what in (
            (result.without_mask, "images without mask"),
            (result.without_image, "masks without image"),
        ):
            if left:
                stderr().print(f"left out: {len(left)} {what}, such as {left[0]}", markup=False)
        leftovers = {
            "without_mask": list(result.without_mask),
            "without_image": list(result.without_image),
            "reused": result.reused,
        }
        _report(result.dataset, json_output, leftovers)


@app.command("split", epilog="Example: etchline dataset split data/lab --seed 1 --unseen ic08,ic09")
def split(
    dataset: Annotated[Path, _DATASET, DATASET],
    seed: SeedOption = 0,
    unseen: Annotated[
        str | None,
        typer.Option(help="Unseen ICs, separated by commas; by default those that are unseen now."),
    ] = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw train, val and test (70/10/20 by image within each IC) anew; unseen ICs are kept apart whole."""
    with exit_codes(debug):
        from dataclasses import replace

        from etchline.datasets import load_dataset, save_dataset, split_entries

        loaded = load_dataset(dataset)
        kept = {entry.ic for entry in loaded.select(split="unseen")}
        apart = kept if unseen is None else _names(unseen)
        drawn = replace(loaded, images=split_entries(loaded.images, seed, apart))
        save_dataset(drawn)
        _report(drawn, json_output, {})


def _report(dataset: "Dataset", json_output: bool, more: dict[str, Any]) -> None:
    """Images per IC and split."""
    from etchline.datasets import SPLITS

    counts = {ic: {split: len(dataset.select(ic=ic, split=split)) for split in SPLITS} for ic in dataset.ics}
    if json_output:
        content = {"dataset": str(dataset.folder), "name": dataset.name, "images": len(dataset.images)}
        print_json(content | {"digest": dataset.digest, "per_ic": counts} | more)
        return
    for ic, numbers in counts.items():
        text = ", ".join(f"{number} {split}" for split, number in numbers.items() if number)
        stdout().print(f"{ic}: {text}", markup=False)
    stdout().print(f"{dataset.folder}: {len(dataset.images)} images", markup=False)
