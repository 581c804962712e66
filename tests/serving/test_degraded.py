"""What happens to an image when its networks cannot be asked, and that nothing is silent about it."""

import base64
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.cli.app import app
from etchline.images import encode_png, read_image, write_image
from etchline.rollout.local import STATE
from etchline.rollout.local_process import spawn, stop_process
from etchline.segmentation.classical_bundle import classical_bundle
from tests.serving.asking import INFER, PREDICT, ask, infer_body, metric, scan
from tests.serving.stand_in import StandIn, standing_in

pytestmark = pytest.mark.xdist_group("serving")
PNG = encode_png(scan())


@pytest.fixture
def classical_hw(tmp_path):
    """The mask of `etchline segment --bundle classical`."""
    write_image(tmp_path / "a.png", scan())
    result = CliRunner().invoke(
        app,
        ["segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "classical"), "--bundle", "classical"],
    )
    assert result.exit_code == 0, result.output
    return read_image(tmp_path / "classical" / "a_lines.png").pixels_hw


@pytest.fixture(scope="module")
def lonely(service):
    """The service without its predictor, which comes back in the end."""
    assert ask(service.url + INFER, infer_body(PNG)).json["parameters"]["degraded"] is False
    stop_process(service.predictor)
    yield service
    if not service.predictor.is_running:
        bring_back(service)
        wait_for_networks(service)


def wait_for_networks(service):
    """The transformer's channel needs a moment to see that the predictor is back, seconds at most."""
    since = time.monotonic()
    while ask(service.url + INFER, infer_body(PNG)).json["parameters"]["degraded"]:
        assert time.monotonic() - since < 10


def bring_back(service):
    """Starts the predictor again; what the fixture `service` stops in the end is the new process."""
    ended = service.predictor
    object.__setattr__(service, "predictor", spawn(ended.name, ended.command, Path(ended.log)))
    (Path(ended.log).parent / STATE).write_text(service.model_dump_json())
    until = time.monotonic() + 300
    while ask(f"{service.predictor_url}/v2/health/ready", patient=True).status != 200:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_the_classical_answer_stands_in(lonely, classical_hw):
    reply = ask(lonely.url + INFER, infer_body(PNG))
    assert reply.status == 200
    assert np.array_equal(reply.picture("mask"), classical_hw)
    parameters, record = reply.json["parameters"], reply.record
    assert parameters["degraded"] is True
    assert parameters["degraded_by"] == record["degraded"] == "down"
    assert parameters["bundle_digest"] == record["bundle"]["digest"] == classical_bundle().digest
    assert record["options"]["network"] is None
    assert {cell["source"] for cell in record["cells"]} == {"classical"}
    v1 = ask(lonely.url + PREDICT, {"instances": [{"image": {"b64": base64.b64encode(PNG).decode()}}]})
    assert v1.json["predictions"][0]["record"]["degraded"] == "down"
    # It stays live, and ready for what it still can do.
    assert ask(f"{lonely.url}/v2/health/live").status == ask(f"{lonely.url}/v2/health/ready").status == 200


def test_a_request_can_forbid_it(lonely):
    forbidden = ask(lonely.url + INFER, infer_body(PNG, allow_degraded=False))
    assert forbidden.status == 503
    assert "UNAVAILABLE" in forbidden.json["error"]
    assert "allow_degraded" in forbidden.json["error"]


@pytest.mark.parametrize(
    ("fault", "servicer", "parameters"),
    [
        ("digest", StandIn("0" * 64), {}),
        ("late", StandIn(load_bundle(SHIPPED).digest, delay_s=3.0), {"deadline_s": 1.0}),
    ],
    ids=["digest", "late"],
)
def test_another_bundle_and_a_late_answer(lonely, classical_hw, fault, servicer, parameters):
    sample = f'etchline_degraded_total{{fault="{fault}"}}'
    counted = metric(lonely.url, sample)
    with standing_in(servicer, lonely.predictor_address):
        reply = _until(lambda: ask(lonely.url + INFER, infer_body(PNG, **parameters)), fault)
    assert np.array_equal(reply.picture("mask"), classical_hw)
    assert metric(lonely.url, sample) == counted + 1


def _until(ask_again, fault):
    """The first answer that is degraded for this reason: the channel needs a moment to see who is there."""
    for _ in range(200):
        reply = ask_again()
        if reply.record["degraded"] == fault:
            return reply
    raise AssertionError(f"never {fault}: {reply.json['parameters']}")


def test_the_client_tells(lonely, tmp_path):
    image, out, url = str(tmp_path / "a.png"), tmp_path / "out", lonely.url
    write_image(tmp_path / "a.png", scan())
    result = CliRunner().invoke(app, ["client", image, "--out", str(out), "--url", url, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["total"] == {"done": 1, "skipped": 0, "degraded": 1, "failed": 0}
    assert "warning: a.png: degraded, the classical answer (predictor down)" in result.stderr
    result = CliRunner().invoke(app, ["client", image, "--out", str(out), "--url", url, "--forbid-degraded"])
    assert result.exit_code == 3
    assert "answers 503" in result.stderr


def test_the_networks_answer_again_within_seconds(lonely):
    bring_back(lonely)
    wait_for_networks(lonely)
    reply = ask(lonely.url + INFER, infer_body(PNG))
    assert reply.json["parameters"]["bundle_digest"] == load_bundle(SHIPPED).digest
    assert reply.record["degraded"] is None
    backend = reply.record["options"]["network"]["backend"]
    assert re.fullmatch(r"predictor: torch \S+ cpu float32", backend)
