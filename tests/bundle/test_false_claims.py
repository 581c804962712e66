"""Bundles whose manifest says of their networks and pictures what is not true."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import load_bundle
from etchline.bundle.golden import check_golden
from etchline.bundle.torch_networks import torch_backend
from etchline.errors import BundleError, WeightsError
from etchline.images import encode_png
from etchline.network.weights import read_network
from tests.bundle.small_bundle import edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"embed_dim": 4096},
            r"patch_embed.proj.weight is \(\d+, 3, 7, 7\), the network needs \(4096, 3, 7, 7\)",
        ),
        ({"background_size": 2048}, r"trunk.pos_embed is .*, the network needs \(1, \d+, 2048, 2048\)"),
        ({"mlp_dim": 8192}, r"mlp.layers.0.weight is .*, the network needs \(8192, \d+\)"),
        ({"stages": [2, 2, 4, 256]}, r"\d blocks of the image encoder, the network has 264"),
        ({"decoder_heads": 5}, "no network can be built of .*decoder_heads=5"),
    ],
)
def test_a_network_that_its_weights_are_not_is_not_built(folder, change, message):
    edit(folder, lambda m: m["networks"]["patch"].update(change))
    with pytest.raises(WeightsError, match=message):
        torch_backend(load_bundle(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_spec": [8, 512, 8, 4]}, r"window_spec\[1\]=512: larger than what that stage sees"),
        ({"global_att_blocks": [0, 5, 7]}, r"global_att_blocks=\[0, 5, 7\]: one is in the first two stages"),
    ],
)
def test_attention_over_more_than_networks_need_is_refused(folder, change, message):
    """It costs hours and gigabytes for each view, and no weight tells."""
    edit(folder, lambda m: m["networks"]["patch"].update(change))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_weights_that_fit_in_part_do_not_make_a_large_network(folder):
    """What a network needs grows with squares of its widths; the file must have grown as much."""
    path = folder / "patch/weights.safetensors"
    weights = load_file(path)
    size = load_bundle(folder).manifest.networks["patch"].size
    wide = 2048
    trunk = "image_encoder.trunk"
    for name, shape in {
        f"{trunk}.patch_embed.proj.weight": (wide, 3, 7, 7),
        f"{trunk}.pos_embed": (1, wide, size.background_size, size.background_size),
        f"{trunk}.pos_embed_window": (1, wide, size.window_spec[0], size.window_spec[0]),
    }.items():
        weights[name] = torch.zeros(shape, dtype=torch.float16)
    save_file(weights, path)
    with pytest.raises(WeightsError, match=r"blocks\.0\.mlp.* is .*, the network needs \(8192, 2048\)"):
        read_network(dataclasses.replace(size, embed_dim=wide), path)


def test_the_golden_mask_must_be_of_the_patch(folder):
    """What is in a bundle may be written by anybody, with the right digest."""
    for name, picture, message in (
        ("mask", np.zeros((5, 7), np.uint8), r"golden/mask\.png is \(5, 7\), golden/patch\.png \(32, 32\)"),
        ("patch", np.zeros((32, 32), np.uint16), r"golden/patch\.png is uint16, not uint8"),
    ):
        data = encode_png(picture)
        (folder / f"golden/{name}.png").write_bytes(data)
        part = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        edit(folder, lambda m, name=name, part=part: m["files"].update({f"golden/{name}.png": part}))
        bundle = load_bundle(folder)
        with pytest.raises(BundleError, match=message):
            check_golden(bundle, torch_backend(bundle))
