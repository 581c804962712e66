"""The networks of a bundle as ONNX graphs (`backends.onnx_graphs`). Needs the extras `train` and `onnx`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxscript  # noqa: F401  (torch looks for it late, when a network is traced already)
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from etchline.backends.interface import GRAPHS, GraphName, Role, view_edge
from etchline.backends.onnx_graphs import check_graph, graph_inputs, graph_outputs
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import graph_path
from etchline.bundle.torch_networks import load_networks
from etchline.errors import BundleError
from etchline.network.line_network import Embedding, LineNetwork
from etchline.storage import write_bytes

OPSET = 20
"""The first with Gelu."""
# Examples of one view would make the exporter take the batch for fixed.
_BATCH, _POINTS = 2, 3


def export_graphs(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """The files of the graphs that were written to `folder`, by their paths in a bundle.

    The same weights and versions give the same bytes.

    Raises:
        BundleError: torch cannot export a network.
        WeightsError: see `load_networks`.
        OutputError: a file cannot be written.
    """
    written = {}
    for role, network in load_networks(bundle).items():
        for name, data in role_graphs(network, role).items():
            written[graph_path(role, name)] = folder / graph_path(role, name)
            write_bytes(folder / graph_path(role, name), data)
    return written


def role_graphs(network: LineNetwork, role: Role) -> dict[GraphName, bytes]:
    """Encoder and decoder of a network in a role, each as the bytes of a file.

    Raises:
        BundleError: torch cannot export it.
    """
    edge, size = view_edge(network.size, role), network.size
    encoder, decoder = _Encoder(network, edge).eval(), _Decoder(network, edge).eval()
    image = torch.randint(0, 256, (_BATCH, edge, edge), dtype=torch.uint8)
    points_xy = torch.rand(_BATCH, _POINTS, 2) * edge
    labels = torch.ones(_BATCH, _POINTS, dtype=torch.int32)
    with torch.no_grad():
        features = encoder(image)
    examples: dict[GraphName, tuple[nn.Module, tuple[Tensor, ...]]] = {
        "encoder": (encoder, (image,)),
        "decoder": (decoder, (*features, points_xy, labels)),
    }
    graphs: dict[GraphName, bytes] = {}
    for name in GRAPHS:
        inputs, outputs = graph_inputs(name, size, role), graph_outputs(name, size, role)
        free: dict[str, dict[int, str]] = {
            value: {place: axis for place, axis in enumerate(axes) if isinstance(axis, str)}
            for value, (_, axes) in inputs.items()
        }
        graphs[name] = _exported(*examples[name], free, tuple(outputs))
        check_graph(graphs[name], name, size, role, f"{role}/{name}.onnx")
    return graphs


class _Encoder(nn.Module):
    """Views to feature maps, as `backends.torch_engine.best_mask` does it."""

    def __init__(self, network: LineNetwork, edge: int) -> None:
        super().__init__()
        self.network = network
        self.edge = edge

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        input_px = self.network.size.input_px
        grey = image.float()
        if self.edge != input_px:
            grey = interpolate(grey.unsqueeze(1), (input_px, input_px), mode="bilinear").squeeze(1)
        return self.network.encode(grey)


class _Decoder(nn.Module):
    """Feature maps and points to the best-scored mask, as `backends.torch_engine.best_mask` does it."""

    def __init__(self, network: LineNetwork, edge: int) -> None:
        super().__init__()
        self.network = network
        self.edge = edge

    def forward(
        self, fine: Tensor, middle: Tensor, coarse: Tensor, points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        input_px = self.network.size.input_px
        if self.edge != input_px:
            points = (points + 0.5) * (input_px / self.edge) - 0.5
        logits, scores = self.network.decode(Embedding(fine, middle, coarse), points, labels)
        score, best = scores.max(dim=1)
        # A gather with constant axes: indexing by two tensors exports to more, and TensorRT knows less of it.
        places = best.view(-1, 1, 1, 1).expand(-1, 1, logits.shape[2], logits.shape[3])
        chosen = torch.gather(logits, 1, places)
        mask = interpolate(chosen, (self.edge, self.edge), mode="bilinear").squeeze(1)
        return torch.round(torch.sigmoid(mask) * 255).to(torch.uint8), score


def _exported(
    module: nn.Module, examples: tuple[Tensor, ...], free: dict[str, dict[int, str]], outputs: tuple[str, ...]
) -> bytes:
    axes = {axis: torch.export.Dim(axis, min=1) for places in free.values() for axis in places.values()}
    shapes = {value: {place: axes[axis] for place, axis in places.items()} for value, places in free.items()}
    try:
        with _quiet(), torch.no_grad():  # tracing gradients, too, would take a tenth longer
            program: Any = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(free),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise BundleError(f"torch {torch.__version__} cannot export the network to ONNX ({error})") from error
    return _plain(program.model_proto)


def _plain(model: onnx.ModelProto) -> bytes:
    """The bytes of a model without what the exporter noted in it: names of this machine's files, mostly."""
    for message in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of the names that it gives to axes, and prints where it is."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
