"""What happens to an image when its networks cannot be asked, and that nothing is silent about it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.cli.app import app
from etchline.images import encode_png, read_image, write_image
from etchline.rollout.local import restart_process, stop_process
from etchline.segmentation.classical_bundle import classical_bundle
from tests.serving.asking import INFER, PREDICT, ask, infer_body, metric, scan
from tests.serving.stand_in import StandIn, standing_in

pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture
def classical_hw(tmp_path):
    """The mask of `etchline segment --bundle classical`."""
    write_image(tmp_path / "a.png", scan())
    result = CliRunner().invoke(
        app, ["segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "classical")]
    )
    assert result.exit_code == 0, result.output
    return read_image(tmp_path / "classical" / "a_lines.png").pixels_hw


@pytest.fixture
def lonely(service):
    """The service without its predictor, which comes back in the end; the answer it then gives is checked."""
    png = encode_png(scan())
    before = ask(service.url + INFER, infer_body(png))
    assert before.json["parameters"]["degraded"] is False
    stop_process(service.predictor)
    yield service
    again = restart_process(service.predictor)
    # What the fixture `service` stops in the end is the new process.
    object.__setattr__(service, "predictor", again)
    for _ in range(600):
        after = ask(service.url + INFER, infer_body(png))
        if not after.json["parameters"]["degraded"]:
            break
    assert after.json["parameters"] == before.json["parameters"]
    assert after.output("mask") == before.output("mask")


def test_the_classical_answer_stands_in(lonely, classical_hw, tmp_path):
    png, url = encode_png(scan()), lonely.url + INFER
    counted = [
        metric(lonely.url, f'etchline_degraded_total{{fault="{fault}"}}')
        for fault in ("down", "digest", "late")
    ]

    reply = ask(url, infer_body(png))
    assert reply.status == 200
    assert np.array_equal(reply.picture("mask"), classical_hw)
    assert reply.json["parameters"]["degraded"] is True
    assert reply.json["parameters"]["degraded_by"] == reply.record["degraded"] == "down"
    assert (
        reply.json["parameters"]["bundle_digest"]
        == classical_bundle().digest
        == reply.record["bundle"]["digest"]
    )
    assert reply.record["options"]["network"] is None
    assert {cell["source"] for cell in reply.record["cells"]} == {"classical"}
    v1 = ask(
        lonely.url + PREDICT, {"instances": [{"image": {"b64": infer_body(png)["inputs"][0]["data"][0]}}]}
    )
    assert v1.json["predictions"][0]["record"]["degraded"] == "down"

    forbidden = ask(url, infer_body(png, allow_degraded=False))
    assert forbidden.status == 503
    assert "UNAVAILABLE" in forbidden.json["error"]
    assert "allow_degraded" in forbidden.json["error"]
    # It stays live, and ready for what it still can do.
    assert ask(f"{lonely.url}/v2/health/live").status == ask(f"{lonely.url}/v2/health/ready").status == 200
    _check_client(lonely.url, tmp_path)

    with standing_in(StandIn("0" * 64), lonely.predictor_address):
        reply = _until(lambda: ask(url, infer_body(png)), "digest")
        assert np.array_equal(reply.picture("mask"), classical_hw)
    own = load_bundle(SHIPPED).digest
    with standing_in(StandIn(own, delay_s=3.0), lonely.predictor_address):
        reply = _until(lambda: ask(url, infer_body(png, deadline_s=1.0)), "late")
        assert np.array_equal(reply.picture("mask"), classical_hw)
    found = [
        metric(lonely.url, f'etchline_degraded_total{{fault="{fault}"}}')
        for fault in ("down", "digest", "late")
    ]
    assert all(new > old for new, old in zip(found, counted, strict=True))
    assert metric(lonely.url, 'etchline_images_total{answer="degraded"}') >= 4


def _until(ask_again, fault):
    """The first answer that is degraded for this reason: the channel needs a moment to see who is there."""
    for _ in range(200):
        reply = ask_again()
        if reply.record["degraded"] == fault:
            return reply
    raise AssertionError(f"never {fault}: {reply.json['parameters']}")


def _check_client(url, tmp_path):
    image, out = str(tmp_path / "a.png"), tmp_path / "out"
    result = CliRunner().invoke(app, ["client", image, "--out", str(out), "--url", url, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["total"] == {"done": 1, "degraded": 1, "failed": 0}
    assert "warning: a.png: degraded, the classical answer (predictor down)" in result.stderr
    result = CliRunner().invoke(app, ["client", image, "--out", str(out), "--url", url, "--forbid-degraded"])
    assert result.exit_code == 3
    assert "answers 503" in result.stderr
