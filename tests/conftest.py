import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.s3_server import S3


def pytest_configure() -> None:
    """Ctrl-C as in a terminal: a shell's `&` has it ignored, and tests interrupt themselves."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def hangups() -> Iterator[None]:
    """A hang-up is heeded as in a terminal: `nohup` has it ignored, here and in the processes a test starts.

    Not for all tests: whoever uses `nohup` wants them to go on without the terminal.
    """
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real SEM images; skips where it is absent."""
    folder = Path(os.environ.get("ETCHLINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real SEM data not found at {folder}; set ETCHLINE_DATA")
    return folder


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The endpoint of an S3 server that runs as long as the tests."""
    pytest.importorskip("boto3", reason="the extra `s3` is not installed")
    from tests.s3_server import s3_endpoint

    with s3_endpoint() as url:
        yield url


@pytest.fixture
def s3(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[S3]":
    """An empty bucket, the variables that lead to its server, and a cache of its own."""
    from tests.s3_server import S3, environment

    for name, value in environment(s3_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ETCHLINE_CACHE", str(tmp_path / "cache"))
    server = S3(s3_url)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory):
    """A bundle of small random networks, without and with graphs; see `onnx_bundles.Exported`."""
    for name in ("torch", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extras `train` and `onnx` are not installed")
    from tests.onnx_bundles import export_small

    return export_small(tmp_path_factory.mktemp("onnx"))
