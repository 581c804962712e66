"""Files that say they are graphs: what is not of the exported form is refused before it runs."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("torch", reason="the extra `train` is not installed")

import onnx
from onnx import TensorProto, helper, numpy_helper

from etchline.backends import onnx_graphs
from etchline.backends.onnx_engine import OnnxBackend
from etchline.backends.onnx_graphs import FEATURES, RoleGraphs, check_graph, graph_inputs, graph_outputs
from etchline.errors import BundleError
from etchline.network.line_network import Embedding
from tests.small_networks import SMALL

pytestmark = pytest.mark.xdist_group("onnx")  # its fixtures are made once


def test_features_are_those_of_the_network():
    assert Embedding._fields == FEATURES
    assert list(graph_inputs("decoder", SMALL, "patch")) == [*FEATURES, "points", "labels"]
    assert graph_outputs("encoder", SMALL, "patch")["coarse"] == ("float32", ("batch", 48, 4, 4))


@pytest.mark.parametrize("role", ["full", "patch"])
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_exported_graphs_pass(small_onnx, name, role):
    check_graph(small_onnx.graphs[f"{role}/{name}.onnx"].read_bytes(), name, SMALL, role, "here")


def test_nothing_of_this_machine_is_in_them(small_onnx):
    for path in small_onnx.graphs.values():
        assert b".py" not in path.read_bytes()


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_attribute(model):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def foreign(model):
    model.graph.node[0].domain = "com.example"


def branch(model):
    inside = helper.make_graph([], "inside", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inside, else_branch=inside))


def function(model):
    model.functions.append(helper.make_function("com.example", "f", [], [], [], []))


def wide_constant(model):
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


def wide_value(model):
    """A few bytes that ask for four terabytes."""
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "wide")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["wide"], ["bomb"]))


def no_type(model):
    model.graph.input[0].type.Clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "here: .* lies outside of the file; not read"),
        (external_attribute, "here: hidden lies outside of the file"),
        (foreign, "here: has operators of 'com.example'; only ONNX's own are run"),
        (lambda m: m.opset_import.add(domain="com.example", version=1), "operators of 'com.example'"),
        (branch, "here: If holds a graph of its own"),
        (function, "here: has functions"),
        (wide_constant, r"has the shape \(1048576, 1048576\)"),
        (wide_value, "here: bomb would have 1099511627776 elements for one view"),
        (no_type, r"image is untyped \(\); must be uint8 \(batch, 32, 32\)"),
        (lambda m: m.graph.ClearField("node"), "an ONNX file without a graph"),
        (lambda m: m.graph.input.pop(), "inputs none; must be image"),
        (lambda m: setattr(m.graph.output[0], "name", "x"), "outputs x, middle, coarse; must be fine"),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 31),
            r"image is uint8 \(batch, 31, 32\); must be uint8 \(batch, 32, 32\)",
        ),
        (lambda m: m.graph.node[-1].ClearField("input"), "here: no valid ONNX graph"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Melt"), "here: has the operator 'Melt', which ONNX"),
    ],
)
def test_what_an_export_does_not_make_is_refused(small_onnx, change, message):
    model = onnx.load(small_onnx.graphs["patch/encoder.onnx"])
    change(model)
    with pytest.raises(BundleError, match=message):
        check_graph(model.SerializeToString(), "encoder", SMALL, "patch", "here")


@pytest.mark.parametrize("data", [b"", b"\x80\x04no protobuf", bytes(100)])
def test_other_files(data):
    with pytest.raises(BundleError, match=r"here: (no ONNX graph|an ONNX file without a graph)"):
        check_graph(data, "encoder", SMALL, "patch", "here")


def test_sizes_have_limits(small_onnx, monkeypatch):
    data = small_onnx.graphs["patch/encoder.onnx"].read_bytes()
    monkeypatch.setattr(onnx_graphs, "MAX_NODES", 10)
    with pytest.raises(BundleError, match=r"here: \d+ nodes; a graph has at most 10"):
        check_graph(data, "encoder", SMALL, "patch", "here")
    monkeypatch.setattr(onnx_graphs, "MAX_BYTES", 10)
    with pytest.raises(BundleError, match=r"here: \d+ bytes; a graph has at most 10"):
        check_graph(data, "encoder", SMALL, "patch", "here")


def test_the_graph_of_another_role_is_refused(small_onnx):
    encoder, decoder = (small_onnx.graphs[f"full/{n}.onnx"].read_bytes() for n in ("encoder", "decoder"))
    with pytest.raises(BundleError, match=r"here/encoder.onnx: image is uint8 \(batch, 64, 64\)"):
        OnnxBackend({"patch": RoleGraphs(SMALL, encoder, decoder, "here")})


def lying_decoder():
    """A valid graph of the right form that fixes the batch when it runs."""
    inputs, outputs = graph_inputs("decoder", SMALL, "patch"), graph_outputs("decoder", SMALL, "patch")
    info = [
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), axes)
            for name, (dtype, axes) in forms.items()
        ]
        for forms in (inputs, outputs)
    ]
    constants = [
        numpy_helper.from_array(np.zeros((7, 32, 32), np.uint8), "zeros"),
        numpy_helper.from_array(np.zeros(7, np.float32), "none"),
    ]
    nodes = [
        helper.make_node("Identity", ["zeros"], ["mask"]),
        helper.make_node("Identity", ["none"], ["score"]),
    ]
    graph = helper.make_graph(nodes, "lie", *info, constants)
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def test_a_graph_that_breaks_its_promise(small_onnx):
    encoder = small_onnx.graphs["patch/encoder.onnx"].read_bytes()
    backend = OnnxBackend({"patch": RoleGraphs(SMALL, encoder, lying_decoder(), "here")})
    views = np.zeros((2, 32, 32), np.uint8)
    with pytest.raises(BundleError, match=r"here: (gives masks \(7, 32, 32\)|onnxruntime cannot run it)"):
        backend.infer("patch", views, np.zeros((2, 1, 2), np.float32), np.ones((2, 1), np.int32))
