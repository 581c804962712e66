"""What goes wrong between the two processes, and what a busy one answers.

    etchline.EtchlineError
    └── PredictorError      the networks cannot be asked: the classical answer stands in
    grpc_interceptor.GrpcException
    └── Unavailable         REST 503; the status of gRPC says which: RESOURCE_EXHAUSTED or UNAVAILABLE

Mistakes of the client are kserve's `InvalidInput`: REST 400, gRPC INVALID_ARGUMENT.
"""

from grpc import StatusCode
from grpc_interceptor.exceptions import GrpcException

from etchline.errors import EtchlineError
from etchline.segmentation.record import DegradedBy


class PredictorError(EtchlineError):
    """The predictor gave no answer that can be used.

    Args:
        fault: in a word, for records and counters.
        message: for people.
    """

    def __init__(self, fault: DegradedBy, message: str) -> None:
        super().__init__(message)
        self.fault: DegradedBy = fault


class Unavailable(GrpcException):
    """The request is right, but cannot be answered now; trying again later may help."""

    def __init__(self, message: str, status: StatusCode = StatusCode.UNAVAILABLE) -> None:
        super().__init__(message, status)

    def __str__(self) -> str:
        return str(self.details)


class QueueFull(Unavailable):
    """As many requests wait as may wait."""

    def __init__(self, message: str) -> None:
        super().__init__(message, StatusCode.RESOURCE_EXHAUSTED)
