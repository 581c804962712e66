"""A bundle into its folder, in one step. Needs the extra `train`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue

from etchline.backends.interface import Role
from etchline.backends.torch_engine import TorchBackend
from etchline.bundle.golden import golden_mask, golden_patch
from etchline.bundle.loading import Bundle, load_bundle
from etchline.bundle.manifest import (
    GOLDEN_MASK,
    GOLDEN_PATCH,
    ArbitrationPart,
    BundleManifest,
    ConfidencePart,
    FilePart,
    NetworkPart,
    ProvenancePart,
    ViewsPart,
    weights_path,
)
from etchline.bundle.staging import check_free, file_parts, write_manifest
from etchline.bundle.torch_networks import load_networks
from etchline.errors import BundleError
from etchline.images import encode_png
from etchline.network.line_network import LineNetwork
from etchline.network.weights import load_weights, save_weights
from etchline.segmentation.prompting import PromptSettings
from etchline.segmentation.scale import PitchRange
from etchline.storage import staged, write_bytes


@dataclass(frozen=True)
class BundleContents:
    """Everything that goes into a bundle; see `manifest.BundleManifest`.

    Attributes:
        golden_patch_hw: normalised uint8, of the edge of a patch (of a full view where there is no patch
            model); its mask is made by the saved weights and shows later that an engine works.
    """

    name: str
    networks: Mapping[Role, LineNetwork]
    golden_patch_hw: npt.NDArray[np.uint8]
    arbitration: ArbitrationPart
    confidence: ConfidencePart
    provenance: ProvenancePart
    views: ViewsPart = field(default_factory=ViewsPart)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    trained_pitch: PitchRange | None = None
    validation: Mapping[str, JsonValue] = field(default_factory=dict)


def save_bundle(folder: Path, contents: BundleContents, dtype: torch.dtype = torch.float16) -> Bundle:
    """The bundle that has been written to `folder`, loaded again and so verified.

    It is built beside `folder` and moved there when it is complete.

    Args:
        folder: does not exist, or is empty.
        contents: what goes in.
        dtype: of the weights in the files.

    Raises:
        BundleError: the folder holds something, or the contents make no valid bundle.
        OutputError: it cannot be written.
    """
    check_free(folder)
    with staged(folder) as staging:
        networks = _write_weights(staging, contents.networks, dtype)
        backend = TorchBackend(networks)
        mask_hw = golden_mask(backend, contents.golden_patch_hw, contents.prompt)
        write_bytes(staging / GOLDEN_PATCH, encode_png(contents.golden_patch_hw))
        write_bytes(staging / GOLDEN_MASK, encode_png(mask_hw))
        manifest = _manifest(contents, file_parts(staging))
        write_manifest(staging, manifest)
        load_bundle(staging)
    return load_bundle(folder)


def contents_of(bundle: Bundle) -> BundleContents:
    """What a bundle holds, to make another one of it.

    Raises:
        WeightsError: its weights are not those of the networks that its manifest describes.
    """
    manifest = bundle.manifest
    return BundleContents(
        name=manifest.name,
        networks=load_networks(bundle),
        golden_patch_hw=golden_patch(bundle),
        arbitration=manifest.arbitration,
        confidence=manifest.confidence,
        provenance=manifest.provenance,
        views=manifest.views,
        prompt=manifest.prompt,
        trained_pitch=manifest.trained_pitch,
        validation=manifest.validation,
    )


def _write_weights(
    staging: Path, networks: Mapping[Role, LineNetwork], dtype: torch.dtype
) -> dict[Role, LineNetwork]:
    """Writes the weights; returns the networks as the files give them, rounded to `dtype`."""
    saved: dict[Role, LineNetwork] = {}
    for role, network in networks.items():
        save_weights(network, staging / weights_path(role), dtype)
        saved[role] = LineNetwork(network.size)
        load_weights(saved[role], staging / weights_path(role))
    return saved


def _manifest(contents: BundleContents, files: dict[str, FilePart]) -> BundleManifest:
    shared = {
        part.name: getattr(contents, part.name)
        for part in dataclasses.fields(contents)
        if part.name not in ("networks", "golden_patch_hw", "validation")
    }
    try:
        return BundleManifest(
            networks={role: NetworkPart.of(network.size) for role, network in contents.networks.items()},
            validation=dict(contents.validation),
            files=files,
            **shared,
        )
    except ValueError as error:
        raise BundleError(f"bundle {contents.name}: {error}") from error
