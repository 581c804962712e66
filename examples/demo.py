"""The demo: one image segmented at once, then the whole chain from labelled images to a service.

    python examples/demo.py [--out runs/demo] [--samples 1000] [--size 1024]

It draws a chip that the shipped network has not seen, and runs the pipeline `finetune_and_deploy` on it: the
network is fine-tuned and judged beside the shipped one and beside segmenting without a network; if it passes
the gates, it is exported, published, served and asked over HTTP. The path of the run's report is the last
line on stdout.
"""

import datetime
import os
import signal
import time
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from etchline.bundle import load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.shipped import NANO, bundle_folder
from etchline.cli.frame import DebugOption, exit_codes, stderr
from etchline.errors import SettingsError
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput
from etchline.storage import local_folder
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw_files
from etchline.synthesis.chip import ChipRequest
from etchline.training.recipe import load_recipe

PROJECT = Path(__file__).resolve().parents[1]
RECIPE = PROJECT / "recipes" / "nano_demo.yaml"
# Not the benchmark's seed: a look at the demo is then no look at the benchmark's test images.
SEED = 14


def segment_first(out: Path, size_px: int) -> Path:
    """The overlay of one image that the shipped networks have segmented.

    It is the real tile where that is on this machine, otherwise a drawn image.

    Raises:
        EtchlineError: the image cannot be used, or the result cannot be written.
    """
    data = Path(os.environ.get("ETCHLINE_DATA") or PROJECT.parent / "shared" / "data")
    image = data / "hy5syn-tiles" / "tile0_sem.png"
    if not image.is_file():
        planned = PlannedImage(family=0, index=0)
        draw_files(SynthRequest(size_px=size_px, seed=SEED), planned, out)
        image = out / planned.image
    bundle = network_bundle(load_bundle(bundle_folder(NANO)), NetworkChoice())
    item = SegmentInput(image, PurePosixPath(image.stem))
    record, _ = segment_file(item, out / "lines", FileOptions(), bundle)
    stderr().print(f"{image.name}: {record.counts.lines} lines found by {bundle.name}", markup=False)
    return out / "lines" / f"{image.stem}_overlay.png"


def run_chain(out: Path, chip: ChipRequest, samples: int, jobs: int) -> tuple[Path, int]:
    """The path of the run's report, and the exit code that it says.

    Raises:
        EtchlineError: the run has left no report.
    """
    from pipelines.finetune_and_deploy import finetune_and_deploy
    from pipelines.local_run import run_locally

    recipe = load_recipe(RECIPE).changed("sampling", samples_per_epoch=samples)
    report = run_locally(
        finetune_and_deploy,
        {
            "run_uri": str(out),
            "destination": str(out / "bundles"),
            "serving_dir": str(out / "serving"),
            "chip": chip.model_dump(),
            "recipe": recipe.to_yaml(),
            "init": NANO,
            "champion": NANO,
            "jobs": jobs,
        },
        out / "artifacts",
    )
    for reason in report["reasons"]:
        stderr().print(f"{report['outcome']}: {reason}", markup=False)
    stderr().print(report["outcome"], markup=False)
    return out / "report.html", report["exit_code"]


def main(
    out: Annotated[Path, typer.Option(help="Gets a folder for each run.")] = Path("runs/demo"),
    size: Annotated[int, typer.Option(help="Height and width of the drawn images in px.")] = 1024,
    samples: Annotated[int, typer.Option(help="Patches in each epoch of fine-tuning.")] = 1000,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one for each core.")] = 0,
    debug: DebugOption = False,
) -> None:
    """Segments an image, then fine-tunes, judges and deploys a network; prints its report's path last."""
    with exit_codes(debug):
        if jobs < 0:
            raise SettingsError(f"--jobs {jobs}: must be 0 or more")
        chip = ChipRequest(size_px=size, seed=SEED) if 32 <= size <= 8192 else None
        if chip is None:
            raise SettingsError(f"--size {size}: must lie between 32 and 8192")
        local_folder(out, "--out")
        started = time.perf_counter()
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = out / now
        print(segment_first(folder / "first", size), flush=True)
        path, code = run_chain(folder.absolute(), chip, samples, jobs)
        stderr().print(f"{time.perf_counter() - started:.0f} s in all; open this in a browser:")
        print(folder / path.name)
        if code:
            raise typer.Exit(code)


if __name__ == "__main__":
    # `kill` and `timeout` end it like Ctrl-C: the run leaves its report.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    typer.run(main)
