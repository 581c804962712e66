"""A gRPC server in the predictor's place that answers as a test wants: late, refused, of another bundle."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc


class StandIn(grpc_predict_v2_pb2_grpc.GRPCInferenceServiceServicer):
    """Says that all is background.

    Args:
        digest: of the bundle that it claims to run.
        delay_s: before each answer.
        refusals: status codes of the first calls.
        views: how many views it answers for; `None`: as many as asked.
        score: of every view.
    """

    def __init__(self, digest, delay_s=0.0, refusals=(), views=None, score=1.0):
        self.digest, self.delay_s, self.refusals, self.views = digest, delay_s, list(refusals), views
        self.score, self.engine = score, "stand-in"
        self.metadata = []
        self.batches = []

    def ModelInfer(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        shape = list(request.inputs[0].shape)
        self.batches.append(shape[0])
        time.sleep(self.delay_s)
        if self.refusals:
            context.abort(self.refusals.pop(0), "as the test wants")
        shape[0] = shape[0] if self.views is None else self.views
        mask, score = np.zeros(shape, np.uint8), np.full(shape[0], self.score, np.float32)
        return pb.ModelInferResponse(
            model_name=request.model_name,
            outputs=[
                pb.ModelInferResponse.InferOutputTensor(name="mask", datatype="UINT8", shape=shape),
                pb.ModelInferResponse.InferOutputTensor(name="score", datatype="FP32", shape=shape[:1]),
            ],
            raw_output_contents=[mask.tobytes(), score.tobytes()],
            parameters={
                "bundle_digest": pb.InferParameter(string_param=self.digest),
                "backend": pb.InferParameter(string_param=self.engine),
            },
        )


@contextlib.contextmanager
def standing_in(servicer, address="127.0.0.1:0"):
    """Yields the address that the servicer listens on."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
