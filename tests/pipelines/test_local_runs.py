"""The pipeline itself on this machine: a broken export and a dead service end as they should.

One run does everything but promote; the last links are then called once more for the service that is right. A
bad model ends at the gate: `test_demo`.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")
pytest.importorskip("kserve", reason="the extra `serve` is not installed")
pytest.importorskip("boto3", reason="the extra `s3` is not installed")

from etchline.bundle.shipped import NANO
from etchline.chain.deploying import ask, deploy, stop_abandoned, switch
from etchline.chain.reporting import write_report
from etchline.client import ClientOptions, ServiceClient
from etchline.rollout.local import read_service
from etchline.rollout.switching import in_service
from etchline.segmentation.inputs import SegmentInput
from etchline.storage import open_store
from pipelines.__main__ import app
from pipelines.finetune_and_deploy import Links, build
from pipelines.local_run import run_locally
from tests.pipelines.stand_ins import deploy_without_predictor, export_damaged
from tests.s3_server import S3, environment
from tests.training.bars import make_dataset

ROOT = Path(__file__).parents[2]
SHAPES = [(80, 80), (60, 100), (90, 70), (64, 80), (64, 80), (70, 64), (64, 64)]
SPLITS = ("train", "train", "train", "val", "val", "test", "test")
RECIPE = """
network: {input_px: 64}
sampling: {samples_per_epoch: 96, batch_images: 8, full_view_px: 64, pitch_px: null}
optimiser: {pixel_epochs: 2, betti_epochs: 0, warmup_steps: 1}
validation: {border_px: 2, min_area_px: 3}
"""
# So few lines tell nothing about a model, and no IC is unseen; these runs are not about that.
LENIENT = """
gate: {images_min: 1, lines_min: 1, rate_upper_max: 9, ic_rate_max: 9, unseen_upper_max: null,
       regression_tolerance: 9, ic_regression_tolerance: 9}
"""
pytestmark = pytest.mark.xdist_group("local-runs")


@dataclass
class Ran:
    """A finished run."""

    folder: Path
    report: dict[str, Any]

    def link(self, name):
        return next(link for link in self.report["links"] if link["link"] == name)

    def statuses(self):
        return {link["link"]: link["status"] for link in self.report["links"]}

    def artifact(self, task, name):
        (folder,) = (self.folder / "artifacts").glob(f"*/{task}/{name}")
        return folder

    def metadata(self, task, name):
        (output,) = (self.folder / "artifacts").glob(f"*/{task}/executor_output.json")
        return json.loads(output.read_text())["artifacts"][name]["artifacts"][0]["metadata"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("labelled"), SHAPES, SPLITS)


@pytest.fixture(scope="module")
def bucket(s3_url):
    """A bucket that the steps' processes find by their environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(s3_url).items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        server = S3(s3_url)
        yield server
        server.remove()


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """The folder of the services; whatever still runs is stopped."""
    folder = tmp_path_factory.mktemp("serving")
    yield folder
    if endpoint := in_service(folder):
        endpoint.stop()


def ran(links, folder, data, **arguments):
    given = {
        "run_uri": str(folder),
        "destination": str(folder / "bundles"),
        "serving_dir": str(folder / "serving"),
        "dataset": str(data.folder),
        "recipe": RECIPE + LENIENT,
        "init": "random",
        "jobs": 1,
        **arguments,
    }
    return Ran(folder, run_locally(build(links), given, folder / "artifacts"))


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory, data, bucket, serving):
    """The shipped bundle is the champion; the predictor of the challenger's service dies."""
    return ran(
        Links(deploy_service=deploy_without_predictor),
        tmp_path_factory.mktemp("rolled_back"),
        data,
        champion=NANO,
        destination=bucket.uri("bundles"),
        serving_dir=str(serving),
        keep_serving=True,
    )


def test_a_failed_smoke_test_rolls_back_to_the_champion(rolled_back, serving, data):
    report = rolled_back.report
    assert (report["outcome"], report["exit_code"]) == ("rolled_back", 1), report["reasons"]
    assert "the classical answer, because the networks were not asked" in report["reasons"][0]
    assert rolled_back.link("smoke_test")["facts"]["passed"] is False
    champion = in_service(serving)
    assert champion.location == NANO
    assert report["endpoint"] == champion.url
    image = data.image_path(data.select(split="test")[0])
    answer = ServiceClient(champion.url).segment(
        SegmentInput(image, PurePosixPath(image.stem)), ClientOptions()
    )
    assert answer.record.degraded is None
    assert answer.record.bundle.digest == champion.digest
    services = [read_service(path) for path in sorted((serving / "services").iterdir())]
    assert len(services) == 2
    for service in services:
        is_champion = service.url == champion.url
        assert service.predictor.is_running == service.transformer.is_running == is_champion


