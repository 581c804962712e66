"""The demo: draws SEM images of fourteen chips, finds their metal lines, judges them, fine-tunes the network.

    python examples/demo.py [--out runs/demo] [--images-per-ic 8] [--size 1024]

Uses the functions that the `etchline` command calls. Progress goes to stderr; the path of the report is the
last line on stdout. A second run reuses what the first has drawn and segmented.
"""

import contextlib
import datetime
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import typer
from demo_chip import ChipPlan, chapter, shipped
from demo_stages import Stages, segment

from etchline import __version__, storage
from etchline.cli.frame import DebugOption, exit_codes, progress, stderr
from etchline.datasets import Dataset, load_dataset
from etchline.errors import DatasetError, InputError, SettingsError
from etchline.evaluation import NANO_SCALE, evaluate_masks
from etchline.evaluation.exhibits import Examination, Subject, choose, examine, examine_all
from etchline.evaluation.flagging import Cell
from etchline.evaluation.folders import MaskPair, Pairing, check_missing, pair_dataset
from etchline.evaluation.html_report import Comparison, Method, Page, Spotlight, render_html
from etchline.evaluation.pooling import pool
from etchline.evaluation.report import Failure, Report
from etchline.evaluation.scoring import report_of, score_pair, score_pairs
from etchline.processes import available_cores
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.inputs import SegmentInput, collect_inputs
from etchline.segmentation.record import SegmentRecord
from etchline.synthesis.benchmark import SynthRequest
from etchline.synthesis.dataset import request_stamp, synthesise
from etchline.synthesis.families import FAMILIES

PROJECT = Path(__file__).resolve().parents[1]
# Not the benchmark's seed: a look at the demo is then no look at the benchmark's test images.
SEED = 14
JUDGED_SPLITS = ("test", "unseen")
REAL_CREDIT = (
    "The real SEM tile and its lines are from HY5SYN, Rothaug et al., CC BY 4.0 (doi 10.17617/3.HY5SYN); "
    "shown with grey levels stretched."
)
LEAD = (
    "etchline drew synthetic SEM images of fourteen chip families, each with its own difficulty, found "
    "their metal lines with the small network that comes with it and compared them with the truth. Half of "
    "the families are new to the network; on one of them it was then fine-tuned with a few images, as a "
    "laboratory would."
)
BENCHMARK = (
    "The same images by the shipped network and by the best segmenter without a network, which is also the "
    "fallback. One setting for all chips."
)


def draw(request: SynthRequest, out: Path, jobs: int | None, stages: Stages) -> Dataset:
    """The dataset of the request in `out / "data"`; drawn unless it is there."""
    folder, marker = out / "data", out / "drawn.json"
    wanted = request_stamp(request)
    with stages.measure("draw") as work:
        if marker.is_file() and marker.read_text() == wanted:
            with contextlib.suppress(DatasetError):  # lost or changed since: drawn again
                return _unchanged(folder)
        dataset = synthesise(
            request,
            folder,
            jobs=jobs,
            overwrite=True,
            track=partial(progress, "draw"),
        )
        storage.write_text(marker, wanted)
        for entry in dataset.images:
            work.add(entry.width * entry.height)
    return dataset


def _unchanged(folder: Path) -> Dataset:
    """The dataset in `folder`.

    Raises:
        DatasetError: it or one of its files is missing or has changed.
    """
    dataset = load_dataset(folder)
    for entry in dataset.images:
        dataset.verify(entry)
    return dataset


def judge(
    dataset: Dataset, folder: Path, bundle: SegmentBundle, jobs: int, stages: Stages, name: str
) -> tuple[Report, dict[str, SegmentRecord], Pairing]:
    """The judged splits' images segmented into `folder`: the verdict, the records by stem, the pairs."""
    judged = dataset.select(split=JUDGED_SPLITS)
    images = {dataset.image_path(entry) for entry in judged}
    items = [item for item in collect_inputs([dataset.folder], folder) if item.image in images]
    records = segment(items, folder, bundle, jobs, stages, name)
    pairing = pair_dataset(folder, [(entry, dataset.mask_path(entry)) for entry in judged])
    check_missing(pairing, folder, allow_missing=False)
    return evaluate(pairing, records, jobs, stages, name.replace("segment", "evaluate")), records, pairing


