"""The onnxruntime engine: exported graphs on a CPU, or on a CUDA device. Needs the extra `onnx`, no torch."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

# Before it is loaded: official builds send events to Microsoft and leave a device identifier in the cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from etchline.backends.interface import (
    GRAPHS,
    Float32Array,
    Inference,
    Int32Array,
    Role,
    Uint8Array,
    check_batch,
    check_positive,
    infer_in_parts,
    network_of,
    roles_of,
    view_edge,
)
from etchline.backends.onnx_graphs import (
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    ENCODER_INPUTS,
    FEATURES,
    RoleGraphs,
    check_graph,
)
from etchline.errors import BundleError, SettingsError

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

T = TypeVar("T")

# onnxruntime's exceptions have no base class of their own.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_errors.EPFail,
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
    RuntimeError,
    MemoryError,
)
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class OnnxSettings:
    """How onnxruntime runs the graphs.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        max_batch: views that go through a graph at once; larger batches are cut.
        threads: threads of a graph's operations; `None`: what OMP_NUM_THREADS says, otherwise 1.

    Raises:
        SettingsError: `max_batch` or `threads` below 1, an unknown device, or one that this onnxruntime was
            not built for.
    """

    device: str = "cpu"
    max_batch: int = 8
    threads: int | None = None

    def __post_init__(self) -> None:
        check_positive("onnxruntime", max_batch=self.max_batch, threads=self.threads)
        if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", self.device):
            raise SettingsError(f"device {self.device}: onnxruntime runs on cpu, cuda or cuda:<number>")
        if self.provider not in onnxruntime.get_available_providers():
            raise SettingsError(
                f"device {self.device}: this onnxruntime has no {self.provider}; "
                "pip install onnxruntime-gpu, or choose cpu"
            )

    @property
    def provider(self) -> str:
        """Onnxruntime's name for what runs."""
        return CPU_PROVIDER if self.device == "cpu" else CUDA_PROVIDER

    @property
    def provider_options(self) -> dict[str, str]:
        """What the provider is told. TF32 would cost three digits that the parity gate expects."""
        if self.device == "cpu":
            return {}
        return {"device_id": self.device.partition(":")[2] or "0", "use_tf32": "0"}

    @property
    def thread_count(self) -> int:
        """Threads of a graph's operations."""
        if self.threads is not None:
            return self.threads
        said = os.environ.get("OMP_NUM_THREADS", "")
        return int(said) if re.fullmatch(r"[1-9][0-9]{0,3}", said) else 1


class OnnxBackend:
    """A `Backend` over exported graphs in memory.

    Args:
        graphs: those of each role.
        settings: see `OnnxSettings`.

    Raises:
        SettingsError: no graphs, or the device's provider does not really run them.
        BundleError: a graph is not one of its network, or onnxruntime cannot load it.
    """

    def __init__(self, graphs: Mapping[Role, RoleGraphs], settings: OnnxSettings | None = None) -> None:
        self.settings = settings or OnnxSettings()
        if not graphs:
            raise SettingsError("onnxruntime backend: no graphs; give those of full or patch")
        self._roles = {role: _Role(found, role, self.settings) for role, found in graphs.items()}

    @property
    def name(self) -> str:
        """See `Backend.name`; the provider is the one that runs."""
        provider = next(iter(self._roles.values())).provider
        return f"onnxruntime {onnxruntime.__version__} {self.settings.device} {provider} float32"

    @property
    def roles(self) -> tuple[Role, ...]:
        """See `Backend.roles`."""
        return roles_of(self._roles)

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return network_of(self._roles, role).view_px

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`.

        Raises:
            BundleError: onnxruntime cannot run the graph, or it gives something else than it promised.
        """
        graphs = network_of(self._roles, role)
        check_batch(graphs.view_px, images_bhw, points_xy, labels)
        return infer_in_parts(graphs.run, self.settings.max_batch, images_bhw, points_xy, labels)


class _Role:
    """The two sessions of one role."""

    def __init__(self, graphs: RoleGraphs, role: Role, settings: OnnxSettings) -> None:
        self._origin = graphs.origin
        self.view_px = view_edge(graphs.size, role)
        sessions = []
        for name in GRAPHS:
            origin, data = f"{graphs.origin}/{name}.onnx", getattr(graphs, name)
            check_graph(data, name, graphs.size, role, origin)
            sessions.append(_session(data, origin, settings))
        self._encoder, self._decoder = sessions
        self.provider: str = self._encoder.get_providers()[0]

    def run(self, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array) -> Inference:
        """Masks and scores of a batch that is not cut any more."""

        def answer() -> list[Any]:
            features = self._encoder.run(FEATURES, dict(zip(ENCODER_INPUTS, (images_bhw,), strict=True)))
            taken = zip(DECODER_INPUTS, (*features, points_xy, labels), strict=True)
            found: list[Any] = self._decoder.run(DECODER_OUTPUTS, dict(taken))
            return found

        mask_bhw, score_b = _translated(answer, self._origin)
        if mask_bhw.shape != images_bhw.shape or score_b.shape != (len(images_bhw),):
            raise BundleError(
                f"{self._origin}: gives masks {mask_bhw.shape} and scores {score_b.shape} for images "
                f"{images_bhw.shape}; export the bundle again"
            )
        return Inference(mask_bhw, score_b)


def _session(data: bytes, origin: str, settings: OnnxSettings) -> onnxruntime.InferenceSession:
    """The session of a checked graph.

    Raises:
        SettingsError: another provider than the asked one runs it; onnxruntime would only say so in its log.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.thread_count
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait busily take the cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [(settings.provider, settings.provider_options)]
    session = _translated(lambda: onnxruntime.InferenceSession(data, options, providers=providers), origin)
    ran = session.get_providers()
    if ran[0] != settings.provider:
        raise SettingsError(
            f"device {settings.device}: {origin} would run on {ran[0]} and not on {settings.provider}; "
            "check the driver and CUDA libraries, or choose cpu"
        )
    return session


def _translated(call: Callable[[], T], origin: str) -> T:
    try:
        return call()
    except _RUNTIME_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{origin}: onnxruntime cannot run it ({reason}); export it again") from error
