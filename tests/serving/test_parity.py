"""What the service answers is what `etchline segment` writes, whoever asks and however."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etchline.cli.app import app
from etchline.images import encode_png, read_image, write_image
from tests.segmentation.drawing import tracks
from tests.serving.asking import INFER, PREDICT, ask, decode, infer_body, metric, scan

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with in/a.png and in/deep/b.tif and what `etchline segment` makes of them in here/."""
    folder = tmp_path_factory.mktemp("parity")
    (folder / "in" / "deep").mkdir(parents=True)
    write_image(folder / "in" / "a.png", scan())
    write_image(folder / "in" / "deep" / "b.tif", tracks(140, 170, dtype=np.uint16))
    options = ["--bundle", "nano", "--contours", "geojson,gds", "--pixel-size-nm", "4.2", "--jobs", "1"]
    result = CliRunner().invoke(app, ["segment", str(folder / "in"), "--out", str(folder / "here"), *options])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def mask_hw(here):
    return read_image(here / "here" / "a_lines.png").pixels_hw


def without_what_differs(path):
    record = json.loads(path.read_text())
    record["options"]["network"].pop("backend")
    return {name: value for name, value in record.items() if name != "timings_s"}


def test_the_client_writes_what_segment_writes(service, here):
    there = here / "there"
    options = ["--contours", "geojson,gds", "--pixel-size-nm", "4.2", "--url", service.url]
    result = CliRunner().invoke(app, ["client", str(here / "in"), "--out", str(there), *options])
    assert result.exit_code == 0, result.output
    assert re.match(r"2 segmented: \d+ lines, \d+ of \d+ cells flagged", result.stdout)
    names = {path.relative_to(there) for path in there.rglob("*.*")}
    assert names == {path.relative_to(here / "here") for path in (here / "here").rglob("*.*")}
    assert len(names) == 12
    for name in names:
        if name.suffix == ".json":
            assert without_what_differs(there / name) == without_what_differs(here / "here" / name)
        elif name.suffix == ".tif":
            both = [read_image(folder / name).pixels_hw for folder in (there, here / "here")]
            assert np.array_equal(*both)
        else:
            assert (there / name).read_bytes() == (here / "here" / name).read_bytes(), name


def test_the_drawn_image_is_worth_comparing(mask_hw):
    assert mask_hw.shape == (150, 210)
    assert 0.2 < (mask_hw > 0).mean() < 0.8


