"""The transformer: KServe model `etchline`, images in, lines out; docs/serving.md says how to ask it."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from kserve import InferRequest, InferResponse, Model
from kserve.errors import InvalidInput
from kserve.logging import logger

from etchline.bundle import Bundle
from etchline.bundle.manifest import GOLDEN_PATCH
from etchline.errors import EtchlineError
from etchline.segmentation.files import library_versions
from serving import metrics
from serving.answers import to_v1, to_v2
from serving.bundles import served_bundle
from serving.errors import QueueFull, Unavailable
from serving.image_requests import ImageRequest, from_v1, from_v2
from serving.image_service import ImageService, SegmentedImage
from serving.readiness import check_networks
from serving.remote_backend import Deadline, PredictorConnection, RemoteBackend
from serving.server import GuardedServer, exit_code_of
from serving.settings import MODEL, TransformerSettings, parse_transformer
from serving.uris import open_prefixes

FORWARDED = ("traceparent", "tracestate", "x-request-id")
_MAX_HEADER = 512
GOLDEN_DEADLINE_S = 20.0
GOLDEN_PAUSE_S = 0.2

T = TypeVar("T")


class _Job(Generic[T]):
    """Work for a thread, which lets go of it, with the request's payload, when it has begun or is dropped."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work

    def drop(self) -> None:
        """Forgets the work, where it has not begun."""
        self._work = None

    def run(self) -> T:
        """The work's result.

        Raises:
            Unavailable: it was dropped.
        """
        work, self._work = self._work, None
        if work is None:
            raise Unavailable("the client has gone")
        return work()


