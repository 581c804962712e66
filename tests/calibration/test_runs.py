"""The networks of a training's folder."""

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.calibration.runs import find_runs, load_network  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.weights import load_weights  # noqa: E402
from tests.calibration.trainings import EARLIER, SMALL, write_run  # noqa: E402


@pytest.mark.parametrize("size", [EARLIER, SMALL])
def test_a_run_of_an_earlier_version_grows(dataset, tmp_path, size):
    write_run(tmp_path / "patch", dataset, size=size)
    grown, written = load_network(find_runs(tmp_path)["patch"]), LineNetwork(size)
    load_weights(written, tmp_path / "patch/weights.safetensors")
    view = torch.arange(64 * 64).reshape(1, 64, 64) % 251, torch.full((1, 1, 2), 30.0), torch.ones(1, 1)
    with torch.no_grad():
        assert torch.equal(grown.eval()(*view)[0], written.eval()(*view)[0])
    assert grown.size == SMALL
