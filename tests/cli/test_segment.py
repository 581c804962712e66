import errno
import importlib.util
import inspect
import json
import os
import re

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from etchline.cli import segment as command
from etchline.images import read_image, write_image
from etchline.segmentation import batch
from etchline.segmentation.classical_bundle import classical_bundle
from tests.segmentation.drawing import tracks


@pytest.fixture
def etchline(tmp_path, monkeypatch):
    """Runs `etchline segment` (as the only command) in a folder with images a.png and x/b.tif.

    Without a network, unless arguments name a bundle.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "x").mkdir(parents=True)
    write_image(tmp_path / "in" / "a.png", tracks(120, 160))
    write_image(tmp_path / "in" / "x" / "b.tif", tracks(90, 130, dtype=np.uint16))
    app = Typer()
    app.command()(command.segment)

    def run(*args):
        bundle = () if "--bundle" in args else ("--bundle", "classical")
        return CliRunner().invoke(app, [*args, *bundle, "--jobs", "1"])

    return run


def test_networks_segment_where_they_can_run(etchline, tmp_path):
    """By default, too."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    assert inspect.signature(command.segment).parameters["bundle"].default == "auto"
    result = etchline("in/a.png", "--out", "out", "--bundle", "auto")
    assert result.exit_code == 0
    assert result.stderr == ""
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["bundle"]["name"] == "nano"
    assert record["options"]["network"]["backend"].startswith("torch")


def test_where_they_cannot_it_says_so_and_goes_on(etchline, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    result = etchline("in/a.png", "--out", "out", "--bundle", "auto")
    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert "note: segmenting without a network, because torch is not installed" in said
    assert "pip install 'etchline[train]'" in said
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["bundle"]["name"] == "classical"
    asked = etchline("in/a.png", "--out", "more", "--bundle", "auto", "--backend", "torch")
    assert (asked.exit_code, (tmp_path / "more").exists()) == (3, False)
    assert "backend torch: torch is not installed; pip install 'etchline[train]'" in asked.stderr
    assert "note" not in asked.stderr


def test_a_folder_is_mirrored(etchline, tmp_path):
    result = etchline("in", "--out", "out", "--contours", "geojson", "--pixel-size-nm", "4.2")
    assert result.exit_code == 0
    assert re.search(r"2 segmented: \d+ lines, \d+ of 2 cells flagged; results in out\n", result.stdout)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    endings = ("_confidence.png", "_overlay.png", ".geojson", ".json")
    assert found == {
        "a_lines.png",
        "x/b_lines.tif",
        *(stem + end for stem in ("a", "x/b") for end in endings),
    }
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["bundle"] == {"name": "classical", "digest": classical_bundle().digest}
    assert record["image"]["pixel_size_nm"] == 4.2
    assert record["counts"]["lines"] == 8


def test_the_classical_segmenter_finds_the_drawn_tracks(etchline):
    etchline("in/a.png", "--out", "out")
    mask = read_image(command.Path("out/a_lines.png")).pixels_hw > 0
    truth = np.broadcast_to((np.arange(160) // 10) % 2 == 1, mask.shape)
    assert (mask == truth).mean() > 0.95


def test_json_is_the_only_thing_on_stdout(etchline):
    result = etchline("in", "--out", "out", "--json")
    summary = json.loads(result.stdout)
    assert summary["total"] == {"done": 2, "skipped": 0, "failed": 0}
    first = summary["images"][0]
    assert (first["image"], first["status"], first["record"], first["error"]) == (
        "in/a.png",
        "done",
        "a.json",
        None,
    )
    assert first["counts"]["lines"] == 8
    assert first["timings_s"]["total"] > 0


def test_complete_results_are_skipped_unless_overwritten(etchline):
    etchline("in", "--out", "out")
    assert "0 segmented, 2 already complete" in etchline("in", "--out", "out").stdout
    assert "2 segmented:" in etchline("in", "--out", "out", "--overwrite").stdout


def test_bad_images_are_reported_after_the_good_ones(etchline, tmp_path):
    (tmp_path / "in" / "c.png").write_bytes(b"text")
    result = etchline("in", "missing.png", "--out", "out")
    assert result.exit_code == 2
    assert "2 segmented, 2 failed" in result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 2
    assert re.match(r"error: .*in/c\.png: is not a PNG", lines[0])
    assert re.match(r"error: missing\.png: does not exist", lines[1])
    assert (tmp_path / "out" / "x" / "b.json").exists()
    as_json = json.loads(etchline("in", "missing.png", "--out", "out", "--json").stdout)
    assert as_json["total"] == {"done": 0, "skipped": 2, "failed": 2}
    assert as_json["images"][-1]["error"].startswith("missing.png: does not exist")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--bundle", "s3://b/x"),
            "--bundle s3://b/x: not known to this version; give a folder, nano, classical or auto",
        ),
        (
            ("--bundle", "none"),
            "none: no readable bundle (bundle.json: No such file or directory); give its folder",
        ),
        (
            ("--policy", "paper"),
            "--policy paper: the classical segmenter has none; give --bundle nano or DIR",
        ),
        (("--scale", "auto"), "--scale auto: the classical segmenter has none; give --bundle nano or DIR"),
        (
            ("--backend", "torch"),
            "--backend torch: the classical segmenter has none; give --bundle nano or DIR",
        ),
        (
            ("--bundle", "in", "--policy", "best"),
            "--policy best: choose one of full, patch, paper, guarded, confidence",
        ),
        (("--bundle", "in", "--scale", "0"), "--scale 0: must be a factor of 1/64 to 64, or auto"),
        (
            ("--bundle", "in", "--backend", "tpu"),
            "--backend tpu: not known to this version; choose auto, torch or onnxruntime",
        ),
        (("--contours", "svg"), "--contours svg: unknown; choose from geojson,gds,oas"),
        (("--pixel-size-nm", "0"), "--pixel-size-nm 0.0: must be 0.001 to 1,000,000 nm"),
        (("--pixel-size-nm", "nan"), "--pixel-size-nm nan: must be 0.001 to 1,000,000 nm"),
    ],
)
def test_wrong_options_are_one_clear_line(etchline, tmp_path, options, message):
    result = etchline("in", "--out", "out", *options)
    assert result.exit_code == 2
    assert result.stderr == f"error: {message}\n"
    assert not (tmp_path / "out").exists()


