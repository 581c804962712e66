"""A network with more blocks begins as the one it grew from."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.errors import WeightsError  # noqa: E402
from etchline.network.deepening import deepened  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.sizes import SIZES  # noqa: E402
from etchline.network.weights import assign_weights, load_weights, save_weights  # noqa: E402

SHALLOW = replace(SIZES["nano"], input_px=64, stages=(1, 1, 2, 1), global_att_blocks=(3,))
BLOCKS = "image_encoder.trunk.blocks."


def grown(shallow, stages, global_att_blocks):
    network = LineNetwork(replace(shallow.size, stages=stages, global_att_blocks=global_att_blocks))
    assign_weights(network, deepened(shallow.state_dict(), network.size), "grown")
    return network


def answer(network):
    torch.manual_seed(1)
    image, points_xy = torch.randint(0, 256, (2, 64, 64)), torch.rand(2, 3, 2) * 64
    with torch.no_grad():
        return network.eval()(image, points_xy, torch.ones(2, 3, dtype=torch.int32))


@pytest.mark.parametrize(
    ("stages", "global_att_blocks"),
    [((1, 1, 2, 1), (3,)), ((2, 2, 4, 2), (5, 7)), ((1, 1, 3, 1), (3,)), ((3, 1, 2, 1), (5,))],
)
def test_it_says_the_same_bit_for_bit(stages, global_att_blocks):
    torch.manual_seed(0)
    shallow = LineNetwork(SHALLOW)
    for ours, theirs in zip(answer(shallow), answer(grown(shallow, stages, global_att_blocks)), strict=True):
        assert torch.equal(ours, theirs)


def test_new_blocks_are_the_same_each_time_and_leave_the_random_state_alone():
    shallow = LineNetwork(SHALLOW)
    torch.manual_seed(3)
    one = grown(shallow, (2, 2, 4, 2), (5, 7)).state_dict()
    torch.manual_seed(4)
    state = torch.get_rng_state()
    two = deepened(shallow.state_dict(), replace(SHALLOW, stages=(2, 2, 4, 2)))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_new_blocks_learn_from_the_first_step():
    """Zeros on both ends of a branch would keep it at zero for ever."""
    torch.manual_seed(0)
    network = grown(LineNetwork(SHALLOW), (2, 2, 4, 2), (5, 7))
    logits, _ = network(torch.randint(0, 256, (1, 64, 64)), torch.ones(1, 1, 2), torch.ones(1, 1))
    logits.square().sum().backward()
    gradients = {name: one.grad for name, one in network.named_parameters() if name.startswith(BLOCKS)}
    for block in (1, 3, 6, 7, 9):
        for part in ("attn.proj.weight", "mlp.layers.1.weight"):
            assert gradients[f"{BLOCKS}{block}.{part}"].abs().sum() > 0


@pytest.mark.parametrize("stages", [(1, 1, 1, 1), (1, 2, 1, 1)])
def test_weights_of_more_blocks_are_refused(stages):
    network = LineNetwork(replace(SHALLOW, stages=stages, global_att_blocks=(2,)))
    weights = LineNetwork(SHALLOW).state_dict()
    assert deepened(weights, network.size).keys() == weights.keys()
    with pytest.raises(WeightsError, match=r"surplus image_encoder\.trunk\.blocks"):
        assign_weights(network, deepened(weights, network.size), "w")


@pytest.mark.parametrize("number", ["x", "9", "-1"])
def test_blocks_without_their_numbers_are_refused(number):
    weights = LineNetwork(SHALLOW).state_dict()
    weights = {name.replace(f"{BLOCKS}2.", f"{BLOCKS}{number}."): one for name, one in weights.items()}
    network = LineNetwork(replace(SHALLOW, stages=(2, 2, 4, 2), global_att_blocks=(5, 7)))
    with pytest.raises(WeightsError, match=r"surplus image_encoder\.trunk\.blocks"):
        assign_weights(network, deepened(weights, network.size), "w")


def test_files_of_fewer_blocks_are_taken_where_they_may(tmp_path):
    torch.manual_seed(0)
    shallow = LineNetwork(SHALLOW)
    save_weights(shallow, tmp_path / "w.safetensors")
    network = LineNetwork(replace(SIZES["nano"], input_px=64))
    with pytest.raises(WeightsError, match=r"missing image_encoder\.trunk\.blocks"):
        load_weights(network, tmp_path / "w.safetensors")
    load_weights(network, tmp_path / "w.safetensors", shallower=True)
    assert torch.equal(answer(shallow)[0], answer(network)[0])


def test_official_sizes_have_one_depth():
    assert [size.name for size in SIZES.values() if size.grows] == ["nano"]
