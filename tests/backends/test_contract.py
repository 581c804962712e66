"""One contract for all engines."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.backends.onnx_engine import OnnxBackend, OnnxSettings  # noqa: E402
from etchline.backends.onnx_graphs import RoleGraphs  # noqa: E402
from etchline.backends.torch_engine import TorchBackend, TorchSettings, best_mask  # noqa: E402
from etchline.bundle.onnx_networks import onnx_backend  # noqa: E402
from etchline.errors import SettingsError  # noqa: E402
from tests.onnx_bundles import SMALL, networks  # noqa: E402

ROOT = Path(__file__).parents[2]


def batch(view_px, count=3, points=5, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, view_px, view_px), dtype=np.uint8)
    points_xy = rng.uniform(0, view_px - 1, (count, points, 2)).astype(np.float32)
    labels = np.ones((count, points), np.int32)
    return images, points_xy, labels


class BackendContract:
    """What holds for every engine; a subclass gives the fixture `backend`, made of `networks()`."""

    def test_roles_and_views(self, backend):
        assert backend.roles == ("full", "patch")
        assert (backend.view_px("full"), backend.view_px("patch")) == (64, 32)
        assert backend.name

    @pytest.mark.parametrize("role", ["full", "patch"])
    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_forms(self, backend, role, count):
        px = backend.view_px(role)
        found = backend.infer(role, *batch(px, count))
        assert found.probability_bhw.shape == (count, px, px)
        assert found.probability_bhw.dtype == np.uint8
        assert found.score_b.shape == (count,)
        assert found.score_b.dtype == np.float32
        assert (found.score_b >= 0).all()
        assert (found.score_b <= 1).all()

    @pytest.mark.parametrize("role", ["full", "patch"])
    def test_it_is_what_the_network_says(self, backend, role):
        images, points_xy, labels = batch(backend.view_px(role))
        network = networks()[role].eval()
        with torch.inference_mode():
            expected, score = best_mask(network, *map(torch.from_numpy, (images, points_xy, labels)))
        found = backend.infer(role, images, points_xy, labels)
        difference = np.abs(found.probability_bhw.astype(int) - expected.numpy())
        assert difference.max() <= 1
        assert found.score_b == pytest.approx(score.numpy(), abs=1e-4)

    def test_it_repeats_itself(self, backend):
        one, other = (backend.infer("patch", *batch(32)) for _ in range(2))
        assert (one.probability_bhw == other.probability_bhw).all()
        assert (one.score_b == other.score_b).all()

    def test_views_do_not_influence_each_other(self, backend):
        images, points_xy, labels = batch(32, 4)
        together = backend.infer("patch", images, points_xy, labels)
        alone = [
            backend.infer("patch", images[i : i + 1], points_xy[i : i + 1], labels[i : i + 1])
            for i in range(4)
        ]
        for index, single in enumerate(alone):
            difference = single.probability_bhw[0].astype(int) - together.probability_bhw[index]
            assert np.abs(difference).max() <= 1

    def test_no_point(self, backend):
        images, points_xy, labels = batch(64, 2, points=1)
        found = backend.infer("full", images, points_xy, -labels)
        assert found.probability_bhw.shape == (2, 64, 64)

    def test_an_empty_batch(self, backend):
        found = backend.infer("full", *batch(64, 0))
        assert found.probability_bhw.shape == (0, 64, 64)
        assert found.score_b.shape == (0,)

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (lambda i, p, la: (i[:, :-1], p, la), r"images uint8 \(3, 31, 32\): need uint8 \(B, 32, 32\)"),
            (lambda i, p, la: (i.astype(np.int16), p, la), "images int16"),
            (lambda i, p, la: (i, p[:2], la), r"points float32 \(2, 5, 2\): need float32 \(3, N, 2\)"),
            (lambda i, p, la: (i, p[:, :0], la[:, :0]), r"points float32 \(3, 0, 2\)"),
            (lambda i, p, la: (i, p.astype(np.float64), la), "points float64"),
            (lambda i, p, la: (i, p[0], la), r"points float32 \(5, 2\)"),
            (lambda i, p, la: (i, p * np.float32("nan"), la), "points: hold NaN or infinity"),
            (lambda i, p, la: (i, p, la[:, :4]), r"labels int32 \(3, 4\): need int32 \(3, 5\)"),
            (lambda i, p, la: (i, p, la.astype(np.int64)), "labels int64"),
            (lambda i, p, la: (i, p, la * 2), "labels 2 to 2: must be -1, 0 or 1"),
        ],
    )
    def test_bad_batches_are_refused(self, backend, broken, message):
        with pytest.raises(SettingsError, match=message):
            backend.infer("patch", *broken(*batch(32)))


class TestTorch(BackendContract):
    @pytest.fixture
    def backend(self):
        return TorchBackend(networks(), TorchSettings(max_batch=4, threads=1))

    def test_half_precision_stays_close(self, backend):
        half = TorchBackend(networks(), TorchSettings(precision="bfloat16"))
        images = batch(32)
        one, other = backend.infer("patch", *images), half.infer("patch", *images)
        assert half.name == "torch cpu bfloat16"
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


class TestOnnxruntime(BackendContract):
    @pytest.fixture
    def backend(self, small_onnx):
        return onnx_backend(small_onnx.bundle, OnnxSettings(max_batch=4, threads=1))

    def test_it_is_torch_to_the_pixel(self, backend):
        """Where the contract allows a level, these views have none but in one pixel of ten thousand."""
        reference = TorchBackend(networks())
        for role in ("full", "patch"):
            views = batch(backend.view_px(role), count=9, points=2)
            one, other = backend.infer(role, *views), reference.infer(role, *views)
            assert (one.probability_bhw != other.probability_bhw).mean() < 1e-4
            assert one.score_b == pytest.approx(other.score_b, abs=1e-5)

    def test_the_provider_stands_in_the_name(self, backend):
        assert backend.name == "onnxruntime cpu CPUExecutionProvider float32"

    def test_another_provider_than_the_asked_one_is_refused(self, small_onnx, monkeypatch):
        """Here onnxruntime has CUDA built in, but no device: alone it would go on with the CPU."""
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or torch.cuda.is_available():
            pytest.skip("needs onnxruntime-gpu on a machine without a GPU")
        message = "would run on CPUExecutionProvider and not on CUDAExecutionProvider"
        with pytest.raises(SettingsError, match=message):
            onnx_backend(small_onnx.bundle, OnnxSettings(device="cuda"))

    def test_a_provider_that_is_not_built_in(self, monkeypatch):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(SettingsError, match="has no CUDAExecutionProvider; pip install onnxruntime-gpu"):
            OnnxSettings(device="cuda:1")

    def test_a_missing_role(self, small_onnx):
        part = small_onnx.bundle.manifest.networks["patch"].size
        encoder, decoder = (small_onnx.graphs[f"patch/{n}.onnx"].read_bytes() for n in ("encoder", "decoder"))
        alone = OnnxBackend({"patch": RoleGraphs(part, encoder, decoder, "here")})
        with pytest.raises(SettingsError, match="no network for the role full; this backend has patch"):
            alone.view_px("full")

    def test_no_graphs(self):
        with pytest.raises(SettingsError, match="no graphs"):
            OnnxBackend({})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_batch": 0}, "max_batch=0"),
            ({"threads": 0}, "threads=0"),
            ({"device": "abacus"}, "device abacus: onnxruntime runs on cpu, cuda or cuda:<number>"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(SettingsError, match=message):
            OnnxSettings(**settings)

    @pytest.mark.parametrize(
        ("said", "threads", "count"), [(None, None, 1), ("3", None, 3), ("3", 2, 2), ("many", None, 1)]
    )
    def test_threads(self, monkeypatch, said, threads, count):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert OnnxSettings(threads=threads).thread_count == count

    def test_nothing_is_reported_or_left_behind(self, small_onnx, tmp_path):
        """Builds of onnxruntime report to their maker and leave an identifier in the cache by default."""
        path = small_onnx.graphs["patch/encoder.onnx"]
        program = (
            "import sys; from etchline.backends.onnx_engine import OnnxSettings, _session\n"
            "_session(open(sys.argv[1], 'rb').read(), 'here', OnnxSettings())"
        )
        home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        subprocess.run(
            [sys.executable, "-c", program, path], env=home, check=True, cwd=Path(__file__).parents[2]
        )
        assert list(tmp_path.iterdir()) == []


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
