"""`s3://` wherever commands take paths."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer.main
from typer.testing import CliRunner

from etchline.bundle.shipped import SHIPPED
from etchline.cli import stored, workspace
from etchline.cli.app import app
from etchline.cli.stored import BUNDLE
from etchline.datasets import load_dataset
from etchline.images import write_image
from etchline.storage import download_folder, open_store, upload_folder
from tests.evaluation.gate import reports
from tests.s3_server import S3
from tests.segmentation.drawing import tracks

SMALL = ("--ics", "1", "--images-per-ic", "4", "--size", "192", "--jobs", "1")


def etchline(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    assert os.environ["ETCHLINE_CACHE"] not in result.stdout  # where the copies lie
    return result


@pytest.fixture
def dataset(s3: S3) -> str:
    result = etchline("synth", s3.uri("data/bench"), *SMALL, "--json")
    assert json.loads(result.stdout)["dataset"] == s3.uri("data/bench")
    return s3.uri("data/bench")


def test_processes_of_torchrun_have_no_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(app, ["train", "s3://bucket/data", str(tmp_path / "out")])
    assert refused.exit_code == 2
    assert "error: s3://bucket/data: processes that torchrun starts share files" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_layer_from_s3_to_s3(s3: S3, dataset: str, tmp_path: Path) -> None:
    assert "dataset.json" in str(s3.keys("data/bench/"))
    lines = s3.uri("out/lines")
    first = etchline("segment", dataset, "--out", lines, "--contours", "geojson", "--jobs", "1")
    assert "4 segmented: " in first.stdout
    assert f"results in {lines}" in first.stdout
    assert len(s3.keys("out/lines/")) == 4 * 5
    again = json.loads(
        etchline("segment", dataset, "--out", lines, "--contours", "geojson", "--jobs", "1", "--json").stdout
    )
    assert again["total"] == {"done": 0, "skipped": 4, "failed": 0}
    assert again["images"][0]["image"].startswith(f"{dataset}/images/")
    local = etchline("segment", dataset, "--out", str(tmp_path / "lines"), "--jobs", "1")
    assert "4 segmented" in local.stdout
    masks = sorted((tmp_path / "lines").rglob("*_lines.png"))
    assert len(masks) == 4
    for mask in masks:
        assert s3.get(f"out/lines/{mask.relative_to(tmp_path / 'lines').as_posix()}") == mask.read_bytes()
    scored = etchline(
        "evaluate", lines, "--dataset", dataset, "--out", s3.uri("out/report"), "--json", "--jobs", "1"
    )
    assert json.loads(scored.stdout) == json.loads(s3.get("out/report/report.json"))
    assert not list((tmp_path / "cache" / "work").iterdir())


def test_a_bad_image_costs_only_itself(s3: S3, dataset: str) -> None:
    image = next(key for key in s3.keys("data/bench/images/"))
    s3.put(image, b"no image", **{})
    s3.put("more/x.png", b"neither", sha256="0" * 64)
    result = etchline("segment", dataset, s3.uri("more"), "--out", s3.uri("lines"), "--jobs", "1", code=2)
    assert "3 segmented, 2 failed" in result.stdout
    assert f"error: s3://{s3.bucket}/more/x.png: damaged" in result.stderr
    assert len([key for key in s3.keys("lines/") if key.endswith(".json")]) == 3


def test_datasets_are_not_replaced_unless_asked(s3: S3, dataset: str, tmp_path: Path) -> None:
    before = s3.keys()
    result = etchline("synth", dataset, *SMALL, "--seed", "1", code=2)
    assert f"error: {dataset}: exists and is not empty" in result.stderr
    assert s3.keys() == before
    manifest = s3.get("data/bench/dataset.json")
    etchline("synth", dataset, *SMALL, "--seed", "1", "--overwrite")
    assert s3.get("data/bench/dataset.json") != manifest
    download_folder(dataset, tmp_path / "copy")
    replaced = load_dataset(tmp_path / "copy")
    for entry in replaced.images:
        replaced.verify(entry)
    etchline("dataset", "split", dataset, "--seed", "5")
    etchline("dataset", "show", dataset, "--out", s3.uri("sheet.png"))
    assert s3.get("sheet.png").startswith(b"\x89PNG")


def test_bundles_are_fetched_once(s3: S3, tmp_path: Path) -> None:
    upload_folder(SHIPPED, s3.uri("bundles/nano"))
    for _ in range(2):
        result = etchline("bundle", "verify", s3.uri("bundles/nano"), "--files-only")
        assert f"{s3.uri('bundles/nano')}: " in result.stdout
    objects = list((tmp_path / "cache" / "objects").iterdir())
    assert len(objects) == len(s3.keys("bundles/"))
    # Whoever finds them there does not ask the server for their bytes.
    (weights,) = (path for path in objects if path.read_bytes() == (SHIPPED / "bundle.json").read_bytes())
    weights.chmod(0o644)
    weights.write_bytes(b"{}")
    etchline("bundle", "verify", s3.uri("bundles/nano"), "--files-only", code=2)


def test_a_bundle_is_not_exported_over_another(s3: S3, dataset: str) -> None:
    upload_folder(SHIPPED, s3.uri("b"))
    result = etchline("export", s3.uri("runs"), s3.uri("b"), "--dataset", dataset, code=2)
    assert f"error: {s3.uri('runs')}: nothing is there" in result.stderr
    s3.put("runs/x", b"x")
    result = etchline("export", s3.uri("runs"), s3.uri("b"), "--dataset", dataset, code=2)
    assert f"error: {s3.uri('b')}: holds something already; bundles never change" in result.stderr
    s3.put("other/x", b"x")
    result = etchline("export", s3.uri("runs"), s3.uri("other"), "--dataset", dataset, code=2)
    assert f"error: {s3.uri('other')}: holds something already" in result.stderr


def test_a_bundle_of_a_failed_command_is_not_published(s3: S3) -> None:
    code = 1

    def export(out: Annotated[Path, BUNDLE]) -> None:
        shutil.copytree(SHIPPED, out)
        raise typer.Exit(code)

    command = stored.Commands()
    command.command()(export)
    result = CliRunner().invoke(command, [s3.uri("b")])
    assert result.exit_code == 1
    assert s3.keys() == []
    kept = Path(result.stderr.split("the bundle stays in ")[1].splitlines()[0])
    assert (kept / "bundle.json").is_file()
    code = 0
    assert CliRunner().invoke(command, [s3.uri("b")]).exit_code == 0
    assert "b/bundle.json" in s3.keys("b/")


def test_an_interrupted_training_goes_on(
    s3: S3, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etchline.training import runs

    def interrupted(request: Any, watcher: Any) -> None:
        (request.out_dir / "patch").mkdir(parents=True)
        (request.out_dir / "patch" / "state").write_bytes(b"half way")
        (request.out_dir / "cache").mkdir()
        (request.out_dir / "cache" / "images.npy").write_bytes(b"large")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runs, "train", interrupted)
    result = etchline("train", dataset, s3.uri("runs/a"), code=130)
    assert "add --resume to go on" in result.stderr
    assert s3.keys("runs/") == ["runs/a/patch/state"]

    def resumed(request: Any, watcher: Any) -> list[Any]:
        assert (request.out_dir / "patch" / "state").read_bytes() == b"half way"
        assert (request.out_dir / "patch" / "state").stat().st_nlink == 1  # no other command's
        (request.out_dir / "patch" / "weights").write_bytes(b"done")
        return []

    monkeypatch.setattr(runs, "train", resumed)
    state = s3.head("runs/a/patch/state")
    etchline("train", dataset, s3.uri("runs/a"), "--resume")
    assert s3.keys("runs/") == ["runs/a/patch/state", "runs/a/patch/weights"]
    assert s3.head("runs/a/patch/state")["LastModified"] == state["LastModified"]

    def rewritten(request: Any, watcher: Any) -> list[Any]:
        (request.out_dir / "patch" / "state").write_bytes(b"whole !!")  # in place, as many bytes
        return []

    monkeypatch.setattr(runs, "train", rewritten)
    etchline("train", dataset, s3.uri("runs/a"), "--resume")
    assert s3.get("runs/a/patch/state") == b"whole !!"


KILLED = """
import os, signal, sys
from etchline.cli.app import main
from etchline.training import runs
from etchline.training.checkpoints import EpochRecord

