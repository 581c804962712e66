"""A bundle of two small random networks, and changes of its manifest."""

import dataclasses
import json

import numpy as np
import torch

from etchline import __version__
from etchline.bundle import ArbitrationPart, ConfidencePart, ProvenancePart, ViewsPart
from etchline.bundle.saving import BundleContents
from etchline.network.line_network import LineNetwork
from etchline.network.sizes import SIZES
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.scale import PitchRange

SMALL = dataclasses.replace(SIZES["nano"], input_px=64)


def patch(edge=32):
    image = np.full((edge, edge), 40, np.uint8)
    image[:, edge // 4 : edge // 2] = 220
    return image


def contents(**changes):
    torch.manual_seed(0)
    given = {
        "name": "random",
        "networks": {"full": LineNetwork(SMALL), "patch": LineNetwork(SMALL)},
        "golden_patch_hw": patch(),
        "arbitration": ArbitrationPart(policy="guarded"),
        "confidence": ConfidencePart(cells=default_calibration()),
        "provenance": ProvenancePart(code_version=__version__, recipe={"steps": 0}),
        "views": ViewsPart(full_view_px=100),
        "trained_pitch": PitchRange(8.0, 60.0),
        "validation": {"rate": 0.5},
    }
    return BundleContents(**{**given, **changes})


def edit(folder, change):
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