def methods(report: Report, baseline: Report) -> tuple[Method, ...]:
    """The shipped network and the classical segmenter on seen and unseen chips."""
    return tuple(
        Method(
            f"{name}, {group} chips", pool([score for score in scores if (score.split == "unseen") == new])
        )
        for group, new in (("seen", False), ("unseen", True))
        for name, scores in (("nano", report.scores), ("classical", baseline.scores))
        if any((score.split == "unseen") == new for score in scores)
    )


def evaluate(
    pairing: Pairing, records: Mapping[str, SegmentRecord], jobs: int, stages: Stages, name: str
) -> Report:
    """The verdict on all pairs."""
    # Compiled once per installation, and kept; not a part of the speed.
    evaluate_masks(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    with stages.measure(name) as work:
        outcomes = score_pairs(pairing.pairs, NANO_SCALE, jobs=jobs)
        report = report_of(progress(name, outcomes, len(pairing.pairs)), pairing, NANO_SCALE)
        for record in records.values():
            work.add(record.image.width * record.image.height)
        work.note = "ESD twice (as counted and at 0/0) and pixel agreement; reading the masks included"
    return report


def examine_judged(
    report: Report,
    pairing: Pairing,
    dataset: Dataset,
    records: Mapping[str, SegmentRecord],
    jobs: int,
    stages: Stages,
) -> tuple[Examination, ...]:
    """Pictures and flags of all judged images."""
    pairs = {pair.image: pair for pair in pairing.pairs}
    entries = {PurePosixPath(entry.image).with_suffix("").as_posix(): entry for entry in dataset.images}
    subjects = [
        Subject(
            score,
            pairs[score.image],
            dataset.image_path(entries[score.image]),
            _cells(records[score.image.removeprefix("images/")]),
        )
        for score in report.scores
    ]
    with stages.measure("pictures") as work:
        found = tuple(
            progress("pictures", examine_all(choose(subjects), NANO_SCALE, jobs=jobs), len(subjects))
        )
        for subject in subjects:
            work.add(subject.score.result.pixels.total)
        work.note = "witnesses of all errors; error maps of the worst"
    return found


def _cells(record: SegmentRecord) -> tuple[Cell, ...]:
    return tuple(Cell(cell.box_xyxy, cell.flagged, cell.confidence) for cell in record.cells)


def real_tile(out: Path, bundle: SegmentBundle, stages: Stages) -> Spotlight | None:
    """The real tile, segmented and judged; None where it is not on this machine."""
    data = Path(os.environ.get("ETCHLINE_DATA") or PROJECT.parent / "shared" / "data") / "hy5syn-tiles"
    image, truth = data / "tile0_sem.png", data / "tile0_lines.png"
    if not (image.is_file() and truth.is_file()):
        stderr().print("real tile: not on this machine (ETCHLINE_DATA names its folder), left out")
        return None
    item = SegmentInput(image, PurePosixPath("tile0_sem"))
    record = segment([item], out / "real", bundle, 1, stages, "segment the real tile")["tile0_sem"]
    mask = out / "real" / next(name for name in record.outputs if "_lines." in name)
    pair = MaskPair("hy5syn-tiles/tile0_sem.png", None, None, mask, truth)
    score = score_pair(pair, NANO_SCALE)
    if isinstance(score, Failure):
        raise InputError(score.message)
    subject = Subject(score, pair, image, _cells(record), close_up=True)
    exhibit = examine(subject, NANO_SCALE, crop_px=max(record.image.width, record.image.height)).exhibit
    assert exhibit is not None
    text = (
        f"A tile of a delayered chip's metal-2 layer ({record.image.width} px wide, 128 nm process, bright "
        "vias), segmented without a network. The shipped network, which has learnt from drawn images only, "
        "still makes some errors on it (docs/results.md)."
    )
    return Spotlight("a real SEM tile", "A real SEM image first", text, exhibit)


def facts(
    dataset: Dataset, bundle: SegmentBundle, jobs: int, request: SynthRequest
) -> tuple[tuple[str, str], ...]:
    """Settings, versions and the machine in words."""
    versions = f"etchline {__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    return (
        ("judged", f"splits {' and '.join(JUDGED_SPLITS)}"),
        ("dataset", f"{len(dataset.images)} images of {request.size_px} px, seed {request.seed}"),
        ("dataset digest", f"sha256 {dataset.digest}"),
        ("segmenter", f"{bundle.name}, settings sha256 {bundle.digest}"),
        ("versions", versions),
        (
            "machine",
            f"{platform.system()} on {platform.machine()}, {available_cores()} cores, {jobs} processes",
        ),
        ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
    )


