"""A training that began with a bundle in S3 finds that bundle again when it becomes one itself."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import load_bundle
from etchline.storage import download_folder
from tests.calibration.trainings import RECIPE, let_win, write_run
from tests.cli.test_stored import etchline
from tests.s3_server import S3
from tests.training.bars import make_dataset

SHORT = f"{RECIPE}optimiser: {{pixel_epochs: 1, betti_epochs: 0, warmup_steps: 0}}\n"


def test_the_parents_full_model_is_kept(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 3)
    for seed, role in enumerate(("patch", "full")):
        write_run(tmp_path / "out" / role, dataset, seed=seed)
    lab = s3.uri("lab")
    etchline("export", str(tmp_path / "out"), lab, "--dataset", str(tmp_path / "data"), "--jobs", "1")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(SHORT.replace("full_view_px: 64", "full_view_px: 64, samples_per_epoch: 4"))
    options = ("--model", "patch", "--init", lab, "--recipe", str(recipe))
    etchline("train", str(tmp_path / "data"), s3.uri("runs/a"), *options)
    new = tmp_path / "new"
    let_win(monkeypatch, "paper")
    made = etchline("export", s3.uri("runs/a"), str(new), "--dataset", str(tmp_path / "data"), "--jobs", "1")
    assert "cannot be kept" not in made.stderr
    assert "\npaper " in made.stdout
    download_folder(lab, tmp_path / "lab")
    kept, parent = load_bundle(new).manifest, load_bundle(tmp_path / "lab").manifest
    assert kept.files["full/weights.safetensors"] == parent.files["full/weights.safetensors"]
    assert kept.files["patch/weights.safetensors"] != parent.files["patch/weights.safetensors"]
