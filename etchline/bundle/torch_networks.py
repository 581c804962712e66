"""The networks of a bundle in torch. Needs the extra `train`."""

from etchline.backends.interface import Role
from etchline.backends.torch_engine import TorchBackend, TorchSettings
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import weights_path
from etchline.network.line_network import LineNetwork
from etchline.network.weights import read_network


def torch_backend(bundle: Bundle, settings: TorchSettings | None = None) -> TorchBackend:
    """The engine over a verified bundle's weights.

    Raises:
        WeightsError: see `load_networks`.
    """
    return TorchBackend(load_networks(bundle), settings)


def load_networks(bundle: Bundle) -> dict[Role, LineNetwork]:
    """The networks of a verified bundle by role.

    Raises:
        WeightsError: a weights file is not the weights of the network that the manifest describes.
    """
    return {
        role: read_network(part.size, bundle.path(weights_path(role)))
        for role, part in bundle.manifest.networks.items()
    }