def test_less_than_one_process_is_refused(etchline):
    runner_app = Typer()
    runner_app.command()(command.segment)
    result = CliRunner().invoke(runner_app, ["in", "--out", "out", "--jobs", "0"])
    assert (result.exit_code, result.stderr) == (2, "error: --jobs 0: must be 1 or more\n")


def test_two_inputs_with_one_result_are_refused(etchline, tmp_path):
    write_image(tmp_path / "in" / "a.tif", tracks(20, 20))
    result = etchline("in", "--out", "out")
    assert result.exit_code == 2
    assert "in/a.png and in/a.tif: both results would be out/a_lines" in result.stderr


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(etchline, tmp_path, monkeypatch):
    real = batch.segment_file

    def interrupted(item, *rest):
        if item.image.name == "b.tif":
            raise KeyboardInterrupt
        return real(item, *rest)

    monkeypatch.setattr(batch, "segment_file", interrupted)
    result = etchline("in", "--out", "out")
    assert result.exit_code == 130
    assert "interrupted; finished files stay" in result.stderr
    assert (tmp_path / "out" / "a.json").exists()
    monkeypatch.setattr(batch, "segment_file", real)
    assert "1 segmented, 1 already complete" in etchline("in", "--out", "out").stdout


def test_a_fault_in_one_image_does_not_cost_the_others(etchline, tmp_path, monkeypatch):
    real = batch.segment_file

    def faulty(item, *rest):
        if item.image.name == "a.png":
            raise ZeroDivisionError("drawn")
        return real(item, *rest)

    monkeypatch.setattr(batch, "segment_file", faulty)
    result = etchline("in", "--out", "out")
    assert result.exit_code == 3
    assert "1 segmented, 1 failed" in result.stdout
    assert result.stderr == "error: in/a.png: internal error: ZeroDivisionError: drawn\n"
    assert (tmp_path / "out" / "x" / "b.json").exists()


def test_a_name_that_is_not_utf8_is_refused_after_the_good_ones(etchline, tmp_path):
    source = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "a\udcff.png").write_bytes(source)
    result = etchline("in", "--out", "out")
    assert result.exit_code == 2
    assert "2 segmented, 1 failed" in result.stdout
    assert result.stderr == (
        "error: 'in/a\\udcff.png': its name is not UTF-8, which the record is written in; rename it\n"
    )


def test_an_unreadable_image_does_not_stop_the_others(etchline, tmp_path, monkeypatch):
    real = command.Path.stat

    def stat(path, **options):
        if path.name == "private.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, **options)

    monkeypatch.setattr(command.Path, "stat", stat)
    result = etchline("private.png", "in/a.png", "--out", "out")
    assert result.exit_code == 2
    assert "1 segmented, 1 failed" in result.stdout
    assert re.match(r"error: private\.png: cannot be read \(Permission denied\)", result.stderr)
