"""The torch engine: any device that torch runs on."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from etchline.backends.interface import (
    Float32Array,
    Inference,
    Int32Array,
    Role,
    Uint8Array,
    check_batch,
    check_positive,
    infer_in_parts,
    network_of,
    roles_of,
    view_edge,
)
from etchline.errors import SettingsError
from etchline.network.line_network import LineNetwork

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class TorchSettings:
    """How torch runs the networks.

    Attributes:
        device: as torch spells it, such as "cpu" or "cuda:0".
        precision: of the arithmetic; below float32, LayerNorm and softmax stay float32 (autocast).
        max_batch: views that go through a network at once; larger batches are cut.
        threads: threads of this process's CPU operations; `None` leaves torch's own choice.

    Raises:
        SettingsError: `max_batch` or `threads` below 1, or an unknown device.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    max_batch: int = 8
    threads: int | None = None

    def __post_init__(self) -> None:
        check_positive("torch", max_batch=self.max_batch, threads=self.threads)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"device {self.device}: not usable here ({reason}); choose cpu") from error


class TorchBackend:
    """A `Backend` over networks in memory; it keeps no gradients.

    Args:
        networks: one for each role; one network may fill both. They are moved to the device.
        settings: see `TorchSettings`.

    Raises:
        SettingsError: no networks.
    """

    def __init__(self, networks: Mapping[Role, LineNetwork], settings: TorchSettings | None = None) -> None:
        self.settings = settings or TorchSettings()
        if not networks:
            raise SettingsError("torch backend: no networks; give one for full or patch")
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        self._networks = {role: network.eval().to(self.settings.device) for role, network in networks.items()}

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return f"torch {torch.__version__} {self.settings.device} {self.settings.precision}"

    @property
    def roles(self) -> tuple[Role, ...]:
        """See `Backend.roles`."""
        return roles_of(self._networks)

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return view_edge(network_of(self._networks, role).size, role)

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        network, view_px = network_of(self._networks, role), self.view_px(role)
        check_batch(view_px, images_bhw, points_xy, labels)

        def run(*batch: Uint8Array | Float32Array | Int32Array) -> Inference:
            tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in batch]
            with torch.inference_mode(), self._autocast():
                probability, score = best_mask(network, *(t.to(self.settings.device) for t in tensors))
            return Inference(probability.cpu().numpy(), score.float().cpu().numpy())

        return infer_in_parts(run, self.settings.max_batch, images_bhw, points_xy, labels)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.settings.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.settings.device).type, _DTYPES[self.settings.precision])


def best_mask(
    network: LineNetwork, images: Tensor, points_xy: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The best-scored mask of each view as uint8 (B, S, S) `round(255 p)`, and its score (B,).

    Views smaller than the network's input are enlarged to it bilinearly, the logits bilinearly to the view.

    Args:
        network: in evaluation mode.
        images: uint8 (B, S, S).
        points_xy: float (B, N, 2), px of the view, pixel centres at whole numbers.
        labels: int (B, N).
    """
    view_px, input_px = images.shape[-1], network.size.input_px
    grey = images.float()
    if view_px != input_px:
        grey = interpolate(grey.unsqueeze(1), (input_px, input_px), mode="bilinear").squeeze(1)
        points_xy = (points_xy + 0.5) * (input_px / view_px) - 0.5
    logits, scores = network(grey, points_xy, labels)
    score, best = scores.float().max(dim=1)
    chosen = logits[torch.arange(len(best), device=best.device), best]
    enlarged = interpolate(chosen.float().unsqueeze(1), (view_px, view_px), mode="bilinear").squeeze(1)
    return torch.round(torch.sigmoid(enlarged) * 255).to(torch.uint8), score
