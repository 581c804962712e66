import time

import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.guard import MAX_JSON_VALUES
from serving.wire import MAX_PARTS, WireError, check_wire

KIND = pb.ModelInferRequest.DESCRIPTOR
TENSOR = pb.ModelInferRequest.InferInputTensor


def request(**contents):
    tensor = TENSOR(name="image", datatype="UINT8", shape=[2, 2], contents=pb.InferTensorContents(**contents))
    return pb.ModelInferRequest(model_name="etchline", inputs=[tensor], raw_input_contents=[b"\xff" * 1000])


def test_requests_as_clients_send_them():
    for contents in (
        {"uint_contents": [1, 200, 3, 4]},
        {"fp32_contents": [0.5] * 100_000},
        {"bytes_contents": [b"x" * 100_000]},
        {"int64_contents": [-1] * 100},
    ):
        check_wire(request(**contents).SerializeToString(), KIND)
    check_wire(b"", KIND)


def test_as_many_parameters_as_may_be():
    many = {f"p{number}": pb.InferParameter(string_param="x") for number in range(64)}
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name="mask", parameters=many)] * 16
    whole = pb.ModelInferRequest(
        model_name="etchline",
        parameters=many,
        outputs=outputs,
        inputs=[TENSOR(name="a", parameters=many)] * 8,
    )
    check_wire(whole.SerializeToString(), KIND)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"\x2a\x00" * 2**24, f"more than {MAX_PARTS} parts"),  # 32 MiB of empty tensors
        (request(bytes_contents=[b""] * (MAX_PARTS + 1)).SerializeToString(), "parts"),
        (request(uint_contents=[1] * (MAX_JSON_VALUES + 1)).SerializeToString(), "numbers in contents"),
        (request(fp32_contents=[1.0] * (MAX_JSON_VALUES + 1)).SerializeToString(), "numbers in contents"),
        (b"\x2a", "ends within a number"),
        (b"\x2a\x05ab", "ends within a field"),
        (b"\xff" * 20, "ends within a number"),
        (b"\x2b", "no protobuf of version 3"),
    ],
)
def test_what_is_not_taken_apart(message, told):
    began = time.perf_counter()
    with pytest.raises(WireError, match=told):
        check_wire(message, KIND)
    assert time.perf_counter() - began < 2
