"""The demo's second chapter: a chip that the shipped network has never seen, with a few annotated images.

They are drawn, the network is fine-tuned on them for a few minutes, and the same test images are segmented
without a network, by the shipped network and by the fine-tuned one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from demo_stages import Stages, segment

from etchline import __version__, storage
from etchline.bundle import MANIFEST, load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.shipped import NANO, bundle_folder
from etchline.calibration.exporting import ExportRequest, export
from etchline.cli.frame import progress
from etchline.cli.train import Terminal
from etchline.datasets import Dataset, Split, load_dataset, make_entry, save_dataset
from etchline.errors import DatasetError
from etchline.evaluation import NANO_SCALE
from etchline.evaluation.exhibits import Picture, Subject, examine
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.html_report import Comparison, Method
from etchline.evaluation.pooling import pool, worst_first
from etchline.evaluation.report import Failure
from etchline.evaluation.scoring import score_pairs
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.inputs import SegmentInput
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw_files
from etchline.synthesis.families import FAMILIES
from etchline.training.recipe import Recipe, load_recipe
from etchline.training.runs import TrainRequest, train

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "nano_finetune.yaml"
TRAIN, VAL, TEST = 10, 3, 6


@dataclass(frozen=True)
class ChipPlan:
    """How much is done.

    Attributes:
        family: index of the chip in `FAMILIES`; not one of the seen seven.
        size_px: of the images.
        seed: of the images.
        samples: of an epoch of fine-tuning.
    """

    family: int = 8
    size_px: int = 1024
    seed: int = 14
    samples: int = 1000

    @property
    def name(self) -> str:
        """The chip's name."""
        return FAMILIES[self.family].name

    @property
    def recipe(self) -> Recipe:
        """Of the fine-tuning."""
        return load_recipe(RECIPE).changed("sampling", samples_per_epoch=self.samples)


def draw_chip(plan: ChipPlan, folder: Path, stages: Stages) -> Dataset:
    """The laboratory's annotated images: train, val and test of one chip."""
    request = SynthRequest(images_per_ic=TRAIN + VAL + TEST, size_px=plan.size_px, seed=plan.seed)
    marker = folder.with_suffix(".json")
    wanted = json.dumps({"version": __version__, **asdict(plan)})
    with stages.measure(f"draw {plan.name}") as work:
        if marker.is_file() and marker.read_text() == wanted:
            return load_dataset(folder)
        entries = []
        for index in range(request.images_per_ic):
            planned = PlannedImage(plan.family, index)
            (folder / planned.mask).unlink(missing_ok=True)
            draw_files(request, planned, folder)
            split: Split = "train" if index < TRAIN else "val" if index < TRAIN + VAL else "test"
            entry = make_entry(
                folder, planned.image, planned.mask, ic=planned.ic, layer=planned.layer, split=split
            )
            entries.append(entry)
            work.add(entry.width * entry.height)
        save_dataset(Dataset(folder, f"{plan.name}, a laboratory's annotated images", tuple(entries)))
        storage.write_text(marker, wanted)
    return load_dataset(folder)


def finetune(plan: ChipPlan, dataset: Dataset, out: Path, jobs: int, stages: Stages) -> Path:
    """The folder of a bundle whose patch model has gone on learning from the chip's training images."""
    folder = out / "bundle"
    with stages.measure(f"fine-tune on {plan.name}") as work:
        if (folder / MANIFEST).is_file():
            return folder
        request = TrainRequest(
            dataset=dataset,
            out_dir=out / "training",
            recipe=plan.recipe,
            model="patch",
            init=str(bundle_folder(NANO)),
            resume=(out / "training" / "patch").exists(),
        )
        (result,) = train(request, Terminal())
        export(
            ExportRequest(request.out_dir, folder, dataset, f"nano, fine-tuned on {plan.name}", jobs),
            progress,
        )
        for entry in dataset.select(split="train"):
            work.add(entry.width * entry.height)
        work.note = f"{plan.recipe.epochs * plan.samples} patches; best epoch {result.best.epoch}; calibrated"
    return folder


