import pytest

from etchline.bundle.shipped import SHIPPED
from etchline.images import encode_png
from etchline.rollout.local import LocalSettings, start_service, stop_service
from tests.serving.asking import scan

MAX_BYTES = 2_000_000
MAX_PIXELS = 1_000_000


@pytest.fixture(scope="session")
def allowed(tmp_path_factory):
    """The folder that the service may read images from."""
    return tmp_path_factory.mktemp("allowed")


@pytest.fixture(scope="session")
def service(tmp_path_factory, allowed):
    """Predictor and transformer over the shipped bundle; whoever stops one starts it again."""
    limits = ("--max-bytes", str(MAX_BYTES), "--max-pixels", str(MAX_PIXELS))
    settings = LocalSettings(
        ready_within_s=400,  # machines may be busy
        predictor_options=("--max-wait-ms", "20"),
        transformer_options=(*limits, "--uri-prefix", allowed.as_uri()),
    )
    running = start_service(SHIPPED, tmp_path_factory.mktemp("service"), settings)
    yield running
    stop_service(running)


@pytest.fixture(scope="session")
def png():
    return encode_png(scan())