RECORD = EpochRecord(epoch=1, stage="pixel", pixel_loss=1.0, betti_loss=None, learning_rate=1.0,
    images_per_s=1.0, esd_rate=0.1, opens=0, shorts=0, false_positives=0, false_negatives=0, lines=1,
    dice=0.9, best=True)

def train(request, watcher):
    run = request.out_dir / "patch"
    run.mkdir(parents=True)
    (run / "state.safetensors").write_bytes(b"epoch 1")
    (run / "weights.safetensors").write_bytes(b"best")
    (request.out_dir / "cache").mkdir()
    (request.out_dir / "cache" / "images.npy").write_bytes(b"large")
    watcher.epoch("patch", RECORD, 9)
    (run / "state.safetensors").write_bytes(b"epoch 2, half done")
    os.kill(os.getpid(), signal.SIGKILL)

runs.train = train
sys.argv = ["etchline", "train", *sys.argv[1:]]
main()
"""


def test_a_training_that_was_killed_outright_goes_on(
    s3: S3, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGKILL, after which nothing is uploaded; then on another machine, and on this one."""
    from etchline.training import runs

    command = [sys.executable, "-c", KILLED, dataset, s3.uri("runs/a")]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert s3.keys("runs/") == ["runs/a/patch/state.safetensors", "runs/a/patch/weights.safetensors"]
    state, weights = (s3.head(key)["LastModified"] for key in s3.keys("runs/"))
    assert weights <= state
    (left,) = (path for path in (tmp_path / "cache" / "work").iterdir() if path.is_dir())

    def resumed(request: Any, watcher: Any) -> list[Any]:
        assert request.resume
        assert (request.out_dir / "patch" / "state.safetensors").read_bytes() == b"epoch 1"
        return []

    monkeypatch.setattr(runs, "train", resumed)
    monkeypatch.setenv("ETCHLINE_CACHE", str(tmp_path / "other"))
    etchline("train", dataset, s3.uri("runs/a"), "--resume")
    assert left.is_dir()
    monkeypatch.setenv("ETCHLINE_CACHE", str(tmp_path / "cache"))
    etchline("train", dataset, s3.uri("runs/a"), "--resume")
    assert not list((tmp_path / "cache" / "work").iterdir())