def chapter(plan: ChipPlan, out: Path, jobs: int, stages: Stages) -> Comparison:
    """The whole chapter: draw, fine-tune, segment three times, compare.

    Raises:
        EtchlineError: see the stages.
    """
    dataset = draw_chip(plan, out / "data", stages)
    tuned = finetune(plan, dataset, out, jobs, stages)
    methods = (
        ("classical", classical_bundle(), "no network"),
        ("nano as shipped", shipped(), "has seen seven other chips"),
        ("nano, fine-tuned", opened(tuned), f"{TRAIN} images, {plan.recipe.epochs * plan.samples} patches"),
    )
    return compare(dataset, methods, out, jobs, stages)


def shipped() -> SegmentBundle:
    """The bundle that comes with etchline."""
    return opened(bundle_folder(NANO))


def opened(folder: Path) -> SegmentBundle:
    """What segments with the bundle in a folder."""
    return network_bundle(load_bundle(folder), NetworkChoice())


def compare(
    dataset: Dataset, methods: Sequence[tuple[str, SegmentBundle, str]], out: Path, jobs: int, stages: Stages
) -> Comparison:
    """The test images by every method, side by side.

    Args:
        dataset: the chip's.
        methods: name, what segments, a remark.
        out: gets a folder of results for each method.
        jobs: processes.
        stages: are added to.

    Raises:
        DatasetError: a result cannot be judged.
    """
    items = [
        SegmentInput(dataset.image_path(entry), PurePosixPath(entry.image).with_suffix(""))
        for entry in dataset.select(split="test")
    ]
    subjects: list[list[Subject]] = []
    for number, (name, bundle, _) in enumerate(methods):
        folder = out / f"by{number}"
        records = segment(items, folder, bundle, jobs, stages, f"segment by {name}")
        pairs = [
            MaskPair(
                entry.image,
                entry.ic,
                entry.split,
                folder / str(item.stem.parent) / records[str(item.stem)].outputs[0],
                dataset.mask_path(entry),
            )
            for item, entry in zip(items, dataset.select(split="test"), strict=True)
        ]
        subjects.append(_judge(pairs, items, jobs))
    worst = min(range(len(items)), key=lambda index: worst_first(subjects[0][index].score))
    return Comparison(
        title="A chip that the shipped network has not seen",
        text=(
            f"{dataset.name}: {TRAIN} images to learn from, {VAL} to choose the epoch and to calibrate, and "
            f"{TEST} test images, on which the table is counted."
        ),
        methods=tuple(
            Method(name, pool([each.score for each in judged]), note)
            for (name, _, note), judged in zip(methods, subjects, strict=True)
        ),
        pictures=_pictures([name for name, _, _ in methods], [judged[worst] for judged in subjects]),
        caption=(
            f"{items[worst].stem.name}: where the first method is at its worst, and what each found there."
        ),
    )


def _judge(pairs: list[MaskPair], items: list[SegmentInput], jobs: int) -> list[Subject]:
    images = {pair.image: item.image for pair, item in zip(pairs, items, strict=True)}
    found: dict[str, Subject] = {}
    by_name = {pair.image: pair for pair in pairs}
    for score in score_pairs(pairs, NANO_SCALE, jobs=jobs):
        if isinstance(score, Failure):
            raise DatasetError(score.message)
        found[score.image] = Subject(score, by_name[score.image], images[score.image], close_up=True)
    return [found[pair.image] for pair in pairs]


def _pictures(names: list[str], subjects: list[Subject]) -> tuple[Picture, ...]:
    """Image, truth, and every method's error map, all of the place where the first one errs most."""
    box_xyxy = None
    pictures: list[Picture] = []
    for name, subject in zip(names, subjects, strict=True):
        exhibit = examine(subject, NANO_SCALE, box_xyxy=box_xyxy).exhibit
        assert exhibit is not None
        box_xyxy = exhibit.box_xyxy
        image, truth, _, errors = exhibit.pictures
        pictures += [] if pictures else [image, truth]
        pictures.append(Picture(name, f"errors of {name}, each boxed and lettered", errors.pixels))
    return tuple(pictures)
