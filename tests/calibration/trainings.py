"""A training's folder without training: random networks, which find something everywhere."""

import dataclasses
import json

import torch

from etchline.calibration import calibrating
from etchline.network.line_network import LineNetwork
from etchline.network.sizes import SIZES
from etchline.network.weights import save_weights

SMALL = dataclasses.replace(SIZES["nano"], input_px=64)
PARENT = "ab" * 32
RECIPE = """
network: {input_px: 64}
sampling: {full_view_px: 64, min_overlap_share: 0.2, pitch_px: null}
validation: {orientations: 1, border_px: 2, min_area_px: 3}
"""


def write_run(folder, dataset, *, status="finished", seed=0, parent=None, start="random"):
    """The files of a run that `export` reads."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    save_weights(LineNetwork(SMALL), folder / "weights.safetensors")
    (folder / "recipe.yaml").write_text(RECIPE)
    facts = {
        "schema": 1,
        "status": status,
        "dataset": {"sha256": dataset.digest},
        "init": {"path": str(start), "sha256": None, "bundle": parent},
    }
    (folder / "run.json").write_text(json.dumps(facts))


def let_win(monkeypatch, winner):
    """All finalists are judged on copies, and this policy wins where it can; gives the policies seen."""
    seen = []

    def choose(judged):
        seen.append({one.policy for one in judged})
        return next((one for one in judged if one.policy == winner), next(iter(judged)))

    monkeypatch.setattr(calibrating, "list_contenders", list)
    monkeypatch.setattr(calibrating, "choose_on_copies", choose)
    return seen
