"""Whatever a client sends, it is told what is wrong with it: 4xx, never 500."""

import base64
import json
import re
import socket
import struct
import zlib

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

from etchline.images import encode_png
from tests.serving.asking import INFER, PREDICT, ask, infer_body, metric, scan
from tests.serving.conftest import MAX_BYTES, MAX_PIXELS

pytestmark = pytest.mark.xdist_group("serving")
PNG = encode_png(scan())
TEXT = base64.b64encode(PNG).decode()


def tensor(**changes):
    """A request whose one input is changed; `None` takes a field away."""
    changed = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [TEXT], **changes}
    return {"inputs": [{name: value for name, value in changed.items() if value is not None}]}


def pixels(data, shape):
    return tensor(datatype="UINT8", shape=shape, data=data)


def with_parameters(**parameters):
    return infer_body(PNG, **parameters)


def huge_png(edge, height=None):
    """A PNG of `edge` columns and as many rows, or `height`, whose pixels are not there."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", edge, height or edge, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


V2 = [
    (b"", 400, "not JSON"),
    (b"{garbage", 400, "not JSON"),
    (b'"text"', 400, "must be a JSON object"),
    (b"[" * 5000, 400, "not JSON"),
    (b"[" * 200_000, 413, "lists in JSON"),
    ({}, 400, "inputs: missing"),
    ({"inputs": {}}, 400, "inputs: missing or no list"),
    ({"inputs": []}, 400, "exactly one of image, uri"),
    ({"inputs": [7]}, 400, "must be an object"),
    ({"inputs": tensor()["inputs"] * 2}, 400, "exactly one of"),
    ({"inputs": tensor()["inputs"] * 9}, 400, "9 inputs: more than the limit of 8"),
    ({**tensor(), "outputs": [{"name": "mask"}] * 17}, 400, "17 outputs: more than the limit of 16"),
    (with_parameters(**{f"p{number}": 1 for number in range(65)}), 400, "65 parameters"),
    (tensor(name="picture"), 400, "'picture': need exactly one of image, uri"),
    (tensor(name=None), 400, "name is missing"),
    (tensor(shape=None), 400, "shape is missing"),
    (tensor(data=None), 400, "data is missing"),
    (tensor(shape=[2]), 400, "2 items, more than the limit of 1"),
    (tensor(shape=[1, 1]), 400, "need 1 numbers"),
    (tensor(shape=[-1]), 400, "need 1 numbers"),
    (tensor(shape=["1"]), 400, "whole numbers"),
    (tensor(shape=[10**30]), 400, "not JSON|whole numbers"),
    (tensor(datatype="FP32"), 400, "datatype FP32, need UINT8"),
    (tensor(datatype="NONSENSE"), 400, "datatype NONSENSE"),
    (tensor(data=["!!"]), 400, "not base64"),
    (tensor(data=[7]), 400, "need a base64 string"),
    (tensor(data=[]), 400, "must hold one element"),
    (tensor(data=[TEXT, TEXT]), 400, "must hold one element"),
    (
        tensor(data=[base64.b64encode(PNG[:200]).decode()]),
        400,
        "^image: is truncated",
    ),
    (tensor(data=[""]), 400, "is empty"),
    (tensor(data=[base64.b64encode(b"hello").decode()]), 400, "is not a PNG, JPEG, BMP or TIFF"),
    (tensor(data=[base64.b64encode(huge_png(20000)).decode()]), 400, f"limit of {MAX_PIXELS} px"),
    (
        tensor(data=[base64.b64encode(huge_png(10_000, 1)).decode()]),
        400,
        f"10000 x 1 px at scale 1, in patches of 128 px, is over the service's limit of {MAX_PIXELS} px",
    ),
    (
        tensor(data=[base64.b64encode(huge_png(1, 10_000)).decode()]),
        400,
        "1 x 10000 px at scale 1, in patches",
    ),
    (pixels([[7] * 10_000], [1, 10_000]), 400, "10000 x 1 px at scale 1, in patches"),
    (tensor(parameters=[]), 400, "parameters must be an object"),
    (tensor(parameters={"binary_data_size": 4}), 400, "binary_data_size does not fit"),
    (pixels([1, 2, 3], [2, 2]), 400, "3 values do not make the shape"),
    (pixels([[1, 2], [3]], [2, 2]), 400, "3 values do not make the shape"),
    (pixels([1, 2, 3, 300], [2, 2]), 400, "values 1 to 300 are no uint8"),
    (pixels([1, 2, 3, -1], [2, 2]), 400, "values -1 to 3"),
    (pixels([1, 2, 3, 4.5], [2, 2]), 400, "numbers of uint8"),
    (pixels([1, 2, 3, "4"], [2, 2]), 400, "must be numbers"),
    (pixels([1, 2, 3, True], [2, 2]), 400, "must be numbers"),
    (pixels([], [0, 3]), 400, "has no pixels"),
    (pixels([1], [10**5, 10**5]), 400, f"more than the limit of {MAX_PIXELS}"),
    (with_parameters(encoding="jpeg"), 400, "parameter encoding"),
    (with_parameters(nonsense=1), 400, "parameter nonsense: .* known are encoding, policy"),
    (with_parameters(policy="best"), 400, "parameter policy"),
    (with_parameters(scale="big"), 400, "parameter scale"),
    (with_parameters(scale=1e9), 400, "parameter scale: Input should be less than or equal to 64"),
    (with_parameters(scale=64), 400, "at scale 64"),
    (with_parameters(scale=-1), 400, "parameter scale"),
    (with_parameters(contours="dxf"), 400, "dxf: unknown; choose from geojson"),
    (with_parameters(name="../../etc/passwd"), 400, "without folders"),
    (with_parameters(name="a\x00b"), 400, "without folders"),
    (with_parameters(pixel_size_nm=0), 400, "parameter pixel_size_nm"),
    (with_parameters(pixel_size_nm=1e300, contours="geojson"), 400, "parameter pixel_size_nm"),
    (with_parameters(deadline_s="soon"), 400, "parameter deadline_s"),
    (infer_body(PNG, ["masks"]), 400, "choose each once of mask"),
    (infer_body(PNG, ["contours"]), 400, "by the parameter contours"),
    ({**infer_body(PNG), "outputs": ["mask"]}, 400, "objects with a name"),
    (tensor(name="uri", data=["file:///etc/passwd"]), 400, "not below a prefix"),
    (tensor(name="uri", data=["s3://bucket/image.png"]), 400, "may read nothing there"),
    (tensor(name="uri", data=["file:///" + "a" * 5000]), 400, "5008 characters, more than the limit of 4096"),
    ({**infer_body(PNG), "id": 7}, 400, "id: must be a string"),
    ({**infer_body(PNG), "id": ["a"]}, 400, "id: must be a string"),
    (tensor(name="uri", data=["file:///%00"]), 400, "no path"),
    (tensor(name="uri", data=["http://[::1"]), 400, "uri"),
    (b" " * (MAX_BYTES + 1), 413, "larger than the limit"),
]
V1 = [
    (b"no", "not JSON"),
    ({}, "instances: missing"),
    ({"instances": []}, "0 instances: need 1 to 8"),
    ({"instances": [{}] * 9}, "9 instances"),
    ({"instances": [7]}, "each must be"),
    ({"instances": [{"image": TEXT}]}, "each must be"),
    ({"instances": [{"image": {"b64": 7}}]}, "need a base64 string"),
    ({"instances": [{"image": {"b64": TEXT[:400]}}]}, "is truncated"),
    ({"instances": [{"uri": "file:///etc/passwd"}]}, "not below a prefix"),
    ({"instances": [{"uri": "file:///" + "a" * 5000}]}, "5008 characters, more than the limit of 4096"),
    ({"instances": [{"image": {"b64": TEXT}}], "parameters": {"scale": [1]}}, "parameter scale"),
    ({"instances": [{"image": {"b64": TEXT}}], "parameters": {"encoding": "raw"}}, "gives PNG only"),
    ({"instances": [{"image": {"b64": TEXT}}], "parameters": 7}, "parameters an object"),
]


@pytest.mark.parametrize(("body", "status", "message"), V2, ids=range(len(V2)))
def test_v2(service, body, status, message):
    check(ask(service.url + INFER, body), status, message)


@pytest.mark.parametrize(("body", "message"), V1, ids=range(len(V1)))
def test_v1(service, body, message):
    check(ask(service.url + PREDICT, body), 400, message)


def test_any_name_is_a_name(service):
    """Also those of the service's own folders."""
    for name in ("networks", "classical", "image"):
        reply = ask(service.url + INFER, with_parameters(name=name))
        assert reply.status == 200, reply.body[:300]
        assert reply.record["image"]["name"] == name


