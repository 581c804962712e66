"""finetune: networks that have gone on learning, as a calibrated bundle. Needs the extra `train`."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar, get_args

from etchline.bundle.fetching import fetch_bundle, is_bundle
from etchline.calibration.exporting import ExportRequest, export
from etchline.chain.places import BUNDLE, FIRST, TRAINING
from etchline.chain.preparing import JUDGED
from etchline.chain.recording import Made, recording
from etchline.datasets import Dataset, load_dataset
from etchline.errors import SettingsError
from etchline.evaluation.gate import GateLimits
from etchline.evaluation.gate.judging import UNSEEN
from etchline.training.checkpoints import EpochRecord
from etchline.training.recipe import parse_recipe
from etchline.training.runs import RANDOM, Model, TrainRequest, train

_log = logging.getLogger(__name__)

T = TypeVar("T")


def fine_tune(
    dataset: str, out: str, *, recipe: str, init: str, model: str, run: str, jobs: int | None = None
) -> Made:
    """Trains on a dataset, and writes the calibrated bundle of what was learnt to `out/bundle`.

    What is judged later is this bundle, with the arbitration and the weights that will be deployed.

    Args:
        dataset: folder; learns from split train, chooses by split val.
        out: folder; gets `training` and `bundle`.
        recipe: YAML text; empty: the nano network's.
        init: first weights: random, a checkpoint, nano, a bundle's folder or `s3://`.
        model: patch, full, both or single.
        run: the run's folder.
        jobs: processes that calibrate; `None`: one for each core.

    Raises:
        SettingsError: a recipe or a model that there is none of, or images that the gate could only reject.
        EtchlineError: see `train` and `export`.
    """
    with recording("finetune", run) as work:
        settings, data = parse_recipe(recipe), load_dataset(dataset)
        _check_judgeable(data, settings.gate)
        start, parent = _first(init, Path(out) / FIRST)
        request = TrainRequest(data, Path(out) / TRAINING, settings, _model(model), start, parent=parent)
        best = [result.best for result in train(request, _Logged())]
        exported = export(
            ExportRequest(request.out_dir, Path(out) / BUNDLE, data, f"{data.name}, {model}", jobs)
        )
        work.notes += exported.warnings
        work.facts |= {
            "digest": exported.bundle.digest,
            "parent": parent or "none",
            "dataset_digest": data.digest,
            "init": init,
            "best_epoch": best[0].epoch,
            "epochs": settings.epochs,
            "val_esd_rate": best[0].esd_rate,
            "policy": exported.bundle.manifest.arbitration.policy,
        }
        return work.made(exported.bundle.digest)


def _check_judgeable(data: Dataset, gate: GateLimits) -> None:
    """Refuses a dataset whose model the gate would reject after the training, however good it were.

    How many lines the images have is known when they are judged.

    Raises:
        SettingsError: a limit wants images that the dataset does not have.
    """
    limit, images = gate.unseen_upper_max, len(data.select(split=JUDGED))
    if limit is not None and not data.select(split=UNSEEN):
        raise SettingsError(
            f"dataset {data.name}: has no images of split {UNSEEN}, which gate.unseen_upper_max {limit:g} "
            "judges; give some, or set gate: {unseen_upper_max: null} in the recipe"
        )
    if images < gate.images_min:
        raise SettingsError(
            f"dataset {data.name}: has {images} images of split {' or '.join(JUDGED)}, fewer than "
            f"gate.images_min {gate.images_min}; give more, or lower it in the recipe"
        )


def _first(init: str, folder: Path) -> tuple[str, str | None]:
    """The first weights as `train` takes them, and the digest of the bundle that they are from, if any."""
    if init == RANDOM or not is_bundle(init):
        return init, None
    bundle = fetch_bundle(init, folder)
    return str(bundle.folder), bundle.digest


def _model(name: str) -> Model:
    choices: tuple[Model, ...] = get_args(Model)
    for choice in choices:
        if name == choice:
            return choice
    raise SettingsError(f"model {name}: choose one of {', '.join(choices)}")


class _Logged:
    """A line in the log for each epoch; a `Watcher`."""

    def steps(self, label: str, items: Iterable[T], total: int) -> Iterable[T]:
        """Each of the items."""
        return items

    def epoch(self, role: Literal["patch", "full", "single"], record: EpochRecord, epochs: int) -> None:
        """See `Watcher.epoch`."""
        _log.info(
            "finetune: %s epoch %d/%d: validation ESD %.2f %% of %d lines, Dice %.3f, %.1f images/s%s",
            role,
            record.epoch,
            epochs,
            100 * record.esd_rate,
            record.lines,
            record.dice,
            record.images_per_s,
            ", best" if record.best else "",
        )
