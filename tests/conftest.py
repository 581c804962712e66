import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real SEM images; skips where it is absent."""
    folder = Path(os.environ.get("ETCHLINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real SEM data not found at {folder}; set ETCHLINE_DATA")
    return folder


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory):
    """A bundle of small random networks, without and with graphs; see `onnx_bundles.Exported`."""
    for name in ("torch", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extras `train` and `onnx` are not installed")
    from tests.onnx_bundles import export_small

    return export_small(tmp_path_factory.mktemp("onnx"))
