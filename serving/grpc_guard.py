"""What stands before kserve's gRPC servicer: bounds on what it would turn into Python objects, one by one.

protobuf and kserve convert a request on the event loop, which stands still for as long. A message of a few MB
can hold a hundred thousand tensors, or millions of numbers whose shape says that there are two.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message
from grpc import HandlerCallDetails, RpcMethodHandler, ServicerContext
from grpc.aio import ServerInterceptor
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.guard import MAX_INPUTS, MAX_JSON_VALUES, MAX_OUTPUTS, MAX_PARAMETERS
from serving.wire import WireError, check_wire

_MAX_RANK = 8
_CONTENTS = tuple(field.name for field in pb.InferTensorContents.DESCRIPTOR.fields)
_METHODS = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name


@dataclass(frozen=True)
class _Refused:
    """Stands where a message would, until there is a context to answer by."""

    reason: str


class BoundedMessages(ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Has messages counted before protobuf takes them apart.

    Args:
        on_refusal: is told the status, as of REST, of each request that is refused.
    """

    def __init__(self, on_refusal: Callable[[int], None]) -> None:
        self._on_refusal = on_refusal

    async def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], Awaitable[RpcMethodHandler]],
        handler_call_details: HandlerCallDetails,
    ) -> RpcMethodHandler:
        """The handler of a call, behind `check_wire`."""
        handler = await continuation(handler_call_details)
        method = _METHODS.get(handler_call_details.method.rpartition("/")[2])
        if handler is None or method is None:
            return handler

        def read(data: bytes) -> Message | _Refused:
            try:
                check_wire(data, method.input_type)
            except WireError as error:
                return _Refused(str(error))
            try:
                message: Message = handler.request_deserializer(data)
            except DecodeError as error:
                return _Refused(f"the message cannot be read ({error})")
            return message

        async def answer(request: Message | _Refused, context: ServicerContext) -> Message:
            if isinstance(request, _Refused):
                self._on_refusal(400)
                raise InvalidInput(request.reason)
            response: Message = await handler.unary_unary(request, context)
            return response

        return handler._replace(request_deserializer=read, unary_unary=answer)


class GuardedServicer(InferenceServicer):  # type: ignore[misc]  # kserve is untyped
    """kserve's servicer behind `check_request`.

    Args:
        data_plane: kserve's.
        models: kserve's.
        on_refusal: is told the status, as of REST, of each request that is refused.
    """

    def __init__(
        self, data_plane: DataPlane, models: ModelRepositoryExtension, on_refusal: Callable[[int], None]
    ) -> None:
        super().__init__(data_plane, models)
        self._on_refusal = on_refusal

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: ServicerContext
    ) -> pb.ModelInferResponse:
        """The answer to a request within the bounds.

        Raises:
            InvalidInput: it is not.
        """
        try:
            check_request(request)
        except InvalidInput:
            self._on_refusal(400)
            raise
        return await super().ModelInfer(request, context)


def check_request(request: pb.ModelInferRequest) -> None:
    """Counts what a request holds, without converting it.

    Raises:
        InvalidInput: too many tensors, parameters or values, or values that do not make their tensor's shape.
    """
    _check_count("inputs", len(request.inputs), MAX_INPUTS)
    _check_count("raw input contents", len(request.raw_input_contents), MAX_INPUTS)
    _check_count("outputs", len(request.outputs), MAX_OUTPUTS)
    for owner in (request, *request.inputs, *request.outputs):
        _check_count("parameters", len(owner.parameters), MAX_PARAMETERS)
    for tensor in request.inputs:
        _check_count(f"{tensor.name[:40]}: axes", len(tensor.shape), _MAX_RANK)
        if not tensor.HasField("contents"):
            continue
        values = sum(len(getattr(tensor.contents, name)) for name in _CONTENTS)
        _check_count(f"{tensor.name[:40]}: values", values, MAX_JSON_VALUES)
        if values != math.prod(tensor.shape):
            raise InvalidInput(
                f"{tensor.name[:40]}: {values} values do not make the shape {list(tensor.shape)}"
            )


def _check_count(what: str, found: int, limit: int) -> None:
    if found > limit:
        raise InvalidInput(f"{found} {what}: more than the limit of {limit}")
