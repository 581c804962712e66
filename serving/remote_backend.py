"""The networks of a predictor elsewhere as a `Backend`: over gRPC, with one deadline for a whole image."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

from etchline.backends.interface import (
    Float32Array,
    Inference,
    Int32Array,
    Role,
    Uint8Array,
    check_batch,
    network_of,
    roles_of,
    view_edge,
)
from etchline.bundle import Bundle
from etchline.segmentation.record import DegradedBy
from serving import metrics
from serving.errors import PredictorError
from serving.settings import PREDICTOR_MODELS

# Without these a channel stays away for up to a minute after the predictor is back.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The predictor is in the same pod; a proxy of the environment is for the world outside.
    ("grpc.enable_http_proxy", 0),
)
_FAULTS: dict[grpc.StatusCode, DegradedBy] = {
    grpc.StatusCode.UNAVAILABLE: "down",
    grpc.StatusCode.DEADLINE_EXCEEDED: "late",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "busy",
}
_RETRY_AFTER_S = 0.15
LEAST_CALL_S = 0.02
"""With less than this left, no call is made any more."""


class Deadline:
    """The time that a request has.

    Args:
        seconds: from its arrival.
        arrived: by `time.monotonic`; `None` is now.
    """

    def __init__(self, seconds: float, arrived: float | None = None) -> None:
        self._arrived = time.monotonic() if arrived is None else arrived
        self._end = self._arrived + seconds

    def within(self, seconds: float | None) -> "Deadline":
        """The earlier of this one and another, `seconds` after the same arrival."""
        return self if seconds is None else Deadline(min(seconds, self._end - self._arrived), self._arrived)

    @property
    def remaining_s(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._end - time.monotonic()

    def passed_at(self, time_s: float) -> bool:
        """Whether it had passed at a time of `time.monotonic`."""
        return time_s >= self._end

    def share_s(self) -> float:
        """The seconds that one call may take: half of what is left.

        So a call that hangs leaves time for its one retry, and that for the classical answer.

        Raises:
            PredictorError: nothing worth a call is left.
        """
        share = self.remaining_s / 2
        if share < LEAST_CALL_S:
            raise PredictorError("late", "predictor: the time of this image is used up")
        return share


@dataclass
class PredictorConnection:
    """The channel to a predictor, for all images; safe to use from several threads.

    Attributes:
        address: host:port of its gRPC.
        bundle: what it must run.
        calls_at_once: for one image.
        views_per_call: as an engine of our own would cut batches.
        engine: what the predictor last said that it runs.
    """

    address: str
    bundle: Bundle
    calls_at_once: int = 4
    views_per_call: int = 8
    engine: str = "not known"
    stub: grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        self.stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Ends the channel."""
        self._channel.close()


