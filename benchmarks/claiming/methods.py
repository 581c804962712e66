"""Ways to segment an image in memory: the classical segmenter, and bundles under a policy."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchline.backends.remembering import RememberingBackend
from etchline.backends.torch_engine import TorchSettings
from etchline.bundle import Bundle, load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle, patch_edge
from etchline.bundle.torch_networks import torch_backend
from etchline.errors import SettingsError
from etchline.images import ArraySink, ArraySource
from etchline.segmentation.arbitration import POLICIES, Policy
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.segmenter import SegmentResult, Sinks, segment_source

Uint8Array = npt.NDArray[np.uint8]

_NEVER = 10**9  # speckles per 512 x 512 px


@dataclass(frozen=True)
class Method:
    """A way to segment.

    Attributes:
        name: in tables and JSON.
        bundle: its folder; None is the classical segmenter.
        policy: None is the bundle's own.
        scale: a factor; None is "auto".
        can_fall_back: False: no image counts as unfamiliar, and where both models are speckled, the full
            model counts as not speckled: the classical result is never taken, nor another scale than that of
            the measured pitch.
    """

    name: str
    bundle: Path | None = None
    policy: Policy | None = None
    scale: float | None = None
    can_fall_back: bool = True


CLASSICAL = Method("classical")


def segment(image_hw: Uint8Array, method: Method) -> tuple[Uint8Array, SegmentResult]:
    """Mask (0 or 255) and result of an image without a data bar."""
    bundle = _opened(method)
    mask, confidence = (ArraySink(*image_hw.shape) for _ in range(2))
    result = segment_source(
        ArraySource(image_hw), bundle.segmenter, Sinks(mask, confidence), bundle.calibration, bundle.settings
    )
    return mask.pixels_hw, result


def forget() -> None:
    """Drops what the networks of this process have said so far."""
    for backend in _BACKENDS.values():
        backend.forget()


def possible_policies(folder: Path) -> tuple[Policy, ...]:
    """The policies for which a bundle has networks and calibrations."""
    found = []
    for policy in POLICIES:
        try:
            network_bundle(read_bundle(folder), NetworkChoice(policy=policy))
        except SettingsError:
            continue
        found.append(policy)
    return tuple(found)


def native_patch_px(folder: Path) -> int:
    """Edge of the patches that a bundle cuts."""
    return patch_edge(read_bundle(folder))


@functools.cache
def read_bundle(folder: Path) -> Bundle:
    """The verified bundle in a folder, read once in each process."""
    return load_bundle(folder)


_BACKENDS: dict[Path, RememberingBackend] = {}


@functools.cache
def _opened(method: Method) -> SegmentBundle:
    """What segments; the methods of one bundle share a backend."""
    if method.bundle is None:
        return classical_bundle()
    bundle = read_bundle(method.bundle)
    if method.bundle not in _BACKENDS:
        _BACKENDS[method.bundle] = RememberingBackend(torch_backend(bundle, TorchSettings(threads=1)))
    found = network_bundle(bundle, NetworkChoice(policy=method.policy, scale=method.scale))
    settings = found.segmenter.settings
    if not method.can_fall_back:
        settings = replace(
            settings, limits=replace(settings.limits, full_speckles=_NEVER, fallback_below=0.0)
        )
    return replace(found, segmenter=NetworkSegmenter(_BACKENDS[method.bundle], settings))
