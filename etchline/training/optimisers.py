"""What turns gradients into steps: AdamW, or Muon for the image encoder's matrices and AdamW for the rest.

Source of Muon: Jordan et al. 2024; scaled as Liu et al. 2025, so that AdamW's rates fit it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from etchline.training.recipe import OptimiserSettings

# The mask decoder learns far slower with Muon: with its hypernetworks and score head under it, sixty steps on
# bright bars left a loss of 0.34, without 0.07.
_MUON_PART = "image_encoder."


class Optimiser:
    """Steps for those parameters of a network that may change; the rate is set before each step.

    Args:
        network: its parameters.
        settings: kind and weight decay.
    """

    def __init__(self, network: nn.Module, settings: OptimiserSettings) -> None:
        trainable = {name: one for name, one in network.named_parameters() if one.requires_grad}
        matrices = [
            name
            for name, one in trainable.items()
            if settings.kind == "muon" and one.ndim == 2 and name.startswith(_MUON_PART)
        ]
        others = [parameter for name, parameter in trainable.items() if name not in matrices]
        decay = settings.weight_decay
        self._parts: list[torch.optim.Optimizer] = []
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=0.0, weight_decay=decay))
        if matrices:
            weights = [trainable[name] for name in matrices]
            self._parts.append(
                torch.optim.Muon(weights, lr=0.0, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self._parts:
            part.zero_grad()

    def step(self, rate: float) -> None:
        """Changes the parameters at that learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def moments(self) -> dict[str, Tensor]:
        """What it remembers of earlier gradients, by names of its own."""
        return {
            f"{number}.{index}.{name}": tensor
            for number, part in enumerate(self._parts)
            for index, moments in part.state_dict()["state"].items()
            for name, tensor in moments.items()
        }

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Remembers what `moments` gave."""
        for number, part in enumerate(self._parts):
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in moments.items():
                owner, index, name = key.split(".", 2)
                if int(owner) == number:
                    state.setdefault(int(index), {})[name] = tensor
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
