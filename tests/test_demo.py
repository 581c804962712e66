"""The demo is a run of the pipeline that ends well; here with a small chip."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")
pytest.importorskip("kserve", reason="the extra `serve` is not installed")


DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
pytestmark = pytest.mark.xdist_group("demo")


def demo(*arguments, cwd, data):
    environment = {**os.environ, "ETCHLINE_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a finished demo, and how it went; no real tile on this machine."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo("--size", "192", "--samples", "16", "--jobs", "1", cwd=folder, data=folder / "none")


def test_an_image_is_segmented_first_and_the_report_comes_last(done):
    folder, ended = done
    overlay, report = ended.stdout.splitlines()
    assert re.fullmatch(r"runs/demo/\w+/first/lines/0001_overlay\.png", overlay)
    assert re.fullmatch(r"runs/demo/\w+/report\.html", report)
    assert (folder / overlay).is_file()
    assert (folder / report).is_file()
    assert ended.stderr.index("lines found by nano") < ended.stderr.index("prepare_data: running")


def test_the_report_shows_all_of_them_side_by_side(done):
    folder, ended = done
    page = folder / ended.stdout.splitlines()[-1]
    report = json.loads(page.with_name("report.json").read_text())
    evaluated = next(link for link in report["links"] if link["link"] == "evaluate")
    assert [row["name"] for row in evaluated["esd"]] == ["classical", "champion", "fine-tuned"]
    titles = [picture["title"] for picture in evaluated["pictures"]]
    assert titles == ["image", "truth", "classical", "champion", "fine-tuned"]
    html = page.read_text()
    assert html.count("data:image/png;base64,") == len(titles)
    assert len(html) < 10_000_000


def test_an_unproven_model_is_rejected_and_nothing_is_deployed(done):
    """So small images and so short a training prove nothing: the gate is what the run ends at."""
    folder, ended = done
    run = (folder / ended.stdout.splitlines()[-1]).parent
    report = json.loads((run / "report.json").read_text())
    assert (report["outcome"], report["exit_code"], ended.returncode) == ("rejected", 1, 1)
    assert "rejected: " in ended.stderr
    assert "23 true lines were judged; at least 200 are needed" in report["reasons"]
    assert not any("cannot be judged" in reason for reason in report["reasons"])
    assert report["endpoint"] is None
    assert [link["status"] for link in report["links"]] == ["done"] * 4 + ["not run"] * 6
    assert {path.name for path in run.iterdir()}.isdisjoint({"serving", "bundles"})
    assert "REJECTED" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--jobs", "-1"), 2, "error: --jobs -1: must be 0 or more"),
        (("--size", "1"), 2, "error: --size 1: must lie between 32 and 8192"),
        (("--out", "file"), 3, "error: .*file.*cannot be written"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("in the way")
    ended = demo(*arguments, cwd=tmp_path, data=tmp_path / "none")
    assert ended.returncode == code
    assert re.search(message, ended.stderr)
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_broken_tile_is_named(tmp_path):
    (tmp_path / "hy5syn-tiles").mkdir()
    (tmp_path / "hy5syn-tiles/tile0_sem.png").write_text("not an image")
    ended = demo(cwd=tmp_path, data=tmp_path)
    assert ended.returncode == 2
    assert re.search(r"error: .*tile0_sem\.png", ended.stderr)
    assert ended.stdout == ""
