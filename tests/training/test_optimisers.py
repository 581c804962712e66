"""Both kinds of optimiser go downhill, and go on after a restart as if nothing had happened."""

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from torch import nn  # noqa: E402

from etchline.training.optimisers import Optimiser  # noqa: E402
from etchline.training.recipe import OptimiserSettings  # noqa: E402

KINDS = ("adamw", "muon")


class Small(nn.Module):
    """An encoder and a decoder, each a matrix and a bias."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder, self.sam_mask_decoder = nn.Linear(6, 4), nn.Linear(4, 4)

    def loss(self):
        inputs = torch.linspace(-1, 1, 30).view(5, 6)
        return ((self.sam_mask_decoder(self.image_encoder(inputs)) - 1) ** 2).mean()


def descend(network, optimiser, steps, rate=0.02):
    for _ in range(steps):
        optimiser.zero_grad()
        network.loss().backward()
        optimiser.step(rate)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_downhill(kind):
    network = Small()
    before = network.loss().item()
    descend(network, Optimiser(network, OptimiserSettings(kind=kind)), 60)
    assert network.loss().item() < 0.2 * before


@pytest.mark.parametrize("kind", KINDS)
def test_moments_restore_the_way(kind):
    settings = OptimiserSettings(kind=kind)
    whole = Small()
    descend(whole, Optimiser(whole, settings), 8)
    network = Small()
    first = Optimiser(network, settings)
    descend(network, first, 5)
    second = Optimiser(network, settings)
    second.load_moments({name: tensor.clone() for name, tensor in first.moments().items()})
    descend(network, second, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), network.parameters(), strict=True))


def test_muon_is_for_matrices_of_the_image_encoder_only():
    networks = [Small(), Small()]
    for network, kind in zip(networks, KINDS, strict=True):
        descend(network, Optimiser(network, OptimiserSettings(kind=kind)), 1)
    by_adamw, by_muon = networks
    assert torch.equal(by_adamw.sam_mask_decoder.weight, by_muon.sam_mask_decoder.weight)
    assert torch.equal(by_adamw.image_encoder.bias, by_muon.image_encoder.bias)
    assert not torch.equal(by_adamw.image_encoder.weight, by_muon.image_encoder.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_stay(kind):
    network = Small()
    network.image_encoder.requires_grad_(False)
    encoder, decoder = network.image_encoder.weight.clone(), network.sam_mask_decoder.weight.clone()
    descend(network, Optimiser(network, OptimiserSettings(kind=kind)), 3)
    assert torch.equal(encoder, network.image_encoder.weight)
    assert not torch.equal(decoder, network.sam_mask_decoder.weight)
