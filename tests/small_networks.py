"""Two small random networks, the same every time."""

import dataclasses

import torch

from etchline.network.line_network import LineNetwork
from etchline.network.sizes import SIZES

SMALL = dataclasses.replace(SIZES["nano"], input_px=64)


def networks():
    torch.manual_seed(0)
    return {"full": LineNetwork(SMALL), "patch": LineNetwork(SMALL)}
