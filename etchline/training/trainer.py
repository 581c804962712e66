"""One training run: epochs of two stages, each judged on whole images, resumable at any moment.

The weights depend on recipe, data and first weights alone: a run that was killed and resumed ends with the
same weights as one that was not (on a CPU with the same number of threads; GPU kernels may round differently
from run to run).
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from etchline.backends.interface import Role as BackendRole
from etchline.backends.torch_engine import TorchBackend, TorchSettings
from etchline.backends.turning import oriented
from etchline.errors import TrainingError
from etchline.evaluation import EsdSettings
from etchline.network.line_network import LineNetwork
from etchline.network.weights import load_weights, save_weights
from etchline.training.batches import Batches
from etchline.training.checkpoints import EpochRecord, Progress, load_state, save_state
from etchline.training.ranks import ALONE, Ranks
from etchline.training.recipe import Recipe
from etchline.training.run_folder import RunFolder
from etchline.training.sampling import PreparedImage, Role, SampleSource
from etchline.training.stages import Learner, clear_memory_errors, learning_rate, stage_of
from etchline.training.validation import Verdict, judge, predictor

T = TypeVar("T")


class Watcher(Protocol):
    """Whoever looks on."""

    def steps(self, label: str, items: Iterable[T], total: int) -> Iterable[T]:
        """Yields each of the `total` items of some work, and shows how far it is."""
        ...

    def epoch(self, role: Role, record: EpochRecord, epochs: int) -> None:
        """An epoch of `epochs` is done."""
        ...


class Unwatched:
    """Nobody looks on."""

    def steps(self, label: str, items: Iterable[T], total: int) -> Iterable[T]:
        """Each of the items."""
        return items

    def epoch(self, role: Role, record: EpochRecord, epochs: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class RunImages:
    """What a run learns from and is judged by.

    Attributes:
        train: training images.
        val: validation images.
    """

    train: Sequence[PreparedImage]
    val: Sequence[PreparedImage]


class Trainer:
    """One run of one role.

    Args:
        network: with its first weights, on the device, its parts frozen as wanted.
        images: see `RunImages`.
        role: what the network sees.
        recipe: see `Recipe`.
        folder: an opened run folder.
        watcher: who is told.
        ranks: the processes that run it together.

    Raises:
        DatasetError: there are no training images.
    """

    def __init__(
        self,
        network: LineNetwork,
        images: RunImages,
        role: Role,
        recipe: Recipe,
        folder: RunFolder,
        watcher: Watcher,
        ranks: Ranks = ALONE,
    ) -> None:
        self._network, self._images, self._role = network, images, role
        self._recipe, self._folder, self._watcher = recipe, folder, watcher
        self._ranks = ranks
        self._device = network.no_mem_embed.device
        source = SampleSource(images.train, role, network.size.input_px, recipe)
        self._batches = Batches(
            source,
            recipe.sampling.batch_images,
            recipe.compute.loader_processes,
            pinned=self._device.type == "cuda",
            ranks=ranks,
        )
        self._learner = Learner(network, recipe, self._device, ranks)

    def run(self) -> Progress:
        """Trains to the end, from the last checkpoint where there is one; the best weights lie in the folder.

        Raises:
            TrainingError: a loss is not a number, the memory is not enough, or all masks are black or white.
            DatasetError: no line of the validation images counts.
            WeightsError: the checkpoint is damaged.
            OutputError: the folder cannot be written.
        """
        progress = Progress()
        if self._folder.has_state:
            progress = load_state(self._folder.path, self._network, self._learner.optimiser)
        self._stop_if_dead(progress)
        with clear_memory_errors(self._recipe):
            while progress.epoch < self._recipe.epochs:
                self._epoch(progress)
        self._ranks.by_first(lambda: self._folder.update(progress, "finished"))
        return progress

    def _epoch(self, progress: Progress) -> None:
        if progress.epoch == self._recipe.optimiser.pixel_epochs and progress.step == 0:
            self._ranks.by_first(self._folder.keep_pixel_weights)
            load_weights(self._network, self._folder.pixel_weights)
            self._learner.restart()
        self._learn(progress)
        record = self._record(progress, self.validate())
        progress.next_epoch(record)
        self._ranks.by_first(lambda: self._save(progress, record))
        self._watcher.epoch(self._role, record, self._recipe.epochs)
        self._stop_if_dead(progress)

    def _save(self, progress: Progress, record: EpochRecord) -> None:
        if record.best:
            save_weights(self._network, self._folder.weights)
        self._folder.update(progress, "running", processes=self._ranks.count)
        save_state(self._folder.path, self._network, self._learner.optimiser, progress)

    def _learn(self, progress: Progress) -> None:
        self._network.train()
        stage, steps = stage_of(progress.epoch, self._recipe.optimiser), self._batches.steps
        batches = self._batches.epoch(progress.epoch, progress.step)
        label = f"{self._role} epoch {progress.epoch + 1}/{self._recipe.epochs}"
        started = time.perf_counter()
        for portion in self._watcher.steps(label, batches, steps - progress.step):
            rate = learning_rate(self._recipe.optimiser, progress.epoch, progress.step, steps)
            pixel, betti = self._learner.step(portion, stage, rate)
            progress.step += 1
            progress.images += portion.samples
            progress.pixel_loss_sum += pixel * portion.samples
            progress.betti_loss_sum += betti * portion.samples
            now = time.perf_counter()
            progress.seconds, started = progress.seconds + now - started, now
            is_due = progress.step % self._recipe.compute.checkpoint_steps == 0 and progress.step < steps
            if is_due and self._ranks.is_first:
                save_state(self._folder.path, self._network, self._learner.optimiser, progress)

    def validate(self) -> Verdict:
        """The verdict on the validation images; of `single`, on patches and full views together."""
        roles: tuple[BackendRole, ...] = ("patch", "full") if self._role == "single" else (self._role,)
        settings = EsdSettings(self._recipe.validation.border_px, self._recipe.validation.min_area_px)
        backend = TorchBackend(
            dict.fromkeys(roles, self._network),
            TorchSettings(
                device=str(self._device),
                precision=self._recipe.compute.dtype,
                max_batch=self._recipe.sampling.batch_images,
            ),
        )
        asked = oriented(backend, self._recipe.validation.orientations)
        verdicts = []
        own = self._ranks.share(self._images.val)
        for role in roles:
            images = self._watcher.steps(f"{role} validation", own, len(own))
            verdicts.append(judge(predictor(asked, role, self._recipe), images, settings, self._ranks))
        return verdicts[0] if len(verdicts) == 1 else verdicts[0] + verdicts[1]

    def _record(self, progress: Progress, verdict: Verdict) -> EpochRecord:
        settings, best = self._recipe.optimiser, progress.best
        stage, dice = stage_of(progress.epoch, settings), verdict.pixels.dice or 0.0
        progress.dead_epochs = progress.dead_epochs + 1 if verdict.dead else 0
        progress.dead_colour = verdict.dead
        counts = verdict.counts
        return EpochRecord(
            epoch=progress.epoch + 1,
            stage=stage,
            pixel_loss=progress.pixel_loss_sum / progress.images,
            betti_loss=progress.betti_loss_sum / progress.images if stage == "betti" else None,
            learning_rate=learning_rate(settings, progress.epoch, progress.step - 1, self._batches.steps),
            images_per_s=progress.images / progress.seconds,
            esd_rate=verdict.esd_rate,
            opens=counts.opens,
            shorts=counts.shorts,
            false_positives=counts.false_positives,
            false_negatives=counts.false_negatives,
            lines=counts.lines,
            dice=dice,
            best=best is None or (verdict.esd_rate, -dice) < (best.esd_rate, -best.dice),
        )

    def _stop_if_dead(self, progress: Progress) -> None:
        if progress.dead_epochs < self._recipe.validation.dead_after_epochs:
            return
        self._ranks.by_first(lambda: self._folder.update(progress, "stopped: dead masks"))
        record = progress.records[-1]
        raise TrainingError(
            f"{self._folder.path}: after epoch {record.epoch} all validation masks are "
            f"{progress.dead_colour}; nothing was learnt at learning rate {record.learning_rate:.3g}; change "
            f"optimiser.{record.stage}_learning_rate, loss.iou_weight or seed, or allow more with "
            "validation.dead_after_epochs"
        )
