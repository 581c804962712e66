import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.cli.app import app
from tests.training.bars import make_dataset

RECIPE = """
network: {input_px: 64}
sampling: {samples_per_epoch: 8, batch_images: 4}
optimiser: {pixel_epochs: 1, betti_epochs: 0, warmup_steps: 1}
validation: {border_px: 2, min_area_px: 2, dead_after_epochs: 9}
compute: {device: cpu}
"""


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "data", [(64, 64)] * 3)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def call(folder, *more):
    arguments = [
        "train",
        str(folder / "data"),
        str(folder / "out"),
        "--recipe",
        str(folder / "r.yaml"),
        *more,
    ]
    return CliRunner().invoke(app, arguments)


def test_both_models_with_a_line_for_each_epoch(folder):
    result = call(folder)
    assert result.exit_code == 0, result.stderr
    assert "patch: validation ESD" in result.stdout
    assert "full: validation ESD" in result.stdout
    assert "820,748 of 820,748 parameters trained" in result.stdout
    assert "patch epoch 1/1: loss " in result.stderr
    assert " images/s, best" in result.stderr


def test_json_and_parts(folder):
    result = call(folder, "--model", "patch", "--parts", "image_encoder,prompt_encoder", "--json")
    assert result.exit_code == 0, result.stderr
    (run,) = json.loads(result.stdout)["runs"]
    assert run["role"] == "patch"
    assert run["best"]["epoch"] == 1
    assert run["parameters"]["trainable"] < run["parameters"]["total"]


def test_a_second_call_needs_resume(folder):
    assert call(folder, "--model", "patch").exit_code == 0
    result = call(folder, "--model", "patch")
    assert result.exit_code == 2
    assert "holds a run already; add --resume" in result.stderr
    assert call(folder, "--model", "patch", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--parts", "decoder"], "unknown decoder"),
        (["--init", "none.pt"], "none.pt: no such file"),
        (["--recipe", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_bad_input_is_one_line(folder, more, message):
    result = call(folder, *more)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_packages_are_named(folder, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sam2" else find(name))
    result = call(folder)
    assert result.exit_code == 3
    assert "training needs sam2: pip install 'etchline[train]'" in result.stderr


def test_an_interruption_names_the_way_on(folder, monkeypatch):
    from etchline.training import runs

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", interrupt)
    result = call(folder)
    assert result.exit_code == 130
    assert "add --resume to go on" in result.stderr


def test_a_bundle_is_verified_before_training_starts_from_it(folder):
    (folder / "bundle").mkdir()
    (folder / "bundle" / "bundle.json").write_text("{}")
    result = call(folder, "--init", str(folder / "bundle"))
    assert result.exit_code == 2
    assert "bundle.json" in result.stderr
    assert not (folder / "out").exists()


def test_a_bundle_becomes_the_parent(folder):
    from etchline.bundle import load_bundle

    assert call(folder, "--model", "patch").exit_code == 0
    data, bundle = folder / "data", folder / "bundle"
    exported = ["export", folder / "out", bundle, "--dataset", data, "--jobs", "1"]
    result = CliRunner().invoke(app, [str(part) for part in exported])
    assert result.exit_code == 0, result.stderr
    more = ["--recipe", folder / "r.yaml", "--model", "patch", "--init", bundle]
    again = ["train", data, folder / "child", *more]
    assert CliRunner().invoke(app, [str(part) for part in again]).exit_code == 0
    exported = ["export", folder / "child", folder / "new", "--dataset", data, "--jobs", "1"]
    assert CliRunner().invoke(app, [str(part) for part in exported]).exit_code == 0
    assert load_bundle(folder / "new").manifest.provenance.parent == load_bundle(bundle).digest
