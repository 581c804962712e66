import pickle

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.errors import WeightsError  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.sizes import SIZES  # noqa: E402
from etchline.network.weights import VIDEO_PREFIXES, assign_weights, load_weights, save_weights  # noqa: E402

NANO = SIZES["nano"]
CONFIGS = {
    "tiny": "sam2.1_hiera_t",
    "small": "sam2.1_hiera_s",
    "base_plus": "sam2.1_hiera_b+",
    "large": "sam2.1_hiera_l",
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LineNetwork(NANO)


def same(one, two):
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_official_models_of_every_size_fit(name):
    """Every key of a randomly initialised official model is either taken or of the video memory."""
    from sam2.build_sam import build_sam2

    official = build_sam2(
        f"configs/sam2.1/{CONFIGS[name]}.yaml", None, device="cpu", apply_postprocessing=False
    )
    state = official.state_dict()
    network = LineNetwork(SIZES[name])
    assign_weights(network, state, name)
    taken = network.state_dict()
    assert all(torch.equal(taken[key], state[key]) for key in taken)
    assert all(key.startswith(VIDEO_PREFIXES) for key in state.keys() - taken.keys())


def test_a_checkpoint_as_meta_publishes_it(tmp_path, network):
    state = dict(network.state_dict())
    state["memory_attention.norm.weight"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "sam2.pt")
    other = LineNetwork(NANO)
    load_weights(other, tmp_path / "sam2.pt")
    assert same(network, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_safetensors_there_and_back(tmp_path, network, dtype):
    save_weights(network, tmp_path / "w.safetensors", dtype)
    other = LineNetwork(NANO)
    load_weights(other, tmp_path / "w.safetensors")
    expected = LineNetwork(NANO)
    expected.load_state_dict({name: tensor.to(dtype) for name, tensor in network.state_dict().items()})
    assert same(expected, other)
    assert next(other.parameters()).dtype == torch.float32


def test_wrong_keys_are_named(tmp_path, network):
    state = dict(network.state_dict())
    del state["no_mem_embed"]
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w.pt: .*missing no_mem_embed; surplus extra.weight"):
        load_weights(LineNetwork(NANO), tmp_path / "w.pt")


def test_wrong_shapes_are_named(network):
    state = dict(network.state_dict())
    state["no_mem_embed"] = torch.zeros(1, 1, 3)
    with pytest.raises(WeightsError, match=r"no_mem_embed has shape \(1, 1, 3\), .*needs \(1, 1, 48\)"):
        assign_weights(LineNetwork(NANO), state, "w")


def test_numbers_must_be_finite(network):
    state = dict(network.state_dict())
    state["no_mem_embed"] = torch.full((1, 1, 48), float("nan"))
    with pytest.raises(WeightsError, match="no_mem_embed holds NaN or infinity"):
        assign_weights(LineNetwork(NANO), state, "w")


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/etchline-was-here", "w"))


@pytest.mark.parametrize(
    "content",
    [b"", b"no weights", b"seed: 0\n", pickle.dumps({"model": Evil()}, protocol=2), b"PK\x03\x04"],
    ids=["empty", "text", "yaml", "pickle", "zip"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_files_are_refused_and_run_nothing(tmp_path, network, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"w{suffix}: no readable safetensors or checkpoint") as raised:
        load_weights(network, path)
    assert "weights_only" not in str(raised.value)  # torch advises to trust the file


@pytest.mark.parametrize(
    "content",
    [
        {1: torch.zeros(2)},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.zeros(2, device="meta")},
    ],
    ids=["number", "sparse", "complex", "meta"],
)
def test_tensors_that_no_network_has_are_refused(tmp_path, network, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt: (holds other things|no readable)"):
        load_weights(network, tmp_path / "w.pt")


def test_a_checkpoint_of_other_things(tmp_path, network):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds other things than named tensors"):
        load_weights(network, tmp_path / "w.pt")


def test_a_missing_file(tmp_path, network):
    with pytest.raises(WeightsError, match=r"none.pt: no such file"):
        load_weights(network, tmp_path / "none.pt")