def test_pixels_and_raw_masks(service, mask_hw):
    tensor = {"name": "image", "shape": [150, 210], "datatype": "UINT8", "data": scan().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": "mask"}], "parameters": {"encoding": "raw"}}
    reply = ask(service.url + INFER, body)
    (output,) = reply.json["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("mask", "UINT8", [150, 210])
    assert np.array_equal(np.array(output["data"], np.uint8).reshape(150, 210), mask_hw)


def test_the_response_says_what_answered(service, here, png):
    reply = ask(service.url + INFER, infer_body(png, name="a.png"))
    assert [output["name"] for output in reply.json["outputs"]] == ["mask", "confidence", "record"]
    expected = json.loads((here / "here" / "a.json").read_text())
    assert reply.record["image"] == {**expected["image"], "pixel_size_nm": None}
    backend = reply.record["options"]["network"]["backend"]
    assert re.fullmatch(r"predictor: torch \S+ cpu float32", backend)
    assert reply.json["parameters"] == {
        "bundle_digest": expected["bundle"]["digest"],
        "degraded": False,
        "lines": expected["counts"]["lines"],
        "cells": len(expected["cells"]),
        "flagged_cells": expected["counts"]["flagged_cells"],
    }


def test_v1(service, mask_hw, png, allowed):
    (allowed / "a.png").write_bytes(png)
    body = {
        "instances": [
            {"image": {"b64": base64.b64encode(png).decode()}},
            {"uri": (allowed / "a.png").as_uri()},
        ],
        "parameters": {"contours": "geojson"},
    }
    first, second = ask(service.url + PREDICT, body).json["predictions"]
    for prediction in (first, second):
        assert np.array_equal(decode(base64.b64decode(prediction["mask"]["b64"])), mask_hw)
        assert json.loads(base64.b64decode(prediction["contours"]["geojson"]["b64"]))["features"]
    assert (first["record"]["image"]["name"], second["record"]["image"]["name"]) == ("image", "a.png")
    assert first["record"]["cells"] == second["record"]["cells"]


def test_a_uri_is_text_in_json(service, mask_hw, png, allowed):
    (allowed / "b c.png").write_bytes(png)
    tensor = {
        "name": "uri",
        "shape": [1],
        "datatype": "BYTES",
        "data": [(allowed / "b c.png").as_uri()],
    }
    reply = ask(service.url + INFER, {"inputs": [tensor]})
    assert np.array_equal(reply.picture("mask"), mask_hw)


def test_kserve_clients(service, mask_hw, png):
    import asyncio

    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def over_rest():
        tensor = InferInput("image", [1], "BYTES", [base64.b64encode(png).decode()])
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        try:
            return await client.infer(service.url, InferRequest("etchline", [tensor]), model_name="etchline")
        finally:
            await client.close()

    async def over_grpc():
        tensor = InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([png], object))
        client = InferenceGRPCClient(service.grpc_address)
        try:
            return await client.infer(InferRequest("etchline", [tensor]))
        finally:
            await client.close()

    rest, grpc = asyncio.run(over_rest()), asyncio.run(over_grpc())
    assert np.array_equal(decode(base64.b64decode(rest.outputs[0].data[0])), mask_hw)
    assert np.array_equal(decode(grpc.outputs[0].as_numpy()[0]), mask_hw)
    assert grpc.parameters["degraded"].bool_param is False


TRITON = """
import sys
import cv2, numpy as np
import tritonclient.{kind} as triton
client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("etchline")
data = open(sys.argv[2], "rb").read()
encoded = triton.InferInput("image", [1], "BYTES")
encoded.set_data_from_numpy(np.array([data], object))
pixels_hw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
pixels = triton.InferInput("image", list(pixels_hw.shape), "UINT8")
pixels.set_data_from_numpy(pixels_hw)
first = client.infer("etchline", [encoded])
second = client.infer("etchline", [pixels], outputs=[triton.InferRequestedOutput("mask")])
expected = cv2.imread(sys.argv[3], cv2.IMREAD_UNCHANGED)
for result in (first, second):
    mask = cv2.imdecode(np.frombuffer(result.as_numpy("mask")[0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, expected)
"""


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_tritonclient(service, here, kind):
    # A process of its own: its gRPC messages and kserve's cannot be in one.
    address = service.grpc_address if kind == "grpc" else service.url.removeprefix("http://")
    arguments = [address, str(here / "in" / "a.png"), str(here / "here" / "a_lines.png")]
    found = subprocess.run(
        [sys.executable, "-c", TRITON.format(kind=kind), *arguments], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_of_the_readme(service, here, mask_hw):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```sh\n([^`]*curl [^`]*)```", readme)
    assert "http://127.0.0.1:8080" in command
    folder = here / "curl"
    folder.mkdir()
    shutil.copy(here / "in" / "a.png", folder / "scan.png")
    command = command.replace("http://127.0.0.1:8080", service.url)
    found = subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert np.array_equal(read_image(folder / "scan_lines.png").pixels_hw, mask_hw)


def test_masks_stay_the_same_under_load(service, mask_hw, png):
    """Eight images at once: batches mix their views, which may move a probability by a hair."""
    from concurrent.futures import ThreadPoolExecutor

    others = [encode_png(scan(seed=seed)) for seed in range(1, 4)]
    images = [png, *others, png, *others]
    alone = {image: ask(service.url + INFER, infer_body(image)).picture("confidence") for image in images}
    names = ("etchline_batch_requests_total", "etchline_batches_total")
    samples = [f'{name}{{role="patch"}}' for name in names]
    answered = 'etchline_images_total{answer="networks"}'
    before = [metric(service.predictor_url, sample) for sample in samples]
    images_before = metric(service.url, answered)
    with ThreadPoolExecutor(len(images)) as threads:
        replies = list(threads.map(lambda image: ask(service.url + INFER, infer_body(image)), images))
    assert [reply.status for reply in replies] == [200] * len(images)
    for image, reply in zip(images, replies, strict=True):
        found = reply.picture("confidence").astype(int)
        assert np.abs(found - alone[image]).max() <= 2
    assert (replies[0].picture("mask") != mask_hw).sum() <= 1
    assert metric(service.url, answered) == images_before + len(images)
    requests, batches = (
        metric(service.predictor_url, sample) - old for sample, old in zip(samples, before, strict=True)
    )
    assert requests >= len(images)
    assert batches < requests  # some went together, else this test shows nothing
