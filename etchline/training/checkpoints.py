"""The whole state of a run in one file, so that a killed run goes on as if nothing had happened.

One safetensors file, written atomically: weights, the optimiser's moments, the generators' states, and the
progress as JSON in its header. Nothing in it is executed when it is read.
"""

from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from etchline.errors import OutputError, WeightsError
from etchline.network.line_network import LineNetwork
from etchline.network.weights import assign_weights
from etchline.storage import atomic_path
from etchline.training.optimisers import Optimiser

STATE = "state.safetensors"
_WEIGHTS, _OPTIMISER, _RNG = "network.", "optimiser.", "rng."


class EpochRecord(BaseModel):
    """One line of `log.jsonl`.

    Attributes:
        epoch: from 1.
        stage: which losses counted.
        pixel_loss: mean over the epoch's samples, score head included.
        betti_loss: likewise, not yet weighed; `None` in the pixel stage.
        learning_rate: at the epoch's end.
        images_per_s: samples learnt from, per second.
        esd_rate: errors for each line of the validation images.
        opens: see `EsdCounts`, as the next three.
        shorts: see above.
        false_positives: see above.
        false_negatives: see above.
        lines: counted true lines.
        dice: of the validation images' pixels.
        best: whether no epoch before was better.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    stage: Literal["pixel", "betti"]
    pixel_loss: float
    betti_loss: float | None
    learning_rate: float
    images_per_s: float
    esd_rate: float
    opens: int
    shorts: int
    false_positives: int
    false_negatives: int
    lines: int
    dice: float
    best: bool


class Progress(BaseModel):
    """Where a run is.

    Attributes:
        epoch: the epoch that is under way, from 0; the number of epochs where the run has finished.
        step: its steps that are done.
        images: samples learnt from in this epoch.
        seconds: time that took.
        pixel_loss_sum: over these samples.
        betti_loss_sum: likewise.
        dead_epochs: how many of the last epochs gave masks all black or white.
        dead_colour: which of the two the last one's were.
        records: of the epochs that are done.
    """

    model_config = ConfigDict(extra="forbid")

    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    pixel_loss_sum: float = 0.0
    betti_loss_sum: float = 0.0
    dead_epochs: int = 0
    dead_colour: str | None = None
    records: list[EpochRecord] = []

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the lowest ESD; of equals the one with the higher Dice."""
        return next((record for record in reversed(self.records) if record.best), None)

    def next_epoch(self, record: EpochRecord) -> None:
        """Files the record of the epoch under way and turns to the next."""
        self.records.append(record)
        self.epoch, self.step = self.epoch + 1, 0
        self.images, self.seconds = 0, 0.0
        self.pixel_loss_sum = self.betti_loss_sum = 0.0


def save_state(folder: Path, network: LineNetwork, optimiser: Optimiser, progress: Progress) -> None:
    """Writes `state.safetensors` of a run; an older one is replaced at once or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    tensors = {_WEIGHTS + name: tensor for name, tensor in network.state_dict().items()}
    tensors |= {_OPTIMISER + name: tensor for name, tensor in optimiser.moments().items()}
    tensors[_RNG + "cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states = torch.cuda.get_rng_state_all()
        tensors |= {f"{_RNG}cuda.{index}": state for index, state in enumerate(states)}
    with atomic_path(folder / STATE) as temporary:
        mode = temporary.stat().st_mode
        try:
            safetensors.torch.save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                temporary,
                metadata={"progress": progress.model_dump_json()},
            )
        except safetensors.SafetensorError as error:  # a full disk, too
            raise OutputError(f"{folder / STATE}: cannot be written ({error})") from error
        temporary.chmod(mode)  # safetensors makes its files private


def load_state(folder: Path, network: LineNetwork, optimiser: Optimiser) -> Progress:
    """Puts a run's state into network, optimiser and generators; its progress.

    Raises:
        WeightsError: the file is missing or damaged, or of another network.
    """
    path = folder / STATE
    try:
        with safetensors.safe_open(path, "pt") as file:
            progress = Progress.model_validate_json((file.metadata() or {}).get("progress", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, safetensors.SafetensorError, ValidationError) as error:
        raise WeightsError(
            f"{path}: no readable state of a run ({str(error).splitlines()[0]}); "
            "remove the run's folder and train again"
        ) from error
    assign_weights(network, _under(tensors, _WEIGHTS), str(path))
    optimiser.load_moments(_under(tensors, _OPTIMISER))
    torch.set_rng_state(tensors[_RNG + "cpu"])
    cuda = _under(tensors, _RNG + "cuda.")
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([cuda[str(index)] for index in range(len(cuda))])
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
