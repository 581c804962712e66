"""Several processes that train one network together, one for each GPU of a machine, as torchrun starts them.

Each learns from its share of every batch, gradients are averaged over the batch's samples, and validation
images are shared out: but for rounding the run is the one that a single process makes. The first rank alone
writes; the others read its files as soon as they are there, which a network's file system may not allow.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from etchline.errors import EtchlineError, SettingsError
from etchline.processes import launched

T = TypeVar("T")

CPU = torch.device("cpu")
# The first rank prepares hundreds of gigabytes alone, the others wait; torchrun ends all when one dies.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, seen from one of them.

    Attributes:
        index: of this process, from 0.
        count: how many there are.
        device: where numbers lie while they are added up.
    """

    index: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The process's part of some items; it may be empty."""
        return items[self.index :: self.count]

    def total(self, values: Sequence[float]) -> list[float]:
        """The sums of the values of all processes, in double precision (whole numbers exact up to 2^53)."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        found: list[float] = sums.tolist()
        return found

    def by_first(self, work: Callable[[], T]) -> T:
        """What the work gives, which the first process does while the others wait.

        Raises:
            EtchlineError: the work's, in every process: none is left waiting.
        """
        if self.count == 1:
            return work()
        found: list[T | EtchlineError | None] = [None]
        if self.is_first:
            try:
                found = [work()]
            except EtchlineError as error:
                found = [error]
        dist.broadcast_object_list(found, src=0, device=self.device)
        if isinstance(found[0], EtchlineError):
            raise found[0]
        return found[0]  # type: ignore[return-value]  # what the first one has sent

    def together(self, network: nn.Module) -> nn.Module:
        """The network, with gradients that are the mean over all processes."""
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        # Of a prompt's embeddings only those of the labels that occur have a gradient.
        with warnings.catch_warnings():  # torch before 2.14 does not know its new name
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(
                network, device_ids=devices, find_unused_parameters=True, broadcast_buffers=False
            )


ALONE = Ranks()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The process among those that torchrun has started; `ALONE` where it has not.

    Args:
        device: of this process's network; decides how processes talk (NCCL between GPUs, else Gloo).

    Raises:
        SettingsError: see `launched`; or the variables by which they find each other are not there.
    """
    place = launched()
    if place.count == 1:
        yield ALONE
        return
    has_gpu = device.type == "cuda"
    if has_gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if has_gpu else "gloo", timeout=_PATIENCE)
    except ValueError as error:
        raise SettingsError(
            f"WORLD_SIZE={place.count}: processes that torchrun did not start? ({error}); unset it"
        ) from error
    yield Ranks(place.rank, place.count, device if has_gpu else CPU)
    # Not after an error: NCCL would wait for the others, who wait for this one, and torchrun for its end.
    dist.destroy_process_group()
