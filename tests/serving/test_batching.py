import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

from etchline.backends.interface import Inference
from serving.batching import Batcher, BatchSettings
from serving.errors import QueueFull
from serving.remote_backend import _request
from tests.serving.asking import metric

pytestmark = pytest.mark.xdist_group("serving")


class Engine:
    """Marks each view by its first pixel; stops where a test wants it to."""

    def __init__(self):
        self.batches = []
        self.may_go = threading.Event()
        self.may_go.set()

    def infer(self, role, images_bhw, points_xy, labels):
        assert self.may_go.wait(10)
        self.batches.append((role, len(images_bhw), labels.shape[1]))
        if images_bhw[0, 0, 0] == 255:
            raise RuntimeError("broken view")
        return Inference(images_bhw + 1, images_bhw[:, 0, 0].astype(np.float32))


def views(count, mark, points=5):
    images = np.full((count, 4, 4), mark, np.uint8)
    return images, np.zeros((count, points, 2), np.float32), np.ones((count, points), np.int32)


def run(engine, settings, *requests, before=None):
    """The answers (or errors) to requests that are made at the same time."""

    async def ask_all():
        batcher = Batcher(engine.infer, settings)
        jobs = [asyncio.create_task(batcher.infer(role, *batch)) for role, batch in requests]
        await asyncio.sleep(0.05)
        engine.may_go.set()
        found = await asyncio.gather(*jobs, return_exceptions=True)
        batcher._task.cancel()
        return found

    return asyncio.run(ask_all())


def test_requests_go_together_and_get_their_own_views():
    engine = Engine()
    found = run(engine, BatchSettings(8, 0.05), *(("patch", views(1, mark)) for mark in range(5)))
    assert engine.batches == [("patch", 5, 5)]
    assert [answer.score_b.tolist() for answer in found] == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert [int(answer.probability_bhw[0, 0, 0]) for answer in found] == [1, 2, 3, 4, 5]


def test_other_networks_and_numbers_of_points_stay_apart():
    engine = Engine()
    requests = [
        ("patch", views(1, 1)),
        ("full", views(1, 2)),
        ("patch", views(1, 3, points=1)),
        ("patch", views(2, 4)),
    ]
    found = run(engine, BatchSettings(8, 0.02), *requests)
    assert sorted(engine.batches) == [("full", 1, 5), ("patch", 1, 1), ("patch", 3, 5)]
    assert [answer.score_b.tolist() for answer in found] == [[1.0], [2.0], [3.0], [4.0, 4.0]]


def test_a_batch_has_its_limit():
    engine = Engine()
    run(
        engine,
        BatchSettings(4, 0.02),
        *(("patch", views(3, mark)) for mark in range(3)),
        ("patch", views(9, 7)),
    )
    assert [size for _, size, _ in engine.batches] == [3, 3, 3, 9]


def test_a_full_queue_refuses():
    engine = Engine()
    engine.may_go.clear()
    requests = [("patch", views(4, mark)) for mark in range(4)]
    found = run(engine, BatchSettings(4, 0.0, max_queue=8), *requests)
    assert isinstance(found[2], QueueFull)
    assert "8 views wait already, the limit is 8" in str(found[2])
    assert [type(found[place]) for place in (0, 1)] == [Inference, Inference]


def test_a_failure_is_told_and_the_next_goes_on():
    engine = Engine()
    found = run(engine, BatchSettings(1, 0.0), ("patch", views(1, 255)), ("patch", views(1, 2)))
    assert isinstance(found[0], RuntimeError)
    assert found[1].score_b.tolist() == [2.0]


def test_a_request_larger_than_the_queue_is_refused():
    found = run(Engine(), BatchSettings(4, 0.0, max_queue=8), ("patch", views(9, 1)), ("patch", views(8, 2)))
    assert isinstance(found[0], QueueFull)
    assert isinstance(found[1], Inference)


def test_views_that_do_not_go_together_do_not_end_the_batcher():
    small = np.zeros((1, 2, 2), np.uint8), *views(1, 0)[1:]
    engine = Engine()

    async def ask_all():
        batcher = Batcher(engine.infer, BatchSettings(8, 0.02))
        jobs = [batcher.infer("patch", *batch) for batch in (views(1, 1), small)]
        broken = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 10)
        good = await asyncio.wait_for(batcher.infer("patch", *views(1, 3)), 10)
        batcher._task.cancel()
        await asyncio.sleep(0)
        again = await asyncio.wait_for(batcher.infer("patch", *views(1, 4)), 10)
        batcher._task.cancel()
        return broken, good, again

    broken, good, again = asyncio.run(ask_all())
    assert [type(error) for error in broken] == [ValueError, ValueError]
    assert (good.score_b.tolist(), again.score_b.tolist()) == ([3.0], [4.0])


def test_the_predictor_batches_concurrent_requests(service):
    rng = np.random.default_rng(0)
    request = _request(
        "patch",
        rng.integers(0, 255, (1, 128, 128), np.uint8),
        np.full((1, 5, 2), 64, np.float32),
        np.ones((1, 5), np.int32),
    )
    names = [f'etchline_{name}_total{{role="patch"}}' for name in ("batches", "batch_requests")]
    before = [metric(service.predictor_url, name) for name in names]
    with grpc.insecure_channel(service.predictor_address) as channel, ThreadPoolExecutor(16) as threads:
        stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
        replies = list(threads.map(lambda _: stub.ModelInfer(request, timeout=30), range(16)))
    batches, requests = (
        metric(service.predictor_url, name) - start for name, start in zip(names, before, strict=True)
    )
    assert requests == 16
    assert batches <= 8
    masks = [np.frombuffer(reply.raw_output_contents[0], np.uint8).astype(int) for reply in replies]
    assert max(np.abs(mask - masks[0]).max() for mask in masks) <= 1


def test_the_predictor_refuses_what_is_no_batch(service):
    good = [np.zeros((1, 128, 128), np.uint8), np.zeros((1, 5, 2), np.float32), np.ones((1, 5), np.int32)]
    bad = [
        ([good[0][:, :64], *good[1:]], r"need uint8 \(B, 128, 128\)"),
        ([good[0], good[1] * np.float32("nan"), good[2]], "NaN or infinity"),
        ([good[0], good[1], good[2] * 7], "labels 7 to 7"),
        ([np.repeat(good[0], 2, axis=0), *good[1:]], r"need float32 \(2, N, 2\)"),
        ([array[:0] for array in good], "no views"),
        ([good[0], np.zeros((1, 65, 2), np.float32), np.ones((1, 65), np.int32)], "more than 64"),
    ]
    with grpc.insecure_channel(service.predictor_address) as channel:
        stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
        for arrays, message in bad:
            with pytest.raises(grpc.RpcError, match=message) as caught:
                stub.ModelInfer(_request("patch", *arrays), timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