def check(reply, status, message):
    assert reply.status == status, reply.body[:300]
    error = reply.json["error"]
    assert re.search(message, error), error
    assert "etchline-" not in error  # the service's own folders


@pytest.mark.parametrize(
    ("length", "body"),
    [("abc", b"{}"), ("-1", b"{}"), ("99", b"{}"), ("9" * 30, b"{}"), ("2", b"{}xx"), ("", b"{}")],
)
def test_binary_requests_that_are_none(service, length, body):
    reply = ask(service.url + INFER, body, {"inference-header-content-length": length})
    assert reply.status == 400
    assert reply.json["error"]


def test_binary_data_that_do_not_fit(service):
    for size, binary in ((8, b"\x04\x00\x00\x00abcd"), (5, b"\xff\xff\xff\xffa"), (4, b"abcdef"), (9, b"ab")):
        described = json.dumps(tensor(data=None, parameters={"binary_data_size": size})).encode()
        headers = {"inference-header-content-length": str(len(described))}
        assert ask(service.url + INFER, described + binary, headers).status == 400


def test_cloud_event_headers_change_nothing(service):
    headers = {"ce-id": "1", "ce-type": "x", "ce-source": "y", "ce-specversion": "1.0"}
    assert ask(service.url + PREDICT, {"instances": [7]}, headers).status == 400
    assert ask(service.url + INFER, infer_body(PNG), {**headers, "content-type": "text/plain"}).status == 200


