"""Which parts of the network train.

Source: SAMSEM (Gehrmann et al.), Table 2, has a row for each of the eight combinations; SegSEM trains the
encoders only, that is image and prompt encoder.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from etchline.errors import SettingsError
from etchline.network.line_network import LineNetwork

Part = Literal["image_encoder", "prompt_encoder", "mask_decoder"]
PARTS: tuple[Part, ...] = get_args(Part)
ENCODERS: tuple[Part, ...] = ("image_encoder", "prompt_encoder")

_PREFIXES: dict[Part, tuple[str, ...]] = {
    # What is added to every image's embedding counts as a part of the image encoder.
    "image_encoder": ("image_encoder.", "no_mem_embed"),
    "prompt_encoder": ("sam_prompt_encoder.",),
    "mask_decoder": ("sam_mask_decoder.",),
}


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters, each element counted.

    Attributes:
        trainable: those that gradients change.
        total: all.
    """

    trainable: int
    total: int


def parse_parts(text: str) -> tuple[Part, ...]:
    """The parts named in a comma-separated text, in the network's order.

    Raises:
        SettingsError: an unknown part, or none.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(PARTS))
    if unknown or not names:
        raise SettingsError(
            f"parts {text!r}: {'unknown ' + ', '.join(unknown) if unknown else 'none named'}; "
            f"choose from {', '.join(PARTS)}"
        )
    return tuple(part for part in PARTS if part in names)


def train_only(network: LineNetwork, parts: Iterable[Part]) -> ParameterCount:
    """Lets gradients flow to these parts only; the others stay as they are. No parts: nothing trains."""
    prefixes = tuple(prefix for part in parts for prefix in _PREFIXES[part])
    trainable = total = 0
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(bool(prefixes) and name.startswith(prefixes))
        trainable += parameter.numel() * parameter.requires_grad
        total += parameter.numel()
    return ParameterCount(trainable, total)