def commands(request: SynthRequest, out: Path, splits: Sequence[str]) -> tuple[str, ...]:
    """The same by hand."""
    shown = out.name if out.is_absolute() else out  # no path of this machine in a report for others
    counting = f"--border-px {NANO_SCALE.border_px} --min-area-px {NANO_SCALE.min_area_px}"
    return (
        f"etchline synth {shown}/data --ics {request.ics} --images-per-ic {request.images_per_ic} "
        f"--size {request.size_px} --seed {request.seed}",
        f"etchline segment {shown}/data --out {shown}/lines",
        f"etchline segment {shown}/data --out {shown}/classical --bundle classical",
        *(
            f"etchline evaluate {shown}/lines --dataset {shown}/data --split {split} {counting}"
            for split in splits
        ),
        f"etchline train {shown}/chip/data {shown}/chip/training --model patch --init nano "
        "--recipe recipes/nano_finetune.yaml",
        f"etchline export {shown}/chip/training {shown}/chip/bundle --dataset {shown}/chip/data",
    )


def run(request: SynthRequest, plan: ChipPlan | None, out: Path, jobs: int) -> Path:
    """All stages, the chip's only where it is planned; the path of the report.

    Raises:
        EtchlineError: see the stages.
    """
    stages, bundle, classical = Stages(out / "stages.json"), shipped(), classical_bundle()
    spotlight = real_tile(out, classical, stages)
    dataset = draw(request, out, jobs, stages)
    judged = dataset.select(split=JUDGED_SPLITS)
    report, records, pairing = judge(dataset, out / "lines", bundle, jobs, stages, "segment")
    storage.write_text(out / "report.json", json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n")
    baseline, _, _ = judge(dataset, out / "classical", classical, jobs, stages, "segment without a network")
    page = Page(
        title="etchline: metal lines from SEM images",
        lead=LEAD,
        report=report,
        examinations=examine_judged(report, pairing, dataset, records, jobs, stages),
        ic_notes={family.name: family.difficulty for family in FAMILIES},
        spotlight=spotlight,
        comparisons=(
            Comparison("Beside the best without a network", BENCHMARK, methods(report, baseline)),
            *([chapter(plan, out / "chip", jobs, stages)] if plan else []),
        ),
        stages=tuple(stages.done.values()),
        facts=facts(dataset, bundle, jobs, request),
        commands=commands(request, out, sorted({entry.split for entry in judged})),
        credits=(REAL_CREDIT,) if spotlight else (),
    )
    storage.write_text(out / "report.html", render_html(page))
    return out / "report.html"


def main(
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("runs/demo"),
    ics: Annotated[int, typer.Option(help="Chip families, from ic01 on.")] = len(FAMILIES),
    images_per_ic: Annotated[int, typer.Option(help="Images of each family.")] = 8,
    size: Annotated[int, typer.Option(help="Height and width of the images in px.")] = 1024,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = SEED,
    chip: Annotated[bool, typer.Option(help="Also fine-tune on an unseen chip.")] = True,
    samples: Annotated[int, typer.Option(help="Patches in each epoch of fine-tuning.")] = ChipPlan.samples,
    jobs: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
    debug: DebugOption = False,
) -> None:
    """Draws SEM images, finds their metal lines, judges them and writes report.html; prints its path last."""
    with exit_codes(debug):
        if images_per_ic < 2:
            raise SettingsError(
                f"--images-per-ic {images_per_ic}: with one image none is left to be judged; take 2"
            )
        if jobs is not None and jobs < 1:
            raise SettingsError(f"--jobs {jobs}: must be 1 or more")
        request = SynthRequest(ics=ics, images_per_ic=images_per_ic, size_px=size, seed=seed)
        started = time.perf_counter()
        plan = ChipPlan(size_px=size, seed=seed, samples=samples) if chip else None
        path = run(request, plan, out, jobs or available_cores())
        stderr().print(f"{time.perf_counter() - started:.0f} s in all; open this in a browser:")
        print(path)


if __name__ == "__main__":
    typer.run(main)
