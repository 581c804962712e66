import time

import grpc
import numpy as np
import pytest

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.errors import SettingsError
from serving.errors import PredictorError
from serving.remote_backend import Deadline, PredictorConnection, RemoteBackend
from tests.serving.stand_in import StandIn, standing_in

pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(SHIPPED)


def views(count, edge=128, points=5):
    return (
        np.zeros((count, edge, edge), np.uint8),
        np.zeros((count, points, 2), np.float32),
        np.ones((count, points), np.int32),
    )


def test_views_are_cut_into_calls_in_order(bundle):
    servicer = StandIn(bundle.digest)
    with standing_in(servicer) as address:
        backend = RemoteBackend(PredictorConnection(address, bundle, views_per_call=8), Deadline(10))
        found = backend.infer("patch", *views(19))
        assert backend.infer("patch", *views(0)).probability_bhw.shape == (0, 128, 128)
        assert backend.name == "predictor: stand-in"
    assert found.probability_bhw.shape == (19, 128, 128)
    assert found.score_b.tolist() == [1.0] * 19
    assert sorted(servicer.batches) == [3, 8, 8]


def test_it_has_the_bundles_networks(bundle):
    backend = RemoteBackend(PredictorConnection("127.0.0.1:1", bundle), Deadline(1))
    assert (backend.roles, backend.view_px("full"), backend.view_px("patch")) == (("full", "patch"), 256, 128)
    with pytest.raises(SettingsError, match=r"need uint8 \(B, 128, 128\)"):
        backend.infer("patch", *views(1, edge=64))


def test_headers_go_along(bundle):
    servicer = StandIn(bundle.digest)
    trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    with standing_in(servicer) as address:
        RemoteBackend(PredictorConnection(address, bundle), Deadline(5), trace).infer("patch", *views(1))
    assert servicer.metadata[0]["traceparent"] == trace["traceparent"]


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_one_refusal_is_retried(bundle, status):
    servicer = StandIn(bundle.digest, refusals=[status])
    with standing_in(servicer) as address:
        found = RemoteBackend(PredictorConnection(address, bundle), Deadline(5)).infer("patch", *views(2))
    assert len(found.score_b) == 2
    assert len(servicer.batches) == 2


@pytest.mark.parametrize(
    ("status", "calls", "fault"),
    [
        (grpc.StatusCode.UNAVAILABLE, 2, "down"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 2, "busy"),
        (grpc.StatusCode.INVALID_ARGUMENT, 1, "failed"),
    ],
)
def test_a_second_refusal_is_told(bundle, status, calls, fault):
    servicer = StandIn(bundle.digest, refusals=[status] * 9)
    with standing_in(servicer) as address:
        backend = RemoteBackend(PredictorConnection(address, bundle), Deadline(5))
        with pytest.raises(PredictorError, match=f"{status.name}: as the test wants") as caught:
            backend.infer("patch", *views(1))
    assert (caught.value.fault, len(servicer.batches)) == (fault, calls)


def test_nobody_there(bundle):
    backend = RemoteBackend(PredictorConnection("127.0.0.1:1", bundle), Deadline(5))
    with pytest.raises(PredictorError, match="UNAVAILABLE") as caught:
        backend.infer("patch", *views(1))
    assert caught.value.fault == "down"


def test_a_late_predictor_leaves_time_for_another_answer(bundle):
    with standing_in(StandIn(bundle.digest, delay_s=1.5)) as address:
        deadline = Deadline(1.0)
        started = time.monotonic()
        backend = RemoteBackend(PredictorConnection(address, bundle), deadline)
        with pytest.raises(PredictorError, match="DEADLINE_EXCEEDED") as caught:
            backend.infer("patch", *views(1))
    assert caught.value.fault == "late"
    assert 0.5 <= time.monotonic() - started < 1.8  # the stand-in's own end included
    assert deadline.remaining_s < 0.5


def test_no_call_is_made_without_time(bundle):
    servicer = StandIn(bundle.digest)
    with standing_in(servicer) as address:
        backend = RemoteBackend(PredictorConnection(address, bundle), Deadline(0.01))
        with pytest.raises(PredictorError, match="used up"):
            backend.infer("patch", *views(1))
    assert not servicer.batches


@pytest.mark.parametrize(
    ("digest", "count", "fault", "message"),
    [("f" * 64, None, "digest", "runs bundle ffffffffffff"), (None, 1, "failed", "not for 2 views")],
)
def test_answers_that_are_none(bundle, digest, count, fault, message):
    servicer = StandIn(digest or bundle.digest, views=count)
    with standing_in(servicer) as address:
        backend = RemoteBackend(PredictorConnection(address, bundle), Deadline(5))
        with pytest.raises(PredictorError, match=message) as caught:
            backend.infer("patch", *views(2))
    assert caught.value.fault == fault


def test_scores_that_are_no_numbers(bundle):
    with standing_in(StandIn(bundle.digest, score=float("nan"))) as address:
        backend = RemoteBackend(PredictorConnection(address, bundle), Deadline(5))
        with pytest.raises(PredictorError, match="no finite numbers"):
            backend.infer("patch", *views(1))


def test_the_name_is_that_of_what_has_answered(bundle):
    """Another engine may be there for the next image, or even in the midst of one."""
    servicer = StandIn(bundle.digest)
    with standing_in(servicer) as address:
        connection = PredictorConnection(address, bundle)
        first = RemoteBackend(connection, Deadline(5))
        first.infer("patch", *views(1))
        servicer.engine = "another"
        second = RemoteBackend(connection, Deadline(5))
        assert second.name == "predictor: stand-in"  # nothing has answered for it yet
        second.infer("patch", *views(1))
        assert (first.name, second.name) == ("predictor: stand-in", "predictor: another")
        first.infer("patch", *views(1))
    assert first.name == "predictor: stand-in, another"
