import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from etchline.images import write_image
from tests.evaluation.drawings import comb

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
pytest.importorskip("torch", reason="the extra `train` is not installed")

SMALL = ("--ics", "9", "--images-per-ic", "2", "--size", "96", "--jobs", "1", "--samples", "8")
JUDGED = 7 + 2 * 2  # one test image of each seen IC, all images of the two unseen ones


def demo(*arguments: str, cwd: Path, data: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ETCHLINE_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def app() -> typer.Typer:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    if str(DEMO.parent) not in sys.path:
        sys.path.append(str(DEMO.parent))
    spec.loader.exec_module(module)
    made = typer.Typer()
    made.command()(module.main)
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with a finished demo, and how it went; no real tile on this machine."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(*SMALL, cwd=folder, data=folder / "no-data")


def test_prints_the_path_of_the_report_last(first):
    folder, done = first
    assert done.returncode == 0, done.stderr
    assert done.stdout == "runs/demo/report.html\n"
    for stage in (
        "draw: 18 images",
        f"segment: {JUDGED} images",
        f"evaluate: {JUDGED} images",
        f"segment without a network: {JUDGED} images",
        "pictures",
        "draw ic09: 19 images",
        "fine-tune on ic09: 10 images",
        "segment by nano, fine-tuned: 6 images",
    ):
        assert stage in done.stderr
    assert re.search(r"draw: 18 images, \d+\.\d s", done.stderr)
    assert "real tile: not on this machine" in done.stderr
    html = (folder / "runs/demo/report.html").read_text()
    assert len(html) < 10_000_000
    assert str(folder) not in html
    assert "A real SEM image first" not in html
    assert "etchline synth runs/demo/data --ics 9 --images-per-ic 2 --size 96 --seed 14" in html


def test_report_says_what_the_evaluation_found(first):
    folder, _ = first
    report = json.loads((folder / "runs/demo/report.json").read_text())
    assert report["settings"]["border_px"] == report["settings"]["min_area_px"] == 15
    assert {image["split"] for image in report["images"]} == {"test", "unseen"}
    assert len(report["images"]) == JUDGED
    html = (folder / "runs/demo/report.html").read_text()
    assert f'<div class="number">{100 * report["total"]["rate"]:.2f} %</div>' in html


def test_second_run_reuses_and_shows_a_real_tile_first(first, tmp_path, monkeypatch):
    folder = shutil.copytree(first[0], tmp_path / "copy")
    lines = comb(lines=4, pitch_px=30, length_px=120)
    write_image(tmp_path / "hy5syn-tiles/tile0_lines.png", lines)
    write_image(tmp_path / "hy5syn-tiles/tile0_sem.png", np.where(lines > 0, 130, 40).astype(np.uint8))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ETCHLINE_DATA", str(tmp_path))
    image = folder / "runs/demo/data/images/ic01/m1/0001.png"
    drawn = image.stat().st_mtime_ns
    again = CliRunner().invoke(app(), SMALL)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == "runs/demo/report.html\n"
    assert "draw: all there already" in again.stderr
    assert "segment: all there already" in again.stderr
    assert image.stat().st_mtime_ns == drawn
    html = (folder / "runs/demo/report.html").read_text()
    assert "A real SEM image first" in html
    assert "0 errors in 4 lines" in html
    assert "HY5SYN, Rothaug et al., CC BY 4.0" in html
    assert "(in an earlier run)" in html
    assert str(tmp_path) not in html


def test_another_request_or_a_changed_image_is_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETCHLINE_DATA", str(tmp_path / "no-data"))
    small = ("--ics", "1", "--images-per-ic", "2", "--size", "64", "--jobs", "1", "--no-chip")
    result = CliRunner().invoke(app(), (*small, "--out", "other"))
    assert "draw: 2 images" in result.stderr
    assert "--split unseen" not in Path("other/report.html").read_text()
    Path("other/data/images/ic01/m1/0001.png").write_bytes(b"changed")
    result = CliRunner().invoke(app(), (*small, "--out", "other"))
    assert "draw: 2 images" in result.stderr
    result = CliRunner().invoke(app(), (*small, "--out", "other", "--seed", "3"))
    assert "draw: 2 images" in result.stderr
    assert "segment: 1 images" in result.stderr
    assert result.stdout == "other/report.html\n"


@pytest.mark.real_data
def test_real_tile_has_no_error(tmp_path, real_data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETCHLINE_DATA", str(real_data))
    result = CliRunner().invoke(app(), (*SMALL, "--ics", "1", "--no-chip", "--out", "real"))
    assert result.exit_code == 0, result.stderr
    assert "0 errors in 25 lines" in (tmp_path / "real/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--images-per-ic", "1"), 2, "error: --images-per-ic 1: .*take 2"),
        (("--jobs", "0"), 2, "error: --jobs 0: must be 1 or more"),
        (("--size", "1"), 2, "error: size_px=1: must lie between"),
        (("--out", "file"), 3, "error: .*file.*cannot be written"),
        (("--out", "full"), 2, "error: full/data.*"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    Path("full/data").mkdir(parents=True)
    Path("full/data/thesis.txt").write_text("not a dataset")
    result = CliRunner().invoke(app(), arguments)
    assert result.exit_code == code
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert Path("full/data/thesis.txt").exists()


def test_broken_tile_is_named(tmp_path, monkeypatch):
    (tmp_path / "hy5syn-tiles").mkdir()
    (tmp_path / "hy5syn-tiles/tile0_sem.png").write_text("not an image")
    write_image(tmp_path / "hy5syn-tiles/tile0_lines.png", comb())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETCHLINE_DATA", str(tmp_path))
    result = CliRunner().invoke(app(), (*SMALL, "--ics", "1", "--no-chip"))
    assert result.exit_code == 2
    assert re.search(r"error: .*tile0_sem\.png", result.stderr)
    assert result.stdout == ""