def test_artifacts_say_what_they_are(rolled_back, data):
    digest = rolled_back.link("finetune")["facts"]["digest"]
    model = rolled_back.metadata("finetune", "model")
    assert model["digest"] == digest
    assert model["parent"] == "none"
    assert model["dataset_digest"] == data.digest
    assert rolled_back.metadata("prepare-data", "data")["dataset_digest"] == data.digest
    assert rolled_back.metadata("evaluate", "challenger")["digest"] == digest
    assert rolled_back.metadata("gate-esd", "verdict")["passed"] is True
    assert {"etchline", "python", "torch", "onnx"} <= set(rolled_back.metadata("verify-parity", "bundle"))


def test_a_service_that_is_right_is_promoted(rolled_back, serving, bucket, data, tmp_path):
    location = rolled_back.link("publish_bundle")["facts"]["location"]
    digest = rolled_back.link("verify_parity")["facts"]["digest"]
    assert location == bucket.uri(f"bundles/sha256-{digest}")
    assert open_store(location).sha256("bundle.json") == digest
    champion, where = (
        in_service(serving),
        {"serving": str(serving), "keep_serving": True, "run": str(tmp_path)},
    )
    service = str(deploy(location, champion=NANO, **where).value)
    assert in_service(serving) == champion
    passed = ask(service, str(data.folder), run=str(tmp_path)).value
    assert passed is True
    assert switch(service, passed=passed, **where).value == "promoted"
    challenger = in_service(serving)
    assert challenger.digest == digest
    assert challenger.is_ready
    assert not champion.is_running
    assert write_report(str(tmp_path)).value == "promoted"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exit_code"], report["endpoint"]) == (0, challenger.url)
    stop_abandoned(str(tmp_path), str(serving))
    assert challenger.is_ready
    (serving / "endpoint.json").unlink()  # as if the run had ended before the last link
    stop_abandoned(str(tmp_path), str(serving))
    assert not challenger.is_running


def test_the_report_tells_of_all_links(rolled_back):
    html = (rolled_back.folder / "report.html").read_text()
    assert "ROLLED BACK" in html
    for link, status in rolled_back.statuses().items():
        assert link in html
        assert status == ("failed" if link == "promote_or_rollback" else "done")
        assert rolled_back.link(link)["seconds"] >= 0
    assert [row["name"] for row in rolled_back.link("evaluate")["esd"]] == [
        "classical",
        "champion",
        "fine-tuned",
    ]
    for document in [*rolled_back.link("evaluate")["documents"], *rolled_back.link("gate_esd")["documents"]]:
        assert f'href="{document["path"]}"' in html
        assert (rolled_back.folder / document["path"]).is_file()
    for name in ("location", "digest"):
        assert str(rolled_back.link("publish_bundle")["facts"][name]) in html
    assert f"--url {rolled_back.report['endpoint']} " in html
    assert rolled_back.report["versions"]["torch"] in html
    assert html.count("data:image/png;base64,") == 5
    assert rolled_back.artifact("report", "page").read_text() == html


def test_a_broken_export_stops_at_parity(rolled_back, data, tmp_path, monkeypatch):
    monkeypatch.setenv("EARLIER_CANDIDATE", str(rolled_back.artifact("export-bundle", "candidate")))
    broken = ran(Links(export_bundle=export_damaged), tmp_path / "run", data)
    assert (broken.report["outcome"], broken.report["exit_code"]) == ("refused", 1), broken.report["reasons"]
    assert "patch: mean IoU" in broken.report["reasons"][0]
    statuses = broken.statuses()
    assert statuses["export_bundle"] == "done"
    assert statuses["verify_parity"] == "failed"
    assert statuses["publish_bundle"] == statuses["deploy_service"] == "not run"
    assert not (broken.folder / "bundles").exists()
    assert "REFUSED" in (broken.folder / "report.html").read_text()


def test_records_and_report_of_a_run_may_go_to_s3(bucket, tmp_path):
    command = [sys.executable, "-m", "pipelines", "run", "finetune_and_deploy", "--local"]
    command += ["--dataset", str(tmp_path / "missing"), "--out", bucket.uri("runs/a")]
    given = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "capture_output": True}
    done = subprocess.run(command, text=True, check=False, **given)
    assert (done.returncode, done.stdout) == (2, bucket.uri("runs/a/report.html\n")), done.stderr
    assert f"{tmp_path}/missing" in done.stderr
    assert json.loads(bucket.get("runs/a/report.json"))["outcome"] == "failed"
    assert b"missing" in bucket.get("runs/a/report.html")
    assert bucket.keys("runs/a/links") == ["runs/a/links/prepare_data.json"]
    (log,) = tmp_path.glob("runs/finetune_and_deploy/*/run.log")
    assert "missing" in log.read_text()
    again = CliRunner().invoke(app, command[3:])
    assert again.exit_code == 2
    assert f"--out {bucket.uri('runs/a')}: holds something already" in again.stderr
