"""A deeper network that begins as a shallower one.

The image encoder's stages get more blocks; each new one begins as an identity, because what it adds to its
input is multiplied by zeros. So the deeper network says what the shallower one said and learns on from there.

Source: Chen et al. 2016, "Net2Net" (a network that grows without changing what it computes).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from etchline.network.line_network import LineNetwork
from etchline.network.sizes import NetworkSize

_BLOCKS = "image_encoder.trunk.blocks."
_NEW_STAGE = "proj.weight"  # only a block that changes the width has it
_ADDED = ("attn.proj.", "mlp.layers.1.")  # what a block adds to its input


def deepened(weights: Mapping[str, Tensor], size: NetworkSize) -> dict[str, Tensor]:
    """The weights with what they lack of a deeper network: new blocks at the end of each stage.

    What does not matter at first in new blocks is random, but always the same.

    Args:
        weights: of a network with the same widths; with other stages, or as many blocks, they come back as
            they are.
        size: of the deeper network.
    """
    depths, wanted = _depths(weights), list(size.stages)
    pairs = list(zip(depths, wanted, strict=False))
    if len(depths) != len(wanted) or depths == wanted or any(have > want for have, want in pairs):
        return dict(weights)
    places: list[int] = []  # of the blocks that there are, in the deeper network
    first = 0
    for have, want in pairs:
        places += range(first, first + have)
        first += want
    found = {_moved(name, places): tensor for name, tensor in weights.items()}
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)  # the CPU's alone: it is what `fork_rng` gives back here
        fresh = LineNetwork(size).state_dict()
    for name, tensor in fresh.items():
        if name.startswith(_BLOCKS) and name not in found:
            _, part = _split(name)
            found[name] = torch.zeros_like(tensor) if part.startswith(_ADDED) else tensor
    return found


def _depths(weights: Mapping[str, Tensor]) -> list[int]:
    """Blocks of each stage; none where they are not numbered from 0."""
    blocks = [_split(name) for name in weights if name.startswith(_BLOCKS)]
    count = len({number for number, _ in blocks})
    if {number for number, _ in blocks} != set(range(count)):
        return []
    starts = sorted({0, *(number for number, part in blocks if part == _NEW_STAGE)})
    return [end - start for start, end in zip(starts, [*starts[1:], count], strict=True)]


def _split(name: str) -> tuple[int, str]:
    """The number of a block and the name within it; -1 where it has no number."""
    number, _, part = name.removeprefix(_BLOCKS).partition(".")
    return (int(number) if number.isdecimal() else -1), part


def _moved(name: str, places: list[int]) -> str:
    if not name.startswith(_BLOCKS):
        return name
    number, part = _split(name)
    return f"{_BLOCKS}{places[number]}.{part}"
