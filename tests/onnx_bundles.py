"""A bundle of two small random networks and its graphs, exported once."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from etchline import __version__
from etchline.bundle import ArbitrationPart, Bundle, ConfidencePart, ProvenancePart, ViewsPart
from etchline.bundle.extending import extend_bundle
from etchline.bundle.graph_cache import cached_graphs
from etchline.bundle.saving import BundleContents, save_bundle
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.scale import PitchRange
from tests.small_networks import networks


def write_bundle(folder, **changes):
    """Without graphs, in float32: rounding would change the networks."""
    patch_hw = np.full((32, 32), 40, np.uint8)
    patch_hw[:, 8:16] = 220
    given = {
        "name": "random",
        "networks": networks(),
        "golden_patch_hw": patch_hw,
        "arbitration": ArbitrationPart(policy="guarded"),
        "confidence": ConfidencePart(cells=default_calibration()),
        "provenance": ProvenancePart(code_version=__version__),
        "views": ViewsPart(full_view_px=64),
        "trained_pitch": PitchRange(8.0, 60.0),
        "validation": {"esd": {"border_px": 2, "min_area_px": 3}},
    }
    return save_bundle(folder, BundleContents(**{**given, **changes}), torch.float32)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What the session's one export gave.

    Attributes:
        plain: the bundle without graphs.
        bundle: the bundle with them.
        graphs: their files, by their paths in a bundle.
        cache: the XDG_CACHE_HOME that they were made in.
    """

    plain: Bundle
    bundle: Bundle
    graphs: dict[str, Path]
    cache: Path


def export_small(folder):
    """Exports through the cache: exporting takes five seconds a graph, so tests share it."""
    plain, cache = write_bundle(folder / "plain"), folder / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.delenv("ETCHLINE_CACHE", raising=False)
        with cached_graphs(plain) as made:
            pass
    graphs = {name: made.folder / name for name in made.files}
    return Exported(plain, extend_bundle(plain, folder / "bundle", graphs), graphs, cache)


def with_constant(path, new_path, ending, change):
    """Writes a graph in which the constant whose name ends so is another."""
    model = onnx.load(path)
    (chosen,) = [one for one in model.graph.initializer if one.name.endswith(ending)]
    chosen.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(chosen)), chosen.name))
    new_path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, new_path)
    return new_path


# Faults of a graph that loads and runs, one in each.
WRONG = {
    "decoder weight": ("patch/decoder.onnx", "output_upscaling.0.weight", lambda a: a * np.float32(1.5)),
    "encoder bias": ("patch/encoder.onnx", "neck.convs.3.conv.bias", lambda a: a[::-1].copy()),
    "score": ("patch/decoder.onnx", "iou_prediction_head.layers.2.bias", lambda a: a + np.float32(0.2)),
    "full model": ("full/decoder.onnx", "output_upscaling.3.bias", lambda a: -a),
}


def with_one_wrong_mask(path, new_path, x, columns):
    """Writes a decoder whose mask lacks its first columns, where all points of a view have this x.

    All other masks, and every score, stay as they are.
    """
    model = onnx.load(path)
    graph = model.graph
    (producer,) = [node for node in graph.node if "mask" in node.output]
    producer.output[list(producer.output).index("mask")] = "right_mask"
    edge = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    cut = np.zeros((1, edge, edge), bool)
    cut[:, :, :columns] = True
    constants = {
        "planted_x": np.float32(x),
        "planted_first": np.array([0]),
        "planted_end": np.array([1]),
        "planted_axis": np.array([2]),
        "planted_axes": np.array([1, 2]),
        "planted_near": np.float32(1e-3),
        "planted_cut": cut,
        "planted_none": np.zeros((), np.uint8),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    made = [
        ("Slice", ["points", "planted_first", "planted_end", "planted_axis"], "planted_xs"),
        ("Sub", ["planted_xs", "planted_x"], "planted_off"),
        ("Abs", ["planted_off"], "planted_far"),
        ("ReduceMax", ["planted_far", "planted_axes"], "planted_farthest"),
        ("Less", ["planted_farthest", "planted_near"], "planted_chosen"),
        ("And", ["planted_chosen", "planted_cut"], "planted_wrong"),
        ("Where", ["planted_wrong", "planted_none", "right_mask"], "mask"),
    ]
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in made)
    new_path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, new_path)
    return new_path


def plant(graphs, folder, fault):
    """The graphs with a fault of `WRONG`, as a mapping of files."""
    name, ending, change = WRONG[fault]
    return {**graphs, name: with_constant(graphs[name], folder / name, ending, change)}