def test_states_go_after_what_they_speak_of(
    s3: S3, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etchline.storage import s3_store
    from etchline.training import runs

    uploaded: list[str] = []
    real = s3_store.S3Store.upload

    def upload(self: Any, path: Path, name: str, **more: Any) -> bool:
        uploaded.append(name)
        return real(self, path, name, **more)

    def train(request: Any, watcher: Any) -> list[Any]:
        (request.out_dir / "patch").mkdir(parents=True)
        for epoch in (1, 2):
            for name in ("state.safetensors", "weights.safetensors", "log.jsonl"):
                (request.out_dir / "patch" / name).write_text(f"{epoch} {name}")
            stored.save_progress()
            stored.save_progress(3600)
        return []

    monkeypatch.setattr(s3_store.S3Store, "upload", upload)
    monkeypatch.setattr(workspace, "REST", 0.0)
    monkeypatch.setattr(runs, "train", train)
    etchline("train", dataset, s3.uri("runs/a"))
    assert len(uploaded) == 6  # twice by the way, and nothing is left for the end
    assert uploaded[2] == uploaded[5] == "patch/state.safetensors"


def test_progress_that_cannot_be_uploaded_stays_and_costs_nothing(
    s3: S3, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etchline.storage import s3_store
    from etchline.training import runs

    real = s3_store.S3Store.upload
    kept: list[Path] = []

    def fails(*_: object, **__: object) -> None:
        open_store(f"s3://gone-{s3.bucket}/x").read("")

    def train(request: Any, watcher: Any) -> list[Any]:
        (request.out_dir / "patch").mkdir(parents=True)
        (request.out_dir / "patch" / "state.safetensors").write_bytes(b"1")
        monkeypatch.setattr(s3_store.S3Store, "upload", fails)
        stored.save_progress()
        # Were this process killed now, the next command would not remove it.
        kept.extend((tmp_path / "cache" / "work").iterdir())
        monkeypatch.setattr(s3_store.S3Store, "upload", real)
        return []

    monkeypatch.setattr(runs, "train", train)
    result = etchline("train", dataset, s3.uri("runs/a"))
    (folder,) = kept
    assert f"what is done stays in {folder}/ until it is uploaded" in result.stderr
    assert s3.get("runs/a/patch/state.safetensors") == b"1"
    assert not folder.exists()


def test_results_that_cannot_be_uploaded_stay(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etchline.storage import s3_store

    def fails(*_: object, **__: object) -> None:
        open_store(f"s3://gone-{s3.bucket}/x").read("")

    monkeypatch.setattr(s3_store.S3Store, "upload", fails)
    result = CliRunner().invoke(app, ["synth", s3.uri("bench"), *SMALL])
    assert result.exit_code == 2
    kept = Path(result.stderr.split("the results stay in ")[1].splitlines()[0])
    assert (kept / "bench" / "dataset.json").is_file()


def test_an_unexpected_failure_keeps_the_results_too(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etchline.storage import s3_store

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(s3_store.S3Store, "upload", fails)
    result = CliRunner().invoke(app, ["synth", s3.uri("bench"), *SMALL])
    assert result.exit_code == 3
    kept = Path(result.stderr.split("the results stay in ")[1].splitlines()[0])
    assert (kept / "bench" / "dataset.json").is_file()


def test_a_limit_of_the_cache_that_is_none_is_told_before_the_work(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCHLINE_CACHE_GB", "much")
    result = etchline("synth", s3.uri("bench"), *SMALL, code=2)
    assert "error: ETCHLINE_CACHE_GB=much: must be a number of gigabytes" in result.stderr
    assert s3.keys() == []


def test_verdicts_in_s3_name_the_reports_that_were_given(s3: S3) -> None:
    s3.put("new.json", reports.text(reports.images([1, 2] * 10)).encode())
    s3.put("old.json", reports.text(reports.images([3, 4] * 10)).encode())
    s3.put("recipe.yaml", reports.RECIPE.encode())
    judged = ("gate", s3.uri("new.json"), "--champion", s3.uri("old.json"), "--recipe", s3.uri("recipe.yaml"))
    etchline(*judged, "--out", s3.uri("gate"))
    verdict = json.loads(s3.get("gate/verdict.json"))
    assert verdict["challenger"]["report"] == s3.uri("new.json")
    assert verdict["champion"]["report"] == s3.uri("old.json")
    page = s3.get("gate/verdict.html").decode()
    assert s3.uri("new.json") in page
    assert os.environ["ETCHLINE_CACHE"] not in page


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "s3://{}/none", "--out", "out"),
        ("evaluate", "s3://{}/none", "out"),
        ("dataset", "check", "s3://{}/none"),
        ("bundle", "show", "s3://{}/none"),
        ("segment", "x.png", "--bundle", "s3://{}/none", "--out", "out"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_bad_input(s3: S3, arguments: tuple[str, ...]) -> None:
    result = etchline(*(one.format(s3.bucket) for one in arguments), code=2)
    assert f"error: s3://{s3.bucket}/none: nothing is there; check the bucket and the key" in result.stderr


def test_results_beside_their_images_leave_the_images_alone(s3: S3, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", tracks(90, 130))
        s3.put(f"scans/{name}.png", (tmp_path / f"{name}.png").read_bytes())
    s3.put("scans/bad.png", b"no image")
    before = {key: s3.get(key) for key in s3.keys("scans/")}
    scans = s3.uri("scans")
    first = etchline("segment", scans, "--out", scans, "--jobs", "1", code=2)
    assert "2 segmented, 1 failed" in first.stdout
    again = etchline("segment", scans, "--out", scans, "--jobs", "1", "--overwrite", code=2)
    assert "2 segmented, 1 failed" in again.stdout
    assert {key: s3.get(key) for key in before} == before
    results = set(s3.keys("scans/")) - before.keys()
    assert len(results) == 2 * 4
    assert all(s3.get(key) for key in results)
