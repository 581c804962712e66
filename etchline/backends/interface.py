"""What every engine does: views and point prompts in, line probabilities and scores out."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from etchline.errors import SettingsError
from etchline.network.sizes import NetworkSize

Role = Literal["full", "patch"]
ROLES: tuple[Role, ...] = get_args(Role)

GraphName = Literal["encoder", "decoder"]
GRAPHS: tuple[GraphName, ...] = get_args(GraphName)
"""The exported graphs of a network; see `onnx_graphs`."""

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

LABELS = (-1, 1)
"""Least and greatest label of a point: -1 no point, 0 background, 1 line."""


class Inference(NamedTuple):
    """What a network says about a batch of views.

    Attributes:
        probability_bhw: uint8 (B, S, S), `round(255 p)` of the mask with the best score; a line is >= 128.
        score_b: float32 (B,), the network's own estimate of that mask's IoU.
    """

    probability_bhw: Uint8Array
    score_b: Float32Array


class Backend(Protocol):
    """An engine with the networks of one bundle."""

    @property
    def name(self) -> str:
        """What runs, for the record: engine and its version, device, precision."""
        ...

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles it has networks for."""
        ...

    def view_px(self, role: Role) -> int:
        """S, the edge of the square views of a role: `input_px` for full, half of it for patch.

        Raises:
            SettingsError: there is no network for the role.
        """
        ...

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """Segments a batch; the views of a batch do not influence each other. An empty batch gives nothing.

        Args:
            role: which network.
            images_bhw: uint8 (B, S, S), normalised grey levels.
            points_xy: float32 (B, N, 2), px of the view, pixel centres at whole numbers, y down; N >= 1.
            labels: int32 (B, N): 1 on a line, 0 on the background, -1 no point.

        Raises:
            SettingsError: a shape, type or label is not as said, or there is no network for the role.
        """
        ...


Network = TypeVar("Network")


def roles_of(networks: Mapping[Role, object]) -> tuple[Role, ...]:
    """The roles that there are networks for, in order."""
    return tuple(role for role in ROLES if role in networks)


def other_role(role: Role) -> Role:
    """The role of the other model."""
    return "full" if role == "patch" else "patch"


def network_of(networks: Mapping[Role, Network], role: Role) -> Network:
    """The network for a role.

    Raises:
        SettingsError: there is none.
    """
    if role not in networks:
        had = ", ".join(roles_of(networks))
        raise SettingsError(f"no network for the role {role}; this backend has {had}")
    return networks[role]


def check_positive(engine: str, **values: int | None) -> None:
    """Refuses settings of an engine that must be 1 or more, or `None` where it chooses itself.

    Raises:
        SettingsError: one is not; names engine, setting and value.
    """
    for name, value in values.items():
        if value is not None and value < 1:
            raise SettingsError(f"{engine} setting {name}={value}: must be 1 or more")


def view_edge(size: NetworkSize, role: Role) -> int:
    """S, the edge of the square views that a network of this size takes in this role."""
    return size.input_px if role == "full" else size.patch_px


def infer_in_parts(
    run: Callable[[Uint8Array, Float32Array, Int32Array], Inference],
    most: int,
    images_bhw: Uint8Array,
    points_xy: Float32Array,
    labels: Int32Array,
) -> Inference:
    """What `Backend.infer` gives, of batches that are no larger than an engine may take at once.

    Args:
        run: does it for at most `most` views.
        most: views at once.
        images_bhw: see `Backend.infer`, checked.
        points_xy: likewise.
        labels: likewise.
    """
    probability_bhw = np.empty(images_bhw.shape, np.uint8)
    score_b = np.empty(len(images_bhw), np.float32)
    for start in range(0, len(images_bhw), most):
        part = slice(start, start + most)
        probability_bhw[part], score_b[part] = run(images_bhw[part], points_xy[part], labels[part])
    return Inference(probability_bhw, score_b)


def check_batch(view_px: int, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array) -> None:
    """Refuses what is no batch of views of this size with its prompts.

    Raises:
        SettingsError: a shape, type or label is not what `Backend.infer` takes; the message says which.
    """
    batch = len(images_bhw)
    if images_bhw.dtype != np.uint8 or images_bhw.shape != (batch, view_px, view_px):
        raise SettingsError(
            f"images {images_bhw.dtype} {images_bhw.shape}: need uint8 (B, {view_px}, {view_px})"
        )
    points = points_xy.shape[1] if points_xy.ndim == 3 else 0
    if points_xy.dtype != np.float32 or points < 1 or points_xy.shape != (batch, points, 2):
        raise SettingsError(f"points {points_xy.dtype} {points_xy.shape}: need float32 ({batch}, N, 2)")
    if labels.dtype != np.int32 or labels.shape != (batch, points):
        raise SettingsError(f"labels {labels.dtype} {labels.shape}: need int32 ({batch}, {points})")
    least, greatest = LABELS
    if batch and not (least <= labels.min() and labels.max() <= greatest):
        raise SettingsError(f"labels {labels.min()} to {labels.max()}: must be -1, 0 or 1")
    if not np.isfinite(points_xy).all():
        raise SettingsError("points: hold NaN or infinity")
