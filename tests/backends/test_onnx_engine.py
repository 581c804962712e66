"""The onnxruntime engine, over graphs that torch exports for the tests (fixture `small_onnx`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

from etchline.backends.onnx_engine import CUDA_PROVIDER, OnnxBackend, OnnxSettings  # noqa: E402
from etchline.backends.onnx_graphs import RoleGraphs  # noqa: E402
from etchline.bundle.onnx_networks import onnx_backend  # noqa: E402
from etchline.errors import SettingsError  # noqa: E402
from tests.backends.contract import BackendContract, batch  # noqa: E402

pytestmark = pytest.mark.xdist_group("onnx")  # its fixtures are made once


class TestOnnxruntime(BackendContract):
    @pytest.fixture
    def backend(self, small_onnx):
        return onnx_backend(small_onnx.bundle, OnnxSettings(max_batch=4, threads=1))

    def test_it_is_torch_to_the_pixel(self, backend):
        """Where the contract allows a level, these views have none but in one pixel of ten thousand."""
        from etchline.backends.torch_engine import TorchBackend
        from tests.small_networks import networks

        reference = TorchBackend(networks())
        for role in ("full", "patch"):
            views = batch(backend.view_px(role), count=9, points=2)
            one, other = backend.infer(role, *views), reference.infer(role, *views)
            assert (one.probability_bhw != other.probability_bhw).mean() < 1e-4
            assert one.score_b == pytest.approx(other.score_b, abs=1e-5)

    def test_the_provider_stands_in_the_name(self, backend):
        assert backend.name == f"onnxruntime {onnxruntime.__version__} cpu CPUExecutionProvider float32"

    def test_another_provider_than_the_asked_one_is_refused(self, small_onnx, monkeypatch):
        """Here onnxruntime has CUDA built in, but no device: alone it would go on with the CPU."""
        import torch  # whose package the fixture needs anyway

        if CUDA_PROVIDER not in onnxruntime.get_available_providers() or torch.cuda.is_available():
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