def test_unknown_models_versions_and_paths(service):
    assert ask(service.url + "/v2/models/other/infer", infer_body(PNG)).status == 404
    assert ask(service.url + "/v1/models/other:predict", {"instances": [7]}).status == 404
    assert ask(service.url + "/v2/models/etchline/versions/1/infer", infer_body(PNG)).status == 501
    assert ask(service.url + "/v9").status == 404


def test_a_line_end_behind_the_path_does_not_pass_the_guard(service):
    for body in (b"{garbage", infer_body(PNG)):
        assert ask(service.url + INFER + "%0A", body).status == 404
    assert ask(service.url + PREDICT + "%0A", {"instances": []}).status == 404


def test_nobody_can_unload_the_model(service):
    for what in ("unload", "load"):
        assert ask(f"{service.url}/v2/repository/models/etchline/{what}", b"{}").status == 400
    assert ask(service.url + "/v2/models/etchline/ready").status == 200


def test_a_client_that_leaves_does_no_harm(service):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
    assert ask(service.url + INFER, infer_body(PNG)).status == 200


def test_far_too_much_is_refused_before_it_is_sent(service):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {10**13}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_refusals_are_counted(service):
    samples = [
        f'etchline_errors_total{{kind="{kind}"}}' for kind in ("invalid_input", "too_large", "internal")
    ]
    before = [metric(service.url, sample) for sample in samples]
    ask(service.url + INFER, {})
    ask(service.url + INFER, tensor(shape=[2]))
    ask(service.url + INFER, b" " * (MAX_BYTES + 1))
    after = [metric(service.url, sample) for sample in samples]
    assert [new - old for new, old in zip(after, before, strict=True)] == [2.0, 1.0, 0.0]


def test_over_grpc(service):
    def request(name="image", datatype="BYTES", shape=(1,), raw=None, **parameters):
        raw = struct.pack("<I", len(PNG)) + PNG if raw is None else raw
        return pb.ModelInferRequest(
            model_name="etchline",
            inputs=[pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)],
            raw_input_contents=[raw],
            parameters={name: pb.InferParameter(string_param=value) for name, value in parameters.items()},
        )

    bad = [
        (request(name="picture"), "need exactly one of"),
        (request(datatype="FP32"), "datatype FP32"),
        (request(datatype="X"), "invalid content type"),
        (request(shape=(2,)), "more than the limit of 1"),
        (request(raw=b"\xff\xff\xff\xffabc"), "behind its length"),
        (request(raw=b""), "behind its length"),
        (request(raw=struct.pack("<I", 100) + PNG[:100]), "is truncated"),
        (request(datatype="UINT8", shape=(4, 5), raw=b"abc"), "3 bytes do not make uint8"),
        (request(datatype="UINT8", shape=(2**40, 2**40), raw=b"abc"), "more than the limit"),
        (request(policy="best"), "parameter policy"),
        (pb.ModelInferRequest(model_name="etchline"), "inputs none"),
    ]
    with grpc.insecure_channel(service.grpc_address) as channel:
        stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
        for wrong, message in bad:
            with pytest.raises(grpc.RpcError, match=message) as caught:
                stub.ModelInfer(wrong, timeout=20)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request(raw=b"x" * (MAX_BYTES + 1)), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        reply = stub.ModelInfer(request(scale="1.0", encoding="raw"), timeout=20)
        assert np.frombuffer(reply.raw_output_contents[0], np.uint8).size == 150 * 210


def test_small_grpc_requests_do_not_stop_the_process(service):
    """Each would keep kserve busy for seconds or more, with everybody waiting."""
    tensor_of = pb.ModelInferRequest.InferInputTensor
    contents = pb.InferTensorContents(uint_contents=b"\x01" * 1_500_000)
    parameter = pb.InferParameter(bool_param=True)
    bad = [
        ({"inputs": [tensor_of(name="a")] * 100_000}, "more than 10000 parts"),
        ({"inputs": [tensor_of(name="a")] * 1000}, "1000 inputs: more than the limit of 8"),
        ({"raw_input_contents": [b""] * 1000}, "1000 raw input contents"),
        ({"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor()] * 17}, "17 outputs"),
        ({"parameters": {str(number): parameter for number in range(65)}}, "65 parameters"),
        ({"inputs": [tensor_of(name="a", shape=[1] * 9)]}, "9 a: axes"),
        (
            {"inputs": [tensor_of(name="image", datatype="UINT8", shape=[1, 2], contents=contents)]},
            r"1500000 values do not make the shape \[1, 2\]",
        ),
    ]
    sample = 'etchline_errors_total{kind="invalid_input"}'
    before = metric(service.url, sample)
    for address, model in ((service.grpc_address, "etchline"), (service.predictor_address, "etchline-patch")):
        with grpc.insecure_channel(address) as channel:
            stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
            for fields, message in bad:
                with pytest.raises(grpc.RpcError, match=message) as caught:
                    stub.ModelInfer(pb.ModelInferRequest(model_name=model, **fields), timeout=20)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert metric(service.url, sample) == before + len(bad)
