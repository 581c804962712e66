"""What stands before kserve's gRPC servicer: bounds on what it would turn into Python objects, one by one.

kserve converts a request on the event loop, which stands still for as long. A message of a few MB can hold a
hundred thousand tensors, or millions of numbers whose shape says that there are two.
"""

import math
from collections.abc import Callable

from grpc import ServicerContext
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.guard import MAX_INPUTS, MAX_JSON_VALUES, MAX_OUTPUTS, MAX_PARAMETERS

_MAX_RANK = 8
_CONTENTS = tuple(field.name for field in pb.InferTensorContents.DESCRIPTOR.fields)


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