class RemoteBackend:
    """A `Backend` for one image.

    Args:
        connection: to the predictor.
        deadline: of the image.
        trace: headers that go along with every call, such as `traceparent`.
    """

    def __init__(
        self,
        connection: PredictorConnection,
        deadline: Deadline,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._metadata = tuple((trace or {}).items())
        self._networks = connection.bundle.manifest.networks
        self._engines: dict[str, None] = {}

    @property
    def name(self) -> str:
        """See `Backend.name`: what has answered for this image, or before the first answer, the last one."""
        return f"predictor: {', '.join(self._engines) or self._connection.engine}"

    @property
    def roles(self) -> tuple[Role, ...]:
        """See `Backend.roles`."""
        return roles_of(self._networks)

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`; from the bundle, without asking."""
        return view_edge(network_of(self._networks, role).size, role)

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`.

        Views are cut into calls as an engine here would cut them into batches, so that results are the same.

        Raises:
            PredictorError: the predictor cannot be reached, is late or busy, runs another bundle or answers
                something else; one retry was in vain.
        """
        check_batch(self.view_px(role), images_bhw, points_xy, labels)
        probability_bhw = np.empty(images_bhw.shape, np.uint8)
        score_b = np.empty(len(images_bhw), np.float32)
        step = self._connection.views_per_call
        parts = [slice(start, start + step) for start in range(0, len(images_bhw), step)]
        requests = [_request(role, images_bhw[part], points_xy[part], labels[part]) for part in parts]
        for part, response in zip(parts, self._calls(role, requests), strict=True):
            found = self._read(response, images_bhw[part].shape)
            probability_bhw[part], score_b[part] = found
        return Inference(probability_bhw, score_b)

    def _calls(self, role: Role, requests: Sequence[pb.ModelInferRequest]) -> Iterator[pb.ModelInferResponse]:
        """The responses in order, with a bounded number of calls on their way."""
        waiting = deque(requests)
        running: deque[tuple[pb.ModelInferRequest, grpc.Future, float]] = deque()
        try:
            while waiting or running:
                while waiting and len(running) < self._connection.calls_at_once:
                    request = waiting.popleft()
                    running.append((request, self._start(request), time.perf_counter()))
                request, call, started = running.popleft()
                response = self._result(request, call)
                metrics.CALL_SECONDS.labels(role).observe(time.perf_counter() - started)
                yield response
        finally:
            for _, call, _ in running:
                call.cancel()

    def _start(self, request: pb.ModelInferRequest) -> grpc.Future:
        return self._connection.stub.ModelInfer.future(
            request, timeout=self._deadline.share_s(), metadata=self._metadata
        )

    def _result(self, request: pb.ModelInferRequest, call: grpc.Future) -> pb.ModelInferResponse:
        """The response of a call that was started, after one retry where that may help."""
        try:
            return call.result()
        except grpc.RpcError as error:
            metrics.CALL_FAILURES.labels(error.code().name).inc()
            if error.code() not in _FAULTS:
                raise self._failed(error) from error
        time.sleep(min(_RETRY_AFTER_S, max(self._deadline.remaining_s / 4, 0.0)))
        try:
            return self._start(request).result()
        except grpc.RpcError as error:
            metrics.CALL_FAILURES.labels(error.code().name).inc()
            raise self._failed(error) from error

    def _failed(self, error: grpc.RpcError) -> PredictorError:
        status = error.code()
        details = " ".join(str(error.details()).split())[:200]
        return PredictorError(
            _FAULTS.get(status, "failed"), f"predictor {self._connection.address}: {status.name}: {details}"
        )

    def _read(self, response: pb.ModelInferResponse, shape: tuple[int, ...]) -> Inference:
        """The answer to a call for views of this shape.

        Raises:
            PredictorError: it comes from another bundle, or is none.
        """
        address, own = self._connection.address, self._connection.bundle.digest
        digest = response.parameters["bundle_digest"].string_param
        if digest != own:
            raise PredictorError(
                "digest", f"predictor {address} runs bundle {digest[:12] or '?'}, this is {own[:12]}"
            )
        raw = dict(
            zip((output.name for output in response.outputs), response.raw_output_contents, strict=False)
        )
        mask, score = raw.get("mask", b""), raw.get("score", b"")
        if len(mask) != np.prod(shape) or len(score) != 4 * shape[0]:
            raise PredictorError("failed", f"predictor {address}: its answer is not for {shape[0]} views")
        score_b = np.frombuffer(score, "<f4")
        if not np.isfinite(score_b).all():
            raise PredictorError("failed", f"predictor {address}: its scores are no finite numbers")
        self._connection.engine = response.parameters["backend"].string_param
        self._engines[self._connection.engine] = None
        return Inference(np.frombuffer(mask, np.uint8).reshape(shape), score_b)


def _request(
    role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
) -> pb.ModelInferRequest:
    arrays = (
        ("image", "UINT8", images_bhw),
        ("points", "FP32", points_xy.astype("<f4")),
        ("labels", "INT32", labels.astype("<i4")),
    )
    return pb.ModelInferRequest(
        model_name=PREDICTOR_MODELS[role],
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=array.shape)
            for name, datatype, array in arrays
        ],
        raw_input_contents=[array.tobytes() for _, _, array in arrays],
    )
