"""Dynamic batching: requests that are there at the same time go through a network together."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from etchline.backends.interface import Float32Array, Inference, Int32Array, Role, Uint8Array
from serving import metrics
from serving.errors import QueueFull

Infer = Callable[[Role, Uint8Array, Float32Array, Int32Array], Inference]


@dataclass(frozen=True)
class BatchSettings:
    """How requests wait for each other.

    Attributes:
        max_batch: views that go together; a larger request goes alone.
        max_wait_s: a batch that is not full waits this long for others.
        max_queue: views that may wait.
    """

    max_batch: int = 8
    max_wait_s: float = 0.002
    max_queue: int = 256


@dataclass
class _Waiting:
    """A request in the queue."""

    role: Role
    images_bhw: Uint8Array
    points_xy: Float32Array
    labels: Int32Array
    answer: asyncio.Future[Inference]

    @property
    def key(self) -> tuple[Role, int]:
        """Requests of one key can go together."""
        return self.role, self.labels.shape[1]


class Batcher:
    """Runs one batch at a time, oldest request first, with others of its role and number of points.

    Args:
        infer: the engine; it runs in a thread of its own.
        settings: see `BatchSettings`.
    """

    def __init__(self, infer: Infer, settings: BatchSettings) -> None:
        self._infer = infer
        self._settings = settings
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None

    async def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """What the engine says about a request of at least one view, checked as `Backend.infer` wants it.

        Raises:
            QueueFull: as many views wait as may wait, or the request alone has more.
        """
        waiting = sum(len(request.images_bhw) for request in self._queue if not request.answer.done())
        if waiting + len(images_bhw) > self._settings.max_queue:
            metrics.REFUSED_VIEWS.inc(len(images_bhw))
            raise QueueFull(
                f"no room for {len(images_bhw)} views: {waiting} views wait already, "
                f"the limit is {self._settings.max_queue}; try again later"
            )
        answer: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(role, images_bhw, points_xy, labels, answer))
        self._count_waiting()
        self._arrived.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if batch:
                await self._answer(batch)

    async def _fill(self) -> None:
        """Waits until the oldest request's batch is full, at most `max_wait_s`."""
        until = time.monotonic() + self._settings.max_wait_s
        while self._matching() < self._settings.max_batch:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), remaining)

    def _matching(self) -> int:
        key = self._queue[0].key if self._queue else None
        return sum(len(request.images_bhw) for request in self._queue if request.key == key)

    def _take(self) -> list[_Waiting]:
        """The oldest request and those that fit to it, in their order; who gave up is dropped."""
        self._queue = deque(request for request in self._queue if not request.answer.done())
        taken: list[_Waiting] = []
        views = 0
        for request in self._queue:
            fits = views + len(request.images_bhw) <= self._settings.max_batch
            if not taken or (request.key == taken[0].key and fits):
                taken.append(request)
                views += len(request.images_bhw)
        chosen = {id(request) for request in taken}
        self._queue = deque(request for request in self._queue if id(request) not in chosen)
        self._count_waiting()
        return taken

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            await self._answer_together(batch)
        except Exception as error:  # noqa: BLE001  (each waiting request gets it; the loop lives on)
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)

    async def _answer_together(self, batch: list[_Waiting]) -> None:
        role = batch[0].role
        images = np.concatenate([request.images_bhw for request in batch])
        points = np.concatenate([request.points_xy for request in batch])
        labels = np.concatenate([request.labels for request in batch])
        metrics.BATCH_VIEWS.labels(role).observe(len(images))
        metrics.BATCH_REQUESTS.labels(role).inc(len(batch))
        metrics.BATCHES.labels(role).inc()
        loop = asyncio.get_running_loop()
        with metrics.INFERENCE_SECONDS.labels(role).time():
            found = await loop.run_in_executor(self._thread, self._infer, role, images, points, labels)
        start = 0
        for request in batch:
            part = slice(start, start + len(request.images_bhw))
            if not request.answer.done():
                request.answer.set_result(Inference(found.probability_bhw[part], found.score_b[part]))
            start = part.stop

    def _count_waiting(self) -> None:
        metrics.WAITING_VIEWS.set(sum(len(request.images_bhw) for request in self._queue))
