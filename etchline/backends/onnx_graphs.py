"""The two graphs of a role, and what makes a file one of them. Files are not trusted: nothing of them is run
before it is checked. Needs the package `onnx`.

The encoder maps `image` to three feature maps, the decoder those and the points to the best-scored mask. All
arithmetic is inside, so that whoever runs them only passes arrays on. The batch B and the number of points N
are free, all else is fixed by the network's size and the role:

    encoder  image uint8 (B, S, S) -> fine, middle, coarse float32 (B, C, F, F)
    decoder  fine, middle, coarse, points float32 (B, N, 2), labels int32 (B, N)
             -> mask uint8 (B, S, S), score float32 (B,)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

from etchline.backends.interface import GraphName, Role, view_edge
from etchline.errors import BundleError
from etchline.network.sizes import NetworkSize

FEATURES = ("fine", "middle", "coarse")
ENCODER_INPUTS = ("image",)
DECODER_INPUTS = (*FEATURES, "points", "labels")
DECODER_OUTPUTS = ("mask", "score")

MAX_BYTES = 2**31 - 1
"""Of a file: protobuf's own limit; the largest network has 0.9 GB."""
MAX_NODES = 20_000
"""The largest network has 4,600."""
MAX_ELEMENTS = 2**28
"""Of a value for one view: the largest network's attention has 2^27."""

Axis = int | Literal["batch", "points"]
Form = tuple[str, tuple[Axis, ...]]


@dataclass(frozen=True)
class RoleGraphs:
    """The checked graphs of one role.

    Attributes:
        size: of the network.
        encoder: the file's bytes.
        decoder: likewise.
        origin: where they come from, for messages.
    """

    size: NetworkSize
    encoder: bytes
    decoder: bytes
    origin: str


def graph_inputs(name: GraphName, size: NetworkSize, role: Role) -> dict[str, Form]:
    """Type and shape of what a graph takes, by name and in order."""
    edge = view_edge(size, role)
    if name == "encoder":
        return {"image": ("uint8", ("batch", edge, edge))}
    points: dict[str, Form] = {
        "points": ("float32", ("batch", "points", 2)),
        "labels": ("int32", ("batch", "points")),
    }
    return {**graph_outputs("encoder", size, role), **points}


def graph_outputs(name: GraphName, size: NetworkSize, role: Role) -> dict[str, Form]:
    """Type and shape of what a graph gives, by name and in order."""
    if name == "decoder":
        edge = view_edge(size, role)
        return {"mask": ("uint8", ("batch", edge, edge)), "score": ("float32", ("batch",))}
    channels = (size.d_model // 8, size.d_model // 4, size.d_model)
    edges = (size.logit_px, size.logit_px // 2, size.embedding_px)
    return {
        feature: ("float32", ("batch", count, edge, edge))
        for feature, count, edge in zip(FEATURES, channels, edges, strict=True)
    }


def check_graph(data: bytes, name: GraphName, size: NetworkSize, role: Role, origin: str) -> None:
    """Refuses a file that is no graph of this form, or could do more than arithmetic.

    Args:
        data: the file's bytes.
        name: which of the two graphs it should be.
        size: of the network.
        role: of the network.
        origin: the file, for messages.

    Raises:
        BundleError: no ONNX; data outside of the file; operators that are not ONNX's own; graphs or functions
            inside; too large; other inputs or outputs. The message says which.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"{origin}: {len(data)} bytes; a graph has at most {MAX_BYTES}")
    model = _parse(data, origin)
    _check_contents(model, origin)
    _check_values("inputs", model.graph.input, graph_inputs(name, size, role), origin)
    _check_values("outputs", model.graph.output, graph_outputs(name, size, role), origin)
    _check_shapes(model, origin)


def _parse(data: bytes, origin: str) -> ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise BundleError(f"{origin}: no ONNX graph ({error}); export the bundle again") from error
    if not model.graph.node:
        raise BundleError(f"{origin}: an ONNX file without a graph; export the bundle again")
    return model


def _check_contents(model: ModelProto, origin: str) -> None:
    graph = model.graph
    foreign = {opset.domain for opset in model.opset_import} | {node.domain for node in graph.node}
    foreign -= {"", "ai.onnx"}
    if foreign:
        raise BundleError(f"{origin}: has operators of {sorted(foreign)[0]!r}; only ONNX's own are run")
    unknown = {node.op_type for node in graph.node if not onnx.defs.has(node.op_type)}
    if unknown:
        raise BundleError(f"{origin}: has the operator {sorted(unknown)[0]!r}, which ONNX does not know")
    if model.functions or model.training_info or graph.sparse_initializer:
        raise BundleError(f"{origin}: has functions, training or sparse data, which no exported graph has")
    if len(graph.node) > MAX_NODES:
        raise BundleError(f"{origin}: {len(graph.node)} nodes; a graph has at most {MAX_NODES}")
    for tensor in _tensors(graph, origin):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise BundleError(f"{origin}: {tensor.name or 'a value'} lies outside of the file; not read")
        if any(dim < 0 for dim in tensor.dims) or math.prod(tensor.dims) > MAX_ELEMENTS:
            raise BundleError(f"{origin}: {tensor.name or 'a value'} has the shape {tuple(tensor.dims)}")


def _tensors(graph: GraphProto, origin: str) -> Iterator[TensorProto]:
    """All constants of a graph; graphs inside of it (loops, branches) are refused."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) or attribute.graphs:
                raise BundleError(f"{origin}: {node.op_type} holds a graph of its own, which is not run")
            yield attribute.t
            yield from attribute.tensors


def _check_values(which: str, found: Sequence[ValueInfoProto], wanted: dict[str, Form], origin: str) -> None:
    forms = {value.name: _form(value) for value in found}
    if list(forms) != list(wanted) or len(found) != len(forms):
        raise BundleError(
            f"{origin}: {which} {', '.join(forms) or 'none'}; must be {', '.join(wanted)}; export it again"
        )
    for name, form in wanted.items():
        if forms[name] != form:
            raise BundleError(f"{origin}: {name} is {_text(forms[name])}; must be {_text(form)}")


def _form(value: ValueInfoProto) -> Form:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or tensor.elem_type == TensorProto.UNDEFINED:
        return "untyped", ()
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError):
        dtype = f"type {tensor.elem_type}"
    axes = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim)
    return dtype, tuple(axes)


def _text(form: Form) -> str:
    return f"{form[0]} ({', '.join(map(str, form[1]))})"


def _check_shapes(model: ModelProto, origin: str) -> None:
    """Refuses values whose fixed axes alone would fill the memory; what the file itself says is not asked."""
    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{origin}: no valid ONNX graph ({reason}); export the bundle again") from error
    for value in inferred.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if math.prod(dims) > MAX_ELEMENTS:
            raise BundleError(f"{origin}: {value.name} would have {math.prod(dims)} elements for one view")
