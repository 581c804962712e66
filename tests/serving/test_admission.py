"""How many requests the transformer takes, how long they may wait, and when it is ready."""

import asyncio
import base64
import threading
import time
import weakref

import pytest

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.images import encode_png
from serving.errors import QueueFull, Unavailable
from serving.remote_backend import Deadline, PredictorConnection
from serving.settings import TransformerSettings
from serving.transformer import LineModel, become_ready
from tests.serving.asking import scan

PNG = encode_png(scan())


class Payload(dict):
    """A v1 request that can be asked whether it is still in memory."""


def payload(**parameters):
    image = {"image": {"b64": base64.b64encode(PNG).decode()}}
    return Payload(instances=[image], parameters=parameters)


class SlowService:
    """Stands where the image service does, and works until a test lets it go."""

    def __init__(self):
        self.may_go, self.deadlines = threading.Event(), []

    def segment(self, asked, deadline, trace):
        self.deadlines.append(deadline)
        assert self.may_go.wait(20)
        raise Unavailable("as the test wants")


def line_model(service, **settings):
    model = LineModel(service, TransformerSettings(SHIPPED, **settings))
    model.ready = True
    return model


async def _until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never")


def test_more_than_may_wait_are_refused():
    service = SlowService()
    model = line_model(service, max_running=1, max_waiting=2)

    async def ask_all():
        jobs = [asyncio.create_task(model.predict(payload())) for _ in range(4)]
        await _until(jobs[3].done)
        service.may_go.set()
        return await asyncio.gather(*jobs, return_exceptions=True)

    found = asyncio.run(ask_all())
    assert [type(answer) for answer in found] == [Unavailable, Unavailable, Unavailable, QueueFull]
    assert "3 requests are in work or wait" in str(found[3])


def test_clients_that_leave_make_no_room_and_leave_no_payload():
    service = SlowService()
    model = line_model(service, max_running=1, max_waiting=1)

    async def ask_all():
        first = asyncio.create_task(model.predict(payload()))
        await _until(lambda: service.deadlines)
        body = payload()
        waiting, kept = asyncio.create_task(model.predict(body)), weakref.ref(body)
        del body
        await asyncio.sleep(0.05)
        for job in (first, waiting):
            job.cancel()
        await asyncio.wait([first, waiting])
        del waiting, job
        await _until(lambda: kept() is None)
        with pytest.raises(QueueFull):  # both places are taken: a thread still works for the first
            await model.predict(payload())
        service.may_go.set()
        await _until(lambda: not model._admitted)

    asyncio.run(ask_all())
    assert len(service.deadlines) == 1  # the second was never begun


@pytest.mark.parametrize(
    ("settings", "parameters"), [({"deadline_s": 0.2}, {}), ({}, {"deadline_s": 0.2})], ids=["own", "asked"]
)
def test_the_deadline_counts_the_waiting(settings, parameters):
    service = SlowService()
    model = line_model(service, max_running=1, **settings)

    async def ask_all():
        first = asyncio.create_task(model.predict(payload()))
        await _until(lambda: service.deadlines)
        second = asyncio.create_task(model.predict(payload(**parameters)))
        await asyncio.sleep(0.3)
        service.may_go.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    assert "used up while it waited" in str(asyncio.run(ask_all())[1])
    assert len(service.deadlines) == 1


def test_the_instances_of_a_request_share_its_deadline():
    service = SlowService()
    service.segment = lambda asked, deadline, trace: service.deadlines.append(deadline)
    body = payload()
    body["instances"] *= 3
    with pytest.raises(AttributeError):  # the stand-in has no answer
        asyncio.run(line_model(service).predict(body))
    assert len(set(map(id, service.deadlines))) == 1


def test_an_earlier_deadline_counts_from_the_same_arrival():
    whole = Deadline(60, time.monotonic() - 10)
    assert whole.within(None) is whole
    assert whole.within(90).remaining_s == pytest.approx(50, abs=1)
    assert whole.within(20).remaining_s == pytest.approx(10, abs=1)


class Warmed:
    """An image service whose first warming up fails as no code of ours would."""

    def __init__(self, failures):
        self.failures = failures

    def warm_up(self, golden, deadline):
        if self.failures:
            raise self.failures.pop()


def test_an_unexpected_error_does_not_keep_it_from_becoming_ready(monkeypatch, caplog):
    monkeypatch.setattr("serving.transformer.check_networks", lambda bundle, backend: 1.0)
    bundle = load_bundle(SHIPPED)
    model = LineModel(None, TransformerSettings(SHIPPED))
    monkeypatch.setattr("serving.transformer.logger.propagate", True)
    become_ready(
        model, Warmed([MemoryError("no memory")]), bundle, PredictorConnection("127.0.0.1:1", bundle)
    )
    assert model.ready
    assert "Traceback" in caplog.text
    assert "no memory" in caplog.text