class LineModel(Model):  # type: ignore[misc]  # kserve is untyped
    """Segments images, a bounded number at a time.

    Args:
        service: does the work.
        settings: limits.
    """

    def __init__(self, service: ImageService, settings: TransformerSettings) -> None:
        super().__init__(MODEL)
        self._service = service
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.max_running, thread_name_prefix="image")
        self._admitted = 0

    async def predict(
        self, payload: object, headers: dict[str, str] | None = None, _: object = None
    ) -> InferResponse | dict[str, Any]:
        """The answer to a request of OIP v2 or KServe v1.

        Raises:
            InvalidInput: the request cannot be followed: 400 or INVALID_ARGUMENT.
            Unavailable: not now: 503, or UNAVAILABLE and RESOURCE_EXHAUSTED.
        """
        started = time.perf_counter()
        deadline = Deadline(self._settings.deadline_s)
        try:
            if not self.ready:
                raise Unavailable(f"{MODEL}: not ready; the golden patch has not come out right yet")
            return await self._admit(lambda: self._answer(payload, headers or {}, deadline))
        except InvalidInput:
            metrics.ERRORS.labels("invalid_input").inc()
            raise
        except Unavailable as error:
            metrics.ERRORS.labels(error.status_code.name.lower()).inc()
            raise
        except Exception:
            metrics.ERRORS.labels("internal").inc()
            raise
        finally:
            metrics.IMAGE_SECONDS.observe(time.perf_counter() - started)

    def load(self) -> bool:
        """Whether it is ready; kserve's own would make it so."""
        return bool(self.ready)

    def get_input_types(self) -> list[dict[str, Any]]:
        """What it takes: one of these; -1 is any number."""
        return [
            {"name": "image", "datatype": "BYTES", "shape": [1]},
            {"name": "image", "datatype": "UINT8", "shape": [-1, -1]},
            {"name": "uri", "datatype": "BYTES", "shape": [1]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """What it gives."""
        names = ("mask", "confidence", "contours", "record", "overlay")
        shapes = {"contours": [-1]}
        return [{"name": name, "datatype": "BYTES", "shape": shapes.get(name, [1])} for name in names]

    def close(self) -> None:
        """Forgets what waits; what is in work ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _admit(self, work: Callable[[], T]) -> T:
        """The result of work in a thread, if there is room for it.

        A client that goes does not make room: a thread cannot be stopped, so its work goes on. What still
        waits keeps its place until a thread comes by, but lets go of the payload.
        """
        room = self._settings.max_running + self._settings.max_waiting
        if self._admitted >= room:
            raise QueueFull(f"{self._admitted} requests are in work or wait, as many as may; try again later")
        self._admitted += 1
        loop, job = asyncio.get_running_loop(), _Job(work)

        def leave(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody counts any more
                loop.call_soon_threadsafe(self._leave)

        running = self._threads.submit(job.run)
        running.add_done_callback(leave)
        try:
            return await asyncio.shield(asyncio.wrap_future(running))
        except asyncio.CancelledError:
            job.drop()
            raise

    def _leave(self) -> None:
        self._admitted -= 1

    def _answer(
        self, payload: object, headers: dict[str, str], deadline: Deadline
    ) -> InferResponse | dict[str, Any]:
        """What a thread does: the deadline counts from the arrival, and may have passed meanwhile."""
        began = time.monotonic()
        _check_waiting(deadline, began)
        if isinstance(payload, InferRequest):
            asked = from_v2(payload, self._settings)
            return to_v2(payload, asked, self._segment([asked], headers, deadline, began)[0])
        if isinstance(payload, dict):
            images = from_v1(payload, self._settings)
            found = self._segment(images, headers, deadline, began)
            return {"predictions": [to_v1(*pair) for pair in zip(images, found, strict=True)]}
        raise InvalidInput("the body is no inference request; send JSON")

    def _segment(
        self, images: list[ImageRequest], headers: dict[str, str], deadline: Deadline, began: float
    ) -> list[SegmentedImage]:
        """The images of one request, which has one deadline."""
        deadline = deadline.within(images[0].options.deadline_s)
        _check_waiting(deadline, began)
        trace = {name: headers[name] for name in FORWARDED if _is_plain(headers.get(name))}
        return [self._service.segment(asked, deadline, trace) for asked in images]


def _check_waiting(deadline: Deadline, began: float) -> None:
    """Refuses to begin what nobody waits for any more.

    Raises:
        Unavailable: the deadline had passed when a thread was free.
    """
    if deadline.passed_at(began):
        raise Unavailable("the request's time was used up while it waited; try again later")


def _is_plain(value: str | None) -> bool:
    """Whether a header can go along as gRPC metadata."""
    return value is not None and len(value) <= _MAX_HEADER and value.isascii() and value.isprintable()


def become_ready(
    model: LineModel, service: ImageService, bundle: Bundle, connection: PredictorConnection
) -> None:
    """Asks the predictor for the golden patch until it comes out right; then the model is ready and stays so.

    A predictor that is lost later does not make it unready: the classical answer stands in.
    """
    golden, told = bundle.path(GOLDEN_PATCH).read_bytes(), ""
    while not model.ready:
        try:
            iou = check_networks(bundle, RemoteBackend(connection, Deadline(GOLDEN_DEADLINE_S)))
            service.warm_up(golden, Deadline(GOLDEN_DEADLINE_S))
        except (EtchlineError, Unavailable) as error:
            if str(error) != told:
                logger.warning("not ready: %s", error)
            told = str(error)
            time.sleep(GOLDEN_PAUSE_S)
        except Exception as error:  # noqa: BLE001  (else this thread ends, and it is never ready)
            if repr(error) != told:
                logger.exception("not ready: an error that is none of ours")
            told = repr(error)
            time.sleep(GOLDEN_PAUSE_S)
        else:
            logger.info("ready: bundle %s, golden IoU %.4f", bundle.digest[:12], iou)
            model.ready = True


def facts_of(bundle: Bundle) -> dict[str, Any]:
    """What `GET /about` tells: by it a client sees whether an earlier result is what it would get now."""
    return {
        "bundle": {"name": bundle.manifest.name, "digest": bundle.digest},
        "policy": bundle.manifest.arbitration.policy,
        "versions": library_versions(),
    }


def count_refusal(status: int) -> None:
    """Counts a REST request that no model has seen."""
    metrics.ERRORS.labels("too_large" if status == 413 else "invalid_input").inc()


def serve(settings: TransformerSettings) -> None:
    """Serves until SIGINT or SIGTERM: live at once, ready when the golden patch comes out right.

    Raises:
        StorageError: the bundle cannot be fetched, or S3 is named as a prefix and cannot be used.
        BundleError: the bundle cannot be used.
        SettingsError: a port is in use.
    """
    with served_bundle(settings.bundle) as bundle:
        _serve(bundle, settings)


def _serve(bundle: Bundle, settings: TransformerSettings) -> None:
    open_prefixes(settings.uri_prefixes, settings.deadline_s)
    connection = PredictorConnection(
        settings.predictor, bundle, settings.calls_at_once, settings.views_per_call
    )
    service = ImageService(bundle, settings, connection)
    model = LineModel(service, settings)
    threading.Thread(target=become_ready, args=(model, service, bundle, connection), daemon=True).start()
    try:
        GuardedServer(settings.listen, count_refusal, facts_of(bundle)).serve([model])
    finally:
        model.close()


def main(arguments: list[str] | None = None) -> int:
    """Runs the transformer; returns the exit code."""
    return exit_code_of(lambda: serve(parse_transformer(arguments)))


if __name__ == "__main__":
    sys.exit(main())
