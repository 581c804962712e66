"""A bundle as what `segment` needs: its networks, run by a backend, with the user's choices."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from etchline.backends.delegating import DelegatingBackend
from etchline.backends.interface import Backend
from etchline.backends.turning import oriented
from etchline.bundle.loading import Bundle, load_bundle
from etchline.errors import BundleError, MissingPackageError, SettingsError
from etchline.segmentation.arbitration import POLICIES, REFERENCE_PX, Policy
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import LARGEST_SCALE, SMALLEST_SCALE, NetworkSettings
from etchline.segmentation.segmenter import SegmentSettings

BackendName = Literal["auto", "torch", "onnxruntime"]


_TORCH = ("torch", "sam2", "safetensors")
_ONNX = ("onnx", "onnxruntime")


@dataclass(frozen=True)
class NetworkChoice:
    """What the user chose.

    Attributes:
        policy: `None` is the bundle's own.
        scale: a factor; `None` is "auto".
        backend: "auto" is torch where it is installed, otherwise onnxruntime.
    """

    policy: Policy | None = None
    scale: float | None = None
    backend: BackendName = "auto"


def parse_policy(text: str | None) -> Policy | None:
    """The policy of that name; `None` stays.

    Raises:
        SettingsError: there is no such policy.
    """
    if text is None:
        return None
    for policy in POLICIES:
        if text == policy:
            return policy
    raise SettingsError(f"--policy {text}: choose one of {', '.join(POLICIES)}")


def parse_scale(text: str) -> float | None:
    """The factor, or `None` for "auto".

    Raises:
        SettingsError: neither a number from 1/64 to 64 nor "auto".
    """
    if text == "auto":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not SMALLEST_SCALE <= factor <= LARGEST_SCALE:
        raise SettingsError(f"--scale {text}: must be a factor of 1/64 to 64, or auto")
    return factor


def parse_backend(text: str) -> BackendName:
    """The backend of that name.

    Raises:
        SettingsError: this version has none of that name.
    """
    for name in get_args(BackendName):
        if text == name:
            return text  # type: ignore[return-value]
    raise SettingsError(f"--backend {text}: not known to this version; choose auto, torch or onnxruntime")


def network_bundle(bundle: Bundle, choice: NetworkChoice, backend: Backend | None = None) -> SegmentBundle:
    """What `segment` needs to apply a bundle.

    Args:
        bundle: networks and settings.
        choice: the user's.
        backend: runs the networks; `None`: the chosen one, opened when it is first needed.

    Raises:
        SettingsError: the bundle lacks a network or a calibration that the policy needs.
        MissingPackageError: the backend's packages are not installed.
    """
    manifest = bundle.manifest
    settings = NetworkSettings(
        policy=choice.policy or manifest.arbitration.policy,
        limits=manifest.arbitration.limits,
        min_overlap=manifest.views.min_overlap,
        full_view_px=manifest.views.full_view_px,
        prompt=manifest.prompt,
        trained_pitch=manifest.trained_pitch,
        scale=choice.scale,
        patch_calibration=manifest.confidence.patch,
        full_calibration=manifest.confidence.full,
    )
    for role in settings.roles:
        if role not in manifest.networks:
            raise SettingsError(f"policy {settings.policy}: {bundle.folder} has no network for {role}")
    patch_px = patch_edge(bundle)
    share = (patch_px / REFERENCE_PX) ** 2
    cells = SegmentSettings(
        patch_px=patch_px,
        min_overlap=manifest.views.min_overlap,
        speckles_per_patch=max(1, round(manifest.arbitration.limits.patch_speckles * share)),
    )
    asked = backend or LazyBackend(bundle.folder, bundle.digest, choice.backend)
    segmenter = NetworkSegmenter(oriented(asked, manifest.views.orientations), settings)
    return SegmentBundle(manifest.name, bundle.digest, segmenter, manifest.confidence.cells, cells)


def patch_edge(bundle: Bundle) -> int:
    """The edge of a patch in native pixels; that of the full model where it is alone."""
    networks = bundle.manifest.networks
    return networks["patch" if "patch" in networks else "full"].size.patch_px


class LazyBackend(DelegatingBackend):
    """A `Backend` that loads its networks when they are first needed, once in each process.

    So it can be sent to worker processes without its weights.

    Args:
        folder: of the bundle.
        digest: what the bundle must have when it is loaded.
        backend: which engine.
    """

    def __init__(self, folder: Path, digest: str, backend: BackendName = "auto") -> None:
        self._folder = folder
        self._digest = digest
        self._engine = backend

    @property
    def asked(self) -> Backend:
        """See `DelegatingBackend.asked`."""
        return open_engine(self._folder, self._digest, self._engine)


# Two, because parity asks torch and onnxruntime in turn.
@functools.lru_cache(maxsize=2)
def open_engine(folder: Path, digest: str, backend: BackendName = "auto") -> Backend:
    """The engine over the bundle in a folder; the last two are kept.

    onnxruntime takes the bundle's own graphs; where it has none they are made at first use and kept in the
    user's cache, which needs torch too.

    Raises:
        BundleError: the bundle cannot be used, or is not the one of this digest any more.
        MissingPackageError: the engine, or what makes its graphs, is not installed.
    """
    bundle = load_bundle(folder)
    if bundle.digest != digest:
        raise BundleError(f"{folder}: the bundle has changed since the run began; run again")
    if backend == "onnxruntime" or (backend == "auto" and _lacks(*_TORCH) and not _lacks(*_ONNX)):
        return _open_onnx(bundle)
    return _open_torch(bundle)


def missing_for_torch() -> str | None:
    """The first package that is not installed of those that run networks wherever; `None`: all are."""
    return _lacks(*_TORCH)


def _open_torch(bundle: Bundle) -> Backend:
    if missing := missing_for_torch():
        raise MissingPackageError(f"backend torch: {missing} is not installed; pip install 'etchline[train]'")
    from etchline.bundle.torch_networks import torch_backend

    return torch_backend(bundle)


def _open_onnx(bundle: Bundle) -> Backend:
    if missing := _lacks(*_ONNX):
        raise MissingPackageError(
            f"backend onnxruntime: {missing} is not installed; pip install 'etchline[onnx]'"
        )
    from etchline.bundle.onnx_networks import onnx_backend_or_cached

    return onnx_backend_or_cached(bundle)


def _lacks(*packages: str) -> str | None:
    """The first of these packages that is not installed."""
    return next((name for name in packages if importlib.util.find_spec(name) is None), None)
