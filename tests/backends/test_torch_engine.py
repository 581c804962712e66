"""The torch engine."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.backends.torch_engine import TorchBackend, TorchSettings, best_mask  # noqa: E402
from etchline.errors import SettingsError  # noqa: E402
from tests.backends.contract import BackendContract, batch  # noqa: E402
from tests.small_networks import SMALL, networks  # noqa: E402


class TestTorch(BackendContract):
    @pytest.fixture
    def backend(self):
        return TorchBackend(networks(), TorchSettings(max_batch=4, threads=1))

    def test_half_precision_stays_close(self, backend):
        half = TorchBackend(networks(), TorchSettings(precision="bfloat16"))
        images = batch(32)
        one, other = backend.infer("patch", *images), half.infer("patch", *images)
        assert half.name == f"torch {torch.__version__} cpu bfloat16"
        difference = one.probability_bhw.astype(int) - other.probability_bhw
        assert np.abs(difference).mean() < 8

    def test_a_missing_role(self):
        backend = TorchBackend({"patch": networks()["patch"]})
        with pytest.raises(SettingsError, match="no network for the role full; this backend has patch"):
            backend.view_px("full")

    def test_no_networks(self):
        with pytest.raises(SettingsError, match="no networks"):
            TorchBackend({})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_batch": 0}, "max_batch=0"),
            ({"threads": 0}, "threads=0"),
            ({"device": "abacus"}, "device abacus: not usable here"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(SettingsError, match=message):
            TorchSettings(**settings)


def test_points_of_a_patch_are_moved_to_the_input():
    """The centre of patch pixel 3 lies between input pixels 6 and 7."""
    seen = []

    class Spy(torch.nn.Module):
        size = SMALL

        def forward(self, image, points_xy, labels):
            seen.append(points_xy)
            return torch.zeros(1, 3, 16, 16), torch.tensor([[0.1, 0.7, 0.3]])

    probability, score = best_mask(
        Spy(), torch.zeros(1, 32, 32, dtype=torch.uint8), torch.tensor([[[3.0, 0.0]]]), torch.ones(1, 1)
    )
    assert seen[0].tolist() == [[[6.5, 0.5]]]
    assert score.item() == pytest.approx(0.7)
    assert (probability == 128).all()  # a logit of 0 is a line
