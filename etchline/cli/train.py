"""`etchline train`: SAM2 networks that learn lines from annotated images."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from etchline.cli.frame import (
    DebugOption,
    JsonOption,
    exit_codes,
    need_packages,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.stored import READ, UPDATE, save_progress
from etchline.processes import launched

if TYPE_CHECKING:
    from etchline.training.checkpoints import EpochRecord
    from etchline.training.recipe import Recipe
    from etchline.training.runs import RunResult

EXAMPLE = "Example: etchline train data/lab runs/lab --recipe recipes/nano.yaml"

SAVE_PAUSE_S = 300.0
"""Within an epoch, checkpoints go to S3 at most so often."""

T = TypeVar("T")


def train(
    dataset: Annotated[
        Path, typer.Argument(help="Folder with dataset.json; learns from train, judged by val."), READ
    ],
    out_dir: Annotated[
        Path, typer.Argument(help="Gets a run folder for each model: patch, full, single."), UPDATE
    ],
    model: Annotated[
        Literal["both", "patch", "full", "single"],
        typer.Option(help="The patch model, the full model (from the patch model), both, or one for both."),
    ] = "both",
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Default: the nano network from random weights."),
        READ,
    ] = None,
    size: Annotated[
        Literal["nano", "tiny", "small", "base_plus", "large"] | None,
        typer.Option(help="Size of the network, instead of the recipe's."),
    ] = None,
    init: Annotated[
        str,
        typer.Option(
            metavar="random|CKPT|BUNDLE", help="First weights: a SAM2.1 checkpoint, a bundle, nano, a run."
        ),
        READ,
    ] = "random",
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="PART,...",
            help="What learns: image_encoder, prompt_encoder, mask_decoder; the rest stays.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the runs in OUT_DIR.")] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train networks on a dataset; the epoch with the lowest validation ESD is kept.

    An interrupted or killed run goes on with --resume and ends with the same weights, from s3:// as well. On
    several GPUs: torchrun --nproc-per-node 4 --no-python etchline train DATASET OUT_DIR
    """
    with exit_codes(debug):
        need_packages("training")
        from etchline.bundle.shipped import bundle_folder
        from etchline.datasets import load_dataset
        from etchline.training import runs

        init = str(bundle_folder(init))
        parent = _parent(init)
        request = runs.TrainRequest(
            dataset=load_dataset(dataset),
            out_dir=out_dir,
            recipe=_recipe(recipe, size, parts),
            model=model,
            init=init,
            resume=resume,
            parent=parent,
        )
        try:
            results = runs.train(request, Terminal())
        except KeyboardInterrupt:
            stderr().print("the last checkpoint stays; add --resume to go on from it")
            raise
        if launched().rank:
            return  # the first process speaks for all
        if json_output:
            print_json({"runs": [_as_json(result) for result in results]})
        else:
            for result in results:
                stdout().print(_summary(result), markup=False)


def _parent(init: str) -> str | None:
    """The digest of the bundle that training starts from, which is verified; `None`: it starts from none.

    Raises:
        BundleError: a file of it is not what its manifest says.
    """
    from etchline.bundle import MANIFEST, load_bundle

    return load_bundle(Path(init)).digest if (Path(init) / MANIFEST).is_file() else None


def _recipe(path: Path | None, size: str | None, parts: str | None) -> "Recipe":
    from etchline.network.parts import parse_parts
    from etchline.training.recipe import Recipe, load_recipe

    recipe = load_recipe(path) if path is not None else Recipe()
    return recipe.changed("network", size=size, parts=parse_parts(parts) if parts is not None else None)


class Terminal:
    """Progress bars, and a line for each epoch, on stderr; a `Watcher`. What is done goes to S3 meanwhile."""

    def steps(self, label: str, items: Iterable[T], total: int) -> Iterable[T]:
        """See `Watcher.steps`."""
        for item in progress(label, items, total):
            yield item
            save_progress(SAVE_PAUSE_S)

    def epoch(self, role: str, record: "EpochRecord", epochs: int) -> None:
        """See `Watcher.epoch`."""
        betti = "" if record.betti_loss is None else f", Betti {record.betti_loss:.3f}"
        stderr().print(
            f"{role} epoch {record.epoch}/{epochs}: loss {record.pixel_loss:.3f}{betti}, "
            f"validation ESD {100 * record.esd_rate:.2f} % ({record.opens} open, {record.shorts} short, "
            f"{record.false_positives} false, {record.false_negatives} missed of {record.lines}), "
            f"Dice {record.dice:.3f}, {record.images_per_s:.1f} images/s{', best' if record.best else ''}",
            markup=False,
        )
        save_progress()


def _as_json(result: "RunResult") -> dict[str, Any]:
    return {
        "role": result.role,
        "folder": str(result.folder),
        "best": result.best.model_dump(),
        "parameters": {"trainable": result.trainable, "total": result.total},
    }


def _summary(result: "RunResult") -> str:
    return (
        f"{result.role}: validation ESD {100 * result.best.esd_rate:.2f} % in epoch {result.best.epoch}; "
        f"{result.trainable:,} of {result.total:,} parameters trained; {result.folder}"
    )
