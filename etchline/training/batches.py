"""Samples in batches of tensors, prepared here or by other processes, in the same order either way."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from etchline.training.ranks import ALONE, Ranks
from etchline.training.sampling import Sample, SampleSource


class Batch(NamedTuple):
    """Samples together, see `Sample`; each tensor has the batch in front."""

    image: Tensor
    mask: Tensor
    points_xy: Tensor
    labels: Tensor
    crop_xy: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Portion(NamedTuple):
    """What one process learns from at one step.

    Attributes:
        batch: its samples.
        samples: of all processes together.
        weight: of its mean loss in the mean of all processes, so that this is the mean over all samples.
    """

    batch: Batch
    samples: int
    weight: float


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of samples of one size."""
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*samples, strict=True)))


class _Keys:
    """The (epoch, index) pairs of one process's part of each batch, from a given epoch and batch on."""

    def __init__(self, samples: int, batch_images: int, ranks: Ranks) -> None:
        self.start = (0, 0)
        self._samples, self._batch, self._ranks = samples, batch_images, ranks

    def __len__(self) -> int:
        return steps_per_epoch(self._samples, self._batch) - self.start[1]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = self.start
        for step in range(first, steps_per_epoch(self._samples, self._batch)):
            keys = [(epoch, index) for index in self.of_step(step)]
            # The last batch may have fewer samples than there are processes: one without takes any.
            yield [*self._ranks.share(keys)] or keys[:1]

    def of_step(self, step: int) -> range:
        """The samples of all processes."""
        return range(step * self._batch, min((step + 1) * self._batch, self._samples))


def steps_per_epoch(samples: int, batch_images: int) -> int:
    """Batches of an epoch; the last may be smaller."""
    return -(-samples // batch_images)


class Batches:
    """The batches of a run, epoch by epoch.

    Args:
        source: where samples come from.
        batch_images: samples in a batch, of all processes together.
        loader_processes: processes that prepare samples; 0: this one.
        pinned: whether batches lie in memory that a GPU can copy from.
        ranks: the processes that share each batch.
    """

    def __init__(
        self,
        source: SampleSource,
        batch_images: int,
        loader_processes: int,
        *,
        pinned: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self._keys = _Keys(source.per_epoch, batch_images, ranks)
        self.steps = steps_per_epoch(source.per_epoch, batch_images)
        parallel: dict[str, Any] = {}
        if loader_processes:
            # Not fork, which a process with threads (torch has some) must not do. They stay between epochs,
            # because starting one imports torch.
            parallel = {"multiprocessing_context": "spawn", "persistent_workers": True}
        self._loader: DataLoader[Any] = DataLoader(
            source,  # type: ignore[arg-type]  # anything with __getitem__ serves; keys are pairs
            batch_sampler=self._keys,
            collate_fn=collate,
            num_workers=loader_processes,
            pin_memory=pinned,
            # Its own generator: the loader would otherwise draw from the global one.
            generator=torch.Generator(),
            **parallel,
        )

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Portion]:
        """The process's part of the batches of an epoch from that step on."""
        self._keys.start = (epoch, first_step)
        for step, batch in enumerate(self._loader, first_step):
            samples = self._keys.of_step(step)
            own = len(self._ranks.share(samples))
            yield Portion(batch, len(samples), own * self._ranks.count / len(samples))
